//! `podbox doctor` on this host: what it says, what its status says, and that it leaves nothing.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Output, Stdio};

fn doctor(args: &[&str]) -> Output {
    run(args).1
}

/// Its process id, too, which is in the names of what it makes where others are.
fn run(args: &[&str]) -> (u32, Output) {
    let mut doctor = Command::new(env!("CARGO_BIN_EXE_podbox"));
    doctor.args(["doctor"]).args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let doctor = doctor.spawn().unwrap();
    (doctor.id(), doctor.wait_with_output().unwrap())
}

/// What it could leave, by the name that all of it has: links and mounts, which are this test's own; directories and cgroups, of
/// which others that run meanwhile may have some.
fn left(pid: u32) -> Vec<String> {
    const TRIAL: &str = "podbox-try";
    let own = ["/proc/self/mounts", "/proc/net/dev"].into_iter().flat_map(|path| {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().filter(|line| line.contains(TRIAL)).map(str::to_owned).collect::<Vec<_>>()
    });
    let shared =
        ["/var/lib", "/run", "/sys/fs/cgroup", "/sys/fs/cgroup/unified"].into_iter().flat_map(|dir| {
            let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
            entries.map(|entry| entry.path().display().to_string())
        });
    own.chain(shared.filter(|path| path.ends_with(&format!("{TRIAL}-{pid}")))).collect()
}

#[test]
fn its_status_agrees_with_what_it_says_and_it_leaves_nothing() {
    let (pid, text) = run(&[]);
    assert_eq!(left(pid), [""; 0]);
    let (pid, json) = run(&["-o", "json"]);
    assert_eq!(left(pid), [""; 0]);
    let report: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    let can_run = report["can_run"].as_bool().unwrap();
    assert_eq!((text.status.success(), json.status.success()), (can_run, can_run));
    let text = String::from_utf8(text.stdout).unwrap();
    let verdict = if can_run { "Pods can run here" } else { "Pods cannot run here" };
    assert!(text.contains(verdict), "{text}");
    assert!(!text.contains('\x1b'), "no colours into a pipe");
}

#[test]
fn what_is_missing_comes_with_what_to_do() {
    let output = doctor(&["--cgroup-root", "/proc", "-o", "json"]);
    assert!(!output.status.success());
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let cgroup = findings.iter().find(|finding| finding["name"] == "cgroup v2").unwrap();
    assert_eq!(cgroup["state"], "missing");
    assert!(!cgroup["mend"].as_str().unwrap().is_empty() && !cgroup["lost"].as_str().unwrap().is_empty());
}

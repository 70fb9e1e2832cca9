//! Real boots: slow, so `cargo xtask test` runs them and plain `cargo test` doesn't.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Request, SERIES, run};
use crate::setup;

fn sh(series: &str, script: &str) -> anyhow::Result<i32> {
    run(&Request {
        series: series.to_owned(),
        memory: "1G".to_owned(),
        timeout: Duration::from_secs(300),
        bin: "/nowhere".into(),
        command: ["sh", "-c", script].map(str::to_owned).to_vec(),
    })
}

#[test]
#[ignore = "boots virtual machines"]
fn the_exit_status_of_the_command_is_passed_on() {
    for series in SERIES {
        let script = format!("uname -r | grep -q '^{series}\\.' || exit 1; exit 7");
        assert_eq!(sh(series, &script).unwrap(), 7, "{series}");
    }
}

#[test]
#[ignore = "boots virtual machines"]
fn the_wanted_modules_load_and_all_controllers_are_there() {
    let script = "dmesg | grep 'Unknown symbol' && exit 1
        lsmod | grep -q ^nft_masq || exit 2
        for c in cpu memory pids; do grep -qw $c /sys/fs/cgroup/cgroup.subtree_control || exit 3; done
        modprobe ipip || exit 4";
    for series in SERIES {
        assert_eq!(sh(series, script).unwrap(), 0, "{series}");
    }
}

#[test]
#[ignore = "boots virtual machines"]
fn results_come_back_through_the_shared_directory_and_nothing_else_does() {
    let name = format!("podbox-vm-test-{}", std::process::id());
    let script = format!("echo $PODBOX_VM_OUT >$PODBOX_VM_OUT/{name}; touch /var/tmp/{name} /root/{name}");
    assert_eq!(sh(SERIES[0], &script).unwrap(), 0);
    assert!(!std::path::Path::new("/var/tmp").join(&name).exists());
    let found = std::fs::read_dir(crate::workspace::vm())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|dir| dir.join(&name).exists())
        .expect("the file is in an out directory");
    let content = std::fs::read_to_string(found.join(&name)).unwrap();
    assert_eq!(content.trim_end(), found.display().to_string());
    std::fs::remove_dir_all(found).unwrap();
}

#[test]
#[ignore = "boots virtual machines"]
fn a_kernel_panic_is_a_failure_that_shows_the_console() {
    for series in SERIES {
        let error = sh(series, "echo c >/proc/sysrq-trigger; sleep 100").unwrap_err().to_string();
        assert!(error.contains("Kernel panic - not syncing: sysrq triggered crash"), "{series}: {error}");
        assert!(error.contains("end of the console"), "{series}: {error}");
    }
}

#[test]
#[ignore = "boots virtual machines"]
fn a_command_that_takes_too_long_is_a_failure_that_says_so() {
    let request = Request {
        series: SERIES[0].to_owned(),
        memory: "1G".to_owned(),
        timeout: Duration::from_secs(30),
        bin: "/nowhere".into(),
        command: ["sleep", "1000"].map(str::to_owned).to_vec(),
    };
    let error = run(&request).unwrap_err().to_string();
    assert!(error.contains("more than 30 s"), "{error}");
}

#[test]
#[ignore = "boots virtual machines"]
fn a_shell_finds_the_hosts_own_programs() {
    // busybox's ip has no -br.
    assert_eq!(sh(SERIES[1], "sh -c 'ip -br link' | grep -q '^lo .*UNKNOWN'").unwrap(), 0);
}

#[test]
#[ignore = "boots virtual machines"]
fn an_interrupt_is_for_the_command_and_its_answer_counts() {
    // By the program, since signals are a whole process's: target/debug/deps/TEST lies beside it.
    let program = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("xtask");
    let script = "trap 'echo bye; exit 9' INT; echo up; while :; do sleep 0.1; done";
    let mut tools = Command::new(program);
    tools.args(["vm", "--no-build", "--memory", "1G", "--timeout", "300", "--", "sh", "-c", script]);
    let mut tools = tools.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(tools.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "up");
    kill(Pid::from_raw(tools.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "bye");
    assert_eq!(tools.wait().unwrap().code(), Some(9));
}

#[test]
#[ignore = "boots virtual machines"]
fn the_tests_peers_run_in_a_machine() {
    setup::ensure(&[setup::Need::Peers]).unwrap();
    let script = "kubectl version --client | grep -q ' v1.35' || exit 1
        helm version --short | grep -q ^v4 || exit 2
        python3 -c 'import kubernetes; kubernetes.client.V1Pod()' || exit 3
        promtool --version && wrk --version | grep ^wrk && exit 0";
    assert_eq!(sh(SERIES[1], script).unwrap(), 0);
}

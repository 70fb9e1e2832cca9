//! 50 pods, and a `podbox node` that is killed at seeded moments: what containers do while no podbox runs is told by the next
//! one to the last line and code, and those that go on do not notice.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podbox_tests::comeback::{Node, PODS, assert_complete, container, phase, spec};
use podbox_tests::metrics::metrics;
use podbox_tests::needs;
use podbox_tests::rounds::{self, Random};
use podbox_tests::run::limit;
use podbox_tests::wait::wait_until;
use serde_json::{Value, json};

const STEADY: &str = "exec /bin/testjobs lines 1000000 --every 100";
const GATE: &str = "until [ -e /v/go ]; do sleep 0.05; done;";

/// How many pods go on all the time.
fn fleet() -> usize {
    if needs::in_machine() { 12 } else { 50 }
}

/// With a terminal.
fn on_terminal(mut spec: Value) -> Value {
    spec["containers"][0]["tty"] = true.into();
    spec
}

#[test]
fn a_node_with_50_pods_killed_at_seeded_moments_loses_no_line_no_code_and_flips_nothing() {
    let test = "a_node_with_50_pods_killed_at_seeded_moments_loses_no_line_no_code_and_flips_nothing";
    let Some(mut node) = Node::start(test) else { return };
    let uids: Vec<String> = (0..fleet())
        .map(|at| {
            let spec = spec("Always", STEADY);
            node.create(&format!("steady-{at}"), if at == 0 { on_terminal(spec) } else { spec })
        })
        .collect();
    wait_until("all are ready", 3 * limit(), || {
        steady(&node).iter().filter(|pod| container(pod)["ready"] == true).count() == fleet()
    });
    let before = steady(&node);
    let pids: Vec<_> = uids.iter().map(|uid| node.pid(uid).expect("it runs")).collect();
    let addresses: BTreeSet<_> = before.iter().map(|pod| pod["status"]["podIP"].to_string()).collect();
    assert_eq!(addresses.len(), fleet());
    // In a machine one is enough: what the kernels do differently does not hang on the moment.
    for seed in rounds::seeds(if needs::in_machine() { 1 } else { 5 }) {
        println!("seed {seed}");
        round(&mut node, seed);
        assert_eq!(uids.iter().map(|uid| node.pid(uid)).collect::<Option<Vec<_>>>().as_ref(), Some(&pids));
        // Nobody has written to them, not even what would have been taken back.
        assert_eq!(steady(&node), before);
        for (at, uid) in uids.iter().enumerate() {
            assert_complete(&node.lines(uid, &format!("steady-{at}")), &format!("steady-{at}"));
        }
    }
    for (at, uid) in uids.iter().enumerate() {
        let name = format!("steady-{at}");
        let had = node.lines(uid, &name).len();
        wait_until("its log goes on", limit(), || node.lines(uid, &name).len() > had);
    }
    node.stop();
}

/// The pods that go on, by name.
fn steady(node: &Node) -> Vec<Value> {
    let mut pods = node.ask("GET", PODS, None)["items"].as_array().expect("a list").clone();
    pods.retain(|pod| pod["metadata"]["name"].as_str().is_some_and(|name| name.starts_with("steady-")));
    pods.sort_by_key(|pod| pod["metadata"]["name"].to_string());
    pods
}

/// A container that ends while no podbox runs.
struct End {
    name: String,
    uid: String,
    code: u64,
    lines: u64,
}

fn round(node: &mut Node, seed: u64) {
    let mut random = Random::new(seed);
    let mut ends = Vec::new();
    for (kind, policy) in [("plain", "Never"), ("terminal", "Never"), ("again", "Always")] {
        let (code, lines) = (1 + random.below(100), random.below(60));
        // A second run does what the first did not.
        let text =
            format!("[ -e /v/go ] && {STEADY}; {GATE} /bin/testjobs lines {lines} --every 2; exit {code}");
        let spec = spec(policy, &text);
        let name = format!("{kind}-{seed}");
        let uid = node.create(&name, if kind == "terminal" { on_terminal(spec) } else { spec });
        ends.push(End { name, uid, code, lines });
    }
    let killed = (format!("killed-{seed}"), spec("Never", "exec /bin/testjobs sleep 3600000"));
    let killed = (node.create(&killed.0, killed.1), killed.0);
    let hog = needs::has_controller("memory").then(|| {
        let mut hog = spec("Never", &format!("{GATE} exec /bin/testjobs eat 200"));
        hog["containers"][0]["resources"] = json!({"limits": {"memory": "32Mi"}});
        (node.create(&format!("hog-{seed}"), hog), format!("hog-{seed}"))
    });
    let others = [Some(&killed), hog.as_ref()].into_iter().flatten().map(|(_, name)| name);
    for name in ends.iter().map(|end| &end.name).chain(others) {
        node.wait(name, "is ready", |pod| container(pod)["ready"] == true);
    }
    let victim = node.pid(&killed.0).expect("it runs");
    // And one that is anywhere between created and running.
    let fresh = format!("fresh-{seed}");
    let fresh_uid = node.create(&fresh, spec("Always", STEADY));
    sleep(Duration::from_micros(random.below(150_000)));
    node.end(Signal::SIGKILL);

    let hogs = hog.iter().map(|(uid, _)| uid);
    for uid in ends.iter().map(|end| &end.uid).chain(hogs.clone()) {
        let go = node.host.dir.join("state/pods").join(uid).join("volume-v/go");
        fs::write(go, "").expect("its volume is there");
    }
    kill(Pid::from_raw(victim), Signal::SIGKILL).expect("it runs");
    for uid in ends.iter().map(|end| &end.uid).chain([&killed.0]).chain(hogs) {
        let class = if Some(uid) == hog.as_ref().map(|(uid, _)| uid) { "burstable" } else { "besteffort" };
        let path = format!("podbox.slice/{class}/pod{uid}/c-0/cgroup.events");
        wait_until("it ends without podbox", limit(), || is_empty(&node.host.cgroup.join(&path)));
    }
    node.serve();

    for end in &ends {
        let ended = match end.name.starts_with("again") {
            false => node.wait(&end.name, "has failed", |pod| phase(pod) == "Failed"),
            true => node.wait(&end.name, "runs again", |pod| container(pod)["restartCount"] == 1),
        };
        let status = container(&ended);
        let state = if status["restartCount"] == 1 { &status["lastState"] } else { &status["state"] };
        let state = &state["terminated"];
        assert_eq!((&state["exitCode"], &state["reason"]), (&json!(end.code), &json!("Error")), "{status}");
        let log = node.host.lines(&end.name, "c", 0);
        assert_eq!(log.len() as u64, end.lines, "the log of {}", end.name);
        assert_complete(&log, &end.name);
    }
    let ended = |node: &mut Node, name: &str| {
        let pod = node.wait(name, "has failed", |pod| phase(pod) == "Failed");
        let state = &container(&pod)["state"]["terminated"];
        (state["exitCode"].clone(), state["reason"].clone())
    };
    assert_eq!(ended(node, &killed.1), (json!(137), json!("Error")));
    if let Some((_, name)) = &hog {
        assert_eq!(ended(node, name), (json!(137), json!("OOMKilled")));
    }
    node.wait(&fresh, "is ready", |pod| container(pod)["ready"] == true);
    assert_eq!(container(&node.pod(&fresh))["restartCount"], 0);
    assert_complete(&node.lines(&fresh_uid, &fresh), &fresh);
    counted(&ends, &killed.1, hog.as_ref().map(|(_, name)| name.as_str()));

    let all =
        ends.iter().map(|end| &end.name).chain([&killed.1, &fresh]).chain(hog.iter().map(|(_, name)| name));
    let all: Vec<&String> = all.collect();
    all.iter().for_each(|name| node.delete(name, 0));
    all.iter().for_each(|name| drop(node.wait(name, "is gone", |pod| pod["code"] == 404)));
}

/// Asserts that the kernel's counts have what happened while no podbox read them.
fn counted(ends: &[End], killed: &str, hog: Option<&str>) {
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        return;
    }
    let text = metrics();
    let of = |name: &str, pod: &str, more: &str| {
        let pod = format!("pod=\"{pod}\"");
        let found =
            text.lines().find(|line| line.starts_with(name) && line.contains(&pod) && line.contains(more));
        found.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
    };
    for end in ends {
        let found = of("podbox_process_exits_total{", &end.name, "nonzero");
        assert_eq!(found, Some(1.0), "{}\n{text}", end.name);
    }
    assert_eq!(of("podbox_process_signal_exits_total{", killed, "SIGKILL"), Some(1.0), "{text}");
    if let Some(hog) = hog {
        let roles = ["chosen", "unknown"].map(|role| of("podbox_oom_victims_total{", hog, role));
        assert_eq!(roles.into_iter().flatten().sum::<f64>(), 1.0, "{text}");
    }
    let whole = |name: &str| {
        let line =
            text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
    };
    assert_eq!(whole("podbox_kernel_unwatched_containers"), Some(0.0), "{text}");
    assert!(whole("podbox_kernel_gap_seconds").is_some_and(|gap| gap > 0.0), "{text}");
}

fn is_empty(events: &Path) -> bool {
    fs::read_to_string(events).unwrap_or_default().contains("populated 0")
}

#[test]
fn maps_of_another_layout_are_replaced_and_an_oom_kill_of_that_time_is_told_all_the_same() {
    let test = "maps_of_another_layout_are_replaced_and_an_oom_kill_of_that_time_is_told_all_the_same";
    let Some(()) = needs::file(test, "/sys/kernel/btf/vmlinux") else { return };
    let Some(mut node) = Node::start(test) else { return };
    let mut hog = spec("Never", &format!("{GATE} exec /bin/testjobs eat 200"));
    let with_limit = needs::has_controller("memory");
    if with_limit {
        hog["containers"][0]["resources"] = json!({"limits": {"memory": "32Mi"}});
    }
    let uid = node.create("hog", hog);
    node.create("steady", spec("Always", STEADY));
    for name in ["hog", "steady"] {
        node.wait(name, "is ready", |pod| container(pod)["ready"] == true);
    }
    node.end(Signal::SIGKILL);
    let pinned = node.host.dir.join("run/bpf");
    let layouts = || -> Vec<_> {
        let entries = fs::read_dir(&pinned).into_iter().flatten().flatten().map(|entry| entry.path());
        entries.filter(|path| path.is_dir()).collect()
    };
    let [layout] = &layouts()[..] else { panic!("one layout is pinned: {:?}", layouts()) };
    fs::rename(layout, pinned.join("0123456789abcdef")).expect("a bpffs renames directories");
    if with_limit {
        fs::write(node.host.dir.join("state/pods").join(&uid).join("volume-v/go"), "").expect("a volume");
        let events = node.host.cgroup.join(format!("podbox.slice/burstable/pod{uid}/c-0/cgroup.events"));
        wait_until("it is killed", limit(), || is_empty(&events));
    }
    node.serve();
    assert_eq!(layouts(), std::slice::from_ref(layout));
    let said = node.run.as_ref().expect("it runs").complained();
    assert!(said.contains("2 were not") && said.contains("another layout"), "{said}");
    let events = node.ask("GET", "/api/v1/namespaces/default/events", None)["items"].take();
    let events = events.as_array().expect("a list");
    assert!(events.iter().any(|event| event["reason"] == "KernelEventsMissed"), "{events:?}");
    if with_limit {
        let pod = node.wait("hog", "has failed", |pod| phase(pod) == "Failed");
        assert_eq!(container(&pod)["state"]["terminated"]["reason"], "OOMKilled");
    }
    let text = metrics();
    // One of the two may have been put away by now.
    let told = ["1", "2"].map(|count| format!("podbox_kernel_unwatched_containers {count}"));
    assert!(text.lines().any(|line| told.contains(&line.to_owned())), "{text}");
    let output = node.host.podbox().args(["doctor", "-o", "json"]).output().expect("podbox starts");
    let report: Value = serde_json::from_slice(&output.stdout).expect("the doctor's report is JSON");
    let findings = report["findings"].as_array().expect("a list");
    let lost = findings.iter().find(|finding| finding["name"] == "running: watched containers");
    assert!(lost.is_some_and(|lost| lost["state"] == "degraded"), "{report}");
    node.stop();
    assert!(!pinned.exists(), "nothing stays pinned without pods");
}

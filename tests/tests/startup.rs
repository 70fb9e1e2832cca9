//! How pods begin: stage by stage with the kernel's times, whatever becomes of the clock, and with podbox's own process for the
//! first of a container's where that is asked for.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podbox_tests::comeback::{Node, container, spec};
use podbox_tests::run::limit;
use podbox_tests::wait::{wait_equal, wait_for, wait_until};
use podbox_tests::{metrics, needs};
use serde_json::{Value, json};
use std::process::Command;

/// What `podbox trace POD ARGS` prints.
fn trace(node: &Node, pod: &str, args: &[&str]) -> Option<String> {
    let output = node.host.podbox().args(["trace", pod]).args(args).output().expect("podbox starts");
    output.status.success().then(|| String::from_utf8(output.stdout).expect("it prints text"))
}

fn stages(node: &Node, pod: &str) -> Option<Vec<Value>> {
    let pods: Value = serde_json::from_str(&trace(node, pod, &["-o", "json"])?).expect("it prints JSON");
    Some(pods[0]["stages"].as_array().expect("a list").clone())
}

/// The stage of a container, or of the pod.
#[track_caller]
fn stage<'a>(stages: &'a [Value], name: &str, container: Option<&str>) -> &'a Value {
    let own = |stage: &&Value| stage["stage"] == name && stage["container"].as_str() == container;
    stages.iter().find(own).unwrap_or_else(|| panic!("no stage {name} of {container:?} in {stages:#?}"))
}

/// When it was over, in microseconds.
#[track_caller]
fn end(stage: &Value) -> u64 {
    let micros = |key: &str| stage[key].as_u64().unwrap_or_else(|| panic!("no {key} in {stage}"));
    micros("offset_us") + micros("took_us")
}

/// The value of a series; none yet is nothing yet.
fn metric(name: &str, labels: &[(&str, &str)]) -> f64 {
    metrics::value(&metrics::metrics(), name, labels).unwrap_or(0.0)
}

#[test]
fn a_pods_way_is_told_with_the_kernels_times_and_a_restart_makes_none_up() {
    let test = "a_pods_way_is_told_with_the_kernels_times_and_a_restart_makes_none_up";
    let Some(()) = needs::file(test, "/sys/kernel/btf/vmlinux") else { return };
    let Some(mut node) = Node::start(test) else { return };
    let mut web = spec("Never", "");
    web["containers"][0]["command"] = json!(["/bin/testjobs", "http", "8080", "--after", "300"]);
    web["containers"][0]["args"] = json!([]);
    web["containers"][0]["readinessProbe"] = json!({"httpGet": {"port": 8080}, "periodSeconds": 1});
    node.create("web", web);
    node.wait("web", "is ready", |pod| container(pod)["ready"] == true);

    let before = stages(&node, "web").expect("it is known");
    for name in ["accepted", "cgroup", "network", "mounts", "ready"] {
        assert_eq!(stage(&before, name, None)["seen_by"], "podbox", "{before:#?}");
    }
    let own = |name| stage(&before, name, Some("c"));
    assert_eq!(own("image")["seen_by"], "podbox");
    for name in ["exec", "listen", "connect"] {
        assert_eq!(own(name)["seen_by"], "kernel", "{before:#?}");
    }
    assert_eq!(own("listen")["remark"], "port 8080");
    assert!(end(own("listen")) >= end(own("exec")) + 300_000, "it waits before it listens: {before:#?}");
    match needs::in_machine() {
        true => assert_eq!(own("accept")["seen_by"], "kernel", "{before:#?}"),
        false => assert_eq!(own("accept")["remark"], "this kernel does not tell"),
    }
    let ends = ["image", "exec", "listen", "connect"].map(|name| end(own(name)));
    assert!(ends.is_sorted() && ends[3] <= end(stage(&before, "ready", None)), "{before:#?}");
    let text = trace(&node, "default/web", &[]).expect("it is known");
    assert!(text.contains(", ready after ") && text.contains('█'), "{text}");
    for name in ["image", "network", "exec", "listen", "ready"] {
        assert_eq!(metric("podbox_startup_stage_seconds_count", &[("stage", name)]), 1.0, "{name}");
    }

    node.restart(Signal::SIGKILL);
    let after = wait_for("it is known again", limit(), || stages(&node, "web"));
    assert_eq!(after, before);
    node.stop();
}

/// Sets the clock, as the program `date` says it.
fn set_clock(to: &str) {
    let set = Command::new("date").args(["--set", to]).output().expect("date is there");
    assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));
}

#[test]
fn a_clock_that_jumps_ends_nothing_and_lengthens_nothing() {
    let test = "a_clock_that_jumps_ends_nothing_and_lengthens_nothing";
    let Some(()) = needs::clock(test) else { return };
    let Some(()) = needs::one_kernel(test, &[]) else { return };
    let Some(mut node) = Node::start(test) else { return };
    let web = || {
        let mut web = spec("Always", "exec /bin/testjobs http 8080");
        let mut patient = json!({"httpGet": {"port": 8080}, "periodSeconds": 1, "timeoutSeconds": 60});
        web["containers"][0]["readinessProbe"] = patient.clone();
        patient["failureThreshold"] = 1.into();
        web["containers"][0]["livenessProbe"] = patient.clone();
        // Until it serves, nothing is held against it.
        patient["failureThreshold"] = 1000.into();
        web["containers"][0]["startupProbe"] = patient;
        web
    };
    let is_ready = |pod: &Value| container(pod)["ready"] == true;
    node.create("web", web());
    node.wait("web", "is ready", is_ready);
    let before = stages(&node, "web").expect("it is known");

    // Two lie dead while the clock goes on by an hour, and half of it back.
    node.create("pile", spec("Never", "/bin/testjobs zombies 2 --hold 20000; exit 3"));
    let of_pile = [("pod", "pile")];
    wait_until("two lie dead", limit(), || metric("podbox_zombies", &of_pile) == 2.0);
    set_clock("+1 hour");
    node.restart(Signal::SIGKILL);
    node.create("ahead", spec("Never", "exit 4"));
    node.wait("ahead", "has failed", |pod| pod["status"]["phase"] == "Failed");
    set_clock("-30 minutes");
    node.create("back", web());
    node.wait("back", "is ready", is_ready);
    let pile = node.wait("pile", "has failed", |pod| pod["status"]["phase"] == "Failed");
    assert_eq!(container(&pile)["state"]["terminated"]["exitCode"], 3);
    set_clock("-30 minutes");

    let lifetimes = |of| metric(&format!("podbox_zombie_lifetime_seconds_{of}"), &of_pile);
    // The shell, its child, and the two.
    wait_equal("all four were reaped", limit(), &4.0, || lifetimes("count"));
    assert!(lifetimes("sum") < 600.0, "{} s", lifetimes("sum"));
    for name in ["web", "ahead", "back"] {
        let told = stages(&node, name).expect("it is known");
        assert!(told.iter().all(|stage| end(stage) < 600_000_000), "{name}: {told:#?}");
    }
    assert_eq!(stages(&node, "web").expect("it is known"), before);
    let output = node.host.podbox().args(["why", "ahead", "-o", "json"]).output().expect("podbox starts");
    let why: Value = serde_json::from_slice(&output.stdout).expect("it prints JSON");
    assert_eq!(why[0]["containers"][0]["ends"].as_array().map(Vec::len), Some(1), "{why}");
    for name in ["web", "back"] {
        let pod = node.pod(name);
        assert!(is_ready(&pod) && container(&pod)["restartCount"] == 0, "{pod}");
    }
    node.stop();
}

/// Makes a pod whose container has eight orphans, and one more of its hook's; they end once [`let_end`], and the container is told of
/// signals from then on; its uid.
fn orphans(node: &Node, name: &str, annotations: Value) -> String {
    let leaves = "/bin/testjobs read /v/go --retry-until 600000 & exit 0";
    let leave = format!("for i in 1 2 3 4 5 6 7 8; do /bin/busybox sh -c '{leaves}'; done");
    let script = format!("trap '' USR1; {leave}; exec /bin/testjobs signals --code 7");
    let mut spec = spec("Never", &script);
    let tell = "[ ! -e /v/go ] || kill -USR1 1";
    let tells = json!({"exec": {"command": ["/bin/busybox", "sh", "-c", tell]}, "periodSeconds": 1, "timeoutSeconds": 60});
    spec["containers"][0]["livenessProbe"] = tells;
    let hook = json!({"exec": {"command": ["/bin/busybox", "sh", "-c", leaves]}});
    spec["containers"][0]["lifecycle"] = json!({"postStart": hook});
    node.create_with(name, &annotations, spec)
}

/// Lets the orphans end, now that the shell, which would reap them, has become another program.
fn let_end(node: &Node, uid: &str, name: &str) {
    wait_until("the shell has become another program", limit(), || {
        node.lines(uid, name).iter().any(|line| line == "waiting for signals")
    });
    let go = node.host.dir.join("state/pods").join(uid).join("volume-v/go");
    std::fs::write(go, "").expect("its volume is there");
}

/// The container's first process, and its id as the container sees it.
fn first(node: &Node, uid: &str) -> (Pid, String) {
    let pid = node.pid(uid).expect("it runs");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:")).expect("every kernel tells it");
    (Pid::from_raw(pid), ids.split_whitespace().next_back().expect("it has one").to_owned())
}

#[test]
fn an_init_reaps_hands_signals_on_and_is_in_nobodys_way() {
    let test = "an_init_reaps_hands_signals_on_and_is_in_nobodys_way";
    let Some(()) = needs::file(test, "/sys/kernel/btf/vmlinux") else { return };
    let Some(mut node) = Node::start(test) else { return };
    let with = orphans(&node, "with", json!({"podbox.io/init": "c"}));
    let without = orphans(&node, "without", json!({}));
    let hog = needs::has_controller("memory").then(|| {
        let mut hog = spec("Never", "exec /bin/testjobs eat 200");
        hog["containers"][0]["resources"] = json!({"limits": {"memory": "32Mi"}});
        node.create_with("hog", &json!({"podbox.io/init": "c", "podbox.io/oom-kill-of-child": "ignore"}), hog)
    });
    let_end(&node, &with, "with");
    let_end(&node, &without, "without");
    let piles = |pod: &Value| {
        let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|it| it["type"] == "podbox.io/ZombiesPileUp" && it["status"] == "True")
    };
    let careless = node.wait("without", "has zombies", piles);
    let told = careless["status"]["conditions"].to_string();
    assert!(
        told.contains(
            "does not reap what is left to it; an init would, by the pod's annotation podbox.io/init: c"
        ),
        "{told}"
    );
    // Nine shells, which their parents take, and what these have left.
    let reaped = || metric("podbox_zombie_lifetime_seconds_count", &[("pod", "with")]);
    wait_until("all that ended was reaped", limit(), || reaped() >= 18.0);
    let zombies = |pod| metric("podbox_zombies", &[("pod", pod)]);
    wait_equal("the others lie there", limit(), &(0.0, 9.0), || (zombies("with"), zombies("without")));
    // What the hook has left is told apart from what the container's own processes have.
    let caused = |cause| metric("podbox_zombie_causes", &[("pod", "without"), ("cause", cause)]);
    wait_equal("it is told whose they are", limit(), &(8.0, 1.0), || (caused("init"), caused("command")));
    assert!(!piles(&node.pod("with")));

    let ((program, id), (_, alone)) = (first(&node, &with), first(&node, &without));
    assert_eq!((id.as_str(), alone.as_str()), ("2", "1"));
    wait_until("what PID 1 is sent comes to the program", limit(), || {
        node.lines(&with, "with").iter().any(|line| line == "got SIGUSR1")
    });
    kill(program, Signal::SIGTERM).expect("it runs");
    let pod = node.wait("with", "has failed", |pod| pod["status"]["phase"] == "Failed");
    assert_eq!(container(&pod)["state"]["terminated"]["exitCode"], 7);
    if hog.is_some() {
        let pod = node.wait("hog", "has failed", |pod| pod["status"]["phase"] == "Failed");
        let ended = &container(&pod)["state"]["terminated"];
        assert_eq!((&ended["reason"], &ended["exitCode"]), (&json!("OOMKilled"), &json!(137)), "{ended}");
    }
    node.stop();
}

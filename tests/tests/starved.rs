//! What probes say while podbox itself is kept from running: nothing against containers.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::Signal;
use podbox_tests::host::{IMAGE, entries};
use podbox_tests::needs;
use podbox_tests::node::Node;
use podbox_tests::pods::{container, is_ready, pod};
use podbox_tests::rounds::{Random, seeds};
use podbox_tests::run::limit;
use podbox_tests::wait::wait_until;
use serde_json::{Value, json};

/// How podbox's log tells of a probe whose time ran out while it could not look.
const AGAIN: &str = "probe is run again: podbox";
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// A process that spins until it is dropped, or whoever started it is gone.
struct Spinning(Child);

impl Spinning {
    fn start() -> Spinning {
        let spin = "while kill -0 $PPID; do i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; done";
        let mut command = Command::new("nice");
        command.args(["-n", "-20", "/bin/busybox", "sh", "-c", spin]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Spinning(command.spawn().expect("coreutils are installed"))
    }
}

impl Drop for Spinning {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Gives whatever runs in a cgroup and below the priority of those that spin.
fn comes_first(cgroup: &Path) {
    let processes = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    if !processes.is_empty() {
        let mut renice = Command::new("renice");
        let done = renice.args(["-n", "-20", "-p"]).args(processes.lines()).output();
        assert!(done.is_ok_and(|done| done.status.success()), "root may raise priorities");
    }
    entries(cgroup).iter().filter(|path| path.is_dir()).for_each(|path| comes_first(path));
}

/// A server that always answers well within its liveness probe's time, whose first failure kills.
fn server(name: &str) -> Value {
    let probe =
        json!({"httpGet": {"port": 8080, "path": "/delay/250"}, "periodSeconds": 1, "timeoutSeconds": 1});
    let mut liveness = probe.clone();
    liveness["failureThreshold"] = 1.into();
    let container = json!({
        "name": "c", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "args": ["http", "8080"],
        "startupProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1, "failureThreshold": 1000},
        "readinessProbe": probe, "livenessProbe": liveness,
    });
    pod(name, json!({"containers": [container]}))
}

#[test]
fn no_container_is_killed_because_podbox_was_kept_from_running_seeded() {
    let test = "no_container_is_killed_because_podbox_was_kept_from_running_seeded";
    let Some(()) = needs::host(test) else { return };
    let Some(node) = Node::start(test) else { return };
    node.create_all(&NAMES.map(server));
    for name in NAMES {
        node.wait_pod(name, "is ready", is_ready);
    }
    // Where pods that ask for nothing get little of a processor, theirs is a question of its own.
    comes_first(&node.host.cgroup.join("podbox.slice/besteffort"));
    let processors = std::thread::available_parallelism().map_or(2, usize::from);
    let spinning: Vec<_> = (0..processors * 2).map(|_| Spinning::start()).collect();
    // It gets what is left of the processors, and for seconds nothing at all.
    let starve = |random: &mut Random| {
        node.signal(Signal::SIGSTOP);
        sleep(Duration::from_millis(1_100 + random.below(2_900)));
        node.signal(Signal::SIGCONT);
        // So long that one that was cut off is run again whole.
        sleep(Duration::from_millis(1_500 + random.below(2_000)));
    };
    let seeds = seeds(2);
    let mut random = Random::new(seeds.start);
    seeds.for_each(|_| starve(&mut random));
    wait_until("a probe's time runs out meanwhile", limit() * 2, || {
        starve(&mut random);
        node.complained().contains(AGAIN)
    });
    drop(spinning);
    for name in NAMES {
        let pod = node.wait_pod(name, "is ready, once podbox runs again", is_ready);
        assert_eq!(container(&pod, "c")["restartCount"], 0, "{pod:#}\n{}", node.complained());
        let told = node.events(name);
        assert!(!told.contains("Liveness probe failed"), "{told}");
    }
}

//! `podbox node` ended or killed, and started again: containers do not notice, and nothing of what they did is lost,
//! told twice or done again.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podbox_tests::comeback::{Node, PODS, assert_complete, container, phase, script, spec};
use podbox_tests::host::Host;
use podbox_tests::manifest;
use podbox_tests::rounds::{self, Random};
use podbox_tests::run::Run;
use podbox_tests::{needs, program, workspace};
use serde_json::{Value, json};

const STEADY: &str = "exec /bin/testjobs lines 1000000 --every 2";
const CRASHES: &str = "echo run >> /v/runs; exec /bin/testjobs exit 3 --after 60";

#[test]
fn a_node_killed_at_seeded_moments_loses_no_exit_and_no_line_and_restarts_nothing() {
    let test = "a_node_killed_at_seeded_moments_loses_no_exit_and_no_line_and_restarts_nothing";
    let Some(mut node) = Node::start(test) else { return };
    for seed in rounds::seeds(3) {
        println!("seed {seed}");
        round(&mut node, seed);
    }
    node.stop();
}

fn round(node: &mut Node, seed: u64) {
    let mut random = Random::new(seed);
    let steady = node.create("steady", spec("Always", STEADY));
    node.wait("steady", "is ready", |pod| container(pod)["ready"] == true);
    let pid = node.pid(&steady);
    let crashes = node.create("crashes", spec("Always", CRASHES));
    let mut ends = BTreeMap::new();
    for kill in 0..4 {
        let (name, code) = (format!("once{kill}"), random.below(100));
        let lines = random.below(60);
        let first = json!([script("exec /bin/testjobs sleep 5")]);
        let mut once = spec("Never", &format!("/bin/testjobs lines {lines} --every 2; exit {code}"));
        once["initContainers"] = first;
        once["initContainers"][0]["name"] = "first".into();
        node.create(&name, once);
        ends.insert(name, (code, lines));
        let doomed = format!("doomed{kill}");
        node.create(&doomed, spec("Always", STEADY));
        sleep(Duration::from_micros(random.below(200_000)));
        node.delete(&doomed, u32::try_from(random.below(2)).expect("small"));
        sleep(Duration::from_micros(random.below(30_000)));
        node.restart(Signal::SIGKILL);
    }
    for (name, (code, lines)) in &ends {
        let pod = node.wait(name, "has ended", |pod| matches!(phase(pod), "Succeeded" | "Failed"));
        let ended = &container(&pod)["state"]["terminated"];
        assert_eq!(ended["exitCode"], *code, "{name}: {ended}");
        assert_eq!(container(&pod)["restartCount"], 0, "{name}");
        assert!(ended["startedAt"].as_str() <= ended["finishedAt"].as_str(), "{name}: {ended}");
        let log = node.host.lines(name, "c", 0);
        assert_eq!(log.len() as u64, *lines, "the log of {name}");
        assert_complete(&log, name);
    }
    let same = node.pod("steady");
    assert_eq!((node.pid(&steady), &container(&same)["restartCount"]), (pid, &json!(0)));
    let had = node.lines(&steady, "steady");
    assert_complete(&had, "steady");
    let more = || node.lines(&steady, "steady").len() > had.len();
    podbox_tests::wait::wait_until("its log goes on", podbox_tests::run::limit(), more);
    // It waits between two runs: the number of runs stays as it is.
    let runs = node.host.dir.join("state/pods").join(&crashes).join("volume-v/runs");
    let count = || fs::read_to_string(&runs).expect("it has run").lines().count();
    // A run that has just begun is in the file first.
    let waits = |pod: &Value| {
        container(pod)["state"]["waiting"]["reason"] == "CrashLoopBackOff"
            && container(pod)["restartCount"] == count() - 1
    };
    let pod = node.wait("crashes", "waits, and has run as often as it says", waits);
    assert_eq!(container(&pod)["lastState"]["terminated"]["exitCode"], 3);
    for name in ends.keys().map(String::as_str).chain(["steady", "crashes"]) {
        node.delete(name, 1);
    }
    for name in ends
        .keys()
        .map(String::as_str)
        .chain(["steady", "crashes", "doomed0", "doomed1", "doomed2", "doomed3"])
    {
        node.wait(name, "is gone", |pod| pod["code"] == 404);
    }
    for uid in [steady, crashes] {
        assert!(!node.cgroup(&uid).exists());
    }
}

#[test]
fn an_ended_node_tells_of_what_happened_without_it_and_nothing_it_wrote_changes() {
    let test = "an_ended_node_tells_of_what_happened_without_it_and_nothing_it_wrote_changes";
    let Some(mut node) = Node::start(test) else { return };
    let uid = node.create("steady", spec("Always", STEADY));
    node.create("once", spec("Never", "trap 'exit 9' TERM; while :; do sleep 1; done"));
    let ready = |pod: &Value| container(pod)["ready"] == true;
    let before = node.wait("steady", "is ready", ready)["status"].clone();
    let once = node.wait("once", "is ready", ready);
    let (pid, other) = (node.pid(&uid), node.pid(once["metadata"]["uid"].as_str().unwrap()).unwrap());
    node.end(Signal::SIGTERM);
    kill(Pid::from_raw(other), Signal::SIGKILL).unwrap();
    node.serve();
    let once = node.wait("once", "has failed", |pod| phase(pod) == "Failed");
    let ended = &container(&once)["state"]["terminated"];
    assert_eq!(
        (&ended["exitCode"], &ended["signal"], &ended["reason"]),
        (&json!(137), &json!(9), &json!("Error"))
    );
    assert_eq!((&node.pod("steady")["status"], node.pid(&uid)), (&before, pid));
    node.stop();
}

#[test]
fn a_keeper_that_dies_without_podbox_costs_a_restart_that_is_told_as_such() {
    let test = "a_keeper_that_dies_without_podbox_costs_a_restart_that_is_told_as_such";
    let Some(mut node) = Node::start(test) else { return };
    let uid = node.create("steady", spec("Always", STEADY));
    node.create("once", spec("Never", STEADY));
    for name in ["steady", "once"] {
        node.wait(name, "is ready", |pod| container(pod)["ready"] == true);
    }
    let pid = node.pid(&uid);
    node.end(Signal::SIGKILL);
    kill(node.keeper(), Signal::SIGKILL).unwrap();
    node.serve();
    let again = |pod: &Value| container(pod)["ready"] == true && container(pod)["restartCount"] == 1;
    let pod = node.wait("steady", "runs again", again);
    let last = &container(&pod)["lastState"]["terminated"];
    assert_eq!((&last["exitCode"], &last["reason"]), (&json!(137), &json!("ContainerStatusUnknown")));
    let pid = pid.expect("it ran");
    // One that is dead and that nobody reaps has no command line.
    let left = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    assert!(left.is_empty(), "its first process is left");
    let once = node.wait("once", "has failed", |pod| phase(pod) == "Failed");
    assert_eq!(container(&once)["state"]["terminated"]["reason"], "ContainerStatusUnknown");
    // Under a running podbox it is the end of it, and says so.
    let mut run = node.run.take().expect("it runs");
    kill(node.keeper(), Signal::SIGKILL).unwrap();
    run.wait_complained("the keeper is gone");
    run.end().expect(1);
    node.serve();
    node.wait("steady", "runs again", |pod| {
        container(pod)["ready"] == true && container(pod)["restartCount"] == 2
    });
    node.stop();
}

#[test]
fn run_and_node_leave_each_others_pods_alone() {
    let Some(mut node) = Node::start("run_and_node_leave_each_others_pods_alone") else { return };
    let uid = node.create("steady", spec("Always", STEADY));
    node.wait("steady", "is ready", |pod| container(pod)["ready"] == true);
    let pid = node.pid(&uid);
    let short =
        manifest::pod("p", &format!("restartPolicy: Never, containers: [{}]", manifest::job("c", "exit 0")));
    node.end(Signal::SIGKILL);
    node.host.run(&short).end().expect(1).complains("1 of podbox node's pods are on this host");
    assert_eq!(node.pid(&uid), pid);
    node.serve();
    node.delete("steady", 1);
    node.wait("steady", "is gone", |pod| pod["code"] == 404);
    node.end(Signal::SIGTERM);

    let lasting = manifest::pod("lasts", &format!("containers: [{}]", manifest::job("c", "sleep 3600000")));
    let mut run = node.host.run(&lasting);
    run.wait_said("Running, ");
    run.signal(Signal::SIGKILL);
    run.end();
    node.serve();
    assert_eq!(node.host.pod_cgroup(), None, "what podbox run left is swept up");
    assert_eq!(node.ask("GET", PODS, None)["items"], json!([]));
    node.end(Signal::SIGTERM);
    // Without pods it leaves nothing, and a run finds nothing in its way.
    node.host.run(&short).end().expect(0);
    node.host.assert_clean();
}

#[test]
fn a_container_that_ran_out_of_memory_without_podbox_is_told_as_such() {
    let test = "a_container_that_ran_out_of_memory_without_podbox_is_told_as_such";
    let Some(()) = needs::controller(test, "memory") else { return };
    let Some(mut node) = Node::start(test) else { return };
    let mut hog = spec("Never", "until [ -e /v/go ]; do sleep 0.05; done; exec /bin/testjobs eat 200");
    hog["containers"][0]["resources"] = json!({"limits": {"memory": "32Mi"}});
    let uid = node.create("hog", hog);
    node.wait("hog", "is ready", |pod| container(pod)["ready"] == true);
    node.end(Signal::SIGKILL);
    fs::write(node.host.dir.join("state/pods").join(&uid).join("volume-v/go"), "").unwrap();
    let events = node.host.cgroup.join(format!("podbox.slice/burstable/pod{uid}/c-0/cgroup.events"));
    let over = || fs::read_to_string(&events).unwrap_or_default().contains("populated 0");
    podbox_tests::wait::wait_until("it is killed", podbox_tests::run::limit(), over);
    node.serve();
    let pod = node.wait("hog", "has failed", |pod| phase(pod) == "Failed");
    let ended = &container(&pod)["state"]["terminated"];
    assert_eq!((&ended["exitCode"], &ended["reason"]), (&json!(137), &json!("OOMKilled")));
    node.stop();
}

#[test]
fn the_service_manager_is_told_when_it_serves_and_when_it_ends() {
    let Some(host) = Host::new("the_service_manager_is_told_when_it_serves_and_when_it_ends") else { return };
    let path = host.dir.join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(podbox_tests::run::limit())).unwrap();
    let next = || {
        let mut buffer = [0; 4096];
        let length = manager.recv(&mut buffer).expect("it tells something");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let mut command = host.podbox();
    command.arg("node").env("NOTIFY_SOCKET", &path);
    let run = Run::start(command, &host.dir);
    assert!(next().lines().any(|line| line == "READY=1"));
    assert!(host.dir.join("state/admin.kubeconfig").exists() && host.dir.join("run/api.sock").exists());
    run.signal(Signal::SIGTERM);
    assert!(next().lines().any(|line| line == "STOPPING=1"));
    run.end().expect(0);
    host.assert_clean();
}

#[test]
fn systemd_accepts_the_unit() {
    let test = "systemd_accepts_the_unit";
    let Some(()) = needs::file(test, "/usr/bin/systemd-analyze") else { return };
    let unit = fs::read_to_string(workspace().join("podbox/systemd/podbox.service")).unwrap();
    // What it starts must be there.
    let program = program("podbox").display().to_string();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("podbox.service");
    fs::write(&file, unit.replace("/usr/local/bin/podbox", &program)).unwrap();
    let verified = Command::new("systemd-analyze").arg("verify").arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    assert!(verified.status.success() && !said.contains("podbox.service"), "{said}");
}

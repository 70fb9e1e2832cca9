//! `podbox node` ended or killed, and started again: containers do not notice, and nothing of what they did is lost,
//! told twice or done again.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podbox_tests::api::Access;
use podbox_tests::host::{Host, IMAGE, entries};
use podbox_tests::manifest;
use podbox_tests::rounds::{self, Random};
use podbox_tests::run::Run;
use podbox_tests::{needs, program, workspace};
use serde_json::{Value, json};

const PODS: &str = "/api/v1/namespaces/default/pods";

/// A host with a node that comes and goes.
struct Node {
    host: Host,
    run: Option<Run>,
    tokio: tokio::runtime::Runtime,
}

impl Node {
    fn start(name: &str) -> Option<Node> {
        let host = Host::new(name)?;
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let mut node = Node { host, run: None, tokio };
        node.serve();
        Some(node)
    }

    fn serve(&mut self) {
        let mut command = self.host.podbox();
        command.arg("node");
        let mut run = Run::start(command, &self.host.dir);
        run.wait_said("export KUBECONFIG=");
        self.run = Some(run);
    }

    /// Ends the daemon, and nothing else.
    fn end(&mut self, signal: Signal) {
        let run = self.run.take().expect("it runs");
        run.signal(signal);
        let ended = run.end();
        assert_eq!(ended.status.success(), signal == Signal::SIGTERM, "{}", ended.err);
    }

    fn restart(&mut self, signal: Signal) {
        self.end(signal);
        self.serve();
    }

    #[track_caller]
    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let kubeconfig = self.host.dir.join("state/admin.kubeconfig");
        let answer = self.tokio.block_on(async { Access::read(&kubeconfig)?.ask(method, path, body).await });
        let answer = answer.expect("the API answers");
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(answer.code < 300 || answer.code == 404, "{method} {path}: {}\n{text}", answer.code);
        answer.json()
    }

    fn create(&self, name: &str, spec: Value) -> String {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec});
        let made = self.ask("POST", PODS, Some(&pod));
        made["metadata"]["uid"].as_str().expect("it has a uid").to_owned()
    }

    fn delete(&self, name: &str, grace: u32) {
        self.ask("DELETE", &format!("{PODS}/{name}?gracePeriodSeconds={grace}"), None);
    }

    fn pod(&self, name: &str) -> Value {
        self.ask("GET", &format!("{PODS}/{name}"), None)
    }

    /// Waits until a pod is like this.
    #[track_caller]
    fn wait(&mut self, name: &str, what: &str, like: impl Fn(&Value) -> bool) -> Value {
        let mut run = self.run.take().expect("it runs");
        let mut last = Value::Null;
        let found = run.wait_for(&format!("pod {name} {what}"), || {
            let pod = self.pod(name);
            if pod != last {
                // Told only when the test fails.
                println!("{name}: {} {}", pod["metadata"]["deletionTimestamp"], pod["status"]);
                last.clone_from(&pod);
            }
            Some(pod).filter(&like)
        });
        self.run = Some(run);
        found
    }

    /// The first process of a container's first run.
    fn pid(&self, uid: &str) -> Option<i32> {
        let procs = self.cgroup(uid).join("c-0/cgroup.procs");
        fs::read_to_string(procs).ok()?.lines().next()?.parse().ok()
    }

    /// The lines of a log that is being written, without the one that may be on its way.
    fn lines(&self, uid: &str, name: &str) -> Vec<String> {
        let file = self.host.dir.join(format!("logs/default_{name}_{uid}/c/0.log"));
        let text = fs::read_to_string(file).unwrap_or_default();
        let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        podbox_tests::log::parse(whole).into_iter().map(|entry| entry.text).collect()
    }

    fn cgroup(&self, uid: &str) -> PathBuf {
        self.host.cgroup.join(format!("podbox.slice/besteffort/pod{uid}"))
    }

    fn keeper(&self) -> Pid {
        let procs = fs::read_to_string(self.host.cgroup.join("podbox.slice/keeper/cgroup.procs"))
            .expect("the keeper has a cgroup");
        Pid::from_raw(procs.trim().parse().expect("one keeper"))
    }

    /// Ends everything, and proves that nothing is left.
    fn stop(mut self) {
        if self.run.is_some() {
            self.end(Signal::SIGTERM);
        }
        let mut stop = self.host.podbox();
        stop.args(["stop", "--grace-period", "1"]);
        Run::start(stop, &self.host.dir).end().expect(0);
        for file in entries(&self.host.dir.join("run/memories")) {
            fs::remove_file(file).expect("it is ours");
        }
        self.host.assert_clean();
    }
}

/// A container that runs a script of busybox's shell.
fn script(text: &str) -> Value {
    json!({
        "name": "c", "image": IMAGE, "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/busybox", "sh", "-c"], "args": [text],
        "volumeMounts": [{"name": "v", "mountPath": "/v"}],
    })
}

fn spec(policy: &str, text: &str) -> Value {
    json!({
        "restartPolicy": policy, "terminationGracePeriodSeconds": 1, "containers": [script(text)],
        "volumes": [{"name": "v", "emptyDir": {}}],
    })
}

fn container(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]
}

fn phase(pod: &Value) -> &str {
    pod["status"]["phase"].as_str().unwrap_or_default()
}

/// Panics unless these are all lines from the first on, each once.
#[track_caller]
fn assert_complete(lines: &[String], name: &str) {
    let numbered = (1..=lines.len()).map(|number| format!("line {number}"));
    let wrong = numbered.zip(lines).find(|(expected, line)| expected != *line);
    assert_eq!(wrong, None, "the log of {name} lost or repeated a line");
}

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
    let waits = |pod: &Value| container(pod)["state"]["waiting"]["reason"] == "CrashLoopBackOff";
    let pod = node.wait("crashes", "waits", waits);
    let runs = node.host.dir.join("state/pods").join(&crashes).join("volume-v/runs");
    let runs = fs::read_to_string(runs).expect("it has run").lines().count();
    assert_eq!(container(&pod)["restartCount"], runs - 1, "{}", container(&pod));
    assert_eq!(container(&pod)["lastState"]["terminated"]["exitCode"], 3);
    for name in ends.keys().map(String::as_str).chain(["steady", "crashes"]) {
        node.delete(name, 1);
    }
    for name in ends.keys().map(String::as_str).chain(["steady", "crashes", "doomed0", "doomed3"]) {
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

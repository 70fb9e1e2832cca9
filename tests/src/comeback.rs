//! A `podbox node` that comes and goes, on a host of the test's own, and pods whose containers write numbered lines: to
//! compare what was before with what is after.

use std::fs;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::api::Access;
use crate::host::{Host, IMAGE, entries};
use crate::run::Run;

/// Where pods are in the API.
pub const PODS: &str = "/api/v1/namespaces/default/pods";

/// A host with a node that comes and goes.
pub struct Node {
    /// The host.
    pub host: Host,
    /// The daemon, while it runs.
    pub run: Option<Run>,
    tokio: tokio::runtime::Runtime,
}

impl Node {
    /// Starts a node, with the test image; none, loudly, where the test `name` cannot run.
    pub fn start(name: &str) -> Option<Node> {
        let host = Host::new(name)?;
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let mut node = Node { host, run: None, tokio };
        node.serve();
        Some(node)
    }

    /// Starts the daemon.
    pub fn serve(&mut self) {
        let mut command = self.host.podbox();
        command.arg("node");
        let mut run = Run::start(command, &self.host.dir);
        run.wait_said("export KUBECONFIG=");
        self.run = Some(run);
    }

    /// Ends the daemon, and nothing else.
    pub fn end(&mut self, signal: Signal) {
        let run = self.run.take().expect("it runs");
        run.signal(signal);
        let ended = run.end();
        assert_eq!(ended.status.success(), signal == Signal::SIGTERM, "{}", ended.err);
    }

    /// Ends the daemon by this signal, and starts another.
    pub fn restart(&mut self, signal: Signal) {
        self.end(signal);
        self.serve();
    }

    /// Asks the API.
    #[track_caller]
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let kubeconfig = self.host.dir.join("state/admin.kubeconfig");
        let answer = self.tokio.block_on(async { Access::read(&kubeconfig)?.ask(method, path, body).await });
        let answer = answer.expect("the API answers");
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(answer.code < 300 || answer.code == 404, "{method} {path}: {}\n{text}", answer.code);
        answer.json()
    }

    /// Makes a pod; its uid.
    pub fn create(&self, name: &str, spec: Value) -> String {
        self.create_with(name, &json!({}), spec)
    }

    /// Makes a pod with these annotations; its uid.
    pub fn create_with(&self, name: &str, annotations: &Value, spec: Value) -> String {
        let metadata = json!({"name": name, "annotations": annotations});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec});
        let made = self.ask("POST", PODS, Some(&pod));
        made["metadata"]["uid"].as_str().expect("it has a uid").to_owned()
    }

    /// Asks for a pod's end.
    pub fn delete(&self, name: &str, grace: u32) {
        self.ask("DELETE", &format!("{PODS}/{name}?gracePeriodSeconds={grace}"), None);
    }

    /// A pod as the API has it.
    pub fn pod(&self, name: &str) -> Value {
        self.ask("GET", &format!("{PODS}/{name}"), None)
    }

    /// Waits until a pod is like this.
    #[track_caller]
    pub fn wait(&mut self, name: &str, what: &str, like: impl Fn(&Value) -> bool) -> Value {
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
    pub fn pid(&self, uid: &str) -> Option<i32> {
        let procs = self.cgroup(uid).join("c-0/cgroup.procs");
        fs::read_to_string(procs).ok()?.lines().next()?.parse().ok()
    }

    /// The lines of a log that is being written, without the one that may be on its way.
    pub fn lines(&self, uid: &str, name: &str) -> Vec<String> {
        let file = self.host.dir.join(format!("logs/default_{name}_{uid}/c/0.log"));
        let text = fs::read_to_string(file).unwrap_or_default();
        let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        crate::log::parse(whole).into_iter().map(|entry| entry.text).collect()
    }

    /// A pod's cgroup; it has no requests and no limits.
    pub fn cgroup(&self, uid: &str) -> PathBuf {
        self.host.cgroup.join(format!("podbox.slice/besteffort/pod{uid}"))
    }

    /// The keeper's process.
    pub fn keeper(&self) -> Pid {
        let procs = fs::read_to_string(self.host.cgroup.join("podbox.slice/keeper/cgroup.procs"))
            .expect("the keeper has a cgroup");
        Pid::from_raw(procs.trim().parse().expect("one keeper"))
    }

    /// Ends everything, and proves that nothing is left.
    pub fn stop(mut self) {
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
pub fn script(text: &str) -> Value {
    json!({
        "name": "c", "image": IMAGE, "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/busybox", "sh", "-c"], "args": [text],
        "volumeMounts": [{"name": "v", "mountPath": "/v"}],
    })
}

/// A pod of one such container, `c`, with an emptyDir at `/v`.
pub fn spec(policy: &str, text: &str) -> Value {
    json!({
        "restartPolicy": policy, "terminationGracePeriodSeconds": 1, "containers": [script(text)],
        "volumes": [{"name": "v", "emptyDir": {}}],
    })
}

/// The status of its first container.
pub fn container(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]
}

/// Its phase.
pub fn phase(pod: &Value) -> &str {
    pod["status"]["phase"].as_str().unwrap_or_default()
}

/// Asserts that these are all lines from the first on, each once.
///
/// # Panics
/// If one is missing or there twice.
#[track_caller]
pub fn assert_complete(lines: &[String], name: &str) {
    let numbered = (1..=lines.len()).map(|number| format!("line {number}"));
    let wrong = numbered.zip(lines).find(|(expected, line)| expected != *line);
    assert_eq!(wrong, None, "the log of {name} lost or repeated a line");
}

//! Probes of every kind on the real kernel, through the API: what they decide, what they end, what `kubectl describe` says
//! of them, and that nothing of them stays.

use std::fs;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use podbox_tests::host::IMAGE;
use podbox_tests::needs;
use podbox_tests::node::Node;
use podbox_tests::run::limit;
use podbox_tests::wait::{wait_for, wait_until};
use serde_json::{Value, json};

/// A node, and directories that its pods see as `/h`.
struct Probed {
    node: Node,
}

impl Probed {
    fn start(test: &str) -> Option<Probed> {
        needs::host(test)?;
        Some(Probed { node: Node::start(test)? })
    }

    fn dir(&self, pod: &str) -> PathBuf {
        let dir = self.node.host.dir.join("h").join(pod);
        fs::create_dir_all(&dir).expect("the test's tmpfs has room");
        dir
    }

    fn create(&self, name: &str, spec: Value) {
        self.create_with(name, json!({}), spec);
    }

    fn create_with(&self, name: &str, annotations: Value, mut spec: Value) {
        spec["volumes"] = json!([{"name": "h", "hostPath": {"path": self.dir(name)}}]);
        if spec["terminationGracePeriodSeconds"].is_null() {
            spec["terminationGracePeriodSeconds"] = 1.into();
        }
        let metadata = json!({"name": name, "labels": {"app": name}, "annotations": annotations});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec});
        let file = self.node.host.file(&format!("{name}.json"), pod.to_string());
        self.node.kubectl(&["create", "-f", file.to_str().expect("the path is UTF-8")]);
    }

    fn pod(&self, name: &str) -> Value {
        let text = self.node.kubectl(&["get", "pod", name, "-o", "json"]);
        serde_json::from_str(&text).expect("kubectl prints JSON")
    }

    #[track_caller]
    fn wait(&self, name: &str, what: &str, so: impl Fn(&Value) -> bool) -> Value {
        wait_for(&format!("{name} {what}"), limit(), || Some(self.pod(name)).filter(|pod| so(pod)))
    }

    /// Waits until the pod's Events say all of this; `IP` stands for its address.
    #[track_caller]
    fn told(&self, name: &str, words: &[&str]) {
        let mut said = String::new();
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_until(&format!("{name} is told of"), limit(), || {
                let ip = self.pod(name)["status"]["podIP"].as_str().unwrap_or("none").to_owned();
                said = self.node.kubectl(&["describe", "pod", name]).replace(&ip, "IP");
                said = said.split_whitespace().collect::<Vec<_>>().join(" ");
                words.iter().all(|word| said.contains(word))
            });
        }));
        assert!(found.is_ok(), "{name} is not told of as {words:?}:\n{said}");
    }
}

/// A container that does a job of the test image, or runs a script of busybox's shell, with `/h` as its pod's directory.
fn container(name: &str, job: &str, fields: Value) -> Value {
    let args: Vec<&str> = job.split_whitespace().collect();
    let mut container = json!({
        "name": name, "image": IMAGE, "imagePullPolicy": "IfNotPresent", "args": args,
        "volumeMounts": [{"name": "h", "mountPath": "/h"}],
    });
    let more = fields.as_object().cloned().unwrap_or_default();
    container.as_object_mut().expect("it is one").extend(more);
    container
}

fn sh(script: &str) -> Value {
    json!({"command": ["/bin/busybox", "sh", "-c", script]})
}

/// A probe with these fields, every second, of which the first failure counts.
fn probe(handler: Value) -> Value {
    let mut probe = json!({"periodSeconds": 1, "failureThreshold": 1});
    probe.as_object_mut().expect("it is one").extend(handler.as_object().cloned().unwrap_or_default());
    probe
}

fn status<'a>(pod: &'a Value, name: &str) -> &'a Value {
    let all = ["initContainerStatuses", "containerStatuses"].map(|list| pod["status"][list].as_array());
    let mut all = all.into_iter().flatten().flatten();
    all.find(|status| status["name"] == name).unwrap_or(&Value::Null)
}

fn ready(pod: &Value) -> bool {
    let mut all = pod["status"]["conditions"].as_array().into_iter().flatten();
    all.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

fn restarts(pod: &Value, name: &str) -> u64 {
    status(pod, name)["restartCount"].as_u64().unwrap_or_default()
}

#[test]
fn readiness_follows_the_container_and_endpoints_follow_readiness() {
    let Some(probed) = Probed::start("readiness_follows_the_container_and_endpoints_follow_readiness") else {
        return;
    };
    let file = probe(json!({"exec": {"command": ["/bin/busybox", "cat", "/h/ready"]}}));
    probed.create(
        "exec",
        json!({"containers": [container("c", "http 8080", json!({"readinessProbe": file}))]}),
    );
    probed.node.kubectl(&["expose", "pod", "exec", "--port=80", "--target-port=8080"]);
    let web = json!({"httpGet": {"port": "web", "path": "/x", "httpHeaders": [{"name": "X", "value": "y"}]}});
    let named = json!({"readinessProbe": probe(web), "ports": [{"name": "web", "containerPort": 8080}]});
    probed.create("http", json!({"containers": [container("c", "http 8080 --after 500", named)]}));
    let tcp = json!({"readinessProbe": probe(json!({"tcpSocket": {"port": 8080}}))});
    probed.create("tcp", json!({"containers": [container("c", "tcp 8080 --after 500", tcp)]}));
    let sick = json!({"readinessProbe": probe(json!({"httpGet": {"port": 8080, "path": "/status/503"}}))});
    probed.create("sick", json!({"containers": [container("c", "http 8080", sick)]}));

    let unready = probed.wait("exec", "runs", |pod| status(pod, "c")["started"] == true);
    assert_eq!((ready(&unready), &status(&unready, "c")["ready"]), (false, &json!(false)));
    probed.told(
        "exec",
        &["Unhealthy", "Readiness probe failed: cat: can't open '/h/ready': No such file or directory"],
    );
    let endpoints = || {
        let list = probed.node.kubectl(&[
            "get",
            "endpointslices",
            "-l",
            "kubernetes.io/service-name=exec",
            "-o",
            "json",
        ]);
        let list: Value = serde_json::from_str(&list).expect("kubectl prints JSON");
        list["items"][0]["endpoints"][0]["conditions"]["ready"].clone()
    };
    wait_until("an endpoint is there and not ready", limit(), || endpoints() == false);
    fs::write(probed.dir("exec").join("ready"), "").expect("the test's tmpfs has room");
    probed.wait("exec", "is ready", ready);
    wait_until("its endpoint is ready", limit(), || endpoints() == true);
    fs::remove_file(probed.dir("exec").join("ready")).expect("it is there");
    probed.wait("exec", "is not ready any more", |pod| !ready(pod));
    wait_until("its endpoint is not ready any more", limit(), || endpoints() == false);

    probed.wait("http", "is ready", ready);
    assert!(probed.node.kubectl(&["logs", "http"]).contains("GET /x HTTP/1.1 -> 200"));
    probed.told(
        "http",
        &["Readiness probe failed: Get \"http://IP:8080/x\": dial tcp IP:8080: connect: connection refused"],
    );
    probed.wait("tcp", "is ready", ready);
    probed.told("tcp", &["Readiness probe failed: dial tcp IP:8080: connect: connection refused"]);
    probed.told("sick", &["Readiness probe failed: HTTP probe failed with statuscode: 503"]);
    let sick = probed.pod("sick");
    assert_eq!((ready(&sick), restarts(&sick, "c")), (false, 0));
}

#[test]
fn liveness_and_startup_end_the_container_within_the_probes_own_grace_and_it_runs_again() {
    let test = "liveness_and_startup_end_the_container_within_the_probes_own_grace_and_it_runs_again";
    let Some(probed) = Probed::start(test) else { return };
    let stubborn = "trap 'echo term >> /h/log' TERM; echo run >> /h/log; while :; do sleep 0.05; done";
    let mut live = probe(json!({"tcpSocket": {"port": 81}, "terminationGracePeriodSeconds": 1}));
    let mut fields = sh(stubborn);
    fields["livenessProbe"] = live.clone();
    let spec = json!({"terminationGracePeriodSeconds": 600, "containers": [container("c", "", fields)]});
    probed.create("live", spec);
    // A sidecar, and a container that is not to run again.
    live["initialDelaySeconds"] = 1.into();
    let sidecar = json!({"restartPolicy": "Always", "livenessProbe": live.clone()});
    let never = container("c", "sleep 1000000", json!({"livenessProbe": live}));
    probed.create(
        "never",
        json!({"restartPolicy": "Never", "containers": [never],
        "initContainers": [container("side", "sleep 1000000", sidecar)]}),
    );
    let mut start = probe(json!({"exec": {"command": ["/bin/busybox", "false"]}}));
    start["failureThreshold"] = 2.into();
    let ready = probe(json!({"exec": {"command": ["/bin/busybox", "touch", "/h/asked"]}}));
    let fields = json!({"startupProbe": start, "readinessProbe": ready.clone(), "livenessProbe": ready});
    probed.create("start", json!({"containers": [container("c", "sleep 1000000", fields)]}));

    let pod = probed.wait("live", "ran again", |pod| restarts(pod, "c") >= 1);
    let ended = &status(&pod, "c")["lastState"]["terminated"];
    assert_eq!((&ended["exitCode"], &ended["reason"]), (&json!(137), &json!("Error")));
    let log = fs::read_to_string(probed.dir("live").join("log")).expect("it wrote one");
    assert!(log.starts_with("run\nterm\nrun\n"), "it is asked before it is killed: {log}");
    probed.told(
        "live",
        &[
            "Liveness probe failed: dial tcp IP:81: connect: connection refused",
            "Container c failed liveness probe, will be restarted",
        ],
    );
    let pod = probed.wait("start", "ran again", |pod| restarts(pod, "c") >= 1);
    assert!(status(&pod, "c")["started"] == false);
    assert!(!probed.dir("start").join("asked").exists(), "the other probes wait for the startup probe");
    probed.told("start", &["Startup probe failed:", "Container c failed startup probe, will be restarted"]);
    let pod = probed.wait("never", "is over", |pod| pod["status"]["phase"] == "Failed");
    assert_eq!(restarts(&pod, "c"), 0);
    probed.told("never", &["Container c failed liveness probe", "Init container side failed liveness probe"]);
}

#[test]
fn a_sidecar_holds_up_what_follows_until_its_startup_probe_succeeds() {
    let test = "a_sidecar_holds_up_what_follows_until_its_startup_probe_succeeds";
    let Some(probed) = Probed::start(test) else { return };
    let mut startup = probe(json!({"exec": {"command": ["/bin/busybox", "cat", "/h/go"]}}));
    startup["failureThreshold"] = 1000.into();
    let readiness = probe(json!({"exec": {"command": ["/bin/busybox", "cat", "/h/ready"]}}));
    let fields = json!({"restartPolicy": "Always", "startupProbe": startup, "readinessProbe": readiness});
    probed.create(
        "p",
        json!({"initContainers": [container("side", "sleep 1000000", fields)],
        "containers": [container("c", "sleep 1000000", json!({}))]}),
    );
    probed.told("p", &["Startup probe failed: cat: can't open '/h/go'"]);
    let pod = probed.pod("p");
    assert_eq!(status(&pod, "side")["started"], false);
    assert!(status(&pod, "side")["state"]["running"].is_object());
    assert_eq!(status(&pod, "c")["state"]["waiting"]["reason"], "PodInitializing");
    fs::write(probed.dir("p").join("go"), "").expect("the test's tmpfs has room");
    let pod = probed.wait("p", "runs", |pod| status(pod, "c")["state"]["running"].is_object());
    assert!(!ready(&pod), "the sidecar counts");
    fs::write(probed.dir("p").join("ready"), "").expect("the test's tmpfs has room");
    probed.wait("p", "is ready", ready);
}

#[test]
fn a_daemon_that_is_killed_flips_no_ready_condition_and_goes_on_probing() {
    let test = "a_daemon_that_is_killed_flips_no_ready_condition_and_goes_on_probing";
    let Some(mut probed) = Probed::start(test) else { return };
    let mut readiness = probe(json!({"exec": {"command": ["/bin/busybox", "cat", "/h/ready"]}}));
    let mut startup = readiness.clone();
    startup["failureThreshold"] = 1000.into();
    readiness["periodSeconds"] = 2.into();
    fs::write(probed.dir("p").join("ready"), "").expect("the test's tmpfs has room");
    let fields = json!({"startupProbe": startup, "readinessProbe": readiness});
    probed.create("p", json!({"containers": [container("c", "sleep 1000000", fields)]}));
    let since = |pod: &Value| {
        let mut all = pod["status"]["conditions"].as_array().into_iter().flatten();
        all.find(|condition| condition["type"] == "Ready").map(|ready| ready["lastTransitionTime"].clone())
    };
    let before = since(&probed.wait("p", "is ready", ready));
    probed.node.restart(Signal::SIGKILL);
    let pod = probed.pod("p");
    assert!(ready(&pod));
    assert_eq!((since(&pod), restarts(&pod, "c")), (before, 0));
    fs::remove_file(probed.dir("p").join("ready")).expect("it is there");
    let pod = probed.wait("p", "is not ready any more", |pod| !ready(pod));
    assert_eq!((&status(&pod, "c")["started"], restarts(&pod, "c")), (&json!(true), 0));
}

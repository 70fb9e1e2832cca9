//! Probes of every kind on the real kernel, through the API: what they decide, what they end, what `kubectl describe` says
//! of them, and that nothing of them stays.

use std::fs;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use podbox_tests::host::{Host, IMAGE};
use podbox_tests::manifest;
use podbox_tests::node::Node;
use podbox_tests::pods::{container as status, is_ready as ready};
use podbox_tests::run::limit;
use podbox_tests::wait::{wait_equal, wait_for, wait_until};
use podbox_tests::{metrics, needs};
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
        self.node.pod(name)
    }

    #[track_caller]
    fn wait(&self, name: &str, what: &str, so: impl Fn(&Value) -> bool) -> Value {
        wait_for(&format!("{name} {what}"), limit(), || Some(self.pod(name)).filter(|pod| so(pod)))
    }

    /// The cgroups of a pod.
    fn cgroups(&self, pod: &str) -> Vec<PathBuf> {
        let uid = self.pod(pod)["metadata"]["uid"].as_str().expect("it has one").to_owned();
        let mut found = vec![self.node.host.cgroup.clone()];
        let mut own = Vec::new();
        while let Some(dir) = found.pop() {
            let below = fs::read_dir(&dir).into_iter().flatten().flatten();
            found.extend(below.map(|entry| entry.path()).filter(|path| path.is_dir()));
            if dir.to_string_lossy().contains(&uid) {
                own.push(dir);
            }
        }
        own
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

/// Fields of a container that does a job once `/h/go` is there.
fn later(job: &str) -> Value {
    sh(&format!("until [ -e /h/go ]; do /bin/busybox sleep 0.05; done; exec /bin/testjobs {job}"))
}

/// A probe with these fields, every second, of which the first failure counts.
fn probe(handler: Value) -> Value {
    let mut probe = json!({"periodSeconds": 1, "failureThreshold": 1});
    probe.as_object_mut().expect("it is one").extend(handler.as_object().cloned().unwrap_or_default());
    probe
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
    let mut named = later("http 8080");
    (named["readinessProbe"], named["ports"]) = (probe(web), json!([{"name": "web", "containerPort": 8080}]));
    probed.create("http", json!({"containers": [container("c", "", named)]}));
    let mut tcp = later("tcp 8080");
    tcp["readinessProbe"] = probe(json!({"tcpSocket": {"port": 8080}}));
    probed.create("tcp", json!({"containers": [container("c", "", tcp)]}));
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

    probed.told(
        "http",
        &["Readiness probe failed: Get \"http://IP:8080/x\": dial tcp IP:8080: connect: connection refused"],
    );
    probed.told("tcp", &["Readiness probe failed: dial tcp IP:8080: connect: connection refused"]);
    for name in ["http", "tcp"] {
        fs::write(probed.dir(name).join("go"), "").expect("the test's tmpfs has room");
        probed.wait(name, "is ready", ready);
    }
    wait_until("the server says who asked", limit(), || {
        probed.node.kubectl(&["logs", "http"]).contains("GET /x HTTP/1.1 -> 200")
    });
    probed.told("sick", &["Readiness probe failed: HTTP probe failed with statuscode: 503"]);
    let sick = probed.pod("sick");
    assert_eq!((ready(&sick), restarts(&sick, "c")), (false, 0));
}

#[test]
fn liveness_and_startup_end_the_container_within_the_probes_own_grace_and_it_runs_again() {
    let test = "liveness_and_startup_end_the_container_within_the_probes_own_grace_and_it_runs_again";
    let Some(probed) = Probed::start(test) else { return };
    let stubborn =
        "trap 'echo term >> /h/log' TERM; echo run >> /h/log; touch /h/up; while :; do sleep 0.05; done";
    let live = probe(json!({"tcpSocket": {"port": 81}, "terminationGracePeriodSeconds": 3}));
    let mut fields = sh(stubborn);
    // By then it has said what it does when it is asked to end.
    let mut up = probe(json!({"exec": {"command": ["/bin/busybox", "cat", "/h/up"]}, "timeoutSeconds": 60}));
    up["failureThreshold"] = 1000.into();
    (fields["startupProbe"], fields["livenessProbe"]) = (up, live.clone());
    let spec = json!({"terminationGracePeriodSeconds": 600, "containers": [container("c", "", fields)]});
    probed.create("live", spec);
    // A sidecar, and a container that is not to run again.
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
    let log = probed.dir("live").join("log");
    wait_until("it is asked before it is killed, and runs again", limit(), || {
        fs::read_to_string(&log).is_ok_and(|log| log.starts_with("run\nterm\nrun\n"))
    });
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
fn a_pod_that_is_run_without_a_node_is_probed_too() {
    let test = "a_pod_that_is_run_without_a_node_is_probed_too";
    let Some(()) = needs::host(test) else { return };
    let Some(host) = Host::new(test) else { return };
    let probe = "exec: {command: [/bin/busybox, sh, -c, '[ ! -e /v/sick ]']}, timeoutSeconds: 60, periodSeconds: 1, \
                 failureThreshold: 1";
    let fields = format!("volumeMounts: [{{name: v, mountPath: /v}}], livenessProbe: {{{probe}}}");
    // The second run is well, however long it takes to end.
    let text = "[ -e /v/ran ] && exit 0; trap 'rm /v/sick; exit 1' TERM; touch /v/ran /v/sick; while :; do sleep 0.05; done";
    let container = manifest::script("c", text, &fields);
    let spec = format!(
        "restartPolicy: OnFailure, volumes: [{{name: v, emptyDir: {{}}}}], containers: [{container}]"
    );
    let run = host.run(&manifest::pod("probed", &spec));
    run.end().expect(0).says("default/probed c: Completed, restarts: 1");
    host.assert_clean();
}

#[test]
fn a_daemon_that_is_killed_flips_no_ready_condition_and_goes_on_probing() {
    let test = "a_daemon_that_is_killed_flips_no_ready_condition_and_goes_on_probing";
    let Some(mut probed) = Probed::start(test) else { return };
    let cat = json!({"exec": {"command": ["/bin/busybox", "cat", "/h/ready"]}, "timeoutSeconds": 30});
    let mut readiness = probe(cat);
    let mut startup = readiness.clone();
    startup["failureThreshold"] = 1000.into();
    readiness["periodSeconds"] = 2.into();
    fs::write(probed.dir("p").join("ready"), "").expect("the test's tmpfs has room");
    let hangs = json!({"exec": {"command": ["/bin/busybox", "sleep", "1000003"]}, "timeoutSeconds": 3600});
    let fields = json!({"startupProbe": startup, "readinessProbe": readiness, "livenessProbe": probe(hangs)});
    probed.create("p", json!({"containers": [container("c", "sleep 1000000", fields)]}));
    let since = |pod: &Value| {
        let mut all = pod["status"]["conditions"].as_array().into_iter().flatten();
        all.find(|condition| condition["type"] == "Ready").map(|ready| ready["lastTransitionTime"].clone())
    };
    let before = since(&probed.wait("p", "is ready", ready));
    let sleeps = "sleep\x001000003\0";
    let commands = |probed: &Probed| -> Vec<PathBuf> {
        let sleeps = |dir: &PathBuf| {
            let pids = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
            let line = |pid: &str| fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            pids.lines().any(|pid| line(pid).ends_with(sleeps))
        };
        probed.cgroups("p").into_iter().filter(sleeps).collect()
    };
    let hanging = wait_for("a command hangs", limit(), || commands(&probed).pop());
    probed.node.restart(Signal::SIGKILL);
    // It is told as zero before its first failure, which would be no growth else.
    let failed = [("pod", "p"), ("probe_type", "Liveness"), ("result", "failed")];
    let failed = || metrics::value(&metrics::page("/metrics/probes"), "prober_probe_total", &failed);
    wait_equal("it is counted again", limit(), &Some(0.0), failed);
    let pod = probed.pod("p");
    assert!(ready(&pod));
    // The one who kept its time has gone, and so does it.
    wait_until("the command has ended", limit(), || !hanging.exists());
    assert_eq!((since(&pod), restarts(&pod, "c")), (before, 0));
    fs::remove_file(probed.dir("p").join("ready")).expect("it is there");
    let pod = probed.wait("p", "is not ready any more", |pod| !ready(pod));
    assert_eq!((&status(&pod, "c")["started"], restarts(&pod, "c")), (&json!(true), 0));
}

#[test]
fn servers_that_do_not_behave_fail_their_probes_in_time_and_are_told_of_as_upstream_does() {
    let test = "servers_that_do_not_behave_fail_their_probes_in_time_and_are_told_of_as_upstream_does";
    let Some(probed) = Probed::start(test) else { return };
    let http = json!({"httpGet": {"port": 8080, "path": "/"}});
    let tls = json!({"httpGet": {"port": 8080, "scheme": "HTTPS"}});
    let grpc = json!({"grpc": {"port": 8080}});
    let get = "Readiness probe failed: Get \"http://IP:8080/\":";
    let late = "context deadline exceeded (Client.Timeout";
    let table = [
        ("silent", "bad 8080 silent", &http, format!("{get} {late} exceeded while awaiting headers)")),
        ("drip", "bad 8080 drip", &http, format!("Readiness probe errored and resulted in failure state: {late} or context cancellation while reading body)")),
        ("garbage", "bad 8080 garbage", &http, format!("{get} net/http: HTTP/1.x transport connection broken: malformed HTTP response \"SSH-2.0-sorry\"")),
        ("headers", "bad 8080 headers", &http, format!("{get} net/http: server response headers exceeded 65536 bytes; aborted")),
        ("loop", "bad 8080 loop", &http, "Readiness probe failed: Get \"/loop\": stopped after 10 redirects".to_owned()),
        ("plain", "bad 8080 loop", &tls, "Readiness probe failed: Get \"https://IP:8080/\": http: server gave HTTP response to HTTPS client".to_owned()),
        ("sick", "grpc 8080 2", &grpc, "Readiness probe failed: service unhealthy (responded with \"NOT_SERVING\")".to_owned()),
        ("nobody", "sleep 1000000", &grpc, "Readiness probe failed: timeout: failed to connect service \"IP:8080\" within 1s: context deadline exceeded".to_owned()),
        ("noport", "sleep 1000000", &json!({"httpGet": {"port": "web"}}), "Readiness probe errored and resulted in unknown state: strconv.Atoi: parsing \"web\": invalid syntax".to_owned()),
        ("nowhere", "sleep 1000000", &json!({"exec": {"command": ["/no/such"]}}), "Readiness probe errored and resulted in unknown state: rpc error: code = Unknown desc =".to_owned()),
        // These are well.
        ("endless", "bad 8080 endless", &http, String::new()),
        ("elsewhere", "bad 8080 elsewhere", &http, "ProbeWarning".to_owned()),
        ("well", "grpc 8080 1", &grpc, String::new()),
    ];
    let well = ["endless", "elsewhere", "well"];
    for (name, job, handler, _) in &table {
        let mut fields = json!({"readinessProbe": probe((*handler).clone())});
        if well.contains(name) {
            fields["readinessProbe"]["timeoutSeconds"] = 30.into();
        }
        probed.create(name, json!({"containers": [container("c", job, fields)]}));
    }
    for (name, _, _, told) in &table {
        let well = well.contains(name);
        if well {
            probed.wait(name, "is ready", ready);
        }
        if !told.is_empty() {
            probed.told(name, &[told]);
        }
        assert_eq!((ready(&probed.pod(name)), restarts(&probed.pod(name), "c")), (well, 0), "{name}");
    }
    probed.told("elsewhere", &["Readiness probe warning: Probe terminated redirects, Response body: more"]);
}

#[test]
fn commands_end_with_all_they_started_and_a_frozen_container_fails_in_time() {
    let test = "commands_end_with_all_they_started_and_a_frozen_container_fails_in_time";
    let Some(probed) = Probed::start(test) else { return };
    let exec = |script: &str| probe(json!({"exec": {"command": ["/bin/busybox", "sh", "-c", script]}}));
    // It ignores what it can, and waits for ever.
    let mut stuck = exec("trap '' TERM INT HUP; sleep 1000001 & sleep 1000001");
    // There is a while between the end of one and the next.
    stuck["periodSeconds"] = json!(3);
    probed.create(
        "stuck",
        json!({"containers": [container("c", "sleep 1000000", json!({"readinessProbe": stuck}))]}),
    );
    let forks = exec("sleep 1000002 & sleep 1000002 & exit 0");
    probed.create(
        "forks",
        json!({"containers": [container("c", "sleep 1000000", json!({"readinessProbe": forks}))]}),
    );
    let frozen = exec("true");
    // Longer than the keeper is waited for otherwise.
    let mut long = exec("true || true");
    (long["timeoutSeconds"], long["failureThreshold"]) = (12.into(), 1000.into());
    let fields = json!({"readinessProbe": frozen, "livenessProbe": long});
    probed.create("frozen", json!({"containers": [container("c", "sleep 1000000", fields)]}));
    probed.wait("forks", "is ready", ready);
    probed.wait("frozen", "is ready", ready);
    let told = "command timed out: \"/bin/busybox sh -c trap '' TERM INT HUP; sleep 1000001 & sleep 1000001\" timed out after 1s";
    probed.told("stuck", &[&format!("Readiness probe failed: {told}")]);

    // Between two probes there is nothing of either. One that does not end at once is waited for beside the next.
    for pod in ["stuck", "forks"] {
        let leaf =
            |dir: &PathBuf| dir.file_name().is_some_and(|name| name.to_string_lossy().starts_with("probe-"));
        wait_until("nothing of a probe is left", limit(), || !probed.cgroups(pod).iter().any(leaf));
        assert!(probed.cgroups(pod).iter().filter(|dir| leaf(dir)).count() <= 2, "{pod}");
    }

    let container = probed
        .cgroups("frozen")
        .into_iter()
        .find(|dir| dir.ends_with("c-0"))
        .expect("the container's cgroup");
    fs::write(container.join("cgroup.freeze"), "1").expect("a cgroup can be frozen");
    let pod = probed.wait("frozen", "is not ready any more", |pod| !ready(pod));
    assert_eq!(restarts(&pod, "c"), 0);
    probed.told(
        "frozen",
        &["Readiness probe failed: command timed out: \"/bin/busybox sh -c true\" timed out after 1s"],
    );
    let late = "command timed out: \"/bin/busybox sh -c true || true\" timed out after 12s";
    probed.told("frozen", &[&format!("Liveness probe failed: {late}")]);
    probed.wait("forks", "is ready beside it", ready);
    fs::write(container.join("cgroup.freeze"), "0").expect("a cgroup can be thawed");
    probed.wait("frozen", "is ready again", ready);
}

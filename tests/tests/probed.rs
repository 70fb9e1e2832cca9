//! What the kernel adds to probes, as people see it: they say where their time went, and they may ask the kernel for a socket's
//! state in place of a connection.

use std::fs;

use podbox_tests::host::IMAGE;
use podbox_tests::needs;
use podbox_tests::node::Node;
use podbox_tests::run::limit;
use podbox_tests::wait::wait_for;
use serde_json::{Value, json};

/// A node on whose pods' directory `/h` the test may write.
fn start(test: &str) -> Option<Node> {
    needs::file(test, "/sys/kernel/btf/vmlinux")?;
    needs::host(test)?;
    Node::start(test)
}

fn create(node: &Node, name: &str, annotations: Value, container: &Value) {
    let dir = node.host.dir.join("h").join(name);
    fs::create_dir_all(&dir).expect("the test's tmpfs has room");
    let mut container = container.clone();
    container["name"] = "c".into();
    container["image"] = IMAGE.into();
    container["imagePullPolicy"] = "IfNotPresent".into();
    container["volumeMounts"] = json!([{"name": "h", "mountPath": "/h"}]);
    let spec = json!({
        "containers": [container], "terminationGracePeriodSeconds": 1,
        "volumes": [{"name": "h", "hostPath": {"path": dir}}],
    });
    let metadata = json!({"name": name, "annotations": annotations});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec});
    let file = node.host.file(&format!("{name}.json"), pod.to_string());
    node.kubectl(&["create", "-f", file.to_str().expect("the path is UTF-8")]);
}

fn allow(node: &Node, name: &str) {
    fs::write(node.host.dir.join("h").join(name).join("go"), "").expect("the test's tmpfs has room");
}

/// Starts `job` of the test image once it is allowed to.
fn later(job: &str) -> Value {
    let script = format!("until [ -e /h/go ]; do /bin/busybox sleep 0.02; done; exec /bin/testjobs {job}");
    json!({"command": ["/bin/busybox", "sh", "-c", script]})
}

/// The results of a pod's probe so far, as `podbox probes` tells them.
fn results(node: &Node, pod: &str, probe: &str) -> Vec<Value> {
    let output = node.client("podbox").args(["probes", "-o", "json"]).output().expect("podbox starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).expect("podbox prints JSON");
    let own = rows.into_iter().find(|row| row["pod"] == pod && row["probe"] == probe);
    own.and_then(|row| row["results"].as_array().cloned()).unwrap_or_default()
}

fn result(node: &Node, pod: &str, probe: &str, verdict: &str) -> Value {
    wait_for(&format!("{pod}'s {probe} probe: {verdict}"), limit(), || {
        results(node, pod, probe).into_iter().find(|result| result["verdict"] == verdict)
    })
}

fn is_ready(node: &Node, pod: &str) {
    wait_for(&format!("{pod} is ready"), limit(), || {
        let text = node.kubectl(&["get", "pod", pod, "-o", "json"]);
        let pod: Value = serde_json::from_str(&text).expect("kubectl prints JSON");
        let mut all = pod["status"]["conditions"].as_array().cloned().unwrap_or_default().into_iter();
        all.find(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    });
}

#[test]
fn a_probe_says_where_its_time_went() {
    let Some(node) = start("a_probe_says_where_its_time_went") else { return };
    let mut slow = json!({"args": ["http", "8080"]});
    slow["readinessProbe"] =
        json!({"httpGet": {"port": 8080, "path": "/delay/300"}, "periodSeconds": 1, "timeoutSeconds": 60});
    slow["livenessProbe"] = json!({"httpGet": {"port": 8080, "path": "/delay/600000"}, "initialDelaySeconds": 2, "periodSeconds": 1, "failureThreshold": 1000});
    create(&node, "slow", json!({}), &slow);

    let passed = result(&node, "slow", "readiness", "success");
    let part = |result: &Value, phase: &str| result["phases_us"][phase].as_u64();
    let application = part(&passed, "application").expect("its answer was seen");
    assert!((300_000..60_000_000).contains(&application), "{passed}");
    assert!(part(&passed, "connect").is_some() && part(&passed, "transfer").is_some(), "{passed}");
    let all: u64 = ["connect", "accept_queue", "application", "transfer"]
        .iter()
        .filter_map(|phase| part(&passed, phase))
        .sum();
    assert!(all <= passed["took_us"].as_u64().unwrap_or(0), "the parts are of the whole: {passed}");

    // One that connected in time; the server may not have served at first.
    let failed = wait_for("an answer is waited for", limit(), || {
        let mut all = results(&node, "slow", "liveness").into_iter();
        all.find(|result| part(result, "application").is_some_and(|waited| waited > 500_000))
    });
    assert!(failed["verdict"] == "failure" && part(&failed, "transfer").is_none(), "{failed}");

    let table = node.client("podbox").args(["probes", "default/slow"]).output().expect("podbox starts");
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    let line = table.lines().find(|line| line.contains("liveness")).unwrap_or_default();
    assert!(line.contains("default/slow") && line.ends_with("over 1s"), "{table}");
    let none = node.client("podbox").args(["probes", "nobody"]).output().expect("podbox starts");
    assert!(!none.status.success());
}

#[test]
fn a_port_may_be_probed_without_a_connection() {
    let Some(node) = start("a_port_may_be_probed_without_a_connection") else { return };
    let mut container = later("tcp 8080");
    container["readinessProbe"] = json!({"tcpSocket": {"port": 8080}, "periodSeconds": 1});
    create(&node, "state", json!({"podbox.io/probe-tcp": "socket-state"}), &container);
    // Where nobody listens, a connection says so in upstream's words.
    let failed = result(&node, "state", "readiness", "failure");
    let said = failed["message"].as_str().unwrap_or_default();
    assert!(said.ends_with("connect: connection refused"), "{failed}");
    allow(&node, "state");
    is_ready(&node, "state");
    let passed = result(&node, "state", "readiness", "success");
    assert!(passed["phases_us"].is_null(), "nobody connected: {passed}");

    let file = node.host.file(
        "wrong.json",
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "wrong", "annotations": {"podbox.io/probe-tcp": "magic"}},
            "spec": {"containers": [{"name": "c", "image": IMAGE}]}})
        .to_string(),
    );
    let told = node.client("kubectl").args(["create", "-f"]).arg(file).output().expect("kubectl starts");
    let words = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(words.contains("neither `connect` nor `socket-state`"), "{words}");
    // It waits for somebody to mend it.
    wait_for("why it waits", limit(), || {
        let text = node.kubectl(&["get", "pod", "wrong", "-o", "json"]);
        let pod: Value = serde_json::from_str(&text).expect("kubectl prints JSON");
        let mut all = pod["status"]["conditions"].as_array().cloned().unwrap_or_default().into_iter();
        all.find(|condition| {
            let message = condition["message"].as_str().unwrap_or_default();
            condition["type"] == "PodScheduled" && message.contains("neither `connect` nor `socket-state`")
        })
    });
}

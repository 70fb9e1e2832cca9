//! Pods that ask for more than there is: of time, of memory, of what a program can be passed. Each is told so, and nobody
//! else notices. And pods that are made to go: that they are over is told, and why they went.

use std::fs;

use podbox_tests::needs;
use podbox_tests::node::Node;
use podbox_tests::pods::{STAYS, container, is_over, is_ready, pod, script};
use podbox_tests::run::limit;
use podbox_tests::wait::{wait_for, wait_until};
use serde_json::{Value, json};

/// More seconds than any clock counts.
const FOREVER: i64 = i64::MAX;

fn start(test: &str) -> Option<Node> {
    needs::host(test)?;
    Node::start(test)
}

/// Why a pod's container waits.
fn waiting(pod: &Value) -> (&str, &str) {
    let waiting = &container(pod, "c")["state"]["waiting"];
    let word = |field: &str| waiting[field].as_str().unwrap_or_default();
    (word("reason"), word("message"))
}

fn stays(name: &str, spec: Value) -> Value {
    let mut spec = spec;
    spec["containers"] = json!([script("c", STAYS, json!({}))]);
    pod(name, spec)
}

#[test]
fn a_grace_period_that_no_clock_can_count_ends_with_the_pod() {
    let Some(node) = start("a_grace_period_that_no_clock_can_count_ends_with_the_pod") else { return };
    node.create_all(&[
        stays("patient", json!({"terminationGracePeriodSeconds": FOREVER})),
        stays("asked", json!({"terminationGracePeriodSeconds": 30})),
    ]);
    for name in ["patient", "asked"] {
        node.wait_pod(name, "runs", is_ready);
        node.wait_stays(name, "c");
    }
    node.kubectl(&["delete", "pod", "patient", "--timeout=300s"]);
    let forever = format!("--grace-period={FOREVER}");
    node.kubectl(&["delete", "pod", "asked", &forever, "--timeout=300s"]);
    assert!(!node.complained().contains("broke"), "{}", node.complained());
}

#[test]
fn what_would_fill_the_memory_is_refused_and_harms_nobody() {
    let Some(node) = start("what_would_fill_the_memory_is_refused_and_harms_nobody") else { return };
    // Each variable is twice the one before: the last one would be 32 GiB.
    let doubled = |number: usize| match number {
        0 => json!({"name": "A0", "value": "x".repeat(1024)}),
        number => json!({"name": format!("A{number}"), "value": format!("$(A{0})$(A{0})", number - 1)}),
    };
    let variables: Vec<Value> = (0..26).map(doubled).collect();
    // One key a few thousand times: 2 GiB of files.
    let item = |number: usize| json!({"key": "k", "path": format!("f{number}")});
    let items: Vec<Value> = (0..4000).map(item).collect();
    let volumes = json!([{"name": "v", "configMap": {"name": "large", "items": items}}]);
    let large = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "large"},
        "data": {"k": "x".repeat(512 << 10)}});
    node.create_all(&[large, stays("other", json!({}))]);
    node.wait_pod("other", "runs", is_ready);
    let before = node.peak();
    node.create_all(&[
        pod("variables", json!({"containers": [script("c", STAYS, json!({"env": variables}))]})),
        stays("files", json!({"volumes": volumes})),
    ]);
    let told = node.wait_pod("variables", "is refused", |pod| waiting(pod).0 == "CreateContainerConfigError");
    let why = "variable \"A8\": it is longer than the 131072 bytes that a program can be passed at once";
    assert_eq!(waiting(&told).1, why);
    let why = "MountVolume.SetUp failed for volume \"v\" : the files of the pod's volumes take more than 33554432 bytes";
    node.wait_described("files", &["FailedMount", why]);
    let grown = node.peak() - before;
    assert!(grown < 400.0, "podbox took {grown} MB more");
    let other = node.pod("other");
    assert!(is_ready(&other), "{other}");
    assert_eq!(container(&other, "c")["restartCount"], 0);
}

#[test]
fn what_a_secret_says_is_not_told_though_no_program_can_be_passed_it() {
    let test = "what_a_secret_says_is_not_told_though_no_program_can_be_passed_it";
    let Some(node) = start(test) else { return };
    // "hunter2", a NUL byte, "x".
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"k": "aHVudGVyMgB4"}});
    let variable =
        json!({"env": [{"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]});
    let mut argument = script("c", "exit", variable.clone());
    argument["args"] = json!(["$(PASSWORD)"]);
    node.create_all(&[
        secret,
        pod("variable", json!({"containers": [script("c", STAYS, variable)]})),
        pod("argument", json!({"containers": [argument]})),
    ]);
    for (name, what) in [("variable", "variable \"PASSWORD\""), ("argument", "argument 3")] {
        let told = node.wait_pod(name, "is refused", |pod| waiting(pod).0 == "CreateContainerError");
        let why = format!("{what} has a NUL byte, which no program can be passed");
        assert_eq!(waiting(&told).1, why);
        wait_until("the Event", limit(), || node.events(name).contains(&why));
        let all = told.to_string() + &node.events(name) + &node.complained();
        assert!(!all.contains("hunter2"), "{all}");
    }
}

#[test]
fn who_is_asked_to_go_is_told_to_be_over_though_somebody_holds_it() {
    let test = "who_is_asked_to_go_is_told_to_be_over_though_somebody_holds_it";
    let Some(node) = start(test) else { return };
    let held = |mut pod: Value| {
        pod["metadata"]["finalizers"] = json!(["example.com/held"]);
        pod
    };
    let missing = json!({"volumes": [{"name": "v", "secret": {"secretName": "missing"}}]});
    node.create_all(&[held(stays("ran", json!({}))), held(stays("never", missing))]);
    node.wait_pod("ran", "runs", is_ready);
    node.wait_stays("ran", "c");
    node.wait_described("never", &["FailedMount", "secret \"missing\" not found"]);
    for (name, phase) in [("ran", "Succeeded"), ("never", "Failed")] {
        node.kubectl(&["delete", "pod", name, "--wait=false"]);
        let over = node.wait_pod(name, "is over", is_over);
        assert_eq!(over["status"]["phase"], phase, "{name}");
        assert!(over["metadata"]["deletionTimestamp"].is_string());
        node.kubectl(&["patch", "pod", name, "-p", "{\"metadata\":{\"finalizers\":null}}"]);
        node.kubectl(&["wait", "--for=delete", &format!("pod/{name}"), "--timeout=300s"]);
    }
}

#[test]
fn a_pod_that_was_evicted_says_so_and_its_job_does_not_count_it() {
    let Some(node) = start("a_pod_that_was_evicted_says_so_and_its_job_does_not_count_it") else { return };
    let dir = node.host.dir.join("h");
    fs::create_dir_all(&dir).expect("the test's tmpfs has room");
    let text = "trap 'exit 1' TERM; while [ ! -e /h/done ]; do sleep 0.1; done";
    let mounts = json!({"volumeMounts": [{"name": "h", "mountPath": "/h"}]});
    let template = json!({"spec": {
        "restartPolicy": "Never", "terminationGracePeriodSeconds": 5,
        "containers": [script("c", text, mounts)], "volumes": [{"name": "h", "hostPath": {"path": dir}}],
    }});
    let rule =
        json!({"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]});
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job"}, "spec": {
        "backoffLimit": 0, "podFailurePolicy": {"rules": [rule]}, "template": template}});
    node.create_all(&[job]);
    let name = wait_for("its pod", limit(), || {
        let name =
            node.kubectl(&["get", "pods", "-l", "job-name=job", "-o", "jsonpath={.items[*].metadata.name}"]);
        (!name.is_empty()).then_some(name)
    });
    node.wait_pod(&name, "runs", is_ready);
    // Held, so that what is told of it last can be read.
    let hold = "[{\"op\":\"add\",\"path\":\"/metadata/finalizers/-\",\"value\":\"example.com/held\"}]";
    node.kubectl(&["patch", "pod", &name, "--type=json", "-p", hold]);
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
    let file = node.host.file("eviction.json", eviction.to_string());
    let path = format!("/api/v1/namespaces/default/pods/{name}/eviction");
    node.kubectl(&["create", "--raw", &path, "-f", file.to_str().expect("a plain path")]);
    let over = node.wait_pod(&name, "is over", is_over);
    let conditions = over["status"]["conditions"].as_array().into_iter().flatten();
    let why = conditions.into_iter().find(|one| one["type"] == "DisruptionTarget").expect("it says why");
    assert_eq!((&why["status"], &why["reason"]), (&json!("True"), &json!("EvictionByEvictionAPI")));
    assert_eq!(why["message"], "Eviction API: evicting");
    let free = "{\"metadata\":{\"$deleteFromPrimitiveList/finalizers\":[\"example.com/held\"]}}";
    node.kubectl(&["patch", "pod", &name, "-p", free]);
    fs::write(dir.join("done"), "").expect("the test's tmpfs has room");
    node.kubectl(&["wait", "job/job", "--for=condition=Complete", "--timeout=300s"]);
    assert_eq!(node.kubectl(&["get", "job", "job", "-o", "jsonpath={.status.failed}"]), "");
}

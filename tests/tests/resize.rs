//! Pods whose containers are given more, or less, while they run.

use std::fs;
use std::path::PathBuf;

use podbox_tests::host::IMAGE;
use podbox_tests::needs;
use podbox_tests::node::Node;
use podbox_tests::run::limit;
use podbox_tests::wait::wait_for;
use serde_json::{Value, json};

/// What a container may use at most, and asks for at least: the same, or next to nothing. A host that cannot limit may not
/// be able to protect the guaranteed from being killed either.
fn share(class: &str, cpu: &str, memory: &str) -> Value {
    let limits = json!({"cpu": cpu, "memory": memory});
    let requests =
        if class == "guaranteed" { limits.clone() } else { json!({"cpu": "10m", "memory": "1Mi"}) };
    json!({"requests": requests, "limits": limits})
}

/// Runs a pod of one container that may use this, and waits until it is ready.
#[track_caller]
fn run_pod(node: &Node, name: &str, resources: Value, policy: Value) {
    let container = json!({"name": "main", "image": IMAGE, "imagePullPolicy": "Never", "args": ["signals"],
        "resources": resources, "resizePolicy": policy});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]}});
    let file = node.host.file(&format!("{name}.json"), pod.to_string());
    node.kubectl(&["apply", "-f", file.to_str().expect("the test's paths are text")]);
    node.kubectl(&["wait", "--for=condition=Ready", &format!("pod/{name}"), "--timeout=300s"]);
}

/// Asks for another share.
#[track_caller]
fn resize(node: &Node, name: &str, resources: Value) {
    let patch = json!({"spec": {"containers": [{"name": "main", "resources": resources}]}}).to_string();
    node.kubectl(&["patch", "pod", name, "--subresource", "resize", "-p", &patch]);
}

fn pod(node: &Node, name: &str) -> Value {
    serde_json::from_str(&node.kubectl(&["get", "pod", name, "-o", "json"])).expect("kubectl prints JSON")
}

fn main_of(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]
}

/// What a condition says: its reason, and its message.
fn condition(pod: &Value, type_: &str) -> Option<(String, String)> {
    let all = pod["status"]["conditions"].as_array()?;
    let found = all.iter().find(|condition| condition["type"] == type_)?;
    let word = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    Some((word("reason"), word("message")))
}

#[track_caller]
fn wait_until_pod(node: &Node, name: &str, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
    wait_for(what, limit(), || Some(pod(node, name)).filter(&condition))
}

/// The cgroup of a pod, or of a run of its container.
fn cgroup(node: &Node, pod: &Value, run: Option<u32>) -> PathBuf {
    let uid = pod["metadata"]["uid"].as_str().expect("it has a uid");
    let of_pod = node.host.cgroup.join(format!("podbox.slice/guaranteed/pod{uid}"));
    run.map_or(of_pod.clone(), |run| of_pod.join(format!("main-{run}")))
}

fn settings(dir: PathBuf) -> (String, String) {
    let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap_or_default().trim().to_owned();
    (read("cpu.max"), read("memory.max"))
}

fn set(cpu: &str, memory: &str) -> (String, String) {
    (cpu.to_owned(), memory.to_owned())
}

#[test]
fn a_container_is_given_more_and_less_while_it_runs() {
    let test = "a_container_is_given_more_and_less_while_it_runs";
    for name in ["memory", "cpu"] {
        let Some(()) = needs::controller(test, name) else { return };
    }
    let Some(node) = Node::start(test) else { return };
    run_pod(
        &node,
        "elastic",
        share("guaranteed", "200m", "64Mi"),
        json!([{"resourceName": "memory", "restartPolicy": "NotRequired"}]),
    );
    let before = pod(&node, "elastic");
    assert_eq!(settings(cgroup(&node, &before, Some(0))), set("20000 100000", "67108864"));
    assert_eq!(main_of(&before)["resources"]["limits"]["cpu"], "200m");
    assert_eq!(main_of(&before)["allocatedResources"]["memory"], "64Mi");

    for (cpu, memory, quota, bytes) in
        [("300m", "96Mi", "30000 100000", "100663296"), ("100m", "48Mi", "10000 100000", "50331648")]
    {
        resize(&node, "elastic", share("guaranteed", cpu, memory));
        let resized = wait_until_pod(&node, "elastic", "it has what it asked for", |pod| {
            main_of(pod)["resources"]["limits"]["memory"] == memory
                && condition(pod, "PodResizeInProgress").is_none()
        });
        let (own, of_pod) = (cgroup(&node, &resized, Some(0)), cgroup(&node, &resized, None));
        assert_eq!(settings(own), set(quota, bytes));
        assert_eq!(settings(of_pod), set(quota, bytes));
        assert_eq!(main_of(&resized)["restartCount"], 0);
        assert_eq!(main_of(&resized)["allocatedResources"]["cpu"], cpu);
    }

    // Less than it uses it is not given, and more than there is cannot be given; what it has it keeps.
    resize(&node, "elastic", share("guaranteed", "100m", "4Ki"));
    let stuck = wait_until_pod(&node, "elastic", "it says why not", |pod| {
        condition(pod, "PodResizeInProgress").is_some_and(|(reason, _)| reason == "Error")
    });
    let (_, why) = condition(&stuck, "PodResizeInProgress").expect("it was there");
    assert!(why.contains("below current usage"), "{why}");
    assert_eq!(main_of(&stuck)["resources"]["limits"]["memory"], "48Mi");
    resize(&node, "elastic", share("guaranteed", "9000", "48Mi"));
    let huge = wait_until_pod(&node, "elastic", "it says why not", |pod| {
        condition(pod, "PodResizePending").is_some()
    });
    let (reason, why) = condition(&huge, "PodResizePending").expect("it was there");
    assert_eq!(reason, "Infeasible");
    assert!(
        why.starts_with("Node didn't have enough capacity: cpu, requested: 9000000, capacity: "),
        "{why}"
    );
    assert_eq!(condition(&huge, "PodResizeInProgress"), None);
    resize(&node, "elastic", share("guaranteed", "100m", "48Mi"));
    wait_until_pod(&node, "elastic", "nothing is pending", |pod| {
        condition(pod, "PodResizePending").is_none()
    });

    // One that wants to be restarted for it is.
    let policy = json!([{"resourceName": "memory", "restartPolicy": "RestartContainer"}]);
    run_pod(&node, "rigid", share("guaranteed", "100m", "64Mi"), policy);
    resize(&node, "rigid", share("guaranteed", "100m", "96Mi"));
    let restarted = wait_until_pod(&node, "rigid", "it runs again", |pod| {
        main_of(pod)["restartCount"] == 1 && main_of(pod)["ready"] == true
    });
    assert_eq!(settings(cgroup(&node, &restarted, Some(1))), set("10000 100000", "100663296"));
    assert_eq!(main_of(&restarted)["resources"]["limits"]["memory"], "96Mi");
}

#[test]
fn a_share_that_others_have_is_given_once_they_leave() {
    let test = "a_share_that_others_have_is_given_once_they_leave";
    let (Some(()), Some(node)) = (needs::host(test), Node::start(test)) else { return };
    let all = node.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].status.allocatable.cpu}"]);
    let all: u64 = all.trim().parse::<u64>().expect("this node keeps no processors back") * 1000;
    // Requests alone: what a host without controllers can give, too.
    let asks = |milli: u64| json!({"requests": {"cpu": format!("{milli}m")}});
    run_pod(&node, "greedy", asks(all - 200), json!([]));
    run_pod(&node, "modest", asks(100), json!([]));
    resize(&node, "modest", asks(300));
    let waits = wait_until_pod(&node, "modest", "it says why it waits", |pod| {
        condition(pod, "PodResizePending").is_some()
    });
    let why = format!(
        "Node didn't have enough resource: cpu, requested: 300, used: {}, capacity: {all}",
        all - 200
    );
    assert_eq!(condition(&waits, "PodResizePending"), Some(("Deferred".to_owned(), why)));
    assert_eq!(main_of(&waits)["resources"]["requests"]["cpu"], "100m");
    node.kubectl(&["delete", "pod", "greedy", "--timeout=300s"]);
    let given = wait_until_pod(&node, "modest", "it has it", |pod| {
        main_of(pod)["resources"]["requests"]["cpu"] == "300m"
    });
    assert_eq!((condition(&given, "PodResizePending"), &main_of(&given)["restartCount"]), (None, &json!(0)));
}

#[test]
fn a_host_that_cannot_limit_says_so_of_a_resize() {
    let test = "a_host_that_cannot_limit_says_so_of_a_resize";
    let Some(()) = needs::host(test) else { return };
    if needs::has_controller("memory") {
        return needs::skip(test, "this host has the memory controller");
    }
    let Some(node) = Node::start(test) else { return };
    run_pod(&node, "elastic", share("burstable", "200m", "64Mi"), json!([]));
    resize(&node, "elastic", share("burstable", "300m", "64Mi"));
    let pending = wait_until_pod(&node, "elastic", "it says why not", |pod| {
        condition(pod, "PodResizePending").is_some()
    });
    let (reason, why) = condition(&pending, "PodResizePending").expect("it was there");
    assert_eq!((reason.as_str(), why.contains("cgroup v2 controller")), ("Infeasible", true), "{why}");
    assert_eq!(main_of(&pending)["resources"]["limits"]["cpu"], "200m");
    assert_eq!(main_of(&pending)["restartCount"], 0);
    assert_eq!(pending["status"]["observedGeneration"], 2);
}

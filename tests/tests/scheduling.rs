//! Pods that a node takes, and those that wait for one, through kubectl.

use podbox_tests::manifest;
use podbox_tests::node::Node;
use podbox_tests::run::limit;
use podbox_tests::wait::wait_until;

const NOT_MATCHED: &str = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. \
                           preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";

fn apply(node: &Node, name: &str, manifest: &str) {
    let file = node.host.file(&format!("{name}.yaml"), manifest);
    node.kubectl(&["apply", "-f", file.to_str().expect("the path is UTF-8")]);
}

/// A pod that runs until it is told to end.
fn pod(node: &Node, name: &str, fields: &str) {
    let container = manifest::job("job", "sleep 600000");
    apply(node, name, &manifest::pod(name, &format!("{fields}containers: [{container}]")));
}

fn runs(node: &Node, name: &str) {
    node.kubectl(&["wait", &format!("pod/{name}"), "--for=condition=Ready", "--timeout=300s"]);
}

fn get(node: &Node, object: &str, path: &str) -> String {
    node.kubectl(&["get", object, "-o", &format!("jsonpath={path}")])
}

/// Waits until a pod waits, for this reason.
#[track_caller]
fn waits(node: &Node, name: &str, message: &str) {
    let condition =
        "{.status.phase} {.status.conditions[?(@.type=='PodScheduled')]['status','reason','message']}";
    let expected = format!("Pending False Unschedulable {message}");
    let mut last = String::new();
    let told = || {
        last = get(node, &format!("pod/{name}"), condition);
        last == expected
    };
    wait_until(&format!("{name} waits: {message}"), limit(), told);
}

#[test]
fn pods_run_where_they_fit_and_wait_where_they_do_not() {
    let test = "pods_run_where_they_fit_and_wait_where_they_do_not";
    let (Some(()), Some(node)) = (podbox_tests::needs::host(test), Node::start(test)) else { return };
    let own = node.kubectl(&["get", "nodes", "-o", "name"]);
    let own = own.trim();

    // Labels.
    pod(&node, "linux", "nodeSelector: {kubernetes.io/os: linux}, ");
    pod(&node, "picky", "nodeSelector: {disk: ssd}, ");
    runs(&node, "linux");
    waits(&node, "picky", NOT_MATCHED);
    let told = || {
        let of = "involvedObject.name=picky,reason=FailedScheduling";
        let fields = "jsonpath={range .items[*]}{.type} {.source.component} {.count} {.message}{end}";
        node.kubectl(&["get", "events", "--field-selector", of, "-o", fields])
    };
    let event = format!("Warning default-scheduler 1 {NOT_MATCHED}");
    wait_until("an event tells it, once", limit(), || told() == event);
    node.kubectl(&["label", own, "disk=ssd"]);
    runs(&node, "picky");
    assert_eq!(told(), event);

    // A node that is closed, and one that is open again.
    node.kubectl(&["cordon", own]);
    pod(&node, "late", "");
    let closed = "0/1 nodes are available: 1 node(s) were unschedulable. \
                  preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
    waits(&node, "late", closed);
    node.kubectl(&["uncordon", own]);
    runs(&node, "late");

    // A resource that somebody brings.
    let container =
        manifest::container("job", "args: [sleep, '600000'], resources: {limits: {example.com/dongle: 1}}");
    apply(&node, "plugged", &manifest::pod("plugged", &format!("containers: [{container}]")));
    let none = "0/1 nodes are available: 1 Insufficient example.com/dongle. \
                preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
    waits(&node, "plugged", none);
    let brought = r#"{"status": {"capacity": {"example.com/dongle": "1"}, "allocatable": {"example.com/dongle": "1"}}}"#;
    node.kubectl(&["patch", own, "--subresource=status", "-p", brought]);
    runs(&node, "plugged");

    // Who is bound by somebody else is refused, as the kubelet does.
    pod(
        &node,
        "forced",
        &format!("nodeName: {}, nodeSelector: {{disk: hdd}}, ", own.trim_start_matches("node/")),
    );
    let refused = "Failed NodeAffinity Pod was rejected: Predicate NodeAffinity failed: \
                   node(s) didn't match Pod's node affinity/selector";
    wait_until("it is refused", limit(), || {
        get(&node, "pod/forced", "{.status.phase} {.status.reason} {.status.message}") == refused
    });

    // What others write over the node's word is put right.
    let patch = |status: &str| {
        let status = format!(r#"{{"status": {{{status}}}}}"#);
        node.kubectl(&["patch", "pod", "linux", "--subresource=status", "-p", &status]);
    };
    let before = get(&node, "pod/linux", "{.status.podIP}");
    patch(r#""phase": "Pending", "podIP": "192.0.2.1""#);
    wait_until("it is put right", limit(), || {
        get(&node, "pod/linux", "{.status.phase} {.status.podIP}") == format!("Running {before}")
    });
    runs(&node, "linux");

    // But for their word that it is over, which a kubelet takes.
    patch(r#""phase": "Failed""#);
    wait_until("it ends", limit(), || {
        let ended = "{.status.phase} {.status.containerStatuses[0].state.terminated.reason}";
        get(&node, "pod/linux", ended) == "Failed Error"
    });
}

#[test]
fn a_pod_that_no_node_takes_is_not_replaced_for_ever() {
    let test = "a_pod_that_no_node_takes_is_not_replaced_for_ever";
    let (Some(()), Some(node)) = (podbox_tests::needs::host(test), Node::start(test)) else { return };
    let container = manifest::job("job", "sleep 600000");
    let deployment = |name: &str, fields: &str| {
        format!(
            "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: {name}}}, spec: {{replicas: 2, selector: {{matchLabels: \
             {{app: {name}}}}}, template: {{metadata: {{labels: {{app: {name}}}}}, spec: {{{fields}, containers: [{container}]}}}}}}}}\n---\n"
        )
    };
    let all = [("unsupported", "hostUsers: false"), ("elsewhere", "nodeSelector: {disk: hdd}")];
    let manifests: String = all.iter().map(|(name, fields)| deployment(name, fields)).collect();
    apply(&node, "deployments", &manifests);
    let unsupported = "0/1 nodes are available: 1 node(s) didn't support spec.hostUsers (there are no user namespaces yet). \
                       preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
    for (name, message) in [("unsupported", unsupported), ("elsewhere", NOT_MATCHED)] {
        let pods = || node.kubectl(&["get", "pods", "-l", &format!("app={name}"), "-o", "name"]);
        wait_until("its pods are there", limit(), || pods().lines().count() == 2);
        let before = pods();
        for pod in before.lines() {
            waits(&node, pod.trim_start_matches("pod/"), message);
        }
        // A pod that runs was made and judged after all of them.
        let after = format!("after-{name}");
        pod(&node, &after, "");
        runs(&node, &after);
        assert_eq!(pods(), before, "{name} has its pods, and no others");
    }
}

/// Of a resource that this node has as much of as the test says.
fn brings(node: &Node, own: &str, count: u32) {
    let amount = format!("{{\"example.com/dongle\": \"{count}\"}}");
    let brought = format!("{{\"status\": {{\"capacity\": {amount}, \"allocatable\": {amount}}}}}");
    node.kubectl(&["patch", own, "--subresource=status", "-p", &brought]);
}

/// A pod of a priority class that asks for one of it.
fn plugged(node: &Node, name: &str, class: &str) {
    let container =
        manifest::container("job", "args: [sleep, '600000'], resources: {limits: {example.com/dongle: 1}}");
    let spec = format!("priorityClassName: {class}, containers: [{container}]");
    let labelled = format!("metadata: {{name: {name}, labels: {{app: {name}}}}}");
    let plain = format!("metadata: {{name: {name}}}");
    apply(node, name, &manifest::pod(name, &spec).replace(&plain, &labelled));
}

#[test]
fn more_important_pods_take_the_place_of_less_important_ones() {
    let test = "more_important_pods_take_the_place_of_less_important_ones";
    let (Some(()), Some(node)) = (podbox_tests::needs::host(test), Node::start(test)) else { return };
    let own = node.kubectl(&["get", "nodes", "-o", "name"]);
    let own = own.trim();
    brings(&node, own, 2);
    for (name, value, policy) in [
        ("low", 1, "PreemptLowerPriority"),
        ("middle", 2, "PreemptLowerPriority"),
        ("high", 100, "PreemptLowerPriority"),
        ("modest", 100, "Never"),
    ] {
        let class = format!(
            "{{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {{name: {name}}}, value: {value}, \
             preemptionPolicy: {policy}}}"
        );
        apply(&node, &format!("class-{name}"), &class);
    }
    // The less important one is protected, so the other one goes.
    plugged(&node, "held", "low");
    plugged(&node, "free", "middle");
    ["held", "free"].into_iter().for_each(|name| runs(&node, name));
    node.kubectl(&["create", "pdb", "held", "--selector=app=held", "--min-available=1"]);
    wait_until("the budget is known", limit(), || get(&node, "pdb/held", "{.status.currentHealthy}") == "1");
    let hold = r#"{"metadata": {"finalizers": ["example.com/hold"]}}"#;
    node.kubectl(&["patch", "pod", "free", "--type=merge", "-p", hold]);

    plugged(&node, "modest", "modest");
    let never = "0/1 nodes are available: 1 Insufficient example.com/dongle. \
                 preemption: not eligible due to preemptionPolicy=Never.";
    waits(&node, "modest", never);
    node.kubectl(&["delete", "pod", "modest"]);

    plugged(&node, "urgent", "high");
    runs(&node, "urgent");
    let why = "{.status.conditions[?(@.type=='DisruptionTarget')]['status','reason','message']}";
    let because =
        "True PreemptionByScheduler default-scheduler: preempting to accommodate a higher priority pod";
    assert_eq!(get(&node, "pod/free", why), because);
    assert_eq!(get(&node, "pod/urgent", "{.status.nominatedNodeName}"), "", "it is there");
    runs(&node, "held");
    let (uid, name) = (get(&node, "pod/urgent", "{.metadata.uid}"), own.trim_start_matches("node/"));
    let said = |name: &str, reason: &str| {
        let of = format!("involvedObject.name={name},reason={reason}");
        node.kubectl(&[
            "get",
            "events",
            "--field-selector",
            &of,
            "-o",
            "jsonpath={.items[*].type} {.items[*].message}",
        ])
    };
    let preempted = format!("Normal Preempted by pod {uid} on node {name}");
    wait_until("it is told for whom it goes", limit(), || said("free", "Preempted") == preempted);
    let waited = "0/1 nodes are available: 1 Insufficient example.com/dongle.";
    let told = || said("urgent", "FailedScheduling").contains(waited);
    wait_until("it is told that it had to wait", limit(), told);
    node.kubectl(&["patch", "pod", "free", "--type=merge", "-p", r#"{"metadata": {"finalizers": null}}"#]);

    // Nobody is less important than this one, whatever a budget says.
    plugged(&node, "late", "low");
    let none = "0/1 nodes are available: 1 Insufficient example.com/dongle. \
                preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.";
    waits(&node, "late", none);
}

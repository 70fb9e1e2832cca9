//! Workloads on a real node, through kubectl: what only there can be seen. The walk through rollouts is a transcript
//! (`rollout.txt`).

use nix::sys::signal::Signal;
use podbox_tests::manifest;
use podbox_tests::needs;
use podbox_tests::node::Node;
use podbox_tests::run::limit;
use podbox_tests::wait::wait_until;

/// An object that has pods of the test image, each of which runs until it is told to end.
fn workload(kind: &str, name: &str, replicas: u32) -> String {
    let (version, selector) = match kind {
        "ReplicationController" => ("v1", format!("{{app: {name}}}")),
        _ => ("apps/v1", format!("{{matchLabels: {{app: {name}}}}}")),
    };
    let container = manifest::job("job", "sleep 600000");
    format!(
        "{{apiVersion: {version}, kind: {kind}, metadata: {{name: {name}}}, spec: {{replicas: {replicas}, selector: {selector}, \
         template: {{metadata: {{labels: {{app: {name}}}}}, spec: {{terminationGracePeriodSeconds: 1, containers: [{container}]}}}}}}}}\n---\n"
    )
}

fn ready(node: &Node, kind: &str, name: &str) -> String {
    node.kubectl(&["get", kind, name, "-o", "jsonpath={.status.readyReplicas}/{.spec.replicas}"])
}

fn pods(node: &Node, app: &str) -> Vec<String> {
    let names = node.kubectl(&[
        "get",
        "pods",
        "-l",
        &format!("app={app}"),
        "-o",
        "jsonpath={.items[*].metadata.name}",
    ]);
    names.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn workloads_are_kept_as_they_should_be() {
    let test = "workloads_are_kept_as_they_should_be";
    let (Some(()), Some(mut node)) = (needs::host(test), Node::start(test)) else { return };
    let manifests = ["Deployment", "ReplicaSet", "ReplicationController"]
        .map(|kind| workload(kind, &kind.to_lowercase(), 3));
    let file = node.host.file("workloads.yaml", manifests.concat());
    node.kubectl(&["apply", "-f", file.to_str().expect("the path is UTF-8")]);
    let all = ["deployment", "replicaset", "replicationcontroller"];
    for kind in all {
        wait_until("all its pods are ready", limit(), || ready(&node, kind, kind) == "3/3");
    }

    // A pod that goes is replaced, by another one.
    let before = pods(&node, "replicaset");
    node.kubectl(&["delete", "pod", &before[0]]);
    wait_until("it is replaced", limit(), || ready(&node, "replicaset", "replicaset") == "3/3");
    let after = pods(&node, "replicaset");
    assert_eq!(after.iter().filter(|name| before.contains(name)).count(), 2, "{before:?} became {after:?}");

    // One of which somebody else says that it has failed ends, stays failed, and is replaced.
    let failed = pods(&node, "deployment").swap_remove(0);
    let told = "{\"status\": {\"phase\": \"Failed\"}}";
    node.kubectl(&["patch", "pod", &failed, "--subresource=status", "--type=merge", "-p", told]);
    let path = "jsonpath={.status.phase}/{.status.containerStatuses[0].state.terminated.exitCode}";
    let at = || node.kubectl(&["get", "pod", &failed, "-o", path]);
    wait_until("its container has ended", limit(), || {
        at().strip_prefix("Failed/").is_some_and(|code| !code.is_empty())
    });
    node.kubectl(&["delete", "pod", &failed]);
    wait_until("it is replaced", limit(), || ready(&node, "deployment", "deployment") == "3/3");

    // A pod whose labels are another's is let go, and replaced; it stays.
    let free = &after[0];
    node.kubectl(&["label", "pod", free, "app=free", "--overwrite"]);
    wait_until("it is replaced", limit(), || pods(&node, "replicaset").len() == 3);
    let owners = node.kubectl(&["get", "pod", free, "-o", "jsonpath={.metadata.ownerReferences}"]);
    assert_eq!(owners, "");

    // Controllers that were killed in the middle of it go on, and nobody has a pod too many.
    node.kubectl(&[
        "scale",
        "deployment/deployment",
        "rc/replicationcontroller",
        "rs/replicaset",
        "--replicas=6",
    ]);
    node.restart(Signal::SIGKILL);
    for kind in all {
        wait_until("all its pods are ready", limit(), || ready(&node, kind, kind) == "6/6");
        assert_eq!(pods(&node, kind).len(), 6, "of {kind}");
    }

    node.kubectl(&["delete", "deployment", "deployment", "--cascade=foreground"]);
    assert_eq!(pods(&node, "deployment").len(), 0);
    node.kubectl(&["delete", "rs", "replicaset", "--cascade=orphan"]);
    assert_eq!(pods(&node, "replicaset").len(), 6);
    node.kubectl(&["delete", "rc", "replicationcontroller"]);
    wait_until("its pods go after it", limit(), || pods(&node, "replicationcontroller").is_empty());

    // The dead that nobody reaps are told by their pod, as its controller sees it.
    let parent = manifest::job("parent", "zombies 6 --hold 600000");
    let pod = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: careless}}, spec: {{terminationGracePeriodSeconds: 1, containers: [{parent}]}}}}"
    );
    let file = node.host.file("careless.yaml", pod);
    node.kubectl(&["apply", "-f", file.to_str().expect("the path is UTF-8")]);
    let path = "jsonpath={.status.conditions[?(@.type=='podbox.io/ZombiesPileUp')].message}";
    wait_until("it says so", limit(), || {
        node.kubectl(&["get", "pod", "careless", "-o", path])
            .starts_with("Container parent has 5 or more processes")
    });
}

//! What a node takes of what others have bound to it, by tables.

use super::*;

/// A node with a label, and these fields of its spec.
fn node(spec: &str) -> Node {
    serde_yaml::from_str(&format!(
        "{{metadata: {{name: n, labels: {{disk: ssd}}}}, spec: {{{spec}}}, status: {{allocatable: \
         {{cpu: '2', memory: 1Gi, ephemeral-storage: 1Gi, pods: '3', example.com/dongle: '1'}}}}}}"
    ))
    .unwrap()
}

fn pod(spec: &str) -> Pod {
    let spec = if spec.contains("containers") { spec.to_owned() } else { format!("containers: [], {spec}") };
    serde_yaml::from_str(&format!("{{metadata: {{name: p}}, spec: {{{spec}}}}}")).unwrap()
}

fn asks(requests: &str) -> String {
    format!("containers: [{{name: c, resources: {{requests: {{{requests}}}}}}}]")
}

#[track_caller]
fn check(node_spec: &str, spec: &str, others: &[&str], expected: (&str, &str)) {
    let others: Vec<Pod> = others.iter().map(|other| pod(other)).collect();
    let found = admits(&pod(spec), &node(node_spec), &others.iter().collect());
    let found = found
        .map_or_else(|rejection| (rejection.reason.into_owned(), rejection.message), |()| Default::default());
    assert_eq!(found, (expected.0.to_owned(), expected.1.to_owned()), "{spec}");
}

#[test]
fn who_is_bound_by_others_is_refused_in_the_kubelets_words() {
    // Nothing else is looked at of one that is for another system.
    let foreign = "Failed to admit pod as the OS field doesn't match node OS";
    check("", "os: {name: windows}, nodeSelector: {disk: hdd}", &[], ("PodOSNotSupported", foreign));
    check("", "os: {name: linux}", &[], ("", ""));
    let much = "Node didn't have enough resource: cpu, requested: 3000, used: 0, capacity: 2000";
    check("", &asks("cpu: 3"), &[], ("OutOfcpu", much));
    let more = "Node didn't have enough resource: cpu, requested: 501, used: 1500, capacity: 2000";
    check("", &asks("cpu: 501m"), &[&asks("cpu: 1500m")], ("OutOfcpu", more));
    check("", &asks("cpu: 500m"), &[&asks("cpu: 1500m")], ("", ""));
    let many = "Node didn't have enough resource: pods, requested: 1, used: 3, capacity: 3";
    check("", "", &["", "", ""], ("OutOfpods", many));
    let elsewhere = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector";
    check("", "nodeSelector: {disk: hdd}", &[], ("NodeAffinity", elsewhere));
    let port = "containers: [{name: c, ports: [{containerPort: 80, hostPort: 80}]}]";
    let taken = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports";
    check("", port, &[port], ("NodePorts", taken));
    check("", port, &[""], ("", ""));
    let tainted = "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate";
    check("taints: [{key: k, effect: NoExecute}]", "", &[], ("TaintToleration", tainted));
    for spec in ["unschedulable: true", "taints: [{key: k, effect: NoSchedule}]"] {
        check(spec, "", &[], ("", ""));
    }
}

#[test]
fn what_a_node_knows_nothing_of_is_not_its_to_count() {
    check("", &asks("example.com/other: 1"), &[], ("", ""));
    check("", &asks("cpu: 0, example.com/other: 0"), &[], ("", ""));
    let short = "Node didn't have enough resource: example.com/dongle, requested: 2, used: 0, capacity: 1";
    check("", &asks("example.com/dongle: 2"), &[], ("OutOfexample.com/dongle", short));
}

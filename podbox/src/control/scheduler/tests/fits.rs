//! What one node takes.

use super::*;

/// A pod beside others on a node of these fields; what is wrong, or nothing.
#[track_caller]
fn check(node_spec: &str, spec: &str, others: &[&str], expected: &str) {
    let mut world = World::default();
    world.node(&node("n", "disk: ssd", node_spec));
    for (index, other) in others.iter().enumerate() {
        world.there(&pod(&format!("other-{index}"), "", other), "n");
    }
    world.pod(&pod("p", "", spec));
    let decided = world.next().expect("it is decided");
    let found = if decided == "p on n" { "" } else { reasons(&decided) };
    assert_eq!(found, expected, "{spec} on {node_spec} beside {others:?}");
}

#[test]
fn a_node_takes_who_asks_for_it_and_bears_it() {
    check("", "", &[], "");
    check("", "nodeSelector: {disk: ssd}", &[], "");
    check("", "nodeSelector: {disk: hdd}", &[], "1 node(s) didn't match Pod's node affinity/selector");
    let taint = "taints: [{key: k, value: v, effect: NoSchedule}]";
    check(taint, "", &[], "1 node(s) had untolerated taint {k: v}");
    check(taint, "tolerations: [{key: k, operator: Exists}]", &[], "");
    check("taints: [{key: k, effect: NoExecute}]", "", &[], "1 node(s) had untolerated taint {k: }");
    check("taints: [{key: k, effect: PreferNoSchedule}]", "", &[], "");
    let memory = "taints: [{key: node.kubernetes.io/memory-pressure, effect: NoSchedule}]";
    check(memory, "", &[], "1 node(s) had untolerated taint {node.kubernetes.io/memory-pressure: }");
    check(memory, &asks("cpu: 1m"), &[], "");
    check("unschedulable: true", "", &[], "1 node(s) were unschedulable");
    let bears = "tolerations: [{key: node.kubernetes.io/unschedulable, operator: Exists}]";
    check("unschedulable: true", bears, &[], "");
}

#[test]
fn what_is_asked_for_is_there_or_named() {
    let half = asks("cpu: 1500m");
    check("", &asks("cpu: 2, memory: 1Gi, ephemeral-storage: 1Gi, example.com/dongle: 1"), &[], "");
    check("", &asks("cpu: 2001m, memory: 2Gi"), &[], "1 Insufficient cpu, 1 Insufficient memory");
    check("", &asks("cpu: 501m"), &[&half], "1 Insufficient cpu");
    check("", &asks("cpu: 500m"), &[&half], "");
    check("", &asks("example.com/other: 1"), &[], "1 Insufficient example.com/other");
    check("", &asks("cpu: 0, example.com/other: 0"), &[], "");
    check("", "", &[""; 9], "");
    check("", "", &[""; 10], "1 Too many pods");
    check("", &asks("cpu: 3"), &[""; 10], "1 Insufficient cpu, 1 Too many pods");
    check("", &format!("overhead: {{cpu: 1}}, {half}"), &[], "1 Insufficient cpu");
    let port = "containers: [{name: c, ports: [{containerPort: 80, hostPort: 80}]}]";
    check("", port, &[port], "1 node(s) didn't have free ports for the requested pod ports");
    check("", port, &[""], "");
}

#[test]
fn what_podbox_does_not_honour_keeps_a_pod_from_its_own_nodes_only() {
    let mut world = World::default();
    let mut own = node("own", "", "");
    own["status"]["nodeInfo"] = json!({"containerRuntimeVersion": "podbox://1", "architecture": "", "bootID": "",
        "kernelVersion": "", "kubeProxyVersion": "", "kubeletVersion": "", "machineID": "", "operatingSystem": "",
        "osImage": "", "systemUUID": ""});
    world.node(&own);
    world.pod(&pod("p", "", "hostUsers: false"));
    let why = "1 node(s) didn't support spec.hostUsers (there are no user namespaces yet)";
    assert_eq!(reasons(&world.next().unwrap()), why);
    world.node(&node("other", "", ""));
    assert_eq!(world.all(), ["p on other"]);
}

#[test]
fn every_node_is_accounted_for() {
    let mut world = World::default();
    world.pod(&pod("p", "", &asks("cpu: 2")));
    assert_eq!(world.all(), ["no nodes available to schedule pods"]);
    world.node(&node("a", "", "taints: [{key: k, value: v, effect: NoSchedule}]"));
    world.now += Duration::from_secs(10);
    world.all();
    for name in ["b", "c"] {
        world.there(&pod(&format!("on-{name}"), "", &asks("cpu: 1")), name);
        world.node(&node(name, "", ""));
    }
    world.now += Duration::from_secs(10);
    let expected = "0/3 nodes are available: 1 node(s) had untolerated taint {k: v}, 2 Insufficient cpu. \
                    preemption: 0/3 nodes are available: 1 Preemption is not helpful for scheduling, \
                    2 No preemption victims found for incoming pod.";
    assert_eq!(world.all(), [expected]);
    world.gone("on-b");
    world.now += Duration::from_secs(10);
    assert_eq!(world.all(), ["p on b"]);
}

#[test]
fn gated_pods_and_those_of_others_wait_for_their_own() {
    let mut world = World::default();
    world.node(&node("n", "", ""));
    world.pod(&pod("theirs", "", "schedulerName: other"));
    world.pod(&pod("gated", "", "schedulingGates: [{name: g}]"));
    assert_eq!(world.all(), Vec::<String>::new());
    let mut open = pod("gated", "", "");
    open["metadata"]["generation"] = 2.into();
    world.pod(&open);
    assert_eq!(world.all(), ["gated on n"]);
}

#[test]
fn nodes_that_a_pod_does_not_name_are_told_apart_from_the_one_that_it_does() {
    let mut world = World::default();
    world.node(&node("a", "", ""));
    world.node(&node("b", "", "taints: [{key: k, effect: NoSchedule}]"));
    let term = "{nodeSelectorTerms: [{matchFields: [{key: metadata.name, operator: In, values: [a]}]}]}";
    let named =
        format!("affinity: {{nodeAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: {term}}}}}");
    world.pod(&pod("p", "", &format!("{named}, {}", asks("cpu: 3"))));
    let why = "1 Insufficient cpu, 1 node(s) didn't satisfy plugin(s) [NodeAffinity]";
    assert_eq!(reasons(&world.next().unwrap()), why);
    world.pod(&pod("q", "", &named));
    assert_eq!(world.all(), ["q on a"]);
}

//! Which of several nodes is best.

use super::*;

/// Where a pod goes that both nodes take.
#[track_caller]
fn check(nodes: [Value; 2], others: &[(&str, &str, &str)], spec: &str, expected: &str) {
    let mut world = World::default();
    nodes.iter().for_each(|node| world.node(node));
    for (index, (labels, spec, node)) in others.iter().enumerate() {
        world.there(&pod(&format!("other-{index}"), labels, spec), node);
    }
    world.pod(&pod("p", "app: web", spec));
    assert_eq!(world.all(), [format!("p on {expected}")], "{spec}");
}

fn both() -> [Value; 2] {
    [node("a", "disk: hdd, zone: x", ""), node("b", "disk: ssd, zone: y", "")]
}

#[test]
fn the_emptier_and_the_more_even_node_is_better() {
    check(both(), &[], "", "a");
    check(both(), &[("", &asks("cpu: 1"), "a")], &asks("cpu: 100m"), "b");
    check(both(), &[("", "", "a")], "", "b");
    // Each has as much left in all, but one of them evenly.
    let (uneven, even) = (asks("cpu: 1"), asks("cpu: 500m, memory: 256Mi"));
    let others = [("", uneven.as_str(), "a"), ("", even.as_str(), "b")];
    check(both(), &others, &asks("cpu: 200m, memory: 100Mi"), "b");
}

#[test]
fn wishes_for_nodes_count_by_their_weights() {
    let prefers = |terms: &[(u32, &str)]| {
        let term = |(weight, disk): &(u32, &str)| {
            format!(
                "{{weight: {weight}, preference: {{matchExpressions: [{{key: disk, operator: In, values: [{disk}]}}]}}}}"
            )
        };
        let terms: Vec<String> = terms.iter().map(term).collect();
        let terms = terms.join(", ");
        format!("affinity: {{nodeAffinity: {{preferredDuringSchedulingIgnoredDuringExecution: [{terms}]}}}}")
    };
    check(both(), &[], &prefers(&[(1, "ssd")]), "b");
    check(both(), &[], &prefers(&[(3, "hdd"), (7, "ssd")]), "b");
    check(both(), &[], &prefers(&[(7, "hdd"), (3, "ssd")]), "a");
}

#[test]
fn taints_that_are_only_disliked_are_avoided() {
    let mut nodes = both();
    nodes[0]["spec"]["taints"] = json!([{"key": "k", "effect": "PreferNoSchedule"}]);
    check(nodes.clone(), &[], "", "b");
    check(nodes, &[], "tolerations: [{operator: Exists}]", "a");
}

#[test]
fn pods_that_like_each_other_come_together() {
    let likes = |kind: &str| {
        format!(
            "affinity: {{{kind}: {{preferredDuringSchedulingIgnoredDuringExecution: [{{weight: 50, podAffinityTerm: \
             {{labelSelector: {{matchLabels: {{app: db}}}}, topologyKey: zone}}}}]}}}}"
        )
    };
    check(both(), &[("app: db", "", "b")], &likes("podAffinity"), "b");
    check(both(), &[("app: db", "", "a")], &likes("podAntiAffinity"), "b");
    // And the other way round.
    let there = likes("podAffinity").replace("app: db", "app: web");
    check(both(), &[("app: db", &there, "b")], "", "b");
    let there = likes("podAntiAffinity").replace("app: db", "app: web");
    check(both(), &[("", "", "b"), ("app: db", &there, "a")], "", "b");
}

#[test]
fn images_that_are_there_count_if_they_are_large() {
    let mut nodes = both();
    let image = |size: u64| json!([{"names": ["example.com/app:latest"], "sizeBytes": size}]);
    nodes[1]["status"]["images"] = image(900 << 20);
    let runs = "containers: [{name: c, image: example.com/app}]";
    check(nodes.clone(), &[], runs, "b");
    nodes[1]["status"]["images"] = image(20 << 20);
    check(nodes, &[], runs, "a");
}

#[test]
fn spreading_that_is_only_wished_for_yields() {
    let spread = "topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway, \
                  labelSelector: {matchLabels: {app: web}}}]";
    let others = [("app: web", "", "a"), ("", "", "b"), ("", "", "b")];
    check(both(), &others, spread, "b");
    let chosen = format!("{spread}, nodeSelector: {{zone: x}}");
    check(both(), &others, &chosen, "a");
}

#[test]
fn pods_of_one_controller_are_spread_though_nobody_says_so() {
    let second_of = |kind: &str| {
        let mut world = World::default();
        both().iter().for_each(|node| world.node(node));
        let owned = |name: &str| {
            let mut pod = pod(name, "", "");
            pod["metadata"]["ownerReferences"] =
                json!([{"apiVersion": "v1", "kind": kind, "name": "s", "uid": "s", "controller": true}]);
            pod
        };
        world.there(&owned("first"), "a");
        // The other node is a little fuller.
        world.there(&pod("other-0", "", &asks("cpu: 200m")), "b");
        world.pod(&owned("second"));
        world.all()
    };
    for kind in ["ReplicaSet", "StatefulSet", "ReplicationController"] {
        assert_eq!(second_of(kind), ["second on b"], "{kind}");
    }
    // Upstream knows no more that select pods.
    assert_eq!(second_of("Job"), ["second on a"]);
}

//! Who is near to whom: affinity between pods, and spreading.

use super::*;

/// Two zones of two nodes.
fn zones() -> World {
    let mut world = World::default();
    for (name, zone) in [("a1", "a"), ("a2", "a"), ("b1", "b"), ("b2", "b")] {
        world.node(&node(name, &format!("zone: {zone}"), ""));
    }
    world
}

fn term(selector: &str, key: &str) -> String {
    format!("{{labelSelector: {{matchLabels: {{{selector}}}}}, topologyKey: {key}}}")
}

fn required(kind: &str, terms: &str) -> String {
    format!("affinity: {{{kind}: {{requiredDuringSchedulingIgnoredDuringExecution: [{terms}]}}}}")
}

const HOST: &str = "kubernetes.io/hostname";

/// Where a pod goes beside others, or what is wrong.
#[track_caller]
fn check(others: &[(&str, &str, &str)], labels: &str, spec: &str, expected: &str) {
    let mut world = zones();
    for (index, (labels, spec, node)) in others.iter().enumerate() {
        world.there(&pod(&format!("other-{index}"), labels, spec), node);
    }
    world.pod(&pod("p", labels, spec));
    let decided = world.next().expect("it is decided");
    assert_eq!(reasons(&decided), expected, "{spec} beside {others:?}");
}

#[test]
fn a_pod_is_near_to_whom_it_must_be() {
    let near = |selector: &str, key: &str| required("podAffinity", &term(selector, key));
    let not_near = "4 node(s) didn't match pod affinity rules";
    check(&[("app: web", "", "b2")], "", &near("app: web", HOST), "p on b2");
    check(&[("app: web", "", "b2")], "", &near("app: web", "zone"), "p on b1");
    check(&[("app: web", "", "b2")], "", &near("app: db", "zone"), not_near);
    check(&[("app: web", "", "b2")], "", &near("app: web", "rack"), not_near);
    // The first of its kind is near to itself, but only where others can be.
    check(&[], "app: web", &near("app: web", "zone"), "p on a1");
    check(&[], "app: web", &near("app: web", "rack"), not_near);
    check(&[], "app: db", &near("app: web", "zone"), not_near);
    // All of it by one pod.
    let both = format!("{}, {}", term("app: web", "zone"), term("tier: x", "zone"));
    let both = required("podAffinity", &both);
    check(&[("app: web", "", "a1"), ("tier: x", "", "a2")], "", &both, not_near);
    check(&[("app: web, tier: x", "", "b1")], "", &both, "p on b2");
}

#[test]
fn a_pod_is_far_from_whom_it_must_be_and_from_who_must_be_far_from_it() {
    let far = |selector: &str, key: &str| required("podAntiAffinity", &term(selector, key));
    let web = ("app: web", "", "a1");
    check(&[web], "", &far("app: web", HOST), "p on a2");
    check(&[web], "", &far("app: web", "zone"), "p on b1");
    check(&[web], "", &far("app: web", "rack"), "p on a2");
    let all = [web, ("app: web", "", "b1")];
    check(&all, "", &far("app: web", "zone"), "4 node(s) didn't match pod anti-affinity rules");
    // The other way round.
    let lonely = far("app: web", "zone");
    let there = [("", lonely.as_str(), "a1"), ("", lonely.as_str(), "b2")];
    check(&there, "app: web", "", "4 node(s) didn't satisfy existing pods anti-affinity rules");
    check(&there[..1], "app: web", "", "p on b1");
    check(&there, "app: db", "", "p on a2");
}

#[test]
fn other_namespaces_count_if_they_are_named_or_chosen() {
    let far = |more: &str| {
        let term = format!("{{labelSelector: {{}}, topologyKey: zone, {more}}}");
        pod("p", "", &required("podAntiAffinity", &term))
    };
    let decide = |pod: &Value| {
        let mut world = zones();
        let mut team = read("{metadata: {name: team, labels: {who: us}}}");
        world.scheduler.note_namespace(&Key::new("", "team"), &bytes(&team.take()));
        let mut other = super::pod("other", "", "nodeName: a1");
        other["metadata"]["namespace"] = "team".into();
        world.pod(&other);
        world.pod(pod);
        world.next().unwrap()
    };
    assert_eq!(decide(&far("")), "p on a2");
    assert_eq!(decide(&far("namespaces: [team]")), "p on b1");
    assert_eq!(decide(&far("namespaceSelector: {matchLabels: {who: us}}")), "p on b1");
    assert_eq!(decide(&far("namespaceSelector: {matchLabels: {who: them}}")), "p on a2");
    assert_eq!(decide(&far("namespaceSelector: {}")), "p on b1");
}

fn spread(key: &str, more: &str) -> String {
    format!(
        "topologySpreadConstraints: [{{maxSkew: 1, topologyKey: {key}, whenUnsatisfiable: DoNotSchedule, \
         labelSelector: {{matchLabels: {{app: web}}}}{more}}}]"
    )
}

#[test]
fn pods_are_spread_as_they_must_be() {
    let uneven = "4 node(s) didn't match pod topology spread constraints";
    let two = [("app: web", "", "a1"), ("app: web", "", "a2")];
    check(&two, "app: web", &spread("zone", ""), "p on b1");
    check(&two, "", &spread("zone", ""), "p on b1");
    check(&two[..1], "app: web", &spread(HOST, ""), "p on a2");
    let none = format!("{uneven} (missing required label)");
    check(&two, "app: web", &spread("rack", ""), &none);
    // With fewer parts than there should be, the least is none.
    check(&[], "app: web", &spread("zone", ", minDomains: 3"), "p on a1");
    let each = [("app: web", "", "a1"), ("app: web", "", "b1")];
    check(&each, "app: web", &spread("zone", ", minDomains: 3"), uneven);
    // Nodes that the pod does not ask for count only if it says so.
    let chosen = |policy: &str| format!("nodeSelector: {{zone: a}}, {}", spread("zone", policy));
    check(&two[..1], "app: web", &chosen(""), "p on a2");
    let all = "2 node(s) didn't match Pod's node affinity/selector, \
               2 node(s) didn't match pod topology spread constraints";
    check(&two[..1], "app: web", &chosen(", nodeAffinityPolicy: Ignore"), all);
    // Of another revision, by a label of the pod's own.
    let keys = spread("zone", ", matchLabelKeys: [hash]");
    check(&[("app: web, hash: x", "", "a1")], "app: web, hash: y", &keys, "p on a2");
}

#[test]
fn who_is_on_the_way_out_is_not_spread() {
    let mut world = zones();
    let mut going = pod("going", "app: web", "nodeName: a1");
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    world.pod(&going);
    world.there(&pod("other", "app: web", ""), "b1");
    world.pod(&pod("p", "app: web", &spread("zone", "")));
    assert_eq!(world.all(), ["p on a2"]);
}

//! What fits, by tables.

use super::*;

/// A node with a label, a number as label, and these fields of its spec.
fn node(spec: &str) -> Node {
    serde_yaml::from_str(&format!(
        "{{metadata: {{name: n, labels: {{disk: ssd, size: '7'}}}}, spec: {{{spec}}}, status: {{allocatable: \
         {{cpu: '2', memory: 1Gi, ephemeral-storage: 1Gi, pods: '3', example.com/dongle: '1'}}}}}}"
    ))
    .unwrap()
}

fn pod(spec: &str) -> Pod {
    serde_yaml::from_str(&format!("{{metadata: {{name: p}}, spec: {{{spec}}}}}")).unwrap()
}

fn asks(requests: &str) -> String {
    format!("{{name: c, resources: {{requests: {{{requests}}}}}}}")
}

#[track_caller]
fn check(node_spec: &str, spec: &str, others: &[&str], expected: &str) {
    let spec = if spec.contains("containers") { spec.to_owned() } else { format!("containers: [], {spec}") };
    let others: Vec<Pod> = others.iter().map(|other| pod(other)).collect();
    let found = fits(&pod(&spec), &node(node_spec), &others.iter().collect());
    let found = found.map_or_else(|unfit| unfit.reasons.join("; "), |()| String::new());
    assert_eq!(found, expected, "{spec}");
}

#[test]
fn selectors_and_affinity_choose_by_labels_and_name() {
    for (spec, met) in [
        ("nodeSelector: {}", true),
        ("nodeSelector: {disk: ssd}", true),
        ("nodeSelector: {disk: hdd}", false),
        ("nodeSelector: {disk: ssd, other: x}", false),
    ] {
        check("", spec, &[], if met { "" } else { NOT_WISHED });
    }
    for (terms, met) in [
        ("{matchExpressions: [{key: disk, operator: In, values: [hdd, ssd]}]}", true),
        ("{matchExpressions: [{key: disk, operator: NotIn, values: [ssd]}]}", false),
        ("{matchExpressions: [{key: none, operator: NotIn, values: [ssd]}]}", true),
        ("{matchExpressions: [{key: disk, operator: Exists}]}", true),
        ("{matchExpressions: [{key: disk, operator: DoesNotExist}]}", false),
        ("{matchExpressions: [{key: size, operator: Gt, values: ['6']}]}", true),
        ("{matchExpressions: [{key: size, operator: Gt, values: ['7']}]}", false),
        ("{matchExpressions: [{key: size, operator: Lt, values: ['8']}]}", true),
        ("{matchExpressions: [{key: disk, operator: Lt, values: ['8']}]}", false),
        ("{matchFields: [{key: metadata.name, operator: In, values: [n]}]}", true),
        ("{matchFields: [{key: metadata.name, operator: NotIn, values: [n]}]}", false),
        (
            "{matchExpressions: [{key: disk, operator: Exists}], matchFields: [{key: metadata.name, operator: In, values: [m]}]}",
            false,
        ),
        ("{}", false),
        ("{}, {matchExpressions: [{key: disk, operator: Exists}]}", true),
    ] {
        let required =
            format!("requiredDuringSchedulingIgnoredDuringExecution: {{nodeSelectorTerms: [{terms}]}}");
        check(
            "",
            &format!("affinity: {{nodeAffinity: {{{required}}}}}"),
            &[],
            if met { "" } else { NOT_WISHED },
        );
    }
}

#[test]
fn taints_keep_away_who_does_not_bear_them() {
    let taint = "taints: [{key: k, value: v, effect: NoSchedule}]";
    for (tolerations, borne) in [
        ("", false),
        ("{operator: Exists}", true),
        ("{key: k, operator: Exists}", true),
        ("{key: k, value: v}", true),
        ("{key: k, value: w}", false),
        ("{key: k, operator: Equal, value: v, effect: NoSchedule}", true),
        ("{key: k, operator: Exists, effect: NoExecute}", false),
    ] {
        let expected = if borne { "" } else { "node(s) had untolerated taint {k: v}" };
        check(taint, &format!("tolerations: [{tolerations}]"), &[], expected);
    }
    check("taints: [{key: k, effect: NoExecute}]", "", &[], "node(s) had untolerated taint {k: }");
    check("taints: [{key: k, effect: PreferNoSchedule}]", "", &[], "");
    let memory = "taints: [{key: node.kubernetes.io/memory-pressure, effect: NoSchedule}]";
    check(memory, "", &[], "node(s) had untolerated taint {node.kubernetes.io/memory-pressure: }");
    check(memory, &format!("containers: [{}]", asks("cpu: 1m")), &[], "");
    check("unschedulable: true", "", &[], UNSCHEDULABLE);
    let bears = "tolerations: [{key: node.kubernetes.io/unschedulable, operator: Exists}]";
    check("unschedulable: true", bears, &[], "");
}

#[test]
fn what_is_asked_for_is_there_or_named() {
    let one = |requests: &str| format!("containers: [{}]", asks(requests));
    let half = one("cpu: 1500m");
    for (spec, others, expected) in [
        (one("cpu: 2, memory: 1Gi, ephemeral-storage: 1Gi, example.com/dongle: 1"), vec![], ""),
        (one("cpu: 2001m, memory: 2Gi"), vec![], "Insufficient cpu; Insufficient memory"),
        (one("cpu: 501m"), vec![half.as_str()], "Insufficient cpu"),
        (one("cpu: 500m"), vec![&half], ""),
        (one("example.com/other: 1"), vec![], "Insufficient example.com/other"),
        (one("cpu: 0, example.com/other: 0"), vec![], ""),
        (one(""), vec!["containers: []"; 3], "Too many pods"),
        // Init containers run one by one, sidecars beside all that follow.
        (format!("initContainers: [{}, {}], containers: []", asks("cpu: 2"), asks("cpu: 2")), vec![], ""),
        (
            format!(
                "initContainers: [{{restartPolicy: Always, {}], containers: [{}]",
                &asks("cpu: 1")[1..],
                asks("cpu: 1500m")
            ),
            vec![],
            "Insufficient cpu",
        ),
        (format!("overhead: {{cpu: 1}}, {half}"), vec![], "Insufficient cpu"),
        (format!("resources: {{requests: {{cpu: 1}}}}, overhead: {{cpu: 1}}, {half}"), vec![], ""),
    ] {
        check("", &spec, &others, expected);
    }
    let port = "containers: [{name: c, ports: [{containerPort: 80, hostPort: 80}]}]";
    check("", port, &[port], NO_PORTS);
    check("", port, &["containers: []"], "");
}

#[test]
fn messages_are_those_that_people_know() {
    let full: Vec<Pod> = vec![pod(&format!("containers: [{}]", asks("cpu: 2")))];
    let message = |spec: &str, others: &[Pod]| {
        fits(&pod(spec), &node(""), &others.iter().collect()).unwrap_err().to_string()
    };
    assert_eq!(
        message("containers: [], nodeSelector: {disk: hdd}", &[]),
        "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. \
         preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
    );
    assert_eq!(
        message(&format!("containers: [{}]", asks("cpu: 1")), &full),
        "0/1 nodes are available: 1 Insufficient cpu. \
         preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
    );
    assert_eq!(
        message("containers: [], hostUsers: false", &[]),
        "0/1 nodes are available: 1 node(s) didn't support spec.hostUsers (there are no user namespaces yet). \
         preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
    );
}

#[test]
fn who_is_bound_by_others_is_refused_in_the_kubelets_words() {
    let rejected = |node_spec: &str, spec: &str| {
        let rejected = admits(&pod(spec), &node(node_spec), &Taken::default());
        rejected.map_or_else(
            |rejection| (rejection.reason.into_owned(), rejection.message),
            |()| Default::default(),
        )
    };
    let pair = |reason: &str, message: &str| (reason.to_owned(), message.to_owned());
    assert_eq!(
        rejected("", &format!("containers: [{}]", asks("cpu: 3"))),
        pair("OutOfcpu", "Node didn't have enough resource: cpu, requested: 3000, used: 0, capacity: 2000")
    );
    assert_eq!(
        rejected("", "containers: [], nodeSelector: {disk: hdd}"),
        pair(
            "NodeAffinity",
            "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
        )
    );
    assert_eq!(
        rejected("taints: [{key: k, effect: NoExecute}]", "containers: []"),
        pair(
            "TaintToleration",
            "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate"
        )
    );
    for spec in ["unschedulable: true", "taints: [{key: k, effect: NoSchedule}]"] {
        assert_eq!(rejected(spec, "containers: []"), pair("", ""));
    }
    assert_eq!(rejected("", &format!("containers: [{}]", asks("example.com/other: 1"))), pair("", ""));
}

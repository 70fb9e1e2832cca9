//! The node's own duties, as people see them by kubectl: what it tells of itself, what it measures, and what it does when it
//! runs short of something.

use nix::sys::signal::Signal;
use podbox_tests::host::{Host, IMAGE};
use podbox_tests::needs;
use podbox_tests::node::Node;
use podbox_tests::run::limit;
use podbox_tests::wait::{wait_for, wait_until};
use serde_json::Value;

/// The answer of `kubectl ARGS` in JSON.
#[track_caller]
fn json(node: &Node, args: &[&str]) -> Value {
    serde_json::from_str(&node.kubectl(args)).expect("kubectl prints JSON")
}

fn name(node: &Node) -> String {
    node.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"])
}

#[track_caller]
fn apply(node: &Node, manifest: &str) {
    let file = node.host.file("manifest.yaml", manifest);
    node.kubectl(&["apply", "-f", file.to_str().expect("a test's path is text")]);
}

/// A condition: its status and reason.
fn condition(object: &Value, of: &str) -> (String, String) {
    let all = object["status"]["conditions"].as_array().into_iter().flatten();
    let found = all.into_iter().find(|one| one["type"] == of).cloned().unwrap_or_default();
    let word = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    (word("status"), word("reason"))
}

/// Waits until a pod has failed; what it says.
#[track_caller]
fn failed(node: &Node, pod: &str) -> Value {
    let get = || json(node, &["get", "pod", pod, "-o", "json"]);
    wait_for("the pod fails", limit(), || Some(get()).filter(|pod| pod["status"]["phase"] == "Failed"))
}

fn said(pod: &Value) -> (&str, &str) {
    let word = |field: &str| pod["status"][field].as_str().unwrap_or_default();
    (word("reason"), word("message"))
}

#[test]
fn a_node_tells_what_it_is_and_keeps_what_people_set() {
    let Some(mut node) = Node::start("a_node_tells_what_it_is_and_keeps_what_people_set") else { return };
    let name = name(&node);
    let get = |node: &Node| json(node, &["get", "node", &name, "-o", "json"]);
    let told = get(&node);
    for (of, expected) in [
        ("MemoryPressure", ("False", "KubeletHasSufficientMemory")),
        ("DiskPressure", ("False", "KubeletHasNoDiskPressure")),
        ("PIDPressure", ("False", "KubeletHasSufficientPID")),
        ("Ready", ("True", "KubeletReady")),
    ] {
        let (status, reason) = condition(&told, of);
        assert_eq!((&*status, &*reason), expected, "{of}: {told:#}");
    }
    let amount = |of: &str, resource: &str| {
        let text = told["status"][of][resource].as_str().unwrap_or_default();
        text.trim_end_matches("Ki").parse::<u64>().unwrap_or_else(|_| panic!("{of} {resource}: {text:?}"))
    };
    for resource in ["memory", "ephemeral-storage"] {
        assert!(amount("capacity", resource) > amount("allocatable", resource), "{resource}: {told:#}");
    }
    assert_eq!(told["status"]["capacity"]["pods"], "110");
    let images = told["status"]["images"].as_array().expect("there are images");
    assert!(images.iter().any(|image| image["names"].to_string().contains(IMAGE)), "{images:?}");
    assert!(images.iter().all(|image| image["sizeBytes"].as_u64().is_some_and(|bytes| bytes > 0)));
    // It is renewed beside.
    let lease = || json(&node, &["get", "leases", "-n", "kube-node-lease", "-o", "json"])["items"][0].take();
    let lease = wait_for("it has a lease", limit(), || Some(lease()).filter(Value::is_object));
    assert_eq!(lease["metadata"]["name"], name);
    assert_eq!(lease["metadata"]["ownerReferences"][0]["uid"], told["metadata"]["uid"]);

    node.kubectl(&["label", "--overwrite", "node", &name, "shelf=upper", "kubernetes.io/os=plan9"]);
    node.kubectl(&["taint", "node", &name, "own=yes:NoSchedule"]);
    node.kubectl(&["cordon", &name]);
    node.restart(Signal::SIGTERM);
    let told = get(&node);
    let labels = &told["metadata"]["labels"];
    assert_eq!((&labels["shelf"], &labels["kubernetes.io/os"]), (&"upper".into(), &"linux".into()));
    assert!(told["spec"]["taints"].to_string().contains("own"), "{}", told["spec"]);
    assert_eq!(told["spec"]["unschedulable"], true);
}

#[test]
fn a_node_answers_what_clients_ask_a_kubelet_for() {
    let Some(node) = Node::start("a_node_answers_what_clients_ask_a_kubelet_for") else { return };
    let name = name(&node);
    apply(
        &node,
        &format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: idle}}\nspec:\n  containers:\n  - {{name: c, image: '{IMAGE}', \
             imagePullPolicy: IfNotPresent, args: [sleep, '600000']}}\n"
        ),
    );
    node.kubectl(&["wait", "pod/idle", "--for=condition=Ready", "--timeout=300s"]);
    let path = |rest: &str| format!("/api/v1/nodes/{name}/proxy/{rest}");
    let summary = || json(&node, &["get", "--raw", &path("stats/summary")]);
    let summary = wait_for("the pod is measured", limit(), || {
        let measured = |told: &Value| told["pods"][0]["containers"][0]["cpu"]["usageNanoCores"].is_u64();
        Some(summary()).filter(measured)
    });
    let (of_node, pod) = (&summary["node"], &summary["pods"][0]);
    assert_eq!(of_node["nodeName"], name);
    for field in ["/memory/workingSetBytes", "/memory/availableBytes", "/fs/capacityBytes", "/rlimit/curproc"]
    {
        assert!(
            of_node.pointer(field).and_then(Value::as_u64).is_some_and(|it| it > 0),
            "{field}: {of_node}"
        );
    }
    assert_eq!((&pod["podRef"]["name"], &pod["containers"][0]["name"]), (&"idle".into(), &"c".into()));
    for field in ["/memory/workingSetBytes", "/process_stats/process_count", "/network/rxBytes"] {
        assert!(pod.pointer(field).is_some_and(Value::is_u64), "{field}: {pod}");
    }
    let little = json(&node, &["get", "--raw", &path("stats/summary?only_cpu_and_memory=true")]);
    assert!(little["node"]["fs"].is_null() && little["pods"][0]["memory"]["workingSetBytes"].is_u64());
    let metrics = node.kubectl(&["get", "--raw", &path("metrics/resource")]);
    let line = "container_memory_working_set_bytes{container=\"c\",namespace=\"default\",pod=\"idle\"} ";
    assert!(metrics.lines().any(|found| found.starts_with(line)), "{metrics}");
    let pods = json(&node, &["get", "--raw", &path("pods")]);
    assert_eq!(pods["items"][0]["metadata"]["name"], "idle");
    assert_eq!(node.kubectl(&["get", "--raw", &path("healthz")]), "ok");
    let unknown = node.client("kubectl").args(["get", "--raw", &path("secrets")]).output();
    assert!(!unknown.expect("kubectl starts").status.success());
}

#[test]
fn a_node_short_of_memory_takes_few_pods_and_makes_others_go() {
    let test = "a_node_short_of_memory_takes_few_pods_and_makes_others_go";
    let (Some(()), Some(host)) = (needs::program(test, "kubectl"), Host::new(test)) else { return };
    let mut node = Node::on(host);
    let own = name(&node);
    let object = format!("node/{own}");
    let pod = |name: &str, resources: &str| {
        // Whoever has no node waits for one that is short of nothing.
        let bound = if name == "careless" { format!("  nodeName: {own}\n") } else { String::new() };
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n{bound}  containers:\n  - {{name: c, image: '{IMAGE}', \
             imagePullPolicy: IfNotPresent, args: [sleep, '600000'], resources: {{{resources}}}}}\n"
        )
    };
    apply(&node, &pod("modest", "requests: {memory: 1Ki}"));
    node.kubectl(&["wait", "pod/modest", "--for=condition=Ready", "--timeout=300s"]);

    // All of it is never free.
    node.host.set("PODBOX_EVICTION_HARD", "memory.available<100%");
    node.host.set("PODBOX_EVICTION_PRESSURE_TRANSITION_PERIOD", "1s");
    node.restart(Signal::SIGTERM);
    let modest = failed(&node, "modest");
    let (reason, message) = said(&modest);
    assert_eq!(reason, "Evicted", "{modest:#}");
    assert!(message.starts_with("The node was low on resource: memory. Threshold quantity: "), "{message}");
    assert!(message.ends_with("request is 1Ki, has larger consumption of memory. "), "{message}");
    let disrupted = condition(&modest, "DisruptionTarget");
    assert_eq!(disrupted, ("True".to_owned(), "TerminationByKubelet".to_owned()));
    let event =
        || node.kubectl(&["get", "events", "--field-selector", "involvedObject.name=modest,reason=Evicted"]);
    wait_until("it is told", limit(), || event().contains("The node was low on resource: memory."));

    node.kubectl(&["wait", &object, "--for=condition=MemoryPressure", "--timeout=300s"]);
    let taints = |node: &Node| node.kubectl(&["get", &object, "-o", "jsonpath={.spec.taints[*].key}"]);
    wait_until("the node is tainted", limit(), || taints(&node) == "node.kubernetes.io/memory-pressure");
    apply(&node, &pod("careless", ""));
    let careless = failed(&node, "careless");
    let expected = ("Evicted", "Pod was rejected: The node had condition: [MemoryPressure]. ");
    assert_eq!(said(&careless), expected);

    node.host.set("PODBOX_EVICTION_HARD", "");
    node.restart(Signal::SIGTERM);
    node.kubectl(&["wait", &object, "--for=condition=MemoryPressure=False", "--timeout=300s"]);
    wait_until("the taint goes", limit(), || taints(&node).is_empty());
    apply(&node, &pod("welcome", ""));
    node.kubectl(&["wait", "pod/welcome", "--for=condition=Ready", "--timeout=300s"]);
}

#[test]
fn a_pod_with_more_on_disk_than_it_may_is_made_to_go() {
    let Some(node) = Node::start("a_pod_with_more_on_disk_than_it_may_is_made_to_go") else { return };
    let image = format!("image: '{IMAGE}', imagePullPolicy: IfNotPresent");
    apply(
        &node,
        &format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: chatty}}\nspec:\n  containers:\n  - {{name: c, {image}, \
             args: [lines, '60000'], resources: {{limits: {{ephemeral-storage: 1Mi}}}}}}\n\
             ---\napiVersion: v1\nkind: Pod\nmetadata: {{name: hoarder}}\nspec:\n  volumes: [{{name: v, emptyDir: {{sizeLimit: 1Ki}}}}]\n  \
             initContainers:\n  - {{name: i, {image}, args: [write, /v/f, '{}'], volumeMounts: [{{name: v, mountPath: /v}}]}}\n  \
             containers:\n  - {{name: c, {image}, args: [sleep, '600000']}}\n",
            "x".repeat(5000)
        ),
    );
    let whole = "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. ";
    assert_eq!(said(&failed(&node, "chatty")), ("Evicted", whole));
    let volume = "Usage of EmptyDir volume \"v\" exceeds the limit \"1Ki\". ";
    assert_eq!(said(&failed(&node, "hoarder")), ("Evicted", volume));
}

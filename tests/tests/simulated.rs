//! Simulated nodes beside the real one, through kubectl: what people who test schedulers and controllers do with them.

use std::collections::BTreeMap;

use nix::sys::signal::Signal;
use podbox_tests::host::Host;
use podbox_tests::needs;
use podbox_tests::node::Node;
use podbox_tests::run::limit;
use podbox_tests::wait::{wait_equal, wait_until};

const OWN: &str = "-l=podbox.io/simulated=true";
/// Pods leave a node that does not answer, or that says it is not ready, after a second.
const IMPATIENT: &str = "tolerations: [{key: node.kubernetes.io/unreachable, effect: NoExecute, operator: Exists, tolerationSeconds: 1}, \
                         {key: node.kubernetes.io/not-ready, effect: NoExecute, operator: Exists, tolerationSeconds: 1}]";

fn apply(node: &Node, manifest: &str) {
    // What begins with a brace is taken for JSON.
    let file = node.host.file("manifest.yaml", format!("---\n{manifest}"));
    node.kubectl(&["apply", "-f", file.to_str().expect("the path is UTF-8")]);
}

/// A workload whose pods have this label, annotations and spec.
fn workload(kind: &str, name: &str, fields: &str, says: &str, spec: &str) -> String {
    let group = if kind == "Job" { "batch" } else { "apps" };
    let (selector, labels) = match kind {
        "Job" => (String::new(), String::new()),
        _ => (format!("selector: {{matchLabels: {{app: {name}}}}}, "), format!("labels: {{app: {name}}}, ")),
    };
    format!(
        "{{apiVersion: {group}/v1, kind: {kind}, metadata: {{name: {name}}}, spec: {{{fields}{selector}template: {{metadata: {{{labels}\
         annotations: {{podbox.io/simulate: '{says}'}}}}, spec: {{{spec}, containers: [{{name: main, image: registry.example/app}}]}}}}}}}}\n"
    )
}

/// How many pods with this label that are not to go each node has.
fn spread(node: &Node, app: &str) -> BTreeMap<String, usize> {
    let fields = "jsonpath={range .items[*]}{.metadata.deletionTimestamp},{.spec.nodeName},{.status.phase}{\"\\n\"}{end}";
    let pods = node.kubectl(&["get", "pods", "-l", &format!("app={app}"), "-o", fields]);
    let mut count = BTreeMap::new();
    for pod in pods.lines().filter_map(|line| line.strip_prefix(',')?.strip_suffix(",Running")) {
        *count.entry(pod.to_owned()).or_default() += 1;
    }
    count
}

fn of(nodes: &[usize], pods: usize) -> BTreeMap<String, usize> {
    nodes.iter().map(|number| (format!("sim-{number}"), pods)).collect()
}

fn rolled_out(node: &Node, what: &str) {
    node.kubectl(&["rollout", "status", what, "--timeout=300s"]);
}

fn nodes(node: &Node) -> String {
    let fields = "custom-columns=:metadata.name,:status.conditions[?(@.type=='Ready')].status";
    let all = node.kubectl(&["get", "nodes", OWN, "--no-headers", "-o", fields]);
    all.lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect::<Vec<_>>()
        .join(", ")
}

/// The pods of the Deployment that a node has, also those that are to go.
fn on(node: &Node, number: usize) -> String {
    let field = format!("--field-selector=spec.nodeName=sim-{number}");
    node.kubectl(&["get", "pods", "-l=app=web", &field, "-o", "name"])
}

#[test]
fn simulated_nodes_take_pods_and_lose_them_as_real_ones_do() {
    let test = "simulated_nodes_take_pods_and_lose_them_as_real_ones_do";
    let (Some(()), Some(()), Some(host)) =
        (needs::host(test), needs::program(test, "kubectl"), Host::new(test))
    else {
        return;
    };
    let options =
        |nodes: &str| ["--simulated-nodes", nodes, "--simulated-start", "100ms"].map(str::to_owned).to_vec();
    let mut node = Node::with(host, options("6"));
    let six = "sim-0 True, sim-1 True, sim-2 True, sim-3 True, sim-4 True, sim-5 True";
    wait_equal("all are there", limit(), &six.to_owned(), || nodes(&node));
    let shown = node.kubectl(&["get", "nodes", OWN, "-L", "topology.kubernetes.io/zone"]);
    let line = shown.lines().nth(2).unwrap_or_default();
    for word in ["sim-1", "Ready", "simulated", "zone-b"] {
        assert!(line.contains(word), "{line}");
    }
    let real = node.kubectl(&["get", "nodes", "-l=!podbox.io/simulated", "-o", "name"]);
    node.kubectl(&["cordon", real.trim()]);

    // A Deployment is spread, and its pods can be told apart.
    apply(&node, &workload("Deployment", "web", "replicas: 12, ", "", IMPATIENT));
    rolled_out(&node, "deployment/web");
    assert_eq!(spread(&node, "web"), of(&[0, 1, 2, 3, 4, 5], 2));
    let addresses =
        node.kubectl(&["get", "pods", "-o", "jsonpath={range .items[*]}{.status.podIP}{\"\\n\"}{end}"]);
    let mut addresses: Vec<&str> = addresses.lines().filter(|address| address.starts_with("100.")).collect();
    addresses.sort_unstable();
    addresses.dedup();
    assert_eq!(addresses.len(), 12);

    // Nothing of them runs, and that is said.
    let logs = node.client("kubectl").args(["logs", "deployment/web"]).output().expect("kubectl starts");
    let told = String::from_utf8_lossy(&logs.stderr);
    assert!(!logs.status.success() && told.contains("is on the simulated node sim-"), "{told}");

    // A StatefulSet has its volumes there.
    let claim =
        "metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}";
    let fields = format!("replicas: 2, volumeClaimTemplates: [{{{claim}}}], ");
    apply(&node, &workload("StatefulSet", "db", &fields, "start=0s", "terminationGracePeriodSeconds: 1"));
    rolled_out(&node, "statefulset/db");
    node.kubectl(&["delete", "statefulset", "db"]);
    node.kubectl(&["delete", "pvc", "--all", "--timeout=300s"]);

    // A DaemonSet is where its nodes are labelled.
    node.kubectl(&["label", "nodes", "sim-1", "sim-4", "disk=ssd"]);
    apply(&node, &workload("DaemonSet", "agent", "", "", "nodeSelector: {disk: ssd}"));
    rolled_out(&node, "daemonset/agent");
    assert_eq!(spread(&node, "agent"), of(&[1, 4], 1));
    node.kubectl(&["label", "nodes", "sim-1", "disk-"]);
    node.kubectl(&["label", "nodes", "sim-2", "disk=ssd"]);
    wait_until("the DaemonSet follows the label", limit(), || spread(&node, "agent") == of(&[2, 4], 1));

    // Jobs end, well or badly, when their pods say so.
    apply(
        &node,
        &workload("Job", "good", "completions: 3, parallelism: 2, ", "run=200ms", "restartPolicy: Never"),
    );
    apply(&node, &workload("Job", "bad", "backoffLimit: 0, ", "run=200ms, exit=3", "restartPolicy: Never"));
    node.kubectl(&["wait", "job/good", "--for=condition=Complete", "--timeout=300s"]);
    node.kubectl(&["wait", "job/bad", "--for=condition=Failed", "--timeout=300s"]);

    // A taint drives out who does not bear it.
    node.kubectl(&["taint", "nodes", "sim-0", "out=now:NoExecute"]);
    let left =
        || !spread(&node, "web").contains_key("sim-0") && spread(&node, "web").values().sum::<usize>() == 12;
    wait_until("the pods left the tainted node", limit(), left);

    // A budget holds a drain back.
    node.kubectl(&["create", "poddisruptionbudget", "web", "--selector=app=web", "--min-available=12"]);
    node.kubectl(&["wait", "pdb/web", "--for=jsonpath={.status.currentHealthy}=12", "--timeout=300s"]);
    let drain = ["drain", "sim-1", "--ignore-daemonsets", "--timeout=2s"];
    let held = node.client("kubectl").args(drain).output().expect("kubectl starts");
    let told = String::from_utf8_lossy(&held.stderr);
    assert!(!held.status.success() && told.contains("violate the pod's disruption budget"), "{told}");
    assert!(spread(&node, "web").contains_key("sim-1"));
    node.kubectl(&["delete", "pdb", "web"]);
    node.kubectl(&["drain", "sim-1", "--ignore-daemonsets", "--timeout=300s"]);
    assert!(!spread(&node, "web").contains_key("sim-1"));
    rolled_out(&node, "deployment/web");

    // A node that falls silent loses its pods, which nobody ends until it is heard again.
    node.kubectl(&["annotate", "nodes", "sim-3", "podbox.io/simulate=silent"]);
    node.kubectl(&["wait", "node/sim-3", "--for=condition=Ready=Unknown", "--timeout=300s"]);
    wait_until("its pods are to go", limit(), || !spread(&node, "web").contains_key("sim-3"));
    rolled_out(&node, "deployment/web");
    assert!(!on(&node, 3).is_empty(), "a silent node confirms nothing");
    node.kubectl(&["annotate", "nodes", "sim-3", "podbox.io/simulate-"]);
    node.kubectl(&["wait", "node/sim-3", "--for=condition=Ready", "--timeout=300s"]);
    wait_until("it has ended its pods", limit(), || on(&node, 3).is_empty());

    // One that is not ready says so, and a restart with fewer takes away those at the end.
    node.kubectl(&["annotate", "nodes", "sim-2", "podbox.io/simulate=not-ready"]);
    wait_until("a node says that it is not ready", limit(), || nodes(&node).contains("sim-2 False"));
    wait_until("its pods leave", limit(), || !spread(&node, "web").contains_key("sim-2"));
    let before = on(&node, 4);
    node.restart_with(Signal::SIGTERM, options("5"));
    let five = "sim-0 True, sim-1 True, sim-2 False, sim-3 True, sim-4 True";
    wait_equal("the last one is gone", limit(), &five.to_owned(), || nodes(&node));
    assert_eq!(on(&node, 4), before, "who stays does not notice");
}

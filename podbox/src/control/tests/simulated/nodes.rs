//! Nodes in the same world: they live, fall silent for so long that they lose their pods, and are gone with them.

use super::*;
use crate::api::objects::NODE_LEASES;

const NODES: &str = "/nodes";
const LEASES: &str = "coordination.k8s.io/leases";

/// Whether objects of a collection are there whatever was deleted.
pub(super) fn stay(collection: &str) -> bool {
    [NODES, LEASES].contains(&collection)
}

/// A node, and where it is.
pub(super) fn node(which: usize) -> (Target, Value) {
    let name = format!("node-{}", which % 5);
    let object = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {}});
    (Target { api_version: "v1".into(), kind: "Node".into(), namespace: String::new(), name }, object)
}

impl World {
    /// All nodes live.
    pub(super) fn beat(&mut self) -> bool {
        self.beat_of(|_| true)
    }

    /// These nodes live: they renew their leases, and say again of themselves and of their pods what others took back. Tells whether
    /// that is news.
    fn beat_of(&mut self, live: impl Fn(&str) -> bool) -> bool {
        let before = self.revision;
        let now = object::time(self.now().wall.into());
        let ready =
            json!([{"type": "Ready", "status": "True", "lastTransitionTime": now, "lastHeartbeatTime": now}]);
        let names = self.list(NODES).into_iter().map(|node| object::name(&node).to_owned());
        let names: Vec<String> = names.filter(|name| live(name)).collect();
        for name in &names {
            let mut lease = target("coordination.k8s.io/v1", "Lease", name);
            lease.namespace = NODE_LEASES.into();
            if self.there(&lease, &Seen::default()).is_none() {
                self.create(json!({
                    "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                    "metadata": {"name": name, "namespace": NODE_LEASES}, "spec": {},
                }));
            }
            self.edit(&lease, "", |lease| lease["spec"]["renewTime"] = now.clone().into());
            let mut at = target("v1", "Node", name);
            at.namespace = String::new();
            self.edit(&at, "status", |node| {
                if node["status"]["conditions"][0]["status"] != "True" {
                    node["status"]["conditions"] = ready.clone();
                }
            });
        }
        for pod in self.list(PODS) {
            let lives = names.iter().any(|name| pod["spec"]["nodeName"] == name.as_str());
            if lives
                && pod["status"]["phase"] == "Running"
                && pod["status"]["conditions"][0]["status"] == "False"
            {
                let at = target("v1", "Pod", object::name(&pod));
                self.edit(&at, "status", |pod| pod["status"]["conditions"] = ready.clone());
            }
        }
        self.revision != before
    }

    /// So many seconds pass, in which these nodes live and what is to be done is done.
    fn pass(&mut self, seconds: u64, live: impl Fn(&str) -> bool) {
        let end = self.seconds + seconds;
        loop {
            self.beat_of(&live);
            self.reconcile();
            while !self.running.is_empty() {
                self.step(0, false);
                self.reconcile();
            }
            if self.seconds >= end {
                return;
            }
            self.seconds += 1;
        }
    }
}

/// Three pods that bear a silent node for a minute, one on each node.
fn spread() -> World {
    let mut world = World::new();
    let mut web = deployment(3, false);
    web["spec"]["template"]["spec"]["tolerations"] = json!([
        {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60},
    ]);
    world.create(web);
    world.pass(0, |_| true);
    (0..3).for_each(|which| world.node(which, false));
    world.pass(1, |_| true);
    world
}

fn on(world: &World, node: &str) -> Vec<Value> {
    world.list(PODS).into_iter().filter(|pod| pod["spec"]["nodeName"] == node).collect()
}

fn taints(world: &World, node: &str) -> Vec<String> {
    let node = world.list(NODES).into_iter().find(|one| object::name(one) == node).unwrap();
    let taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    taints.iter().map(|taint| format!("{}:{}", taint["key"], taint["effect"]).replace('"', "")).collect()
}

#[test]
fn a_silent_node_loses_its_pods_after_they_bore_it_and_is_taken_back() {
    let (mut world, others) = (spread(), |node: &str| node != "node-1");
    world.pass(45, others);
    assert_eq!(taints(&world, "node-1"), Vec::<String>::new());
    world.pass(10, others);
    let unreachable =
        ["NoSchedule", "NoExecute"].map(|effect| format!("node.kubernetes.io/unreachable:{effect}"));
    assert_eq!(taints(&world, "node-1"), unreachable);
    let pod = on(&world, "node-1").remove(0);
    assert_eq!(pod["status"]["conditions"][0]["status"], "False");
    world.pass(50, others);
    assert!(!object::deleting(&on(&world, "node-1")[0]), "it bears it for a minute");
    world.pass(12, others);
    let pod = on(&world, "node-1").remove(0);
    assert!(object::deleting(&pod), "{pod:#}");
    assert_eq!(pod["status"]["conditions"][1]["reason"], "DeletionByTaintManager");
    assert_eq!(world.list(PODS).len(), 4, "another is made in its place");
    assert_eq!(taints(&world, "node-0"), Vec::<String>::new());
    world.pass(1, |_| true);
    assert_eq!(taints(&world, "node-1"), Vec::<String>::new());
}

#[test]
fn pods_of_a_node_that_is_deleted_fail_and_go_after_a_while() {
    let mut world = spread();
    world.delete(&node(1).0, None);
    world.pass(35, |_| true);
    assert_eq!(on(&world, "node-1")[0]["status"]["phase"], "Running");
    world.pass(10, |_| true);
    assert!(on(&world, "node-1").is_empty());
    assert_eq!(world.list(PODS).len(), 3);
}

#[test]
fn nobody_leaves_while_all_nodes_are_silent() {
    let mut world = spread();
    world.pass(300, |_| false);
    let unreachable = ["node.kubernetes.io/unreachable:NoSchedule"];
    (0..3).for_each(|which| assert_eq!(taints(&world, &format!("node-{which}")), unreachable));
    assert!(world.list(PODS).iter().all(|pod| !object::deleting(pod)));
    world.pass(5, |_| true);
    (0..3).for_each(|which| assert_eq!(taints(&world, &format!("node-{which}")), Vec::<String>::new()));
}

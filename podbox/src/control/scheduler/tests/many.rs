//! Many pods and nodes: as many as fit are bound, nothing is taken twice, and after whatever happens the scheduler holds what there is.

use super::*;
use crate::control::scheduler::{Decision, Subject};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

#[test]
fn five_thousand_pods_are_bound_over_a_hundred_nodes() {
    let mut world = World::default();
    for number in 0..100 {
        let mut node = node(&format!("n-{number:03}"), "", "");
        node["status"]["allocatable"] = json!({"cpu": "8", "memory": "16Gi", "pods": "60"});
        world.node(&node);
    }
    let spec = asks("cpu: 100m, memory: 64Mi");
    for number in 0..5000 {
        world.pod(&pod(&format!("p-{number:04}"), "app: web", &spec));
    }
    let mut held: BTreeMap<String, usize> = BTreeMap::new();
    let mut bound = BTreeSet::new();
    while let Some(decision) = world.scheduler.next(world.now, 1000) {
        let Decision::Bind(pod, node) = &decision else { panic!("{decision:?}") };
        assert!(bound.insert(pod.key.clone()), "{} was bound twice", pod.key);
        *held.entry(node.to_string()).or_default() += 1;
        world.scheduler.ended(&decision, true, world.now);
    }
    assert_eq!((bound.len(), held.len()), (5000, 100));
    assert!(held.values().all(|pods| *pods == 50), "{held:?}");
    assert_eq!(world.scheduler.counts(), [0, 0, 0]);
}

/// What happens.
#[derive(Clone, Debug)]
enum Step {
    Node { name: u8, cpu: u8, zone: u8, closed: bool },
    NoNode { name: u8 },
    Pod { name: u8, cpu: u8, kind: u8, priority: i8 },
    Bound { written: bool },
    Told { written: bool },
    Relabel { name: u8, label: u8 },
    Leaves { name: u8 },
    Gone { name: u8 },
    Time,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..5u8, 0..8u8, 0..2u8, prop::bool::weighted(0.2))
            .prop_map(|(name, cpu, zone, closed)| Step::Node { name, cpu, zone, closed }),
        1 => (0..5u8).prop_map(|name| Step::NoNode { name }),
        8 => (0..12u8, 0..5u8, 0..5u8, any::<i8>())
            .prop_map(|(name, cpu, kind, priority)| Step::Pod { name, cpu, kind, priority }),
        6 => prop::bool::weighted(0.8).prop_map(|written| Step::Bound { written }),
        3 => prop::bool::weighted(0.8).prop_map(|written| Step::Told { written }),
        2 => (0..12u8, 0..3u8).prop_map(|(name, label)| Step::Relabel { name, label }),
        2 => (0..12u8).prop_map(|name| Step::Leaves { name }),
        4 => (0..12u8).prop_map(|name| Step::Gone { name }),
        1 => Just(Step::Time),
    ]
}

/// The store, and a scheduler that follows it.
#[derive(Default)]
struct Cluster {
    world: World,
    nodes: BTreeMap<String, Value>,
    pods: BTreeMap<String, Value>,
    decided: Vec<Decision>,
    telling: Vec<Decision>,
    count: u32,
}

impl Cluster {
    fn take(&mut self, step: Step) {
        match step {
            Step::Node { name, cpu, zone, closed } => {
                let mut node = node(&format!("n{name}"), &format!("zone: z{zone}"), "");
                node["status"]["allocatable"] = json!({"cpu": cpu.to_string(), "memory": "1Gi", "pods": "5"});
                node["spec"]["unschedulable"] = closed.into();
                self.world.node(&node);
                self.nodes.insert(format!("n{name}"), node);
            }
            Step::NoNode { name } => {
                let name = format!("n{name}");
                if self.nodes.remove(&name).is_some() {
                    self.world.scheduler.forget_node(&Key::new("", &name));
                }
            }
            Step::Pod { name, cpu, kind, priority } => self.pod(&format!("p{name}"), cpu, kind, priority),
            Step::Bound { written } => self.bind(written),
            Step::Told { written } => self.tell(written),
            Step::Relabel { name, label } => {
                self.change(&format!("p{name}"), |pod| {
                    pod["metadata"]["labels"]["n"] = label.to_string().into()
                });
            }
            Step::Leaves { name } => self.leave(&format!("p{name}"), false),
            Step::Gone { name } => {
                if self.pods.remove(&format!("p{name}")).is_some() {
                    self.world.gone(&format!("p{name}"));
                }
            }
            Step::Time => self.world.now += Duration::from_secs(3),
        }
        while let Some(decision) = self.world.scheduler.next(self.world.now, 1000) {
            match decision {
                Decision::Bind(..) => {
                    self.check(&decision);
                    self.decided.push(decision);
                }
                Decision::Provide(..) => panic!("there are no claims"),
                Decision::Tell(..) | Decision::Again(..) => self.telling.push(decision),
                Decision::Preempt(..) => {
                    self.check_victims(&decision);
                    self.telling.push(decision);
                }
            }
        }
    }

    fn pod(&mut self, name: &str, cpu: u8, kind: u8, priority: i8) {
        if self.pods.contains_key(name) {
            return;
        }
        let term = |key: &str| {
            format!(
                "{{requiredDuringSchedulingIgnoredDuringExecution: [{{labelSelector: {{matchLabels: {{app: web}}}}, topologyKey: {key}}}]}}"
            )
        };
        let more = match kind {
            1 => format!("affinity: {{podAntiAffinity: {}}}, ", term("kubernetes.io/hostname")),
            2 => format!("affinity: {{podAffinity: {}}}, ", term("zone")),
            3 => "topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, \
                  labelSelector: {matchLabels: {app: web}}}], "
                .to_owned(),
            _ => String::new(),
        };
        let port = if kind == 4 { ", ports: [{hostPort: 80, containerPort: 80}]" } else { "" };
        let spec = format!(
            "{more}priority: {priority}, containers: [{{name: c, resources: {{requests: {{cpu: {cpu}}}}}{port}}}]"
        );
        self.count += 1;
        let mut pod = pod(name, "app: web", &spec);
        pod["metadata"]["uid"] = format!("uid-{}", self.count).into();
        self.world.pod(&pod);
        self.pods.insert(name.to_owned(), pod);
    }

    /// The oldest decision is written, or could not be.
    fn bind(&mut self, written: bool) {
        if self.decided.is_empty() {
            return;
        }
        let decision = self.decided.remove(0);
        let Decision::Bind(subject, node) = &decision else { return };
        let there =
            self.pods.get_mut(subject.key.name()).filter(|pod| pod["metadata"]["uid"] == *subject.uid);
        let written = written && there.is_some();
        if let Some(pod) = there.filter(|_| written) {
            pod["spec"]["nodeName"] = (**node).into();
            let pod = pod.clone();
            self.world.pod(&pod);
        }
        self.world.scheduler.ended(&decision, written, self.world.now);
    }

    /// What pods are told, oldest first, is written, or could not be; who is to go for one goes.
    fn tell(&mut self, written: bool) {
        if self.telling.is_empty() {
            return;
        }
        let decision = self.telling.remove(0);
        let there = |cluster: &Cluster, pod: &Subject| {
            cluster.pods.get(pod.key.name()).is_some_and(|known| known["metadata"]["uid"] == *pod.uid)
        };
        if let Decision::Preempt(subject, _, victims) = &decision
            && written
            && there(self, subject)
        {
            let victims: Vec<_> = victims.iter().filter(|victim| there(self, victim)).collect();
            victims.into_iter().for_each(|victim| self.leave(victim.key.name(), true));
        }
        self.world.scheduler.ended(&decision, written, self.world.now);
    }

    /// A pod is to go: at once if it is on no node.
    fn leave(&mut self, name: &str, preempted: bool) {
        if self.pods.get(name).is_some_and(|pod| pod["spec"]["nodeName"].is_null()) {
            self.pods.remove(name);
            return self.world.gone(name);
        }
        self.change(name, |pod| {
            if preempted {
                pod["status"]["conditions"] =
                    json!([{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]);
            }
            pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        });
    }

    fn change(&mut self, name: &str, change: impl FnOnce(&mut Value)) {
        let Some(pod) = self.pods.get_mut(name) else { return };
        change(pod);
        let pod = pod.clone();
        self.world.pod(&pod);
    }

    /// Whoever goes is less important than who comes, and makes the room that it asks for.
    fn check_victims(&self, decision: &Decision) {
        let Decision::Preempt(subject, told, victims) = decision else { return };
        let (placed, own) = (self.placed(), &self.pods[subject.key.name()]);
        let node = told.nominated.as_deref().expect("a node is kept for it");
        let priority = |pod: &Value| pod["spec"]["priority"].as_i64().unwrap();
        for victim in victims {
            assert_eq!(placed.get(victim.key.name()).map(String::as_str), Some(node), "{decision:?}");
            assert!(priority(&self.pods[victim.key.name()]) < priority(own), "{decision:?}");
        }
        let stays = |name: &String| {
            let pod = &self.pods[name];
            let goes = victims.iter().any(|victim| victim.key.name() == name)
                || !pod["metadata"]["deletionTimestamp"].is_null() && priority(pod) < priority(own);
            (!goes).then_some(pod)
        };
        let cpu =
            |pod: &Value| pod["spec"]["containers"][0]["resources"]["requests"]["cpu"].as_i64().unwrap();
        let left: Vec<&Value> =
            placed.iter().filter(|(_, on)| *on == node).filter_map(|(name, _)| stays(name)).collect();
        let room: i64 = self.nodes[node]["status"]["allocatable"]["cpu"].as_str().unwrap().parse().unwrap();
        let all = cpu(own) + left.iter().map(|pod| cpu(pod)).sum::<i64>();
        assert!((cpu(own) == 0 || all <= room) && left.len() < 5, "{decision:?} beside {left:?}");
    }

    /// Nodes of pods, whether written yet or not.
    fn placed(&self) -> BTreeMap<String, String> {
        let decided = self.decided.iter().filter_map(|decision| match decision {
            Decision::Bind(subject, node) => Some((subject, node)),
            _ => None,
        });
        let decided = decided.filter(|(subject, _)| {
            self.pods.get(subject.key.name()).is_some_and(|pod| pod["metadata"]["uid"] == *subject.uid)
        });
        let bound = self
            .pods
            .iter()
            .filter_map(|(name, pod)| Some((name.clone(), pod["spec"]["nodeName"].as_str()?.to_owned())));
        decided
            .map(|(subject, node)| (subject.key.name().to_owned(), node.to_string()))
            .chain(bound)
            .collect()
    }

    /// A node that was chosen has room for the pod beside those that are there.
    fn check(&self, decision: &Decision) {
        let Decision::Bind(subject, node) = decision else { return };
        let chosen = &self.nodes[&**node];
        assert_ne!(chosen["spec"]["unschedulable"], true, "{decision:?}");
        let mut placed = self.placed();
        placed.insert(subject.key.name().to_owned(), node.to_string());
        let here: Vec<&Value> =
            placed.iter().filter(|(_, on)| ***on == **node).map(|(name, _)| &self.pods[name]).collect();
        let cpu =
            |pod: &Value| pod["spec"]["containers"][0]["resources"]["requests"]["cpu"].as_i64().unwrap();
        let room: i64 = chosen["status"]["allocatable"]["cpu"].as_str().unwrap().parse().unwrap();
        let own = &self.pods[subject.key.name()];
        assert!(cpu(own) == 0 || here.iter().map(|pod| cpu(pod)).sum::<i64>() <= room, "{decision:?}");
        assert!(here.len() <= 5, "{decision:?}");
        let ports = here.iter().filter(|pod| !pod["spec"]["containers"][0]["ports"].is_null()).count();
        assert!(ports <= 1 || own["spec"]["containers"][0]["ports"].is_null(), "{decision:?}");
        let lonely = |pod: &&&Value| !pod["spec"]["affinity"]["podAntiAffinity"].is_null();
        assert!(here.len() == 1 || !here.iter().any(|pod| lonely(&pod)), "{decision:?} beside {here:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_no_node_takes_too_much_and_nothing_is_left_behind(steps in prop::collection::vec(step(), 1..60)) {
        let mut cluster = Cluster::default();
        steps.into_iter().for_each(|step| cluster.take(step));
        while !cluster.decided.is_empty() {
            cluster.bind(true);
        }
        while !cluster.telling.is_empty() {
            cluster.tell(true);
        }
        // One that begins anew holds the same.
        let mut anew = World::default();
        cluster.nodes.values().for_each(|node| anew.node(node));
        cluster.pods.values().for_each(|pod| anew.pod(pod));
        prop_assert_eq!(cluster.world.scheduler.held(), anew.scheduler.held());
        let names: Vec<String> = cluster.pods.keys().cloned().collect();
        names.iter().for_each(|name| cluster.world.gone(name));
        let nodes: Vec<String> = cluster.nodes.keys().cloned().collect();
        nodes.iter().for_each(|name| cluster.world.scheduler.forget_node(&Key::new("", name)));
        prop_assert!(cluster.world.scheduler.is_empty());
    }
}

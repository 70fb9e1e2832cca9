//! The same for nodes, and for pods for the sake of their nodes. What is remembered of nodes from one look to the next is noted here,
//! before and after a reconciliation.

use super::{NODES, PODS, stored};
use crate::api::objects::NODE_LEASES;
use crate::control::action::Actions;
use crate::control::key::{Key, Work};
use crate::control::node_lifecycle::{self, Observed, Sign};
use crate::control::nodes::{Rate, Ready};
use crate::control::pod_garbage::{self, Whereabouts};
use crate::control::pods::Member;
use crate::control::source::Source;
use crate::control::taint_eviction;
use crate::control::world::World;
use jiff::Timestamp;
use serde_json::Value;

/// Where leases are.
const LEASES: &str = "coordination.k8s.io/leases";

impl World {
    /// Looks at what a reconciliation is about to ask.
    pub fn look(&mut self, work: &Work, source: &impl Source, now: Timestamp) {
        match work {
            Work::Node(key) => {
                if let Some((_, node, _)) = stored(self, source, NODES, key) {
                    self.look_at_node(key, &node, source, now);
                }
            }
            Work::PodGarbage(key) => {
                let node = self.pods.get(key).and_then(|pod| pod.node.as_deref());
                if let Some(node) =
                    node.map(|node| Key::new("", node)).filter(|node| self.nodes.get(node).is_none())
                {
                    self.beats.look(&node, None, now);
                }
            }
            _ => {}
        }
    }

    /// Notes when a node was heard of, by its lease and its status, and lets it ask for its turn to lose its pods.
    fn look_at_node(&mut self, key: &Key, node: &Value, source: &impl Source, now: Timestamp) {
        let lease = stored(self, source, LEASES, &Key::new(NODE_LEASES, key.name()));
        let renewed = lease.and_then(|(_, lease, _)| Some(lease["spec"]["renewTime"].as_str()?.to_owned()));
        let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
        let told = conditions.filter(|condition| condition["status"] != "Unknown");
        let told = told.filter_map(|condition| condition["lastHeartbeatTime"].as_str()).map(str::to_owned);
        let said: Vec<String> = renewed.into_iter().chain(told).collect();
        let at = said.iter().filter_map(|time| time.parse().ok()).max();
        let grace = node_lifecycle::grace(node_lifecycle::ready(node));
        self.beats.look(key, Some(Sign { said: &said.join(" "), at, grace }), now);
        let Some(facts) = self.nodes.get(key) else { return };
        let zone = facts.zone();
        let heard = self.beats.heard(key).unwrap_or(now);
        if let Rate::Each(span) = self.nodes.rate(&zone)
            && node_lifecycle::is_lost(node, heard, now)
        {
            self.turns.ask(&zone, key, span, now);
        }
    }

    /// This is what a reconciliation found.
    pub fn heed(&mut self, work: &Work, found: &Actions, now: Timestamp) {
        if let Work::TaintEviction(pod) = work {
            self.leaving.heed(pod, found, now);
        }
    }
}

/// Reconciles a node.
pub fn node(world: &World, source: &impl Source, key: &Key, now: Timestamp) -> Actions {
    let Some((at, object, revision)) = stored(world, source, NODES, key) else { return Actions::none() };
    let zone = world.nodes.get(key).map(|facts| facts.zone()).unwrap_or_default();
    let rate = world.nodes.rate(&zone);
    let wait = match rate {
        Rate::Each(span) => world.turns.wait(&zone, key, span),
        _ => None,
    };
    let observed = Observed { heard: world.beats.heard(key).unwrap_or(now), rate, wait };
    node_lifecycle::reconcile(&node_lifecycle::Desired { at, object: &object, revision }, &observed, now)
}

/// A pod, and its node's name.
fn bound<'a>(world: &'a World, key: &Key) -> Option<(&'a Member, Key)> {
    let pod = world.pods.get(key)?;
    Some((pod, Key::new("", pod.node.as_deref()?)))
}

/// For a pod whose node does not answer.
pub fn unready(world: &World, source: &impl Source, key: &Key, now: Timestamp) -> Actions {
    let found = || {
        let (pod, node) = bound(world, key)?;
        world.nodes.get(&node).filter(|node| node.ready == Ready::Unknown)?;
        let (_, object, revision) = stored(world, source, PODS, key)?;
        Some(node_lifecycle::unready(pod, &object, revision, now))
    };
    found().unwrap_or_default()
}

/// For a pod that may have to leave its node.
pub fn eviction(world: &World, source: &impl Source, key: &Key, now: Timestamp) -> Actions {
    let found = || {
        let (pod, node) = bound(world, key)?;
        let taints = &world.nodes.get(&node)?.taints;
        let (_, object, revision) = stored(world, source, PODS, key)?;
        let desired = taint_eviction::Desired { pod, object: &object, revision };
        Some(taint_eviction::reconcile(desired, taints, world.leaving.since(key), now))
    };
    found().unwrap_or_default()
}

/// For a pod that nobody else may take away.
pub fn garbage(world: &World, source: &impl Source, key: &Key, now: Timestamp) -> Actions {
    let Some(pod) = world.pods.get(key) else { return Actions::none() };
    let place = match pod.node.as_deref().map(|node| Key::new("", node)) {
        None => Whereabouts::Nowhere,
        Some(node) => match world.nodes.get(&node) {
            None => Whereabouts::Gone(world.beats.heard(&node).unwrap_or(now)),
            Some(facts) if facts.is_out_of_service() => Whereabouts::OutOfService,
            Some(_) => return Actions::none(),
        },
    };
    let Some((_, object, revision)) = stored(world, source, PODS, key) else { return Actions::none() };
    pod_garbage::reconcile(pod, (&object, revision), place, now)
}

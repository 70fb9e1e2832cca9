//! The same for nodes, and for pods for the sake of their nodes. What is remembered of nodes from one look to the next is noted here,
//! before and after a reconciliation, by the clock that does not jump.

use super::{NODES, PODS, stored};
use crate::api::objects::NODE_LEASES;
use crate::control::action::{Actions, Subject};
use crate::control::controllers::Now;
use crate::control::key::{Key, Work};
use crate::control::node_lifecycle::{self, Observed, Said, registry};
use crate::control::nodes::{Rate, Ready};
use crate::control::pod_garbage::{self, Whereabouts};
use crate::control::pods::Member;
use crate::control::source::Source;
use crate::control::taint_eviction::{self, Patience};
use crate::control::world::World;
use crate::control::{condition, gather};
use crate::limits;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

impl World {
    /// Looks at what a reconciliation is about to ask.
    pub fn look(&mut self, work: &Work, source: &impl Source, now: Now) {
        match work {
            Work::Node(key) => {
                if let Some((_, node, _)) = stored(self, source, NODES, key) {
                    self.look_at_node(key, &node, source, now);
                }
            }
            Work::Beat(node) => {
                let renewed = self.renewed(node, source);
                self.beats.hear(node, &renewed, now.since);
            }
            Work::TaintEviction(key) => {
                let taints =
                    |pod: &Member| Some(&self.nodes.get(&Key::new("", pod.node.as_deref()?))?.taints);
                let pod = self.pods.get(key);
                let taints = pod.and_then(|pod| taints(pod)).map_or(&[][..], Vec::as_slice);
                self.leaving.look(key, pod.map(|pod| &*pod.uid), taints, now.since);
            }
            Work::PodGarbage(key) => {
                let node = self.pods.get(key).and_then(|pod| pod.node.as_deref());
                if let Some(node) =
                    node.map(|node| Key::new("", node)).filter(|node| self.nodes.get(node).is_none())
                {
                    self.beats.look(&node, None, limits::NODE_LOST, now.since);
                }
            }
            _ => {}
        }
    }

    /// When a node's lease was renewed, in its own words.
    fn renewed(&self, node: &Key, source: &impl Source) -> String {
        let lease = stored(self, source, gather::LEASES, &Key::new(NODE_LEASES, node.name()));
        let renewed = lease.and_then(|(_, lease, _)| Some(lease["spec"]["renewTime"].as_str()?.to_owned()));
        renewed.unwrap_or_default()
    }

    /// Notes when a node was heard of, by its lease and its status, and lets it ask for its turn to lose its pods.
    fn look_at_node(&mut self, key: &Key, node: &Value, source: &impl Source, now: Now) {
        let ready = condition::of(node).into_iter().find(|condition| condition["type"] == "Ready");
        let ready = ready.filter(|ready| ready["status"] != "Unknown");
        let ready = ready.and_then(|ready| Some(ready["lastHeartbeatTime"].as_str()?.to_owned()));
        let said = Said { lease: self.renewed(key, source), ready };
        let grace = node_lifecycle::grace(node_lifecycle::ready(node));
        self.beats.look(key, Some(said), grace, now.since);
        let Some(facts) = self.nodes.get(key) else { return };
        let zone = facts.zone();
        let heard = heard(self, key, now);
        if let Rate::Each(span) = self.nodes.rate(&zone)
            && node_lifecycle::is_lost(node, heard, now.wall)
        {
            self.turns.ask(&zone, key, span, now.wall);
        }
    }

    /// This is what a reconciliation found.
    pub fn heed(&mut self, work: &Work, found: &Actions) {
        match work {
            Work::TaintEviction(pod) => self.leaving.heed(pod, found),
            Work::Job(_) => self.departed.heed(found),
            Work::Node(node) => {
                let there = self.nodes.get(node).and(found.about.as_ref());
                self.registry.heed(node, there.map(|about| about.uid.as_str()));
            }
            _ => {}
        }
    }
}

/// When a node was heard of last, or since when it is not there, by the clock on the wall as it is now.
fn heard(world: &World, node: &Key, now: Now) -> Timestamp {
    let Some(heard) = world.beats.heard(node) else { return now.wall };
    let ago = SignedDuration::try_from(now.since.saturating_sub(heard)).unwrap_or(SignedDuration::MAX);
    now.wall.checked_sub(ago).unwrap_or(Timestamp::MIN)
}

/// Reconciles a node.
pub fn node(world: &World, source: &impl Source, key: &Key, now: Now) -> Actions {
    let Some((at, object, revision)) = stored(world, source, NODES, key) else {
        let kind = world.catalog.collection(NODES);
        let gone = kind.zip(world.registry.uid(key));
        let about =
            gone.map(|(kind, uid)| Subject { at: world.catalog.target(kind, key), uid: uid.to_owned() });
        return about.map_or_else(Actions::none, registry::removed);
    };
    let zone = world.nodes.get(key).map(|facts| facts.zone()).unwrap_or_default();
    let rate = world.nodes.rate(&zone);
    let wait = match rate {
        Rate::Each(span) => world.turns.wait(&zone, key, span),
        _ => None,
    };
    let (heard, known, ttl) = (heard(world, key, now), world.registry.uid(key), world.registry.ttl());
    let observed = Observed { heard, rate, wait, known, ttl };
    node_lifecycle::reconcile(&node_lifecycle::Desired { at, object: &object, revision }, &observed, now.wall)
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
pub fn eviction(world: &World, source: &impl Source, key: &Key, now: Now) -> Actions {
    let found = || {
        let (pod, node) = bound(world, key)?;
        let taints = &world.nodes.get(&node)?.taints;
        let (_, object, revision) = stored(world, source, PODS, key)?;
        let desired = taint_eviction::Desired { pod, object: &object, revision };
        let patience = Patience { leaving: &world.leaving, pod: key, now: now.since };
        Some(taint_eviction::reconcile(desired, taints, patience, now.wall))
    };
    found().unwrap_or_default()
}

/// For a pod that nobody else may take away.
pub fn garbage(world: &World, source: &impl Source, key: &Key, now: Now) -> Actions {
    let Some(pod) = world.pods.get(key) else { return Actions::none() };
    let place = match pod.node.as_deref().map(|node| Key::new("", node)) {
        None => Whereabouts::Nowhere,
        Some(node) => match world.nodes.get(&node) {
            None => Whereabouts::Gone(heard(world, &node, now)),
            Some(facts) if facts.is_out_of_service() => Whereabouts::OutOfService,
            Some(_) => return Actions::none(),
        },
    };
    let Some((_, object, revision)) = stored(world, source, PODS, key) else { return Actions::none() };
    pod_garbage::reconcile(pod, (&object, revision), place, now.wall)
}

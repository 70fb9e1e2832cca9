//! Nodes of a simulated cluster, as its API sees them: they come, show that they live, fall silent, and go.

use super::api::Refusal;
use super::machines::Machine;
use super::sights::Sight;
use super::world::{World, target};
use crate::api::lifecycle::Deletion;
use crate::api::object;
use crate::pod::pretend;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::time::Duration;

impl World {
    /// Time passes, and nodes show that they live.
    pub fn pass(&mut self, span: Duration) {
        self.since += span;
        self.wall =
            self.wall.checked_add(SignedDuration::try_from(span).unwrap_or_default()).unwrap_or(self.wall);
        self.beat();
    }

    /// The wall clock jumps; the other does not.
    pub fn jump(&mut self, seconds: i64) {
        self.wall = self.wall.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(self.wall);
        self.set_back += Duration::from_secs(seconds.min(0).unsigned_abs());
        self.tell(&format!("the wall clock jumps by {seconds} s"));
    }

    fn beat(&mut self) {
        if self.since.saturating_sub(self.beat) < crate::limits::LEASE_RENEWAL {
            return;
        }
        self.beat = self.since;
        let alive = self.machines.0.iter().filter(|(_, machine)| !machine.silent);
        let alive: Vec<(String, usize)> =
            alive.map(|(name, machine)| (name.clone(), machine.number)).collect();
        for (name, number) in alive {
            self.renew(&name, number);
        }
    }

    /// A node shows that it lives: by its lease, and by its conditions if somebody has given it up.
    pub fn renew(&mut self, name: &str, number: usize) {
        let spec = json!({"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": object::micro_time(self.wall.into())});
        let (api_version, kind) = ("coordination.k8s.io/v1", "Lease");
        let namespace = crate::api::objects::NODE_LEASES;
        let at = target(api_version, kind, namespace, name);
        let renewed = self.api.tell(&at, |lease| lease["spec"] = spec.clone());
        if renewed == Err(Refusal::Gone) {
            let lease = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec});
            // It is not there: nobody else makes it.
            let _ = self.api.create(lease, self.wall, &mut self.random);
        }
        let node = target("v1", "Node", "", name);
        if self.api.find(&node).is_some_and(|node| !object::holds(node, "Ready")) {
            let conditions = fresh_node(name, number, self.wall)["status"]["conditions"].take();
            self.told((name, "says that it is ready"), &node, |node| {
                node["status"]["conditions"] = conditions
            });
        }
    }

    /// A node comes, unless it is there.
    pub fn join(&mut self, number: usize) -> bool {
        let name = format!("node-{number}");
        if self.machines.0.contains_key(&name) {
            return false;
        }
        let node = fresh_node(&name, number, self.wall);
        self.disturbances += 1;
        self.create("the cloud", node);
        self.machines.0.insert(name.clone(), Machine { number, ..Machine::default() });
        self.renew(&name, number);
        true
    }

    /// A node goes, with all that runs there.
    pub fn leave(&mut self, name: &str) {
        if self.machines.0.remove(name).is_some() {
            self.disturbances += 1;
            self.tally.saw(Sight::Leaving);
            self.delete("the cloud", &target("v1", "Node", "", name), Deletion::default());
        }
    }
}

fn fresh_node(name: &str, number: usize, now: Timestamp) -> Value {
    pretend::node(name, &format!("100.64.{number}.1"), &object::time(now.into()))
}

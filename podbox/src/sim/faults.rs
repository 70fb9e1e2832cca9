//! What goes wrong in a simulated cluster: one fault at a time, each as it happens to real ones.

use super::checks::{self, CLOSED};
use super::machines::ends;
use super::random::Random;
use super::sights::Sight;
use super::story;
use super::world::{World, pod, target};
use crate::api::lifecycle::Deletion;
use crate::api::object;
use crate::control::key::Key;
use crate::pod::pretend::Stage;
use serde_json::json;
use std::time::Duration;

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A pod's containers crash.
    Crash,
    /// Somebody deletes a pod.
    Delete,
    /// A node falls silent.
    Silence,
    /// A silent node is heard again.
    Return,
    /// A node goes, with all that ran there.
    Leave,
    /// A node comes.
    Join,
    /// A node is closed to pods, or opened again.
    Taint,
    /// A pod takes long to come further.
    Slow,
    /// The next write meets somebody else's.
    Conflict,
    /// The next creations are refused, as by a quota.
    Refuse,
    /// The control plane is killed, with what it was doing, and started again.
    Restart,
    /// It does not come to look for a while, so that changes reach it late and many at once.
    Nap,
    /// The history of changes is lost before it has read all of it, so that it has to look at everything again.
    Forget,
    /// The wall clock jumps.
    Jump,
}

/// All of them; those that are named more often happen more often.
const ALL: [Fault; 23] = [
    Fault::Crash,
    Fault::Crash,
    Fault::Crash,
    Fault::Delete,
    Fault::Delete,
    Fault::Silence,
    Fault::Return,
    Fault::Return,
    Fault::Leave,
    Fault::Join,
    Fault::Taint,
    Fault::Slow,
    Fault::Slow,
    Fault::Conflict,
    Fault::Conflict,
    Fault::Conflict,
    Fault::Refuse,
    Fault::Restart,
    Fault::Restart,
    Fault::Restart,
    Fault::Nap,
    Fault::Forget,
    Fault::Jump,
];

/// Nodes that there may be.
const MOST_NODES: usize = 5;

impl Fault {
    /// Whether it does something to pods, nodes or clocks, so that a workload is not any more what its controllers made of it.
    fn disturbs(self) -> bool {
        use Fault::{Conflict, Forget, Nap, Refuse, Restart, Slow};
        !matches!(self, Slow | Conflict | Refuse | Restart | Nap | Forget)
    }
}

/// What goes wrong in one run: about half of it. What would drown the rest is missing in every other run, so that others are seen
/// for long without it. In each fourth run nobody touches pods and nodes: what bounds hold of a workload that is left in peace is
/// held against all that happens to its controllers.
pub fn some(random: &mut Random) -> Vec<Fault> {
    let (mut all, mut kept) = (ALL.to_vec(), Vec::new());
    all.dedup();
    if random.one_in(4) {
        all.retain(|fault| !fault.disturbs());
    }
    for fault in all {
        if random.one_in(2) {
            kept.extend(ALL.into_iter().filter(|other| *other == fault));
        }
    }
    // What falls silent is heard again.
    if kept.contains(&Fault::Silence) && !kept.contains(&Fault::Return) {
        kept.push(Fault::Return);
    }
    kept
}

impl World {
    /// Something goes wrong; tells what.
    pub fn fault(&mut self, among: &[Fault]) -> Option<Fault> {
        let fault = self.random.pick(among).copied()?;
        match fault {
            Fault::Crash => self.crash(),
            Fault::Delete => self.delete_some_pod(),
            Fault::Silence | Fault::Return | Fault::Leave | Fault::Taint => self.fault_of_node(fault),
            Fault::Join => {
                let number = self.random.below(MOST_NODES);
                let came = self.join(number);
                self.tally.saw_if(came, Sight::Joining);
            }
            Fault::Slow => self.slow(),
            Fault::Conflict => self.weather.conflict = true,
            Fault::Refuse => self.weather.refuse = 1 + self.random.below(3),
            Fault::Restart => {
                self.tally.saw(Sight::Restart);
                self.tally.saw_if(self.plane.is_between_writes(), Sight::RestartBetweenWrites);
                self.restart();
            }
            Fault::Nap => {
                self.tally.saw(Sight::Late);
                self.weather.nap = 1 + self.random.below(20);
            }
            Fault::Forget => {
                self.api.forget_history();
                self.tell("the history of changes is lost");
            }
            Fault::Jump => {
                let span = [5, 90, 3600][self.random.below(3)];
                self.disturbances += 1;
                self.tally.saw(Sight::Jump);
                let back = self.random.one_in(2);
                self.jump(if back { -span } else { span });
            }
        }
        Some(fault)
    }

    /// Nothing goes wrong any more: all nodes are there, open and heard.
    pub fn mend(&mut self) {
        self.weather = Default::default();
        for number in 0..super::world::NODES {
            self.join(number);
        }
        let names: Vec<(String, usize)> =
            self.machines.0.iter().map(|(name, machine)| (name.clone(), machine.number)).collect();
        for (name, number) in names {
            if let Some(machine) = self.machines.0.get_mut(&name) {
                (machine.silent, machine.closed) = (false, Some(false));
                machine.processes.values_mut().for_each(|process| process.slow_until = Duration::ZERO);
            }
            self.renew(&name, number);
            self.edit(("the administrator", "opens a node"), &target("v1", "Node", "", &name), "", |node| {
                let taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
                let others: Vec<_> = taints.into_iter().filter(|taint| taint["key"] != CLOSED).collect();
                node["spec"]["taints"] = json!(others);
            });
        }
        self.disturbances += 1;
        self.tell("nothing goes wrong any more");
    }

    /// Those that run: node, uid and pod.
    fn live(&self) -> Vec<(String, String, Key)> {
        let mut all = Vec::new();
        for (name, machine) in self.machines.0.iter().filter(|(_, machine)| !machine.silent) {
            let live = machine.processes.iter().filter(|(_, one)| !matches!(one.stage, Stage::Ended(_)));
            all.extend(live.map(|(uid, process)| (name.clone(), uid.clone(), process.key.clone())));
        }
        all
    }

    fn crash(&mut self) {
        let live = self.live();
        let Some((node, uid, key)) = self.random.pick(&live).cloned() else { return };
        self.crash_of(&node, &uid, &key);
    }

    /// A container of this pod crashes.
    pub fn crash_of(&mut self, node: &str, uid: &str, key: &Key) {
        let at = pod(key);
        let Some(object) = self.api.find(&at).filter(|pod| object::uid(pod) == uid) else {
            return;
        };
        self.disturbances += 1;
        self.tally.saw(Sight::Crash);
        let never = object["spec"]["restartPolicy"] == "Never";
        let stage = if never && ends(object) { Stage::Ended(1) } else { Stage::Running };
        if let Some(process) = self.machines.0.get_mut(node).and_then(|node| node.processes.get_mut(uid)) {
            process.restarts += u32::from(!never);
        }
        self.tell(&format!("a container of {key} crashes"));
        self.relate(&story::name("Pod", key.name()), "crashes");
        self.advance(node, uid, &at, stage);
    }

    fn slow(&mut self) {
        let live = self.live();
        let Some((node, uid, key)) = self.random.pick(&live).cloned() else { return };
        let until = self.now().since + Duration::from_secs(60);
        if let Some(process) = self.machines.0.get_mut(&node).and_then(|node| node.processes.get_mut(&uid)) {
            process.slow_until = until;
            self.tally.saw(Sight::Slowness);
            self.tell(&format!("{key} comes no further for a minute"));
        }
    }

    fn delete_some_pod(&mut self) {
        let pods: Vec<_> = self.api.list("/pods").map(key_of).collect();
        if let Some(key) = self.random.pick(&pods).cloned() {
            self.disturbances += 1;
            self.tally.saw(Sight::Deletion);
            self.delete("somebody", &pod(&key), Deletion::default());
        }
    }

    fn fault_of_node(&mut self, fault: Fault) {
        let names: Vec<String> = self.machines.0.keys().cloned().collect();
        let Some(name) = self.random.pick(&names).cloned() else { return };
        let Some(machine) = self.machines.0.get_mut(&name) else { return };
        match fault {
            Fault::Silence | Fault::Return => {
                let silent = fault == Fault::Silence;
                if std::mem::replace(&mut machine.silent, silent) != silent {
                    self.disturbances += 1;
                    self.tally.saw(if silent { Sight::Silence } else { Sight::Return });
                    self.tell(&format!("{name} {}", if silent { "falls silent" } else { "is heard again" }));
                    if silent && self.random.one_in(3) {
                        // For so long that it is given up.
                        self.pass(crate::limits::NODE_SILENT * 2);
                    }
                }
            }
            Fault::Leave => {
                let number = machine.number;
                self.leave(&name);
                if self.random.one_in(3) {
                    // It was replaced: another has its name.
                    self.join(number);
                }
            }
            _ => self.taint(&name),
        }
    }

    fn taint(&mut self, name: &str) {
        let effect = ["NoSchedule", "NoExecute"][self.random.below(2)];
        self.disturbances += 1;
        self.tally.saw(Sight::Closing);
        let edit = |node: &mut serde_json::Value| {
            let mut taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
            let before = taints.len();
            taints.retain(|taint| taint["key"] != CLOSED);
            if taints.len() == before {
                taints.push(json!({"key": CLOSED, "effect": effect}));
            }
            node["spec"]["taints"] = taints.into();
        };
        let at = target("v1", "Node", "", name);
        self.edit(("the administrator", "closes a node, or opens it"), &at, "", edit);
        if let (Some(node), Some(machine)) = (self.api.find(&at), self.machines.0.get_mut(name)) {
            machine.closed = Some(checks::is_closed(node));
        }
    }
}

/// Where an object is.
pub fn key_of(object: &serde_json::Value) -> Key {
    Key::new(object::namespace(object), object::name(object))
}

//! The dead that nobody reaps: told once each, when they have lain there for over a second, with who should have.
//!
//! The map of the dead is a hint here too: a process that /proc does not know any more was reaped. Where the kernel tells of
//! that late, by what it frees, its entry waits for that; it is removed once nobody has told for long (a thread group whose
//! leader ended first is released without a call of its own). And one that ends is in the map before it is a zombie: it has its
//! memory and its files to give back first, which may take long.

use super::attribute::{self, Facts};
use super::map::Plain;
use super::tracer::{State, lock};
use crate::api::event::{Detail, KernelEvent};
use crate::api::process::Stat;
use crate::api::zombie::{Fault, Unreaped, Zombie as Told, ZombieCause};
use crate::limits;
use crate::sandbox::runtime::{ALONE, COMMAND};
use podbox_common::{Dead, Head, ProcessKey, TICK_NS, ZOMBIE_AFTER_NS};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Mutex;
use std::time::Duration;

/// Of how many zombies that were told already one look asks whether they still lie there; of more, each is asked of in turn.
const ASKED_AGAIN: u64 = 1024;

/// A process that lies unreaped.
#[derive(Debug)]
pub(super) struct Zombie {
    /// Where.
    pub container: u64,
    /// Whose fault that is.
    pub fault: Fault,
}

/// Which zombies were told already.
#[derive(Debug, Default)]
pub(super) struct Zombies {
    told: HashSet<ProcessKey>,
    looks: u64,
    seq: u64,
}

/// What one look found.
#[derive(Debug, Default)]
struct Found {
    /// Those that lie there, told or not.
    zombies: HashMap<ProcessKey, Dead>,
    /// Those that lie there no more.
    gone: Vec<ProcessKey>,
}

impl Zombies {
    /// One look: events for those that are new.
    pub fn scan(&mut self, state: &Mutex<State>, now: Duration, facts: &Facts) -> Vec<KernelEvent> {
        let lying = lock(state).lying(now);
        // Without the lock, for which whoever starts a container waits: of thousands, /proc takes a while to tell.
        let Found { zombies, gone } = self.look(lying, Stage::of);
        self.told.retain(|key| zombies.contains_key(key));
        let unknown = zombies.iter().filter(|(key, _)| !self.told.contains(key));
        let new: Vec<_> = unknown.map(|(key, dead)| (*key, *dead, fault(key.tgid))).collect();
        let mut state = lock(state);
        state.gone.extend(gone.into_iter().map(|key| (key, now)));
        state.forget_gone(now);
        state.zombies.retain(|key, _| zombies.contains_key(key));
        let mut events = Vec::new();
        for (key, dead, fault) in new {
            self.told.insert(key);
            self.seq += 1;
            state.zombies.insert(key, Zombie { container: dead.container, fault: fault.clone() });
            events.push(self.event(&key, &dead, fault, &state, (now, facts)));
        }
        events
    }

    /// Who of those that may be zombies is one.
    fn look(&mut self, lying: HashMap<ProcessKey, Dead>, stage: impl Fn(&ProcessKey) -> Stage) -> Found {
        self.looks += 1;
        let turns = 1 + self.told.len() as u64 / ASKED_AGAIN;
        let mut found = Found::default();
        for (key, dead) in lying {
            let has_turn = (key.tgid + self.looks).is_multiple_of(turns);
            let stage = if has_turn || !self.told.contains(&key) { stage(&key) } else { Stage::Zombie };
            match stage {
                Stage::Zombie => drop(found.zombies.insert(key, dead)),
                Stage::Ending => {}
                Stage::Reaped => found.gone.push(key),
            }
        }
        found
    }

    fn event(
        &self,
        key: &ProcessKey,
        dead: &Dead,
        fault: Fault,
        state: &State,
        (now, facts): (Duration, &Facts),
    ) -> KernelEvent {
        let head = Head {
            kind: 0,
            tgid: key.tgid as u32,
            seq: self.seq,
            at_ns: now.as_nanos() as u64,
            container: dead.container,
            leaf: dead.leaf,
            ns_pid: dead.ns_pid,
            reserved: 0,
            comm: dead.comm,
        };
        let lifetime_ms = head.at_ns.saturating_sub(dead.died_ns) / 1_000_000;
        attribute::subject(&head, Detail::Zombie(Told { lifetime_ms, fault }), &state.register, facts)
    }
}

impl State {
    /// Those that lie unreaped, of one container or of all.
    pub fn zombies(&self, container: Option<u64>) -> impl Iterator<Item = &Zombie> {
        let own = move |zombie: &Zombie| container.is_none_or(|container| zombie.container == container);
        let found = self.zombies.iter().filter(move |(_, zombie)| own(zombie));
        // The kernel's side takes out who is reaped.
        found.filter(|(key, _)| self.maps.dead.get(&Plain(**key), 0).is_ok()).map(|(_, zombie)| zombie)
    }

    /// The dead that may be called zombies: they have begun to end long enough ago, and nobody is known to have reaped them.
    pub fn lying(&self, now: Duration) -> HashMap<ProcessKey, Dead> {
        let now_ns = now.as_nanos() as u64;
        // Entries come and go while the map is walked, and the walk may begin anew: hence the bound, and
        // a map to take each one once.
        let entries = self.maps.dead.iter().take(limits::ZOMBIES_READ).flatten();
        let old = entries.filter(|(_, dead)| now_ns.saturating_sub(dead.0.died_ns) > ZOMBIE_AFTER_NS);
        let lying = old.filter(|(key, _)| !self.gone.contains_key(&key.0));
        lying.map(|(key, dead)| (key.0, dead.0)).collect()
    }

    /// How many of one container's.
    pub fn unreaped(&self, container: u64) -> Unreaped {
        let (mut count, mut faults) = (0, BTreeMap::<&Fault, usize>::new());
        for Zombie { fault, .. } in self.zombies(Some(container)) {
            count += 1;
            if *fault != Fault::UNKNOWN {
                *faults.entry(fault).or_default() += 1;
            }
        }
        let most = faults.into_iter().max_by_key(|(_, count)| *count);
        Unreaped { count, fault: most.map(|(fault, _)| fault.clone()) }
    }

    /// How many, by whose fault.
    pub fn zombies_per_container(&self) -> BTreeMap<u64, BTreeMap<ZombieCause, u64>> {
        let mut counts: BTreeMap<u64, BTreeMap<ZombieCause, u64>> = BTreeMap::new();
        for Zombie { container, fault } in self.zombies(None) {
            *counts.entry(*container).or_default().entry(fault.cause).or_default() += 1;
        }
        counts
    }

    /// Takes those out of the map that were reaped long ago, and whose reaping nobody has told; counts them.
    fn forget_gone(&mut self, now: Duration) {
        let State { gone, maps, unseen, .. } = self;
        gone.retain(|key, since| {
            let late = now.saturating_sub(*since) >= limits::REAPING_TOLD;
            // Either the kernel's side takes it out, and counts it, or this does.
            if late && maps.dead.remove(&Plain(*key)).is_ok() {
                *unseen += 1;
            }
            !late && maps.dead.get(&Plain(*key), 0).is_ok()
        });
    }
}

/// Asks /proc, since who the parent is may have changed since the end: an orphan is left to its namespace's first process.
fn fault(tgid: u64) -> Fault {
    let read =
        |pid: u64, file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let status = |pid: u64, field: &str| {
        let text = read(pid, "status");
        let line = text.lines().find_map(|line| line.strip_prefix(field));
        line.and_then(|line| line.split_whitespace().last()).map(str::to_owned)
    };
    let parent =
        status(tgid, "PPid:").and_then(|parent| parent.parse::<u32>().ok()).filter(|parent| *parent != 0);
    let Some(parent) = parent else { return Fault::UNKNOWN };
    // The last of its ids is that in its own namespace.
    let is_init = status(parent.into(), "NSpid:").as_deref() == Some("1");
    let cgroup = read(tgid, "cgroup");
    let leaf = cgroup.trim_end().trim_end_matches(" (deleted)").rsplit('/').next().unwrap_or_default();
    let cause = match is_init {
        true if leaf.starts_with(COMMAND) || leaf.starts_with(ALONE) => ZombieCause::Command,
        true => ZombieCause::Init,
        false => ZombieCause::Parent,
    };
    let parent_command = Some(read(parent.into(), "comm").trim_end().to_owned());
    Fault { cause, parent_pid: Some(parent), parent_command }
}

/// How far a process that the kernel said has begun to end has come, by /proc.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Ending,
    Zombie,
    Reaped,
}

impl Stage {
    fn of(key: &ProcessKey) -> Stage {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", key.tgid)).unwrap_or_default();
        Stage::read(&stat, key.start_ns)
    }

    /// From its `stat`, empty if there is none, and when it was started, in nanoseconds since boot.
    fn read(stat: &str, start_ns: u64) -> Stage {
        let Some(stat) = Stat::new(stat) else { return Stage::Reaped };
        match stat.state() {
            // Another has its id.
            _ if stat.started() != Some(start_ns / TICK_NS) => Stage::Reaped,
            Some('Z' | 'X') => Stage::Zombie,
            _ => Stage::Ending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_ending_is_neither_a_zombie_nor_reaped() {
        let stat = |state: char, started: u64| {
            format!("7 (a) Z b) {state} 1 7 7 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 {started} 0 0\n")
        };
        let started_ns = 12_349_999_999;
        assert_eq!(Stage::read(&stat('Z', 1234), started_ns), Stage::Zombie);
        assert_eq!(Stage::read(&stat('X', 1234), started_ns), Stage::Zombie);
        for state in ['R', 'D', 'S'] {
            assert_eq!(Stage::read(&stat(state, 1234), started_ns), Stage::Ending);
            assert_eq!(Stage::read(&stat(state, 1235), started_ns), Stage::Reaped, "another has its id");
        }
        assert_eq!(Stage::read(&stat('Z', 1235), started_ns), Stage::Reaped, "another has its id");
        assert_eq!(Stage::read("", started_ns), Stage::Reaped);
    }

    #[test]
    fn the_reaped_are_no_zombies_and_of_many_that_are_known_each_is_asked_of_in_turn() {
        let dead = Dead { container: 1, leaf: 1, died_ns: 0, ns_pid: 0, reserved: 0, comm: [0; 16] };
        let many = 3 * ASKED_AGAIN;
        let lying: HashMap<_, _> = (0..many).map(|tgid| (ProcessKey { tgid, start_ns: 0 }, dead)).collect();
        let mut zombies = Zombies::default();
        let stage = |key: &ProcessKey| match key.tgid {
            0 => Stage::Reaped,
            1 => Stage::Ending,
            _ => Stage::Zombie,
        };
        let Found { zombies: found, gone } = zombies.look(lying.clone(), stage);
        assert_eq!((found.len() as u64, gone.len()), (many - 2, 1));

        zombies.told.extend(lying.keys());
        let mut asked = HashSet::new();
        for look in 1..=4 {
            let of = std::cell::Cell::new(0);
            let Found { gone, .. } = zombies.look(lying.clone(), |_| {
                of.set(of.get() + 1);
                Stage::Reaped
            });
            assert!(of.get() <= ASKED_AGAIN && gone.len() as u64 == of.get(), "{} in look {look}", of.get());
            asked.extend(gone);
        }
        assert_eq!(asked.len() as u64, many, "after some looks");
    }
}

//! The dead that nobody reaps: told once each, when they have lain there for over a second, with who should have.
//!
//! The map of the dead is a hint here too: a process that /proc does not know any more was reaped. Where the kernel tells of
//! that late, by what it frees, its entry waits for that; it is removed once nobody has told for long (a thread group whose
//! leader ended first is released without a call of its own). And one that ends is in the map before it is a zombie: it has its
//! memory and its files to give back first, which may take long.

use super::attribute::{self, Facts};
use super::map::Plain;
use super::tracer::State;
use crate::api::event::{Detail, KernelEvent};
use crate::api::process::Stat;
use crate::api::zombie::{Fault, Zombie, ZombieCause};
use crate::limits;
use crate::sandbox::runtime::{ALONE, COMMAND};
use podbox_common::{Dead, Head, ProcessKey, TICK_NS};
use std::collections::HashSet;
use std::time::Duration;

/// Which zombies were told already.
#[derive(Debug, Default)]
pub(super) struct Zombies {
    told: HashSet<ProcessKey>,
    seq: u64,
}

impl Zombies {
    /// One look: events for those that are new.
    pub fn scan(&mut self, state: &mut State, now: Duration, facts: &Facts) -> Vec<KernelEvent> {
        let mut zombies = state.lying(now);
        state.ending.clear();
        zombies.retain(|key, _| match Stage::of(key) {
            Stage::Zombie => true,
            Stage::Ending => {
                state.ending.insert(*key);
                false
            }
            Stage::Reaped => {
                state.gone.insert(*key, now);
                false
            }
        });
        state.forget_gone(now);
        self.told.retain(|key| zombies.contains_key(key));
        state.faults.retain(|key, _| zombies.contains_key(key));
        let mut events = Vec::new();
        for (key, dead) in zombies {
            if self.told.insert(key) {
                self.seq += 1;
                let fault = fault(key.tgid);
                state.faults.insert(key, fault.clone());
                events.push(self.event(&key, &dead, fault, state, (now, facts)));
            }
        }
        events
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
        attribute::subject(&head, Detail::Zombie(Zombie { lifetime_ms, fault }), &state.register, facts)
    }
}

impl State {
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
    use super::Stage;

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
}

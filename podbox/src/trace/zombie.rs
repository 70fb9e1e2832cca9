//! The dead that nobody reaps: told once each, when they have lain there for over a second, with who should have.
//!
//! The map of the dead is a hint here too: a process that /proc does not know any more was reaped. Where the kernel
//! tells of that late, by what it frees, its entry waits for that; it is removed once nobody has told for long (a thread group
//! whose leader ended first is released without a call of its own). One that /proc still has as alive is on its way: it is in the
//! map from when it began to end, and to give its memory back, or to get the processor for it, may take a while.

use super::attribute::{self, Facts};
use super::map::Plain;
use super::tracer::{State, start_of};
use crate::api::event::{Detail, KernelEvent};
use crate::api::zombie::{Fault, Zombie, ZombieCause};
use crate::limits;
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
        state.exiting.clear();
        let mut zombies = state.zombies(now);
        zombies.retain(|key, _| {
            let fate = Fate::of(key);
            match fate {
                Fate::Zombie => {}
                Fate::Exiting => drop(state.exiting.insert(*key)),
                Fate::Reaped => drop(state.gone.insert(*key, now)),
            }
            fate == Fate::Zombie
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
        true if leaf.starts_with("exec-") || leaf.starts_with("probe-") => ZombieCause::Command,
        true => ZombieCause::Init,
        false => ZombieCause::Parent,
    };
    let parent_command = Some(read(parent.into(), "comm").trim_end().to_owned());
    Fault { cause, parent_pid: Some(parent), parent_command }
}

/// What has become of a process since it began to end, by /proc.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Not dead yet: nobody could reap it.
    Exiting,
    /// Dead and unreaped.
    Zombie,
    /// Gone; its id may be another's by now.
    Reaped,
}

impl Fate {
    fn of(key: &ProcessKey) -> Fate {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", key.tgid)).unwrap_or_default();
        Fate::told(&stat, key.start_ns / TICK_NS)
    }

    /// By what `/proc/PID/stat` says, of one that started then.
    fn told(stat: &str, start_ticks: u64) -> Fate {
        // The state follows the command name, which may itself contain parentheses.
        if stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['Z', 'X'])) {
            return Fate::Zombie;
        }
        if start_of(stat) == Some(start_ticks) { Fate::Exiting } else { Fate::Reaped }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_dead_yet_was_not_reaped() {
        let stat = |state: char, start: u64| {
            format!("7 (a) b) {state} 1 7 7 0 -1 4 0 0 0 0 1 2 3 4 20 0 1 0 {start} 0 0")
        };
        for (stat, fate) in [
            (stat('Z', 500), Fate::Zombie),
            (stat('X', 500), Fate::Zombie),
            (stat('R', 500), Fate::Exiting),
            (stat('D', 500), Fate::Exiting),
            (stat('S', 501), Fate::Reaped),
            (String::new(), Fate::Reaped),
        ] {
            assert_eq!(Fate::told(&stat, 500), fate, "{stat}");
        }
        let own = podbox_common::ProcessKey {
            tgid: std::process::id().into(),
            start_ns: crate::trace::tracer::start_ticks(std::process::id()).unwrap() * TICK_NS,
        };
        assert_eq!(Fate::of(&own), Fate::Exiting);
    }
}

//! The dead that nobody reaps: told once each, when they have lain there for over a second.
//!
//! The map of the dead is a hint here too: a process that /proc does not know as a zombie any more was
//! reaped unseen (a thread group whose leader ended first is released without a call of its own), and its
//! entry is removed.

use super::attribute::{self, Facts};
use super::map::Plain;
use super::tracer::State;
use crate::api::event::{Detail, KernelEvent};
use podbox_common::{Dead, Head, ProcessKey};
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
        let mut zombies = state.zombies(now);
        zombies.retain(|key, _| {
            let still = is_zombie(key.tgid);
            if !still {
                let _ = state.maps.dead.remove(&Plain(*key));
            }
            still
        });
        self.told.retain(|key| zombies.contains_key(key));
        let mut events = Vec::new();
        for (key, dead) in zombies {
            if self.told.insert(key) {
                self.seq += 1;
                events.push(self.event(&key, &dead, state, now, facts));
            }
        }
        events
    }

    fn event(
        &self,
        key: &ProcessKey,
        dead: &Dead,
        state: &State,
        now: Duration,
        facts: &Facts,
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
        attribute::subject(&head, Detail::Zombie { lifetime_ms }, &state.register, facts)
    }
}

/// Whether the process is dead and unreaped, by /proc.
fn is_zombie(tgid: u64) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{tgid}/stat")) else {
        return false;
    };
    // The state follows the command name, which may itself contain parentheses.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['Z', 'X']))
}

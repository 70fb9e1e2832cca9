//! Counts for people and Prometheus, and how the counts of several runs of a container become one. Pure.
//!
//! Invariant: a container's totals never fall while any run of it is registered: what an expired run had
//! counted is carried over.

use super::attribute;
use super::standing::Skew;
use crate::api::attribution::OomRole;
use crate::api::event::OomLimit;
use crate::api::identity::ContainerRef;
use crate::api::sender::Origin;
use crate::api::zombie::ZombieCause;
use podbox_common::{ContainerStats, Kind, Loss, RawRole};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A container over all its runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContainerKey {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The container's name.
    pub container: String,
}

impl From<&ContainerRef> for ContainerKey {
    fn from(container: &ContainerRef) -> ContainerKey {
        ContainerKey {
            namespace: container.pod.namespace.clone(),
            pod: container.pod.name.clone(),
            container: container.name.clone(),
        }
    }
}

/// What the kernel counted, at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// By container.
    pub containers: BTreeMap<ContainerKey, Totals>,
    /// Containers that are there and of which, for a while, nobody recorded anything.
    pub unwatched: usize,
    /// How the counts differ from the kernel's own files.
    pub skew: Skew,
    /// Events of each kind so far, whether or not they were received.
    pub events: Vec<(Kind, u64)>,
    /// Events of each kind whose numbers the reader missed.
    pub missed: Vec<(Kind, u64)>,
    /// What was lost, all CPUs together.
    pub losses: Vec<(Loss, u64)>,
    /// Processes that were reaped without the kernel's telling, since this daemon began: their lifetimes are not counted.
    pub unseen: u64,
    /// What each attached program cost.
    pub programs: Vec<ProgramCost>,
    /// Programs that were detached because they cost too much.
    pub detached: Vec<String>,
}

/// One container's counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Totals {
    /// The sums over its runs.
    pub stats: ContainerStats,
    /// Dead for over a second and not reaped, now.
    pub zombies: u64,
    /// The same by whose fault that is.
    pub causes: BTreeMap<ZombieCause, u64>,
    /// Seconds until it has no process ids left, if it goes on so.
    pub pids_until: Option<f64>,
}

impl Default for Totals {
    fn default() -> Self {
        Totals { stats: ContainerStats::ZERO, zombies: 0, causes: BTreeMap::new(), pids_until: None }
    }
}

impl Totals {
    /// OOM victims by role.
    pub fn oom_victims(&self, oom_watched: bool) -> BTreeMap<OomRole, u64> {
        let mut by_role = BTreeMap::new();
        for (raw, count) in self.stats.oom_victims.iter().enumerate().take(RawRole::COUNT) {
            *by_role.entry(attribute::role(raw as u32, oom_watched)).or_default() += count;
        }
        by_role
    }
}

impl Totals {
    /// OOM victims by whose limit was hit, but for limits that never were.
    pub fn oom_limits(&self) -> impl Iterator<Item = (Option<OomLimit>, u64)> {
        let counted = self.stats.oom_limits.iter().enumerate().filter(|(_, count)| **count > 0);
        counted.map(|(raw, count)| (attribute::limit(raw as u32), *count))
    }

    /// Processes that a signal ended by who sent it, but for those who never sent one.
    pub fn senders(&self) -> impl Iterator<Item = (Origin, u64)> {
        let counted = self.stats.signalled_by.iter().enumerate().filter(|(_, count)| **count > 0);
        counted.map(|(raw, count)| (attribute::origin(raw as u32), *count))
    }
}

/// What a program cost since it was loaded, by the kernel's own measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramCost {
    /// The program's name.
    pub program: String,
    /// How often it ran.
    pub runs: u64,
    /// How often it should have and did not: it was at work on that processor already.
    pub missed: u64,
    /// How long that took in all.
    pub time: Duration,
}

/// Adds one run's counts to a sum.
pub fn add(sum: &mut ContainerStats, run: &ContainerStats) {
    sum.exits_success += run.exits_success;
    sum.exits_error += run.exits_error;
    sum.next_victim += run.next_victim;
    sum.reaped += run.reaped;
    sum.lifetime_sum_ns += run.lifetime_sum_ns;
    add_each(&mut sum.exits_signal, &run.exits_signal);
    add_each(&mut sum.oom_victims, &run.oom_victims);
    add_each(&mut sum.oom_limits, &run.oom_limits);
    add_each(&mut sum.signalled_by, &run.signalled_by);
    add_each(&mut sum.lifetime_buckets, &run.lifetime_buckets);
}

fn add_each(sums: &mut [u64], amounts: &[u64]) {
    for (sum, amount) in sums.iter_mut().zip(amounts) {
        *sum += amount;
    }
}

/// The counts of runs whose own maps' entries are gone.
#[derive(Debug, Default)]
pub struct Ledger {
    expired: BTreeMap<ContainerKey, ContainerStats>,
}

impl Ledger {
    /// Carries over what an expired run had counted; the sum.
    pub fn carry(&mut self, container: &ContainerRef, stats: &ContainerStats) -> &ContainerStats {
        let sum = self.expired.entry(container.into()).or_insert(ContainerStats::ZERO);
        add(sum, stats);
        sum
    }

    /// Takes over a sum.
    pub fn set(&mut self, container: ContainerKey, sum: ContainerStats) {
        self.expired.insert(container, sum);
    }

    /// Every sum.
    pub fn expired(&self) -> impl Iterator<Item = (&ContainerKey, &ContainerStats)> {
        self.expired.iter()
    }

    /// Forgets containers of which no run is registered any more.
    pub fn prune(&mut self, registered: &BTreeSet<ContainerKey>) {
        self.expired.retain(|key, _| registered.contains(key));
    }

    /// Totals of all containers, from the counts of their registered runs.
    pub fn totals<'a>(
        &self,
        runs: impl Iterator<Item = (&'a ContainerRef, Totals)>,
    ) -> BTreeMap<ContainerKey, Totals> {
        let mut totals: BTreeMap<ContainerKey, Totals> = BTreeMap::new();
        for (container, run) in runs {
            let key = ContainerKey::from(container);
            let carried = self.expired.get(&key);
            let total = totals.entry(key).or_insert_with(|| Totals {
                stats: carried.copied().unwrap_or(ContainerStats::ZERO),
                ..Totals::default()
            });
            add(&mut total.stats, &run.stats);
            total.zombies += run.zombies;
            total.pids_until = run.pids_until.or(total.pids_until);
            run.causes
                .into_iter()
                .for_each(|(cause, count)| *total.causes.entry(cause).or_default() += count);
        }
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::identity::PodRef;

    fn run(name: &str, attempt: u32) -> ContainerRef {
        let pod = PodRef { namespace: "shop".into(), name: "web".into(), uid: "u-1".into() };
        ContainerRef { pod, name: name.into(), attempt }
    }

    fn counted(exits: u64, zombies: u64) -> Totals {
        let mut stats = ContainerStats { exits_error: exits, ..ContainerStats::ZERO };
        stats.exits_signal[9] = exits;
        Totals { stats, zombies, ..Totals::default() }
    }

    #[test]
    fn totals_do_not_fall_when_a_run_expires() {
        let (first, second) = (run("app", 0), run("app", 1));
        let mut ledger = Ledger::default();
        let key = ContainerKey::from(&first);
        let before = ledger.totals([(&first, counted(3, 1)), (&second, counted(2, 1))].into_iter());
        assert_eq!(before[&key].stats.exits_signal[9], 5);
        assert_eq!(before[&key].zombies, 2);

        ledger.carry(&first, &counted(3, 0).stats);
        let after = ledger.totals([(&second, counted(2, 1))].into_iter());
        assert_eq!(after[&key].stats, before[&key].stats);
        assert_eq!(after[&key].zombies, 1);

        ledger.prune(&BTreeSet::new());
        let later = ledger.totals([(&second, counted(2, 0))].into_iter());
        assert_eq!(later[&key].stats.exits_error, 2);
    }

    #[test]
    fn roles_that_nobody_watched_are_not_guessed() {
        let mut totals = Totals::default();
        totals.stats.oom_victims = [4, 1, 2, 0, 0];
        let unwatched = totals.oom_victims(false);
        assert_eq!((unwatched[&OomRole::Unknown], unwatched[&OomRole::Chosen]), (4, 1));
        assert_eq!(totals.oom_victims(true)[&OomRole::Exiting], 4);
    }
}

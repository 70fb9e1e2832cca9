//! Counts for people and Prometheus, and how the counts of several runs of a container become one. Pure.
//!
//! Invariant: a container's totals never fall: what an expired run had counted is carried over, also to a run that comes
//! long after it. What is gone for a day is forgotten.

use super::attribute;
use super::standing::Skew;
use crate::api::attribution::OomRole;
use crate::api::event::OomLimit;
use crate::api::identity::ContainerRef;
use crate::api::sender::Origin;
use crate::api::zombie::ZombieCause;
use crate::limits;
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
    /// Containers that are gone, or have no run for now.
    pub past: BTreeMap<ContainerKey, Totals>,
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

impl Snapshot {
    /// Containers that are there, and those that were.
    pub fn with_past(&self) -> impl Iterator<Item = (&ContainerKey, &Totals)> {
        self.containers.iter().chain(&self.past)
    }
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

fn has_victims(stats: &ContainerStats) -> bool {
    stats.oom_victims.iter().any(|count| *count > 0)
}

impl Totals {
    /// Whether any process was killed for memory.
    pub fn has_victims(&self) -> bool {
        has_victims(&self.stats)
    }

    /// OOM victims by role.
    pub fn oom_victims(&self, oom_watched: bool) -> BTreeMap<OomRole, u64> {
        let mut by_role = BTreeMap::new();
        for (raw, count) in self.stats.oom_victims.iter().enumerate().take(RawRole::COUNT) {
            *by_role.entry(attribute::role(raw as u32, oom_watched)).or_default() += count;
        }
        by_role
    }

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
    expired: BTreeMap<ContainerKey, Carried>,
}

/// What all expired runs of a container had counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Their sum.
    pub stats: ContainerStats,
    /// When the last of them expired, since boot.
    pub last: Duration,
}

impl Ledger {
    /// Carries over what a run had counted that expires now; the sum.
    pub fn carry(&mut self, container: &ContainerRef, stats: &ContainerStats, now: Duration) -> &Carried {
        let nothing = Carried { stats: ContainerStats::ZERO, last: now };
        let sum = self.expired.entry(container.into()).or_insert(nothing);
        add(&mut sum.stats, stats);
        sum.last = now;
        sum
    }

    /// Takes over a sum.
    pub fn set(&mut self, container: ContainerKey, sum: Carried) {
        self.expired.insert(container, sum);
    }

    /// Every sum.
    pub fn expired(&self) -> impl ExactSizeIterator<Item = (&ContainerKey, &Carried)> {
        self.expired.iter()
    }

    /// Forgets containers that have had no run for a day; and where there are too many, first those without OOM victims, then
    /// those that ended first.
    pub fn prune(&mut self, registered: &BTreeSet<ContainerKey>, now: Duration) {
        let is_young = |sum: &Carried| now.saturating_sub(sum.last) <= limits::COUNTS_KEPT;
        self.expired.retain(|key, sum| registered.contains(key) || is_young(sum));
        let Some(excess) = self.expired.len().checked_sub(limits::CONTAINERS_COUNTED) else { return };
        let gone = self.expired.iter().filter(|(key, _)| !registered.contains(key));
        let mut gone: Vec<_> =
            gone.map(|(key, sum)| (has_victims(&sum.stats), sum.last, key.clone())).collect();
        gone.sort_unstable();
        for (.., key) in gone.iter().take(excess) {
            self.expired.remove(key);
        }
    }

    /// Containers that are not among these.
    pub fn past(&self, present: &BTreeMap<ContainerKey, Totals>) -> BTreeMap<ContainerKey, Totals> {
        let gone = self.expired.iter().filter(|(key, _)| !present.contains_key(*key));
        let totals = |sum: &Carried| Totals { stats: sum.stats, ..Totals::default() };
        gone.map(|(key, sum)| (key.clone(), totals(sum))).collect()
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
                stats: carried.map_or(ContainerStats::ZERO, |sum| sum.stats),
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

        ledger.carry(&first, &counted(3, 0).stats, Duration::ZERO);
        let after = ledger.totals([(&second, counted(2, 1))].into_iter());
        assert_eq!(after[&key].stats, before[&key].stats);
        assert_eq!(after[&key].zombies, 1);
    }

    #[test]
    fn what_was_counted_outlives_the_container_for_a_day() {
        let container = run("app", 0);
        let key = ContainerKey::from(&container);
        let (mut ledger, nobody) = (Ledger::default(), BTreeSet::new());
        let mut killed = counted(1, 0).stats;
        killed.oom_victims[0] = 1;
        ledger.carry(&container, &killed, Duration::from_secs(7));
        ledger.carry(&run("other", 0), &counted(1, 0).stats, Duration::from_secs(7));

        ledger.prune(&nobody, limits::COUNTS_KEPT);
        let none = ledger.totals(std::iter::empty());
        let past = ledger.past(&none);
        assert!(none.is_empty());
        assert_eq!((past.len(), past[&key].stats, past[&key].has_victims()), (2, killed, true));
        let next = run("app", 1);
        let later = ledger.totals([(&next, counted(2, 0))].into_iter());
        assert_eq!(later[&key].stats.exits_error, 3, "a run after a long time goes on");
        assert!(!ledger.past(&later).contains_key(&key), "it is told once");

        let late = limits::COUNTS_KEPT + Duration::from_secs(8);
        ledger.prune(&[key.clone()].into(), late);
        assert_eq!(ledger.expired().map(|(key, _)| key).collect::<Vec<_>>(), [&key]);
        ledger.prune(&nobody, late);
        assert_eq!(ledger.expired().count(), 0);
    }

    #[test]
    fn of_too_many_those_without_victims_go_first() {
        let (mut ledger, at) = (Ledger::default(), Duration::from_secs);
        let mut killed = ContainerStats::ZERO;
        killed.oom_victims[0] = 1;
        ledger.carry(&run("killed", 0), &killed, at(1));
        for number in 0..=limits::CONTAINERS_COUNTED as u64 {
            ledger.carry(&run(&format!("app-{number}"), 0), &counted(1, 0).stats, at(2 + number));
        }
        ledger.prune(&BTreeSet::from([(&run("app-0", 0)).into()]), at(2));
        let left: Vec<_> = ledger.expired().map(|(key, _)| key.container.as_str()).collect();
        assert_eq!(left.len(), limits::CONTAINERS_COUNTED);
        assert!(left.contains(&"killed") && left.contains(&"app-0"));
        assert!(!left.contains(&"app-1") && !left.contains(&"app-2") && left.contains(&"app-3"));
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

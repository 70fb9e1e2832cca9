//! What is to be done when a node runs short of something: which signals are too low and since when, what the node is to be
//! called then, and which pod goes first. Pure: numbers come in, decisions go out, time is a parameter.
//!
//! ```text
//!              below a threshold                      for its grace period
//!   enough ───────────────────────▶ condition holds ─────────────────────▶ act on it: one pod goes
//!     ▲                                   │
//!     └── for the transition period no threshold was met ──┘
//! ```
//!
//! A condition that would come and go with each pod that ends and starts again keeps pods away for the transition period.
//! Upstream's order decides who goes: whoever uses more than was requested, then whoever matters less, then whoever is furthest
//! above its request.

use crate::api::pressure::{Amount, Condition, Signal, Threshold};
use crate::api::quantity::Quantity;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::{Duration, Instant};

/// From this priority on a pod is critical to its node, and is never made to go.
const CRITICAL: i32 = 2_000_000_000;

/// Whether a pod of this priority is never made to go.
pub fn is_critical(priority: i32) -> bool {
    priority >= CRITICAL
}

/// How much there is of something, and how much could be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// What could be had.
    pub available: u64,
    /// All there is.
    pub capacity: u64,
}

/// Levels by signal; one that cannot be read is not there.
pub type Levels = BTreeMap<Signal, Level>;

/// What was found so far.
#[derive(Clone, Debug, Default)]
pub struct Pressure {
    /// Since when each threshold has been met, by its place.
    met: BTreeMap<usize, Instant>,
    /// When each condition last had a reason.
    last: BTreeMap<Condition, Instant>,
}

/// What follows from it.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// What the node is to be called.
    pub conditions: BTreeSet<Condition>,
    /// What something is to be done about.
    pub act: Option<Threshold>,
}

impl Pressure {
    /// Takes in what was just read.
    pub fn observe(
        &mut self,
        thresholds: &[Threshold],
        levels: &Levels,
        transition: Duration,
        now: Instant,
    ) -> Found {
        let is_met = |threshold: &Threshold| {
            let level = levels.get(&threshold.signal);
            level.is_some_and(|level| level.available < threshold.below.of(level.capacity))
        };
        for (place, threshold) in thresholds.iter().enumerate() {
            if is_met(threshold) {
                self.met.entry(place).or_insert(now);
                self.last.insert(threshold.signal.condition(), now);
            } else {
                self.met.remove(&place);
            }
        }
        self.last.retain(|_, last| now.saturating_duration_since(*last) < transition || *last == now);
        let due = self.met.iter().filter_map(|(place, since)| {
            let threshold = thresholds.get(*place)?;
            let waited = now.saturating_duration_since(*since);
            (waited >= threshold.grace.unwrap_or_default()).then_some(*threshold)
        });
        // Memory first: it does not wait. Of two of one signal, the hard one.
        let act = due.min_by_key(|threshold| (threshold.signal, threshold.grace));
        Found { conditions: self.last.keys().copied().collect(), act }
    }
}

/// What a container uses of the resource that is short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// Its name.
    pub container: String,
    /// What it uses.
    pub used: u64,
    /// What it has requested.
    pub requested: u64,
}

/// A pod that could go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate<T> {
    /// Which.
    pub pod: T,
    /// How much it matters.
    pub priority: i32,
    /// What its containers use.
    pub containers: Vec<Use>,
    /// What it uses beside them: volumes on a disk.
    pub beside: u64,
}

impl<T> Candidate<T> {
    fn used(&self) -> u64 {
        self.containers.iter().fold(self.beside, |sum, one| sum.saturating_add(one.used))
    }

    fn requested(&self) -> u64 {
        self.containers.iter().fold(0, |sum, one| sum.saturating_add(one.requested))
    }
}

/// The pod that goes first; none if none may.
pub fn first<T>(signal: Signal, candidates: Vec<Candidate<T>>) -> Option<Candidate<T>> {
    let rank = |candidate: &Candidate<T>| {
        let (used, requested) = (candidate.used(), candidate.requested());
        // Processes are not requested.
        let exceeds = used > requested || signal == Signal::Pids;
        (Reverse(exceeds), candidate.priority, Reverse(i128::from(used) - i128::from(requested)))
    };
    candidates.into_iter().filter(|candidate| !is_critical(candidate.priority)).min_by_key(rank)
}

/// Why it goes, in upstream's words.
pub fn message<T>(threshold: &Threshold, level: Option<&Level>, candidate: &Candidate<T>) -> String {
    let resource = threshold.signal.resource();
    let mut text = format!("The node was low on resource: {resource}. ");
    let amount = |value: u64| amount(threshold.signal, value);
    if let Some(level) = level {
        let below = match threshold.below {
            Amount::Of(quantity) => quantity.to_string(),
            percent @ Amount::Percent(_) => amount(percent.of(level.capacity)),
        };
        // Writing to a text does not fail.
        let _ = write!(text, "Threshold quantity: {below}, available: {}. ", amount(level.available));
    }
    // Upstream counts nothing else by container.
    let counted = matches!(threshold.signal, Signal::Memory | Signal::NodeFs | Signal::ImageFs);
    for Use { container, used, requested } in &candidate.containers {
        if counted && used > requested {
            let (used, requested) = (amount(*used), amount(*requested));
            let _ = write!(
                text,
                "Container {container} was using {used}, request is {requested}, has larger consumption of {resource}. "
            );
        }
    }
    text
}

fn amount(signal: Signal, value: u64) -> String {
    match signal {
        Signal::Memory | Signal::NodeFs | Signal::ImageFs => Quantity::bytes(value).to_string(),
        _ => value.to_string(),
    }
}

/// Why a node under pressure does not take a pod; none if it does. `best_effort` says that the pod has requested nothing,
/// `tolerates` that it bears the taint of want of memory.
pub fn refusal(
    conditions: &BTreeSet<Condition>,
    priority: i32,
    best_effort: bool,
    tolerates: bool,
) -> Option<String> {
    let only_memory = conditions.iter().all(|condition| *condition == Condition::Memory);
    if conditions.is_empty() || is_critical(priority) || only_memory && (!best_effort || tolerates) {
        return None;
    }
    let words: Vec<&str> = conditions.iter().map(|condition| condition.word()).collect();
    Some(format!("The node had condition: [{}]. ", words.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::pressure::thresholds;
    use crate::clock;

    const MIB: u64 = 1 << 20;

    fn levels(available: u64) -> Levels {
        BTreeMap::from([(Signal::Memory, Level { available: available * MIB, capacity: 1000 * MIB })])
    }

    /// What is found at each of these moments (seconds) with so many MiB left, of one hard threshold at 100 MiB and a soft one
    /// at 200 MiB with 30 s of grace; a condition stays for 60 s.
    #[track_caller]
    fn check(moments: &[(u64, u64)], expected: &[(bool, Option<u64>)]) {
        let mut all = thresholds("memory.available<100Mi").unwrap();
        let soft = thresholds("memory.available<200Mi").unwrap();
        all.extend(soft.into_iter().map(|one| Threshold { grace: Some(Duration::from_secs(30)), ..one }));
        let (mut pressure, begin) = (Pressure::default(), clock::instant());
        let transition = Duration::from_secs(60);
        let found = moments.iter().map(|(second, left)| {
            let now = begin + Duration::from_secs(*second);
            let found = pressure.observe(&all, &levels(*left), transition, now);
            let below = found.act.map(|threshold| threshold.below.of(0) / MIB);
            (found.conditions.contains(&Condition::Memory), below)
        });
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_hard_threshold_bears_no_delay_and_a_soft_one_some() {
        check(&[(0, 300), (10, 50)], &[(false, None), (true, Some(100))]);
        check(&[(0, 150), (20, 150), (30, 150)], &[(true, None), (true, None), (true, Some(200))]);
        // In between there was enough.
        check(&[(0, 150), (20, 250), (30, 150)], &[(true, None), (true, None), (true, None)]);
    }

    #[test]
    fn a_condition_stays_for_a_while() {
        check(&[(0, 50), (59, 300), (60, 300)], &[(true, Some(100)), (true, None), (false, None)]);
    }

    fn candidate(name: &'static str, priority: i32, used: u64, requested: u64) -> Candidate<&'static str> {
        let containers = vec![Use { container: "c".into(), used: used * MIB, requested: requested * MIB }];
        Candidate { pod: name, priority, containers, beside: 0 }
    }

    #[test]
    fn who_exceeds_its_request_goes_then_who_matters_less_then_who_uses_more() {
        let pods = [
            ("within its request", 0, 500, 500),
            ("above it", 10, 30, 10),
            ("matters less", 5, 20, 10),
            ("matters less and uses more", 5, 40, 10),
            ("critical", CRITICAL, 900, 0),
        ];
        let mut left: Vec<_> = pods.map(|(name, p, used, req)| candidate(name, p, used, req)).into();
        let mut gone = Vec::new();
        while let Some(next) = first(Signal::Memory, left.clone()) {
            left.retain(|candidate| candidate.pod != next.pod);
            gone.push(next.pod);
        }
        assert_eq!(gone, ["matters less and uses more", "matters less", "above it", "within its request"]);
    }

    #[test]
    fn it_is_told_in_upstreams_words() {
        let memory = thresholds("memory.available<100Mi").unwrap()[0];
        let level = levels(50)[&Signal::Memory];
        let expected = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. \
                        Container c was using 300Mi, request is 0, has larger consumption of memory. ";
        assert_eq!(message(&memory, Some(&level), &candidate("a", 0, 300, 0)), expected);
        let disk = thresholds("nodefs.available<10%").unwrap()[0];
        let expected =
            "The node was low on resource: ephemeral-storage. Threshold quantity: 100Mi, available: 50Mi. ";
        assert_eq!(message(&disk, Some(&level), &candidate("a", 0, 1, 1)), expected);
    }

    #[test]
    fn under_pressure_only_some_are_taken() {
        let check = |conditions: &[Condition], priority, best_effort, tolerates, expected: Option<&str>| {
            let conditions = conditions.iter().copied().collect();
            assert_eq!(refusal(&conditions, priority, best_effort, tolerates).as_deref(), expected);
        };
        let memory = "The node had condition: [MemoryPressure]. ";
        check(&[], 0, true, false, None);
        check(&[Condition::Memory], 0, true, false, Some(memory));
        check(&[Condition::Memory], 0, false, false, None);
        check(&[Condition::Memory], 0, true, true, None);
        check(&[Condition::Memory], CRITICAL, true, false, None);
        check(&[Condition::Disk], 0, false, true, Some("The node had condition: [DiskPressure]. "));
    }
}

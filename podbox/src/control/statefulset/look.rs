//! A StatefulSet's pods by their ordinals: which are missing, which are too many, and whose turn it is. Pure.

use super::{Observed, StatefulSet, claims, identity};
use crate::control::action::{Action, Saying};
use crate::control::pods::{Member, Phase};
use crate::control::revision::{History, LABEL, Revision};
use crate::control::workload;
use crate::limits;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

/// How old a pod is at least that is made anew: one that no node takes is not made again and again without a pause.
const REST: SignedDuration = SignedDuration::from_secs(1);

/// A set and its pods, sorted out.
pub struct Look<'a> {
    pub set: &'a StatefulSet,
    observed: &'a Observed<'a>,
    /// By ordinal.
    pub pods: BTreeMap<i64, &'a Member>,
    /// The revision that was the newest when all pods were last of one.
    pub current: &'a Revision,
    /// The newest.
    pub update: &'a Revision,
    pub now: Timestamp,
}

/// What is to be done, what is to be said in any case, and when to look again.
#[derive(Default)]
pub struct Steps {
    pub actions: Vec<Action>,
    pub said: Vec<Saying>,
    /// More would be made, did not so many wait for a node.
    pub crowded: bool,
    pub wake_at: Option<Timestamp>,
}

impl<'a> Look<'a> {
    /// None without a newest revision.
    pub fn new(
        set: &'a StatefulSet,
        pods: &[&'a Member],
        history: &'a History<'_>,
        observed: &'a Observed<'a>,
        now: Timestamp,
    ) -> Option<Look<'a>> {
        let update = history.newest()?;
        let current = set.workload.object["status"]["currentRevision"].as_str();
        let current = current.and_then(|name| history.find(name)).unwrap_or(update);
        let ordinal = |pod: &&'a Member| Some((identity::ordinal(set.name(), pod.key.name())?, *pod));
        let pods = pods.iter().filter_map(ordinal).collect();
        Some(Look { set, observed, pods, current, update, now })
    }

    /// The next steps: those for the pods that there should be, then for those that there should not, then for older ones.
    pub fn steps(&self) -> Steps {
        let mut steps = Steps { actions: self.keep_claims(), ..Steps::default() };
        if !steps.actions.is_empty() {
            return steps;
        }
        let mut goes_on = match self.set.in_order() {
            true => self.one_by_one(&mut steps),
            false => self.at_once(&mut steps),
        };
        goes_on = goes_on && steps.actions.is_empty() && self.condemn(&mut steps);
        if goes_on && steps.actions.is_empty() && self.set.updates() {
            steps.actions = self.replace();
        }
        steps
    }

    /// The pods that there should be.
    pub fn replicas(&self) -> impl DoubleEndedIterator<Item = (i64, &'a Member)> {
        self.pods.range(self.set.ordinals()).map(|(ordinal, pod)| (*ordinal, *pod))
    }

    /// The ordinals that have no pod.
    pub fn missing(&self) -> impl Iterator<Item = i64> {
        self.set.ordinals().filter(|ordinal| !self.pods.contains_key(ordinal))
    }

    /// Whether one is missing at this ordinal or above: looked for no further than there are pods.
    pub fn is_missing_from(&self, first: i64) -> bool {
        let all = self.set.ordinals();
        (all.start.max(first)..all.end).any(|ordinal| !self.pods.contains_key(&ordinal))
    }

    fn keep_claims(&self) -> Vec<Action> {
        // Those beyond the end count though they go already: their claims go with them, or stay, by the same policy.
        let kept = self.set.ordinals();
        let stay = self.pods.iter().filter(|(ordinal, pod)| !pod.deleting || !kept.contains(ordinal));
        stay.flat_map(|(ordinal, pod)| claims::keep(self.set, pod, *ordinal, self.observed.claim)).collect()
    }

    /// The first that is missing comes, once all before it are available. Tells whether all are.
    fn one_by_one(&self, steps: &mut Steps) -> bool {
        let gap = self.missing().next();
        for (ordinal, pod) in self.replicas().take_while(|(ordinal, _)| gap.is_none_or(|gap| *ordinal < gap))
        {
            if !self.tend(ordinal, pod, steps) {
                return false;
            }
        }
        gap.inspect(|gap| self.make(*gap, steps)).is_none()
    }

    fn at_once(&self, steps: &mut Steps) -> bool {
        for (ordinal, pod) in self.replicas() {
            self.tend(ordinal, pod, steps);
        }
        let active: Vec<&Member> = self.pods.values().copied().filter(|pod| pod.is_active()).collect();
        let room = workload::room(&active);
        steps.crowded = room == 0 && self.missing().next().is_some();
        // Some cannot come yet; they do not hold up the others.
        for ordinal in self.missing().take(limits::REPLICAS_LOOKED_AT) {
            if steps.actions.len() >= room.min(limits::REPLICAS_AT_ONCE) {
                break;
            }
            self.make(ordinal, steps);
        }
        true
    }

    /// What a pod needs that there should be. Tells whether the next one may come.
    fn tend(&self, ordinal: i64, pod: &Member, steps: &mut Steps) -> bool {
        if pod.deleting {
            return false;
        }
        // However it ended: it may have been made to.
        if pod.phase == Phase::Ended {
            // The clock may have been set back since: nobody rests for longer than from now on.
            let created = pod.created.filter(|created| *created <= self.now);
            let rested = created.and_then(|created| created.checked_add(REST).ok());
            match rested.filter(|rested| *rested > self.now) {
                Some(rested) => steps.wake_at = steps.wake_at.into_iter().chain([rested]).min(),
                None => steps.actions.push(identity::delete(self.set, pod)),
            }
            return false;
        }
        if pod.phase == Phase::Pending {
            steps.actions.extend(claims::needs(self.set, ordinal, self.observed.claim).missing);
        }
        steps.actions.extend(identity::mend(self.set, pod, ordinal));
        self.is_available(pod)
    }

    /// A pod comes, or what it needs first. One of its name may have to be gone before.
    fn make(&self, ordinal: i64, steps: &mut Steps) {
        let name = identity::name(self.set, ordinal);
        let needs = claims::needs(self.set, ordinal, self.observed.claim);
        if needs.stale || (self.observed.pod)(&name) {
            return;
        }
        if let Some(claim) = needs.going {
            let (_, failed) = identity::said(self.set, "create", &name);
            let because = |said: Saying| Saying {
                message: format!("{}pvc {claim} is being deleted", said.message),
                ..said
            };
            return steps.said.extend(failed.map(because));
        }
        match needs.missing.is_empty() {
            true => steps.actions.push(identity::create(self.set, ordinal, self.revision(ordinal))),
            false => steps.actions.extend(needs.missing),
        }
    }

    /// The revision of which a new pod is to be.
    fn revision(&self, ordinal: i64) -> &Revision {
        let start = self.set.ordinals().start;
        // Those that there are, not those that the status tells of: it may be of before the last deletion.
        let of_current =
            |pod: &Member| !pod.deleting && pod.labels.get(LABEL).is_some_and(|of| of == self.current.name());
        let older = match (self.set.updates(), self.set.rolling()) {
            (false, _) => start,
            (true, Some(_)) => self.set.partition(),
            (true, None) => {
                let count = self.replicas().filter(|(_, pod)| of_current(pod)).count();
                start.saturating_add(i64::try_from(count).unwrap_or(i64::MAX))
            }
        };
        if ordinal < older { self.current } else { self.update }
    }

    /// The pods beyond go, highest first. Tells whether none of them holds up what comes then. (Upstream waits for those that have
    /// ended, too, so that two of them would wait for each other.)
    fn condemn(&self, steps: &mut Steps) -> bool {
        let kept = self.set.ordinals();
        let beyond = || self.pods.iter().filter(|(ordinal, _)| !kept.contains(ordinal));
        let in_order = self.set.in_order();
        let first_unavailable = beyond().find(|(_, pod)| !self.is_available(pod)).map(|(ordinal, _)| ordinal);
        for (ordinal, pod) in beyond().rev() {
            let waits = in_order && !self.is_available(pod) && Some(ordinal) != first_unavailable;
            let waits = waits && pod.phase != Phase::Ended;
            if !pod.deleting && !waits {
                steps.actions.push(identity::delete(self.set, pod));
            }
            if in_order {
                return false;
            }
        }
        true
    }

    /// Whether it runs, is ready, and has been so for long enough.
    pub fn is_up(&self, pod: &Member) -> bool {
        let from = pod.available_from(self.set.workload.min_ready_seconds());
        pod.phase == Phase::Running && from.is_some_and(|from| from <= self.now)
    }

    /// Whether it is up, and stays.
    pub fn is_available(&self, pod: &Member) -> bool {
        self.is_up(pod) && !pod.deleting
    }

    /// Whether it is of an older revision than the newest, and is not going yet.
    pub fn is_old(&self, pod: &Member) -> bool {
        identity::revision(pod) != self.update.name() && !pod.deleting
    }

    /// When the next pod becomes available by being ready for longer.
    pub fn next_available(&self) -> Option<Timestamp> {
        let times =
            self.pods.values().filter_map(|pod| pod.available_from(self.set.workload.min_ready_seconds()));
        times.filter(|from| *from > self.now).min()
    }

    /// The end of revisions that are more than are kept to go back to.
    pub fn superfluous(&self, history: &History<'_>) -> Vec<Action> {
        let used = |name: &str| self.pods.values().any(|pod| identity::revision(pod) == name);
        let live = |revision: &Revision| revision.name() == self.current.name() || used(revision.name());
        let old: Vec<&Revision> = history.old().into_iter().filter(|revision| !live(revision)).collect();
        history.superfluous(&old, |_| false)
    }
}

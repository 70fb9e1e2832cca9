//! What a Job's pods come to: who is at work, who has ended how, and what of that is not in the status yet. Pure.

use super::indexes::Indexes;
use super::policy::{self, Judgement};
use super::{Job, Observed, Verdict, is_tracked, release};
use crate::control::action::Action;
use crate::control::pods::Member;
use std::collections::{BTreeMap, BTreeSet};

/// A Job and its pods, sorted out.
pub struct Look<'a> {
    pub job: &'a Job,
    /// All of them.
    pub pods: Vec<&'a Member>,
    /// Those at work.
    pub active: Vec<&'a Member>,
    /// How many are on their way out.
    pub terminating: usize,
    /// What the failure policy says of the failed ones that the status does not know.
    judged: BTreeMap<&'a str, Judgement>,
    pub indexes: Option<Indexed<'a>>,
    /// Ends so far, those that the status does not know yet included.
    pub succeeded: usize,
    pub failed: usize,
    /// How many others told to go, and when the last of them was.
    pub departed: (u32, Option<jiff::Timestamp>),
}

/// What there is besides of an indexed Job.
pub struct Indexed<'a> {
    pub completions: u32,
    /// As the status has them.
    pub told: Indexes,
    pub succeeded: Indexes,
    /// Those that are not tried again, where indexes have limits of their own.
    pub failed: Option<Indexes>,
    /// The last failed pod of each index that waits for another: it stays until that has taken over its count.
    pub waiting: BTreeMap<u32, &'a Member>,
}

/// What becomes of a pod that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is at work, or needed.
    Held,
    Succeeded,
    Failed,
    /// It counts as nothing.
    Ignored,
}

impl<'a> Look<'a> {
    pub fn new(job: &'a Job, pods: Vec<&'a Member>, observed: &Observed<'_>) -> Look<'a> {
        let active: Vec<&Member> = pods.iter().copied().filter(|pod| pod.is_active()).collect();
        let terminating = pods.iter().filter(|pod| pod.is_terminating()).count();
        let mut look = Look {
            job,
            pods,
            active,
            terminating,
            judged: BTreeMap::new(),
            indexes: None,
            succeeded: 0,
            failed: 0,
            departed: observed.departed,
        };
        look.judge(observed);
        look.indexes = look.job.is_indexed().then(|| look.indexed());
        look.count();
        look
    }

    /// Whether a pod counts as failed, for itself.
    pub fn has_failed(&self, pod: &Member) -> bool {
        match pod.batch.as_ref().and_then(|batch| batch.succeeded) {
            Some(succeeded) => !succeeded || self.is_told_as_failed(pod),
            // It may never come to its end by itself.
            None => pod.deleting && !self.job.replaces_only_failed(),
        }
    }

    fn has_succeeded(&self, pod: &Member) -> bool {
        ended_well(pod) && !self.is_told_as_failed(pod)
    }

    /// Whether its end was counted when it was to go, however it went then: no end counts twice.
    fn is_told_as_failed(&self, pod: &Member) -> bool {
        self.job.is_uncounted(&pod.uid, false)
    }

    fn judge(&mut self, observed: &Observed<'_>) {
        let Some(policy) = &self.job.spec.pod_failure_policy else { return };
        for pod in &self.pods {
            if is_tracked(pod) && self.has_failed(pod) {
                let judgement = (observed.pod)(pod).map(|object| policy::judge(Some(policy), &object));
                self.judged.insert(&pod.uid, judgement.unwrap_or(Judgement::Count));
            }
        }
    }

    fn judgement(&self, pod: &Member) -> &Judgement {
        self.judged.get(&*pod.uid).unwrap_or(&Judgement::Count)
    }

    /// Why the Job has failed by what one of its pods did.
    pub fn fails_by_policy(&self) -> Option<&str> {
        self.pods.iter().find_map(|pod| match self.judgement(pod) {
            Judgement::FailJob(why) => Some(why.as_str()),
            _ => None,
        })
    }

    fn indexed(&self) -> Indexed<'a> {
        let completions = self.job.completions().unwrap_or(0);
        let read = |text: &Option<String>| Indexes::parse(text.as_deref().unwrap_or_default(), completions);
        let told = read(&self.job.status.completed_indexes);
        let of = |pod: &Member| index(pod).filter(|index| *index < completions);
        let held = || self.pods.iter().copied().filter(|pod| is_tracked(pod));
        // Its index is done, even if the pod was counted as failed before it ended well.
        let succeeded = told.with(held().filter(|pod| ended_well(pod)).filter_map(of));
        let limit = self.job.spec.backoff_limit_per_index;
        let failed = limit.map(|limit| {
            let over = |pod: &&Member| self.has_failed(pod) && self.index_has_failed(pod, limit);
            read(&self.job.status.failed_indexes).with(held().filter(over).filter_map(of))
        });
        let mut waiting: BTreeMap<u32, &Member> = BTreeMap::new();
        if let Some(failed) = &failed {
            let at_work: BTreeSet<u32> = self.active.iter().filter_map(|pod| index(pod)).collect();
            for pod in held().filter(|pod| self.has_failed(pod)) {
                let Some(index) = of(pod) else { continue };
                let settled = succeeded.has(index) || failed.has(index) || at_work.contains(&index);
                let later = waiting.get(&index).is_none_or(|other| attempts(pod) > attempts(other));
                if !settled && later {
                    waiting.insert(index, pod);
                }
            }
        }
        Indexed { completions, told, succeeded, failed, waiting }
    }

    fn index_has_failed(&self, pod: &Member, limit: i32) -> bool {
        match self.judgement(pod) {
            Judgement::FailIndex => true,
            Judgement::Ignore => false,
            _ => {
                let failures = pod.batch.as_ref().map_or(0, |batch| batch.failures.0);
                i64::from(failures) + 1 > i64::from(limit)
            }
        }
    }

    /// Whether a failure is one that another try of its index does not count.
    pub fn is_ignored(&self, pod: &Member) -> bool {
        *self.judgement(pod) == Judgement::Ignore
    }

    fn count(&mut self) {
        let uncounted = self.job.status.uncounted_terminated_pods.as_ref();
        let number = |uids: Option<&Vec<String>>| uids.map_or(0, Vec::len);
        let stored = |count: Option<i32>| usize::try_from(count.unwrap_or(0)).unwrap_or(0);
        let new = |succeeded: bool| {
            let fate = if succeeded { Fate::Succeeded } else { Fate::Failed };
            let wait = |pod: &Member| !succeeded && self.waits(pod) && !self.is_ignored(pod);
            let ends = self.pods.iter().filter(|pod| is_tracked(pod));
            let ends = ends.filter(|pod| self.fate(pod, None) == fate || wait(pod));
            ends.filter(|pod| !self.job.is_uncounted(&pod.uid, succeeded)).count()
        };
        let failed = stored(self.job.status.failed)
            + number(uncounted.and_then(|all| all.failed.as_ref()))
            + new(false);
        let succeeded = match &self.indexes {
            Some(indexed) => indexed.succeeded.count(),
            None => {
                stored(self.job.status.succeeded)
                    + number(uncounted.and_then(|all| all.succeeded.as_ref()))
                    + new(true)
            }
        };
        (self.failed, self.succeeded) = (failed, succeeded);
    }

    /// Whether it stays until another try of its index has taken over its count.
    fn waits(&self, pod: &Member) -> bool {
        let waiting = self.indexes.as_ref().and_then(|indexed| indexed.waiting.get(&index(pod)?));
        waiting.is_some_and(|waiting| waiting.uid == pod.uid)
    }

    fn fate(&self, pod: &Member, verdict: Option<&Verdict>) -> Fate {
        let failing = verdict.is_some_and(|verdict| !verdict.success);
        let counts = self
            .indexes
            .as_ref()
            .is_none_or(|indexed| index(pod).is_some_and(|index| index < indexed.completions));
        if self.has_succeeded(pod) {
            return if counts { Fate::Succeeded } else { Fate::Ignored };
        }
        match self.has_failed(pod) || failing {
            true if verdict.is_none() && self.waits(pod) => Fate::Held,
            true if !counts || self.is_ignored(pod) => Fate::Ignored,
            true => Fate::Failed,
            false if verdict.is_some() => Fate::Ignored,
            false => Fate::Held,
        }
    }

    /// The finalizers of pods whose ends the stored status knows, or need not know.
    pub fn counted(&self, verdict: Option<&Verdict>) -> Vec<Action> {
        let known = |pod: &Member| match self.fate(pod, verdict) {
            Fate::Held => false,
            Fate::Ignored => true,
            Fate::Failed => self.job.is_uncounted(&pod.uid, false),
            Fate::Succeeded => match &self.indexes {
                Some(indexed) => index(pod).is_some_and(|index| indexed.told.has(index)),
                None => self.job.is_uncounted(&pod.uid, true),
            },
        };
        self.pods.iter().filter(|pod| is_tracked(pod) && known(pod)).map(|pod| release(pod)).collect()
    }

    /// Pods whose ends the status is to know: (succeeded, failed).
    pub fn ends(&self, verdict: Option<&Verdict>) -> (Vec<&'a str>, Vec<&'a str>) {
        let (mut succeeded, mut failed) = (Vec::new(), Vec::new());
        for pod in self.pods.iter().filter(|pod| is_tracked(pod)) {
            match self.fate(pod, verdict) {
                // An index counts by itself.
                Fate::Succeeded if self.indexes.is_none() => succeeded.push(&*pod.uid),
                Fate::Failed => failed.push(&*pod.uid),
                _ => {}
            }
        }
        (succeeded, failed)
    }
}

fn ended_well(pod: &Member) -> bool {
    pod.batch.as_ref().is_some_and(|batch| batch.succeeded == Some(true))
}

/// A pod's completion index.
pub fn index(pod: &Member) -> Option<u32> {
    pod.batch.as_ref()?.index
}

/// How often its index was tried before, and when it ended: later tries are greater.
fn attempts(pod: &Member) -> (u32, Option<jiff::Timestamp>) {
    pod.batch.as_ref().map_or((0, None), |batch| (batch.failures.0 + batch.failures.1, batch.finished))
}

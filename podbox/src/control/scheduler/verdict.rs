//! Why a pod gets no node, in the words that people know from `kubectl describe pod`. Pure.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// What could change a verdict, as a set: who waits is looked at again when something of it happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cure(u8);

impl Cure {
    /// A node comes, or is different.
    pub const NODE: Cure = Cure(1);
    /// A pod goes, or takes less.
    pub const ROOM: Cure = Cure(2);
    /// Another pod is near, or is not any more.
    pub const NEIGHBOURS: Cure = Cure(4);
    /// A claim, a volume or a class comes or is different.
    pub const STORAGE: Cure = Cure(8);
    /// Any of them.
    pub const ANY: Cure = Cure(15);

    /// These, too.
    pub fn and(self, other: Cure) -> Cure {
        Cure(self.0 | other.0)
    }

    /// Whether these have something in common.
    pub fn meets(self, other: Cure) -> bool {
        self.0 & other.0 != 0
    }
}

/// Why one node does not take a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// In words; of several things of one kind, all.
    pub reasons: Vec<Cow<'static, str>>,
    /// With fewer pods on the node it would.
    pub crowded: bool,
    /// What could change it.
    pub cure: Cure,
}

impl Refusal {
    /// Whoever goes, it stays so.
    pub fn of(reason: impl Into<Cow<'static, str>>, cure: Cure) -> Refusal {
        Refusal { reasons: vec![reason.into()], crowded: false, cure }
    }

    /// It may be different with fewer pods on the node.
    pub fn crowded(reason: &'static str, cure: Cure) -> Refusal {
        Refusal { reasons: vec![reason.into()], crowded: true, cure }
    }
}

/// Why no node takes a pod. Displays as people know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unfit {
    nodes: usize,
    reasons: BTreeMap<Cow<'static, str>, usize>,
    crowded: usize,
    /// Nobody is to go for it, by its own word.
    modest: bool,
    /// What is wrong with the pod itself, wherever it would be.
    own: Option<String>,
    /// What could change it.
    pub cure: Cure,
}

impl Unfit {
    /// Of a pod that makes others go, or not.
    pub fn new(preempts: bool) -> Unfit {
        Unfit { modest: !preempts, cure: Cure::NODE, ..Unfit::default() }
    }

    /// So many nodes do not take it, for what it lacks itself.
    pub fn lacking(preempts: bool, nodes: usize, why: String) -> Unfit {
        Unfit { nodes, own: Some(why), cure: Cure::ANY, ..Unfit::new(preempts) }
    }

    /// Another node does not take it either.
    pub fn add(&mut self, refusal: Refusal) {
        self.nodes += 1;
        self.crowded += usize::from(refusal.crowded);
        self.cure = self.cure.and(refusal.cure);
        for reason in refusal.reasons {
            *self.reasons.entry(reason).or_default() += 1;
        }
    }
}

/// How often each was found, sorted as text, as upstream has it.
fn counted<'a>(reasons: impl IntoIterator<Item = (&'a str, usize)>) -> String {
    let found = reasons.into_iter().filter(|(_, count)| *count > 0);
    let mut all: Vec<String> = found.map(|(reason, count)| format!("{count} {reason}")).collect();
    all.sort();
    all.join(", ")
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nodes == 0 {
            return f.write_str("no nodes available to schedule pods");
        }
        let (nodes, crowded) = (self.nodes, self.crowded);
        let counted_reasons = || counted(self.reasons.iter().map(|(reason, count)| (&**reason, *count)));
        let reasons = self.own.clone().unwrap_or_else(counted_reasons);
        write!(f, "0/{nodes} nodes are available: {reasons}. preemption: ")?;
        if self.modest {
            return f.write_str("not eligible due to preemptionPolicy=Never.");
        }
        let none = counted([
            ("No preemption victims found for incoming pod", crowded),
            ("Preemption is not helpful for scheduling", nodes - crowded),
        ]);
        write!(f, "0/{nodes} nodes are available: {none}.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_those_that_people_know() {
        assert_eq!(Unfit::new(true).to_string(), "no nodes available to schedule pods");
        let message = |preempts, crowded: &[&'static str], others: &[&'static str]| {
            let mut unfit = Unfit::new(preempts);
            crowded.iter().for_each(|reason| unfit.add(Refusal::crowded(reason, Cure::ROOM)));
            others.iter().for_each(|reason| unfit.add(Refusal::of(*reason, Cure::NODE)));
            unfit.to_string()
        };
        assert_eq!(
            message(true, &["Insufficient cpu"; 2], &["node(s) had untolerated taint {k: v}"]),
            "0/3 nodes are available: 1 node(s) had untolerated taint {k: v}, 2 Insufficient cpu. \
             preemption: 0/3 nodes are available: 1 Preemption is not helpful for scheduling, \
             2 No preemption victims found for incoming pod."
        );
        assert_eq!(
            message(false, &["Too many pods"], &[]),
            "0/1 nodes are available: 1 Too many pods. preemption: not eligible due to preemptionPolicy=Never."
        );
        assert_eq!(
            Unfit::lacking(true, 2, "it is not there".into()).to_string(),
            "0/2 nodes are available: it is not there. \
             preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
        );
        // As text, ten is before nine.
        let (ten, nine) = (["b"; 10], ["a"; 9]);
        let found = message(true, &ten, &nine);
        assert!(found.starts_with("0/19 nodes are available: 10 b, 9 a. "), "{found}");
    }
}

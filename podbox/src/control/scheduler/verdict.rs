//! Why a pod gets no node, in the words that people know from `kubectl describe pod`. Pure.

use super::place::NodeId;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// Of a node on which nobody goes for the pod: all are at least as important.
pub const NO_VICTIMS: &str = "No preemption victims found for incoming pod";
/// Of a node that whoever goes does not open.
const HELPLESS: &str = "Preemption is not helpful for scheduling";

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

/// Why nobody goes for a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spared {
    /// By its own word, nobody is to.
    Never,
    /// Somebody goes already, where it is to be.
    Awaited,
    /// It would not help: of each node on which fewer pods might, what is in its way all the same.
    Vain(Vec<Vec<Cow<'static, str>>>),
    /// Somebody does go.
    No,
}

/// Why no node takes a pod. Displays as people know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    nodes: usize,
    reasons: BTreeMap<Cow<'static, str>, usize>,
    /// What is wrong with the pod itself, wherever it would be.
    own: Option<String>,
    /// Nodes that with fewer pods on them might take it.
    pub crowded: Vec<NodeId>,
    /// Why nobody goes for it.
    pub spared: Spared,
    /// What could change it.
    pub cure: Cure,
}

impl Default for Unfit {
    fn default() -> Unfit {
        let (nodes, reasons, own, crowded) = Default::default();
        Unfit { nodes, reasons, own, crowded, spared: Spared::Vain(Vec::new()), cure: Cure::NODE }
    }
}

impl Unfit {
    /// So many nodes do not take it, for what it lacks itself.
    pub fn lacking(nodes: usize, why: String) -> Unfit {
        Unfit { nodes, own: Some(why), cure: Cure::ANY, ..Unfit::default() }
    }

    /// This node does not take it either.
    pub fn add(&mut self, node: NodeId, refusal: Refusal) {
        self.nodes += 1;
        if refusal.crowded {
            self.crowded.push(node);
        }
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
        let nodes = self.nodes;
        if nodes == 0 {
            return f.write_str("no nodes available to schedule pods");
        }
        let counted_reasons = || counted(self.reasons.iter().map(|(reason, count)| (&**reason, *count)));
        let reasons = self.own.clone().unwrap_or_else(counted_reasons);
        write!(f, "0/{nodes} nodes are available: {reasons}.")?;
        match &self.spared {
            Spared::No => Ok(()),
            Spared::Never => f.write_str(" preemption: not eligible due to preemptionPolicy=Never."),
            Spared::Awaited => {
                f.write_str(" preemption: not eligible due to a terminating pod on the nominated node.")
            }
            Spared::Vain(each) => {
                let mut reasons = BTreeMap::from([(HELPLESS, nodes.saturating_sub(each.len()))]);
                for reason in each.iter().flatten() {
                    *reasons.entry(&**reason).or_default() += 1;
                }
                write!(f, " preemption: 0/{nodes} nodes are available: {}.", counted(reasons))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_those_that_people_know() {
        assert_eq!(Unfit::default().to_string(), "no nodes available to schedule pods");
        let message = |spared: Spared, crowded: &[&'static str], others: &[&'static str]| {
            let mut unfit = Unfit { spared, ..Unfit::default() };
            let refusals = crowded.iter().map(|reason| Refusal::crowded(reason, Cure::ROOM));
            let refusals = refusals.chain(others.iter().map(|reason| Refusal::of(*reason, Cure::NODE)));
            refusals.enumerate().for_each(|(number, refusal)| unfit.add(NodeId(number), refusal));
            assert_eq!(unfit.crowded.len(), crowded.len());
            unfit.to_string()
        };
        let vain =
            |reasons: &[&'static str]| Spared::Vain(reasons.iter().map(|one| vec![(*one).into()]).collect());
        assert_eq!(
            message(
                vain(&[NO_VICTIMS; 2]),
                &["Insufficient cpu"; 2],
                &["node(s) had untolerated taint {k: v}"]
            ),
            "0/3 nodes are available: 1 node(s) had untolerated taint {k: v}, 2 Insufficient cpu. \
             preemption: 0/3 nodes are available: 1 Preemption is not helpful for scheduling, \
             2 No preemption victims found for incoming pod."
        );
        assert_eq!(
            message(vain(&["Insufficient cpu"]), &["Insufficient cpu"], &[]),
            "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 Insufficient cpu."
        );
        assert_eq!(
            message(Spared::Never, &["Too many pods"], &[]),
            "0/1 nodes are available: 1 Too many pods. preemption: not eligible due to preemptionPolicy=Never."
        );
        assert_eq!(
            message(Spared::Awaited, &["Too many pods"], &[]),
            "0/1 nodes are available: 1 Too many pods. \
             preemption: not eligible due to a terminating pod on the nominated node."
        );
        assert_eq!(message(Spared::No, &["Too many pods"], &[]), "0/1 nodes are available: 1 Too many pods.");
        assert_eq!(
            Unfit::lacking(2, "it is not there".into()).to_string(),
            "0/2 nodes are available: it is not there. \
             preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
        );
        // As text, ten is before nine.
        let found = message(Spared::No, &["b"; 10], &["a"; 9]);
        assert_eq!(found, "0/19 nodes are available: 10 b, 9 a.");
    }
}

//! Who goes for a pod that is more important, and where: upstream's choice. Pure.
//!
//! On each node that might take the pod with fewer others on it, all less important ones go in thought; then as many stay after all as
//! can, the most important first, and those first whose going a budget for disruptions does not allow. Of the nodes, the one is taken where
//! this costs least ([`Cost`]). Budgets are kept to as far as may be, not at any price.
//!
//! Invariants: nobody goes for a pod that is not more important, and nobody who could stay; the cluster is afterwards as it was.

use super::budgets::Budgets;
use super::choose::fits;
use super::cluster::Cluster;
use super::demand::{Demand, Load};
use super::place::NodeId;
use super::verdict::NO_VICTIMS;
use crate::control::key::Key;
use crate::limits;
use jiff::Timestamp;
use std::borrow::Cow;
use std::cmp::Reverse;
use std::sync::Arc;

/// When a pod began to run, if it did.
pub type Started<'a> = &'a dyn Fn(&Key) -> Option<Timestamp>;

/// Why it does not help that others go, in words.
type Reasons = Vec<Cow<'static, str>>;

/// A pod and what it takes.
type Other = (Key, Arc<Load>);

/// What it costs that pods go, what weighs most first: upstream's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Cost {
    /// How many of them some budget does not allow to.
    violations: usize,
    /// How important the most important one is.
    highest: i32,
    /// How important they are together: each counts for something, however little it is.
    sum: i128,
    count: usize,
    /// Since when the most important ones have run: a younger one has lost less.
    since: Reverse<(bool, Option<Timestamp>)>,
}

/// Looks for a node among these, and for who goes there; if there is none, why not, of each.
pub fn preempt(
    (key, demand): (&Key, &Demand),
    cluster: &mut Cluster,
    among: &[NodeId],
    budgets: &Budgets,
    started: Started<'_>,
) -> Result<(NodeId, Vec<Key>), Vec<Reasons>> {
    let enough = limits::PREEMPTION_CANDIDATES.max(cluster.nodes().count() / 10);
    let (mut found, mut vain) = (Vec::new(), Vec::new());
    for node in among {
        match victims((key, demand), cluster, *node, budgets, started) {
            Ok((cost, pods)) => found.push((cost, *node, pods)),
            Err(reasons) => vain.push(reasons),
        }
        if found.len() >= enough && found.iter().any(|(cost, ..)| cost.violations == 0) {
            break;
        }
    }
    let best = found.into_iter().min_by_key(|(cost, ..)| *cost);
    best.map(|(_, node, pods)| (node, pods)).ok_or(vain)
}

/// Who goes on one node, and what that costs; or why that does not help.
fn victims(
    (key, demand): (&Key, &Demand),
    cluster: &mut Cluster,
    node: NodeId,
    budgets: &Budgets,
    started: Started<'_>,
) -> Result<(Cost, Vec<Key>), Reasons> {
    let lower = cluster.place(node).below(demand.load.priority);
    let mut lower: Vec<Other> = lower.map(|(key, load)| (key.clone(), Arc::clone(load))).collect();
    if lower.is_empty() {
        return Err(vec![NO_VICTIMS.into()]);
    }
    lower.sort_by_cached_key(|(key, load)| (Reverse(load.priority), since(started, key), key.clone()));
    lower.iter().for_each(|(key, load)| cluster.take(key, load, node));
    let fit = |cluster: &mut Cluster| match fits(key, demand, cluster, node) {
        Some(Err(refusal)) => Err(refusal.reasons),
        Some(Ok(())) => Ok(()),
        None => Err(Reasons::new()),
    };
    if let Err(reasons) = fit(cluster) {
        lower.iter().for_each(|(key, load)| cluster.add(key, load, node));
        return Err(reasons);
    }
    let violated = budgets.violated(&lower);
    let (mut held, mut free): (Vec<_>, Vec<_>) =
        lower.into_iter().zip(violated).partition(|(_, violated)| *violated);
    held.append(&mut free);
    let stays = |((key, load), _): &(Other, bool)| {
        cluster.add(key, load, node);
        let stays = fit(cluster).is_ok();
        if !stays {
            cluster.take(key, load, node);
        }
        stays
    };
    let (_, gone): (Vec<_>, Vec<_>) = held.into_iter().partition(stays);
    gone.iter().for_each(|((key, load), _)| cluster.add(key, load, node));
    let cost = cost(&gone, started);
    Ok((cost, gone.into_iter().map(|((key, _), _)| key).collect()))
}

/// Who does not run yet began last.
fn since(started: Started<'_>, pod: &Key) -> (bool, Option<Timestamp>) {
    let at = started(pod);
    (at.is_none(), at)
}

fn cost(gone: &[(Other, bool)], started: Started<'_>) -> Cost {
    let highest = gone.iter().map(|((_, load), _)| load.priority).max().unwrap_or(i32::MIN);
    let most = gone.iter().filter(|((_, load), _)| load.priority == highest);
    let weight = |load: &Load| i128::from(load.priority) - i128::from(i32::MIN);
    Cost {
        violations: gone.iter().filter(|(_, violated)| *violated).count(),
        highest,
        sum: gone.iter().map(|((_, load), _)| weight(load)).sum(),
        count: gone.len(),
        since: Reverse(most.map(|((key, _), _)| since(started, key)).min().unwrap_or_default()),
    }
}

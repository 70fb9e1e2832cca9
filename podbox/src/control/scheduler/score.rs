//! Which of the nodes that take a pod is best: upstream's plugins and weights, each from 0 to 100. Pure.
//!
//! Of nodes that are equally good, the one with the fewest pods is taken, then the first by name: upstream leaves that to chance.

use super::cluster::Cluster;
use super::demand::Demand;
use super::nearness;
use super::place::{NodeId, Place};
use super::spreading;
use std::cmp::Reverse;

const MEBIBYTE: i64 = 1 << 20;
/// Between these sizes of what is there already, images count; the upper one is of each container.
const IMAGES: (i64, i64) = (23 * MEBIBYTE, 1000 * MEBIBYTE);

/// The best of these nodes.
pub fn best(demand: &Demand, cluster: &Cluster, among: &[NodeId]) -> Option<NodeId> {
    if let [only] = among {
        return Some(*only);
    }
    let scores = scores(demand, cluster, among);
    let ranked = among.iter().enumerate();
    let rank = |(index, id): &(usize, &NodeId)| {
        (scores[*index], Reverse(cluster.place(**id).pods.len()), Reverse(*index))
    };
    ranked.max_by_key(rank).map(|(_, id)| *id)
}

/// How good each of these nodes is.
fn scores(demand: &Demand, cluster: &Cluster, among: &[NodeId]) -> Vec<i64> {
    let places: Vec<&Place> = among.iter().map(|id| cluster.place(*id)).collect();
    let each = |score: &dyn Fn(&Place) -> i64| places.iter().map(|place| score(place)).collect::<Vec<i64>>();
    let mut total = each(&|place| least_allocated(demand, place) + balanced(demand, place));
    let mut add = |weight: i64, scores: Vec<i64>| {
        total.iter_mut().zip(scores).for_each(|(sum, score)| *sum += weight * score);
    };
    let taints = each(&|place| disliked_taints(demand, place));
    if taints.iter().any(|count| *count > 0) {
        let most = most(&taints);
        add(3, taints.iter().map(|count| 100 - 100 * count / most).collect());
    }
    if !demand.preferred.is_empty() {
        let preferred = each(&|place| preferred(demand, place));
        let most = most(&preferred);
        add(2, preferred.iter().map(|sum| 100 * sum / most).collect());
    }
    if let Some(spread) = spreading::scores(demand, cluster, among) {
        add(2, spread);
    }
    if let Some(likings) = nearness::likings(demand, cluster) {
        let sums = each(&|place| place.facts.as_ref().map_or(0, |facts| likings.sum(facts)));
        add(2, between(&sums));
    }
    let images = images(demand, cluster, &places);
    add(1, images);
    total
}

/// The highest, but no less than one: it is divided by.
fn most(scores: &[i64]) -> i64 {
    scores.iter().copied().max().unwrap_or(0).max(1)
}

/// From the least to the most, as 0 to 100; nothing where all are the same.
fn between(sums: &[i64]) -> Vec<i64> {
    let (least, most) = (sums.iter().min().copied().unwrap_or(0), sums.iter().max().copied().unwrap_or(0));
    let range = i128::from(most) - i128::from(least);
    let part = |sum: &i64| match range {
        0 => 0,
        range => i64::try_from(100 * (i128::from(*sum) - i128::from(least)) / range).unwrap_or(0),
    };
    sums.iter().map(part).collect()
}

/// The more of a node is left, the better.
fn least_allocated(demand: &Demand, place: &Place) -> i64 {
    let Some(facts) = &place.facts else { return 0 };
    let (all, held, asked) = (&facts.room, &place.presumed, &demand.load.presumed);
    let left = |all: i128, held: i128, asked: i128| {
        (all > 0).then(|| ((all - held - asked).max(0) * 100).checked_div(all).unwrap_or(0))
    };
    let parts = [left(all.cpu, held.cpu, asked.cpu), left(all.memory, held.memory, asked.memory)];
    let parts: Vec<i128> = parts.into_iter().flatten().collect();
    let count = i128::try_from(parts.len()).unwrap_or(1).max(1);
    i64::try_from(parts.iter().sum::<i128>() / count).unwrap_or(0)
}

/// The more evenly its processors and memory are taken, the better.
fn balanced(demand: &Demand, place: &Place) -> i64 {
    let Some(facts) = place.facts.as_ref().filter(|_| !demand.load.amounts.is_light()) else { return 0 };
    let (all, held, asked) = (&facts.room, &place.taken, &demand.load.amounts);
    let part =
        |all: i128, held: i128, asked: i128| (all > 0).then(|| ((held + asked) as f64 / all as f64).min(1.0));
    let parts = (part(all.cpu, held.cpu, asked.cpu), part(all.memory, held.memory, asked.memory));
    // What a node has none of cannot be taken unevenly.
    let apart = if let (Some(cpu), Some(memory)) = parts { (cpu - memory).abs() / 2.0 } else { 0.0 };
    ((1.0 - apart) * 100.0) as i64
}

/// How many of a node's taints a pod would rather not bear.
fn disliked_taints(demand: &Demand, place: &Place) -> i64 {
    let taints = place.facts.iter().flat_map(|facts| &facts.taints);
    let disliked =
        taints.filter(|taint| taint.effect == "PreferNoSchedule" && !demand.tolerance.bears(taint));
    i64::try_from(disliked.count()).unwrap_or(i64::MAX / 100)
}

fn preferred(demand: &Demand, place: &Place) -> i64 {
    let Some(facts) = &place.facts else { return 0 };
    let met = demand.preferred.iter().filter(|(_, term)| term.is_met(&place.name, &facts.labels));
    met.map(|(weight, _)| weight).sum()
}

/// What is on a node already of the images; an image that only it has counts for little, lest all pods go there.
fn images(demand: &Demand, cluster: &Cluster, places: &[&Place]) -> Vec<i64> {
    let Ok(count) = i64::try_from(demand.images.len()) else { return vec![0; places.len()] };
    let nodes = cluster.nodes().count().max(1) as f64;
    let shares: Vec<(&str, f64)> = demand
        .images
        .iter()
        .map(|image| {
            let having = cluster.nodes().filter(|(_, place, _)| place.images.contains_key(image)).count();
            (image.as_str(), having as f64 / nodes)
        })
        .filter(|(_, share)| *share > 0.0)
        .collect();
    let (least, most) = (IMAGES.0, IMAGES.1.saturating_mul(count.max(1)));
    let score = |place: &&Place| {
        let sizes =
            shares.iter().filter_map(|(image, share)| Some(*place.images.get(*image)? as f64 * share));
        let sum = (sizes.sum::<f64>() as i64).clamp(least, most);
        i64::try_from(100 * i128::from(sum - least) / i128::from((most - least).max(1))).unwrap_or(0)
    };
    places.iter().map(score).collect()
}

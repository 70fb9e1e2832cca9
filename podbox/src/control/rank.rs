//! Which pods go first when there are too many, as upstream ranks them. Pure.
//!
//! In this order: those without a node; pending before unknown before running; not ready; cheaper by
//! `pod-deletion-cost`; on a node with more of the same kind; ready for a shorter time; more restarts; younger. Times are compared by
//! their order of magnitude, so that among pods of about the same age chance decides (their uids), not the age itself. (Many texts say
//! that the newest pod goes first: it does only where all before is equal.)

use super::pods::Member;
use jiff::Timestamp;
use std::cmp::{Ordering, Reverse};

/// The `count` pods that go first; `doubles` tells how many related pods a pod's node has.
pub fn first<'a>(
    pods: &[&'a Member],
    count: usize,
    doubles: impl Fn(&Member) -> usize,
    now: Timestamp,
) -> Vec<&'a Member> {
    let mut ranked: Vec<(&Member, usize)> = pods.iter().map(|pod| (*pod, doubles(pod))).collect();
    if count < ranked.len() {
        ranked.sort_by(|a, b| compare(*a, *b, now));
    }
    ranked.into_iter().take(count).map(|(pod, _)| pod).collect()
}

/// Who goes first is less.
fn compare((a, a_doubles): (&Member, usize), (b, b_doubles): (&Member, usize), now: Timestamp) -> Ordering {
    let by = |pod: &Member, doubles: usize| {
        (pod.node.is_some(), pod.phase, pod.ready.is_some(), pod.deletion_cost, Reverse(doubles))
    };
    by(a, a_doubles)
        .cmp(&by(b, b_doubles))
        .then_with(|| match (a.ready, b.ready) {
            (Some(a_since), Some(b_since)) if a_since != b_since => {
                younger((a, Some(a_since)), (b, Some(b_since)), now)
            }
            _ => Ordering::Equal,
        })
        .then_with(|| b.restarts.0.cmp(&a.restarts.0))
        .then_with(|| b.restarts.1.cmp(&a.restarts.1))
        .then_with(|| match a.created == b.created {
            true => Ordering::Equal,
            false => younger((a, a.created), (b, b.created), now),
        })
        // Upstream leaves the rest to chance.
        .then_with(|| a.uid.cmp(&b.uid))
}

/// Of two different times: who is younger by an order of magnitude goes first. One without a time counts as youngest.
fn younger(a: (&Member, Option<Timestamp>), b: (&Member, Option<Timestamp>), now: Timestamp) -> Ordering {
    match (a.1, b.1) {
        (Some(a_time), Some(b_time)) => {
            magnitude(a_time, now).cmp(&magnitude(b_time, now)).then_with(|| a.0.uid.cmp(&b.0.uid))
        }
        (a, b) => a.is_some().cmp(&b.is_some()),
    }
}

/// The binary logarithm of an age in nanoseconds, rounded down; -1 of none.
fn magnitude(time: Timestamp, now: Timestamp) -> i32 {
    let age = now.duration_since(time).as_nanos();
    u128::try_from(age).ok().and_then(u128::checked_ilog2).map_or(-1, |log| log.cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::key::Key;
    use crate::control::pods::Phase;

    const NOW: i64 = 1_000_000;

    fn at(seconds: i64) -> Option<Timestamp> {
        Timestamp::from_second(NOW - seconds).ok()
    }

    fn pod(uid: &str) -> Member {
        Member {
            key: Key::new("n", uid),
            uid: uid.into(),
            controller: None,
            labels: Default::default(),
            node: Some("node".into()),
            phase: Phase::Running,
            deleting: false,
            ready: at(100),
            created: at(100),
            deletion_cost: 0,
            evicted: false,
            disrupted: false,
            restarts: (0, 0),
            address: None,
            batch: None,
            daemon: None,
        }
    }

    /// The first of two goes first, whichever way they come.
    #[track_caller]
    fn check(first_one: Member, other: Member) {
        let now = Timestamp::from_second(NOW).unwrap();
        let doubles = |pod: &Member| if pod.node.as_deref() == Some("full") { 2 } else { 1 };
        for pods in [[&first_one, &other], [&other, &first_one]] {
            assert_eq!(first(&pods, 1, doubles, now)[0], &first_one);
        }
    }

    #[test]
    fn each_mark_counts_more_than_those_after_it() {
        check(
            Member { node: None, deletion_cost: 9, ..pod("b") },
            Member { phase: Phase::Pending, ..pod("a") },
        );
        check(Member { phase: Phase::Pending, ..pod("b") }, Member { phase: Phase::Unknown, ..pod("a") });
        check(Member { phase: Phase::Unknown, ..pod("b") }, Member { ready: None, ..pod("a") });
        check(Member { ready: None, ..pod("b") }, Member { deletion_cost: -5, ..pod("a") });
        check(Member { deletion_cost: -5, ..pod("b") }, Member { node: Some("full".into()), ..pod("a") });
        check(Member { node: Some("full".into()), ..pod("b") }, Member { ready: at(1), ..pod("a") });
        check(Member { ready: at(1), ..pod("b") }, Member { restarts: (9, 9), ..pod("a") });
        check(Member { restarts: (1, 0), ..pod("b") }, Member { restarts: (0, 9), ..pod("a") });
        check(Member { restarts: (0, 1), ..pod("b") }, Member { created: at(1), ..pod("a") });
        check(Member { created: at(1), ..pod("b") }, pod("a"));
    }

    #[test]
    fn about_the_same_age_is_the_same_age() {
        check(Member { ready: at(100), ..pod("a") }, Member { ready: at(99), ..pod("b") });
        check(Member { ready: at(10), ..pod("b") }, Member { ready: at(100), ..pod("a") });
    }

    #[test]
    fn all_of_them_need_no_order() {
        let [a, b] = ["a", "b"].map(pod);
        let now = Timestamp::from_second(NOW).unwrap();
        assert_eq!(first(&[&b, &a], 2, |_| 1, now).len(), 2);
    }
}

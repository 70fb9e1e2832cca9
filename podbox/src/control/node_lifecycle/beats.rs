//! When each node was heard of last, by the observer's own clock, which does not jump. Pure.
//!
//! What a node says of time is never believed, only that it says something new: a clock that is slow makes no node silent. Who looks late
//! himself, since he was stopped or started anew, gives everyone time again.

use crate::control::key::Key;
use crate::limits;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

/// The nodes that were looked at. Times are spans since some start.
#[derive(Clone, Debug, Default)]
pub struct Beats {
    nodes: BTreeMap<Key, Beat>,
}

#[derive(Clone, Debug)]
struct Beat {
    said: Said,
    heard: Duration,
    looked: Duration,
    /// Whether there was such a node.
    there: bool,
    /// Whether it is to get time again, whatever was.
    pardoned: bool,
}

/// What a node said of time, in its own words: others mean that it lives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Its lease, when it was renewed.
    pub lease: String,
    /// Its condition `Ready`, when it was told, unless others said that for it. No other condition counts: those may be anybody's.
    pub ready: Option<String>,
}

impl Beats {
    /// Looks at a node, which may be silent, or missing, for so long: `None` if there is no such node.
    pub fn look(&mut self, node: &Key, said: Option<Said>, grace: Duration, now: Duration) {
        let there = said.is_some();
        let fresh = || Beat { said: Said::default(), heard: now, looked: now, there, pardoned: true };
        let beat = self.nodes.entry(node.clone()).or_insert_with(fresh);
        let due = beat.heard.saturating_add(grace);
        // Whoever meant to look when it was due, and did not, was asleep.
        let late = beat.looked < due && now > due.saturating_add(limits::NODE_LATE);
        let mut news = false;
        if let Some(Said { lease, ready }) = said {
            news = lease != beat.said.lease || ready.is_some() && ready != beat.said.ready;
            beat.said = Said { lease, ready: ready.or(beat.said.ready.take()) };
        }
        if news || late || beat.there != there || beat.pardoned {
            beat.heard = now;
        }
        (beat.looked, beat.there, beat.pardoned) = (now, there, false);
    }

    /// A node's lease is like this.
    pub fn hear(&mut self, node: &Key, lease: &str, now: Duration) {
        if let Some(beat) = self.nodes.get_mut(node).filter(|beat| beat.there && beat.said.lease != lease) {
            lease.clone_into(&mut beat.said.lease);
            beat.heard = now;
        }
    }

    /// When a node was heard of last, or since when it is not there.
    pub fn heard(&self, node: &Key) -> Option<Duration> {
        self.nodes.get(node).map(|beat| beat.heard)
    }

    /// Everyone gets time again.
    pub fn pardon(&mut self) {
        self.nodes.values_mut().for_each(|beat| beat.pardoned = true);
    }

    /// A node that is gone, and none of whose pods is left.
    pub fn forget(&mut self, node: &Key) {
        self.nodes.remove(node);
    }
}

/// A time so much later.
pub fn after(time: Timestamp, span: Duration) -> Timestamp {
    let span = SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX);
    time.saturating_add(span).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    fn said(lease: &str, ready: &str) -> Option<Said> {
        Some(Said {
            lease: lease.to_owned(),
            ready: Some(ready.to_owned()).filter(|ready| !ready.is_empty()),
        })
    }

    #[test]
    fn a_node_is_heard_of_when_what_it_says_of_time_changes_whatever_that_is() {
        let (mut beats, node) = (Beats::default(), Key::new("", "n"));
        let mut look = |lease: &str, ready: &str, now: u64| {
            beats.look(&node, said(lease, ready), at(50), at(now));
            beats.heard(&node).unwrap()
        };
        assert_eq!(look("0", "0", 100), at(100), "whatever was before the first look");
        assert_eq!(look("0", "0", 120), at(100), "nothing new");
        assert_eq!(look("1", "0", 130), at(130), "a slow clock is a clock");
        assert_eq!(look("1", "7", 140), at(140));
        assert_eq!(look("0", "7", 150), at(150), "even one that was set back");
        assert_eq!(look("0", "", 199), at(150), "what others say for it is no word of its own");
        assert_eq!(look("0", "7", 200), at(150), "it is silent");
        assert_eq!(look("0", "7", 1000), at(150), "and stays so, whenever that is looked at");
        assert_eq!(look("1", "7", 1001), at(1001));
        assert_eq!(look("1", "7", 1057), at(1057), "who looks late gives time");
    }

    #[test]
    fn a_lease_is_heard_between_two_looks() {
        let (mut beats, node) = (Beats::default(), Key::new("", "n"));
        beats.hear(&node, "0", at(50));
        assert_eq!(beats.heard(&node), None, "nobody knows it yet");
        beats.look(&node, said("0", ""), at(50), at(100));
        beats.hear(&node, "0", at(110));
        assert_eq!(beats.heard(&node), Some(at(100)));
        beats.hear(&node, "1", at(120));
        assert_eq!(beats.heard(&node), Some(at(120)));
        beats.look(&node, said("1", ""), at(50), at(150));
        assert_eq!(beats.heard(&node), Some(at(120)));
    }

    #[test]
    fn who_is_pardoned_gets_time_once() {
        let (mut beats, node) = (Beats::default(), Key::new("", "n"));
        beats.look(&node, said("a", ""), at(50), at(100));
        beats.pardon();
        for now in [140, 170] {
            beats.look(&node, said("a", ""), at(50), at(now));
            assert_eq!(beats.heard(&node), Some(at(140)));
        }
    }

    #[test]
    fn a_node_is_missed_from_when_it_went_and_again_by_who_was_asleep() {
        let (mut beats, node) = (Beats::default(), Key::new("", "n"));
        let mut look = |said, now| {
            beats.look(&node, said, at(40), at(now));
            beats.heard(&node).unwrap()
        };
        assert_eq!(look(None, 5), at(5), "never seen");
        assert_eq!(look(None, 9), at(5));
        assert_eq!(look(said("a", ""), 10), at(10), "it came");
        assert_eq!(look(None, 20), at(20), "and went");
        assert_eq!(look(None, 60), at(20));
        assert_eq!(look(None, 900), at(20));
        assert_eq!(look(said("a", ""), 901), at(901));
        assert_eq!(look(None, 910), at(910));
        assert_eq!(look(None, 970), at(970), "the node may have slept with us, and come back");
    }
}

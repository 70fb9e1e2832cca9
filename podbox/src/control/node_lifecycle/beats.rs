//! When each node was heard of last, by the observer's own clock. Pure.
//!
//! What a lease says of time is believed only between the last time and now: clocks of nodes may be wrong. Who looks late himself,
//! since he was stopped or started anew, gives everyone time again.

use crate::control::key::Key;
use crate::limits;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

/// The nodes that were looked at.
#[derive(Clone, Debug, Default)]
pub struct Beats {
    nodes: BTreeMap<Key, Beat>,
}

#[derive(Clone, Debug)]
struct Beat {
    /// What its lease and its status said of time.
    said: String,
    heard: Timestamp,
    looked: Timestamp,
    /// Whether there was such a node.
    there: bool,
    /// Whether it is to get time again, whatever was.
    pardoned: bool,
}

/// What is said of a node now.
#[derive(Clone, Copy, Debug)]
pub struct Sign<'a> {
    /// In which words; others mean that it lives.
    pub said: &'a str,
    /// When that was, by its own clock.
    pub at: Option<Timestamp>,
    /// For how long it may say nothing.
    pub grace: Duration,
}

impl Beats {
    /// Looks at a node, of which this is said: `None` if there is no such node.
    pub fn look(&mut self, node: &Key, sign: Option<Sign<'_>>, now: Timestamp) {
        let beat = self.nodes.entry(node.clone()).or_insert_with(|| Beat::new(sign, now));
        let Some(Sign { said, at, grace }) = sign else {
            if std::mem::take(&mut beat.there) || now < beat.heard {
                beat.heard = now;
            }
            return;
        };
        let due = after(beat.heard, grace);
        // Whoever meant to look when it was due, and did not, was asleep.
        let late = beat.looked < due && now > after(due, limits::NODE_LATE);
        if !beat.there || late || now < beat.looked || beat.pardoned {
            beat.heard = now;
        } else if beat.said != said {
            beat.heard = at.unwrap_or(now).clamp(beat.heard.min(now), now);
        }
        if beat.said != said {
            said.clone_into(&mut beat.said);
        }
        (beat.looked, beat.there, beat.pardoned) = (now, true, false);
    }

    /// When a node was heard of last, or since when it is not there.
    pub fn heard(&self, node: &Key) -> Option<Timestamp> {
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

impl Beat {
    fn new(sign: Option<Sign<'_>>, now: Timestamp) -> Beat {
        let said = sign.map_or_else(String::new, |sign| sign.said.to_owned());
        Beat { said, heard: now, looked: now, there: sign.is_some(), pardoned: false }
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

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn sign(said: &str, of: i64) -> Option<Sign<'_>> {
        Some(Sign { said, at: Some(at(of)), grace: Duration::from_secs(50) })
    }

    #[test]
    fn a_node_is_heard_of_when_what_it_says_of_time_changes() {
        let (mut beats, node) = (Beats::default(), Key::new("", "n"));
        let mut look = |said: &str, of: i64, now: i64| {
            beats.look(&node, sign(said, of), at(now));
            beats.heard(&node).unwrap()
        };
        assert_eq!(look("a", 0, 100), at(100), "whatever was before the first look");
        assert_eq!(look("a", 0, 120), at(100), "nothing new");
        assert_eq!(look("b", 110, 130), at(110));
        assert_eq!(look("c", 900, 140), at(140), "a node's clock may be wrong");
        assert_eq!(look("d", 5, 150), at(140));
        assert_eq!(look("d", 5, 190), at(140), "it is silent");
        assert_eq!(look("d", 5, 1000), at(140), "and stays so, whenever that is looked at");
        assert_eq!(look("d", 5, 900), at(900), "the clock was set back");
        assert_eq!(look("d", 5, 956), at(956), "who looks late gives time");
    }

    #[test]
    fn who_is_pardoned_gets_time_once() {
        let (mut beats, node) = (Beats::default(), Key::new("", "n"));
        beats.look(&node, sign("a", 0), at(100));
        beats.pardon();
        for now in [140, 170] {
            beats.look(&node, sign("a", 0), at(now));
            assert_eq!(beats.heard(&node), Some(at(140)));
        }
    }

    #[test]
    fn a_node_is_missed_from_when_it_went() {
        let (mut beats, node) = (Beats::default(), Key::new("", "n"));
        let mut look = |sign, now| {
            beats.look(&node, sign, at(now));
            beats.heard(&node).unwrap()
        };
        assert_eq!(look(None, 5), at(5), "never seen");
        assert_eq!(look(None, 9), at(5));
        assert_eq!(look(sign("a", 0), 10), at(10), "it came");
        assert_eq!(look(None, 20), at(20), "and went");
        assert_eq!(look(None, 30), at(20));
    }
}

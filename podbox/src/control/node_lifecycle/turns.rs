//! Whose turn it is to lose its pods: of the nodes of a zone one at a time, at the zone's rate. Pure.
//!
//! A restart forgets the last turn, so that the next node need not wait.

use super::beats::after;
use crate::control::key::Key;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// The last turn of each zone.
#[derive(Clone, Debug, Default)]
pub struct Turns {
    last: BTreeMap<String, (Timestamp, Key)>,
}

impl Turns {
    /// A node asks for its turn: it has it from now on if the last one was so long ago.
    pub fn ask(&mut self, zone: &str, node: &Key, each: Duration, now: Timestamp) {
        let free = match self.last.get(zone) {
            None => true,
            Some((at, _)) => now >= after(*at, each) || now < *at,
        };
        if free {
            self.last.insert(zone.to_owned(), (now, node.clone()));
        }
    }

    /// When a node may lose its pods: `None` if it may now.
    pub fn wait(&self, zone: &str, node: &Key, each: Duration) -> Option<Timestamp> {
        let (at, last) = self.last.get(zone)?;
        (last != node).then(|| after(*at, each))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_node_of_a_zone_has_its_turn_at_a_time() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let (mut turns, each) = (Turns::default(), Duration::from_secs(10));
        let [one, two] = ["one", "two"].map(|name| Key::new("", name));
        let mut ask = |zone: &str, node: &Key, now: i64| {
            turns.ask(zone, node, each, at(now));
            turns.wait(zone, node, each)
        };
        assert_eq!(ask("a", &one, 100), None);
        assert_eq!(ask("a", &two, 101), Some(at(110)));
        assert_eq!(ask("a", &one, 102), None, "it may try again");
        assert_eq!(ask("b", &two, 103), None, "zones have their own");
        assert_eq!(ask("a", &two, 110), None);
        assert_eq!(ask("a", &one, 111), Some(at(120)));
        assert_eq!(ask("a", &one, 50), None, "the clock was set back");
    }
}

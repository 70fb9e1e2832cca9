//! The work queue: each key at most once, at most one reconciliation of it at a time, and pauses for those that fail. Pure.
//!
//! ```text
//!             add                  take                    done
//!   (nothing) ───▶ ready ─────────────────────▶ running ────────▶ (nothing)
//!                    ▲                           │  ▲  │ added meanwhile
//!                    │ its time has come         │  └──┴──▶ ready
//!                  later ◀───────────────────────┘ fails: 5 ms, 10 ms, … 1000 s
//! ```
//!
//! Time is the span since some start, given by the caller: it goes neither backwards nor by a wall clock's jumps.
//! Invariant: what is added is taken again after it was added, however it was then.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// The first pause after a failure; it doubles. Upstream's.
pub const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// The longest one.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(1000);

/// The queue.
#[derive(Debug)]
pub struct Queue<K> {
    /// In the order in which they came, with when that was.
    ready: VecDeque<(K, Duration)>,
    /// The same, to find them.
    queued: BTreeSet<K>,
    /// Being reconciled; whether they were added again since.
    running: BTreeMap<K, bool>,
    /// When each is to become ready by itself.
    later: BTreeMap<K, Duration>,
    /// The same by time.
    times: BTreeSet<(Duration, K)>,
    /// How often in a row they failed, and until when they are not to be tried again.
    failed: BTreeMap<K, Failed>,
    /// When what is added is added.
    now: Duration,
    /// How often something was, and how long what was taken last had waited.
    added: u64,
    waited: Duration,
}

#[derive(Clone, Copy, Debug, Default)]
struct Failed {
    times: u32,
    until: Duration,
}

impl<K> Default for Queue<K> {
    fn default() -> Self {
        Queue {
            ready: VecDeque::new(),
            queued: BTreeSet::new(),
            running: BTreeMap::new(),
            later: BTreeMap::new(),
            times: BTreeSet::new(),
            failed: BTreeMap::new(),
            now: Duration::ZERO,
            added: 0,
            waited: Duration::ZERO,
        }
    }
}

impl<K: Ord + Clone> Queue<K> {
    /// What is added from now on is added then.
    pub fn at(&mut self, now: Duration) {
        self.now = now;
    }

    /// Something about it has changed.
    pub fn add(&mut self, key: K) {
        if let Some(again) = self.running.get_mut(&key) {
            *again = true;
        } else if self.queued.insert(key.clone()) {
            self.added += 1;
            self.ready.push_back((key, self.now));
        }
    }

    /// It is to be looked at then, if not before. Of two times the earlier one counts.
    pub fn add_at(&mut self, key: K, at: Duration) {
        match self.later.get(&key) {
            Some(before) if *before <= at => return,
            Some(before) => drop(self.times.remove(&(*before, key.clone()))),
            None => {}
        }
        self.times.insert((at, key.clone()));
        self.later.insert(key, at);
    }

    /// The next one that is to be reconciled.
    pub fn take(&mut self, now: Duration) -> Option<K> {
        self.at(now);
        while let Some((at, key)) = self.times.first().cloned().filter(|(at, _)| *at <= now) {
            self.times.remove(&(at, key.clone()));
            self.later.remove(&key);
            self.add(key);
        }
        let (key, added) = self.ready.pop_front()?;
        self.waited = now.saturating_sub(added);
        self.queued.remove(&key);
        self.running.insert(key.clone(), false);
        Some(key)
    }

    /// It was reconciled, and nothing failed.
    pub fn done(&mut self, key: &K) {
        self.failed.remove(key);
        self.ended(key);
    }

    /// Its reconciliation failed: it is tried again after a pause.
    pub fn failed(&mut self, key: &K, now: Duration) {
        let failed = self.failed.entry(key.clone()).or_default();
        let pause = FIRST_PAUSE.saturating_mul(1 << failed.times.min(20)).min(LONGEST_PAUSE);
        failed.times += 1;
        failed.until = now + pause;
        let until = failed.until;
        self.add_at(key.clone(), until);
        self.ended(key);
    }

    /// It was looked at during its pause: what failed was not tried again.
    pub fn paused(&mut self, key: &K) {
        if let Some(failed) = self.failed.get(key) {
            let until = failed.until;
            self.add_at(key.clone(), until);
        }
        self.ended(key);
    }

    /// What failed may be tried at once: it is another now.
    pub fn forgive(&mut self, key: &K) {
        self.failed.remove(key);
    }

    fn ended(&mut self, key: &K) {
        if self.running.remove(key) == Some(true) {
            self.add(key.clone());
        }
    }

    /// Whether it failed lately, and its pause is not over.
    pub fn pauses(&self, key: &K, now: Duration) -> bool {
        self.failed.get(key).is_some_and(|failed| now < failed.until)
    }

    /// When the next one becomes ready by itself.
    pub fn next_time(&self) -> Option<Duration> {
        self.times.first().map(|(at, _)| *at)
    }

    /// When the next one of these becomes ready by itself.
    pub fn next_time_of(&self, wanted: impl Fn(&K) -> bool) -> Option<Duration> {
        self.times.iter().find(|(_, key)| wanted(key)).map(|(at, _)| *at)
    }

    /// How many are being reconciled.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// How often something was added that did not wait already.
    pub fn added(&self) -> u64 {
        self.added
    }

    /// How long what was taken last had waited.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// How many wait to be.
    pub fn waiting(&self) -> usize {
        self.ready.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn what_is_added_twice_is_taken_once_and_never_by_two() {
        let mut queue = Queue::default();
        for key in ["a", "b", "a"] {
            queue.add(key);
        }
        assert_eq!(queue.take(at(0)), Some("a"));
        queue.add("a");
        assert_eq!([queue.take(at(0)), queue.take(at(0))], [Some("b"), None]);
        queue.done(&"a");
        assert_eq!([queue.take(at(0)), queue.take(at(0))], [Some("a"), None]);
        queue.done(&"a");
        queue.done(&"b");
        assert_eq!((queue.take(at(0)), queue.running()), (None, 0));
        assert_eq!(queue.added(), 3);
        queue.at(at(10));
        queue.add("c");
        assert_eq!((queue.take(at(25)), queue.waited()), (Some("c"), at(15)));
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_end_with_success() {
        let mut queue = Queue::default();
        queue.add("a");
        let mut now = at(0);
        let mut pauses = Vec::new();
        for _ in 0..25 {
            assert_eq!(queue.take(now), Some("a"));
            queue.failed(&"a", now);
            assert_eq!(queue.take(now), None);
            let next = queue.next_time().unwrap();
            pauses.push(next - now);
            now = next;
        }
        assert_eq!(pauses[..4], [at(5), at(10), at(20), at(40)]);
        assert_eq!((pauses[17], pauses[18], pauses[24]), (at(655_360), LONGEST_PAUSE, LONGEST_PAUSE));
        assert_eq!(queue.take(now), Some("a"));
        queue.done(&"a");
        queue.add("a");
        queue.take(now);
        queue.failed(&"a", now);
        assert_eq!(queue.next_time(), Some(now + at(5)));
    }

    #[test]
    fn a_change_is_seen_during_a_pause_which_it_does_not_end() {
        let mut queue = Queue::default();
        queue.add("a");
        queue.take(at(0));
        queue.failed(&"a", at(0));
        queue.add("a");
        assert_eq!(queue.take(at(1)), Some("a"));
        assert!(queue.pauses(&"a", at(1)));
        queue.paused(&"a");
        assert_eq!(queue.take(at(4)), None);
        assert_eq!(queue.take(at(5)), Some("a"));
        assert!(!queue.pauses(&"a", at(5)));
    }

    #[test]
    fn of_two_times_the_earlier_one_counts() {
        let mut queue = Queue::default();
        queue.add_at("a", at(50));
        queue.add_at("a", at(20));
        queue.add_at("a", at(90));
        assert_eq!((queue.take(at(19)), queue.next_time()), (None, Some(at(20))));
        assert_eq!(queue.take(at(20)), Some("a"));
        queue.done(&"a");
        assert_eq!((queue.take(at(100)), queue.next_time()), (None, None));
    }
}

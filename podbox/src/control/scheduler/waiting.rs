//! Pods without a node: who is next, and when who found none is looked at again. Pure.
//!
//! ```text
//!           add                 take                  park
//!  (nothing) ──▶ ready ────────────────────▶ taken ──────────▶ parked
//!                  ▲ ▲                         │                 │ something happened that may help
//!                  │ └──── its time has come ──┼─── later ◀──────┤ … and its pause is not over
//!                  └───────────────────────────┼─────────────────┘ … and it is
//!                             (nothing) ◀──────┘ drop: it has one
//! ```
//!
//! The higher priority comes first, then the older one. Who was looked at in vain is looked at again at once when something happens
//! that may help; after that it pauses, 1 s, then twice as long, to 10 s: so that neither the first chance is missed nor many
//! that wait cost much when much happens. After five minutes it is looked at whatever happens, and says again why it waits. Time is the
//! span since some start.

use super::demand::Demand;
use super::told::Told;
use super::verdict::Cure;
use crate::control::key::Key;
use crate::control::pods::drop_from;
use crate::limits;
use jiff::Timestamp;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// The first pause; it doubles. Upstream's.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest one.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Who comes first.
type Rank = (Reverse<i32>, Option<Timestamp>, u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    Later(Duration),
    /// What may help; and when it is looked at although nothing happened.
    Parked(Cure, Duration),
    Taken,
}

#[derive(Debug)]
struct Pod {
    demand: Arc<Demand>,
    rank: Rank,
    state: State,
    /// How often it was looked at in vain.
    failures: u32,
    /// When it was last.
    failed: Duration,
    /// What it was told last, and when.
    told: (Told, Duration),
}

/// Whether something is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// It has changed.
    New,
    /// It has not, but it was long ago.
    Again,
    /// It was told.
    Old,
}

impl Pod {
    /// Until when it is not to be looked at again, whatever happens.
    fn pauses_until(&self) -> Duration {
        match self.failures {
            0 | 1 => self.failed,
            more => {
                let pause = FIRST_PAUSE.saturating_mul(1 << (more - 2).min(8)).min(LONGEST_PAUSE);
                self.failed.saturating_add(pause)
            }
        }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub struct Waiting {
    all: BTreeMap<Key, Pod>,
    ready: BTreeSet<(Rank, Key)>,
    later: BTreeSet<(Duration, Key)>,
    parked: BTreeMap<Cure, BTreeSet<Key>>,
    /// The same, by when they have been forgotten, if something that may help was missed.
    overdue: BTreeSet<(Duration, Key)>,
    /// How many ever came.
    count: u64,
}

impl Waiting {
    /// A pod is to be given a node. One that is known asks for something else now; a pause that it is in goes on.
    pub fn add(&mut self, key: &Key, demand: Demand, created: Option<Timestamp>, told: Told) {
        self.count += 1;
        let known = self.remove(key);
        let count = known.as_ref().map_or(self.count, |pod| pod.rank.2);
        let told_before = known.as_ref().map(|pod| pod.told.clone());
        let (state, failures, failed) = match known {
            Some(Pod { state: state @ State::Later(_), failures, failed, .. }) => (state, failures, failed),
            _ => (State::Ready, 0, Duration::ZERO),
        };
        let rank = (Reverse(demand.load.priority), created, count);
        // What is being told may not be written yet.
        let told = told_before.unwrap_or((told, Duration::ZERO));
        let pod = Pod { demand: Arc::new(demand), rank, state: State::Taken, failures, failed, told };
        self.all.insert(key.clone(), pod);
        self.enter(key, state);
    }

    /// It needs none any more.
    pub fn drop(&mut self, key: &Key) {
        self.remove(key);
    }

    fn remove(&mut self, key: &Key) -> Option<Pod> {
        let pod = self.all.remove(key)?;
        self.leave(key, pod.rank, pod.state);
        Some(pod)
    }

    fn leave(&mut self, key: &Key, rank: Rank, state: State) {
        match state {
            State::Ready => drop(self.ready.remove(&(rank, key.clone()))),
            State::Later(at) => drop(self.later.remove(&(at, key.clone()))),
            State::Parked(cure, until) => {
                drop_from(&mut self.parked, &cure, key);
                self.overdue.remove(&(until, key.clone()));
            }
            State::Taken => {}
        }
    }

    fn enter(&mut self, key: &Key, state: State) {
        let Some(pod) = self.all.get_mut(key) else { return };
        let (rank, before) = (pod.rank, std::mem::replace(&mut pod.state, state));
        self.leave(key, rank, before);
        match state {
            State::Ready => drop(self.ready.insert((rank, key.clone()))),
            State::Later(at) => drop(self.later.insert((at, key.clone()))),
            State::Parked(cure, until) => {
                self.parked.entry(cure).or_default().insert(key.clone());
                self.overdue.insert((until, key.clone()));
            }
            State::Taken => {}
        }
    }

    /// The next one that is to be looked at.
    pub fn take(&mut self, now: Duration) -> Option<(Key, Arc<Demand>)> {
        let due = |times: &BTreeSet<(Duration, Key)>| times.first().filter(|(at, _)| *at <= now).cloned();
        while let Some((_, key)) = due(&self.later).or_else(|| due(&self.overdue)) {
            self.enter(&key, State::Ready);
        }
        let (_, key) = self.ready.first()?.clone();
        self.enter(&key, State::Taken);
        let demand = Arc::clone(&self.all.get(&key)?.demand);
        Some((key, demand))
    }

    /// It was looked at in vain; this could change it.
    pub fn park(&mut self, key: &Key, cure: Cure, now: Duration) {
        if let Some(pod) = self.all.get_mut(key) {
            pod.failures = pod.failures.saturating_add(1);
            pod.failed = now;
            self.enter(key, State::Parked(cure, now.saturating_add(limits::UNSCHEDULABLE_AGAIN)));
        }
    }

    /// Giving it a node failed: it is looked at again after a pause, whatever happens.
    pub fn retry(&mut self, key: &Key, now: Duration) {
        if let Some(pod) = self.all.get_mut(key) {
            pod.failures = pod.failures.saturating_add(1).max(2);
            pod.failed = now;
            let at = pod.pauses_until();
            self.enter(key, State::Later(at));
        }
    }

    /// It is to be looked at again, now.
    pub fn renew(&mut self, key: &Key) {
        self.enter(key, State::Ready);
    }

    /// This has happened.
    pub fn stir(&mut self, what: Cure, now: Duration) {
        let all = self.parked.iter().filter(|(cure, _)| cure.meets(what)).flat_map(|(_, keys)| keys);
        for key in all.cloned().collect::<Vec<_>>() {
            let Some(pod) = self.all.get(&key) else { continue };
            let until = pod.pauses_until();
            self.enter(&key, if until <= now { State::Ready } else { State::Later(until) });
        }
    }

    /// It is to be told this, unless it was. Others can see that for an hour, so that it is told again in time.
    pub fn tell(&mut self, key: &Key, told: &Told, now: Duration) -> News {
        let Some(pod) = self.all.get_mut(key) else { return News::Old };
        let (before, at) = std::mem::replace(&mut pod.told, (told.clone(), now));
        if before != *told {
            return News::New;
        }
        if now.saturating_sub(at) >= limits::UNSCHEDULABLE_AGAIN {
            return News::Again;
        }
        pod.told.1 = at;
        News::Old
    }

    /// It could not be told what it was to be told.
    pub fn untold(&mut self, key: &Key) {
        if let Some(pod) = self.all.get_mut(key) {
            pod.told = Default::default();
        }
    }

    /// When somebody is to be looked at although nothing happens.
    pub fn next_time(&self) -> Option<Duration> {
        let first = |times: &BTreeSet<(Duration, Key)>| times.first().map(|(at, _)| *at);
        first(&self.later).into_iter().chain(first(&self.overdue)).min()
    }

    /// Whether somebody is to be looked at now.
    pub fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether nobody waits, nor is being given a node.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty() && self.counts() == [0; 3]
    }

    /// How many are to be looked at, how many pause, and how many wait for something to happen.
    pub fn counts(&self) -> [usize; 3] {
        [self.ready.len(), self.later.len(), self.parked.values().map(BTreeSet::len).sum()]
    }
}

#[cfg(test)]
mod tests {
    use super::super::demand::Load;
    use super::*;

    fn add(waiting: &mut Waiting, name: &str, priority: i32, created: &str) {
        let load = Arc::new(Load { priority, ..Load::default() });
        let demand = Demand { load, ..Demand::default() };
        waiting.add(&Key::new("n", name), demand, created.parse().ok(), Told::default());
    }

    fn take(waiting: &mut Waiting, seconds: u64) -> String {
        let taken = waiting.take(Duration::from_secs(seconds));
        taken.map_or_else(String::new, |(key, _)| key.name().to_owned())
    }

    #[test]
    fn priority_comes_first_and_then_age() {
        let mut waiting = Waiting::default();
        add(&mut waiting, "new", 0, "2026-01-01T00:00:01Z");
        add(&mut waiting, "old", 0, "2026-01-01T00:00:00Z");
        add(&mut waiting, "first", 0, "2026-01-01T00:00:00Z");
        add(&mut waiting, "high", 5, "2026-01-01T00:00:02Z");
        let order = [(); 5].map(|()| take(&mut waiting, 0));
        assert_eq!(order, ["high", "old", "first", "new", ""]);
    }

    #[test]
    fn who_waits_is_looked_at_when_it_may_help_and_then_pauses() {
        let mut waiting = Waiting::default();
        let key = Key::new("n", "a");
        add(&mut waiting, "a", 0, "2026-01-01T00:00:00Z");
        assert_eq!(take(&mut waiting, 0), "a");
        waiting.park(&key, Cure::ROOM, Duration::ZERO);
        waiting.stir(Cure::NEIGHBOURS, Duration::ZERO);
        assert_eq!(take(&mut waiting, 0), "");
        // At once, the first time; then after 1, 2, 4, 8, 10 and 10 seconds.
        let mut now = 0;
        for pause in [0, 1, 2, 4, 8, 10, 10] {
            waiting.stir(Cure::ROOM, Duration::from_secs(now));
            if pause > 0 {
                assert_eq!(take(&mut waiting, now + pause - 1), "", "{pause}");
                assert_eq!(waiting.next_time(), Some(Duration::from_secs(now + pause)));
            }
            now += pause;
            assert_eq!(take(&mut waiting, now), "a", "{pause}");
            waiting.park(&key, Cure::ROOM, Duration::from_secs(now));
        }
        assert_eq!(waiting.counts(), [0, 0, 1]);
        waiting.drop(&key);
        assert_eq!(waiting.counts(), [0, 0, 0]);
        waiting.stir(Cure::ANY, Duration::from_secs(now));
        assert_eq!(take(&mut waiting, now + 100), "");
    }

    #[test]
    fn what_could_not_be_written_is_tried_again_by_itself() {
        let mut waiting = Waiting::default();
        add(&mut waiting, "a", 0, "2026-01-01T00:00:00Z");
        assert_eq!(take(&mut waiting, 0), "a");
        waiting.retry(&Key::new("n", "a"), Duration::ZERO);
        // Nor does it help that it is another now.
        add(&mut waiting, "a", 0, "2026-01-01T00:00:00Z");
        assert_eq!((take(&mut waiting, 0), take(&mut waiting, 1)), (String::new(), "a".to_owned()));
    }

    #[test]
    fn who_is_forgotten_is_looked_at_and_told_again_all_the_same() {
        let (mut waiting, key) = (Waiting::default(), Key::new("n", "a"));
        add(&mut waiting, "a", 0, "2026-01-01T00:00:00Z");
        let told = Told { message: "full".to_owned(), nominated: None, failed: false };
        let mut look = |seconds: u64| {
            let now = Duration::from_secs(seconds);
            let taken = waiting.take(now)?;
            waiting.park(&key, Cure::ROOM, now);
            assert_eq!(taken.0, key);
            Some(waiting.tell(&key, &told, now))
        };
        let again = limits::UNSCHEDULABLE_AGAIN.as_secs();
        let looks = [1, 2, again, again + 1, 2 * again, 2 * again + 1].map(&mut look);
        assert_eq!(looks, [Some(News::New), None, None, Some(News::Again), None, Some(News::Again)]);
        assert_eq!(waiting.next_time(), Some(Duration::from_secs(3 * again + 1)));
        waiting.untold(&key);
        assert_eq!(waiting.tell(&key, &told, Duration::ZERO), News::New);
        waiting.drop(&key);
        assert_eq!(waiting.next_time(), None);
    }
}

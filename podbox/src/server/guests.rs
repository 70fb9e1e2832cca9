//! Connections that have not shown yet who they are from: how many may wait for it, from one address and in all.
//!
//! One too many costs the oldest of them its place, never the newest: whoever means well shows who it is within
//! milliseconds, so that a client beside thousands of silent connections, even at the same address, is served.
//!
//! **Invariant:** who is known is no guest any more and is never sent away.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Everyone who is not known yet.
pub struct Guests {
    /// How many there may be from one address, and in all.
    most: (usize, usize),
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    next: u64,
    /// In the order in which they came.
    all: BTreeMap<u64, (Option<IpAddr>, Arc<Notify>)>,
    by_address: HashMap<IpAddr, BTreeSet<u64>>,
}

/// A connection, as long as it is open.
pub struct Guest {
    guests: Arc<Guests>,
    number: u64,
    leave: Arc<Notify>,
    /// Set once, asked with each request.
    known: AtomicBool,
}

impl Guests {
    /// So many from one address, and so many in all.
    pub fn new(per_address: usize, all: usize) -> Arc<Guests> {
        Arc::new(Guests { most: (per_address, all), inside: Mutex::default() })
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody comes; somebody else may have to go.
    pub fn enter(self: &Arc<Guests>, from: Option<IpAddr>) -> Arc<Guest> {
        let leave = Arc::new(Notify::new());
        let mut inside = self.inside();
        let number = inside.next;
        inside.next += 1;
        inside.all.insert(number, (from, Arc::clone(&leave)));
        let mut too_many = inside.all.len() > self.most.1;
        if let Some(from) = from {
            let same = inside.by_address.entry(from).or_default();
            same.insert(number);
            if same.len() > self.most.0 {
                let oldest = same.first().copied();
                inside.dismiss(oldest);
                too_many = false;
            }
        }
        if too_many {
            let oldest = inside.all.keys().next().copied();
            inside.dismiss(oldest);
        }
        drop(inside);
        Arc::new(Guest { guests: Arc::clone(self), number, leave, known: AtomicBool::new(false) })
    }
}

impl Inside {
    fn dismiss(&mut self, number: Option<u64>) {
        if let Some(leave) = number.and_then(|number| self.forget(number)) {
            leave.notify_one();
        }
    }

    fn forget(&mut self, number: u64) -> Option<Arc<Notify>> {
        let (from, leave) = self.all.remove(&number)?;
        if let Some(from) = from
            && let Some(same) = self.by_address.get_mut(&from)
        {
            same.remove(&number);
            if same.is_empty() {
                self.by_address.remove(&from);
            }
        }
        Some(leave)
    }
}

impl Guest {
    /// It has shown who it is.
    pub fn known(&self) {
        if !self.known.load(Ordering::Relaxed) && !self.known.swap(true, Ordering::Relaxed) {
            self.guests.inside().forget(self.number);
        }
    }

    /// Waits until it has to go.
    pub async fn dismissed(&self) {
        self.leave.notified().await;
    }
}

impl fmt::Debug for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guest").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.known();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn from(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    fn sent_away(guest: &Guest) -> bool {
        guest.dismissed().now_or_never().is_some()
    }

    #[test]
    fn the_oldest_of_one_address_goes_and_the_newest_stays() {
        let guests = Guests::new(2, 10);
        let other = guests.enter(from(9));
        let all: Vec<_> = (0..5).map(|_| guests.enter(from(1))).collect();
        let gone: Vec<_> = all.iter().map(|guest| sent_away(guest)).collect();
        assert_eq!(gone, [true, true, true, false, false]);
        assert!(!sent_away(&other), "another address is not concerned");
    }

    #[test]
    fn who_is_known_stays_and_makes_room() {
        let guests = Guests::new(2, 10);
        let all: Vec<_> = (0..5).map(|_| guests.enter(from(1))).inspect(|guest| guest.known()).collect();
        assert!(all.iter().all(|guest| !sent_away(guest)));
        assert!(guests.inside().all.is_empty() && guests.inside().by_address.is_empty());
    }

    #[test]
    fn all_together_are_bounded_too() {
        let guests = Guests::new(2, 3);
        let all: Vec<_> = (0..5).map(|number| guests.enter(from(number))).collect();
        let gone = all.iter().filter(|guest| sent_away(guest)).count();
        assert_eq!(gone, 2);
        drop(all);
        assert!(guests.inside().all.is_empty(), "who leaves is forgotten");
    }
}

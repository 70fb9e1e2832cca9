//! Whose ordinary ends are told one by one. A process that ends well is counted like any other, but a record of it costs
//! as much as all that is done for it otherwise, and most nobody reads: so the programs write one only where somebody
//! follows ends, of all containers or of one. What ends badly, and what a container began with, is told always.

use super::tracer::{Tracer, lock};
use crate::api::error::chain;
use crate::api::trigger::{Ends, Following};
use aya::maps::{Array, MapData};
use podbox_common::{FOLLOWER_SLOTS, follower_slot};
use std::sync::{Arc, Mutex};

/// How many follow, by slot and everywhere, and the map that tells the programs so.
pub(super) struct Followers {
    map: Array<MapData, u32>,
    counts: Vec<u32>,
    everywhere: u32,
}

/// One that follows: a slot, or all of them.
struct Follower {
    all: Arc<Mutex<Followers>>,
    slot: Option<u32>,
}

impl Followers {
    pub fn new(map: Array<MapData, u32>) -> Followers {
        Followers { map, counts: vec![0; FOLLOWER_SLOTS as usize], everywhere: 0 }
    }

    fn change(&mut self, slot: Option<u32>, change: impl FnOnce(u32) -> u32) {
        // The programs look at one slot only: who follows everywhere is in each.
        let concerned = match slot {
            Some(slot) => {
                let count = &mut self.counts[slot as usize];
                *count = change(*count);
                slot..slot + 1
            }
            None => {
                self.everywhere = change(self.everywhere);
                0..FOLLOWER_SLOTS
            }
        };
        for slot in concerned {
            let count = self.counts[slot as usize].saturating_add(self.everywhere);
            if let Err(error) = self.map.set(slot, count, 0) {
                tracing::warn!(error = %chain(&error), "whose ends are followed could not be changed");
                return;
            }
        }
    }
}

impl Tracer {
    /// From now on, until the answer is dropped, each process that ends in any container is told.
    pub fn follow_ends(&self) -> Following {
        self.follower(None)
    }

    fn follower(&self, slot: Option<u32>) -> Following {
        let all = Arc::clone(&self.followers);
        lock(&all).change(slot, |count| count + 1);
        Box::new(Follower { all, slot })
    }
}

impl Ends for Tracer {
    fn follow(&self, cgroup: u64) -> Following {
        self.follower(Some(follower_slot(cgroup)))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        lock(&self.all).change(self.slot, |count| count - 1);
    }
}

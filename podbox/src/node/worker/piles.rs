//! The part of a pod's loop that is about processes that have ended and that nobody reaps.
//!
//! The kernel's event only wakes; what counts is who lies there now, by its map. While there is a pile it is looked at again now and then, since
//! some go without an event.

use super::Worker;
use crate::api::images::Images;
use crate::limits;
use crate::sandbox::runtime::Runtime;
use std::time::Instant;

impl<R: Runtime, I: Images> Worker<R, I> {
    /// Somebody lies unreaped, or does no more: worth a look, but not one for each.
    pub(super) fn note_zombie(&mut self, now: Instant) {
        let at = self.piles_seen.map_or(now, |seen| now.max(seen + limits::ZOMBIES_PAUSE));
        self.piles_at = Some(self.piles_at.map_or(at, |known| known.min(at)));
        self.quiet = at > now;
    }

    /// Counts those that lie unreaped, if that is due.
    pub(super) fn look_for_piles(&mut self, now: Instant) {
        if self.piles_at.is_none_or(|at| now < at) {
            return;
        }
        let mut piled = false;
        for container in self.seen.containers.values_mut() {
            let Some(run) = container.run_mut() else { continue };
            run.pile = run.pile.seen(self.node.attribution.unreaped(run.started.cgroup_id));
            piled |= run.pile.told > 0;
        }
        self.piles_seen = Some(now);
        self.piles_at = piled.then(|| now + limits::ZOMBIES_AGAIN);
    }
}

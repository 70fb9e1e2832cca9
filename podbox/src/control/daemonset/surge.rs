//! Replacing pods of older revisions that go only when their successors are available: as many at once as there may be
//! more. Pure.
//!
//! **Invariant:** of the pods that are seen, at most `maxSurge` nodes with an available older pod have another beside it.

use super::eligible::Place;
use super::look::{Look, Pair};
use super::manage;
use crate::control::action::Action;
use crate::control::pods::Member;

/// The successors that may come now, and the pods that may go since theirs are available.
pub fn steps(look: &Look<'_>) -> Vec<Action> {
    let wanted = look.wanted().count();
    let (most, _) = look.set.slack(wanted);
    let (mut surging, mut available) = (0usize, 0usize);
    let (mut going, mut leaving): (Vec<&Member>, Vec<&Member>) = (Vec::new(), Vec::new());
    let (mut due, mut may): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    for node in look.concerned() {
        let Some(Pair { new, old }) = look.pair(node) else {
            surging += 1;
            continue;
        };
        available += usize::from(old.or(new).is_some_and(|pod| look.is_available(pod)));
        let here = look.places.get(node) == Some(&Place::Wanted);
        match (new, old) {
            // `manage` does what is to be done.
            (_, None) => {}
            (Some(new), Some(_)) if !look.is_available(new) => surging += 1,
            (Some(_), Some(old)) => going.push(old),
            (None, Some(old)) => match (here, look.is_available(old)) {
                (true, true) => may.push(node),
                (true, false) => due.push(node),
                (false, true) => leaving.push(old),
                (false, false) => going.push(old),
            },
        }
    }
    // Where the set has left a node, its pod stays until there are enough elsewhere.
    going.extend(leaving.into_iter().take(available.saturating_sub(wanted)));
    due.extend(may.into_iter().take(most.saturating_sub(surging)));
    manage::actions(look, &going, &due)
}

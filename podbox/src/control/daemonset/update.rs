//! Replacing pods of older revisions: they go, as many at once as may be missing, and their successors come once they are gone. Pure.
//!
//! **Invariant:** of the pods that are seen, none that is available goes where that would make more than `maxUnavailable` nodes
//! without an available pod. Nodes whose pod is not available are not waited for: an update passes by what is broken.

use super::look::{Look, Pair};
use super::manage;
use crate::control::action::Action;
use crate::control::pods::Member;

/// The end of the pods that may be replaced now.
pub fn steps(look: &Look<'_>) -> Vec<Action> {
    let (_, most) = look.set.slack(look.wanted().count());
    let (mut missing, mut useless, mut useful) = (0usize, Vec::new(), Vec::new());
    for node in look.concerned() {
        match look.pair(node) {
            Some(Pair { new: Some(new), old: None }) => missing += usize::from(!look.is_available(new)),
            Some(Pair { new: None, old: Some(old) }) if look.is_available(old) => useful.push(old),
            Some(Pair { new: None, old: Some(old) }) => {
                missing += 1;
                useless.push(old);
            }
            // It has none, or `manage` is about to end some.
            _ => missing += 1,
        }
    }
    let room = most.saturating_sub(missing);
    let going: Vec<&Member> = useless.into_iter().chain(useful.into_iter().take(room)).collect();
    manage::actions(look, &going, &[])
}

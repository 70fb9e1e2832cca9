//! Who belongs to whom: what a selector and a controller reference together make of an object. Pure.
//!
//! **Invariant:** an object has at most one controller. It is adopted only while it has none, by the edit that is made of it
//! when it is written ([`Edit::Adopt`]), and is let go by its controller alone.

use super::action::{Edit, Write};
use super::meta::{Labels, Owner};
use super::pods::Member;
use super::sets::selects;
use crate::api::objects::{Seen, Target};
use crate::api::selector;
use std::sync::Arc;

/// Who claims.
#[derive(Clone, Debug)]
pub struct Claimant {
    /// As its dependents name it.
    pub reference: Owner,
    /// What it selects.
    pub selector: selector::Labels,
    /// Whether it is to go: then it neither adopts nor lets go.
    pub deleting: bool,
}

/// What becomes of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It belongs to the claimant.
    Kept,
    /// It is to belong to the claimant.
    Adopted,
    /// It belongs to the claimant, and is to do so no more.
    Released,
    /// It is none of its business.
    Ignored,
}

impl Claimant {
    /// What is to become of an object with these labels that is controlled by `controller`, and is to go or not.
    pub fn claim(&self, controller: Option<&str>, labels: &Labels, deleting: bool) -> Claim {
        self.judge(selects(&self.selector, labels), controller, deleting)
    }

    fn judge(&self, selected: bool, controller: Option<&str>, deleting: bool) -> Claim {
        match controller {
            Some(uid) if uid != self.reference.uid => Claim::Ignored,
            Some(_) if selected => Claim::Kept,
            Some(_) if !self.deleting => Claim::Released,
            None if selected && !self.deleting && !deleting => Claim::Adopted,
            _ => Claim::Ignored,
        }
    }

    /// The pods among these that are its own, and what is to be written so that they are all that it should have. What is not
    /// `such` is none of its own, whatever its labels say.
    pub fn members<'a>(
        &self,
        pods: impl IntoIterator<Item = &'a Arc<Member>>,
        such: impl Fn(&Member) -> bool,
    ) -> (Vec<&'a Member>, Vec<Write>) {
        let (mut kept, mut writes) = (Vec::new(), Vec::new());
        for pod in pods {
            let selected = selects(&self.selector, &pod.labels) && such(pod);
            match self.judge(selected, pod.controller.as_deref(), pod.deleting) {
                Claim::Kept => kept.push(&**pod),
                claim => writes.extend(self.write(claim, pod.target(), &pod.uid)),
            }
        }
        (kept, writes)
    }

    /// The write by which a claim comes true, if it needs one.
    pub fn write(&self, claim: Claim, at: Target, uid: &str) -> Option<Write> {
        let edit = match claim {
            Claim::Adopted => Edit::Adopt(self.reference.clone()),
            Claim::Released => Edit::Disown(vec![self.reference.uid.clone()]),
            Claim::Kept | Claim::Ignored => return None,
        };
        let seen = Seen { uid: uid.to_owned(), revision: None };
        Some(Write::Edit { at, part: "", seen, edit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_free_is_adopted_and_only_what_is_owned_released() {
        let selector = selector::Labels::parse("app=x").unwrap();
        let reference = Owner::controller("apps/v1", "ReplicaSet", "s", "me");
        let claimant = Claimant { reference, selector, deleting: false };
        let going = Claimant { deleting: true, ..claimant.clone() };
        let [x, y] = ["x", "y"].map(|app| Labels::from([("app".to_owned(), app.to_owned())]));
        for (who, controller, labels, deleting, expected) in [
            (&claimant, None, &x, false, Claim::Adopted),
            (&claimant, None, &x, true, Claim::Ignored),
            (&claimant, None, &y, false, Claim::Ignored),
            (&claimant, Some("me"), &x, true, Claim::Kept),
            (&claimant, Some("me"), &y, false, Claim::Released),
            (&claimant, Some("other"), &x, false, Claim::Ignored),
            (&going, None, &x, false, Claim::Ignored),
            (&going, Some("me"), &x, false, Claim::Kept),
            (&going, Some("me"), &y, false, Claim::Ignored),
        ] {
            assert_eq!(who.claim(controller, labels, deleting), expected, "{controller:?} {labels:?}");
        }
    }
}

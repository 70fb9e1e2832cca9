//! Whom an image on this node is for: what was had with a login is for those who have it, too, and what was had without, or
//! brought here by the administrator, for everybody. The kubelet's `NeverVerifyPreloadedImages`.
//!
//! Pure. Logins are kept as digests that say nothing of a login beside another image.

use super::digest::Digest;
use crate::api::keyring::Login;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Who may have an image without its registry being asked again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// Everybody.
    #[default]
    Open,
    /// Whoever has one of the logins with these digests.
    Logins(BTreeSet<Digest>),
}

impl Access {
    /// To the image of this id that was pulled with this login.
    pub fn by(login: Option<&Login>, id: &Digest) -> Access {
        login.map_or(Access::Open, |login| Access::Logins(BTreeSet::from([digest(login, id)])))
    }

    /// By either of two pulls of one image.
    pub fn or(self, other: Access) -> Access {
        match (self, other) {
            (Access::Logins(mut mine), Access::Logins(theirs)) => {
                mine.extend(theirs);
                Access::Logins(mine)
            }
            _ => Access::Open,
        }
    }

    /// Whether somebody with these logins may have the image of this id.
    pub fn admits(&self, logins: &[Login], id: &Digest) -> bool {
        match self {
            Access::Open => true,
            Access::Logins(known) => logins.iter().any(|login| known.contains(&digest(login, id))),
        }
    }
}

fn digest(Login { username, password }: &Login, id: &Digest) -> Digest {
    Digest::of(format!("{id}\0{username}\0{password}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_had_with_a_login_is_for_those_who_have_it() {
        let login = |password: &str| Login { username: "ada".into(), password: password.into() };
        let (id, other) = (Digest::of(b"image"), Digest::of(b"other"));
        let by = |password| Access::by(Some(&login(password)), &id);
        assert!(by("one").admits(&[login("two"), login("one")], &id));
        assert!(!by("one").admits(&[login("two")], &id) && !by("one").admits(&[], &id));
        assert!(!by("one").admits(&[login("one")], &other), "of another image it says nothing");
        assert!(by("one").or(by("two")).admits(&[login("two")], &id));
        assert!(by("one").or(Access::by(None, &id)).admits(&[], &id));
    }
}

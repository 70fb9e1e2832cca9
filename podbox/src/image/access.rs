//! Whom an image on this node is for: what was had with a login is for those who have it, too, and what was had without, or
//! brought here by the administrator, for everybody. The kubelet's `NeverVerifyPreloadedImages`.
//!
//! Pure. Logins are kept as digests that say nothing of a login beside another image; of an image's only the newest, so
//! that tokens that are new each hour do not pile up. Who has one that was forgotten has the registry asked again.

use super::digest::Digest;
use crate::api::keyring::Login;
use crate::limits;
use serde::{Deserialize, Serialize};

/// Who may have an image without its registry being asked again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// Everybody.
    #[default]
    Open,
    /// Whoever has one of the logins with these digests, the newest first.
    Logins(Vec<Digest>),
}

impl Access {
    /// To the image of this id that was pulled with this login.
    pub fn by(login: Option<&Login>, id: &Digest) -> Access {
        login.map_or(Access::Open, |login| Access::Logins(vec![digest(login, id)]))
    }

    /// By this pull of an image, or those before.
    pub fn or(self, before: Access) -> Access {
        match (self, before) {
            (Access::Logins(mut all), Access::Logins(before)) => {
                let others: Vec<_> = before.into_iter().filter(|login| !all.contains(login)).collect();
                all.extend(others);
                all.truncate(limits::IMAGE_LOGINS);
                Access::Logins(all)
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

    #[test]
    fn of_very_many_logins_the_oldest_are_forgotten() {
        let login = |number: usize| Login { username: "ada".into(), password: number.to_string() };
        let id = Digest::of(b"image");
        let by = |number| Access::by(Some(&login(number)), &id);
        let last = limits::IMAGE_LOGINS + 5;
        // The first one is used all the time.
        let all = (1..=last).fold(by(0), |all, number| by(0).or(by(number).or(all)));
        let has = |number| all.admits(&[login(number)], &id);
        assert!(has(0) && has(last) && has(last - limits::IMAGE_LOGINS + 2) && !has(1));
        let Access::Logins(kept) = &all else { panic!("it is for those with a login only") };
        assert_eq!(kept.len(), limits::IMAGE_LOGINS);
    }
}

//! Who asks. Pure.

/// A user of the API: a person, a program or a part of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The name, `system:serviceaccount:default:app`.
    pub name: String,
    /// Tells users of one name apart; may be empty.
    pub uid: String,
    /// What the user belongs to.
    pub groups: Vec<String>,
}

/// Whoever is in this group may do everything.
pub const MASTERS: &str = "system:masters";
const AUTHENTICATED: &str = "system:authenticated";
const UNAUTHENTICATED: &str = "system:unauthenticated";

impl User {
    /// Nobody in particular.
    pub fn anonymous() -> User {
        let groups = vec![UNAUTHENTICATED.to_owned()];
        User { name: "system:anonymous".to_owned(), uid: String::new(), groups }
    }

    /// Someone who proved to be who they are.
    pub fn authenticated(name: impl Into<String>, groups: impl IntoIterator<Item = String>) -> User {
        let mut groups: Vec<_> = groups.into_iter().collect();
        if !groups.iter().any(|group| group == AUTHENTICATED) {
            groups.push(AUTHENTICATED.to_owned());
        }
        User { name: name.into(), uid: String::new(), groups }
    }

    /// Whether the user may do everything.
    pub fn is_master(&self) -> bool {
        self.groups.iter().any(|group| group == MASTERS)
    }
}

//! Who asks. Pure.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A user of the API: a person, a program or a part of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// The name, `system:serviceaccount:default:app`.
    pub name: String,
    /// Tells users of one name apart; may be empty.
    pub uid: String,
    /// What the user belongs to.
    pub groups: Vec<String>,
    /// What else is known of the user, such as the token that was shown.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// Whoever is in this group may do everything.
pub const MASTERS: &str = "system:masters";
/// Everyone who proved to be somebody.
pub const AUTHENTICATED: &str = "system:authenticated";
/// Everyone else.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The name of everyone else.
pub const ANONYMOUS: &str = "system:anonymous";
/// The key of [`User::extra`] that names the credential.
pub const CREDENTIAL: &str = "authentication.kubernetes.io/credential-id";

const ACCOUNT: &str = "system:serviceaccount:";
const ACCOUNTS: &str = "system:serviceaccounts";

impl User {
    /// Nobody in particular.
    pub fn anonymous() -> User {
        let groups = vec![UNAUTHENTICATED.to_owned()];
        User { name: ANONYMOUS.to_owned(), groups, ..User::default() }
    }

    /// Someone who proved to be who they are.
    pub fn authenticated(name: impl Into<String>, groups: impl IntoIterator<Item = String>) -> User {
        let mut groups: Vec<_> = groups.into_iter().collect();
        if !groups.iter().any(|group| group == AUTHENTICATED) {
            groups.push(AUTHENTICATED.to_owned());
        }
        User { name: name.into(), groups, ..User::default() }
    }

    /// A service account.
    pub fn service_account(namespace: &str, name: &str, uid: &str) -> User {
        let user = User::authenticated(account_name(namespace, name), account_groups(namespace));
        User { uid: uid.to_owned(), ..user }
    }

    /// Whether the user may do everything.
    pub fn is_master(&self) -> bool {
        self.groups.iter().any(|group| group == MASTERS)
    }

    /// As the API shows a user: `userInfo` of reviews and of admission.
    pub fn info(&self) -> Value {
        let mut info = Map::new();
        for (key, text) in [("username", &self.name), ("uid", &self.uid)] {
            if !text.is_empty() {
                info.insert(key.to_owned(), text.as_str().into());
            }
        }
        if !self.groups.is_empty() {
            info.insert("groups".to_owned(), json!(self.groups));
        }
        if !self.extra.is_empty() {
            info.insert("extra".to_owned(), json!(self.extra));
        }
        Value::Object(info)
    }
}

/// The user name of a service account.
pub fn account_name(namespace: &str, name: &str) -> String {
    format!("{ACCOUNT}{namespace}:{name}")
}

/// The groups of every service account of a namespace.
pub fn account_groups(namespace: &str) -> [String; 2] {
    [ACCOUNTS.to_owned(), format!("{ACCOUNTS}:{namespace}")]
}

/// Namespace and name of the service account whose user name this is.
pub fn account_of(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix(ACCOUNT)?.split_once(':')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_account_is_named_and_grouped_as_upstream_does() {
        let user = User::service_account("a", "b", "u");
        assert_eq!(
            user.info(),
            json!({
                "username": "system:serviceaccount:a:b", "uid": "u",
                "groups": ["system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated"],
            })
        );
        assert_eq!(account_of(&user.name), Some(("a", "b")));
        assert_eq!(account_of("system:serviceaccount:a:b:c"), None);
        assert_eq!(account_of("system:serviceaccount::b"), None);
    }
}

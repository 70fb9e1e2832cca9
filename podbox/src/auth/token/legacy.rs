//! Tokens without an end, as Secrets of the type `kubernetes.io/service-account-token` have them. Pure.
//!
//! Such a token is good as long as its account is there, and its Secret, with this very token in it: who takes either away ends
//! it. Its claims are upstream's, by which others tell it from those that end.

use super::{Lookup, Refused, Tokens};
use crate::api::object;
use crate::api::status::ApiError;
use crate::api::user::{User, account_name};
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::SystemTime;

const ISSUER: &str = "kubernetes/serviceaccount";

/// What it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Legacy {
    iss: String,
    #[serde(rename = "kubernetes.io/serviceaccount/namespace")]
    namespace: String,
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name")]
    secret: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.name")]
    account: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.uid")]
    uid: String,
    sub: String,
}

impl Legacy {
    /// Whom it names; nobody if it contradicts itself.
    pub(super) fn user(&self) -> Option<User> {
        let user = User::service_account(&self.namespace, &self.account, &self.uid);
        let whole =
            self.iss == ISSUER && self.sub == user.name && !self.uid.is_empty() && !self.secret.is_empty();
        whole.then_some(user)
    }

    /// Whether a token that says so still counts.
    pub(super) fn check(&self, token: &str, lookup: &impl Lookup, now: SystemTime) -> Result<(), Refused> {
        let account = lookup.alive("serviceaccounts", &self.namespace, &self.account);
        let there = account.is_some_and(|account| account.uid == self.uid && !account.gone(now));
        if !there {
            return Err(Refused::Gone("service account"));
        }
        let secret = lookup.object("secrets", &self.namespace, &self.secret);
        let holds =
            |secret: &Value| !object::deleting(secret) && held(secret).as_deref() == Some(token.as_bytes());
        if secret.as_ref().is_some_and(holds) { Ok(()) } else { Err(Refused::Gone("secret")) }
    }
}

/// The token in a Secret.
fn held(secret: &Value) -> Option<Vec<u8>> {
    BASE64.decode(secret["data"]["token"].as_str()?.as_bytes()).ok()
}

impl Tokens {
    /// A token for an account that is there, to be put into a Secret. It counts once it is in there.
    pub fn lasting(&self, secret: &Value, account: &Value) -> Result<String, ApiError> {
        let (namespace, name) = (object::namespace(account), object::name(account));
        let claims = Legacy {
            iss: ISSUER.to_owned(),
            namespace: namespace.to_owned(),
            secret: object::name(secret).to_owned(),
            account: name.to_owned(),
            uid: object::uid(account).to_owned(),
            sub: account_name(namespace, name),
        };
        let payload = serde_json::to_vec(&claims).map_err(|error| ApiError::internal(error.to_string()))?;
        self.key.sign(&payload).ok_or_else(|| ApiError::internal("signing a token failed"))
    }
}

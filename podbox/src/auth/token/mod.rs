//! Tokens of service accounts: signed statements of who a program is, for whom, and until when. Pure: objects come by
//! [`Lookup`], the time as a parameter.
//!
//! A token is good as long as its signature and its times are, it is for whom it is shown to, and the objects that it is
//! bound to are still there under the uids that it names. A signature that was found good is remembered, since checking
//! one costs more than the rest of a request; the other conditions are looked at each time. Those without an end, which
//! Secrets hold, have conditions of their own (`legacy`).
//!
//! **Invariant:** no token is ever shown, logged or kept: what is remembered is its digest.

mod cache;
mod claims;
pub mod discovery;
mod jwt;
mod legacy;
mod request;

#[cfg(test)]
mod tests;

use crate::api::object;
use crate::api::user::{CREDENTIAL, User};
use cache::Cache;
use claims::{Claims, Reference};
use legacy::Legacy;
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use jwt::KeyError;

/// Who issues the tokens, and for whom they are unless they say otherwise: the API itself.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// How long the token that every pod gets is asked for: an hour, and seven seconds by which it is recognised.
pub const POD_TOKEN: Duration = Duration::from_secs(3607);
/// How far clocks may differ, and how long what is being deleted still counts.
const LEEWAY: Duration = Duration::from_secs(60);

/// What a token needs to know of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alive {
    /// Its uid.
    pub uid: String,
    /// When it will be or should have been gone, if it is being deleted.
    pub deletion: Option<SystemTime>,
}

impl Alive {
    /// Whether it does not count any more.
    fn gone(&self, now: SystemTime) -> bool {
        self.deletion.is_some_and(|end| end + LEEWAY < now)
    }

    /// From an object as JSON, of which nothing else is kept.
    pub fn read(json: &[u8]) -> Option<Alive> {
        #[derive(Deserialize)]
        struct Object {
            metadata: Metadata,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Metadata {
            uid: String,
            deletion_timestamp: Option<String>,
        }
        let Object { metadata } = serde_json::from_slice(json).ok()?;
        let deletion = metadata.deletion_timestamp.as_deref().and_then(object::read_time);
        Some(Alive { uid: metadata.uid, deletion })
    }
}

/// Finds core objects.
pub trait Lookup {
    /// The object of `serviceaccounts`, `pods`, `secrets` or `nodes`. Nodes have no namespace.
    fn object(&self, resource: &str, namespace: &str, name: &str) -> Option<Value>;

    /// The same, where only this much of it is needed: asked on each request with a token.
    fn alive(&self, resource: &str, namespace: &str, name: &str) -> Option<Alive> {
        let object = self.object(resource, namespace, name)?;
        let deletion = object::read_time(object::text(&object, "deletionTimestamp"));
        Some(Alive { uid: object::uid(&object).to_owned(), deletion })
    }
}

/// Why a token is not good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is no token of this API's.
    #[error("invalid bearer token")]
    Invalid,
    /// It is over.
    #[error("service account token has expired")]
    Expired,
    /// It is not yet good.
    #[error("service account token is not valid yet")]
    Early,
    /// It is for others.
    #[error("token audiences {0:?} is invalid for the target audiences {1:?}")]
    Audience(Vec<String>, Vec<String>),
    /// Something that it is bound to is gone.
    #[error("service account token has been invalidated: its {0} is gone")]
    Gone(&'static str),
}

/// A token whose signature is good.
#[derive(Debug)]
struct Verified {
    said: Said,
    user: Arc<User>,
}

/// What a token says.
#[derive(Debug)]
enum Said {
    Bound(Box<Claims>),
    Legacy(Legacy),
}

impl Said {
    fn read(payload: &[u8]) -> Option<Said> {
        let bound = serde_json::from_slice(payload).map(Said::Bound);
        bound.or_else(|_| serde_json::from_slice(payload).map(Said::Legacy)).ok()
    }

    fn user(&self) -> Option<User> {
        match self {
            Said::Bound(claims) => user(claims),
            Said::Legacy(legacy) => legacy.user(),
        }
    }

    /// Whom it is for.
    fn audiences(&self) -> Vec<String> {
        match self {
            Said::Bound(claims) => claims.aud.clone(),
            Said::Legacy(_) => vec![ISSUER.to_owned()],
        }
    }
}

/// Issues and checks tokens.
#[derive(Debug)]
pub struct Tokens {
    key: jwt::Key,
    cache: Cache<Verified>,
}

impl Tokens {
    /// With a private key, as PEM.
    pub fn new(key: &str) -> Result<Tokens, KeyError> {
        Ok(Tokens { key: jwt::Key::read(key)?, cache: Cache::default() })
    }

    /// Whose token this is, shown to the API.
    pub fn authenticate(
        &self,
        token: &str,
        lookup: &impl Lookup,
        now: SystemTime,
    ) -> Result<Arc<User>, Refused> {
        let verified = self.verified(token, lookup, now)?;
        if let Said::Bound(claims) = &verified.said
            && !claims.aud.iter().any(|audience| audience == ISSUER)
        {
            return Err(Refused::Audience(claims.aud.clone(), vec![ISSUER.to_owned()]));
        }
        Ok(Arc::clone(&verified.user))
    }

    /// Whose token this is, and for which of these audiences; without any, for the API.
    pub fn review(
        &self,
        token: &str,
        audiences: &[String],
        lookup: &impl Lookup,
        now: SystemTime,
    ) -> Result<(Arc<User>, Vec<String>), Refused> {
        let verified = self.verified(token, lookup, now)?;
        let api = [ISSUER.to_owned()];
        let asked = if audiences.is_empty() { &api[..] } else { audiences };
        let its = verified.said.audiences();
        let common: Vec<_> = asked.iter().filter(|audience| its.contains(audience)).cloned().collect();
        match common.is_empty() {
            true => Err(Refused::Audience(its, asked.to_vec())),
            false => Ok((Arc::clone(&verified.user), common)),
        }
    }

    /// A token that counts now.
    fn verified(&self, token: &str, lookup: &impl Lookup, now: SystemTime) -> Result<Arc<Verified>, Refused> {
        let verified = self.cache.get_or_make(token, || {
            let payload = self.key.verify(token).ok_or(Refused::Invalid)?;
            let said = Said::read(&payload).ok_or(Refused::Invalid)?;
            let user = Arc::new(said.user().ok_or(Refused::Invalid)?);
            Ok(Verified { said, user })
        })?;
        match &verified.said {
            Said::Bound(claims) => self.check(claims, lookup, now)?,
            Said::Legacy(legacy) => legacy.check(token, lookup, now)?,
        }
        Ok(verified)
    }

    fn check(&self, claims: &Claims, lookup: &impl Lookup, now: SystemTime) -> Result<(), Refused> {
        let seconds =
            |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if seconds(now) >= claims.exp {
            return Err(Refused::Expired);
        }
        if seconds(now + LEEWAY) < claims.nbf {
            return Err(Refused::Early);
        }
        let bound = &claims.bound;
        let alive = |what: &'static str, resource: &str, namespace: &str, reference: &Reference| {
            let found = lookup.alive(resource, namespace, &reference.name);
            let there = found.is_some_and(|found| found.uid == reference.uid && !found.gone(now));
            if there { Ok(()) } else { Err(Refused::Gone(what)) }
        };
        let namespace = bound.namespace.as_str();
        alive("service account", "serviceaccounts", namespace, &bound.serviceaccount)?;
        match (&bound.pod, &bound.secret, &bound.node) {
            (Some(pod), _, _) => alive("pod", "pods", namespace, pod),
            (_, Some(secret), _) => alive("secret", "secrets", namespace, secret),
            (_, _, Some(node)) => alive("node", "nodes", "", node),
            _ => Ok(()),
        }
    }
}

/// Whom the claims name; nobody if they contradict themselves.
fn user(claims: &Claims) -> Option<User> {
    let bound = &claims.bound;
    let account = &bound.serviceaccount;
    let mut user = User::service_account(&bound.namespace, &account.name, &account.uid);
    if claims.iss != ISSUER || claims.sub != user.name || account.uid.is_empty() {
        return None;
    }
    let mut extra = |key: &str, text: String| user.extra.insert(key.to_owned(), vec![text]);
    extra(CREDENTIAL, format!("JTI={}", claims.jti));
    for (kind, reference) in [("pod", &bound.pod), ("node", &bound.node)] {
        let Some(reference) = reference else { continue };
        extra(&format!("authentication.kubernetes.io/{kind}-name"), reference.name.clone());
        extra(&format!("authentication.kubernetes.io/{kind}-uid"), reference.uid.clone());
    }
    Some(user)
}

//! Which pods use which claims, and the claims that pods bring along: generic ephemeral volumes. Pure.

use super::shelf::Claim;
use crate::control::key::Key;
use crate::control::pods::drop_from;
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A pod that has claims.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    /// Its uid.
    pub uid: String,
    /// Whether it is on a node.
    pub placed: bool,
    /// Whether it is on its way out.
    pub going: bool,
    /// Whether its containers are over, too, and it is only there for somebody who holds it.
    shut: bool,
    /// Its claims by their names, with what is to be made of those that are its own: the volume's name and the template.
    pub claims: BTreeMap<String, Option<(String, Value)>>,
}

impl User {
    /// Reads a pod; none if it has no claims, or cannot be read.
    pub fn read(bytes: &[u8]) -> Option<User> {
        let Raw { metadata, spec } = serde_json::from_slice(bytes).ok()?;
        let claims: BTreeMap<_, _> = spec
            .volumes
            .into_iter()
            .filter_map(|Volume { name, persistent_volume_claim, ephemeral }| {
                if let Some(Reference { claim_name }) = persistent_volume_claim {
                    return Some((claim_name, None));
                }
                let template = ephemeral?.volume_claim_template;
                Some((format!("{}-{name}", metadata.name), Some((name, template))))
            })
            .collect();
        let (placed, going) = (!spec.node_name.is_empty(), metadata.deletion_timestamp.is_some());
        let shut = going && metadata.deletion_grace_period_seconds == Some(0);
        (!claims.is_empty()).then_some(User { uid: metadata.uid, placed, going, shut, claims })
    }

    /// Whether a claim must not go while it is there: it may run, with what the claim stands for. One that it has brought along does not
    /// wait for a pod that, for its part, waits for its dependents to go first.
    pub fn holds(&self, claim: &Claim) -> bool {
        let own = || !self.shut && claim.controller.as_ref() == Some(&self.uid);
        self.placed && self.claims.get(claim.key.name()).is_some_and(|brought| brought.is_none() || own())
    }
}

#[derive(Deserialize)]
struct Raw {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: String,
    uid: String,
    deletion_timestamp: Option<String>,
    deletion_grace_period_seconds: Option<i64>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    node_name: String,
    volumes: Vec<Volume>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Volume {
    name: String,
    persistent_volume_claim: Option<Reference>,
    ephemeral: Option<Ephemeral>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Reference {
    claim_name: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Ephemeral {
    volume_claim_template: Value,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Users {
    pods: BTreeMap<Key, User>,
    of: BTreeMap<Key, BTreeSet<Key>>,
}

impl Users {
    /// A pod is like this now; gives back the claims that it has or had, if that is news.
    pub fn note(&mut self, key: &Key, bytes: &[u8]) -> Vec<Key> {
        let user = User::read(bytes);
        if user.as_ref() == self.pods.get(key) {
            return Vec::new();
        }
        let mut touched = self.forget(key);
        if let Some(user) = user {
            for name in user.claims.keys() {
                let claim = Key::new(key.namespace(), name);
                self.of.entry(claim.clone()).or_default().insert(key.clone());
                touched.push(claim);
            }
            self.pods.insert(key.clone(), user);
        }
        touched
    }

    /// A pod is gone; gives back the claims that it had.
    pub fn forget(&mut self, key: &Key) -> Vec<Key> {
        let Some(user) = self.pods.remove(key) else { return Vec::new() };
        let claims: Vec<Key> = user.claims.keys().map(|name| Key::new(key.namespace(), name)).collect();
        claims.iter().for_each(|claim| drop_from(&mut self.of, claim, key));
        claims
    }

    /// A pod that has claims.
    pub fn get(&self, key: &Key) -> Option<&User> {
        self.pods.get(key)
    }

    /// The pods that have a claim.
    pub fn of<'a>(&'a self, claim: &Key) -> impl Iterator<Item = (&'a Key, &'a User)> {
        self.of.get(claim).into_iter().flatten().filter_map(|key| Some((key, self.pods.get(key)?)))
    }

    /// The keys of all of them.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.pods.keys()
    }
}

//! Fills Secrets of the type `kubernetes.io/service-account-token`: with a token of the account that they name, by which they
//! let in whoever reads them, and with what is needed to use it. They go with their account.
//!
//! One that names no account that is there waits a little, since the two may come in any order, and then goes as well.
//!
//! **Invariant:** a token is written into its Secret and nowhere else: what is logged names the Secret only.

use crate::api::object;
use crate::api::objects::{ObjectRef, Objects};
use crate::api::rules::config::ACCOUNT_TOKEN;
use crate::api::status::ApiError;
use crate::server::api::local::Local;
use crate::store::{Batch, Change, Expired, Happened, Key, Store};
use crate::{clock, limits};
use data_encoding::BASE64;
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

const SECRETS: &str = "/secrets";
const ACCOUNTS: &str = "/serviceaccounts";
/// The annotation that names the account.
const NAME: &str = "kubernetes.io/service-account.name";
/// The one that says which of that name it was.
const UID: &str = "kubernetes.io/service-account.uid";

/// Why following ended.
enum End {
    /// History moved on: begin anew.
    Expired,
    /// A write failed: try again later.
    Failed,
}

impl From<Expired> for End {
    fn from(_: Expired) -> End {
        End::Expired
    }
}

/// Follows Secrets and accounts.
pub struct Credentials {
    store: Store,
    objects: Local,
    /// The authority's certificate, as PEM.
    certificate: String,
    /// Secrets of the type, by their namespaces.
    known: BTreeMap<String, BTreeSet<Key>>,
    /// Those whose account is not there, and until when they wait for it.
    waiting: BTreeMap<Key, Instant>,
}

impl Credentials {
    /// Over a store, writing through the API.
    pub fn new(store: Store, objects: Local, certificate: String) -> Credentials {
        Credentials { store, objects, certificate, known: BTreeMap::new(), waiting: BTreeMap::new() }
    }

    /// Runs until it is dropped.
    pub async fn run(mut self) {
        loop {
            let Err(end) = self.follow().await;
            if let End::Failed = end {
                tokio::time::sleep(limits::FURNISH_RETRY).await;
            }
        }
    }

    async fn follow(&mut self) -> Result<Infallible, End> {
        let (page, mut secrets) = self.store.list_and_watch(SECRETS, None)?;
        let mut accounts = self.store.watch(ACCOUNTS, None, page.revision)?;
        self.known.clear();
        for entry in &page.entries {
            self.note(&entry.key, &entry.bytes);
        }
        self.waiting.retain(|key, _| page.entries.iter().any(|entry| entry.key == *key));
        let all = self.known.values().flatten().cloned().collect();
        self.look(all).await?;
        loop {
            let due = self.waiting.values().min().copied();
            let keys = tokio::select! {
                batch = secrets.next() => self.changed(&batch?),
                batch = accounts.next() => self.touched(&batch?),
                () = until(due) => self.waiting.keys().cloned().collect(),
            };
            self.look(keys).await?;
        }
    }

    /// A Secret is like this now; tells whether it is one of those meant.
    fn note(&mut self, key: &Key, bytes: &[u8]) -> bool {
        let meant = is_meant(bytes);
        if meant {
            self.known.entry(key.namespace().to_owned()).or_default().insert(key.clone());
        }
        meant
    }

    /// The Secrets of a batch that are to be looked at.
    fn changed(&mut self, batch: &Batch) -> BTreeSet<Key> {
        let mut keys = BTreeSet::new();
        for change in &batch.changes {
            let key = &change.entry.key;
            if change.happened == Happened::Deleted {
                self.forget(key);
            } else if self.note(key, &change.entry.bytes) {
                keys.insert(key.clone());
            }
        }
        keys
    }

    fn forget(&mut self, key: &Key) {
        self.waiting.remove(key);
        if let Some(keys) = self.known.get_mut(key.namespace()) {
            keys.remove(key);
            if keys.is_empty() {
                self.known.remove(key.namespace());
            }
        }
    }

    /// Those of namespaces in which accounts came or went.
    fn touched(&self, batch: &Batch) -> BTreeSet<Key> {
        let moved = |change: &&Arc<Change>| change.happened != Happened::Modified;
        let namespaces: BTreeSet<&str> =
            batch.changes.iter().filter(moved).map(|change| change.entry.key.namespace()).collect();
        let known = namespaces.into_iter().filter_map(|namespace| self.known.get(namespace));
        known.flatten().cloned().collect()
    }

    async fn look(&mut self, keys: BTreeSet<Key>) -> Result<(), End> {
        for key in keys {
            match self.one(&key).await {
                // It went or was changed meanwhile, and what it is now is told; or it is sealed, or its namespace goes.
                Err(error) if error.code < 500 => {
                    tracing::debug!("the token Secret {key} is left as it is: {}", error.reason);
                }
                Err(error) => {
                    tracing::warn!(
                        "filling the token Secret {key} failed, and is tried again: {}",
                        error.reason
                    );
                    return Err(End::Failed);
                }
                Ok(()) => {}
            }
        }
        Ok(())
    }

    async fn one(&mut self, key: &Key) -> Result<(), ApiError> {
        let stored = self.store.get(SECRETS, key).filter(|entry| is_meant(&entry.bytes));
        let Some(stored) = stored else {
            self.forget(key);
            return Ok(());
        };
        let mut secret: Value = serde_json::from_slice(&stored.bytes).unwrap_or_default();
        if object::deleting(&secret) {
            self.waiting.remove(key);
            return Ok(());
        }
        let place = ObjectRef {
            api_version: "v1",
            kind: "Secret",
            namespace: key.namespace().to_owned(),
            name: key.name().to_owned(),
        };
        let annotation = |name: &str| secret["metadata"]["annotations"][name].as_str().unwrap_or_default();
        let (name, uid) = (annotation(NAME), annotation(UID));
        let account = self.store.get(ACCOUNTS, &Key::new(key.namespace(), name));
        let account: Option<Value> = account.and_then(|entry| serde_json::from_slice(&entry.bytes).ok());
        let account = account.filter(|account| uid.is_empty() || uid == object::uid(account));
        let Some(account) = account else {
            let now = clock::instant();
            let end = self.waiting.remove(key).unwrap_or(now + limits::SECRET_WAIT);
            // One that had its account does not wait for another of that name.
            if uid.is_empty() && now < end {
                self.waiting.insert(key.clone(), end);
                return Ok(());
            }
            return self.objects.remove(&place, object::uid(&secret)).await;
        };
        self.waiting.remove(key);
        if !self.fill(&mut secret, &account)? {
            return Ok(());
        }
        // Only as it was seen: what changes meanwhile is looked at again.
        object::set(&mut secret, "resourceVersion", stored.revision.to_string());
        self.objects.replace(&place, secret).await.map(drop)
    }

    /// Puts in what is missing; tells whether anything was.
    fn fill(&self, secret: &mut Value, account: &Value) -> Result<bool, ApiError> {
        let before = secret.clone();
        if secret["data"]["token"].as_str().is_none_or(str::is_empty) {
            let token = self.objects.lasting_token(secret, account)?;
            secret["data"]["token"] = BASE64.encode(token.as_bytes()).into();
        }
        secret["data"]["ca.crt"] = BASE64.encode(self.certificate.as_bytes()).into();
        secret["data"]["namespace"] = BASE64.encode(object::namespace(account).as_bytes()).into();
        secret["metadata"]["annotations"][UID] = object::uid(account).into();
        Ok(*secret != before)
    }
}

/// Whether these are the bytes of a Secret of the type.
fn is_meant(bytes: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Typed {
        #[serde(rename = "type", default)]
        kind: String,
    }
    serde_json::from_slice::<Typed>(bytes).is_ok_and(|secret| secret.kind == ACCOUNT_TOKEN)
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::super::world::{World, place};
    use super::*;
    use serde_json::json;

    async fn world() -> World {
        let world = World::new().await;
        let (store, objects) = (world.store.clone(), world.objects.clone());
        tokio::spawn(Credentials::new(store, objects, "certificate".into()).run());
        world
    }

    async fn account(world: &World) -> Value {
        let metadata = json!({"name": "app", "namespace": "default"});
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata});
        world.objects.create(account).await.unwrap()
    }

    async fn secret(world: &World) -> Value {
        let metadata = json!({"name": "key", "namespace": "default", "annotations": {NAME: "app"}});
        let secret =
            json!({"apiVersion": "v1", "kind": "Secret", "type": ACCOUNT_TOKEN, "metadata": metadata});
        world.objects.create(secret).await.unwrap()
    }

    async fn filled(world: &World) -> Value {
        world.until(SECRETS, &Key::new("default", "key"), |secret| secret["data"]["token"].is_string()).await
    }

    fn token(secret: &Value) -> String {
        let bytes = BASE64.decode(secret["data"]["token"].as_str().unwrap().as_bytes()).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[tokio::test]
    async fn a_secret_gets_the_token_of_its_account_and_goes_with_it() {
        let world = world().await;
        // In either order.
        secret(&world).await;
        let account = account(&world).await;
        let filled = filled(&world).await;
        assert_eq!(filled["metadata"]["annotations"][UID], account["metadata"]["uid"]);
        assert_eq!(filled["data"]["namespace"], BASE64.encode(b"default"));
        assert_eq!(filled["data"]["ca.crt"], BASE64.encode(b"certificate"));
        let user = world.objects.whose(&token(&filled)).unwrap();
        assert_eq!(user.name, "system:serviceaccount:default:app");
        world
            .objects
            .remove(&place("ServiceAccount", "default", "app"), object::uid(&account))
            .await
            .unwrap();
        assert!(world.objects.whose(&token(&filled)).is_err());
        world.until(SECRETS, &Key::new("default", "key"), Value::is_null).await;
    }

    #[tokio::test]
    async fn a_token_ends_with_its_secret_or_when_another_takes_its_place() {
        let world = world().await;
        account(&world).await;
        secret(&world).await;
        let there = filled(&world).await;
        let first = token(&there);
        assert!(world.objects.whose(&first).is_ok());
        let key = place("Secret", "default", "key");
        let empty = |secret: &mut Value| secret["data"] = json!({});
        world.objects.update(&key, empty).await.unwrap();
        let other = |secret: &Value| {
            let held = secret["data"]["token"].as_str();
            held.is_some_and(|held| !held.is_empty()) && token(secret) != first
        };
        let second = token(&world.until(SECRETS, &Key::new("default", "key"), other).await);
        assert!(world.objects.whose(&first).is_err() && world.objects.whose(&second).is_ok());
        world.objects.remove(&key, object::uid(&there)).await.unwrap();
        assert!(world.objects.whose(&second).is_err());
    }
}

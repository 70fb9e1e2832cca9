//! Gives each namespace what every namespace has: the service account `default`, and the certificate by which its pods
//! know the API. Whoever takes these away gets them back.
//!
//! Not in the way of whoever creates a namespace: it follows the store, and a pod that comes too early waits for its
//! account (`server::api::account`).

use crate::api::objects::{ObjectRef, Objects};
use crate::api::status::ApiError;
use crate::limits;
use crate::server::api::local::Local;
use crate::store::{Batch, Change, Expired, Happened, Key, Store};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::task::JoinSet;

const NAMESPACES: &str = "/namespaces";
const ACCOUNTS: &str = "/serviceaccounts";
const MAPS: &str = "/configmaps";
/// The account of whoever names none.
const ACCOUNT: &str = "default";
/// Where a namespace's certificate is.
const CERTIFICATE: &str = "kube-root-ca.crt";
const KEY: &str = "ca.crt";
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such \
                           as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across \
                           distributions of Kubernetes clusters.";

/// Why following ended.
enum End {
    /// History moved on: begin anew.
    Expired,
    /// A write failed: try again later.
    Failed(ApiError),
}

impl From<Expired> for End {
    fn from(_: Expired) -> End {
        End::Expired
    }
}

/// Follows namespaces and what is in them.
pub struct Namespaces {
    store: Store,
    objects: Local,
    /// The authority's certificate, as PEM.
    certificate: String,
}

impl Namespaces {
    /// Over a store, writing through the API.
    pub fn new(store: Store, objects: Local, certificate: String) -> Arc<Namespaces> {
        Arc::new(Namespaces { store, objects, certificate })
    }

    /// Runs until it is dropped.
    pub async fn run(self: Arc<Self>) {
        loop {
            let Err(end) = self.follow().await;
            if let End::Failed(error) = end {
                tracing::warn!("giving a namespace what it is to have failed, and is tried again: {error}");
                tokio::time::sleep(limits::FURNISH_RETRY).await;
            }
        }
    }

    async fn follow(self: &Arc<Self>) -> Result<Infallible, End> {
        let (page, mut namespaces) = self.store.list_and_watch(NAMESPACES, None)?;
        let mut accounts = self.store.watch(ACCOUNTS, None, page.revision)?;
        let mut maps = self.store.watch(MAPS, None, page.revision)?;
        self.furnish(page.entries.iter().map(|entry| entry.key.name().to_owned()).collect()).await?;
        loop {
            let lacking = tokio::select! {
                batch = namespaces.next() => added(&batch?),
                batch = accounts.next() => changed(&batch?, ACCOUNT),
                batch = maps.next() => changed(&batch?, CERTIFICATE),
            };
            self.furnish(lacking).await?;
        }
    }

    async fn furnish(self: &Arc<Self>, names: BTreeSet<String>) -> Result<(), End> {
        let mut names = names.into_iter();
        let mut running = JoinSet::new();
        loop {
            for name in names.by_ref().take(limits::FURNISHED_AT_ONCE - running.len()) {
                let this = Arc::clone(self);
                running.spawn(async move { this.one(&name).await });
            }
            match running.join_next().await {
                None => return Ok(()),
                Some(Ok(done)) => done.or_else(gone).map_err(End::Failed)?,
                Some(Err(error)) => return Err(End::Failed(ApiError::internal(error.to_string()))),
            }
        }
    }

    /// The certificate first: pods wait for the account, and want both.
    async fn one(&self, namespace: &str) -> Result<(), ApiError> {
        self.certify(namespace).await?;
        if self.store.get(ACCOUNTS, &Key::new(namespace, ACCOUNT)).is_some() {
            return Ok(());
        }
        let metadata = json!({"name": ACCOUNT, "namespace": namespace});
        self.objects.ensure(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})).await
    }

    async fn certify(&self, namespace: &str) -> Result<(), ApiError> {
        let Some(there) = self.store.get(MAPS, &Key::new(namespace, CERTIFICATE)) else {
            return self.objects.ensure(self.map(namespace)).await;
        };
        let map: Value = serde_json::from_slice(&there.bytes).unwrap_or_default();
        if map["data"] == json!({KEY: self.certificate}) {
            return Ok(());
        }
        let mut mended = self.map(namespace);
        mended["metadata"]["resourceVersion"] = there.revision.to_string().into();
        let (namespace, name) = (namespace.to_owned(), CERTIFICATE.to_owned());
        let place = ObjectRef { api_version: "v1", kind: "ConfigMap", namespace, name };
        self.objects.replace(&place, mended).await.map(drop)
    }

    fn map(&self, namespace: &str) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": CERTIFICATE,
                "namespace": namespace,
                "annotations": {"kubernetes.io/description": DESCRIPTION},
            },
            "data": {KEY: self.certificate},
        })
    }
}

/// What is not there any more, is on its way out or was changed by someone else needs nothing now.
fn gone(error: ApiError) -> Result<(), ApiError> {
    if matches!(error.code, 403 | 404 | 409) { Ok(()) } else { Err(error) }
}

fn added(batch: &Batch) -> BTreeSet<String> {
    let new = |change: &&Arc<Change>| change.happened == Happened::Added;
    batch.changes.iter().filter(new).map(|change| change.entry.key.name().to_owned()).collect()
}

/// Namespaces in which the object of this name is not what it was.
fn changed(batch: &Batch, name: &str) -> BTreeSet<String> {
    let hit = |change: &&Arc<Change>| change.happened != Happened::Added && change.entry.key.name() == name;
    batch.changes.iter().filter(hit).map(|change| change.entry.key.namespace().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::kinds::Kinds;
    use crate::auth::certificate;
    use crate::auth::token::Tokens;
    use crate::server::api::Api;
    use std::time::Duration;

    struct World {
        store: Store,
        objects: Local,
        _dir: tempfile::TempDir,
    }

    impl World {
        async fn new() -> World {
            let dir = tempfile::tempdir().unwrap();
            let store = Store::open(dir.path()).unwrap();
            let tokens = Tokens::new(&certificate::key().unwrap()).unwrap();
            let api = Arc::new(Api::new(store.clone(), Kinds::new(), "127.0.0.1:6443".into(), tokens));
            api.furnish().await.unwrap();
            let objects = Local::new(api, "test");
            tokio::spawn(Namespaces::new(store.clone(), objects.clone(), "certificate".into()).run());
            World { store, objects, _dir: dir }
        }

        /// Waits until an object of a namespace is as it should be.
        async fn until(
            &self,
            collection: &str,
            namespace: &str,
            name: &str,
            good: fn(&Value) -> bool,
        ) -> Value {
            let key = Key::new(namespace, name);
            let mut watch = self.store.watch(collection, Some(namespace), self.store.revision()).unwrap();
            let wait = async {
                loop {
                    let found = self.store.get(collection, &key);
                    let found = found.map(|entry| serde_json::from_slice::<Value>(&entry.bytes).unwrap());
                    match found.filter(good) {
                        Some(found) => return found,
                        None => drop(watch.next().await.unwrap()),
                    }
                }
            };
            tokio::time::timeout(Duration::from_secs(20), wait).await.expect("it comes")
        }
    }

    fn map(namespace: &str) -> ObjectRef {
        ObjectRef {
            api_version: "v1",
            kind: "ConfigMap",
            namespace: namespace.to_owned(),
            name: CERTIFICATE.to_owned(),
        }
    }

    #[tokio::test]
    async fn every_namespace_has_an_account_and_the_certificate() {
        let world = World::new().await;
        for number in 0..40 {
            let namespace =
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": format!("n{number}")}});
            world.objects.ensure(namespace).await.unwrap();
        }
        for namespace in ["default", "kube-system", "n0", "n39"] {
            world.until(ACCOUNTS, namespace, ACCOUNT, |_| true).await;
            let map = world.until(MAPS, namespace, CERTIFICATE, |_| true).await;
            assert_eq!(map["data"], json!({KEY: "certificate"}));
        }
    }

    #[tokio::test]
    async fn what_was_taken_or_changed_comes_back() {
        let world = World::new().await;
        let account = world.until(ACCOUNTS, "default", ACCOUNT, |_| true).await;
        let there = world.until(MAPS, "default", CERTIFICATE, |_| true).await;
        let place = ObjectRef { kind: "ServiceAccount", name: ACCOUNT.to_owned(), ..map("default") };
        world.objects.remove(&place, crate::api::object::uid(&account)).await.unwrap();
        let again = world.until(ACCOUNTS, "default", ACCOUNT, |_| true).await;
        assert_ne!(again["metadata"]["uid"], account["metadata"]["uid"]);

        let mut forged = there.clone();
        forged["data"][KEY] = "forged".into();
        world.objects.replace(&map("default"), forged).await.unwrap();
        world.until(MAPS, "default", CERTIFICATE, |map| map["data"][KEY] == "certificate").await;
        world.objects.remove(&map("default"), crate::api::object::uid(&there)).await.unwrap();
        world.until(MAPS, "default", CERTIFICATE, |map| map["data"][KEY] == "certificate").await;
    }
}

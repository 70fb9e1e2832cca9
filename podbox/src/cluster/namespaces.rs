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
    use super::super::world::{World, place};
    use super::*;

    async fn world() -> World {
        let world = World::new().await;
        let (store, objects) = (world.store.clone(), world.objects.clone());
        tokio::spawn(Namespaces::new(store, objects, "certificate".into()).run());
        world
    }

    async fn account(world: &World, namespace: &str) -> Value {
        world.until(ACCOUNTS, &Key::new(namespace, ACCOUNT), Value::is_object).await
    }

    /// The certificate, once it is as it should be.
    async fn map(world: &World, namespace: &str) -> Value {
        let good = |map: &Value| map["data"] == json!({KEY: "certificate"});
        world.until(MAPS, &Key::new(namespace, CERTIFICATE), good).await
    }

    #[tokio::test]
    async fn every_namespace_has_an_account_and_the_certificate() {
        let world = world().await;
        for number in 0..40 {
            let namespace =
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": format!("n{number}")}});
            world.objects.ensure(namespace).await.unwrap();
        }
        for namespace in ["default", "kube-system", "n0", "n39"] {
            account(&world, namespace).await;
            map(&world, namespace).await;
        }
    }

    #[tokio::test]
    async fn what_was_taken_or_changed_comes_back() {
        let world = world().await;
        let uid = |object: &Value| crate::api::object::uid(object).to_owned();
        let (first, there) = (account(&world, "default").await, map(&world, "default").await);
        world.objects.remove(&place("ServiceAccount", "default", ACCOUNT), &uid(&first)).await.unwrap();
        assert_ne!(uid(&account(&world, "default").await), uid(&first));

        let certificate = place("ConfigMap", "default", CERTIFICATE);
        let mut forged = there.clone();
        forged["data"][KEY] = "forged".into();
        world.objects.replace(&certificate, forged).await.unwrap();
        map(&world, "default").await;
        world.objects.remove(&certificate, &uid(&there)).await.unwrap();
        map(&world, "default").await;
    }
}

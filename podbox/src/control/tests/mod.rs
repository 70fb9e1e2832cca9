//! Controllers against the real store and API, in one process and without a node.

mod disruption;
mod endpoints;
mod garbage;
mod scheduling;
mod sets;
mod workloads;

use super::catalog::Catalog;
use super::manager;
use crate::api::kinds::Kinds;
use crate::api::lifecycle::Propagation;
use crate::api::object;
use crate::api::objects::{Seen, Target, Writes};
use crate::auth::certificate;
use crate::auth::token::Tokens;
use crate::clock;
use crate::server::api::Api;
use crate::server::api::local::Local;
use crate::store::{Key, Store};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Where a pod of a DaemonSet says which node it is for.
const MEANT: &str = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0/matchFields/0/values/0";

/// How long something may take on a machine that is slow and busy.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks, if nothing changes.
const LOOK: Duration = Duration::from_millis(200);

/// A cluster without nodes.
pub struct World {
    pub store: Store,
    pub objects: Local,
    _dir: tempfile::TempDir,
}

impl World {
    pub async fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let tokens = Tokens::new(&certificate::key().unwrap()).unwrap();
        let api = Arc::new(Api::new(store.clone(), Kinds::new(), "127.0.0.1:6443".into(), tokens));
        api.furnish().await.unwrap();
        let objects = Local::new(Arc::clone(&api), "test");
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "default"}});
        objects.create(account).await.unwrap();
        let catalog = Catalog::new(&api.kinds());
        tokio::spawn(manager::run(store.clone(), Local::new(api, "controllers"), catalog));
        World { store, objects, _dir: dir }
    }

    pub async fn create(&self, object: Value) -> Value {
        self.objects.create(object).await.unwrap()
    }

    pub async fn delete(&self, at: &Target, propagation: Propagation) {
        Writes::delete(&self.objects, at, &Seen::default(), Some(propagation)).await.unwrap();
    }

    pub fn get(&self, collection: &str, name: &str) -> Option<Value> {
        let entry = self.store.get(collection, &Key::new("default", name))?;
        Some(serde_json::from_slice(&entry.bytes).unwrap())
    }

    pub fn list(&self, collection: &str) -> Vec<Value> {
        let page = self.store.list(collection, Some("default"), None, 0, None).unwrap();
        page.entries.iter().map(|entry| serde_json::from_slice(&entry.bytes).unwrap()).collect()
    }

    /// Waits until something is so. It is looked at with each change of a collection, and now and then, as it may hang on others.
    #[track_caller]
    pub fn until(&self, collection: &str, good: impl Fn(&World) -> bool) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        let mut watch = self.store.watch(collection, None, self.store.revision()).unwrap();
        let end = clock::instant() + PATIENCE;
        async move {
            while !good(self) {
                let late = clock::instant() > end;
                assert!(!late, "{caller}: it does not come: {:#?}", self.list(collection));
                drop(tokio::time::timeout(LOOK, watch.next()).await);
            }
        }
    }
}

/// A template of pods that are `app=x`, of this image.
pub fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": image}]}})
}

pub fn target(api_version: &'static str, kind: &'static str, name: &str) -> Target {
    Target {
        api_version: api_version.into(),
        kind: kind.into(),
        namespace: "default".into(),
        name: name.into(),
    }
}

/// A reference to an object as an owner whose end waits.
pub fn owner(api_version: &str, kind: &str, of: &Value) -> Value {
    json!({
        "apiVersion": api_version, "kind": kind, "name": object::name(of), "uid": object::uid(of),
        "blockOwnerDeletion": true,
    })
}

//! A store and the API over it, for the tests of what runs beside them.

use crate::api::kinds::Kinds;
use crate::api::objects::ObjectRef;
use crate::auth::certificate;
use crate::auth::token::Tokens;
use crate::server::api::Api;
use crate::server::api::local::Local;
use crate::store::{Key, Store};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// How long something may take on a machine that is slow and busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// A cluster without anything that runs.
pub struct World {
    pub store: Store,
    pub objects: Local,
    _dir: tempfile::TempDir,
}

/// An object of the core group.
pub fn place(kind: &'static str, namespace: &str, name: &str) -> ObjectRef {
    ObjectRef { api_version: "v1", kind, namespace: namespace.to_owned(), name: name.to_owned() }
}

impl World {
    pub async fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let tokens = Tokens::new(&certificate::key().unwrap()).unwrap();
        let api = Arc::new(Api::new(store.clone(), Kinds::new(), "127.0.0.1:6443".into(), tokens));
        api.furnish().await.unwrap();
        World { store, objects: Local::new(api, "test"), _dir: dir }
    }

    /// Waits until an object, or that there is none, is as it should be; gives it.
    pub async fn until(&self, collection: &str, key: &Key, good: impl Fn(&Value) -> bool) -> Value {
        let mut watch = self.store.watch(collection, None, self.store.revision()).unwrap();
        let wait = async {
            loop {
                let found = self.store.get(collection, key);
                let found = found.map(|entry| serde_json::from_slice::<Value>(&entry.bytes).unwrap());
                let found = found.unwrap_or_default();
                if good(&found) {
                    return found;
                }
                watch.next().await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("it comes")
    }
}

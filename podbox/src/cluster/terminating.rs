//! Namespaces that are to go: their content is deleted, and then they are.
//!
//! ```text
//!   namespace deleted ─▶ Terminating ─▶ everything in it is asked to go ─▶ something is left? ── conditions say what
//!                                                     ▲                         │                     │
//!                                                     └── a change in any kind ◀┼─────────────────────┘
//!                                                                               └── no: released, and gone
//! ```
//!
//! It knows no order among kinds: what waits for another (a pod for its containers) holds itself by its grace period or
//! its finalizers.

use super::pulse::Pulse;
use crate::api::object;
use crate::api::status::ApiError;
use crate::server::api::local::Local;
use crate::store::Store;
use crate::{clock, limits};
use serde_json::Value;

const NAMESPACES: &str = "/namespaces";

/// Runs until it is dropped.
pub async fn run(store: Store, objects: Local) {
    let namespaces = Pulse::new(&store, [NAMESPACES.to_owned()]);
    let mut content: Option<Pulse> = None;
    loop {
        let going = going(&store);
        // Before looking, so that what goes meanwhile is seen.
        content = match (going.is_empty(), content) {
            (true, _) => None,
            (false, Some(content)) => Some(content),
            (false, None) => Some(Pulse::new(&store, objects.collections())),
        };
        let mut failed = false;
        for name in &going {
            if let Err(error) = advance(&objects, name).await {
                tracing::warn!(
                    "deleting what is in the namespace {name} failed, and is tried again: {error}"
                );
                failed = true;
            }
        }
        tokio::select! {
            () = namespaces.next() => {}
            () = beat(content.as_ref()) => {}
            () = tokio::time::sleep(limits::FURNISH_RETRY), if failed => {}
        }
    }
}

async fn beat(pulse: Option<&Pulse>) {
    match pulse {
        Some(pulse) => pulse.next().await,
        None => std::future::pending().await,
    }
}

/// The namespaces that are to go and are kept for their content.
fn going(store: &Store) -> Vec<String> {
    let Ok(page) = store.list(NAMESPACES, None, None, 0, None) else { return Vec::new() };
    let is_going = |namespace: &Value| {
        let kept = namespace["spec"]["finalizers"].as_array();
        object::deleting(namespace) && kept.is_some_and(|kept| kept.iter().any(|name| name == "kubernetes"))
    };
    let read = page.entries.iter().filter_map(|entry| serde_json::from_slice(&entry.bytes).ok());
    read.filter(is_going).map(|namespace: Value| object::name(&namespace).to_owned()).collect()
}

async fn advance(objects: &Local, name: &str) -> Result<(), ApiError> {
    let left = objects.empty(name).await?;
    let told = match left.objects.is_empty() {
        true => objects.release(name).await,
        false => objects.tell_left(name, &left, &object::time(clock::wall())).await,
    };
    match told {
        // It went meanwhile.
        Err(error) if error.code == 404 => Ok(()),
        told => told,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::kinds::Kinds;
    use crate::api::objects::{ObjectRef, Objects};
    use crate::auth::certificate;
    use crate::auth::token::Tokens;
    use crate::server::api::Api;
    use crate::store::Key;
    use serde_json::json;
    use std::sync::Arc;
    use std::time::Duration;

    #[tokio::test]
    async fn a_namespace_goes_when_its_content_has_gone() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let tokens = Tokens::new(&certificate::key().unwrap()).unwrap();
        let api = Arc::new(Api::new(store.clone(), Kinds::new(), "127.0.0.1:6443".into(), tokens));
        api.furnish().await.unwrap();
        let objects = Local::new(api, "test");
        tokio::spawn(run(store.clone(), objects.clone()));
        objects
            .ensure(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}))
            .await
            .unwrap();
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "n", "finalizers": ["e.io/x"]}});
        objects.ensure(map).await.unwrap();
        let place = |kind: &'static str, namespace: &str, name: &str| ObjectRef {
            api_version: "v1",
            kind,
            namespace: namespace.into(),
            name: name.into(),
        };
        let namespace = place("Namespace", "", "n");
        let uid = objects.get(&namespace).unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
        objects.remove(&namespace, &uid).await.unwrap();
        let until = async |good: &dyn Fn(Option<Value>) -> bool| {
            let mut watch = store.watch(NAMESPACES, None, store.revision()).unwrap();
            let look = || {
                let there = store.get(NAMESPACES, &Key::new("", "n"));
                good(there.and_then(|entry| serde_json::from_slice(&entry.bytes).ok()))
            };
            while !look() {
                let next = tokio::time::timeout(Duration::from_secs(20), watch.next());
                next.await.expect("it comes").unwrap();
            }
        };
        until(&|namespace| {
            let text = namespace.unwrap_or_default()["status"]["conditions"].to_string();
            text.contains("configmaps. has 1 resource instances")
                && text.contains("e.io/x in 1 resource instances")
        })
        .await;
        let mut map = objects.get(&place("ConfigMap", "n", "m")).unwrap();
        object::set(&mut map, "finalizers", Value::Null);
        objects.replace(&place("ConfigMap", "n", "m"), map).await.unwrap();
        until(&|namespace| namespace.is_none()).await;
    }
}

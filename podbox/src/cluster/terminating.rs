//! Namespaces that are to go: their content is deleted, and then they are.
//!
//! ```text
//!   namespace deleted ─▶ Terminating ─▶ everything in it is asked to go ─▶ something is left? ── conditions say what
//!                                                     ▲                         │                     │
//!                                                     └── a change in any kind ◀┼─────────────────────┘
//!                                                                               └── no: released, and gone
//! ```
//!
//! Pods go first, and the rest waits until the last of them is gone; beyond that there is no order among kinds: what waits for
//! another holds itself by its finalizers. A namespace is looked at again when something changes in it, however many others go.

use super::pulse::{Beat, Pulse};
use crate::api::object;
use crate::api::status::ApiError;
use crate::server::api::local::Local;
use crate::store::Store;
use crate::{clock, limits};
use serde_json::Value;
use std::collections::BTreeSet;

const NAMESPACES: &str = "/namespaces";

/// Runs until it is dropped.
pub async fn run(store: Store, objects: Local) {
    let namespaces = Pulse::new(&store, [NAMESPACES.to_owned()]);
    let mut content: Option<Pulse> = None;
    // For whom nothing is to be done before something changes in them.
    let mut waiting = BTreeSet::new();
    loop {
        let going = going(&store);
        waiting.retain(|known| going.contains(known));
        // Before looking, so that what goes meanwhile is seen.
        content = match (going.is_empty(), content) {
            (true, _) => None,
            (false, Some(content)) => Some(content),
            (false, None) => Some(Pulse::new(&store, objects.collections())),
        };
        let mut failed = false;
        for namespace in going {
            if waiting.contains(&namespace) {
                continue;
            }
            let name = &namespace.0;
            if let Err(error) = advance(&objects, name).await {
                tracing::warn!(
                    "deleting what is in the namespace {name} failed, and is tried again: {error}"
                );
                failed = true;
            } else {
                waiting.insert(namespace);
            }
        }
        tokio::select! {
            _ = namespaces.next() => {}
            beat = beat(content.as_ref()) => waiting.retain(|(name, _)| !beat.concerns(name)),
            () = tokio::time::sleep(limits::FURNISH_RETRY), if failed => {}
        }
    }
}

async fn beat(pulse: Option<&Pulse>) -> Beat {
    match pulse {
        Some(pulse) => pulse.next().await,
        None => std::future::pending().await,
    }
}

/// The namespaces that are to go and are kept for their content: names and uids.
fn going(store: &Store) -> Vec<(String, String)> {
    let Ok(page) = store.list(NAMESPACES, None, None, 0, None) else { return Vec::new() };
    let is_going = |namespace: &Value| {
        let kept = namespace["spec"]["finalizers"].as_array();
        object::deleting(namespace) && kept.is_some_and(|kept| kept.iter().any(|name| name == "kubernetes"))
    };
    let read = page.entries.iter().filter_map(|entry| serde_json::from_slice(&entry.bytes).ok());
    let names = |namespace: Value| (object::name(&namespace).to_owned(), object::uid(&namespace).to_owned());
    read.filter(is_going).map(names).collect()
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
    use super::super::world::{World, place};
    use super::*;
    use crate::api::objects::Objects;
    use crate::store::Key;
    use serde_json::json;

    #[tokio::test]
    async fn a_namespace_goes_when_its_content_has_gone() {
        let world = World::new().await;
        tokio::spawn(run(world.store.clone(), world.objects.clone()));
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}});
        world.objects.ensure(namespace).await.unwrap();
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap",
                         "metadata": {"name": "m", "namespace": "n", "finalizers": ["e.io/x"]}});
        world.objects.ensure(map).await.unwrap();
        let namespace = place("Namespace", "", "n");
        let uid = object::uid(&world.objects.get(&namespace).unwrap()).to_owned();
        world.objects.remove(&namespace, &uid).await.unwrap();
        let told = |namespace: &Value| {
            let text = namespace["status"]["conditions"].to_string();
            text.contains("configmaps. has 1 resource instances")
                && text.contains("e.io/x in 1 resource instances")
        };
        world.until(NAMESPACES, &Key::new("", "n"), told).await;
        let mut map = world.objects.get(&place("ConfigMap", "n", "m")).unwrap();
        object::set(&mut map, "finalizers", Value::Null);
        world.objects.replace(&place("ConfigMap", "n", "m"), map).await.unwrap();
        world.until(NAMESPACES, &Key::new("", "n"), Value::is_null).await;
    }

    #[tokio::test]
    async fn pods_go_before_what_they_use() {
        let world = World::new().await;
        tokio::spawn(run(world.store.clone(), world.objects.clone()));
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}});
        world.objects.ensure(namespace).await.unwrap();
        for mut object in [
            json!({"kind": "ServiceAccount", "metadata": {"name": "default"}}),
            json!({"kind": "ConfigMap", "metadata": {"name": "used"}}),
            json!({"kind": "Pod", "metadata": {"name": "p", "finalizers": ["e.io/x"]},
                   "spec": {"containers": [{"name": "c", "image": "i"}]}}),
        ] {
            object["apiVersion"] = "v1".into();
            object["metadata"]["namespace"] = "n".into();
            world.objects.ensure(object).await.unwrap();
        }
        let namespace = place("Namespace", "", "n");
        let uid = object::uid(&world.objects.get(&namespace).unwrap()).to_owned();
        world.objects.remove(&namespace, &uid).await.unwrap();
        let told = |namespace: &Value| {
            namespace["status"]["conditions"].to_string().contains("pods. has 1 resource instances")
        };
        world.until(NAMESPACES, &Key::new("", "n"), told).await;
        let pod = world.objects.get(&place("Pod", "n", "p")).unwrap();
        assert!(object::deleting(&pod));
        let used = world.objects.get(&place("ConfigMap", "n", "used"));
        assert!(used.is_ok_and(|map| !object::deleting(&map)), "what the pod uses waits for it");
        let mut free = pod;
        object::set(&mut free, "finalizers", Value::Null);
        world.objects.replace(&place("Pod", "n", "p"), free).await.unwrap();
        world.until(NAMESPACES, &Key::new("", "n"), Value::is_null).await;
        assert!(world.objects.get(&place("ConfigMap", "n", "used")).is_err());
    }
}

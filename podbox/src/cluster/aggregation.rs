//! Writes into cluster roles that aggregate others what these come to, for people to see. Decisions do not wait for it:
//! `auth::rbac` aggregates by itself.

use crate::api::objects::ObjectRef;
use crate::api::status::ApiError;
use crate::auth::rbac::{GROUP, Rule};
use crate::limits;
use crate::server::api::Api;
use crate::server::api::local::Local;
use crate::store::Store;
use serde_json::Value;
use std::sync::Arc;

/// Runs until it is dropped.
pub async fn run(store: Store, api: Arc<Api>) {
    let objects = Local::new(Arc::clone(&api), "clusterrole-aggregation-controller");
    let collection = format!("{GROUP}/clusterroles");
    loop {
        let Ok((_, mut watch)) = store.list_and_watch(&collection, None) else { continue };
        loop {
            for (name, rules) in api.aggregated() {
                match write(&objects, &name, &rules).await {
                    // Somebody changed it meanwhile, which wakes this again.
                    Err(error) if !matches!(error.code, 404 | 409) => {
                        tracing::warn!("writing the rules of the cluster role {name:?} failed: {error}");
                        tokio::time::sleep(limits::FURNISH_RETRY).await;
                    }
                    _ => {}
                }
            }
            if watch.next().await.is_err() {
                break;
            }
        }
    }
}

async fn write(objects: &Local, name: &str, rules: &[Rule]) -> Result<(), ApiError> {
    let place = ObjectRef {
        api_version: "rbac.authorization.k8s.io/v1",
        kind: "ClusterRole",
        namespace: String::new(),
        name: name.to_owned(),
    };
    let mut role = objects.get(&place)?;
    role["rules"] = rules.iter().map(Rule::value).collect::<Value>();
    objects.replace(&place, role).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::kinds::Kinds;
    use crate::api::objects::Objects;
    use crate::auth::certificate;
    use crate::auth::token::Tokens;
    use crate::store::Key;
    use serde_json::json;
    use std::time::Duration;

    /// Waits until the role `view` does, or does not, mention a resource.
    async fn until_view(store: &Store, word: &str, mentions: bool) {
        let collection = format!("{GROUP}/clusterroles");
        let mut watch = store.watch(&collection, None, store.revision()).unwrap();
        let wait = async {
            loop {
                let view = store.get(&collection, &Key::new("", "view")).unwrap();
                if String::from_utf8_lossy(&view.bytes).contains(word) == mentions {
                    return;
                }
                watch.next().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(120), wait).await.expect("it comes");
    }

    #[tokio::test]
    async fn a_role_that_aggregates_shows_what_it_comes_to() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let tokens = Tokens::new(&certificate::key().unwrap()).unwrap();
        let api = Arc::new(Api::new(store.clone(), Kinds::new(), "127.0.0.1:6443".into(), tokens));
        api.furnish().await.unwrap();
        tokio::spawn(run(store.clone(), Arc::clone(&api)));
        until_view(&store, "configmaps", true).await;

        let objects = Local::new(Arc::clone(&api), "test");
        let part = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "more", "labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}},
            "rules": [{"apiGroups": ["acme.com"], "resources": ["rockets"], "verbs": ["get"]}],
        });
        objects.ensure(part).await.unwrap();
        until_view(&store, "rockets", true).await;
        let part = ObjectRef {
            api_version: "rbac.authorization.k8s.io/v1",
            kind: "ClusterRole",
            namespace: String::new(),
            name: "more".to_owned(),
        };
        let uid = objects.get(&part).unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
        objects.remove(&part, &uid).await.unwrap();
        until_view(&store, "rockets", false).await;
    }
}

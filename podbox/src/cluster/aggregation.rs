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

//! Keeps the status of quotas true: what is allowed and what is in use, for people. What is refused does not depend on it
//! (`server::api::quotas` counts by itself). Counted again is where something has changed, and nowhere else.

use super::pulse::{Beat, Pulse};
use crate::limits;
use crate::server::api::local::Local;
use crate::store::Store;

const QUOTAS: &str = "/resourcequotas";

/// Runs until it is dropped.
pub async fn run(store: Store, objects: Local) {
    let quotas = Pulse::new(&store, [QUOTAS.to_owned()]);
    let mut counted: Option<Pulse> = None;
    let mut beat = Beat::anywhere();
    loop {
        let there: Vec<_> = match store.list(QUOTAS, None, None, 0, None) {
            Ok(page) => page.entries.iter().map(|entry| entry.key.clone()).collect(),
            Err(_) => Vec::new(),
        };
        counted = match (there.is_empty(), counted) {
            (true, _) => None,
            (false, Some(counted)) => Some(counted),
            (false, None) => Some(Pulse::new(&store, objects.collections())),
        };
        let mut failed = false;
        for key in there.into_iter().filter(|key| beat.concerns(key.namespace())) {
            match objects.recount(key.namespace(), key.name()).await {
                Err(error) if error.code != 404 => {
                    tracing::warn!("counting for the quota {key} failed, and is tried again: {error}");
                    failed = true;
                }
                _ => {}
            }
        }
        beat = tokio::select! {
            beat = quotas.next() => beat,
            beat = async { match &counted {
                Some(counted) => counted.next().await,
                None => std::future::pending().await,
            } } => beat,
            () = tokio::time::sleep(limits::FURNISH_RETRY), if failed => Beat::anywhere(),
        };
        if failed {
            beat = Beat::anywhere();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::world::World;
    use super::*;
    use crate::api::objects::Objects;
    use crate::store::Key;
    use serde_json::{Value, json};

    fn pod(name: &str, spec: Value) -> Value {
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
            "spec": {"containers": [{"name": "c", "image": "i"}]},
        });
        pod["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        pod
    }

    #[tokio::test]
    async fn a_quotas_status_counts_what_its_scopes_mean() {
        let world = World::new().await;
        tokio::spawn(run(world.store.clone(), world.objects.clone()));
        let high = json!({"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]});
        let quotas = [
            ("all", json!({}), "3", None),
            ("best-effort", json!({"scopes": ["BestEffort"]}), "2", None),
            ("sized", json!({"scopes": ["NotBestEffort"]}), "1", Some("100m")),
            ("ending", json!({"scopes": ["Terminating"]}), "1", Some("100m")),
            ("lasting", json!({"scopes": ["NotTerminating"]}), "2", None),
            ("high", json!({"scopeSelector": high}), "1", None),
        ];
        for (name, scopes, _, cpu) in &quotas {
            let mut hard = json!({"pods": "10"});
            if cpu.is_some() {
                hard["requests.cpu"] = "1".into();
            }
            let mut quota = json!({
                "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name, "namespace": "default"},
                "spec": {"hard": hard},
            });
            quota["spec"].as_object_mut().unwrap().extend(scopes.as_object().unwrap().clone());
            world.objects.ensure(quota).await.unwrap();
        }
        let resources = json!({"requests": {"cpu": "100m"}});
        let sized = json!([{"name": "c", "image": "i", "resources": resources}]);
        for object in [
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "default"}}),
            json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "high"}, "value": 7}),
            pod("plain", json!({})),
            pod("sized", json!({"containers": sized, "activeDeadlineSeconds": 100})),
            pod("high", json!({"priorityClassName": "high"})),
        ] {
            world.objects.ensure(object).await.unwrap();
        }
        for (name, _, pods, cpu) in quotas {
            let counted = |quota: &Value| {
                let used = &quota["status"]["used"];
                used["pods"] == pods && used.get("requests.cpu").and_then(Value::as_str) == cpu
            };
            let quota = world.until(QUOTAS, &Key::new("default", name), counted).await;
            assert_eq!(quota["status"]["hard"], quota["spec"]["hard"]);
        }
    }
}

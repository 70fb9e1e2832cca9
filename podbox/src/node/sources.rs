//! The ConfigMaps and Secrets that a pod may refer to, out of the store.

use crate::api::admission;
use crate::pod::sources::{API_SERVICE, DEFAULT_NAMESPACE, Sources};
use crate::store::{Key, Store};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};
use k8s_openapi::api::node::v1::RuntimeClass;
use serde::de::DeserializeOwned;

/// Those of a pod's namespace.
pub fn of(store: &Store, namespace: &str, pod: &Pod) -> Sources {
    let mut sources = Sources::default();
    all::<ConfigMap>(store, "/configmaps", namespace).iter().for_each(|map| sources.add_config_map(map));
    all::<Secret>(store, "/secrets", namespace).iter().for_each(|secret| sources.add_secret(secret));
    surroundings(store, namespace, pod, &mut sources);
    sources
}

/// Adds what pods are told of Services, and what their runtime classes mean.
fn surroundings(store: &Store, namespace: &str, pod: &Pod, sources: &mut Sources) {
    let api = one::<Service>(store, "/services", &Key::new(DEFAULT_NAMESPACE, API_SERVICE));
    let own = all::<Service>(store, "/services", namespace);
    api.into_iter().chain(own).for_each(|service| sources.add_service(service));
    let class = pod.spec.as_ref().and_then(|spec| spec.runtime_class_name.as_deref());
    if let Some(name) = class
        && let Some(class) = one::<RuntimeClass>(store, "node.k8s.io/runtimeclasses", &Key::new("", name))
    {
        sources.add_runtime_class(name.to_owned(), class.handler);
    }
}

fn one<T: DeserializeOwned>(store: &Store, collection: &str, key: &Key) -> Option<T> {
    serde_json::from_slice(&store.get(collection, key)?.bytes).ok()
}

/// The service account whose token one of a pod's volumes has.
pub fn token_of(pod: &Pod) -> Option<&str> {
    let spec = pod.spec.as_ref()?;
    let projected = spec.volumes.iter().flatten().filter_map(|volume| volume.projected.as_ref());
    let mut sources = projected.flat_map(|projected| projected.sources.iter().flatten());
    let wanted = sources.any(|source| source.service_account_token.is_some());
    wanted.then(|| admission::service_account_name(pod))
}

fn all<T: DeserializeOwned>(store: &Store, collection: &str, namespace: &str) -> Vec<T> {
    let Ok(page) = store.list(collection, Some(namespace), None, 0, None) else { return Vec::new() };
    page.entries.iter().filter_map(|entry| serde_json::from_slice(&entry.bytes).ok()).collect()
}

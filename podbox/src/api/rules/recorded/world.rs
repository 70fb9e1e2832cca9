//! The rest of the server, as far as the recordings need one.

use super::{Line, bare};
use crate::api::admission;
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod, ServiceAccount};
use k8s_openapi::api::storage::v1::StorageClass;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What has been written so far.
#[derive(Default)]
pub struct World {
    /// By collection, namespace and name.
    pub objects: BTreeMap<String, Value>,
}

fn with<T: Serialize + DeserializeOwned>(object: Value, change: impl FnOnce(&mut T)) -> Value {
    let mut typed = serde_json::from_value(object).unwrap();
    change(&mut typed);
    json!(typed)
}

impl World {
    /// Keeps what an answer said. A Service has an address by then.
    pub fn remember(&mut self, line: &Line, mut object: Value) {
        if object["kind"] == "Service" && object["spec"].get("clusterIP").is_none() {
            object["spec"]["clusterIP"] = "10.96.0.9".into();
            object["spec"]["clusterIPs"] = json!(["10.96.0.9"]);
        }
        self.objects.insert(line.key(), object);
    }

    /// What admission does to a new object.
    pub fn admit(&self, line: &Line, object: Value) -> Value {
        match line.kind.kind.as_ref() {
            "Pod" => with(object, |pod: &mut Pod| {
                admission::service_account(pod, &ServiceAccount::default(), "kube-api-access-abcde");
                admission::tolerations(pod);
                admission::priority(pod, &[]).unwrap();
            }),
            "PersistentVolumeClaim" => with(object, |claim: &mut PersistentVolumeClaim| {
                admission::storage_class(claim, &self.classes());
                admission::protect(&mut claim.metadata, admission::CLAIM_PROTECTION);
            }),
            "PersistentVolume" => {
                with(object, |volume: &mut k8s_openapi::api::core::v1::PersistentVolume| {
                    admission::protect(&mut volume.metadata, admission::VOLUME_PROTECTION);
                })
            }
            "Node" => with(object, |node: &mut Node| admission::taint(node)),
            _ => object,
        }
    }

    fn classes(&self) -> Vec<StorageClass> {
        let classes = self.objects.iter().filter(|(key, _)| key.contains("/storageclasses/"));
        classes.map(|(_, class)| serde_json::from_value(bare(class.clone())).unwrap()).collect()
    }
}

/// Without a Service's addresses and ports that `ours` does not have: allocating them is the server's.
pub fn without_allocated(mut object: Value, ours: &Value) -> Value {
    if object["kind"] != "Service" {
        return object;
    }
    let Some(spec) = object["spec"].as_object_mut() else { return object };
    for field in ["clusterIP", "clusterIPs", "healthCheckNodePort"] {
        if ours["spec"].get(field).is_none() {
            spec.remove(field);
        }
    }
    let ports = spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten();
    for (index, port) in ports.enumerate() {
        if ours["spec"]["ports"][index].get("nodePort").is_none() {
            port.as_object_mut().unwrap().remove("nodePort");
        }
    }
    object
}

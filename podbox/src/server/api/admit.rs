//! Admission: what a write is judged by that needs other objects.

use super::{Api, Call, first, unsupported};
use crate::api::admission;
use crate::api::field::Errors;
use crate::api::kinds::Kind;
use crate::api::lifecycle;
use crate::api::object;
use crate::api::rules::meta;
use crate::api::status::ApiError;
use crate::clock;
use crate::store::Key;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Namespaces that must be there.
const KEPT: [&str; 3] = ["default", "kube-system", "kube-public"];

impl Api {
    /// Judges and completes a new object. Gives back what there is to warn of.
    pub(super) fn admit_create(
        &self,
        call: &Call,
        object: &mut Value,
        account: Option<&ServiceAccount>,
    ) -> Result<Vec<String>, ApiError> {
        let kind = &call.kind;
        if kind.namespaced() {
            self.namespace_takes(call, object::name(object))?;
        }
        if kind.group.is_empty() && kind.kind == "Namespace" {
            let name = object::name(object).to_owned();
            let labels =
                object::metadata(object).map(|metadata| metadata.entry("labels").or_insert(Value::Null));
            if let Some(labels) = labels {
                if !labels.is_object() {
                    *labels = Value::Object(Default::default());
                }
                labels["kubernetes.io/metadata.name"] = name.into();
            }
        }
        let mut warnings = Vec::new();
        match (&*kind.group, &*kind.kind) {
            ("", "Pod") => warnings = self.admit_pod(call, object, account)?,
            ("", "PersistentVolumeClaim") => {
                let classes = self.all("storage.k8s.io/storageclasses");
                change::<PersistentVolumeClaim>(object, |claim| {
                    admission::storage_class(claim, &classes);
                    admission::protect(&mut claim.metadata, admission::CLAIM_PROTECTION);
                });
            }
            ("", "PersistentVolume") => change::<PersistentVolume>(object, |volume| {
                admission::protect(&mut volume.metadata, admission::VOLUME_PROTECTION);
            }),
            ("certificates.k8s.io", "CertificateSigningRequest") => {
                admission::certificate::asked_by(object, &call.user);
            }
            _ => warnings = unsupported::told(kind, object),
        }
        self.within_ranges(call, object)?;
        self.within_quotas(call, object, None)?;
        Ok(warnings)
    }

    /// All that others add to a pod, at once: there are many, and they are large.
    fn admit_pod(
        &self,
        call: &Call,
        object: &mut Value,
        account: Option<&ServiceAccount>,
    ) -> Result<Vec<String>, ApiError> {
        let volume = lifecycle::generated(admission::TOKEN_VOLUME_PREFIX, crate::chance::bytes());
        let classes = self.all("scheduling.k8s.io/priorityclasses");
        let ranges = self.ranges(call)?;
        let (mut refused, mut warnings) = (None, Vec::new());
        change::<Pod>(object, |pod| {
            warnings = unsupported::of_pod(pod, "");
            account.into_iter().for_each(|account| admission::service_account(pod, account, &volume));
            admission::limits::complete(pod, &ranges);
            admission::tolerations(pod);
            refused = admission::priority(pod, &classes).err();
            refused = refused.take().or_else(|| self.runtime(pod).err());
        });
        match refused {
            Some(why) => Err(ApiError::forbidden("", "pods", object::name(object), &why)),
            None => Ok(warnings),
        }
    }

    /// Fills in what others say of a change of an object, or of a part.
    pub(super) fn complete_update(&self, call: &Call, part: &str, new: &mut Value, old: &Value) {
        let tolerated = |pod: &Value| pod["spec"]["tolerations"].clone();
        if part.is_empty() && call.kind.kind == "Pod" && tolerated(new) != tolerated(old) {
            change::<Pod>(new, admission::tolerations);
        }
        if call.kind.kind == "CertificateSigningRequest" && !part.is_empty() {
            admission::certificate::date(new, old, &object::time(clock::wall()));
        }
    }

    /// Judges a change of an object, or of a part. Gives back what there is to warn of.
    pub(super) fn admit_update(
        &self,
        call: &Call,
        part: &str,
        new: &Value,
        old: &Value,
    ) -> Result<Vec<String>, ApiError> {
        let kind = &call.kind;
        if part == "resize" {
            self.resizable(new)?;
        }
        if (part.is_empty() || part == "resize") && new["spec"] != old["spec"] {
            // A pod's own update changes nothing that is limited.
            if part == "resize" || kind.kind != "Pod" {
                self.within_ranges(call, new)?;
            }
            self.within_quotas(call, new, Some(old))?;
        }
        let told = match part.is_empty() && new["spec"] != old["spec"] {
            // Of a pod it was told when it was made.
            true if kind.kind != "Pod" => unsupported::told(kind, new),
            _ => unsupported::of_node(kind, new, old),
        };
        Ok(told)
    }

    /// Whether the resources of a pod can change where it is.
    fn resizable(&self, pod: &Value) -> Result<(), ApiError> {
        let name = object::name(pod);
        let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        if !node.is_empty() && self.store.get("/nodes", &Key::new("", node)).is_none() {
            return Err(ApiError::forbidden("", "pods", name, &format!("node {node:?} not found")));
        }
        Ok(())
    }

    /// Gives a pod what its runtime class adds to it.
    fn runtime(&self, pod: &mut Pod) -> Result<(), String> {
        let asked = pod.spec.as_ref().and_then(|spec| spec.runtime_class_name.clone());
        let class = asked.as_ref().and_then(|name| {
            let entry = self.store.get("node.k8s.io/runtimeclasses", &Key::new("", name))?;
            serde_json::from_slice(&entry.bytes).ok()
        });
        admission::runtime_class(pod, class.as_ref())
    }

    /// Every object of a collection that is of its type.
    fn all<T: DeserializeOwned>(&self, collection: &str) -> Vec<T> {
        let Ok(page) = self.store.list(collection, None, None, 0, None) else { return Vec::new() };
        page.entries.iter().filter_map(|entry| serde_json::from_slice(&entry.bytes).ok()).collect()
    }

    /// Judges a deletion.
    pub(super) fn admit_delete(&self, call: &Call, name: &str) -> Result<(), ApiError> {
        let kind = &call.kind;
        if kind.group.is_empty() && kind.kind == "Namespace" && KEPT.contains(&name) {
            return Err(ApiError::forbidden("", "namespaces", name, "this namespace may not be deleted"));
        }
        if kind.kind == "ServiceCIDR" && name == first::SERVICE_RANGE {
            let why = "Services have their addresses from this range";
            return Err(ApiError::forbidden(&kind.group, &kind.plural, name, why));
        }
        Ok(())
    }

    /// What is wrong with an object's metadata.
    pub(super) fn metadata_errors(&self, kind: &Kind, object: &Value, old: Option<&Value>) -> Errors {
        let read = |object: &Value| ObjectMeta::deserialize(&object["metadata"]).unwrap_or_default();
        match old {
            Some(old) => meta::update(&read(object), &read(old)),
            None => meta::create(&read(object), kind),
        }
    }

    fn namespace_takes(&self, call: &Call, name: &str) -> Result<(), ApiError> {
        let (kind, namespace) = (&call.kind, &call.info.namespace);
        let Some(entry) = self.store.get("/namespaces", &Key::new("", namespace)) else {
            return Err(ApiError::not_found("", "namespaces", namespace));
        };
        if !super::read::deleting(&entry) {
            return Ok(());
        }
        let why =
            format!("unable to create new content in namespace {namespace} because it is being terminated");
        let mut error = ApiError::forbidden(&kind.group, &kind.plural, name, &why);
        error.details["causes"] = serde_json::json!([{
            "reason": "NamespaceTerminating",
            "message": format!("namespace {namespace} is being terminated"),
            "field": "metadata.namespace",
        }]);
        Err(error)
    }
}

/// Changes an object as its type. One that is not of its type stays, for its rules to refuse.
fn change<T: DeserializeOwned + Serialize>(object: &mut Value, change: impl FnOnce(&mut T)) {
    let Ok(mut typed) = T::deserialize(&*object) else { return };
    change(&mut typed);
    if let Ok(value) = serde_json::to_value(typed) {
        *object = value;
    }
}

//! Limit ranges and quotas of a namespace, applied to writes.
//!
//! What is in use is tallied from the store ([`Tallies`](super::tally::Tallies)), never read from a quota's status. Writes
//! into a namespace that has a quota take turns ([`Api::turn`]): of two that would exceed it together, one is refused.

use super::local::Local;
use super::{Api, Call};
use crate::api::admission::{limits, quota};
use crate::api::object;
use crate::api::objects::{ObjectRef, Objects};
use crate::api::status::ApiError;
use k8s_openapi::api::core::v1::{LimitRange, PersistentVolumeClaim, Pod, ResourceQuota};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const QUOTAS: &str = "/resourcequotas";
const RANGES: &str = "/limitranges";

impl Api {
    fn those_of<T: DeserializeOwned>(&self, collection: &str, namespace: &str) -> Result<Vec<T>, ApiError> {
        let page = self.store.list(collection, Some(namespace), None, 0, None);
        let page = page.map_err(|error| ApiError::internal(error.to_string()))?;
        let read = |bytes| serde_json::from_slice(bytes);
        let all = page.entries.iter().map(|entry| read(&entry.bytes));
        all.collect::<Result<_, _>>().map_err(|error| {
            ApiError::internal(format!("an object of {collection} in the store is not of its kind: {error}"))
        })
    }

    /// Whether a quota counts what a call writes.
    pub(super) fn is_counted(&self, call: &Call) -> bool {
        let Some(namespace) = call.namespace() else { return false };
        call.kind.stored()
            && self
                .store
                .list(QUOTAS, Some(namespace), None, 1, None)
                .is_ok_and(|page| !page.entries.is_empty())
    }

    /// The limit ranges that hold for what a call writes.
    pub(super) fn ranges(&self, call: &Call) -> Result<Vec<LimitRange>, ApiError> {
        call.namespace().map_or(Ok(Vec::new()), |namespace| self.those_of(RANGES, namespace))
    }

    /// Refuses what a limit range does not allow.
    pub(super) fn within_ranges(&self, call: &Call, object: &Value) -> Result<(), ApiError> {
        let kind = &call.kind;
        let limited = matches!((&*kind.group, &*kind.kind), ("", "Pod" | "PersistentVolumeClaim"));
        // Few namespaces have any.
        let ranges = if limited { self.ranges(call)? } else { Vec::new() };
        if ranges.is_empty() {
            return Ok(());
        }
        // What is not of its kind is refused for that.
        let why = match &*kind.kind {
            "Pod" => Pod::deserialize(object).ok().and_then(|pod| limits::refuse_pod(&pod, &ranges)),
            _ => {
                let claim = PersistentVolumeClaim::deserialize(object).ok();
                claim.and_then(|claim| limits::refuse_claim(&claim, &ranges))
            }
        };
        match why {
            Some(why) => Err(ApiError::forbidden(&kind.group, &kind.plural, object::name(object), &why)),
            None => Ok(()),
        }
    }

    /// Refuses what a quota does not allow: a new object, or one that grew from `old`.
    pub(super) fn within_quotas(
        &self,
        call: &Call,
        new: &Value,
        old: Option<&Value>,
    ) -> Result<(), ApiError> {
        let (kind, Some(namespace)) = (&call.kind, call.namespace()) else { return Ok(()) };
        if !self.is_counted(call) {
            return Ok(());
        }
        let quotas: Vec<ResourceQuota> = self.those_of(QUOTAS, namespace)?;
        let quotas: Vec<_> = quotas.into_iter().filter(|quota| quota::counts(quota, kind, new)).collect();
        let refuse =
            |why: String| Err(ApiError::forbidden(&kind.group, &kind.plural, object::name(new), &why));
        let pod = (kind.group.is_empty() && kind.kind == "Pod").then(|| Pod::deserialize(new).ok()).flatten();
        if let (Some(pod), None) = (&pod, old)
            && let Some(why) = quotas.iter().find_map(|quota| quota::unsaid(quota, pod))
        {
            return refuse(why);
        }
        let usage = quota::usage(kind, new);
        for quota in &quotas {
            // What a quota did not count of the object before, it counts whole now.
            let before = old.filter(|old| quota::counts(quota, kind, old)).map(|old| quota::usage(kind, old));
            let more = quota::growth(&usage, &before.unwrap_or_default());
            let hard = quota::hard(quota);
            if !more.keys().any(|name| hard.contains_key(name)) {
                continue;
            }
            let used = self.tallies.used(kind, namespace, quota)?;
            if let Some(why) = quota::exceeded(quota, &used, &more) {
                return refuse(why);
            }
        }
        Ok(())
    }
}

impl Local {
    /// Writes into a quota's status what is used of it, if that is not what it says.
    pub async fn recount(&self, namespace: &str, name: &str) -> Result<(), ApiError> {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        let place = ObjectRef { api_version: "v1", kind: "ResourceQuota", namespace, name };
        let there = self.get(&place)?;
        let Ok(quota) = ResourceQuota::deserialize(&there) else { return Ok(()) };
        let hard = quota::hard(&quota);
        let mut used = quota::Usage::new();
        for kind in self.api().kinds().iter().filter(|kind| kind.stored() && kind.twin.is_none()) {
            if kind.namespaced() && hard.keys().any(|name| quota::may_count(kind, name)) {
                quota::add(&mut used, &self.api().tallies.used(kind, &place.namespace, &quota)?);
            }
        }
        let zero = crate::api::quantity::Quantity::ZERO;
        let used: serde_json::Map<_, _> = hard
            .keys()
            .map(|name| (name.clone(), used.get(name).copied().unwrap_or(zero).to_string().into()))
            .collect();
        let status = json!({"hard": there["spec"]["hard"], "used": used});
        if there["status"] == status {
            return Ok(());
        }
        self.update_status(&place, move |quota| quota["status"] = status.clone()).await.map(drop)
    }
}

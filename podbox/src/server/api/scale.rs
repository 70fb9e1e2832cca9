//! The scale subresource: how many replicas an object has and wants, as a Scale.
//!
//! A write makes a Scale of the object, changes that, and puts its number back. Who owns the number is told to a Scale's
//! client by the Scale's words, and kept with the object by the object's: [`managed`] and [`put_back`] map between the two.

use super::answer::{self, Rendered};
use super::change::{is_the_one, patched, whole};
use super::query::WriteOptions;
use super::write::{Change, Written, owned, read as read_entry, refuse, undecodable};
use super::{Api, Call, read, request};
use crate::api::apply::{self, Write as Ownership};
use crate::api::decode::{self, Format, Target};
use crate::api::kinds::{self, Kind};
use crate::api::object;
use crate::api::patch::Patch;
use crate::api::rules::Write;
use crate::api::selector::Labels;
use crate::api::status::ApiError;
use crate::clock;
use crate::server::http::Body;
use hyper::Response;
use hyper::body::Incoming;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::LazyLock;

static SCALE: LazyLock<Kind> = LazyLock::new(kinds::scale);
const PART: &str = "scale";

impl Api {
    /// Answers a get.
    pub(super) fn scale(&self, call: &Call) -> Result<Response<Body>, ApiError> {
        let parent = read_entry(&*self.find(call)?)?;
        let shown = Rendered::Value(shown(&call.kind, &parent));
        answer::object(200, &SCALE, &shown, call.media, read::include(call)?, &[])
    }

    /// Answers an update.
    pub(super) async fn replace_scale(
        &self,
        call: &Call,
        body: Incoming,
    ) -> Result<Response<Body>, ApiError> {
        let options = WriteOptions::read(&call.query, "UpdateOptions", &call.head.agent, false)?;
        let target = Target::from(&*SCALE);
        let (scale, warnings) = self.decode_as(call, &target, body, &options).await?;
        call.check_name(&scale)?;
        let change = |old: &Value| {
            is_the_one(&call.kind, &scale, old)?;
            Ok(scale.clone())
        };
        self.rescale(call, &options, warnings, &change).await
    }

    /// Answers a patch, or an apply.
    pub(super) async fn patch_scale(&self, call: &Call, body: Incoming) -> Result<Response<Body>, ApiError> {
        let apply = call.head.content_type.starts_with("application/apply-patch+yaml");
        let options = WriteOptions::read(&call.query, "PatchOptions", &call.head.agent, apply)?;
        let bytes = request::read(body).await?;
        if !apply {
            let patch = Patch::read(&call.head.content_type, &bytes)?;
            let change = |old: &Value| Ok(patched(&patch, &SCALE, old, options.validation)?.object);
            return self.rescale(call, &options, Vec::new(), &change).await;
        }
        let target = Target::from(&*SCALE);
        let decoded = decode::body(&bytes, Format::Yaml, &target, options.validation)?;
        let config = decoded.object;
        call.check_name(&config)?;
        let now = object::time(clock::wall());
        let version = SCALE.api_version();
        let write = Ownership {
            manager: &options.manager,
            subresource: PART,
            api_version: &version,
            now: &now,
            reset: &[&["status"]],
        };
        let change = |old: &Value| {
            Ok(apply::apply(&whole(&SCALE, old), &config, &target, &write, options.force)?.object)
        };
        self.rescale(call, &options, decoded.warnings, &change).await
    }

    async fn rescale(
        &self,
        call: &Call,
        options: &WriteOptions,
        mut warnings: Vec<String>,
        change: Change<'_>,
    ) -> Result<Response<Body>, ApiError> {
        let kind = &call.kind;
        let put = |parent: &Value| {
            let old = scale(kind, parent);
            let mut new = change(&old)?;
            call.check_name(&new)?;
            let asked = object::text(&new, "resourceVersion").to_owned();
            if !options.apply {
                owned(&SCALE, &old, &mut new, PART, &options.manager);
            }
            let admitted = SCALE.rules.admit(new, Write::Update(&old));
            let admitted = admitted.map_err(|error| undecodable(&SCALE, &error))?;
            refuse(&SCALE, &call.info.name, &admitted.errors)?;
            let mut next = parent.clone();
            next["spec"]["replicas"] = admitted.object["spec"]["replicas"].clone();
            put_back(kind, &mut next, &admitted.object);
            object::set(&mut next, "resourceVersion", asked);
            Ok(next)
        };
        // Who owns what is settled above.
        let settled = WriteOptions { apply: true, ..options.clone() };
        let Written { object, warnings: more, .. } = self.update(call, PART, &settled, &put).await?;
        warnings.extend(more);
        let shown = Rendered::Value(shown(kind, &object.value(kind)?));
        answer::object(200, &SCALE, &shown, call.media, read::include(call)?, &warnings)
    }
}

/// An object's Scale, as clients see it.
fn shown(kind: &Kind, parent: &Value) -> Value {
    let mut scale = scale(kind, parent);
    object::set(&mut scale, "managedFields", Value::Null);
    scale
}

/// An object's Scale, with who owns its number.
fn scale(kind: &Kind, parent: &Value) -> Value {
    let mut metadata = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = parent["metadata"].get(field) {
            metadata[field] = value.clone();
        }
    }
    let owners = managed(parent);
    if !owners.is_empty() {
        metadata["managedFields"] = owners.into();
    }
    let replicas = |part: &str| parent[part]["replicas"].as_i64().unwrap_or(0);
    let selector = selector(kind, &parent["spec"]["selector"]);
    json!({
        "metadata": metadata,
        "spec": {"replicas": replicas("spec")},
        "status": {"replicas": replicas("status"), "selector": selector},
    })
}

/// A selector as a client can hand it to a list.
fn selector(kind: &Kind, given: &Value) -> String {
    if kind.kind == "ReplicationController" {
        let labels = BTreeMap::<String, String>::deserialize(given).unwrap_or_default();
        return Labels::of_map(&labels).to_string();
    }
    LabelSelector::deserialize(given).map(|selector| Labels::of(&selector).to_string()).unwrap_or_default()
}

fn number() -> Value {
    json!({"f:spec": {"f:replicas": {}}})
}

fn owns_number(entry: &Value) -> bool {
    entry["fieldsV1"]["f:spec"]["f:replicas"].is_object()
}

/// Who owns the number of replicas, in a Scale's words.
fn managed(parent: &Value) -> Vec<Value> {
    let entries = parent["metadata"]["managedFields"].as_array().into_iter().flatten();
    let mapped = entries.filter(|entry| owns_number(entry)).map(|entry| {
        let mut entry = entry.clone();
        entry["apiVersion"] = SCALE.api_version().into();
        entry["fieldsV1"] = number();
        entry
    });
    mapped.collect()
}

/// Puts what a Scale says of who owns its number into the object it is of.
fn put_back(kind: &Kind, parent: &mut Value, scale: &Value) {
    let same = |one: &Value, other: &Value| {
        ["manager", "operation", "subresource"].iter().all(|word| one[*word] == other[*word])
    };
    let owners: Vec<_> = scale["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let owners: Vec<_> = owners.into_iter().filter(owns_number).collect();
    let mut entries = parent["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    for entry in &mut entries {
        if owns_number(entry)
            && !owners.iter().any(|owner| same(owner, entry))
            && let Some(spec) = entry["fieldsV1"]["f:spec"].as_object_mut()
        {
            spec.remove("f:replicas");
            if spec.is_empty()
                && let Some(fields) = entry["fieldsV1"].as_object_mut()
            {
                fields.remove("f:spec");
            }
        }
    }
    entries.retain(|entry| entry["fieldsV1"].as_object().is_some_and(|fields| !fields.is_empty()));
    for owner in owners {
        if entries.iter().any(|entry| owns_number(entry) && same(entry, &owner)) {
            continue;
        }
        // As upstream has it: when it was written is not known of such an entry, and so it comes first.
        entries.insert(
            0,
            json!({
                "manager": owner["manager"],
                "operation": owner["operation"],
                "apiVersion": kind.api_version(),
                "fieldsType": "FieldsV1",
                "fieldsV1": number(),
                "subresource": PART,
            }),
        );
    }
    object::set(parent, "managedFields", if entries.is_empty() { Value::Null } else { entries.into() });
}

//! Creates and updates that a real API server answered, replayed against the rules: what it refused and in which
//! words, what it filled in, what it warned of.
//!
//! The server's part is played here: uid, namespace and times, the objects that updates start from, and admission
//! with the accounts and classes that the recordings have. Nothing is read from answers but what to compare with.
//! Where JSON has null or an empty list, ours has nothing: k8s-openapi leaves both out.

use super::{Write, meta, names};
use crate::api::field::Errors;
use crate::api::kinds::{Kind, Kinds};
use crate::api::recorded;
use crate::api::status::ApiError;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

mod exceptions;
mod world;

use world::World;

/// Any will do.
const UID: &str = "4d7a3b1c-0000-4000-8000-000000000000";

/// A write to the main resource that the recorded server accepted or found invalid.
struct Line {
    name: String,
    update: bool,
    kind: Arc<Kind>,
    namespace: Option<String>,
    body: Value,
    status: u64,
    response: Value,
    warnings: Vec<String>,
}

impl Line {
    /// None of what needs a server: protocol, options, subresources, who may.
    fn of(kinds: &Kinds, line: &Value) -> Option<Line> {
        let request = &line["request"];
        let (path, status) = (request["path"].as_str()?, line["status"].as_u64()?);
        let update = match request["method"].as_str()? {
            "POST" => false,
            "PUT" => true,
            _ => return None,
        };
        if path.contains('?') || ![200, 201, 422].contains(&status) || line.get("user").is_some() {
            return None;
        }
        let parts: Vec<_> = path.trim_start_matches('/').split('/').collect();
        let (group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some((*namespace).to_owned()), rest),
            rest => (None, rest),
        };
        let (plural, depth) = (rest.first()?, rest.len());
        if depth != 1 + usize::from(update) {
            return None;
        }
        Some(Line {
            name: line["name"].as_str()?.to_owned(),
            update,
            kind: Arc::clone(kinds.resource(group, version, plural)?),
            namespace,
            body: known(request["body"].as_object()?.clone().into()),
            status,
            response: known(line["response"].clone()),
            warnings: warnings(line),
        })
    }

    fn key(&self) -> String {
        let name = &self.body["metadata"]["name"];
        format!("{}/{}/{name}", self.kind.collection(), self.namespace.as_deref().unwrap_or_default())
    }
}

/// Without those about unknown fields, which are the decoder's.
fn warnings(line: &Value) -> Vec<String> {
    let texts = line.get("warnings").and_then(Value::as_array).into_iter().flatten();
    let texts = texts.filter_map(|text| Some(text.as_str()?.replace("<uid>", UID)));
    texts.filter(|text| !text.starts_with("unknown field")).collect()
}

/// Placeholders that types could not take become values.
fn known(value: Value) -> Value {
    match value {
        Value::String(text) if text == "<time>" => "2026-11-21T00:00:00Z".into(),
        Value::String(text) if text == "<nodePort>" => 30001.into(),
        Value::String(text) => {
            text.replace("<clusterIP>", "10.96.0.9").replace("<suffix>", "abcde").replace("<uid>", UID).into()
        }
        // What the recorded server's vendor adds to token volumes is left out.
        Value::Array(items) => items
            .into_iter()
            .filter(|item| item["configMap"]["name"] != "openshift-service-ca.crt")
            .map(known)
            .collect(),
        Value::Object(fields) => fields.into_iter().map(|(key, value)| (key, known(value))).collect(),
        other => other,
    }
}

/// Without what says nothing, and without what is the server's or the recorder's.
fn bare(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(bare).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(key, _)| !["managedFields", "generation", "resourceVersion"].contains(&key.as_str()))
            .map(|(key, value)| (key, bare(value)))
            .filter(|(_, value)| !value.is_null() && *value != json!([]))
            .collect(),
        other => other,
    }
}

/// What our side makes of a write.
struct Answer {
    name: String,
    object: Value,
    errors: Errors,
    warnings: Vec<String>,
}

fn answer(line: &Line, world: &World) -> Answer {
    let mut body = line.body.clone();
    let metadata = &mut body["metadata"];
    if let Some(namespace) = &line.namespace {
        metadata["namespace"] = namespace.as_str().into();
    }
    body["apiVersion"] = line.kind.api_version().into();
    body["kind"] = line.kind.kind.as_ref().into();
    let mut new: ObjectMeta = serde_json::from_value(body["metadata"].clone()).unwrap();
    let old = world.objects.get(&line.key()).filter(|_| line.update);
    let mut errors = match old {
        Some(old) => {
            let old: ObjectMeta = serde_json::from_value(old["metadata"].clone()).unwrap();
            meta::prepare_update(&mut new, &old);
            meta::update(&new, &old)
        }
        None => {
            meta::prepare_create(&mut new);
            new.uid = Some(UID.to_owned());
            if let Some(prefix) = new.generate_name.as_ref().filter(|_| new.name.is_none()) {
                new.name = Some(names::generated(prefix, "abcde"));
            }
            new.creation_timestamp = serde_json::from_value(json!("2026-11-21T00:00:00Z")).unwrap();
            meta::create(&new, &line.kind)
        }
    };
    let warning = meta::dedup_owners(&mut new);
    body["metadata"] = json!(new);
    let body = line.kind.rules.default(body).unwrap();
    let body = if old.is_some() { body } else { world.admit(line, body) };
    let write = old.map_or(Write::Create, Write::Update);
    let admitted = line.kind.rules.admit(body, write).unwrap();
    errors.0.extend(admitted.errors.0);
    let deprecated = line.kind.deprecated.as_ref().map(ToString::to_string);
    let warnings = deprecated.into_iter().chain(warning).chain(admitted.warnings).collect();
    Answer { name: new.name.unwrap_or_default(), object: admitted.object, errors, warnings }
}

/// How our answer differs from the recorded one.
fn difference(line: &Line, got: &Answer) -> Option<String> {
    if line.status == 422 {
        // What is stored as another kind is refused as that one.
        let group = line.kind.twin.as_ref().map_or(&line.kind.group, |twin| &twin.of.0);
        let ours = ApiError::invalid(group, &line.kind.kind, &got.name, &got.errors).body();
        let softly = exceptions::SOFT.iter().any(|(name, _)| *name == line.name);
        let (mut ours, mut theirs) = (ours, line.response.clone());
        if softly {
            [&mut ours, &mut theirs].into_iter().for_each(exceptions::soften);
        }
        return (ours != theirs).then(|| format!("ours   {ours}\n  theirs {theirs}"));
    }
    if !got.errors.is_empty() {
        return Some(format!("refused: {:?}", got.errors.0));
    }
    if got.warnings != line.warnings {
        return Some(format!("warned {:?}\n  theirs {:?}", got.warnings, line.warnings));
    }
    // Of some answers only a part was kept.
    if line.response["metadata"]["name"].is_null() {
        return None;
    }
    let (ours, theirs) = (bare(got.object.clone()), bare(line.response.clone()));
    let (ours, theirs) =
        (world::without_allocated(ours.clone(), &ours), world::without_allocated(theirs, &ours));
    (ours != theirs).then(|| super::check::changes(&theirs, &ours))
}

/// Replays a file. Gives how many lines match and those that do not.
fn replay(file: &str) -> (usize, Vec<String>) {
    let kinds = Kinds::new();
    let (mut world, mut matching, mut wrong) = (World::default(), 0, Vec::new());
    for line in recorded::lines(file).iter().filter_map(|line| Line::of(&kinds, line)) {
        let got = answer(&line, &world);
        let expected = exceptions::ELSEWHERE.iter().find(|(name, _)| *name == line.name);
        match (difference(&line, &got), expected) {
            (None, None) => matching += 1,
            (None, Some((name, _))) => wrong.push(format!("{name} matches, though it is said not to")),
            (Some(difference), None) => wrong.push(format!("{}:\n  {difference}", line.name)),
            (Some(_), Some(_)) => {}
        }
        if line.status != 422 {
            let whole = !line.response["metadata"]["name"].is_null();
            let object = if whole { line.response.clone() } else { got.object };
            world.remember(&line, object);
        }
    }
    (matching, wrong)
}

fn check(file: &str, least: usize) {
    let (matching, wrong) = replay(file);
    if matching + wrong.len() == 0 {
        return;
    }
    eprintln!("{file}: {matching} writes are answered as recorded, {} are not", wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(matching >= least, "only {matching} writes were compared");
}

#[test]
fn objects_are_defaulted_as_recorded() {
    check("defaulting.jsonl", 106);
}

#[test]
fn invalid_objects_are_refused_as_recorded() {
    check("validation.jsonl", 293);
}

#[test]
fn metadata_are_judged_as_recorded() {
    check("metadata.jsonl", 63);
}

#[test]
fn objects_to_be_patched_are_defaulted_as_recorded() {
    check("patches.jsonl", 10);
}

#[test]
fn an_accepted_object_is_accepted_again_and_stays_as_it_is() {
    let kinds = Kinds::new();
    let mut objects = BTreeMap::new();
    for line in recorded::lines("defaulting.jsonl").iter().filter_map(|line| Line::of(&kinds, line)) {
        if line.status == 201 && line.response.is_object() {
            objects.insert(line.name.clone(), line);
        }
    }
    for (name, line) in &objects {
        let once = line.kind.rules.default(line.response.clone()).unwrap();
        let again = line.kind.rules.default(once.clone()).unwrap();
        assert_eq!(once, again, "{name}");
        let admitted = line.kind.rules.admit(once.clone(), Write::Update(&once)).unwrap();
        assert_eq!(admitted.errors, Errors::default(), "{name}");
        assert_eq!(admitted.object, once, "{name}");
    }
}

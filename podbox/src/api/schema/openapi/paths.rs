//! Paths and what can be done at them.

use super::{Dialect, META, list_name, listed, named};
use crate::api::kinds::{Kind, Verb};
use serde_json::{Map, Value, json};

/// Parameters that change writes, and the verbs that take them.
const WRITES: &[(&str, &[Verb])] = &[
    ("dryRun", &[Verb::Create, Verb::Update, Verb::Patch, Verb::Delete, Verb::DeleteCollection]),
    ("fieldManager", &[Verb::Create, Verb::Update, Verb::Patch]),
    ("fieldValidation", &[Verb::Create, Verb::Update, Verb::Patch]),
    ("force", &[Verb::Patch]),
];
const PATCHES: &[&str] = &[
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

/// A kind's place in a document.
struct Resource<'a> {
    /// The definition, if it has one.
    schema: Option<String>,
    /// Whether a deletion answers with it, rather than with a Status.
    shows_deleted: bool,
    group: &'a str,
    version: &'a str,
    kind: &'a str,
}

/// The paths of kinds.
pub fn write(kinds: &[&Kind], dialect: Dialect) -> Map<String, Value> {
    let mut paths = Map::new();
    for kind in kinds {
        let base = format!("/{}", super::path_of(&kind.group, &kind.version));
        let scoped =
            if kind.namespaced() { format!("{base}/namespaces/{{namespace}}") } else { base.clone() };
        let resource = Resource {
            schema: Some(kind.schema.to_string()),
            shows_deleted: kind.shows_deleted,
            group: &kind.group,
            version: &kind.version,
            kind: &kind.kind,
        };
        let collection = format!("{scoped}/{}", kind.plural);
        let item = format!("{collection}/{{name}}");
        let of = |verbs: &[Verb]| -> Vec<Verb> {
            verbs.iter().copied().filter(|verb| kind.verbs.contains(verb)).collect()
        };
        let list = listed(kind).then(|| list_name(kind));
        let all = of(&[Verb::List, Verb::Create, Verb::DeleteCollection]);
        put(&mut paths, collection, &all, &resource, list.as_deref(), dialect);
        let one = of(&[Verb::Get, Verb::Update, Verb::Patch, Verb::Delete]);
        put(&mut paths, item.clone(), &one, &resource, None, dialect);
        if kind.namespaced() {
            let lists = of(&[Verb::List]);
            put(&mut paths, format!("{base}/{}", kind.plural), &lists, &resource, list.as_deref(), dialect);
        }
        for part in &kind.subresources {
            let (group, version) = part.of.as_ref().map_or((&kind.group, &kind.version), |of| (&of.0, &of.1));
            let schema = named(group, version, &part.kind).map(|definition| definition.name.to_string());
            let resource = Resource { schema, shows_deleted: true, group, version, kind: &part.kind };
            put(&mut paths, format!("{item}/{}", part.name), part.verbs, &resource, None, dialect);
        }
    }
    paths
}

fn put(
    paths: &mut Map<String, Value>,
    path: String,
    verbs: &[Verb],
    resource: &Resource<'_>,
    list: Option<&str>,
    dialect: Dialect,
) {
    if verbs.is_empty() {
        return;
    }
    let mut entry = Map::new();
    let names = ["name", "namespace"].into_iter().filter(|name| path.contains(&format!("{{{name}}}")));
    let parameters: Vec<_> = names.map(|name| parameter(name, "path", dialect)).collect();
    if !parameters.is_empty() {
        entry.insert("parameters".to_owned(), parameters.into());
    }
    for verb in verbs {
        let (method, action) = match verb {
            Verb::Get => ("get", "get"),
            Verb::List => ("get", "list"),
            Verb::Create => ("post", "post"),
            Verb::Update => ("put", "put"),
            Verb::Patch => ("patch", "patch"),
            Verb::Delete => ("delete", "delete"),
            Verb::DeleteCollection => ("delete", "deletecollection"),
            Verb::Watch => continue,
        };
        let answer = match verb {
            Verb::List => list.map(str::to_owned),
            Verb::DeleteCollection => Some(format!("{META}Status")),
            Verb::Delete if !resource.shows_deleted => Some(format!("{META}Status")),
            _ => resource.schema.clone(),
        };
        entry.insert(method.to_owned(), operation(*verb, action, resource, answer.as_deref(), dialect));
    }
    paths.insert(path, Value::Object(entry));
}

fn operation(
    verb: Verb,
    action: &str,
    resource: &Resource<'_>,
    answer: Option<&str>,
    dialect: Dialect,
) -> Value {
    let parameters = WRITES.iter().filter(|(_, verbs)| verbs.contains(&verb));
    let mut parameters: Vec<_> = parameters.map(|(name, _)| parameter(name, "query", dialect)).collect();
    let body = match verb {
        Verb::Create | Verb::Update => resource.schema.clone(),
        Verb::Patch => Some(format!("{META}Patch")),
        Verb::Delete | Verb::DeleteCollection => Some(format!("{META}DeleteOptions")),
        _ => None,
    };
    let mut operation = json!({
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind":
            {"group": resource.group, "version": resource.version, "kind": resource.kind},
    });
    let types: &[&str] =
        if verb == Verb::Patch { PATCHES } else { &["application/json", "application/yaml"] };
    let mut ok = json!({"description": "OK"});
    match dialect {
        Dialect::Two => {
            operation["consumes"] = types.into();
            operation["produces"] = json!(["application/json", "application/yaml"]);
            if let Some(answer) = answer {
                ok["schema"] = dialect.reference(answer);
            }
            if let Some(body) = body {
                let required = !matches!(verb, Verb::Delete | Verb::DeleteCollection);
                let schema = dialect.reference(&body);
                parameters
                    .push(json!({"name": "body", "in": "body", "required": required, "schema": schema}));
            }
        }
        Dialect::Three => {
            if let Some(answer) = answer {
                ok["content"] = json!({"application/json": {"schema": dialect.reference(answer)}});
            }
            if let Some(body) = body {
                let schema = dialect.reference(&body);
                let content: Map<_, _> =
                    types.iter().map(|kind| ((*kind).to_owned(), json!({"schema": schema}))).collect();
                operation["requestBody"] = json!({"content": content});
            }
        }
    }
    operation["parameters"] = parameters.into();
    operation["responses"] = json!({"200": ok, "401": {"description": "Unauthorized"}});
    operation
}

fn parameter(name: &str, place: &str, dialect: Dialect) -> Value {
    let kind = if name == "force" { "boolean" } else { "string" };
    let mut parameter = json!({"name": name, "in": place});
    match dialect {
        Dialect::Two => parameter["type"] = kind.into(),
        Dialect::Three => parameter["schema"] = json!({"type": kind}),
    }
    if place == "path" {
        parameter["required"] = true.into();
    }
    parameter
}

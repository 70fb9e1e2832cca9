//! OpenAPI documents of what is served: version 3 by group and version, and version 2 as one. Pure.
//!
//! They have what kubectl asks of them: shapes with descriptions for `explain`, merge keys for `apply`, and for each path its
//! actions with the parameters that say whether dry runs and field validation are had. They are made when they are asked for
//! and not kept: the caller may, by their [`hash`].
//!
//! **Invariant:** every reference in a document is to a schema in it.

mod gnostic;
mod paths;

#[cfg(test)]
mod tests;

use super::{Definition, Field, ListType, SHAPES, Schema, Type, builtin, inflate};
use crate::api::kinds::{Kind, Kinds};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};
use std::collections::{BTreeMap, BTreeSet};

static DESCRIPTIONS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptions.z"));

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";
const SCALARS: &[(Type, &str)] = &[
    (Type::Quantity, "io.k8s.apimachinery.pkg.api.resource.Quantity"),
    (Type::IntOrString, "io.k8s.apimachinery.pkg.util.intstr.IntOrString"),
    (Type::Time, "io.k8s.apimachinery.pkg.apis.meta.v1.Time"),
    (Type::MicroTime, "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime"),
];

/// Which version of OpenAPI.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Two,
    Three,
}

impl Dialect {
    fn reference(self, name: &str) -> Value {
        match self {
            Dialect::Two => json!({"$ref": format!("#/definitions/{name}")}),
            Dialect::Three => json!({"$ref": format!("#/components/schemas/{name}")}),
        }
    }
}

/// The index at `/openapi/v3`.
pub fn index(kinds: &Kinds) -> Value {
    let versions: BTreeSet<_> = kinds.iter().map(|kind| path_of(&kind.group, &kind.version)).collect();
    let entry = |path: &String| {
        let url = format!("/openapi/v3/{path}?hash={}", hash(kinds, path));
        (path.clone(), json!({"serverRelativeURL": url}))
    };
    json!({"paths": versions.iter().map(entry).collect::<Map<_, _>>()})
}

/// What a document at this path (`apis/apps/v1`; the empty one is everything's) is known by while it does not change: it is made of
/// the schema and the kinds.
pub fn hash(kinds: &Kinds, path: &str) -> String {
    let mut hash = Sha512::new();
    hash.update(env!("CARGO_PKG_VERSION"));
    hash.update(SHAPES);
    hash.update(DESCRIPTIONS);
    hash.update(path);
    let everything = path.is_empty();
    let of = |kind: &Kind| everything || path_of(&kind.group, &kind.version) == path;
    for kind in kinds.iter().filter(|kind| of(kind)) {
        let parts: Vec<_> = kind.subresources.iter().map(|part| &*part.name).collect();
        hash.update(format!("{} {} {} {}\n", kind.version, kind.kind, kind.schema, parts.join(",")));
    }
    data_encoding::HEXUPPER.encode(&hash.finalize())
}

/// `apis/apps/v1`.
fn path_of(group: &str, version: &str) -> String {
    match group {
        "" => format!("api/{version}"),
        group => format!("apis/{group}/{version}"),
    }
}

/// The document of a group and version; none if there is no such.
pub fn v3(kinds: &Kinds, group: &str, version: &str) -> Option<Value> {
    let of: Vec<&Kind> = kinds
        .iter()
        .map(|kind| &**kind)
        .filter(|kind| kind.group == group && kind.version == version)
        .collect();
    if of.is_empty() {
        return None;
    }
    Some(json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.36.0"},
        "paths": paths::write(&of, Dialect::Three),
        "components": {"schemas": Writer::new(Dialect::Three).schemas(&of)},
    }))
}

/// The document at `/openapi/v2`.
pub fn v2(kinds: &Kinds) -> Value {
    let of: Vec<&Kind> = kinds.iter().map(|kind| &**kind).collect();
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": "v1.36.0"},
        "paths": paths::write(&of, Dialect::Two),
        "definitions": Writer::new(Dialect::Two).schemas(&of),
    })
}

/// The same as client libraries ask for it: protobuf, without the paths.
pub fn v2_protobuf(kinds: &Kinds) -> Vec<u8> {
    gnostic::write(&v2(kinds))
}

/// The name of a kind's list.
fn list_name(kind: &Kind) -> String {
    format!("{}List", kind.schema)
}

/// Whether its objects can be listed.
fn listed(kind: &Kind) -> bool {
    kind.verbs.contains(&crate::api::kinds::Verb::List)
}

/// The definition of a kind that is not a resource's own.
fn named(group: &str, version: &str, kind: &str) -> Option<&'static Definition> {
    let package = match group {
        "" => "core",
        group => group.split('.').next().unwrap_or(group),
    };
    builtin().find(&format!("io.k8s.api.{package}.{version}.{kind}"))
}

struct Writer {
    dialect: Dialect,
    schema: &'static Schema,
    /// By definition: its own, then its fields'.
    descriptions: BTreeMap<Box<str>, Vec<String>>,
}

impl Writer {
    fn new(dialect: Dialect) -> Writer {
        let schema = builtin();
        let text = inflate(DESCRIPTIONS);
        let mut lines = text.split('\n').map(|line| line.replace("\\n", "\n").replace("\\\\", "\\"));
        let mut descriptions = BTreeMap::new();
        for definition in schema.definitions() {
            let own = lines.by_ref().take(1 + definition.fields.len()).collect();
            descriptions.insert(definition.name.clone(), own);
        }
        Writer { dialect, schema, descriptions }
    }

    /// The schemas of kinds and of all that they refer to.
    fn schemas(&self, kinds: &[&Kind]) -> Map<String, Value> {
        let mut todo: Vec<&Definition> = ["DeleteOptions", "Status", "Patch", "ListMeta", "ObjectMeta"]
            .iter()
            .filter_map(|name| self.schema.find(&format!("{META}{name}")))
            .collect();
        let mut schemas = Map::new();
        let mut said: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        for kind in kinds {
            todo.extend(self.schema.find(&kind.schema));
            let gvk = json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
            said.entry(&kind.schema).or_default().push(gvk);
            for part in &kind.subresources {
                let (group, version) =
                    part.of.as_ref().map_or((&kind.group, &kind.version), |of| (&of.0, &of.1));
                if let Some(definition) = named(group, version, &part.kind) {
                    let gvk = json!({"group": group, "version": version, "kind": part.kind});
                    let all = said.entry(&definition.name).or_default();
                    if !all.contains(&gvk) {
                        all.push(gvk);
                    }
                    todo.push(definition);
                }
            }
            if self.schema.find(&kind.schema).is_none() {
                schemas.insert(kind.schema.to_string(), json!({"type": "object"}));
            }
            if listed(kind) {
                schemas.insert(list_name(kind), self.list(kind));
            }
        }
        while let Some(definition) = todo.pop() {
            if schemas.contains_key(&*definition.name) {
                continue;
            }
            let mut schema = self.definition(definition);
            if let Some(gvks) = said.get(&*definition.name) {
                schema["x-kubernetes-group-version-kind"] = gvks.clone().into();
            }
            schemas.insert(definition.name.to_string(), schema);
            todo.extend(definition.fields.iter().filter_map(|field| self.refers(&field.kind)));
        }
        schemas
    }

    fn refers(&self, kind: &Type) -> Option<&'static Definition> {
        match kind {
            Type::Struct(id) => Some(self.schema.definition(*id)),
            Type::List(of) | Type::Map(of) => self.refers(of),
            scalar => {
                let (_, name) = SCALARS.iter().find(|(kind, _)| kind == scalar)?;
                self.schema.find(name)
            }
        }
    }

    fn described(&self, definition: &Definition, index: usize) -> &str {
        let lines = self.descriptions.get(&definition.name);
        lines.and_then(|lines| lines.get(index)).map_or("", String::as_str)
    }

    fn definition(&self, definition: &Definition) -> Value {
        let mut schema = match &definition.scalar {
            Some(scalar) => self.scalar(scalar),
            None => json!({"type": "object"}),
        };
        describe(&mut schema, self.described(definition, 0));
        if definition.atomic {
            schema["x-kubernetes-map-type"] = "atomic".into();
        }
        if definition.fields.is_empty() {
            return schema;
        }
        let fields = definition.fields.iter().enumerate();
        let properties: Map<_, _> = fields
            .map(|(index, field)| {
                (field.name.to_string(), self.field(field, self.described(definition, index + 1)))
            })
            .collect();
        schema["properties"] = properties.into();
        let required = definition.fields.iter().filter(|field| field.required);
        let required: Vec<_> = required.map(|field| Value::from(&*field.name)).collect();
        if !required.is_empty() {
            schema["required"] = required.into();
        }
        schema
    }

    fn field(&self, field: &Field, description: &str) -> Value {
        let mut schema = self.value(&field.kind);
        // Beside a reference version 3 reads nothing.
        if self.dialect == Dialect::Three && schema.get("$ref").is_some() {
            schema = json!({"allOf": [schema]});
        }
        describe(&mut schema, description);
        if let Some(default) = &field.default {
            schema["default"] = (**default).into();
        }
        if let Some(atomic) = field.atomic {
            schema["x-kubernetes-map-type"] = if atomic { "atomic" } else { "granular" }.into();
        }
        if matches!(field.kind, Type::List(_)) {
            schema["x-kubernetes-list-type"] = match &field.list {
                ListType::Atomic => "atomic".into(),
                ListType::Set => "set".into(),
                ListType::Map(keys) => {
                    let keys: Vec<_> = keys.iter().map(|key| Value::from(&**key)).collect();
                    schema["x-kubernetes-list-map-keys"] = keys.into();
                    "map".into()
                }
            };
        }
        let patch = &field.patch;
        let strategies = [(patch.merge, "merge"), (patch.retain, "retainKeys"), (patch.replace, "replace")];
        let strategies: Vec<_> = strategies.iter().filter(|(is, _)| *is).map(|(_, word)| *word).collect();
        if !strategies.is_empty() {
            schema["x-kubernetes-patch-strategy"] = strategies.join(",").into();
        }
        if let Some(key) = &patch.key {
            schema["x-kubernetes-patch-merge-key"] = (**key).into();
        }
        schema
    }

    fn value(&self, kind: &Type) -> Value {
        match kind {
            Type::List(of) => json!({"type": "array", "items": self.value(of)}),
            Type::Map(of) => json!({"type": "object", "additionalProperties": self.value(of)}),
            kind => match self.refers(kind) {
                Some(definition) => self.dialect.reference(&definition.name),
                None => self.scalar(kind),
            },
        }
    }

    fn scalar(&self, kind: &Type) -> Value {
        let three = self.dialect == Dialect::Three;
        match kind {
            Type::String => json!({"type": "string"}),
            Type::Int32 => json!({"type": "integer", "format": "int32"}),
            Type::Int64 => json!({"type": "integer", "format": "int64"}),
            Type::Double => json!({"type": "number", "format": "double"}),
            Type::Bool => json!({"type": "boolean"}),
            Type::Bytes => json!({"type": "string", "format": "byte"}),
            Type::Time | Type::MicroTime => json!({"type": "string", "format": "date-time"}),
            Type::Quantity if three => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
            Type::Quantity => json!({"type": "string"}),
            Type::IntOrString if three => {
                json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
            }
            Type::IntOrString => json!({"type": "string", "format": "int-or-string"}),
            _ => json!({"type": "object"}),
        }
    }

    fn list(&self, kind: &Kind) -> Value {
        let (words, meta) = (json!({"type": "string"}), self.dialect.reference(&format!("{META}ListMeta")));
        json!({
            "description": format!("{}List is a list of {}.", kind.kind, kind.plural),
            "type": "object",
            "required": ["items"],
            "properties": {
                "apiVersion": words,
                "items": {"type": "array", "items": self.dialect.reference(&kind.schema)},
                "kind": words,
                "metadata": meta,
            },
            "x-kubernetes-group-version-kind":
                [{"group": kind.group, "version": kind.version, "kind": format!("{}List", kind.kind)}],
        })
    }
}

fn describe(schema: &mut Value, text: &str) {
    if !text.is_empty() {
        schema["description"] = text.into();
    }
}

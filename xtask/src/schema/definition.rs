//! A definition: what a type of the crate says of a kind's shape, and how the generated file writes it.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{literal, merge};

/// The type of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `string`, `int32`, `int64`, `double`, `bool`, `bytes`, `json`.
    Plain(&'static str),
    /// Another definition: a Rust path at first, a name in the end.
    Reference(String),
    /// A list.
    List(Box<Kind>),
    /// A map from strings.
    Map(Box<Kind>),
}

/// A field.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its type.
    pub kind: Kind,
    /// Whether it must be there.
    pub required: bool,
    /// For people.
    pub description: String,
    /// What else is to be said of it: `list=map:name`, `patch=merge:name`, `zero`, …, in order.
    pub marks: BTreeMap<&'static str, String>,
}

/// A type.
#[derive(Clone, Debug)]
pub struct Definition {
    /// `crate::api::core::v1::Pod`.
    pub path: String,
    /// `io.k8s.api.core.v1.Pod`.
    pub name: String,
    /// For people.
    pub description: String,
    /// What it is, if it is no structure of fields.
    pub scalar: Option<&'static str>,
    /// Whether it is owned as a whole.
    pub atomic: bool,
    /// Its fields, by their names in JSON.
    pub fields: BTreeMap<String, Field>,
    /// The fields' names in JSON, by their names in Rust.
    pub names: BTreeMap<String, String>,
}

/// What is one value in JSON, or one that has no fields of its own.
const SCALARS: &[(&str, &str)] = &[
    ("io.k8s.apimachinery.pkg.api.resource.Quantity", "quantity"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1", "json"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime", "microtime"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.Patch", "json"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.Time", "time"),
    ("io.k8s.apimachinery.pkg.runtime.RawExtension", "json"),
    ("io.k8s.apimachinery.pkg.util.intstr.IntOrString", "intorstring"),
];

impl Definition {
    /// The definition in a file of the crate, if it has one that is not generic.
    pub fn read(module: &str, text: &str) -> Result<Option<Definition>> {
        let Some((_, impls)) = text.split_once("impl crate::schemars::JsonSchema for ") else {
            return Ok(None);
        };
        let (rust, impls) = impls.split_once(" {").context("the impl has no body")?;
        let (_, after) = impls.split_once("\n        \"").context("the schema has no name")?;
        let (name, _) = after.split_once("\".into()").context("the schema's name does not end")?;
        let (_, after) = impls.split_once("json_schema!(").context("there is no schema")?;
        let schema = literal::read(after)?;
        let scalar = SCALARS.iter().find(|(scalar, _)| *scalar == name).map(|(_, kind)| *kind);
        let mut definition = Definition {
            path: format!("{module}::{rust}"),
            name: name.to_owned(),
            description: description(&schema),
            scalar,
            atomic: false,
            fields: BTreeMap::new(),
            names: names(text),
        };
        let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
        for (key, schema) in schema["properties"].as_object().into_iter().flatten() {
            let field = Field {
                kind: Kind::of(schema).with_context(|| format!("{name}: {key}"))?,
                // The crate's types all have metadata; upstream's documents do not require it.
                required: key != "metadata" && required.iter().any(|required| required == key),
                description: description(schema),
                marks: BTreeMap::new(),
            };
            definition.fields.insert(key.clone(), field);
        }
        merge::read(&mut definition, text)?;
        Ok(Some(definition))
    }
}

fn description(schema: &Value) -> String {
    schema["description"].as_str().unwrap_or_default().to_owned()
}

/// The fields' names: lines of the form `"envFrom" => Field::Key_env_from,`.
fn names(text: &str) -> BTreeMap<String, String> {
    let pairs = text.lines().filter_map(|line| line.trim().split_once("\" => Field::Key_"));
    pairs
        .map(|(json, rust)| (rust.trim_end_matches(',').to_owned(), json.trim_start_matches('"').to_owned()))
        .collect()
}

impl Kind {
    fn of(schema: &Value) -> Result<Kind> {
        if let Some(path) = schema["$ref"].as_str() {
            return Ok(Kind::Reference(path.to_owned()));
        }
        let word = |key: &str| schema[key].as_str().unwrap_or_default();
        Ok(match (word("type"), word("format")) {
            ("string", "byte") => Kind::Plain("bytes"),
            ("string", "") => Kind::Plain("string"),
            ("integer", "int32") => Kind::Plain("int32"),
            ("integer", "int64" | "") => Kind::Plain("int64"),
            ("number", _) => Kind::Plain("double"),
            ("boolean", _) => Kind::Plain("bool"),
            ("array", _) => Kind::List(Box::new(Kind::of(&schema["items"])?)),
            ("object", _) if schema["additionalProperties"].is_object() => {
                Kind::Map(Box::new(Kind::of(&schema["additionalProperties"])?))
            }
            ("object" | "", "") => Kind::Plain("json"),
            (kind, format) => bail!("the type {kind:?} with format {format:?} is unknown"),
        })
    }

    /// The definition that it names, however deep.
    pub fn reference_mut(&mut self) -> Option<&mut String> {
        match self {
            Kind::Plain(_) => None,
            Kind::Reference(path) => Some(path),
            Kind::List(of) | Kind::Map(of) => of.reference_mut(),
        }
    }

    /// The definition that it names, however deep.
    pub fn reference(&self) -> Option<&str> {
        match self {
            Kind::Plain(_) => None,
            Kind::Reference(path) => Some(path),
            Kind::List(of) | Kind::Map(of) => of.reference(),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Plain(word) => f.write_str(word),
            Kind::Reference(name) => f.write_str(name),
            Kind::List(of) => write!(f, "[]{of}"),
            Kind::Map(of) => write!(f, "{{}}{of}"),
        }
    }
}

/// The generated file.
pub fn write<'a>(definitions: impl Iterator<Item = &'a Definition>) -> String {
    let mut lines = Vec::new();
    for definition in definitions {
        let scalar = definition.scalar.map(|kind| format!(" = {kind}")).unwrap_or_default();
        let atomic = if definition.atomic { " atomic" } else { "" };
        lines.push(format!(": {}{scalar}{atomic}", definition.name));
        describe(&definition.description, &mut lines);
        for (name, field) in &definition.fields {
            let required = if field.required { "!" } else { "" };
            let marks: String = field.marks.iter().map(mark).collect();
            lines.push(format!("{name}{required} {}{marks}", field.kind));
            describe(&field.description, &mut lines);
        }
    }
    lines.join("\n") + "\n"
}

fn mark((key, value): (&&'static str, &String)) -> String {
    if value.is_empty() { format!(" {key}") } else { format!(" {key}={value}") }
}

fn describe(text: &str, lines: &mut Vec<String>) {
    if !text.is_empty() {
        lines.push(format!("\" {}", text.replace('\\', "\\\\").replace('\n', "\\n")));
    }
}

//! Reads a body of each format: JSON while it is parsed, YAML and protobuf by way of a tree.

use super::shape::{Shape, Shaping, word};
use super::{Format, Said, Target, starts_with_brace, syntax, unconvertible};
use crate::api::manifest;
use crate::api::proto::{self, Envelope};
use serde::de::DeserializeSeed;
use serde_json::Value;

/// Why there is no object.
pub enum Unread {
    /// It is no text of its format.
    Syntax(String),
    /// It is of another shape than what it says it is.
    Shape(String, Said),
}

/// Reads a body of whatever format.
pub fn read<'a>(
    bytes: &[u8],
    format: Format,
    target: &'a Target<'a>,
    shaping: &mut Shaping<'a>,
) -> Result<Value, Unread> {
    match format {
        Format::Protobuf => return read_protobuf(bytes, target, shaping),
        Format::Yaml if !starts_with_brace(bytes) => return read_yaml(bytes, target, shaping),
        Format::Json | Format::Yaml => {}
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let read = Shape::new(shaping, &target.root).deserialize(&mut json);
    let read = read.and_then(|object| json.end().map(|()| object));
    match (read, shaping.mistake.take()) {
        (Ok(object), None) if object.is_object() => Ok(object),
        (read, mistake) => {
            // Syntax first, whatever else is wrong; then what the object says it is.
            let probe: Value = serde_json::from_slice(bytes).map_err(|error| {
                Unread::Syntax(format!(
                    "couldn't get version/kind; json parse error: {}",
                    syntax::describe(bytes, &error)
                ))
            })?;
            if !probe.is_object() {
                return Err(Unread::Syntax(no_object(&probe)));
            }
            let why = mistake.or_else(|| read.err().map(|error| error.to_string()));
            Err(Unread::Shape(why.unwrap_or_default(), Said::of(&probe)))
        }
    }
}

fn read_yaml<'a>(bytes: &[u8], target: &'a Target<'a>, shaping: &mut Shaping<'a>) -> Result<Value, Unread> {
    let (tree, duplicates) =
        manifest::tree(bytes).map_err(|error| Unread::Syntax(format!("yaml: {error}")))?;
    if !tree.is_object() {
        return Err(Unread::Syntax(no_object(&tree)));
    }
    let said = Said::of(&tree);
    shaping.problems.extend(duplicates.iter().map(|path| format!("duplicate field {path:?}")));
    let shaped = Shape::new(shaping, &target.root).deserialize(tree);
    match (shaped, shaping.mistake.take()) {
        (Ok(object), None) => Ok(object),
        (shaped, why) => {
            let why = why.or_else(|| shaped.err().map(|error| error.to_string()));
            Err(Unread::Shape(why.unwrap_or_default(), said))
        }
    }
}

fn read_protobuf<'a>(
    bytes: &[u8],
    target: &'a Target<'a>,
    shaping: &mut Shaping<'a>,
) -> Result<Value, Unread> {
    let envelope = Envelope::open(bytes).map_err(|error| Unread::Syntax(error.to_string()))?;
    let said = || Said { api_version: envelope.api_version.clone(), kind: envelope.kind.clone() };
    if unconvertible(&said().filled(target), target).is_some() {
        return Err(Unread::Shape(String::new(), said()));
    }
    let message = proto::message(envelope.raw, target.schema, &target.root);
    let mut object = message.map_err(|error| Unread::Shape(error.to_string(), said()))?;
    object["apiVersion"] = envelope.api_version.clone().into();
    object["kind"] = envelope.kind.clone().into();
    // What JSON's reader makes canonical, and texts that are no quantity.
    let shaped = Shape::new(shaping, &target.root).deserialize(object);
    match (shaped, shaping.mistake.take()) {
        (Ok(object), None) => Ok(object),
        (shaped, why) => {
            let why = why.or_else(|| shaped.err().map(|error| error.to_string()));
            Err(Unread::Shape(why.unwrap_or_default(), said()))
        }
    }
}

fn no_object(value: &Value) -> String {
    const PROBE: &str = r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
    let is = word(value);
    format!(
        "couldn't get version/kind; json parse error: json: cannot unmarshal {is} into Go value of type {PROBE}"
    )
}

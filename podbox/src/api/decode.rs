//! A request's bytes to an object of the kind's shape: type errors, unknown and duplicate fields in upstream's words. Pure.
//!
//! The object that comes out has only fields that the schema has, no nulls, and quantities and times as upstream writes
//! them. It is not defaulted, and whether its values make sense is not judged. How large a body may be is the caller's to
//! limit; nesting is limited by the parsers, and what YAML's aliases expand to by `limits::MANIFEST_NODES`.
//!
//! **Invariant:** what came out goes in again unchanged.

mod reading;
mod scalar;
mod shape;
mod syntax;

#[cfg(test)]
mod tests;

use super::field::{Errors, Path};
use super::kinds::Kind;
use super::manifest;
use super::proto::Envelope;
use super::schema::{self, Schema, Type};
use super::status::ApiError;
use reading::Unread;
use serde::de::DeserializeSeed;
use serde_json::Value;
pub(super) use shape::word;
use shape::{Shape, Shaping};

/// What is done about fields that are unknown or come twice: the query's `fieldValidation`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// They are dropped.
    Ignore,
    /// They are dropped and told of.
    #[default]
    Warn,
    /// They fail the request.
    Strict,
}

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// As JSON.
    Json,
    /// As YAML, or as JSON.
    Yaml,
    /// As upstream's protobuf.
    Protobuf,
}

impl Format {
    /// What a `Content-Type` says; JSON if it says nothing.
    pub fn of(content_type: &str) -> Result<Format, ApiError> {
        match content_type.split(';').next().unwrap_or_default().trim() {
            "" | "application/json" => Ok(Format::Json),
            "application/yaml" => Ok(Format::Yaml),
            "application/vnd.kubernetes.protobuf" => Ok(Format::Protobuf),
            _ => {
                let message = "the body of the request was in an unknown format - accepted media types include: \
                               application/json, application/yaml, application/vnd.kubernetes.protobuf";
                Err(ApiError::new(415, "UnsupportedMediaType", message))
            }
        }
    }
}

/// What a body is to be.
#[derive(Clone, Debug)]
pub struct Target<'a> {
    /// The API group; empty for the core.
    pub group: &'a str,
    /// The version.
    pub version: &'a str,
    /// The kind.
    pub kind: &'a str,
    /// Where [`Target::root`] is explained.
    pub schema: &'a Schema,
    /// The shape.
    pub root: Type,
}

/// An object of its shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The object.
    pub object: Value,
    /// For `Warning` headers.
    pub warnings: Vec<String>,
}

impl<'a> From<&'a Kind> for Target<'a> {
    fn from(kind: &'a Kind) -> Target<'a> {
        let schema = schema::builtin();
        // A kind without a schema takes what comes.
        let root = schema.root(&kind.schema).unwrap_or(Type::Any);
        Target { group: &kind.group, version: &kind.version, kind: &kind.kind, schema, root }
    }
}

impl<'a> Target<'a> {
    /// A kind that has no resource of its own: `Scale`, `Eviction`, `TokenRequest`, `DeleteOptions`.
    pub fn named(group: &'a str, version: &'a str, kind: &'a str) -> Target<'a> {
        let schema = schema::builtin();
        let root = names(group, version, kind).iter().find_map(|name| schema.root(name)).unwrap_or(Type::Any);
        Target { group, version, kind, schema, root }
    }

    fn api_version(&self) -> String {
        match self.group {
            "" => self.version.to_owned(),
            group => format!("{group}/{}", self.version),
        }
    }
}

/// Where the schema may have a kind.
fn names(group: &str, version: &str, kind: &str) -> [String; 2] {
    let package = package(group);
    [
        format!("io.k8s.api.{package}.{version}.{kind}"),
        format!("io.k8s.apimachinery.pkg.apis.meta.{version}.{kind}"),
    ]
}

/// `rbac` of `rbac.authorization.k8s.io`.
fn package(group: &str) -> &str {
    match group {
        "" => "core",
        group => group.split('.').next().unwrap_or(group),
    }
}

/// Decodes the body of a create, an update or an apply.
pub fn body(
    bytes: &[u8],
    format: Format,
    target: &Target<'_>,
    validation: FieldValidation,
) -> Result<Decoded, ApiError> {
    let mut shaping = Shaping::new(target.schema);
    let mut object = match reading::read(bytes, format, target, &mut shaping) {
        Ok(object) => object,
        Err(Unread::Syntax(why)) => return Err(unrecognized(bytes, target, &why)),
        Err(Unread::Shape(why, said)) => {
            let said = said.filled(target);
            return Err(wrong_kind(&said, target).unwrap_or_else(|| unhandled(&said, target, &why)));
        }
    };
    let said = Said::of(&object).filled(target);
    if let Some(error) = wrong_kind(&said, target) {
        return Err(error);
    }
    object["apiVersion"] = target.api_version().into();
    object["kind"] = target.kind.into();
    match (validation, shaping.problems.is_empty()) {
        (FieldValidation::Ignore, _) => Ok(Decoded { object, warnings: Vec::new() }),
        (FieldValidation::Strict, false) => Err(unhandled(&said, target, &strict(&shaping.problems))),
        _ => Ok(Decoded { object, warnings: shaping.problems }),
    }
}

/// Gives an object that a patch has made its shape. `shown` is called for the words of an error: the patched object, or the
/// patch.
pub fn patched(
    object: Value,
    target: &Target<'_>,
    validation: FieldValidation,
    shown: impl Fn() -> String,
) -> Result<Decoded, ApiError> {
    let said = Said::of(&object).filled(target);
    if let Some(why) = unconvertible(&said, target) {
        return Err(bad_patch(&shown(), &why));
    }
    let mut shaping = Shaping::new(target.schema);
    let object = Shape::new(&mut shaping, &target.root).deserialize(object);
    match (object, shaping.mistake.take()) {
        (_, Some(why)) => Err(bad_patch(&shown(), &why)),
        (Err(error), None) => Err(bad_patch(&shown(), &error.to_string())),
        (Ok(_), None) if validation == FieldValidation::Strict && !shaping.problems.is_empty() => {
            Err(bad_patch(&shown(), &strict(&shaping.problems)))
        }
        (Ok(object), None) => {
            let warn = validation == FieldValidation::Warn;
            Ok(Decoded { object, warnings: if warn { shaping.problems } else { Vec::new() } })
        }
    }
}

/// Decodes options, `DeleteOptions` say, which are of whatever group and version their client likes.
pub fn options(bytes: &[u8], format: Format, kind: &str) -> Result<Value, ApiError> {
    let said = match format {
        Format::Protobuf => Envelope::open(bytes).map(|envelope| envelope.api_version).unwrap_or_default(),
        Format::Json | Format::Yaml => {
            loose(bytes).map(|tree| Said::of(&tree).api_version).unwrap_or_default()
        }
    };
    let said = if said.is_empty() { "v1" } else { &said };
    let (group, version) = said.split_once('/').unwrap_or(("", said));
    let target = Target { group, version, ..Target::named("", "v1", kind) };
    body(bytes, format, &target, FieldValidation::Ignore).map(|decoded| decoded.object)
}

/// Decodes a document that has no kind: the body of a patch. The error is for people.
pub fn document(bytes: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(bytes).map_err(|error| syntax::describe(bytes, &error))
}

/// Decodes JSON or YAML that has no shape yet: what is to be applied. The error is for people.
pub fn loose(bytes: &[u8]) -> Result<Value, String> {
    if starts_with_brace(bytes) {
        return document(bytes);
    }
    manifest::tree(bytes).map(|(value, _)| value)
}

fn starts_with_brace(bytes: &[u8]) -> bool {
    bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
}

/// What an object says it is.
struct Said {
    api_version: String,
    kind: String,
}

impl Said {
    fn of(object: &Value) -> Said {
        let word = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        Said { api_version: word("apiVersion"), kind: word("kind") }
    }

    /// What it does not say, the path has said.
    fn filled(mut self, target: &Target<'_>) -> Said {
        if self.kind.is_empty() {
            target.kind.clone_into(&mut self.kind);
        }
        if self.api_version.is_empty() {
            self.api_version = target.api_version();
        }
        self
    }

    fn group_version(&self) -> (&str, &str) {
        self.api_version.split_once('/').unwrap_or(("", &self.api_version))
    }
}

fn wrong_kind(said: &Said, target: &Target<'_>) -> Option<ApiError> {
    unconvertible(said, target).map(|why| unhandled(said, target, &why))
}

/// Why what is said is not what is wanted.
fn unconvertible(said: &Said, target: &Target<'_>) -> Option<String> {
    let (group, version) = said.group_version();
    if (group, version, said.kind.as_str()) == (target.group, target.version, target.kind) {
        return None;
    }
    let known = names(group, version, &said.kind).iter().any(|name| target.schema.find(name).is_some());
    Some(match known {
        true => format!(
            "converting ({version}.{}) to ({}.{}): unknown conversion",
            said.kind,
            package(target.group),
            target.kind
        ),
        false => format!(
            "no kind {:?} is registered for version {:?} in scheme \"pkg/api/legacyscheme/scheme.go:30\"",
            said.kind, said.api_version
        ),
    })
}

fn unhandled(said: &Said, target: &Target<'_>, why: &str) -> ApiError {
    let (_, version) = said.group_version();
    ApiError::bad_request(format!(
        "{} in version {version:?} cannot be handled as a {}: {why}",
        said.kind, target.kind
    ))
}

fn unrecognized(bytes: &[u8], target: &Target<'_>, why: &str) -> ApiError {
    let shown = summary(bytes);
    let kind = target.kind;
    ApiError::bad_request(format!(
        "the object provided is unrecognized (must be of type {kind}): {why} ({shown})"
    ))
}

/// As much of a body as its error shows.
fn summary(bytes: &[u8]) -> String {
    const MOST: usize = 30;
    let head = &bytes[..bytes.len().min(MOST)];
    let more = if bytes.len() > MOST { " ..." } else { "" };
    match head.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(head)),
        Some(_) => format!("{}{more}", data_encoding::HEXLOWER.encode(head)),
    }
}

fn strict(problems: &[String]) -> String {
    format!("strict decoding error: {}", problems.join(", "))
}

fn bad_patch(shown: &str, why: &str) -> ApiError {
    let mut errors = Errors::default();
    errors.invalid(&Path::ROOT.child("patch"), shown, why);
    ApiError::invalid("", "", "", &errors)
}

//! What goes back to a client: objects, lists, tables, Statuses, in the form that was negotiated.
//!
//! Objects come from the store as the bytes they were stored as, without kind and apiVersion: those are put in
//! front, so that an object is read and written without being parsed.

use super::listing::Listing;
use super::media::{Media, Shape};
use crate::api::kinds::Kind;
use crate::api::print::{self, Include};
use crate::api::status::ApiError;
use crate::clock;
use crate::server::http::{Body, full};
use crate::store::Entry;
use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::header::{CONTENT_TYPE, HeaderValue, WARNING};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;

/// An object, parsed or not.
#[derive(Clone, Debug)]
pub enum Rendered {
    /// As it is in the store.
    Entry(Arc<Entry>),
    /// With or without its kind and apiVersion.
    Value(Value),
}

/// The beginning of an object of a kind: all but what the store has.
fn front(kind: &str, api_version: &str) -> String {
    format!("{{\"kind\":{},\"apiVersion\":{},", json!(kind), json!(api_version))
}

impl Rendered {
    /// The object, whole.
    pub fn value(&self, kind: &Kind) -> Result<Value, ApiError> {
        let mut value = match self {
            Rendered::Value(value) => value.clone(),
            Rendered::Entry(entry) => kind.from_stored(super::write::read(entry)?),
        };
        if let Some(fields) = value.as_object_mut() {
            fields.entry("kind").or_insert_with(|| json!(kind.kind));
            fields.entry("apiVersion").or_insert_with(|| kind.api_version().into());
        }
        Ok(value)
    }

    /// The object's JSON, whole.
    pub fn json(&self, kind: &Kind) -> Result<Bytes, ApiError> {
        match self {
            Rendered::Entry(entry) if kind.twin.is_none() => {
                let front = front(&kind.kind, &kind.api_version());
                let mut bytes = BytesMut::with_capacity(front.len() + entry.bytes.len());
                bytes.put_slice(front.as_bytes());
                bytes.put_slice(&entry.bytes[1..]);
                Ok(bytes.freeze())
            }
            _ => to_json(&self.value(kind)?),
        }
    }
}

fn to_json(value: &Value) -> Result<Bytes, ApiError> {
    serde_json::to_vec(value).map(Bytes::from).map_err(|error| ApiError::internal(error.to_string()))
}

/// The bytes of a value in the form that was negotiated.
pub fn encode(value: &Value, media: Media) -> Result<Bytes, ApiError> {
    match media.yaml {
        false => to_json(value),
        true => serde_yaml::to_string(value)
            .map(Bytes::from)
            .map_err(|error| ApiError::internal(format!("writing YAML failed: {error}"))),
    }
}

/// A response of a code and a body.
pub fn response(
    code: u16,
    content_type: &'static str,
    bytes: impl Into<Bytes>,
    warnings: &[String],
) -> Response<Body> {
    let mut response = Response::new(full(bytes));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    warnings.iter().fold(response, |response, warning| warned(response, warning))
}

/// A response with one more `Warning`.
pub fn warned(mut response: Response<Body>, warning: &str) -> Response<Body> {
    // 299: persistent, without an agent. What a header cannot carry is left out.
    let text: String = warning.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
    if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()) {
        response.headers_mut().append(WARNING, value);
    }
    response
}

/// A response that tells a failure.
pub fn failure(error: &ApiError, media: Media) -> Response<Body> {
    let media = Media { shape: Shape::Whole, ..media };
    let bytes = encode(&error.body(), media).unwrap_or_default();
    let mut response = response(error.code, media.content_type(), bytes, &[]);
    if let Some(seconds) = error.details["retryAfterSeconds"].as_u64() {
        response.headers_mut().insert(hyper::header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// A response of one value, as it is.
pub fn plain(
    code: u16,
    value: &Value,
    media: Media,
    warnings: &[String],
) -> Result<Response<Body>, ApiError> {
    Ok(response(code, media.content_type(), encode(value, media)?, warnings))
}

/// A response of one object.
pub fn object(
    code: u16,
    kind: &Kind,
    object: &Rendered,
    media: Media,
    include: Include,
    warnings: &[String],
) -> Result<Response<Body>, ApiError> {
    let bytes = match media.shape {
        Shape::Whole if !media.yaml => object.json(kind)?,
        Shape::Table => {
            let value = object.value(kind)?;
            let metadata = json!({"resourceVersion": value["metadata"]["resourceVersion"]});
            let rows = vec![print::row(kind, &value, include, clock::wall())];
            encode(&table(kind, metadata, true, rows), media)?
        }
        Shape::Partial => encode(&print::partial(&object.value(kind)?), media)?,
        Shape::Whole | Shape::Aggregated => encode(&object.value(kind)?, media)?,
    };
    Ok(response(code, media.content_type(), bytes, warnings))
}

/// A table. Without columns it continues one whose columns were told.
pub fn table(kind: &Kind, metadata: Value, columns: bool, rows: Vec<Value>) -> Value {
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": if columns { print::columns(kind) } else { Value::Null },
        "rows": rows,
    })
}

/// A response of a list.
pub fn list(
    kind: &Arc<Kind>,
    entries: Vec<Rendered>,
    metadata: Value,
    media: Media,
    include: Include,
) -> Result<Response<Body>, ApiError> {
    let listing = Listing::new(kind, entries, metadata, media, include)?;
    let mut response = response(200, media.content_type(), Bytes::new(), &[]);
    *response.body_mut() = listing.boxed_unsync();
    Ok(response)
}

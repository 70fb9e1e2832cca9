//! OpenAPI documents as they are sent. Each is made when it is first asked for and kept while the kinds stay what they are,
//! compressed, since that is how nearly every client takes it; the rest get it inflated, piece by piece as they take it.
//!
//! They are JSON; version 2 is protobuf for those who ask for that, as kubectl does where version 3 does not tell it enough. As
//! upstream's, a version 3 URL with its hash may be kept for a year, and one with another hash is sent on to the right one.
//!
//! **Invariant:** what is kept is at most one compressed document for each group's version, and three more.

use super::meta::no_page;
use super::query::Query;
use super::request::Head;
use crate::api::kinds::Kinds;
use crate::api::schema::openapi;
use crate::api::status::ApiError;
use crate::server::http::{Body, full, with_type};
use crate::{clock, limits};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::header::{
    CACHE_CONTROL, CONTENT_ENCODING, ETAG, EXPIRES, HeaderName, HeaderValue, LOCATION, VARY,
};
use hyper::{Response, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

const YEAR: SignedDuration = SignedDuration::from_hours(365 * 24);

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
/// How clients may ask for it; the first is how kubectl does.
const PROTOBUFS: [&str; 2] = ["application/com.github.proto-openapi.spec.v2@v1.0+protobuf", PROTOBUF];

/// The documents made so far.
#[derive(Default)]
pub struct Documents(Mutex<Made>);

#[derive(Default)]
struct Made {
    /// What they were made from.
    kinds: Option<Arc<Kinds>>,
    /// By path below `/openapi/`, and content type.
    documents: BTreeMap<(String, &'static str), Document>,
}

#[derive(Clone)]
struct Document {
    content_type: &'static str,
    hash: Arc<str>,
    compressed: Bytes,
}

impl Documents {
    /// Answers a request for a document, by its path.
    pub fn answer(&self, head: &Head, kinds: &Arc<Kinds>) -> Result<Response<Body>, ApiError> {
        let path = head.path.trim_start_matches("/openapi/").trim_end_matches('/');
        let protobuf = path == "v2" && PROTOBUFS.iter().any(|name| head.accept.contains(name));
        let content_type = if protobuf { PROTOBUF } else { JSON };
        let Some(document) = self.find(path, content_type, kinds)? else { return Ok(no_page()) };
        let query = Query::parse(&head.query);
        let asked = query.text("hash");
        if path.starts_with("v3/") && !asked.is_empty() && *asked != *document.hash {
            let mut moved = with_type(StatusCode::MOVED_PERMANENTLY, "text/html; charset=utf-8", full(""));
            put(&mut moved, LOCATION, &format!("/openapi/{path}?hash={}", document.hash));
            return Ok(moved);
        }
        let mut response = document.response(head);
        if path.starts_with("v3/") && !asked.is_empty() {
            put(&mut response, CACHE_CONTROL, "public, immutable");
            let until = Timestamp::try_from(clock::wall()).ok().and_then(|now| now.checked_add(YEAR).ok());
            if let Some(until) = until {
                put(&mut response, EXPIRES, &until.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string());
            }
        }
        Ok(response)
    }

    /// The document of a path, made now if need be; others that want one wait, since it may be the same.
    fn find(
        &self,
        path: &str,
        content_type: &'static str,
        kinds: &Arc<Kinds>,
    ) -> Result<Option<Document>, ApiError> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !made.kinds.as_ref().is_some_and(|of| Arc::ptr_eq(of, kinds)) {
            *made = Made { kinds: Some(Arc::clone(kinds)), documents: BTreeMap::new() };
        }
        let key = (path.to_owned(), content_type);
        if let Some(document) = made.documents.get(&key) {
            return Ok(Some(document.clone()));
        }
        let compressed = match content_type {
            PROTOBUF => compress(|encoder| encoder.write_all(&openapi::v2_protobuf(kinds)))?,
            _ => {
                let Some(value) = write(path, kinds) else { return Ok(None) };
                compress(|encoder| Ok(serde_json::to_writer(encoder, &value)?))?
            }
        };
        let of = path.strip_prefix("v3/").unwrap_or_default();
        let mut hash = openapi::hash(kinds, of);
        if content_type == PROTOBUF {
            hash.push_str("-protobuf");
        }
        let document = Document { content_type, hash: hash.into(), compressed };
        made.documents.insert(key, document.clone());
        Ok(Some(document))
    }
}

fn write(path: &str, kinds: &Kinds) -> Option<Value> {
    match path.split('/').collect::<Vec<_>>().as_slice() {
        ["v2"] => Some(openapi::v2(kinds)),
        ["v3"] => Some(openapi::index(kinds)),
        ["v3", "api", version] => openapi::v3(kinds, "", version),
        ["v3", "apis", group, version] => openapi::v3(kinds, group, version),
        _ => None,
    }
}

fn failed(error: impl std::fmt::Display) -> ApiError {
    ApiError::internal(format!("writing an OpenAPI document failed: {error}"))
}

fn compress(write: impl FnOnce(&mut GzEncoder<Vec<u8>>) -> io::Result<()>) -> Result<Bytes, ApiError> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    write(&mut encoder).map_err(failed)?;
    let mut compressed = encoder.finish().map_err(failed)?;
    compressed.shrink_to_fit();
    Ok(compressed.into())
}

impl Document {
    /// The text of the document, of which there is never more than one piece.
    fn inflated(&self) -> Body {
        let pieces =
            stream::unfold(GzDecoder::new(self.compressed.clone().reader()), |mut decoder| async move {
                let mut piece = BytesMut::new().limit(limits::ANSWER_CHUNK).writer();
                // It was compressed here; one that breaks off is no JSON, which its client notices.
                io::copy(&mut (&mut decoder).take(limits::ANSWER_CHUNK as u64), &mut piece).ok()?;
                let piece = piece.into_inner().into_inner().freeze();
                (!piece.is_empty()).then_some((Ok::<_, Infallible>(Frame::data(piece)), decoder))
            });
        StreamBody::new(pieces).boxed_unsync()
    }

    fn response(&self, head: &Head) -> Response<Body> {
        let of = self.content_type;
        let tag = format!("\"{}\"", self.hash);
        let known = head.known.split(',').map(|tag| tag.trim().trim_start_matches("W/"));
        let mut response = if known.into_iter().any(|known| known == tag || known == "*") {
            with_type(StatusCode::NOT_MODIFIED, of, full(""))
        } else if takes_gzip(&head.encodings) {
            let mut response = with_type(StatusCode::OK, of, full(self.compressed.clone()));
            put(&mut response, CONTENT_ENCODING, "gzip");
            response
        } else {
            with_type(StatusCode::OK, of, self.inflated())
        };
        put(&mut response, ETAG, &tag);
        put(&mut response, VARY, "Accept, Accept-Encoding");
        response
    }
}

/// Whether `Accept-Encoding` names gzip, and not to refuse it.
fn takes_gzip(encodings: &str) -> bool {
    encodings.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let named = matches!(parts.next(), Some("gzip" | "x-gzip" | "*"));
        let weight = parts.find_map(|part| part.strip_prefix("q=")).map(|weight| weight.parse::<f32>());
        named && !matches!(weight, Some(Ok(0.0) | Err(_)))
    })
}

fn put(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

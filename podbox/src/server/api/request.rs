//! What a request says of itself: who sends it, what it accepts, and its body, bounded in size and time.

use super::query::WriteOptions;
use super::{Api, Call};
use crate::api::decode::{self, Format, Target};
use crate::api::status::ApiError;
use crate::auth::secret::Secret;
use crate::limits;
use crate::server::http::Peer;
use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::Method;
use hyper::body::{Body as _, Incoming};
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH,
    SEC_WEBSOCKET_PROTOCOL, UPGRADE, USER_AGENT,
};
use hyper::http::request::Parts;
use hyper::upgrade::OnUpgrade;
use serde_json::Value;
use std::sync::Arc;

/// What the handlers need of a request's head.
#[derive(Clone, Debug)]
pub struct Head {
    /// The path, as it was sent.
    pub path: String,
    /// What follows the question mark.
    pub query: String,
    /// `Accept`.
    pub accept: String,
    /// `Content-Type`.
    pub content_type: String,
    /// `User-Agent`.
    pub agent: String,
    /// `Accept-Encoding`.
    pub encodings: String,
    /// `If-None-Match`.
    pub known: String,
    /// The request as it came, of one that is passed on or becomes another protocol.
    pub raw: Option<Arc<Raw>>,
    token: Option<Secret>,
    peer: Peer,
    claims: Vec<(String, String)>,
}

/// How the headers begin by which a client asks to act as someone else.
const CLAIM: &str = "impersonate-";
/// How a websocket's protocol begins that is a token: a browser can set no other header.
const WEBSOCKET_TOKEN: &str = "base64url.bearer.authorization.k8s.io.";

/// The token that a request shows.
fn token(headers: &HeaderMap) -> Option<Secret> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let shown = text(AUTHORIZATION).and_then(|value| value.trim().split_once(' '));
    let shown = shown.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let shown = shown.map(|(_, token)| token.trim().to_owned()).or_else(|| {
        let mut protocols = text(SEC_WEBSOCKET_PROTOCOL)?.split(',').map(str::trim);
        let encoded = protocols.find_map(|protocol| protocol.strip_prefix(WEBSOCKET_TOKEN))?;
        String::from_utf8(BASE64URL_NOPAD.decode(encoded.as_bytes()).ok()?).ok()
    });
    shown.filter(|token| !token.is_empty()).map(Secret)
}

/// Whom a request asks to act as. What is no text is nobody's name, and is refused as such.
fn claims(headers: &HeaderMap) -> Vec<(String, String)> {
    let wanted = headers.iter().filter(|(name, _)| name.as_str().starts_with(CLAIM));
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    wanted.map(|(name, value)| (name.as_str().to_owned(), text(value.as_bytes()))).collect()
}

/// A request's head as it came.
#[derive(Clone, Debug)]
pub struct Raw {
    /// Its method.
    pub method: Method,
    /// Its headers, without what says who asks.
    pub headers: HeaderMap,
    /// Its connection, if that can become another protocol's.
    pub upgrade: Option<OnUpgrade>,
}

impl Raw {
    /// Most requests need none.
    fn of(parts: &Parts) -> Option<Arc<Raw>> {
        let needed = parts.headers.contains_key(UPGRADE) || parts.uri.path().contains("/proxy");
        needed.then(|| {
            let upgrade = parts.extensions.get::<OnUpgrade>().cloned();
            let mut headers = parts.headers.clone();
            headers.remove(AUTHORIZATION);
            without_token(&mut headers);
            for (name, _) in claims(&parts.headers) {
                headers.remove(name);
            }
            Arc::new(Raw { method: parts.method.clone(), headers, upgrade })
        })
    }
}

/// Takes a bearer token out of the protocols that a web socket offers: whoever it is passed on to must not have it.
fn without_token(headers: &mut HeaderMap) {
    let offered: Vec<String> = headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|protocol| protocol.trim().to_owned())
        .collect();
    if offered.iter().any(|protocol| protocol.starts_with(WEBSOCKET_TOKEN)) {
        let kept: Vec<_> = offered.into_iter().filter(|offer| !offer.starts_with(WEBSOCKET_TOKEN)).collect();
        headers.remove(SEC_WEBSOCKET_PROTOCOL);
        if let (false, Ok(value)) = (kept.is_empty(), HeaderValue::try_from(kept.join(", "))) {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, value);
        }
    }
}

impl Head {
    /// From the parts of a request.
    pub fn of(parts: &Parts) -> Head {
        let text = |name: &HeaderName| {
            let all = parts.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
            all.collect::<Vec<_>>().join(",")
        };
        Head {
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            accept: text(&ACCEPT),
            content_type: text(&CONTENT_TYPE),
            agent: text(&USER_AGENT),
            encodings: text(&ACCEPT_ENCODING),
            known: text(&IF_NONE_MATCH),
            raw: Raw::of(parts),
            token: token(&parts.headers),
            peer: parts.extensions.get::<Peer>().cloned().unwrap_or_default(),
            claims: claims(&parts.headers),
        }
    }

    /// Of a part of podbox itself.
    pub fn local(name: &str) -> Head {
        Head {
            path: String::new(),
            query: String::new(),
            accept: String::new(),
            content_type: String::new(),
            agent: name.to_owned(),
            encodings: String::new(),
            known: String::new(),
            raw: None,
            token: None,
            peer: Peer::default(),
            claims: Vec::new(),
        }
    }

    /// Whom the connection is from.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The bearer token that it shows.
    pub fn token(&self) -> Option<&str> {
        self.token.as_ref().map(|token| token.0.as_str())
    }

    /// Whom it asks to act as: `Impersonate-*` headers, their names in small letters.
    pub fn claims(&self) -> &[(String, String)] {
        &self.claims
    }
}

/// The whole body.
pub async fn read(body: Incoming) -> Result<Bytes, ApiError> {
    let limit = limits::REQUEST_BYTES;
    let too_large = || {
        let message = format!("Request entity too large: limit is {limit}");
        ApiError::new(413, "RequestEntityTooLarge", message)
    };
    // Told at once where the client states it.
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let collected = tokio::time::timeout(limits::REQUEST_READ, Limited::new(body, limit).collect()).await;
    match collected {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(ApiError::bad_request(format!("reading the body failed: {error}"))),
        Err(_) => Err(ApiError::new(408, "Timeout", "the body did not come in time")),
    }
}

impl Api {
    /// The object of a request's body, of the kind that its path says, and what there is to warn of.
    pub async fn decode(
        &self,
        call: &Call,
        body: Incoming,
        options: &WriteOptions,
    ) -> Result<(Value, Vec<String>), ApiError> {
        self.decode_as(call, &Target::from(&*call.kind), body, options).await
    }

    /// The same of another kind: what is sent to a part of an object.
    pub async fn decode_as(
        &self,
        call: &Call,
        target: &Target<'_>,
        body: Incoming,
        options: &WriteOptions,
    ) -> Result<(Value, Vec<String>), ApiError> {
        let bytes = read(body).await?;
        let format = Format::of(&call.head.content_type)?;
        let decoded = decode::body(&bytes, format, target, options.validation)?;
        Ok((decoded.object, decoded.warnings))
    }
}

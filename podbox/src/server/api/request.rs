//! What a request says of itself: who sends it, what it accepts, and its body, bounded in size and time.

use super::query::WriteOptions;
use super::{Api, Call};
use crate::api::decode::{self, Format, Target};
use crate::api::status::ApiError;
use crate::api::user::User;
use crate::limits;
use crate::server::http::Peer;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, USER_AGENT};
use hyper::http::request::Parts;
use serde_json::Value;

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
    token: Option<String>,
    peer: Peer,
}

impl Head {
    /// From the parts of a request.
    pub fn of(parts: &Parts) -> Head {
        let text = |name: &HeaderName| {
            let all = parts.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
            all.collect::<Vec<_>>().join(",")
        };
        let token = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token =
            token.and_then(|value| value.strip_prefix("Bearer ")).map(|token| token.trim().to_owned());
        Head {
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            accept: text(&ACCEPT),
            content_type: text(&CONTENT_TYPE),
            agent: text(&USER_AGENT),
            token,
            peer: parts.extensions.get::<Peer>().cloned().unwrap_or_default(),
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
            token: None,
            peer: Peer::default(),
        }
    }

    /// Who asks. A token that is not good is refused, whatever else was presented.
    pub fn user(&self) -> Result<User, ApiError> {
        match (&self.peer.0, &self.token) {
            (Some(user), _) => Ok(user.clone()),
            (None, Some(_)) => Err(ApiError::new(401, "Unauthorized", "Unauthorized")),
            (None, None) => Ok(User::anonymous()),
        }
    }
}

/// The whole body.
pub async fn read(body: Incoming) -> Result<Bytes, ApiError> {
    let limit = limits::REQUEST_BYTES;
    let too_large = || {
        let message = format!("Request entity too large: limit is {limit}");
        ApiError::new(413, "RequestEntityTooLarge", message)
    };
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
        let bytes = read(body).await?;
        let content_type = call.head.content_type.split(';').next().unwrap_or_default().trim();
        let format = match content_type {
            "" | "application/json" => Format::Json,
            "application/yaml" => Format::Yaml,
            _ => {
                let message = "the body of the request was in an unknown format - accepted media types include: \
                               application/json, application/yaml";
                return Err(ApiError::new(415, "UnsupportedMediaType", message));
            }
        };
        let decoded = decode::body(&bytes, format, &Target::from(&*call.kind), options.validation)?;
        Ok((decoded.object, decoded.warnings))
    }
}

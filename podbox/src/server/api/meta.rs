//! What the server says of itself: version, metrics, discovery. Its health is `health`'s.

use super::answer;
use super::media::{Media, Shape};
use super::path::Info;
use super::query::Query;
use super::request::Head;
use super::{Api, health, not_allowed, unknown};
use crate::api::discovery;
use crate::api::status::ApiError;
use crate::auth::token::discovery as openid;
use crate::server::http::{self, Body};
use hyper::{Method, Response, StatusCode};
use serde_json::{Value, json};

/// The Kubernetes version whose API this is.
const MAJOR: &str = "1";
const MINOR: &str = "36";

/// 404 for what is not even a group.
pub fn no_page() -> Response<Body> {
    http::text(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// The version as clients are told it, and its first two numbers.
pub fn named() -> (String, &'static str, &'static str) {
    (format!("v{MAJOR}.{MINOR}.0+podbox-{}", env!("CARGO_PKG_VERSION")), MAJOR, MINOR)
}

fn version() -> Value {
    let (git_version, major, minor) = named();
    json!({
        "major": major,
        "minor": minor,
        "gitVersion": git_version,
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("linux/{}", if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }),
    })
}

impl Api {
    /// Answers a request that is not about resources.
    pub(super) fn meta(
        &self,
        method: &Method,
        head: &Head,
        info: &Info,
        media: Result<Media, ApiError>,
    ) -> Result<Response<Body>, ApiError> {
        if *method != Method::GET && *method != Method::HEAD {
            return Err(not_allowed());
        }
        let kinds = self.kinds();
        let aggregated = |core: bool| match media.as_ref().is_ok_and(|media| media.shape == Shape::Aggregated)
        {
            true => Some(discovery::aggregated(&kinds, core)),
            false => None,
        };
        let plain = |value: Value| {
            let media = media.clone()?;
            let shape =
                if value["kind"] == "APIGroupDiscoveryList" { Shape::Aggregated } else { Shape::Whole };
            answer::plain(200, &value, Media { shape, ..media }, &[])
        };
        let parts: Vec<_> = head.path.split('/').filter(|part| !part.is_empty()).collect();
        match parts.as_slice() {
            [place @ ("healthz" | "livez" | "readyz")] => {
                Ok(health::all(place, &Query::parse(&head.query), &self.store))
            }
            ["healthz" | "livez" | "readyz", check] => {
                Ok(health::one(check, &self.store).unwrap_or_else(no_page))
            }
            ["version"] => plain(version()),
            ["api"] => plain(aggregated(true).unwrap_or_else(|| discovery::core(&self.address))),
            ["apis"] => plain(aggregated(false).unwrap_or_else(|| discovery::group_list(&kinds))),
            ["apis", group] => match discovery::group(&kinds, group) {
                Some(value) => plain(value),
                None => Ok(no_page()),
            },
            ["api", _] | ["apis", _, _] => {
                plain(discovery::resource_list(&kinds, &info.group, &info.version).ok_or_else(unknown)?)
            }
            [".well-known", "openid-configuration"] => {
                answer::plain(200, &self.gate.tokens.configuration(), Media::JSON, &[])
            }
            ["openid", "v1", "jwks"] => {
                let keys = answer::encode(&self.gate.tokens.keys(), Media::JSON)?;
                Ok(answer::response(200, openid::JWKS_TYPE, keys, &[]))
            }
            ["openapi", ..] => self.documents.answer(head, &kinds),
            _ => Ok(no_page()),
        }
    }
}

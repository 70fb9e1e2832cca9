//! Whether the server lives: `/healthz`, `/livez` and `/readyz`, each as a whole and check by check, in upstream's words.
//!
//! A failed check is named to anybody; why it failed, only to who asks for that check, which takes a right of its own.

use super::query::Query;
use crate::server::http::{self, Body};
use crate::store::Store;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use std::collections::BTreeSet;
use std::fmt::Write;

/// A check: its name, as upstream has it, and why it fails.
type Check = (&'static str, fn(&Store) -> Option<String>);

/// Whoever is answered is pinged, and who answers logs: only the store can be in trouble while the server lives.
const CHECKS: [Check; 3] = [("ping", |_| None), ("log", |_| None), ("etcd", Store::trouble)];

/// Whether a path is one by which is asked whether the server lives.
pub fn is_check(path: &str) -> bool {
    let first = path.trim_start_matches('/').split('/').next();
    matches!(first, Some("healthz" | "livez" | "readyz"))
}

/// Answers one check, if there is one of this name.
pub fn one(name: &str, store: &Store) -> Option<Response<Body>> {
    let (_, check) = CHECKS.iter().find(|(known, _)| *known == name)?;
    Some(match check(store) {
        None => http::text(StatusCode::OK, "ok"),
        Some(why) => failed(format!("internal server error: {why}\n")),
    })
}

/// Answers all checks but those that `?exclude=` names; each by itself, if one fails or `?verbose` asks for it.
pub fn all(place: &str, query: &Query, store: &Store) -> Response<Body> {
    let mut excluded: BTreeSet<&str> = query.all("exclude").iter().map(String::as_str).collect();
    let (mut told, mut good) = (String::new(), true);
    let mut line = |text: std::fmt::Arguments<'_>| told.write_fmt(text).unwrap_or_default();
    for (name, check) in CHECKS {
        if excluded.remove(name) {
            line(format_args!("[+]{name} excluded: ok\n"));
            continue;
        }
        match check(store) {
            None => line(format_args!("[+]{name} ok\n")),
            Some(why) => {
                tracing::debug!("{place}: {name} failed: {why}");
                good = false;
                line(format_args!("[-]{name} failed: reason withheld\n"));
            }
        }
    }
    if !excluded.is_empty() {
        let names: Vec<_> = excluded.iter().map(|name| format!("{name:?}")).collect();
        let names = names.join(",");
        line(format_args!("warn: some health checks cannot be excluded: no matches for {names}\n"));
    }
    match (good, query.has("verbose")) {
        (false, _) => failed(format!("{told}{place} check failed\n")),
        (true, true) => http::text(StatusCode::OK, format!("{told}{place} check passed\n")),
        (true, false) => http::text(StatusCode::OK, "ok"),
    }
}

fn failed(text: String) -> Response<Body> {
    let mut response = http::text(StatusCode::INTERNAL_SERVER_ERROR, text);
    let name = HeaderName::from_static("x-content-type-options");
    response.headers_mut().insert(name, HeaderValue::from_static("nosniff"));
    response
}

//! Requests counted and timed, under upstream's names and labels, so that dashboards for Kubernetes' own server fit.
//!
//! **Invariant:** labels are bounded: they are words of the kinds' table, never of a client.

use super::inflight::held;
use super::path::Info;
use crate::api::kinds::{Kind, Name};
use crate::metrics as table;
use crate::server::http::Body;
use ::metrics::{Counter, Gauge, Histogram, Label};
use hyper::{Method, Response};
use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

/// Parts of resources whose requests last as long as the client wants.
const LASTING: [&str; 5] = ["attach", "exec", "log", "portforward", "proxy"];

/// What a request turned out to be about.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub struct Seen {
    verb: &'static str,
    group: Name,
    version: Name,
    resource: Name,
    subresource: Name,
    scope: &'static str,
}

impl Seen {
    /// As long as nothing but its method is known.
    pub fn new(method: &Method) -> Seen {
        let verb = match *method {
            Method::GET | Method::HEAD => "GET",
            Method::POST => "POST",
            Method::PUT => "PUT",
            Method::PATCH => "PATCH",
            Method::DELETE => "DELETE",
            _ => "other",
        };
        let none = Name::Borrowed("");
        let (group, version, resource, subresource) = (none.clone(), none.clone(), none.clone(), none);
        Seen { verb, group, version, resource, subresource, scope: "" }
    }

    /// It is about objects of a kind.
    pub fn about(&mut self, kind: &Kind, info: &Info) {
        self.verb = match info.verb {
            "list" => "LIST",
            "watch" => "WATCH",
            "deletecollection" => "DELETECOLLECTION",
            _ => self.verb,
        };
        (self.group, self.version) = (kind.group.clone(), kind.version.clone());
        self.resource = kind.plural.clone();
        self.subresource =
            kind.subresource(&info.subresource).map(|part| part.name.clone()).unwrap_or_default();
        self.scope = match (info.name.is_empty(), info.namespace.is_empty()) {
            (false, _) => "resource",
            (true, false) => "namespace",
            (true, true) => "cluster",
        };
    }

    /// Whether it lasts by its nature.
    pub fn lasts(&self) -> bool {
        self.verb == "WATCH" || LASTING.contains(&&*self.subresource)
    }

    fn labels(&self) -> Vec<Label> {
        vec![
            Label::new("verb", self.verb),
            Label::new("group", self.group.clone()),
            Label::new("version", self.version.clone()),
            Label::new("resource", self.resource.clone()),
            Label::new("subresource", self.subresource.clone()),
            Label::new("scope", self.scope),
        ]
    }
}

/// The series of what was seen so far: looked up by one comparison rather than made for each request.
#[derive(Default)]
pub struct Telemetry {
    series: RwLock<HashMap<(Seen, u16), Series>>,
}

#[derive(Clone)]
struct Series {
    total: Counter,
    seconds: Histogram,
    sli: Histogram,
}

/// A request that lasts; it ends when this is dropped.
struct Lasting(Gauge);

impl Telemetry {
    /// Counts a request once it is answered, or, if it lasts, while it is.
    pub fn answered(&self, seen: Seen, response: Response<Body>, took: Duration) -> Response<Body> {
        let code = response.status().as_u16();
        let lasts = seen.lasts() && code < 300;
        let lasting = lasts.then(|| Lasting(::metrics::gauge!(table::REQUESTS_LASTING, seen.labels())));
        let series = self.series(seen, code);
        series.total.increment(1);
        let Some(lasting) = lasting else {
            series.seconds.record(took);
            series.sli.record(took);
            return response;
        };
        lasting.0.increment(1.0);
        held(response, lasting)
    }

    fn series(&self, seen: Seen, code: u16) -> Series {
        let key = (seen, code);
        if let Some(known) = self.series.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return known.clone();
        }
        let labels = key.0.labels();
        let mut with_code = labels.clone();
        with_code.push(Label::new("code", code.to_string()));
        let series = Series {
            total: ::metrics::counter!(table::REQUESTS, with_code),
            sli: ::metrics::histogram!(table::REQUEST_SLI_SECONDS, labels.clone()),
            seconds: ::metrics::histogram!(table::REQUEST_SECONDS, labels),
        };
        self.series.write().unwrap_or_else(PoisonError::into_inner).insert(key, series.clone());
        series
    }
}

impl Drop for Lasting {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::kinds::Kinds;
    use crate::server::api::path;

    #[track_caller]
    fn check(method: Method, path: &str, expected: [&str; 4], lasts: bool) {
        let kinds = Kinds::new();
        let info = path::info(&method, path, path.contains("/watch/"), None);
        let mut seen = Seen::new(&method);
        seen.about(kinds.resource(&info.group, &info.version, &info.resource).unwrap(), &info);
        let told = [seen.verb, &*seen.resource, &*seen.subresource, seen.scope];
        assert_eq!((told, seen.lasts()), (expected, lasts));
    }

    #[test]
    fn requests_are_labelled_as_upstream_labels_them() {
        check(Method::GET, "/api/v1/pods", ["LIST", "pods", "", "cluster"], false);
        check(Method::GET, "/api/v1/namespaces/a/pods/b", ["GET", "pods", "", "resource"], false);
        check(Method::GET, "/api/v1/namespaces/a/pods/b/log", ["GET", "pods", "log", "resource"], true);
        check(Method::GET, "/api/v1/watch/namespaces/a/pods", ["WATCH", "pods", "", "namespace"], true);
        check(Method::POST, "/api/v1/namespaces/a/pods", ["POST", "pods", "", "namespace"], false);
        // A word of the client's own is no label.
        check(Method::GET, "/api/v1/namespaces/a/pods/b/nonsense", ["GET", "pods", "", "resource"], false);
    }
}

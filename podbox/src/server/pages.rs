//! The pages that Prometheus scrapes, on the metrics port and through the API:
//!
//! | page | what |
//! |---|---|
//! | `/metrics` | what podbox measures of itself, and what a kubelet does |
//! | `/metrics/cadvisor` | what the kernel has counted for the host, pods and containers |
//! | `/metrics/probes` | how probes went |
//! | `/metrics/resource` | CPU time and memory, for autoscalers |
//! | `/metrics/state` | the API's objects, as kube-state-metrics tells them; only with `podbox node` |
//!
//! `/targets` tells Prometheus of them.
//!
//! All but what the recorder keeps is written at each scrape, from what there is then.
//! **Invariant:** of each page one is written at a time, with a bounded number of series; what is left out is counted.

mod cadvisor;
mod kubelet;
mod resource;
mod state;
mod targets;

#[cfg(test)]
mod tests;

use super::exposition::Exposition;
use super::http::{Body, Handler, full, text, with_type};
use crate::api::account::{Accounts, Books};
use crate::api::allowed::Allowed;
use crate::clock;
use crate::metrics;
use crate::metrics::text::Page;
use crate::store::Store;
use hyper::body::Incoming;
use hyper::header::HOST;
use hyper::{Method, Request, Response, StatusCode};
use std::sync::{Arc, OnceLock};
use tokio::sync::Mutex;

/// What Prometheus calls its text format.
const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Adds to a page.
pub type Writer = Box<dyn Fn(&mut Page) + Send + Sync>;

/// What the pages are made of.
pub struct Pages {
    exposition: Arc<Exposition>,
    accounts: Box<dyn Accounts>,
    probes: Writer,
    cluster: OnceLock<Cluster>,
    /// Held while a page is written, by its number in [`PAGES`].
    turns: [Mutex<()>; PAGES.len()],
}

/// The API's objects.
#[derive(Clone)]
pub struct Cluster {
    /// Where they are.
    pub store: Store,
    /// Which of their labels are told.
    pub allowed: Allowed,
    /// The name of this node among them.
    pub node: String,
}

/// A page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Own,
    Cadvisor,
    Probes,
    Resource,
    State,
}

/// What follows `/metrics`, and by which name the page is counted.
const PAGES: [(&str, Which, &str); 5] = [
    ("", Which::Own, "metrics"),
    ("/cadvisor", Which::Cadvisor, "cadvisor"),
    ("/probes", Which::Probes, "probes"),
    ("/resource", Which::Resource, "resource"),
    ("/state", Which::State, "state"),
];

impl Pages {
    /// Of a node; the API's objects may come later.
    pub fn new(exposition: Arc<Exposition>, accounts: Box<dyn Accounts>, probes: Writer) -> Pages {
        Pages { exposition, accounts, probes, cluster: OnceLock::new(), turns: Default::default() }
    }

    /// Gives them the API's objects. Only the first time counts.
    pub fn set_cluster(&self, cluster: Cluster) {
        let _ = self.cluster.set(cluster);
    }

    /// The page at a path, `/metrics/state`; none where there is no such page.
    pub async fn at(&self, path: &str) -> Option<Response<Body>> {
        let rest = path.strip_prefix("/metrics")?;
        let number = PAGES.iter().position(|(path, ..)| *path == rest.trim_end_matches('/'))?;
        let (_, which, page) = PAGES[number];
        let _turn = self.turns[number].lock().await;
        let began = clock::instant();
        let written = self.write(which).await;
        ::metrics::histogram!(metrics::PAGE_SECONDS, "page" => page).record(clock::instant() - began);
        let answer = match written {
            Ok((page_text, left_out)) => {
                ::metrics::gauge!(metrics::PAGE_LEFT_OUT, "page" => page).set(left_out as f64);
                with_type(StatusCode::OK, FORMAT, full(page_text))
            }
            Err((status, why)) => text(status, why),
        };
        Some(answer)
    }

    /// A page's text, and how many series it has no room for.
    async fn write(&self, which: Which) -> Result<(String, usize), (StatusCode, String)> {
        match which {
            Which::Own => {
                let of = (Arc::clone(&self.exposition), self.cluster.get().cloned());
                Ok(aside(of, |(exposition, cluster)| own(exposition, cluster.as_ref())).await)
            }
            Which::Probes => {
                let mut page = Page::default();
                (self.probes)(&mut page);
                Ok(page.finish())
            }
            Which::Cadvisor => Ok(aside(self.books().await?, cadvisor::render).await),
            Which::Resource => Ok(aside(self.books().await?, resource::render).await),
            Which::State => match self.cluster.get().cloned() {
                Some(cluster) => Ok(aside(cluster, |own| state::render(&own.store, &own.allowed)).await),
                None => Err((StatusCode::NOT_FOUND, "there is no API here; podbox node has one\n".into())),
            },
        }
    }

    /// What Prometheus is to scrape at the address by which it asks.
    fn targets<B>(&self, request: &Request<B>) -> Response<Body> {
        let Some(host) = request.headers().get(HOST).and_then(|host| host.to_str().ok()) else {
            return text(StatusCode::BAD_REQUEST, "the header Host has to say where this is\n");
        };
        let node = self.cluster.get().map(|cluster| &*cluster.node);
        with_type(StatusCode::OK, "application/json", full(targets::of(host, node).to_string()))
    }

    async fn books(&self) -> Result<Books, (StatusCode, String)> {
        self.accounts.open().await.map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error + "\n"))
    }
}

/// What podbox tells of itself.
fn own(exposition: &Exposition, cluster: Option<&Cluster>) -> (String, usize) {
    exposition.render(|page| {
        kubelet::process(page);
        if let Some(Cluster { store, node, .. }) = cluster {
            kubelet::write(page, store, node);
        }
    })
}

/// Writes on a thread that may take its time: long pages must not hold up others.
async fn aside<T: Send + Sync + 'static>(
    of: T,
    write: impl FnOnce(&T) -> (String, usize) + Send + 'static,
) -> (String, usize) {
    match tokio::task::spawn_blocking(move || write(&of)).await {
        Ok(written) => written,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

impl Handler for Pages {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path();
        match (request.method(), path) {
            // Of what answers HEAD, the server sends the head.
            (&Method::GET | &Method::HEAD, "/healthz") => text(StatusCode::OK, "ok"),
            (&Method::GET | &Method::HEAD, "/targets") => self.targets(&request),
            (&Method::GET | &Method::HEAD, _) => self.at(path).await.unwrap_or_else(|| {
                let all = PAGES.map(|(path, ..)| format!("/metrics{path}")).join(", ");
                text(
                    StatusCode::NOT_FOUND,
                    format!("not found; podbox serves {all}, /targets and /healthz here\n"),
                )
            }),
            _ => text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are served here\n"),
        }
    }
}

//! `/metrics`: the table of metrics described and rendered for Prometheus.
//!
//! Counters that live in the kernel's maps are copied in just before each scrape by collectors, so that a
//! scrape shows the map's truth and nothing is polled in between.

use super::http::{Body, Handler, full, text, with_type};
use crate::metrics::{Kind, TABLE};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// Upper bounds of latency buckets, in seconds: from 50 µs, since that is where podbox's times begin.
const SECONDS: &[f64] =
    &[50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 1.0, 2.5, 10.0];

/// Why metrics cannot be set up.
#[derive(Debug, Error)]
pub enum ExpositionError {
    /// The exporter refused the table.
    #[error("setting up the metrics exporter failed")]
    Build(#[from] metrics_exporter_prometheus::BuildError),
    /// There is one recorder per process.
    #[error("metrics are already recorded in this process")]
    Installed,
}

/// Sets series; what cannot be set, it returns as text.
type Collector = Box<dyn Fn() -> String + Send + Sync>;

/// The recorder's readable side.
pub struct Exposition {
    handle: PrometheusHandle,
    collectors: Vec<Collector>,
}

impl fmt::Debug for Exposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Exposition({} collectors)", self.collectors.len())
    }
}

impl Exposition {
    /// Records this process' metrics from now on.
    pub fn install() -> Result<Self, ExpositionError> {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS)?
            .build_recorder();
        let handle = recorder.handle();
        ::metrics::set_global_recorder(recorder).map_err(|_| ExpositionError::Installed)?;
        for row in TABLE {
            match row.kind {
                Kind::Counter => ::metrics::describe_counter!(row.name, row.help),
                Kind::Gauge => ::metrics::describe_gauge!(row.name, row.help),
                Kind::Histogram => ::metrics::describe_histogram!(row.name, row.help),
            }
        }
        Ok(Exposition { handle, collectors: Vec::new() })
    }

    /// Runs `collect` before each scrape; the text it returns, complete metric families, is appended.
    pub fn collect(&mut self, collect: impl Fn() -> String + Send + Sync + 'static) {
        self.collectors.push(Box::new(collect));
    }

    /// Keeps histograms small between scrapes, for as long as the daemon lives.
    pub async fn upkeep(self: Arc<Self>, every: Duration) {
        let mut ticks = tokio::time::interval(every);
        loop {
            ticks.tick().await;
            self.handle.run_upkeep();
        }
    }

    /// The text format, as of now.
    pub fn render(&self) -> String {
        let extra: String = self.collectors.iter().map(|collect| collect()).collect();
        self.handle.render() + &extra
    }
}

/// Everything that is measured, as an answer to a scrape.
pub fn answer(exposition: &Exposition) -> Response<Body> {
    let media_type = "text/plain; version=0.0.4; charset=utf-8";
    with_type(StatusCode::OK, media_type, full(exposition.render()))
}

impl Handler for Exposition {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/metrics") => answer(self),
            (&Method::GET, "/healthz") => text(StatusCode::OK, "ok"),
            (&Method::GET, _) => {
                text(StatusCode::NOT_FOUND, "not found; podbox serves /metrics and /healthz here\n")
            }
            _ => text(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here\n"),
        }
    }
}

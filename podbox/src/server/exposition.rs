//! `/metrics`: the table of metrics described and rendered for Prometheus.
//!
//! What is counted elsewhere (the kernel's maps, pods' statuses) is written by collectors at each scrape, so that a
//! scrape shows the truth and nothing is polled in between.

use super::pages::Writer;
use crate::metrics::text::Page;
use crate::metrics::{
    CLIENT_CERTIFICATE_SECONDS, IMAGE_PULL_SECONDS, KUBELET_POD_START_SECONDS, Kind, POD_START_SECONDS,
    REQUEST_SLI_SECONDS, STARTUP_STAGE_SECONDS, STORAGE_SECONDS, TABLE,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// Upper bounds of latency buckets, in seconds: upstream's, and shorter ones from 50 µs, since that is where podbox's times begin.
pub const SECONDS: [f64; 17] = [
    50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

/// Those that follow where an image has to come first, which may take minutes.
const MINUTES: [f64; 6] = [20.0, 30.0, 60.0, 120.0, 300.0, 600.0];

/// Those of a pod's start by the kubelet's name, upstream's: to an hour.
const POD_STARTS: [f64; 25] = [
    0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 20.0, 30.0, 45.0, 60.0, 120.0, 180.0, 240.0, 300.0, 360.0,
    480.0, 600.0, 900.0, 1_200.0, 1_800.0, 2_700.0, 3_600.0,
];

/// Those of work on volumes, upstream's.
const VOLUMES: [f64; 13] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 25.0, 50.0, 120.0, 300.0, 600.0];

/// Those of requests by objectives: upstream's objectives are at 1, 5 and 30 s.
const OBJECTIVES: [f64; 12] = [0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];

/// Those of what certificates have left, upstream's: from half an hour to a year.
const LEFT: [f64; 14] = [
    0.0,
    1_800.0,
    3_600.0,
    7_200.0,
    21_600.0,
    43_200.0,
    86_400.0,
    172_800.0,
    345_600.0,
    604_800.0,
    2_592_000.0,
    7_776_000.0,
    15_552_000.0,
    31_104_000.0,
];

/// What has bounds of its own, and these.
const OWN: [(&str, &[f64]); 2] = [(REQUEST_SLI_SECONDS, &OBJECTIVES), (CLIENT_CERTIFICATE_SECONDS, &LEFT)];

/// What has the bounds of [`SECONDS`] that are shorter than the first of these, and then these.
const LONGER: [(&str, &[f64]); 5] = [
    (IMAGE_PULL_SECONDS, &MINUTES),
    (POD_START_SECONDS, &MINUTES),
    (STARTUP_STAGE_SECONDS, &MINUTES),
    (KUBELET_POD_START_SECONDS, &POD_STARTS),
    (STORAGE_SECONDS, &VOLUMES),
];

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

/// The recorder's readable side.
pub struct Exposition {
    handle: PrometheusHandle,
    collectors: Vec<Writer>,
}

impl fmt::Debug for Exposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Exposition({} collectors)", self.collectors.len())
    }
}

impl Exposition {
    /// Records this process' metrics from now on.
    pub fn install() -> Result<Self, ExpositionError> {
        let mut builder =
            PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)?;
        for (name, bounds) in OWN {
            builder = builder.set_buckets_for_metric(Matcher::Full(name.into()), bounds)?;
        }
        for (name, bounds) in LONGER {
            let shorter = SECONDS.into_iter().take_while(|bound| *bound < bounds[0]);
            let all: Vec<f64> = shorter.chain(bounds.iter().copied()).collect();
            builder = builder.set_buckets_for_metric(Matcher::Full(name.into()), &all)?;
        }
        let recorder = builder.build_recorder();
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

    /// Has `collect` write its families at each scrape; gauges of the recorder that it sets are told, too.
    pub fn collect(&mut self, collect: impl Fn(&mut Page) + Send + Sync + 'static) {
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

    /// The text format, as of now, with what `more` writes, and how many series there was no room for.
    pub fn render(&self, more: impl FnOnce(&mut Page)) -> (String, usize) {
        let mut page = Page::default();
        more(&mut page);
        self.collectors.iter().for_each(|collect| collect(&mut page));
        let (text, left_out) = page.finish();
        (self.handle.render() + &text, left_out)
    }
}

//! How probes went, as the kubelet's metrics have it. Series of a pod end with it, which is why they are kept here and
//! written as text, like the kernel's own histograms: the recorder forgets nothing.
//!
//! As upstream, what failed is counted and has no duration; a probe that was run again since podbox was kept from
//! running counts as unknown.

use crate::api::identity::{ContainerRef, PodRef};
use crate::api::probe::ProbeType;
use crate::metrics;
use crate::metrics::text::{Page, labels};
use crate::pod::probe::Outcome;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Upper bounds of the durations' buckets, in seconds: upstream's, and shorter ones.
const BOUNDS: [f64; 17] = [
    50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

/// Of every probe of every container.
#[derive(Debug, Default)]
pub struct Tally(Mutex<Pods>);

/// By pod, then by container and probe.
type Pods = BTreeMap<PodRef, BTreeMap<(String, ProbeType), Series>>;

#[derive(Debug, Default)]
struct Series {
    successful: u64,
    failed: u64,
    unknown: u64,
    /// Durations up to each bound, and not up to the one before.
    buckets: [u64; BOUNDS.len()],
    /// Their sum and number.
    took: (Duration, u64),
}

impl Tally {
    /// It will be probed: none of its results has come yet.
    pub fn begin(&self, pod: &PodRef, container: &str, probe: ProbeType) {
        series(&mut self.pods(), pod, container, probe);
    }

    /// Counts one.
    pub fn count(&self, run: &ContainerRef, probe: ProbeType, outcome: &Outcome, took: Duration) {
        let mut pods = self.pods();
        let series = series(&mut pods, &run.pod, &run.name, probe);
        match outcome {
            Outcome::Success | Outcome::Warning(_) => series.successful += 1,
            Outcome::Failure(_) => {
                series.failed += 1;
                return;
            }
            Outcome::Starved => series.unknown += 1,
            // Upstream throws those away, too.
            Outcome::Errored(..) => return,
        }
        if let Some(bucket) = BOUNDS.iter().position(|bound| took.as_secs_f64() <= *bound) {
            series.buckets[bucket] += 1;
        }
        series.took = (series.took.0 + took, series.took.1 + 1);
    }

    /// A pod has gone.
    pub fn forget(&self, pod: &PodRef) {
        self.pods().remove(pod);
    }

    /// Writes both metrics.
    pub fn write(&self, page: &mut Page) {
        let pods = self.pods();
        let named = pods.iter().flat_map(|(pod, own)| {
            own.iter().map(move |((container, probe), series)| {
                let (probe, PodRef { namespace, name, .. }) = (probe.to_string(), pod);
                let labels = labels(&[
                    ("probe_type", &probe),
                    ("container", container),
                    ("pod", name),
                    ("namespace", namespace),
                ]);
                (labels, (pod.uid.as_str(), series))
            })
        });
        let named: Vec<(String, (&str, &Series))> = named.collect();
        let each = || named.iter().map(|(own, series)| (own.as_str(), series));
        page.rows(metrics::PROBER_PROBES, each(), |(uid, own), series| {
            let results = [("successful", own.successful), ("failed", own.failed), ("unknown", own.unknown)];
            // All three from the start, as upstream: only what was told as zero is seen to grow by the first one.
            for (result, count) in results {
                series.with(&[("pod_uid", uid), ("result", result)], count);
            }
        });
        page.rows(metrics::PROBER_PROBE_DURATION_SECONDS, each(), |(_, own), series| {
            let (sum, all) = own.took;
            if all > 0 {
                let buckets: Vec<_> = BOUNDS.into_iter().zip(own.buckets).collect();
                series.histogram(&[], &buckets, sum.as_secs_f64(), all);
            }
        });
    }

    fn pods(&self) -> MutexGuard<'_, Pods> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn series<'p>(pods: &'p mut Pods, pod: &PodRef, container: &str, probe: ProbeType) -> &'p mut Series {
    if !pods.contains_key(pod) {
        pods.insert(pod.clone(), BTreeMap::new());
    }
    pods.get_mut(pod).expect("it is there now").entry((container.to_owned(), probe)).or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_buckets_are_there() {
        // The defaults of Prometheus' client, which upstream takes.
        for bound in [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0] {
            assert!(BOUNDS.contains(&bound), "{bound}");
        }
        assert!(BOUNDS.is_sorted());
    }

    #[test]
    fn series_have_upstreams_names_and_end_with_their_pod() {
        let pod = PodRef { namespace: "n".into(), name: "p".into(), uid: "u".into() };
        let run = ContainerRef { pod: pod.clone(), name: "c".into(), attempt: 0 };
        let tally = Tally::default();
        let count = |outcome, ms| {
            tally.count(&run, ProbeType::Liveness, &outcome, Duration::from_millis(ms));
        };
        tally.begin(&pod, "c", ProbeType::Readiness);
        count(Outcome::Success, 2);
        count(Outcome::Success, 20_000);
        count(Outcome::Failure("no".into()), 7);
        count(Outcome::Errored("unknown", "no".into()), 7);
        let render = || {
            let mut page = Page::default();
            tally.write(&mut page);
            page.finish().0
        };
        let text = render();
        let labels = |result: &str| {
            format!(
                "probe_type=\"Liveness\",container=\"c\",pod=\"p\",namespace=\"n\",pod_uid=\"u\",result=\"{result}\""
            )
        };
        let durations = "probe_type=\"Liveness\",container=\"c\",pod=\"p\",namespace=\"n\"";
        let begun = "probe_type=\"Readiness\",container=\"c\",pod=\"p\",namespace=\"n\",pod_uid=\"u\"";
        for line in [
            format!("prober_probe_total{{{begun},result=\"failed\"}} 0"),
            format!("prober_probe_total{{{}}} 2", labels("successful")),
            format!("prober_probe_total{{{}}} 1", labels("failed")),
            format!("prober_probe_total{{{}}} 0", labels("unknown")),
            format!("prober_probe_duration_seconds_bucket{{{durations},le=\"0.001\"}} 0"),
            format!("prober_probe_duration_seconds_bucket{{{durations},le=\"0.0025\"}} 1"),
            format!("prober_probe_duration_seconds_bucket{{{durations},le=\"+Inf\"}} 2"),
            format!("prober_probe_duration_seconds_count{{{durations}}} 2"),
        ] {
            assert!(text.lines().any(|own| own == line), "{line} is not in\n{text}");
        }
        tally.forget(&pod);
        assert!(!render().contains("pod="));
    }
}

//! What came of a probe of late: the rows that `podbox probes -o json` prints, and what is to be read from them. Pure.

use super::probe::ProbeType;
use super::timeline::Phase;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// One probe of one container of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The container's name.
    pub container: String,
    /// Which probe.
    pub probe: ProbeType,
    /// How long the container has to answer.
    pub timeout_ms: u64,
    /// From one to the next.
    pub period_ms: u64,
    /// The latest results, the oldest first.
    pub results: Vec<Probed>,
}

/// One result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probed {
    /// When it began.
    pub at: jiff::Timestamp,
    /// How many runs of the container came before the one that was asked.
    pub attempt: u32,
    /// What came of it.
    pub verdict: Verdict,
    /// It was run because something happened, and not by its period: its failure counts for nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub triggered: bool,
    /// How long it took.
    pub took_us: u64,
    /// Where that time went, as far as it is known.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub phases_us: BTreeMap<Phase, u64>,
    /// How much of it the container was kept from the processor by its limit; known of those that took a while.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub throttled_us: Option<u64>,
    /// How much of it the container waited for memory.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stalled_us: Option<u64>,
    /// What an Event says of it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<String>,
}

/// What came of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The container passed.
    Success,
    /// It did not.
    Failure,
    /// Nothing is known: the probe could not be run, or the prober itself was kept from running.
    Unknown,
}

/// The shortest timeout under which all recent runs would have passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enough {
    /// This one.
    Of(Duration),
    /// None of which anything is known: one ran into the timeout that there was.
    Over(Duration),
    /// None at all: one failed by what it was answered.
    Never,
}

impl Row {
    /// The results that say something of the container. The failure of one that was only to bring success forward does not.
    fn telling(&self) -> impl Iterator<Item = &Probed> {
        self.results.iter().filter(|result| match result.verdict {
            Verdict::Success => true,
            Verdict::Failure => !result.triggered,
            Verdict::Unknown => false,
        })
    }

    /// How long the fastest so many of a hundred took at most; none if there are none.
    pub fn percentile(&self, percent: usize) -> Option<Duration> {
        let mut times: Vec<u64> = self.telling().map(|result| result.took_us).collect();
        times.sort_unstable();
        let rank = (times.len() * percent).div_ceil(100).max(1);
        times.get(rank - 1).copied().map(Duration::from_micros)
    }

    /// Which timeout would have done; none if nothing is known.
    pub fn enough(&self) -> Option<Enough> {
        let timeout = Duration::from_millis(self.timeout_ms);
        let (mut longest, mut over) = (None, false);
        for result in self.telling() {
            let took = Duration::from_micros(result.took_us);
            match result.verdict {
                Verdict::Failure if took < timeout => return Some(Enough::Never),
                Verdict::Failure => over = true,
                Verdict::Success | Verdict::Unknown => longest = longest.max(Some(took)),
            }
        }
        if over { Some(Enough::Over(timeout)) } else { longest.map(Enough::Of) }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A row of a probe of the pod `web`.
    pub(crate) fn row(probe: ProbeType, results: &[(Verdict, u64)]) -> Row {
        let result = |(verdict, took_us): &(Verdict, u64)| Probed {
            at: jiff::Timestamp::UNIX_EPOCH,
            attempt: 0,
            verdict: *verdict,
            triggered: false,
            took_us: *took_us,
            phases_us: BTreeMap::new(),
            throttled_us: None,
            stalled_us: None,
            message: None,
        };
        Row {
            namespace: "shop".into(),
            pod: "web".into(),
            container: "app".into(),
            probe,
            timeout_ms: 1000,
            period_ms: 10_000,
            results: results.iter().map(result).collect(),
        }
    }

    #[test]
    fn percentiles_are_of_results_that_there_were() {
        let hundred: Vec<_> = (1..=100).rev().map(|took| (Verdict::Success, took)).collect();
        let row_of_hundred = row(ProbeType::Liveness, &hundred);
        let micros = |percent| row_of_hundred.percentile(percent).map(|time| time.as_micros());
        assert_eq!([50, 90, 99, 100].map(micros), [Some(50), Some(90), Some(99), Some(100)]);
        assert_eq!(
            row(ProbeType::Liveness, &[(Verdict::Success, 7)]).percentile(50),
            Some(Duration::from_micros(7))
        );
        assert_eq!(row(ProbeType::Liveness, &[(Verdict::Unknown, 7)]).percentile(50), None);
        assert_eq!(row(ProbeType::Liveness, &[]).percentile(99), None);
    }

    #[test]
    fn the_timeout_that_would_have_done_is_the_longest_run() {
        use Verdict::{Failure, Success, Unknown};
        let check = |results: &[(Verdict, u64)], expected| {
            assert_eq!(row(ProbeType::Liveness, results).enough(), expected)
        };
        check(&[], None);
        check(&[(Unknown, 5)], None);
        check(
            &[(Success, 3), (Success, 900_000), (Unknown, 9_000_000)],
            Some(Enough::Of(Duration::from_millis(900))),
        );
        check(&[(Success, 3), (Failure, 1_000_100)], Some(Enough::Over(Duration::from_secs(1))));
        check(&[(Failure, 1_000_100), (Failure, 40)], Some(Enough::Never));
        let mut early = row(ProbeType::Startup, &[(Success, 3), (Failure, 40)]);
        early.results[1].triggered = true;
        assert_eq!(early.enough(), Some(Enough::Of(Duration::from_micros(3))));
    }

    #[test]
    fn what_is_printed_can_be_read_back() {
        let mut printed = row(ProbeType::Liveness, &[(Verdict::Success, 3), (Verdict::Failure, 1_000_000)]);
        printed.results[1].phases_us = BTreeMap::from([(Phase::Connect, 40), (Phase::AcceptQueue, 999_960)]);
        printed.results[1].message = Some("refused".into());
        let text = serde_json::to_string(&printed).unwrap();
        assert!(text.contains(r#""phases_us":{"connect":40,"accept_queue":999960}"#), "{text}");
        assert_eq!(serde_json::from_str::<Row>(&text).unwrap(), printed);
    }
}

//! The last results of each probe, for `podbox probes`: so many, whatever happens, and as long as their pod is there.

use super::Asked;
use crate::api::identity::PodRef;
use crate::api::probe::ProbeType;
use crate::api::probed::{Probed, Row, Verdict};
use crate::api::witness::Account;
use crate::limits;
use crate::pod::probe::Outcome;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// Of every probe of every container.
#[derive(Debug, Default)]
pub struct History(Mutex<BTreeMap<PodRef, Own>>);

/// What is kept of one pod.
type Own = BTreeMap<(String, ProbeType), Lately>;

#[derive(Debug, Default)]
struct Lately {
    timeout: Duration,
    period: Duration,
    results: VecDeque<Probed>,
}

impl History {
    /// Keeps one result: when it began and how long it took.
    pub fn record(
        &self,
        asked: &Asked,
        outcome: &Outcome,
        account: &Account,
        (at, took): (SystemTime, Duration),
    ) {
        let result = Probed {
            at: jiff::Timestamp::try_from(at).unwrap_or(jiff::Timestamp::UNIX_EPOCH),
            attempt: asked.run.attempt,
            verdict: verdict(outcome),
            triggered: !asked.counts,
            took_us: micros(took),
            phases_us: account.phases.iter().map(|(phase, took)| (*phase, micros(*took))).collect(),
            throttled_us: account.throttled.map(micros),
            stalled_us: account.stalled.map(micros),
            message: message(outcome, account.remark.as_deref()),
        };
        let mut pods = self.pods();
        let own = match pods.get_mut(&asked.run.pod) {
            Some(own) => own,
            None => pods.entry(asked.run.pod.clone()).or_default(),
        };
        let lately = own.entry((asked.run.name.clone(), asked.probe)).or_default();
        (lately.timeout, lately.period) = (asked.spec.timeout, asked.spec.period);
        if lately.results.len() >= limits::PROBE_RESULTS {
            lately.results.pop_front();
        }
        lately.results.push_back(result);
    }

    /// A pod has gone.
    pub fn forget(&self, pod: &PodRef) {
        self.pods().remove(pod);
    }

    /// Everything, by pod, container and probe. Of one pod after another: probes wait while it is looked at.
    pub fn rows(&self) -> Vec<Row> {
        let pods: Vec<PodRef> = self.pods().keys().cloned().collect();
        pods.iter().flat_map(|pod| self.rows_of(pod)).collect()
    }

    fn rows_of(&self, pod: &PodRef) -> Vec<Row> {
        let pods = self.pods();
        let row = |((container, probe), lately): (&(String, ProbeType), &Lately)| Row {
            namespace: pod.namespace.clone(),
            pod: pod.name.clone(),
            container: container.clone(),
            probe: *probe,
            timeout_ms: u64::try_from(lately.timeout.as_millis()).unwrap_or(u64::MAX),
            period_ms: u64::try_from(lately.period.as_millis()).unwrap_or(u64::MAX),
            results: lately.results.iter().cloned().collect(),
        };
        pods.get(pod).into_iter().flatten().map(row).collect()
    }

    fn pods(&self) -> MutexGuard<'_, BTreeMap<PodRef, Own>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn verdict(outcome: &Outcome) -> Verdict {
    match outcome {
        Outcome::Success | Outcome::Warning(_) => Verdict::Success,
        Outcome::Failure(_) => Verdict::Failure,
        Outcome::Errored(..) | Outcome::Starved => Verdict::Unknown,
    }
}

/// What an Event says of it, or its beginning.
fn message(outcome: &Outcome, remark: Option<&str>) -> Option<String> {
    let why = match outcome {
        Outcome::Success => return None,
        Outcome::Starved => "podbox itself was kept from running",
        Outcome::Warning(why) | Outcome::Failure(why) | Outcome::Errored(_, why) => why,
    };
    let mut message = why[..why.floor_char_boundary(limits::PROBE_MESSAGE_BYTES)].to_owned();
    if let (Outcome::Failure(_), Some(remark)) = (outcome, remark) {
        message += &format!("; {remark}");
    }
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::identity::ContainerRef;
    use crate::api::timeline::Phase;
    use crate::pod::probe::ProbeSpec;

    fn asked(pod: &str) -> Asked {
        let second = Duration::from_secs(1);
        let spec = ProbeSpec {
            initial_delay: Duration::ZERO,
            period: second,
            until_ready: None,
            timeout: second,
            successes: 1,
            failures: 3,
            grace: None,
            port: None,
        };
        let pod = PodRef { namespace: "n".into(), name: pod.into(), uid: "u".into() };
        let run = ContainerRef { pod, name: "c".into(), attempt: 2 };
        let probe = ProbeType::Readiness;
        Asked { run, cgroup: 1, probe, counts: false, forgives: true, spec, address: None }
    }

    #[test]
    fn the_last_results_are_kept_until_their_pod_goes() {
        let history = History::default();
        let account =
            Account { phases: vec![(Phase::Connect, Duration::from_micros(40))], ..Account::default() };
        for number in 0..limits::PROBE_RESULTS as u64 + 3 {
            let when = (SystemTime::UNIX_EPOCH, Duration::from_micros(number));
            history.record(&asked("a"), &Outcome::Success, &account, when);
        }
        let long = "é".repeat(limits::PROBE_MESSAGE_BYTES);
        let when = (SystemTime::UNIX_EPOCH, Duration::from_secs(1));
        let account = Account { remark: Some("queue full".to_owned()), ..Account::default() };
        history.record(&asked("b"), &Outcome::Failure(long), &account, when);
        let rows = history.rows();
        let [a, b] = rows.as_slice() else { panic!("{rows:?}") };
        assert_eq!((a.results.len(), a.results[0].took_us), (limits::PROBE_RESULTS, 3));
        assert_eq!((a.timeout_ms, a.results[0].phases_us.len(), a.results[0].attempt), (1000, 1, 2));
        let failed = &b.results[0];
        assert_eq!((failed.verdict, failed.triggered), (Verdict::Failure, true));
        let message = failed.message.as_ref().unwrap();
        assert_eq!(message.len(), limits::PROBE_MESSAGE_BYTES + "; queue full".len());
        assert!(message.ends_with("é; queue full"), "{message}");
        history.forget(&asked("a").run.pod);
        assert_eq!(history.rows().len(), 1);
    }
}

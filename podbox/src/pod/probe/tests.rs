//! Timelines of probes: what is due when, and how a run stands after what came of it.

use super::*;
use crate::clock;
use crate::pod::desired;
use k8s_openapi::api::core::v1::Pod;
use proptest::prelude::*;

/// `(initial delay, period, successes, failures)`, in seconds.
fn spec((delay, period, successes, failures): (u64, u64, u32, u32)) -> ProbeSpec {
    ProbeSpec {
        initial_delay: Duration::from_secs(delay),
        period: Duration::from_secs(period),
        until_ready: None,
        timeout: Duration::from_secs(1),
        successes,
        failures,
        grace: None,
        port: Some(80),
    }
}

fn failure() -> Outcome {
    Outcome::Failure("no".to_owned())
}

/// One probe of a container that started at a time zero.
struct Timeline {
    spec: ProbeSpec,
    prober: Prober,
    zero: Instant,
}

impl Timeline {
    fn new(probe: ProbeType, spec: ProbeSpec) -> Timeline {
        let zero = clock::instant();
        Timeline { prober: Prober::new(probe, &spec, zero), spec, zero }
    }

    fn at(&self, ms: u64) -> Instant {
        self.zero + Duration::from_millis(ms)
    }

    /// When it is due, in milliseconds.
    fn due(&self) -> Option<u128> {
        self.prober.due().map(|at| at.saturating_duration_since(self.zero).as_millis())
    }

    /// Runs the next one when it is due, for `takes` milliseconds; when that was.
    fn next(&mut self, outcome: &Outcome, takes: u64) -> u128 {
        let due = self.due().expect("it is due some time");
        let at = self.at(u64::try_from(due).unwrap());
        self.prober.begin(&self.spec, at);
        self.prober.outcome(&self.spec, outcome, at + Duration::from_millis(takes));
        due
    }

    /// One after the other: `s`ucceeds, `f`ails, `e`rrs, is `-` starved. How it stands after each: `.` unknown.
    fn stands(&mut self, outcomes: &str) -> String {
        let all = outcomes.chars().map(|outcome| {
            let outcome = match outcome {
                's' => Outcome::Success,
                'f' => failure(),
                'e' => Outcome::Errored("unknown", "no".to_owned()),
                _ => Outcome::Starved,
            };
            if self.due().is_some() {
                self.next(&outcome, 0);
            }
            match self.prober.standing() {
                Standing::Unknown => '.',
                Standing::Success => 'S',
                Standing::Failure => 'F',
            }
        });
        all.collect()
    }
}

#[test]
fn so_many_alike_in_a_row_count() {
    for (probe, (successes, failures), outcomes, stands) in [
        (ProbeType::Readiness, (1, 3), "sffsfffs", "SSSSSSFS"),
        (ProbeType::Readiness, (2, 1), "ssfsfss", "FSFFFFS"),
        (ProbeType::Readiness, (1, 1), "see-f", "SSSSF"),
        // What errs is thrown away, and does not even interrupt.
        (ProbeType::Readiness, (1, 2), "sfef", "SSSF"),
        (ProbeType::Liveness, (1, 3), "fffs", "SSFF"),
        (ProbeType::Liveness, (1, 2), "f-f", "SSF"),
        (ProbeType::Startup, (1, 3), "ffs", "..S"),
        (ProbeType::Startup, (1, 2), "ffs", ".FF"),
        (ProbeType::Startup, (1, 1), "e-s", "..S"),
    ] {
        let mut timeline = Timeline::new(probe, spec((0, 10, successes, failures)));
        assert_eq!(timeline.stands(outcomes), stands, "{probe} {successes}/{failures} {outcomes}");
    }
}

#[test]
fn the_first_one_is_due_after_the_initial_delay_and_the_others_from_tick_to_tick() {
    let mut timeline = Timeline::new(ProbeType::Readiness, spec((5, 10, 1, 3)));
    assert_eq!(timeline.next(&failure(), 900), 5_000);
    assert_eq!(timeline.next(&failure(), 12_000), 15_000);
    // It took longer than a period, and those that are late are not made up for.
    let at = timeline.at(27_000);
    timeline.prober.begin(&timeline.spec, at);
    assert_eq!(timeline.due(), None, "one at a time");
    timeline.prober.outcome(&timeline.spec, &Outcome::Success, at);
    assert_eq!(timeline.due(), Some(35_000));
}

#[test]
fn a_trigger_brings_success_forward_and_no_failure() {
    let mut timeline = Timeline::new(ProbeType::Readiness, spec((0, 10, 1, 1)));
    timeline.next(&failure(), 1);
    let now = timeline.at(200);
    assert!(timeline.prober.trigger(now));
    assert_eq!(timeline.next(&failure(), 1), 200);
    assert!(timeline.prober.trigger(timeline.at(210)), "it may have been too early");
    assert_eq!(timeline.next(&Outcome::Success, 1), 250, "not more often than so");
    assert!(timeline.prober.succeeded());
    assert_eq!(timeline.due(), Some(10_250), "a period from there");
    assert!(timeline.prober.trigger(timeline.at(300)));
    assert_eq!(timeline.next(&failure(), 1), 1_250, "there is no hurry");
    assert!(timeline.prober.succeeded() && timeline.due() == Some(10_250), "and nothing happened");

    let mut timeline = Timeline::new(ProbeType::Startup, spec((30, 10, 1, 1)));
    assert!(!timeline.prober.trigger(timeline.at(0)), "never before the initial delay");
    assert_eq!(timeline.due(), Some(30_000));
}

#[test]
fn a_triggered_success_is_the_first_in_a_row_and_the_others_take_their_periods() {
    let mut timeline = Timeline::new(ProbeType::Readiness, spec((0, 10, 3, 1)));
    timeline.next(&failure(), 1);
    for ms in [100, 200, 300] {
        timeline.prober.trigger(timeline.at(ms));
        timeline.next(&Outcome::Success, 1);
    }
    assert!(!timeline.prober.succeeded());
    assert_eq!(timeline.due(), Some(10_100));
    assert_eq!(timeline.stands("ss"), "FS");
}

#[test]
fn a_starved_probe_is_run_again_soon_as_what_it_was() {
    let mut timeline = Timeline::new(ProbeType::Liveness, spec((0, 10, 1, 1)));
    timeline.next(&Outcome::Starved, 1_000);
    assert_eq!(timeline.due(), Some(1_100));
    timeline.next(&failure(), 1_000);
    assert_eq!(timeline.prober.standing(), Standing::Failure);
    assert_eq!(timeline.due(), None);
}

#[test]
fn starvation_is_not_forgiven_for_ever() {
    let mut timeline = Timeline::new(ProbeType::Liveness, spec((0, 10, 1, 1)));
    for _ in 0..prober::STARVED_MOST {
        assert!(timeline.prober.forgives());
        timeline.next(&Outcome::Starved, 1_000);
    }
    assert!(!timeline.prober.forgives(), "the next one counts, whatever it is");
    timeline.next(&Outcome::Success, 1);
    assert!(timeline.prober.forgives());
}

#[test]
fn what_was_held_up_counts_its_periods_from_there() {
    let zero = clock::instant();
    let at = |ms| zero + Duration::from_millis(ms);
    let own = spec((0, 10, 1, 2));
    let specs =
        ProbeSpecs { startup: Some(own.clone()), liveness: Some(own.clone()), ..ProbeSpecs::default() };
    let mut probes = Probes::new(&specs, zero);
    let mut run = |probe, outcome: &Outcome, now| {
        probes.begin(probe, &own, now);
        probes.outcome(probe, &own, outcome, now);
        (probes.due(ProbeType::Liveness), probes.condemned(ProbeType::Liveness))
    };
    let (due, _) = run(ProbeType::Startup, &Outcome::Success, at(9_950));
    assert!(due.is_some_and(|due| due <= at(9_950)), "it has waited for that");
    assert_eq!(run(ProbeType::Liveness, &failure(), at(9_950)), (Some(at(19_950)), false));
    assert!(run(ProbeType::Liveness, &failure(), at(19_950)).1, "a period later, and not before");
}

#[test]
fn a_period_that_becomes_shorter_is_not_waited_out() {
    let mut timeline = Timeline::new(ProbeType::Liveness, spec((0, 3600, 1, 1)));
    timeline.next(&Outcome::Success, 1);
    assert_eq!(timeline.due(), Some(3_600_000));
    timeline.spec.period = Duration::from_millis(100);
    timeline.prober.follow(&timeline.spec);
    assert_eq!(timeline.due(), Some(100));
}

#[test]
fn eager_probes_come_between_the_others_until_one_succeeds() {
    let eager = ProbeSpec { until_ready: Some(Duration::from_millis(250)), ..spec((1, 10, 1, 2)) };
    let mut timeline = Timeline::new(ProbeType::Startup, eager);
    let first: Vec<u128> = (0..4).map(|_| timeline.next(&failure(), 1)).collect();
    assert_eq!(first, [1_000, 1_250, 1_500, 1_750]);
    assert_eq!(timeline.prober.standing(), Standing::Unknown, "one of them counted");
    timeline.next(&Outcome::Success, 1);
    assert_eq!(timeline.due(), Some(12_000));
}

#[test]
fn a_later_daemon_finds_what_was_so_and_spreads_what_it_may() {
    let zero = clock::instant();
    let now = zero + Duration::from_secs(100);
    let own = spec((0, 10, 1, 1));
    let specs = ProbeSpecs { startup: Some(own.clone()), liveness: Some(own.clone()), readiness: Some(own) };
    let mut before = Probes::new(&specs, zero);
    for probe in ProbeType::ALL {
        before.begin(probe, &spec((0, 10, 1, 1)), zero);
        before.outcome(probe, &spec((0, 10, 1, 1)), &Outcome::Success, zero);
    }
    let recall = |remembered, whose: u32| Probes::recall(&specs, remembered, zero, now, whose);
    let after = recall(before.remembered(), 1);
    assert!(after.started() && after.ready());
    let dues: Vec<_> =
        (0..20).map(|pod| recall(before.remembered(), pod).due(ProbeType::Readiness)).collect();
    assert!(dues.iter().all(|due| due.is_some_and(|due| due >= now && due < now + Duration::from_secs(10))));
    assert!(dues.iter().any(|due| *due != dues[0]));
    // Of a start that nobody saw, nothing is known.
    let fresh = recall(Remembered::default(), 1);
    assert!(!fresh.started() && fresh.due(ProbeType::Startup).is_some_and(|due| due <= now));
}

#[test]
fn a_manifest_and_its_annotations_say_when() {
    let text = "{apiVersion: v1, kind: Pod, metadata: {annotations: {podbox.io/probe-period: 'a=200ms', \
        podbox.io/probe-period-until-ready: 50ms}}, spec: {initContainers: [{name: i, startupProbe: {exec: {command: [x]}}}], \
        containers: [{name: a, ports: [{name: web, containerPort: 8080}], \
        readinessProbe: {httpGet: {port: web}, initialDelaySeconds: 3, periodSeconds: 7, failureThreshold: 9}, \
        livenessProbe: {tcpSocket: {port: 81, host: other}, terminationGracePeriodSeconds: 4}}, \
        {name: b, startupProbe: {grpc: {port: 9}, periodSeconds: 7}}]}}";
    let pod: Pod = serde_yaml::from_str(text).unwrap();
    let shape = desired::shape(&pod);
    let [a, b] = [&shape.main[0].probes, &shape.main[1].probes];
    let readiness = a.readiness.as_ref().unwrap();
    assert_eq!((readiness.initial_delay.as_secs(), readiness.failures, readiness.port), (3, 9, Some(8080)));
    assert_eq!((readiness.period.as_millis(), readiness.until_ready.unwrap().as_millis()), (200, 50));
    let liveness = a.liveness.as_ref().unwrap();
    assert_eq!((liveness.port, liveness.until_ready, liveness.failures), (None, None, 3));
    assert_eq!(liveness.grace, Some(Duration::from_secs(4)));
    let startup = b.startup.as_ref().unwrap();
    assert_eq!((startup.period.as_secs(), startup.port), (7, Some(9)));
    assert_eq!(shape.init[0].probes, ProbeSpecs::default());
}

#[test]
fn a_port_that_is_not_there_is_said_in_the_kubelets_words() {
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
    let container = serde_yaml::from_str("{name: c, ports: [{name: web, containerPort: 8080}]}").unwrap();
    let name = |name: &str| port(&IntOrString::String(name.to_owned()), &container);
    assert_eq!((name("web"), name("81")), (Ok(8080), Ok(81)));
    assert_eq!(name("http").unwrap_err(), "strconv.Atoi: parsing \"http\": invalid syntax");
    assert_eq!(port(&IntOrString::Int(0), &container).unwrap_err(), "invalid port number: 0");
}

proptest! {
    /// Whatever triggers and failures come between, a run fails by as many failures in a row by the period as the
    /// threshold says, at no other time than without them.
    #[test]
    fn triggers_never_bring_a_failure_forward(
        outcomes in proptest::collection::vec(any::<bool>(), 1..20),
        triggers in proptest::collection::vec(0u64..200_000, 0..40),
        failures in 1u32..4,
    ) {
        let spec = spec((2, 10, 1, failures));
        // What the container would say at the nth tick; between the ticks it fails.
        let says = |ms: u128| -> Outcome {
            let tick = (ms >= 2_000 && (ms - 2_000).is_multiple_of(10_000)).then(|| usize::try_from((ms - 2_000) / 10_000));
            match tick.and_then(Result::ok).and_then(|tick| outcomes.get(tick)) {
                Some(true) => Outcome::Success,
                _ => failure(),
            }
        };
        let failed = |triggers: &[u64]| {
            let mut timeline = Timeline::new(ProbeType::Liveness, spec.clone());
            let mut triggers = triggers.to_vec();
            triggers.sort_unstable();
            let mut triggers = triggers.into_iter().peekable();
            while let Some(due) = timeline.due().filter(|due| *due < 200_000) {
                match triggers.next_if(|trigger| u128::from(*trigger) <= due) {
                    Some(trigger) => drop(timeline.prober.trigger(timeline.at(trigger))),
                    None => drop(timeline.next(&says(due), 0)),
                }
                if timeline.prober.standing() == Standing::Failure {
                    return Some(due);
                }
            }
            None
        };
        prop_assert_eq!(failed(&triggers), failed(&[]));
    }
}

//! Probes in a pod's life: whom they hold up, what they end, and when they are not run.

use super::*;
use crate::pod::probe::{Outcome, ProbeSpec, ProbeSpecs};

/// A probe every ten seconds that a container stands by as soon as it says so.
fn probe() -> ProbeSpec {
    let ten = Duration::from_secs(10);
    ProbeSpec {
        initial_delay: Duration::ZERO,
        period: ten,
        until_ready: None,
        timeout: ten,
        successes: 1,
        failures: 1,
        grace: None,
        port: None,
    }
}

impl Node {
    /// What a probe of a container's current run came to.
    fn probed(&mut self, container: &str, probe: ProbeType, outcome: Outcome) -> String {
        let spec = self.pod.container(container).and_then(|shape| shape.probes.get(probe).cloned());
        let (now, grace) = (self.now, Duration::from_secs(30));
        let seen = self.seen.container_mut(container);
        let run = seen.run_mut().expect("it runs");
        run.probes.outcome(probe, &spec.expect("it has one"), &outcome, now);
        if run.probes.condemned(probe) {
            seen.order(Termination::new(now, grace), "failed");
        }
        self.settle()
    }
}

#[test]
fn a_sidecars_startup_probe_holds_up_those_after_it_and_gates_its_other_probes() {
    let mut pod = shape(&["side"], &["a"], RestartPolicy::Always);
    pod.init[0].probes =
        ProbeSpecs { startup: Some(probe()), liveness: Some(probe()), readiness: Some(probe()) };
    let mut node = Node::new(pod);
    assert_eq!(node.settle(), "create start:side startup:side");
    assert!(!node.seen.container("side").is_started() && node.seen.container("side").has_run());
    let started = node.probed("side", ProbeType::Startup, Outcome::Success);
    assert_eq!(started, "start:a liveness:side readiness:side");
    assert!(node.seen.container("side").is_started() && !node.seen.container("side").is_ready());
    node.probed("side", ProbeType::Readiness, Outcome::Success);
    assert!(node.seen.container("side").is_ready());
    assert_eq!(node.pass(10), "readiness:side", "no startup probe any more, and liveness is in flight");
}

#[test]
fn a_failed_liveness_probe_ends_the_run_and_the_next_one_is_probed_anew() {
    let mut pod = shape(&[], &["a"], RestartPolicy::Always);
    pod.main[0].probes.liveness = Some(probe());
    pod.main[0].probes.readiness = Some(probe());
    let mut node = Node::new(pod);
    assert_eq!(node.settle(), "create start:a liveness:a readiness:a");
    node.probed("a", ProbeType::Readiness, Outcome::Success);
    assert_eq!(node.probed("a", ProbeType::Liveness, Outcome::Failure("no".into())), "stop:a");
    assert_eq!(node.pass(10), "readiness:a", "on hold until there is another run");
    node.probed("a", ProbeType::Readiness, Outcome::Success);
    assert!(node.seen.container("a").is_ready());
    assert_eq!(node.exit("a", 143), "start:a liveness:a readiness:a");
    assert!(!node.seen.container("a").is_ready(), "what the last run said is gone with it");
}

#[test]
fn once_the_end_is_asked_for_only_readiness_is_probed() {
    let mut pod = shape(&[], &["a"], RestartPolicy::Always);
    pod.main[0].probes =
        ProbeSpecs { startup: Some(probe()), readiness: Some(probe()), liveness: Some(probe()) };
    let mut node = Node::new(pod);
    assert_eq!(node.settle(), "create start:a startup:a");
    assert_eq!(node.terminate(30), "stop:a readiness:a", "nobody waits for its start any more");
    assert_eq!(node.probed("a", ProbeType::Startup, Outcome::Failure("no".into())), "");
    node.probed("a", ProbeType::Readiness, Outcome::Failure("no".into()));
    assert_eq!(node.pass(10), "readiness:a");
}

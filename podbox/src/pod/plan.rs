//! The next steps of a pod: from what it should be and what is known of it to what to do now.
//!
//! Pure and total. It deliberately knows nothing of manifests (a [`Shape`] is what is left of one), of
//! images' content or of how steps are done. Invariants, which its tests hold: at most one run of a container at a
//! time; init containers in order, each after the one before succeeded; nothing starts once the end was
//! asked for or reached; a step is not issued while its like is in flight.

use super::observed::{ContainerSeen, ContainerState, ImageState, Observed, SandboxState, Termination};
use super::restart::RestartPolicy;
use std::time::{Duration, Instant};

/// The part of a pod that decides its steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// Init containers, in their order.
    pub init: Vec<ContainerShape>,
    /// The other containers.
    pub main: Vec<ContainerShape>,
    /// What follows a container's end.
    pub restart_policy: RestartPolicy,
    /// How long processes have between the stop signal and the kill, unless a termination says otherwise.
    pub grace: Duration,
}

/// The part of a container that decides its steps.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerShape {
    /// Its name.
    pub name: String,
    /// An init container that stays: it runs beside the others and ends after them.
    pub sidecar: bool,
}

/// A step of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodStep {
    /// Have a container's image on this node.
    EnsureImage {
        /// Whose.
        container: String,
    },
    /// Make the sandbox.
    CreateSandbox,
    /// Start a container's next run.
    Start {
        /// Which.
        container: String,
    },
    /// Send a container its stop signal.
    Stop {
        /// Which.
        container: String,
    },
    /// Kill every process of a container.
    Kill {
        /// Which.
        container: String,
    },
    /// Take the sandbox away.
    RemoveSandbox,
}

/// How a pod came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every container exited with 0 and none is to run again.
    Succeeded,
    /// Some container did not.
    Failed,
}

/// What to do now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Steps to issue; independent of each other.
    pub steps: Vec<PodStep>,
    /// When to ask again even if nothing is reported.
    pub wake_at: Option<Instant>,
    /// Nothing of the pod is left, and nothing is to be done.
    pub finished: bool,
}

impl Plan {
    fn step(&mut self, step: PodStep) {
        self.steps.push(step);
    }

    fn wake(&mut self, at: Instant) {
        self.wake_at = Some(self.wake_at.map_or(at, |other| other.min(at)));
    }
}

/// The next steps.
pub fn plan(pod: &Shape, seen: &Observed, now: Instant) -> Plan {
    let mut plan = Plan::default();
    if let Some(termination) = seen.termination {
        stop_all(pod, seen, termination, now, &mut plan);
    } else if outcome(pod, seen).is_some() {
        // Only sidecars may still run; they have had their use.
        let end = Termination { since: ended_at(pod, seen).unwrap_or(now), grace: pod.grace };
        stop_all(pod, seen, end, now, &mut plan);
    } else {
        go_on(pod, seen, now, &mut plan);
    }
    plan
}

/// How the pod ended, once its containers will not run again.
pub fn outcome(pod: &Shape, seen: &Observed) -> Option<Outcome> {
    for init in pod.init.iter().filter(|init| !init.sidecar) {
        match final_code(init, pod.init_policy(), seen) {
            Some(0) => {}
            Some(_) => return Some(Outcome::Failed),
            None => return None,
        }
    }
    let codes: Option<Vec<i32>> =
        pod.main.iter().map(|main| final_code(main, pod.restart_policy, seen)).collect();
    Some(if codes?.iter().all(|code| *code == 0) { Outcome::Succeeded } else { Outcome::Failed })
}

/// The exit code of a container that will not run again.
fn final_code(container: &ContainerShape, policy: RestartPolicy, seen: &Observed) -> Option<i32> {
    let ContainerState::Ended(ended) = &seen.containers.get(&container.name)?.state else { return None };
    let code = ended.exited.status.code();
    (!policy.restarts(code)).then_some(code)
}

/// When the last of the containers that decide the outcome ended.
fn ended_at(pod: &Shape, seen: &Observed) -> Option<Instant> {
    pod.main
        .iter()
        .chain(pod.init.iter().filter(|init| !init.sidecar))
        .filter_map(|shape| match &seen.containers.get(&shape.name)?.state {
            ContainerState::Ended(ended) => Some(ended.at),
            _ => None,
        })
        .max()
}

impl Shape {
    fn init_policy(&self) -> RestartPolicy {
        match self.restart_policy {
            RestartPolicy::Never => RestartPolicy::Never,
            RestartPolicy::Always | RestartPolicy::OnFailure => RestartPolicy::OnFailure,
        }
    }

    /// What follows the end of one of its containers.
    pub fn policy(&self, name: &str) -> RestartPolicy {
        match self.init.iter().find(|init| init.name == name) {
            Some(init) if init.sidecar => RestartPolicy::Always,
            Some(_) => self.init_policy(),
            None => self.restart_policy,
        }
    }

    /// Every container, init containers first.
    pub fn containers(&self) -> impl Iterator<Item = &ContainerShape> {
        self.init.iter().chain(&self.main)
    }
}

fn go_on(pod: &Shape, seen: &Observed, now: Instant, plan: &mut Plan) {
    for shape in pod.containers() {
        ensure_image(shape, seen.container(&shape.name), now, plan);
    }
    match &seen.sandbox {
        SandboxState::Absent => plan.step(PodStep::CreateSandbox),
        SandboxState::Failed { at, .. } => match seen.sandbox_backoff.until(*at, now) {
            Some(until) => plan.wake(until),
            None => plan.step(PodStep::CreateSandbox),
        },
        SandboxState::Ready => run_containers(pod, seen, now, plan),
        SandboxState::Creating | SandboxState::Removing | SandboxState::Removed { .. } => {}
    }
}

fn ensure_image(shape: &ContainerShape, seen: &ContainerSeen, now: Instant, plan: &mut Plan) {
    let ensure = PodStep::EnsureImage { container: shape.name.clone() };
    match &seen.image {
        ImageState::Absent => plan.step(ensure),
        ImageState::Failed { at, .. } => match seen.pull_backoff.until(*at, now) {
            Some(until) => plan.wake(until),
            None => plan.step(ensure),
        },
        ImageState::Pulling | ImageState::Ready { .. } => {}
    }
}

fn run_containers(pod: &Shape, seen: &Observed, now: Instant, plan: &mut Plan) {
    for init in &pod.init {
        let container = seen.container(&init.name);
        if init.sidecar {
            start_if_due(init, RestartPolicy::Always, container, now, plan);
            if !matches!(container.state, ContainerState::Running { .. }) {
                return;
            }
        } else if final_code(init, pod.init_policy(), seen) != Some(0) {
            start_if_due(init, pod.init_policy(), container, now, plan);
            return;
        }
    }
    for main in &pod.main {
        start_if_due(main, pod.restart_policy, seen.container(&main.name), now, plan);
    }
}

fn start_if_due(
    shape: &ContainerShape,
    policy: RestartPolicy,
    seen: &ContainerSeen,
    now: Instant,
    plan: &mut Plan,
) {
    if !matches!(seen.image, ImageState::Ready { .. }) {
        return;
    }
    let start = PodStep::Start { container: shape.name.clone() };
    match &seen.state {
        ContainerState::Waiting => plan.step(start),
        ContainerState::Ended(ended) if policy.restarts(ended.exited.status.code()) => {
            match seen.backoff.until(ended.at, now) {
                Some(until) => plan.wake(until),
                None => plan.step(start),
            }
        }
        ContainerState::Ended(_) | ContainerState::Starting | ContainerState::Running { .. } => {}
    }
}

/// Stops in the reverse of the order of starting: the main containers together, then the sidecars, the
/// last one first; an init container has nobody after it. Past the deadline all that is left is killed.
fn stop_all(pod: &Shape, seen: &Observed, end: Termination, now: Instant, plan: &mut Plan) {
    let deadline = end.since + end.grace;
    let any_main = pod.main.iter().any(|main| seen.container(&main.name).is_active());
    let mut active = any_main;
    for main in &pod.main {
        stop(main, seen, deadline, now, plan);
    }
    for init in pod.init.iter().rev() {
        if !active || now >= deadline {
            stop(init, seen, deadline, now, plan);
        }
        active |= seen.container(&init.name).is_active();
    }
    if active {
        // Past it there is nothing to wait for but the reports.
        if now < deadline {
            plan.wake(deadline);
        }
        return;
    }
    match &seen.sandbox {
        SandboxState::Ready => plan.step(PodStep::RemoveSandbox),
        SandboxState::Absent | SandboxState::Failed { .. } | SandboxState::Removed { .. } => {
            plan.finished = true
        }
        SandboxState::Creating | SandboxState::Removing => {}
    }
}

fn stop(shape: &ContainerShape, seen: &Observed, deadline: Instant, now: Instant, plan: &mut Plan) {
    let ContainerState::Running { stopping, killed, .. } = seen.container(&shape.name).state else { return };
    let container = shape.name.clone();
    if now >= deadline && !killed {
        plan.step(PodStep::Kill { container });
    } else if now < deadline && !stopping {
        plan.step(PodStep::Stop { container });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::sandbox::runtime::{ExitStatus, Exited, Started};
    use proptest::prelude::*;

    fn shape(init: &[&str], main: &[&str], restart_policy: RestartPolicy) -> Shape {
        let container =
            |name: &&str| ContainerShape { name: name.to_string(), sidecar: name.starts_with("side") };
        let (init, main) = (init.iter().map(container).collect(), main.iter().map(container).collect());
        Shape { init, main, restart_policy, grace: Duration::from_secs(30) }
    }

    /// A pod on a node where each step succeeds at once, except that processes go on until told.
    struct Node {
        pod: Shape,
        seen: Observed,
        now: Instant,
        log: Vec<String>,
    }

    impl Node {
        fn new(pod: Shape) -> Self {
            Node { pod, seen: Observed::default(), now: clock::instant(), log: Vec::new() }
        }

        /// Does what the plan says until it says nothing; returns the log since the last call.
        fn settle(&mut self) -> String {
            loop {
                let plan = plan(&self.pod, &self.seen, self.now);
                if plan.steps.is_empty() {
                    if plan.finished {
                        self.log.push("finished".into());
                    }
                    return std::mem::take(&mut self.log).join(" ");
                }
                plan.steps.into_iter().for_each(|step| self.apply(step));
            }
        }

        fn apply(&mut self, step: PodStep) {
            let now = self.now;
            let entry = match step {
                PodStep::EnsureImage { container } => {
                    let image = ImageState::Ready { id: "sha256:0".into() };
                    self.seen.container_mut(&container).image = image;
                    return;
                }
                PodStep::CreateSandbox => {
                    self.seen.sandbox = SandboxState::Ready;
                    "create".to_owned()
                }
                PodStep::Start { container } => {
                    let seen = self.seen.container_mut(&container);
                    assert!(!seen.is_active(), "{container} is started twice");
                    seen.starting(now);
                    seen.started(Started { pid: 1, cgroup_id: 1, at: clock::wall() });
                    format!("start:{container}")
                }
                PodStep::Stop { container } => {
                    self.seen.container_mut(&container).stopping();
                    format!("stop:{container}")
                }
                PodStep::Kill { container } => {
                    self.seen.container_mut(&container).killed();
                    format!("kill:{container}")
                }
                PodStep::RemoveSandbox => {
                    self.seen.sandbox = SandboxState::Removed { problem: None };
                    "remove".to_owned()
                }
            };
            self.log.push(entry);
        }

        fn exit(&mut self, container: &str, code: i32) -> String {
            let exited = Exited { status: ExitStatus::Code(code), at: clock::wall() };
            self.seen.container_mut(container).exited(exited, false, self.now);
            self.settle()
        }

        fn terminate(&mut self, grace_s: u64) -> String {
            self.seen.termination =
                Some(Termination { since: self.now, grace: Duration::from_secs(grace_s) });
            self.settle()
        }

        fn pass(&mut self, seconds: u64) -> String {
            self.now += Duration::from_secs(seconds);
            self.settle()
        }
    }

    #[test]
    fn init_containers_run_in_order_then_the_main_ones_together() {
        let mut node = Node::new(shape(&["one", "two"], &["a", "b"], RestartPolicy::Never));
        assert_eq!(node.settle(), "create start:one");
        assert_eq!(node.exit("one", 0), "start:two");
        assert_eq!(node.exit("two", 0), "start:a start:b");
        assert_eq!(node.exit("a", 0), "");
        assert_eq!(node.exit("b", 0), "remove finished");
        assert_eq!(outcome(&node.pod, &node.seen), Some(Outcome::Succeeded));
    }

    #[test]
    fn a_failed_init_container_fails_the_pod_or_is_tried_again() {
        let mut never = Node::new(shape(&["init"], &["a"], RestartPolicy::Never));
        never.settle();
        assert_eq!(never.exit("init", 3), "remove finished");
        assert_eq!(outcome(&never.pod, &never.seen), Some(Outcome::Failed));

        let mut always = Node::new(shape(&["init"], &["a"], RestartPolicy::Always));
        always.settle();
        assert_eq!(always.exit("init", 3), "start:init");
        assert_eq!(always.exit("init", 0), "start:a");
    }

    #[test]
    fn the_first_restart_is_immediate_and_the_next_waits() {
        let mut node = Node::new(shape(&[], &["a"], RestartPolicy::OnFailure));
        node.settle();
        assert_eq!(node.exit("a", 137), "start:a");
        assert_eq!(node.exit("a", 137), "");
        assert_eq!(node.pass(9), "");
        assert_eq!(node.pass(1), "start:a");
        assert_eq!(node.seen.container("a").restarts(), 2);
        assert_eq!(node.exit("a", 0), "remove finished");
    }

    #[test]
    fn sidecars_start_before_and_stop_after_the_main_containers() {
        let mut node = Node::new(shape(&["side1", "init", "side2"], &["a"], RestartPolicy::Never));
        assert_eq!(node.settle(), "create start:side1 start:init");
        assert_eq!(node.exit("init", 0), "start:side2 start:a");
        assert_eq!(node.exit("a", 0), "stop:side2");
        assert_eq!(node.exit("side2", 0), "stop:side1");
        assert_eq!(node.exit("side1", 143), "remove finished");
        assert_eq!(outcome(&node.pod, &node.seen), Some(Outcome::Succeeded));
    }

    #[test]
    fn termination_stops_waits_for_the_grace_and_kills() {
        let mut node = Node::new(shape(&[], &["a", "b"], RestartPolicy::Always));
        node.settle();
        assert_eq!(node.terminate(30), "stop:a stop:b");
        assert_eq!(node.exit("a", 0), "", "no restart during termination");
        assert_eq!(node.pass(29), "");
        assert_eq!(node.pass(1), "kill:b");
        assert_eq!(node.exit("b", 137), "remove finished");
    }

    #[test]
    fn termination_before_the_sandbox_is_there_ends_at_once() {
        let mut node = Node::new(shape(&[], &["a"], RestartPolicy::Always));
        assert_eq!(node.terminate(30), "finished");
    }

    proptest! {
        /// Whatever containers do, none runs twice at a time (asserted in `Node`), init containers keep their
        /// order, and a terminated pod ends with nothing left.
        #[test]
        fn any_history_ends_clean(acts in proptest::collection::vec((0usize..5, 0i32..2, 0u64..400), 0..60)) {
            let names = ["one", "side", "two", "a", "b"];
            let mut node = Node::new(shape(&names[..3], &names[3..], RestartPolicy::OnFailure));
            node.settle();
            for (who, code, wait) in acts {
                if node.seen.container(names[who]).is_active() {
                    node.exit(names[who], code);
                }
                node.pass(wait);
                let started = |name| node.seen.container(name).state != ContainerState::Waiting;
                prop_assert!(started("one") || !started("two"));
                prop_assert!((started("one") && started("side") && started("two")) || !started("a"));
            }
            node.terminate(1);
            node.pass(2);
            for name in names {
                if node.seen.container(name).is_active() {
                    node.exit(name, 137);
                }
            }
            node.settle();
            prop_assert!(plan(&node.pod, &node.seen, node.now).finished);
        }
    }
}

//! Pods on a node where every step succeeds at once, except that hooks and processes go on until told.

mod ends;
mod probes;

use super::stop::SHORTEST_GRACE;
use super::*;
use crate::clock;
use crate::pod::observed::{Hook, Order};
use crate::pod::probe::Probes;
use crate::pod::restart::{Action, Codes, RestartPolicy};
use crate::sandbox::runtime::{ExitStatus, Exited, Started};
use proptest::prelude::*;

/// `side…` is a sidecar; `+` after a name is a postStart hook, `-` a preStop hook.
fn container(word: &&str, policy: RestartPolicy) -> ContainerShape {
    let name = word.trim_end_matches(['+', '-']);
    let sidecar = name.starts_with("side");
    let policy = if sidecar { RestartPolicy::Always } else { policy };
    ContainerShape {
        sidecar,
        post_start: word.contains('+'),
        pre_stop: word.contains('-'),
        ..ContainerShape::new(name, policy)
    }
}

fn shape(init: &[&str], main: &[&str], policy: RestartPolicy) -> Shape {
    let of_init = match policy {
        RestartPolicy::Never => RestartPolicy::Never,
        _ => RestartPolicy::OnFailure,
    };
    let main = main.iter().map(|word| container(word, policy)).collect();
    let init = init.iter().map(|word| container(word, of_init)).collect();
    Shape { init, ..Shape::new(main, Duration::from_secs(30)) }
}

/// A pod on such a node.
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
                self.seen.container_mut(&container).image = ImageState::Ready { id: "sha256:0".into() };
                return;
            }
            PodStep::CreateSandbox => {
                self.seen.sandbox = SandboxState::Ready;
                "create".to_owned()
            }
            PodStep::Start { container } => {
                let hook = self.pod.container(&container).is_some_and(|shape| shape.post_start);
                let seen = self.seen.container_mut(&container);
                assert!(!seen.is_active(), "{container} is started twice");
                seen.starting(now);
                let hook = if hook { HookState::Due } else { HookState::Done };
                seen.started(
                    Started { pid: 1, cgroup_id: 1, at: clock::wall(), user: None, laps: Vec::new() },
                    hook,
                );
                let specs = self.pod.container(&container).map(|shape| shape.probes.clone());
                seen.probed(Probes::new(&specs.unwrap_or_default(), now));
                format!("start:{container}")
            }
            PodStep::Probe { container, probe } => {
                let spec = self.pod.container(&container).and_then(|shape| shape.probes.get(probe).cloned());
                let run =
                    self.seen.container_mut(&container).run_mut().expect("a probe is for one that runs");
                run.probes.begin(probe, &spec.expect("it has one"), now);
                format!("{}:{container}", probe.name())
            }
            PodStep::PostStart { container } => {
                let seen = self.seen.container_mut(&container);
                assert_eq!(seen.run().map(|run| run.post_start), Some(HookState::Due), "{container}");
                seen.calling(Hook::PostStart);
                format!("poststart:{container}")
            }
            PodStep::PreStop { container } => {
                let seen = self.seen.container_mut(&container);
                let run = seen.run().expect("a hook is for one that runs");
                assert_eq!((run.pre_stop, run.signalled), (HookState::Due, None), "{container}");
                seen.calling(Hook::PreStop);
                format!("prestop:{container}")
            }
            PodStep::Stop { container } => {
                let hook = self.pod.container(&container).is_some_and(|shape| shape.pre_stop);
                let seen = self.seen.container_mut(&container);
                let run = seen.run().expect("a signal is for one that runs");
                assert_eq!(run.signalled, None, "{container} is asked twice");
                if hook {
                    self.log.push(format!("({:?})", run.pre_stop).to_lowercase());
                }
                seen.stopping(now);
                format!("stop:{container}")
            }
            PodStep::Replace { container, why } => {
                let end = Termination::new(now, self.pod.grace);
                self.seen.container_mut(&container).replace(end, why);
                format!("replace:{container}")
            }
            PodStep::Resize { container } => {
                let share = self.pod.container(&container).map(|shape| shape.share.clone());
                self.seen.container_mut(&container).share = share;
                format!("resize:{container}")
            }
            PodStep::Kill { container } => {
                let seen = self.seen.container_mut(&container);
                assert!(!seen.run().is_some_and(|run| run.killed), "{container} is killed twice");
                seen.killed();
                format!("kill:{container}")
            }
            PodStep::Fail(verdict) => {
                let said = format!("fail:{}", verdict.reason);
                self.seen.fail(verdict, Termination::new(now, self.pod.grace));
                said
            }
            PodStep::BeginAnew => {
                self.seen.begin_anew(now);
                "anew".to_owned()
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
        self.seen.container_mut(container).exited(exited, None, String::new(), self.now);
        self.settle()
    }

    fn called(&mut self, container: &str, hook: Hook, complaint: Option<&str>) -> String {
        let seen = self.seen.container_mut(container);
        seen.called(seen.attempt, hook, complaint.map(str::to_owned));
        if complaint.is_some() && hook == Hook::PostStart {
            seen.order(Termination::new(self.now, Duration::from_secs(30)), "FailedPostStartHook");
        }
        self.settle()
    }

    fn terminate(&mut self, grace_s: u64) -> String {
        self.seen.terminate(Termination::new(self.now, Duration::from_secs(grace_s)));
        self.settle()
    }

    fn pass(&mut self, seconds: u64) -> String {
        self.now += Duration::from_secs(seconds);
        self.settle()
    }

    /// When it wants to be asked again, in seconds.
    fn wakes_in(&self) -> Option<u64> {
        let wake = plan(&self.pod, &self.seen, self.now).wake_at?;
        Some(wake.saturating_duration_since(self.now).as_secs())
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
fn each_container_may_have_its_own_restart_policy_and_rules() {
    let mut pod = shape(&[], &["always", "never", "rule"], RestartPolicy::Never);
    pod.main[0].restart.policy = RestartPolicy::Always;
    pod.main[2].restart.rules = vec![(Codes::In(vec![42]), Action::Restart)];
    let mut node = Node::new(pod);
    node.settle();
    assert_eq!(node.exit("always", 0), "start:always");
    assert_eq!(node.exit("never", 1), "");
    assert_eq!(node.exit("rule", 42), "start:rule");
    assert_eq!(node.exit("rule", 1), "");
    assert_eq!(outcome(&node.pod, &node.seen), None, "one of them always runs again");
}

#[test]
fn a_pod_begins_anew_in_its_sandbox_when_a_container_asks_for_that() {
    let mut pod = shape(&["side", "init"], &["done", "asks", "other-"], RestartPolicy::Never);
    pod.main[1].restart.rules = vec![(Codes::In(vec![88]), Action::RestartAll)];
    let mut node = Node::new(pod);
    node.settle();
    node.exit("init", 0);
    node.exit("done", 0);
    assert_eq!(node.exit("asks", 88), "kill:side kill:other");
    assert!(begins_anew(&node.pod, &node.seen));
    assert_eq!(node.exit("side", 137), "");
    assert_eq!(node.exit("other", 137), "anew start:side start:init");
    assert!(!begins_anew(&node.pod, &node.seen));
    assert_eq!(node.exit("init", 0), "start:done start:asks start:other");
    let restarts = ["side", "init", "done", "asks", "other"].map(|name| node.seen.container(name).restarts());
    assert_eq!(restarts, [1; 5]);
    // The next time it waits like any other restart.
    node.exit("asks", 88);
    for name in ["side", "done", "other"] {
        node.exit(name, 137);
    }
    assert_eq!(node.wakes_in(), Some(10));
    assert_eq!(node.terminate(5), "remove finished");
}

#[test]
fn what_its_configuration_keeps_from_starting_is_tried_again_as_the_same_run() {
    let mut node = Node::new(shape(&[], &["a"], RestartPolicy::Never));
    node.settle();
    let failure = |reason: &str| crate::pod::observed::StartFailure {
        reason: reason.into(),
        message: "configmap \"x\" not found".into(),
    };
    let now = node.now;
    let a = node.seen.container_mut("a");
    a.refused(failure("CreateContainerConfigError"), now);
    assert_eq!(node.settle(), "");
    assert_eq!(node.wakes_in(), Some(10));
    assert_eq!(node.pass(10), "start:a");
    assert_eq!(node.seen.container("a").restarts(), 0);
    // One that is not there is the image's fault: that was a run.
    node.seen.container_mut("a").start_failed(failure("StartError"), clock::wall(), now);
    assert_eq!(node.settle(), "remove finished");
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
fn a_sidecar_that_waits_to_run_again_holds_up_only_what_was_never_initialised() {
    let mut node = Node::new(shape(&["side", "init"], &["a"], RestartPolicy::Always));
    assert_eq!(node.settle(), "create start:side start:init");
    node.exit("side", 1);
    node.exit("side", 1);
    assert_eq!(node.exit("init", 0), "", "the sidecar before it waits");
    assert_eq!(node.pass(10), "start:side start:a");
    node.exit("side", 1);
    assert_eq!(node.exit("a", 1), "start:a");
}

#[test]
fn a_post_start_hook_holds_up_those_after_it_and_its_failure_ends_the_container() {
    let mut node = Node::new(shape(&["side+"], &["a+-", "b"], RestartPolicy::Always));
    assert_eq!(node.settle(), "create start:side poststart:side");
    assert_eq!(node.called("side", Hook::PostStart, None), "start:a poststart:a");
    assert!(!node.seen.container("a").is_started());
    assert_eq!(node.called("a", Hook::PostStart, Some("exit 1")), "prestop:a start:b");
    assert_eq!(node.called("a", Hook::PreStop, None), "(done) stop:a");
    assert_eq!(node.exit("a", 143), "start:a poststart:a");
    assert_eq!(node.called("a", Hook::PostStart, None), "");
    assert!(node.seen.container("a").is_started());
}

#[test]
fn an_answer_of_an_earlier_runs_hook_is_nobodys() {
    let mut node = Node::new(shape(&[], &["a+"], RestartPolicy::Always));
    node.settle();
    assert_eq!(node.exit("a", 1), "start:a poststart:a");
    node.seen.container_mut("a").called(0, Hook::PostStart, None);
    assert!(!node.seen.container("a").is_started());
}

#[test]
fn a_pod_that_is_at_it_for_too_long_fails_and_ends_within_its_grace() {
    let mut node = Node::new(shape(&[], &["a"], RestartPolicy::Always));
    node.pod.active_deadline = Some(Duration::from_secs(60));
    node.seen.accepted = Some(node.now);
    node.settle();
    assert_eq!(node.wakes_in(), Some(60));
    assert_eq!(node.pass(59), "");
    assert_eq!(node.pass(1), "fail:DeadlineExceeded stop:a");
    assert_eq!(node.exit("a", 0), "remove finished");
}

proptest! {
    /// Whatever containers and hooks do, none runs twice at a time and no hook is called twice (asserted in `Node`),
    /// init containers keep their order, nobody starts before the sidecar before it has started, and a terminated pod
    /// ends with nothing left.
    #[test]
    fn any_history_ends_clean(
        acts in proptest::collection::vec((0usize..5, 0i32..4, 0u64..400), 0..60),
        grace in 0u64..40,
    ) {
        let words = ["one", "side+-", "two", "a+", "b-"];
        let mut node = Node::new(shape(&words[..3], &words[3..], RestartPolicy::OnFailure));
        let names = words.map(|word| word.trim_end_matches(['+', '-']));
        node.settle();
        for (who, what, wait) in acts {
            let seen = node.seen.container(names[who]);
            match (seen.run().map(|run| run.post_start), what) {
                (Some(HookState::Running), 2 | 3) => {
                    node.called(names[who], Hook::PostStart, (what == 3).then_some("no"));
                }
                (Some(_), 2 | 3) => drop(node.called(names[who], Hook::PreStop, None)),
                (Some(_), code) => drop(node.exit(names[who], code)),
                (None, _) => {}
            }
            node.pass(wait);
            let started = |name| node.seen.container(name).state != ContainerState::Waiting;
            prop_assert!(started("one") || !started("two"));
            prop_assert!((started("one") && started("side") && started("two")) || !started("a"));
            let a = node.seen.container("a");
            prop_assert!(a.has_run() || node.seen.container("b").state == ContainerState::Waiting
                || a.run().is_some_and(|run| run.post_start == HookState::Failed));
        }
        node.terminate(grace);
        // Hooks that never come back hold nobody up for longer than the grace, nor sidecars for longer than theirs.
        node.pass(grace);
        node.pass(SHORTEST_GRACE.as_secs());
        for name in names {
            if let Some(run) = node.seen.container(name).run() {
                prop_assert!(run.killed, "{} was not killed", name);
            }
        }
        for name in names {
            if node.seen.container(name).is_active() {
                node.exit(name, 137);
            }
        }
        node.settle();
        prop_assert!(plan(&node.pod, &node.seen, node.now).finished);
    }
}

//! One pod's loop: plan, issue the steps, wait for the first report, apply it, plan again.
//!
//! ```text
//!   ┌──▶ plan(shape, seen, now) ──steps──▶ tasks ──reports──┐
//!   │                                                       ▼
//!   └────── apply ◀── select: report | termination | due ◀──┘
//! ```
//!
//! The loop itself never waits for the kernel: each step is a task of its own, and its report is an event like
//! any other. It does not decide anything; `pod::plan` does. Invariant: what is in flight is written
//! to [`Observed`] before its task is spawned, so no step is issued twice; and where pods outlive the daemon, to the
//! pod's [`Memory`] on file, so that a later daemon does not either.

use super::change::Versions;
use super::record::PodRecord;
use super::view::PodView;
use super::{Node, pull};
use crate::api::error::chain;
use crate::api::identity::ContainerRef;
use crate::api::image::Image;
use crate::api::images::{Images, PullFailure};
use crate::clock;
use crate::pod::memory::{Memory, Moment};
use crate::pod::notice;
use crate::pod::observed::{ContainerState, ImageState, Observed, SandboxState, StartFailure, Termination};
use crate::pod::plan::{Plan, PodStep, plan};
use crate::sandbox::runtime::{Exited, Runtime, Started};
use crate::{limits, metrics};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What came of a step.
#[derive(Debug)]
enum Report {
    Image { container: String, result: Result<Image, PullFailure> },
    Sandbox { result: Result<Option<Ipv4Addr>, String> },
    Start { container: String, result: Result<Started, StartFailure> },
    Exit { container: String, result: Result<(Exited, bool), String> },
    Told { container: String, what: &'static str, result: Result<(), String> },
    Removed { problem: Option<String> },
}

/// A step's work.
type Step = Pin<Box<dyn Future<Output = Report> + Send>>;

/// What the loop waits for.
#[derive(Debug)]
enum Event {
    Report(Box<Report>),
    Terminate(Duration),
    Changed,
    Due,
}

/// The loop's state.
pub struct Worker<R, I> {
    node: Arc<Node<R, I>>,
    pod: Arc<PodRecord>,
    seen: Observed,
    /// What was told of it in notices.
    told: Observed,
    images: BTreeMap<String, Arc<Image>>,
    address: Option<Ipv4Addr>,
    tasks: JoinSet<Report>,
    /// Steps that are issued once the memory of them is on file.
    steps: Vec<Step>,
    /// What is on file.
    saved: Option<Memory>,
    /// Runs that an earlier daemon started: for a while nobody watched them.
    adopted: BTreeSet<ContainerRef>,
    /// What the pod has become.
    versions: Versions,
    /// Set once to the grace period when the pod is to end.
    orders: watch::Receiver<Option<Duration>>,
    accepted: Instant,
    /// The time to the first process was recorded.
    timed: bool,
}

impl<R: Runtime, I: Images> Worker<R, I> {
    /// A worker for a pod that is not on the node yet, or that goes on from what an earlier daemon remembered.
    pub fn new(
        node: Arc<Node<R, I>>,
        mut versions: Versions,
        orders: watch::Receiver<Option<Duration>>,
        memory: Option<Memory>,
    ) -> Self {
        let pod = Arc::clone(&versions.borrow_and_update());
        let mut worker = Worker {
            node,
            pod,
            versions,
            seen: Observed::default(),
            told: Observed::default(),
            images: BTreeMap::new(),
            address: None,
            tasks: JoinSet::new(),
            steps: Vec::new(),
            saved: None,
            adopted: BTreeSet::new(),
            orders,
            accepted: clock::instant(),
            timed: false,
        };
        memory.into_iter().for_each(|memory| worker.recall(&memory));
        worker
    }

    /// Goes on from what an earlier daemon remembered.
    fn recall(&mut self, memory: &Memory) {
        self.seen = memory.recall(&self.pod.shape, moment());
        self.told = self.seen.clone();
        self.address = memory.address.filter(|_| memory.sandbox);
        self.timed = true;
        for (name, container) in &memory.containers {
            if let Some(image) = &container.image {
                self.images.insert(name.clone(), Arc::new(image.clone()));
            }
            if self.seen.container(name).is_active() {
                self.adopted.insert(self.run_of(name));
                self.wait_for_exit(name, Duration::ZERO);
            }
        }
    }

    /// Runs the pod until nothing of it is left.
    pub async fn run(mut self) {
        loop {
            let Plan { steps, wake_at, finished } = plan(&self.pod.shape, &self.seen, clock::instant());
            for step in steps {
                self.issue(step);
            }
            self.save();
            self.steps.drain(..).for_each(|step| drop(self.tasks.spawn(step)));
            self.tell();
            self.publish(finished);
            if finished {
                return;
            }
            let event = self.select(wake_at).await;
            self.apply(event);
        }
    }

    async fn select(&mut self, wake_at: Option<Instant>) -> Event {
        let due = async {
            match wake_at {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Ok(()) = self.orders.changed() => {
                let grace = self.orders.borrow_and_update().unwrap_or(self.pod.shape.grace);
                Event::Terminate(grace)
            }
            Ok(()) = self.versions.changed() => Event::Changed,
            Some(done) = self.tasks.join_next() => {
                Event::Report(Box::new(done.expect("a step's task neither panics nor is aborted")))
            }
            () = due => Event::Due,
        }
    }

    fn apply(&mut self, event: Event) {
        let now = clock::instant();
        match event {
            Event::Due => {}
            Event::Terminate(grace) => self.terminate(grace, now),
            Event::Changed => self.pod = Arc::clone(&self.versions.borrow_and_update()),
            Event::Report(report) => self.note(*report, now),
        }
    }

    /// A second order can only hasten the end.
    fn terminate(&mut self, grace: Duration, now: Instant) {
        let termination = self.seen.termination.get_or_insert(Termination { since: now, grace });
        termination.grace = termination.grace.min(grace);
    }

    fn note(&mut self, report: Report, now: Instant) {
        match report {
            Report::Image { container, result } => self.note_image(&container, result, now),
            Report::Sandbox { result: Ok(address) } => {
                self.address = address;
                self.seen.sandbox = SandboxState::Ready;
            }
            Report::Sandbox { result: Err(message) } => {
                tracing::error!(pod = %self.pod.pod, "making the sandbox failed: {message}");
                self.seen.sandbox = SandboxState::Failed { message, at: now };
            }
            Report::Start { container, result: Ok(started) } => self.note_started(&container, started),
            Report::Start { container, result: Err(failure) } => {
                tracing::error!(pod = %self.pod.pod, container, "starting failed: {}", failure.message);
                self.seen.container_mut(&container).start_failed(failure, clock::wall(), now);
            }
            Report::Exit { container, result } => self.note_exit(&container, result, now),
            Report::Told { result: Ok(()), .. } => {}
            Report::Told { container, what, result: Err(error) } => {
                tracing::warn!(pod = %self.pod.pod, container, "{what} failed: {error}");
            }
            Report::Removed { problem } => {
                if let Some(problem) = &problem {
                    tracing::error!(pod = %self.pod.pod, "removing the sandbox failed: {problem}");
                }
                self.seen.sandbox = SandboxState::Removed { problem };
            }
        }
    }

    fn note_image(&mut self, container: &str, result: Result<Image, PullFailure>, now: Instant) {
        let state = match result {
            Ok(image) => {
                let id = image.id.clone();
                self.images.insert(container.to_owned(), Arc::new(image));
                ImageState::Ready { id }
            }
            Err(PullFailure { reason, message }) => {
                tracing::error!(pod = %self.pod.pod, container, "{reason}: {message}");
                ImageState::Failed { reason: reason.to_owned(), message, at: now }
            }
        };
        self.seen.container_mut(container).image = state;
    }

    fn note_started(&mut self, container: &str, started: Started) {
        if !std::mem::replace(&mut self.timed, true) {
            let took = clock::instant().saturating_duration_since(self.accepted);
            ::metrics::histogram!(metrics::POD_START_SECONDS).record(took);
        }
        let seen = self.seen.container_mut(container);
        seen.started(started);
        if seen.attempt > 0 {
            let pod = &self.pod.pod;
            ::metrics::counter!(
                metrics::CONTAINER_RESTARTS,
                "namespace" => pod.namespace.clone(), "pod" => pod.name.clone(), "container" => container.to_owned()
            )
            .increment(1);
        }
        self.wait_for_exit(container, Duration::ZERO);
    }

    fn note_exit(&mut self, container: &str, result: Result<(Exited, bool), String>, now: Instant) {
        let (exited, group_oom) = match result {
            Ok(exited) => exited,
            Err(error) => {
                // The keeper did not answer. The container may well run: ask again, never assume an end.
                tracing::error!(pod = %self.pod.pod, container, "waiting for its end failed: {error}");
                return self.wait_for_exit(container, limits::KEEPER_RETRY);
            }
        };
        let run = self.run_of(container);
        let seen = self.seen.container_mut(container);
        let oom_killed = match &seen.state {
            ContainerState::Running { started, .. } => {
                let victims = self.node.attribution.oom_victims(started.cgroup_id);
                group_oom || victims.iter().any(|victim| victim.pid == started.pid)
            }
            _ => false,
        };
        // One that ended while nobody watched has waited since then.
        let ago = clock::wall().duration_since(exited.at).unwrap_or_default();
        seen.exited(exited, oom_killed, now.checked_sub(ago).unwrap_or(now));
        self.adopted.remove(&run);
        self.spawn(move |node, _| async move {
            let result = node.runtime.remove(&run).await.map_err(|error| chain(&error));
            Report::Told { container: run.name, what: "removing an ended container", result }
        });
    }

    fn issue(&mut self, step: PodStep) {
        let now = clock::instant();
        match step {
            PodStep::EnsureImage { container } => self.ensure_image(container, now),
            PodStep::CreateSandbox => {
                self.seen.sandbox_backoff.tried(now);
                self.seen.sandbox = SandboxState::Creating;
                self.spawn(
                    |node, pod| async move { Report::Sandbox { result: node.create_sandbox(&pod).await } },
                );
            }
            PodStep::Start { container } => self.start(container, now),
            PodStep::Stop { container } => {
                self.seen.container_mut(&container).stopping();
                let signal = self.pod.stop_signal(&container, self.images.get(&container).map(AsRef::as_ref));
                let run = self.run_of(&container);
                self.spawn(move |node, _| async move {
                    let result = node.runtime.signal(&run, signal).await.map_err(|error| chain(&error));
                    Report::Told { container, what: "sending the stop signal", result }
                });
            }
            PodStep::Kill { container } => {
                self.seen.container_mut(&container).killed();
                let run = self.run_of(&container);
                self.spawn(move |node, _| async move {
                    let result = node.runtime.kill(&run).await.map_err(|error| chain(&error));
                    Report::Told { container, what: "killing its processes", result }
                });
            }
            PodStep::RemoveSandbox => {
                self.seen.sandbox = SandboxState::Removing;
                self.spawn(|node, pod| async move {
                    Report::Removed { problem: node.discard(&pod.pod).await.err() }
                });
            }
        }
    }

    fn ensure_image(&mut self, container: String, now: Instant) {
        let seen = self.seen.container_mut(&container);
        seen.image = ImageState::Pulling;
        seen.pull_backoff.tried(now);
        self.spawn(move |node, pod| async move {
            let result = pull::image(&node, &pod, &container).await;
            Report::Image { container, result }
        });
    }

    fn start(&mut self, container: String, now: Instant) {
        self.seen.container_mut(&container).starting(now);
        let run = self.run_of(&container);
        let image = self.images.get(&container).cloned();
        let address = self.address;
        self.spawn(move |node, pod| async move {
            let result = node.start(&pod, &run, image.as_deref(), address).await;
            Report::Start { container, result }
        });
    }

    fn wait_for_exit(&mut self, container: &str, delay: Duration) {
        let run = self.run_of(container);
        let adopted = self.adopted.contains(&run);
        self.spawn(move |node, _| async move {
            tokio::time::sleep(delay).await;
            let result = node.runtime.wait(&run).await.map_err(|error| chain(&error));
            let result = result.map(|exited| (exited, adopted && node.runtime.group_oom(&run)));
            Report::Exit { container: run.name, result }
        });
    }

    fn spawn<F>(&mut self, step: impl FnOnce(Arc<Node<R, I>>, Arc<PodRecord>) -> F)
    where
        F: Future<Output = Report> + Send + 'static,
    {
        self.steps.push(Box::pin(step(Arc::clone(&self.node), Arc::clone(&self.pod))));
    }

    /// Puts what must not be forgotten on file, if pods of this node outlive the daemon.
    fn save(&mut self) {
        let Some(checkpoints) = &self.node.checkpoints else { return };
        let image = |name: &str| self.images.get(name).map(|image| Image::clone(image));
        let whose = (&self.pod.pod, self.pod.accepted);
        let memory = Memory::of(whose, &self.seen, image, self.address, moment());
        if self.saved.as_ref() == Some(&memory) {
            return;
        }
        match checkpoints.write(&memory) {
            Ok(()) => self.saved = Some(memory),
            Err(error) => {
                let pod = &self.pod.pod;
                tracing::error!(%pod, "a restart of podbox may count its containers wrong: {}", chain(&error));
            }
        }
    }

    /// The current run of a container.
    fn run_of(&self, container: &str) -> ContainerRef {
        let attempt = self.seen.container(container).attempt;
        ContainerRef { pod: self.pod.pod.clone(), name: container.to_owned(), attempt }
    }

    /// Says what happened since the last time.
    fn tell(&mut self) {
        let Some(notices) = self.node.notices.get().filter(|_| self.told != self.seen) else { return };
        let (pod, shape) = (&self.pod.pod, &self.pod.shape);
        for notice in notice::notices(pod, shape, &self.told, &self.seen, |name| self.pod.image(name).0) {
            notices.tell(pod, notice);
        }
        self.told = self.seen.clone();
    }

    fn publish(&self, gone: bool) {
        let status = self.pod.status(&self.seen, self.node.facts.host_ip, self.address, clock::instant());
        self.node.views.update(&self.pod.pod, |view: &mut PodView| {
            view.status = status;
            view.gone = gone;
        });
    }
}

fn moment() -> Moment {
    Moment { instant: clock::instant(), boot: clock::boot() }
}

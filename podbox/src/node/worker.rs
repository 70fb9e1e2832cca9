//! One pod's loop: plan, issue the steps, wait for the first report, apply it, plan again.
//!
//! ```text
//!   ┌──▶ plan(shape, seen, now) ──steps──▶ tasks ──reports──┐
//!   │                                                       ▼
//!   └────── apply ◀── select: report | ending | version | due
//! ```
//!
//! The loop itself never waits for the kernel: each step is a task of its own ([`step`]), and its report is an event like
//! any other ([`report`]). It does not decide anything; `pod::plan` does. Invariant: what is in flight is written
//! to [`Observed`] before its task is spawned, so no step is issued twice; and where pods outlive the daemon, to the
//! pod's [`Memory`] on file, so that a later daemon does not either.

mod kills;
mod piles;
mod probes;
mod report;
mod startup;
mod step;
mod volumes;

use super::Node;
use super::change::Versions;
use super::probe::Heard;
use super::record::PodRecord;
use super::refresh::Refresh;
use super::view::PodView;
use crate::api::error::chain;
use crate::api::identity::ContainerRef;
use crate::api::image::Image;
use crate::api::images::Images;
use crate::api::startup::Startup;
use crate::api::trigger::Trigger;
use crate::pod::change;
use crate::pod::memory::{Memory, Moment};
use crate::pod::notice::{self, Notice};
use crate::pod::observed::{Observed, Termination, Verdict};
use crate::pod::plan::{Plan, PodStep, is_main_turn, plan};
use crate::pod::resources::Pledge;
use crate::pod::restart::Pace;
use crate::sandbox::runtime::Runtime;
use crate::{clock, limits};
use report::Report;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// A step's work.
type Step = Pin<Box<dyn Future<Output = Report> + Send>>;

/// What was said of a pod's end; later words add to earlier ones.
#[derive(Clone, Debug, Default)]
pub struct Ending {
    /// It is to end.
    pub grace: Option<Grace>,
    /// It has failed, and why.
    pub verdict: Option<Verdict>,
}

/// How long a pod has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grace {
    /// As long as it says itself.
    Own,
    /// So long at most.
    Within(Duration),
    /// Nobody is asked.
    AtOnce,
}

/// What the loop waits for.
#[derive(Debug)]
enum Event {
    Report(Box<Report>),
    Ending(Ending),
    Changed,
    /// Something that the pod refers to changed.
    News,
    /// Something happened in a container that its probes may want to look at.
    Trigger(Trigger),
    Due,
    /// A probe is due, and nothing else.
    Probe,
}

/// The loop's state.
pub struct Worker<R, I> {
    node: Arc<Node<R, I>>,
    pod: Arc<PodRecord>,
    seen: Observed,
    /// What was told of it in notices.
    told: Observed,
    /// What is to be told of kills.
    said: Vec<Notice>,
    /// What is told of main containers' images once their turn has come.
    held: (mpsc::Sender<Notice>, mpsc::Receiver<Notice>),
    /// When to look at its volumes.
    refresh: Refresh,
    images: BTreeMap<String, Arc<Image>>,
    address: Option<Ipv4Addr>,
    tasks: JoinSet<Report>,
    /// Steps that are issued once the memory of them is on file.
    steps: Vec<Step>,
    /// What is on file.
    saved: Option<Memory>,
    /// What the pod has become.
    versions: Versions,
    triggers: Heard,
    /// When the dead that lie unreaped are to be counted.
    piles_at: Option<Instant>,
    /// When they were last.
    piles_seen: Option<Instant>,
    /// Containers and their cgroups with OOM victims of kills that were not over, and when to look at these again.
    untold: BTreeSet<(String, u64)>,
    untold_at: Option<Instant>,
    /// What happened last changed nothing that others could see.
    quiet: bool,
    ending: watch::Receiver<Ending>,
    accepted: Instant,
    /// The time to the first process was recorded.
    timed: bool,
}

impl<R: Runtime, I: Images> Worker<R, I> {
    /// A worker for a pod that is not on the node yet, or that goes on from what an earlier daemon remembered.
    pub fn new(
        node: Arc<Node<R, I>>,
        mut versions: Versions,
        ending: watch::Receiver<Ending>,
        memory: Option<Memory>,
    ) -> Self {
        let pod = Arc::clone(&versions.borrow_and_update());
        let now = clock::instant();
        let pace = Pace::up_to(node.config.restart_backoff_max);
        let startup = Startup::accepted(clock::boot());
        let seen = Observed { startup, ..Observed::new(now, pace) };
        let triggers = node.probing.triggers.subscribe(&pod.pod);
        let refresh = Refresh::new(&*pod.sources, memory.as_ref().is_some_and(|memory| memory.sandbox));
        let mut worker = Worker {
            node,
            refresh,
            pod,
            versions,
            told: seen.clone(),
            said: Vec::new(),
            held: mpsc::channel(limits::NOTICES_HELD),
            seen,
            images: BTreeMap::new(),
            address: None,
            tasks: JoinSet::new(),
            steps: Vec::new(),
            saved: None,
            triggers,
            piles_at: None,
            piles_seen: None,
            untold: BTreeSet::new(),
            untold_at: None,
            quiet: false,
            ending,
            accepted: now,
            timed: false,
        };
        memory.into_iter().for_each(|memory| worker.recall(&memory));
        worker
    }

    /// Goes on from what an earlier daemon remembered.
    fn recall(&mut self, memory: &Memory) {
        let now = moment();
        self.seen = memory.recall(&self.pod.shape, self.seen.pace, now);
        // It may have changed meanwhile.
        change::follow(&self.pod.shape, &mut self.seen);
        // What it may take is counted by the wall's clock, since a reboot is no excuse.
        let ago = clock::wall().duration_since(self.pod.accepted).unwrap_or_default();
        self.seen.accepted = Some(now.instant.checked_sub(ago).unwrap_or(now.instant));
        self.address = memory.address.filter(|_| memory.sandbox);
        self.recall_beginning();
        // Who lies unreaped is not remembered. The kernel's side has looked by then, or tells.
        self.piles_at = Some(now.instant + limits::ZOMBIES_PAUSE);
        self.told = self.seen.clone();
        self.timed = true;
        for (name, container) in &memory.containers {
            if let Some(image) = &container.image {
                self.images.insert(name.clone(), Arc::new(image.clone()));
            }
            if self.seen.container(name).is_active() {
                self.begin_tally(name);
                self.wait_for_exit(name, Duration::ZERO);
            }
        }
    }

    /// Runs the pod until nothing of it is left.
    pub async fn run(mut self) {
        loop {
            let now = clock::instant();
            if !self.quiet {
                self.look_for_kills(now);
                self.look_for_piles(now);
                self.look_for_untold(now);
            }
            let Plan { steps, wake_at, probe_at, finished } = plan(&self.pod.shape, &self.seen, now);
            let probes_only = steps.iter().all(|step| matches!(step, PodStep::Probe { .. }));
            // A node runs many probes a second, and few of them are news.
            let quiet = std::mem::take(&mut self.quiet) && probes_only && !finished;
            for step in steps {
                self.issue(step);
            }
            if !quiet {
                self.look_at_volumes();
                self.save();
            }
            self.steps.drain(..).for_each(|step| drop(self.tasks.spawn(step)));
            if !quiet {
                // The status first: people and programs wait for it more than for Events.
                self.publish(finished);
                self.tell();
            }
            if finished {
                return self.tell_rest().await;
            }
            self.triggers.wants(self.interest(), &self.awaited());
            let wake_at =
                wake_at.into_iter().chain(self.next_look()).chain(self.piles_at).chain(self.untold_at).min();
            let event = self.select(wake_at, probe_at).await;
            self.apply(event);
        }
    }

    async fn select(&mut self, wake_at: Option<Instant>, probe_at: Option<Instant>) -> Event {
        let due = async {
            match wake_at.into_iter().chain(probe_at).min() {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
            match wake_at {
                Some(at) if at <= clock::instant() => Event::Due,
                _ => Event::Probe,
            }
        };
        tokio::select! {
            biased;
            Ok(()) = self.ending.changed() => Event::Ending(self.ending.borrow_and_update().clone()),
            Ok(()) = self.versions.changed() => Event::Changed,
            Some(done) = self.tasks.join_next() => {
                Event::Report(Box::new(done.expect("a step's task neither panics nor is aborted")))
            }
            () = self.refresh.news() => Event::News,
            Some(trigger) = self.triggers.recv() => Event::Trigger(trigger),
            event = due => event,
        }
    }

    fn apply(&mut self, event: Event) {
        let now = clock::instant();
        match event {
            Event::Due => {}
            Event::Probe => self.quiet = true,
            Event::Trigger(trigger) => self.note_trigger(&trigger, now),
            Event::Ending(ending) => self.end(ending, now),
            Event::Changed => {
                self.pod = Arc::clone(&self.versions.borrow_and_update());
                change::follow(&self.pod.shape, &mut self.seen);
                // Volumes and variables may have its labels in them.
                self.refresh.stir();
                self.try_again(now);
            }
            Event::News => self.try_again(now),
            Event::Report(report) => self.note(*report, now),
        }
    }

    fn end(&mut self, ending: Ending, now: Instant) {
        let end = match ending.grace {
            Some(Grace::AtOnce) => Termination::at_once(now),
            Some(Grace::Within(grace)) => Termination::new(now, grace),
            Some(Grace::Own) | None => Termination::new(now, self.pod.shape.grace),
        };
        match ending {
            Ending { verdict: Some(verdict), .. } => self.seen.fail(verdict, end),
            Ending { grace: Some(_), .. } => self.seen.terminate(end),
            Ending { .. } => {}
        }
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
        match checkpoints.write(&memory.pod.uid, &memory) {
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
        let Some(notices) = self.node.notices.get() else { return self.said.clear() };
        let (pod, shape) = (&self.pod.pod, &self.pod.shape);
        self.said.drain(..).for_each(|notice| notices.tell(pod, notice));
        if is_main_turn(shape, &self.seen) {
            std::iter::from_fn(|| self.held.1.try_recv().ok()).for_each(|notice| notices.tell(pod, notice));
        }
        if self.told == self.seen {
            return;
        }
        for notice in notice::notices(pod, shape, &self.told, &self.seen, |name| self.pod.image(name).0) {
            notices.tell(pod, notice);
        }
        self.told = self.seen.clone();
    }

    fn publish(&mut self, gone: bool) {
        let status = self.pod.status(&self.seen, self.node.facts.host_ip, self.address, clock::instant());
        if self.note_ready(&status) {
            self.save();
        }
        let startup = self.seen.startup.clone();
        let ended = self.seen.containers.iter().filter(|(_, seen)| !seen.ends.is_empty());
        let ends = ended.map(|(name, seen)| (name.clone(), seen.ends.clone())).collect();
        let (pledge, events) = (Pledge::of(&self.pod.manifest), BTreeMap::new());
        self.node.views.update(&self.pod.pod, PodView { status, events, ends, startup, pledge, gone });
    }
}

fn moment() -> Moment {
    Moment { instant: clock::instant(), boot: clock::boot(), wall: clock::wall() }
}

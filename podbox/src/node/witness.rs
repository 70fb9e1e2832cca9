//! The kernel's account of probes' attempts: its marks on the connection, and what the container was kept from in that
//! time.
//!
//! ```text
//!   begin ─▶ socket: followed from here ──(10 ms)─▶ look ──▶ end: Account
//! ```
//!
//! Most attempts are over before anybody looks, and cost no more than the following. One that is not has its cgroup
//! read, and, if it is not even connected, the server's queue: what there is to say of a slow attempt is in the rest
//! of its time. It explains verdicts, and makes none.

mod words;

use crate::api::identity::ContainerRef;
use crate::api::timeline::{Answer, Followed, Phase, Span, Timeline, Timelines};
use crate::api::witness::{Account, Looking, Watching, Witness};
use crate::clock;
use crate::sandbox::backlog::Backlog;
use crate::sandbox::engine::Engine;
use crate::sandbox::strain::{self, Strain};
use std::net::{SocketAddr, SocketAddrV4};
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use words::Causes;

/// Watches the attempts of this node's probes.
pub struct KernelWitness {
    engine: Engine,
    timelines: Option<Arc<dyn Timelines>>,
}

impl KernelWitness {
    /// One with the kernel's marks, or without where no BPF program could be loaded.
    pub fn new(engine: Engine, timelines: Option<Arc<dyn Timelines>>) -> KernelWitness {
        KernelWitness { engine, timelines }
    }
}

impl Witness for KernelWitness {
    fn begin(&self, run: &ContainerRef, _cgroup: u64) -> Box<dyn Watching> {
        let slow = Arc::new(Slow {
            engine: self.engine.clone(),
            run: run.clone(),
            group: OnceLock::new(),
            seen: Mutex::default(),
        });
        let timelines = self.timelines.clone();
        Box::new(Attempt { began: clock::boot(), timelines, socket: None, slow })
    }
}

/// One attempt.
struct Attempt {
    /// Time since boot.
    began: Duration,
    timelines: Option<Arc<dyn Timelines>>,
    /// The latest socket, when it began to connect, and what is to come back on it.
    socket: Option<(Arc<dyn Followed>, Duration, Answer)>,
    slow: Arc<Slow>,
}

/// What is looked at once an attempt is slow.
struct Slow {
    engine: Engine,
    run: ContainerRef,
    /// Its cgroup, from the look on, if it is there.
    group: OnceLock<PathBuf>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// Where it connects to, until somebody looks.
    server: Option<(Arc<dyn Followed>, SocketAddrV4)>,
    /// What the cgroup was kept from until then.
    before: Option<Strain>,
    backlog: Option<Backlog>,
}

impl Slow {
    async fn look(self: Arc<Self>) {
        if let Ok(group) = self.engine.cgroup(&self.run) {
            let _ = self.group.set(group);
        }
        let before = self.group.get().map(|group| strain::read(group));
        let server = {
            let mut seen = self.seen();
            seen.before = before;
            seen.server.take()
        };
        let Some((followed, server)) = server else { return };
        if followed.timeline().connected.is_none()
            && let Ok(backlog) = self.engine.backlog(&self.run.pod, server).await
        {
            self.seen().backlog = Some(backlog);
        }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the cgroup was kept from since the look, if there was one.
    fn strain(&self, window: Duration) -> Option<Strain> {
        let before = self.seen().before?;
        Some(strain::read(self.group.get()?).since(before).at_most(window))
    }
}

impl Watching for Attempt {
    fn socket(&mut self, socket: BorrowedFd<'_>, server: SocketAddr, answer: Answer) {
        let Some(followed) = self.timelines.as_ref().and_then(|timelines| timelines.follow(socket)) else {
            return;
        };
        let followed: Arc<dyn Followed> = Arc::from(followed);
        if let SocketAddr::V4(server) = server {
            self.slow.seen().server = Some((Arc::clone(&followed), server));
        }
        self.socket = Some((followed, clock::boot(), answer));
    }

    fn look(&self) -> Looking {
        Box::pin(Arc::clone(&self.slow).look())
    }

    fn end(self: Box<Self>, whole: bool) -> Account {
        let end = clock::boot();
        let window = end.saturating_sub(self.began);
        let strain = self.slow.strain(window);
        let (timeline, phases) = self.phases(end, whole);
        let backlog = self.slow.seen().backlog;
        let throttled = strain.map(Strain::all_throttled);
        let group = self.slow.group.get();
        let causes = Causes {
            throttled: throttled.unwrap_or_default(),
            stalled: strain.map(|strain| strain.stalled).unwrap_or_default(),
            // A limit is read where it is to be told.
            limit: group
                .zip(strain.filter(|strain| !strain.all_throttled().is_zero()))
                .and_then(|(group, strain)| strain::limit(group, strain)),
            queued: self.queued(&timeline, end),
            full: backlog.filter(|backlog| timeline.connected.is_none() && !backlog.has_room()),
        };
        Account { phases, throttled, stalled: strain.map(|strain| strain.stalled), remark: causes.words() }
    }
}

impl Attempt {
    fn phases(&self, end: Duration, whole: bool) -> (Timeline, Vec<(Phase, Duration)>) {
        let Some((followed, begin, answer)) = &self.socket else { return Default::default() };
        let timeline = followed.timeline();
        let phases = timeline.phases(&Span { begin: *begin, end, answer: *answer, whole });
        (timeline, phases)
    }

    /// How long the connection has waited in the server's queue, if it still does.
    fn queued(&self, timeline: &Timeline, end: Duration) -> Option<Duration> {
        let sees = self.timelines.as_ref().is_some_and(|timelines| timelines.sees_accepts());
        let connected = timeline.connected.filter(|_| sees && timeline.is_queued())?;
        Some(end.saturating_sub(connected))
    }
}

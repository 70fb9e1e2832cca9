//! Runs probes: asks a container by HTTP, TCP, gRPC or a command in it, within the probe's time, and words what came of it as
//! the kubelet does.
//!
//! It decides neither when nor what follows; `pod::probe` does. A container can make a probe fail, and nothing else:
//! time and memory of each are bounded whatever the container sends, and no task outlives its probe. A probe whose
//! time ran out while podbox itself was kept from running says nothing of the container, and is told as such.

mod exec;
mod grpc;
mod history;
mod http;
mod lag;
mod tally;
mod tcp;
mod triggers;

pub use history::History;
pub use tally::Tally;
pub use triggers::{Heard, Triggers};

use super::Node;
use super::record::PodRecord;
use crate::api::error::chain;
use crate::api::event::{Detail, KernelEvent, Listen};
use crate::api::identity::{ContainerRef, PodRef};
use crate::api::probe::ProbeType;
use crate::api::timeline::Answer;
use crate::api::trigger::{Cause, Trigger};
use crate::api::witness::{Account, Looking, Unwitnessed, Witness};
use crate::clock;
use crate::limits;
use crate::metrics;
use crate::pod::environ;
use crate::pod::probe::{self, Outcome, ProbeSpec};
use crate::sandbox::runtime::Runtime;
use k8s_openapi::api::core::v1::Probe;
use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// The kernel tells that a socket listens a moment before a connection can find it: so long a triggered probe waits
/// until it is run again, whose server isn't there yet.
const TOO_EARLY: [Duration; 4] = [
    Duration::from_millis(1),
    Duration::from_millis(4),
    Duration::from_millis(20),
    Duration::from_millis(100),
];
/// How Go says that nobody listens.
const REFUSED: &str = "connect: connection refused";

/// What the node's probes share.
#[derive(Debug, Default)]
pub struct Probing {
    /// Who wants to know what happens in containers.
    pub triggers: Triggers,
    /// How probes went.
    pub tally: Tally,
    /// How the last ones went, one by one.
    pub history: History,
    /// Who sees them from the kernel's side; nobody where that is not said.
    pub witness: OnceLock<Arc<dyn Witness>>,
    /// Wakes those that wait for a server to be there.
    pub listened: Notify,
}

impl Probing {
    /// What the kernel said may be worth a probe.
    pub fn hear(&self, event: &KernelEvent) {
        let cause = match &event.detail {
            Detail::Listen(Listen { port, ended: false }) => Cause::Listening { port: *port },
            Detail::Listen(Listen { port, ended: true }) => Cause::Gone { port: *port },
            Detail::Exit(_) => Cause::Exited,
            Detail::Oom(_) => Cause::OomKilled,
            Detail::Zombie(_) | Detail::Reap(_) => Cause::Zombie,
            Detail::PidsShort(_) => return,
        };
        let Some(container) = event.subject.as_ref().map(ContainerRef::from) else { return };
        if let Cause::Listening { .. } = cause {
            self.listened.notify_waiters();
        }
        self.triggers.tell(Trigger { container, cgroup: event.cgroup, cause });
    }

    /// What the kernel said of this container may not all have been heard: what its pod must not miss is looked for.
    pub fn look_again(&self, container: &ContainerRef, cgroup: u64) {
        self.listened.notify_waiters();
        for cause in [Cause::OomKilled, Cause::Zombie] {
            self.triggers.tell(Trigger { container: container.clone(), cgroup, cause });
        }
    }

    /// A pod has gone.
    pub fn forget(&self, pod: &PodRef) {
        self.triggers.forget(pod);
        self.tally.forget(pod);
        self.history.forget(pod);
    }
}

/// Which probe of which run.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The run.
    pub run: ContainerRef,
    /// Its cgroup, by inode number.
    pub cgroup: u64,
    /// Which of its probes.
    pub probe: ProbeType,
    /// Whether it counts if it fails.
    pub counts: bool,
    /// Whether it is to be run again, and says nothing, where podbox itself was kept from running.
    pub forgives: bool,
    /// When and how often.
    pub spec: ProbeSpec,
    /// The pod's own address.
    pub address: Option<Ipv4Addr>,
}

impl Asked {
    /// It was triggered, by a server that may not be found yet.
    fn may_be_early(&self) -> bool {
        !self.counts && self.spec.port.is_some()
    }
}

/// Runs one: what came of it, and what the kernel knows of a failure that upstream's words don't say. Tried again, like the
/// kubelet does, where it could not be run at all.
pub async fn run<R: Runtime, I>(
    node: &Node<R, I>,
    pod: &PodRecord,
    asked: &Asked,
) -> (Outcome, Option<String>) {
    let begun = clock::instant();
    let (mut at, mut last) = (clock::wall(), begun);
    let (mut outcome, mut account) = once(node, pod, asked).await;
    let mut pauses = TOO_EARLY.iter();
    let mut tries = 1;
    loop {
        match &outcome {
            Outcome::Errored(..) if tries < limits::PROBE_TRIES => tries += 1,
            Outcome::Failure(why) if asked.may_be_early() && why.contains(REFUSED) => match pauses.next() {
                Some(pause) => tokio::time::sleep(*pause).await,
                None => break,
            },
            _ => break,
        }
        (at, last) = (clock::wall(), clock::instant());
        (outcome, account) = once(node, pod, asked).await;
    }
    let end = clock::instant();
    let took = end.saturating_duration_since(begun);
    // Nobody's failure, if it was only to bring success forward.
    if asked.counts || !matches!(outcome, Outcome::Failure(_)) {
        node.probing.tally.count(&asked.run, asked.probe, &outcome, took);
    }
    for (phase, took) in &account.phases {
        let labels = [("probe_type", asked.probe.word()), ("phase", phase.name())];
        ::metrics::histogram!(metrics::PROBE_PHASE_SECONDS, &labels).record(*took);
    }
    // Of this one are the parts, and how long the container needed.
    let took = end.saturating_duration_since(last);
    node.probing.history.record(asked, &outcome, &account, (at, took));
    let failed = matches!(outcome, Outcome::Failure(_));
    (outcome, account.remark.filter(|_| failed))
}

async fn once<R: Runtime, I>(node: &Node<R, I>, pod: &PodRecord, asked: &Asked) -> (Outcome, Account) {
    let witness = node.probing.witness.get().map_or(&Unwitnessed as &dyn Witness, |witness| &**witness);
    let watching = Mutex::new(witness.begin(&asked.run, asked.cgroup));
    let answer = answer(pod, asked);
    let sockets = |socket: BorrowedFd<'_>, server| {
        watching.lock().unwrap_or_else(PoisonError::into_inner).socket(socket, server, answer)
    };
    let timeout = asked.spec.timeout;
    let listened = &node.probing.listened;
    let attempt = Attempt { begun: clock::instant(), timeout, sockets: &sockets, listened };
    let look = || watching.lock().unwrap_or_else(PoisonError::into_inner).look();
    let (outcome, lag) = {
        // Where it is: such futures are large, and each way through a function would copy them.
        let asking = pin!(ask(node, pod, asked, &attempt));
        let asking = pin!(looked_at(asking, look));
        lag::beside(timeout, asking).await
    };
    let late = clock::instant() >= attempt.deadline();
    let mut account = watching.into_inner().unwrap_or_else(PoisonError::into_inner).end(!late);
    let starved = late && matches!(outcome, Outcome::Failure(_)) && lag::is_starvation(lag, timeout);
    if !starved {
        return (outcome, account);
    }
    let words = format!("podbox itself was kept from running for {} ms of it", lag.as_millis());
    if asked.forgives {
        let (run, probe) = (&asked.run, asked.probe.name());
        tracing::warn!(%run, "a {probe} probe is run again: {words}");
        return (Outcome::Starved, account);
    }
    // So often in a row: whatever keeps podbox from running may well be this container.
    account.remark = Some(account.remark.map_or(words.clone(), |remark| format!("{remark}, {words}")));
    (outcome, account)
}

/// Does the work; once it takes a while, what holds it up is looked at beside it. Most is done before, and costs no task.
async fn looked_at<T>(mut work: impl Future<Output = T> + Unpin, look: impl Fn() -> Looking) -> T {
    let looking = async {
        tokio::time::sleep(limits::PROBE_IS_SLOW).await;
        look().await;
    };
    tokio::select! {
        biased;
        done = &mut work => done,
        () = looking => work.await,
    }
}

/// What is to come back on its connection, if there is one.
fn answer(pod: &PodRecord, asked: &Asked) -> Answer {
    let container = pod.container(&asked.run.name);
    match container.and_then(|container| probe::of(container, asked.probe)) {
        Some(Probe { http_get: Some(get), .. }) if get.scheme.as_deref() != Some("HTTPS") => Answer::Bytes,
        Some(Probe { http_get: Some(_), .. } | Probe { grpc: Some(_), .. }) => Answer::Mixed,
        _ => Answer::Nothing,
    }
}

/// One attempt.
struct Attempt<'a> {
    begun: Instant,
    timeout: Duration,
    /// Hears of each socket before it connects.
    sockets: &'a super::http::Sockets<'a>,
    /// Tells when a server may be there that was not.
    listened: &'a Notify,
}

impl Attempt<'_> {
    fn deadline(&self) -> Instant {
        self.begun + self.timeout
    }
}

async fn ask<R: Runtime, I>(
    node: &Node<R, I>,
    pod: &PodRecord,
    asked: &Asked,
    attempt: &Attempt<'_>,
) -> Outcome {
    let container = pod.container(&asked.run.name);
    let said = container.and_then(|container| Some((container, probe::of(container, asked.probe)?)));
    let Some((container, said)) = said else {
        return Outcome::Errored("unknown", "its manifest has no such probe any more".to_owned());
    };
    let host = asked.address.map_or_else(|| node.facts.host_ip.to_string(), |address| address.to_string());
    let own = |host: &Option<String>| host.clone().filter(|host| !host.is_empty());
    let unknown = |why| Outcome::Errored("unknown", why);
    match said {
        Probe { exec: Some(exec), .. } => {
            let variables = container.env.as_deref().unwrap_or_default();
            let words = exec.command.iter().flatten();
            let command: Result<_, _> = words.map(|word| environ::expand_literals(word, variables)).collect();
            match command {
                Ok(command) => exec::run(node, &asked.run, command, attempt.timeout).await,
                Err(error) => unknown(format!("its command cannot be made: {error}")),
            }
        }
        Probe { http_get: Some(get), .. } => match probe::port(&get.port, container) {
            Ok(port) => http::get(get, own(&get.host).unwrap_or(host), port, attempt).await,
            Err(why) => unknown(why),
        },
        Probe { tcp_socket: Some(socket), .. } => match probe::port(&socket.port, container) {
            Ok(port) => tcp::connect(node, pod, asked, (own(&socket.host), port), attempt).await,
            Err(why) => unknown(why),
        },
        Probe { grpc: Some(grpc), .. } => match u16::try_from(grpc.port) {
            Ok(port) => grpc::check(&host, port, grpc.service.as_deref().unwrap_or_default(), attempt).await,
            Err(_) => unknown(format!("invalid port number: {}", grpc.port)),
        },
        _ => unknown(format!("missing probe handler for {}:{}", pod.pod, container.name)),
    }
}

/// A duration as Go prints it, of whole seconds.
fn seconds(timeout: Duration) -> String {
    match timeout.as_secs() {
        seconds if seconds < 60 => format!("{seconds}s"),
        seconds if seconds < 3600 => format!("{}m{}s", seconds / 60, seconds % 60),
        seconds => format!("{}h{}m{}s", seconds / 3600, seconds / 60 % 60, seconds % 60),
    }
}

/// An error of the runtime, as the kubelet tells one.
fn of_runtime(error: &dyn std::error::Error) -> Outcome {
    Outcome::Errored("unknown", format!("rpc error: code = Unknown desc = {}", chain(error)))
}

//! A tracer with its reader, and waiting for events of it.

use super::cgroup::{Container, LEVEL};
use podbox::api::attribution::Attribution;
use podbox::api::event::{Detail, Exit, KernelEvent, Listen};
use podbox::trace::{Kind, Loss, Totals, TraceConfig, TraceError, Tracer};
use std::future::Future;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// Long enough for an emulated machine that is starved, and for what the tracer itself waits half a minute for; a test that
/// comes near it has failed.
pub const PATIENCE: Duration = Duration::from_secs(180);

pub struct Watch {
    pub tracer: Arc<Tracer>,
    pub events: Receiver<Arc<KernelEvent>>,
}

/// All ends are told. Err says what is missing here.
pub fn load(config: TraceConfig) -> Result<Arc<Tracer>, String> {
    let tracer = load_unfollowed(config)?;
    // As long as the tracer is there.
    std::mem::forget(tracer.follow_ends());
    Ok(tracer)
}

/// Ends are told as usual. Err says what is missing here.
pub fn load_unfollowed(config: TraceConfig) -> Result<Arc<Tracer>, String> {
    match Tracer::load(config) {
        Ok((tracer, _)) => Ok(Arc::new(tracer)),
        Err(error @ TraceError::ReadBtf(_)) => Err(error.to_string()),
        Err(error) => panic!("{error}: {error:?}"),
    }
}

impl Watch {
    /// Reads from now on; within a runtime.
    pub fn start(containers: &[&Container]) -> Result<Watch, String> {
        Watch::at(LEVEL, containers)
    }

    /// The same, where containers are elsewhere in the hierarchy.
    pub fn at(level: u32, containers: &[&Container]) -> Result<Watch, String> {
        let tracer = load(TraceConfig::new(level))?;
        for container in containers {
            tracer.register(container.id, &container.name);
        }
        let events = tracer.subscribe();
        tracer.spawn_reader().unwrap();
        Ok(Watch { tracer, events })
    }

    /// The next event that `wanted` picks something of.
    pub async fn next<T>(&mut self, mut wanted: impl FnMut(&KernelEvent) -> Option<T>) -> T {
        let found = async {
            loop {
                if let Some(found) = wanted(self.events.recv().await.unwrap().as_ref()) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.expect("the event never came")
    }

    /// Whether an event like this comes within a second. Those that came too fast are left out.
    pub async fn comes(&mut self, wanted: impl Fn(&KernelEvent) -> bool) -> bool {
        let found = async {
            loop {
                match self.events.recv().await {
                    Ok(event) if wanted(&event) => return,
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(1), found).await.is_ok()
    }

    /// The end of a process. Other events of it may be told before: rings are read one after the other.
    pub async fn end(&mut self, pid: u32) -> (KernelEvent, Exit) {
        let end = |event: &KernelEvent| match &event.detail {
            Detail::Exit(exit) if event.pid == pid => Some((event.clone(), exit.clone())),
            _ => None,
        };
        self.next(end).await
    }

    /// The next socket of a process that begins, or ends, to listen.
    pub async fn listen(&mut self, pid: u32) -> (KernelEvent, Listen) {
        let listen = |event: &KernelEvent| match &event.detail {
            Detail::Listen(listen) if event.pid == pid => Some((event.clone(), listen.clone())),
            _ => None,
        };
        self.next(listen).await
    }

    /// Whether something comes true that no event tells of.
    pub async fn until(&self, true_now: impl Fn(&Tracer) -> bool) -> bool {
        let comes = async {
            while !true_now(&self.tracer) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, comes).await.is_ok()
    }

    pub fn totals(&self, container: &Container) -> Totals {
        totals(&self.tracer, container)
    }
}

pub fn totals(tracer: &Tracer, container: &Container) -> Totals {
    tracer.snapshot().containers[&(&container.name).into()].clone()
}

pub fn lost(tracer: &Tracer, loss: Loss) -> u64 {
    tracer.snapshot().losses.iter().find(|(what, _)| *what == loss).unwrap().1
}

pub fn sent(tracer: &Tracer, kind: Kind) -> u64 {
    tracer.snapshot().events.iter().find(|(what, _)| *what == kind).unwrap().1
}

/// Whether this is a virtual machine of the tool's.
pub fn in_machine() -> bool {
    std::env::var("PODBOX_TEST_LEVEL").is_ok_and(|level| level == "vm")
}

/// For tests of what no kernel changes, and that take long in an emulated machine: there they are not run.
pub fn host_only(name: &str) -> Result<(), String> {
    if in_machine() {
        return Err("it asks nothing of this kernel, and ran on the host".into());
    }
    // The tool reads this.
    let _ = writeln!(std::io::stderr(), "HOST ONLY {name}");
    Ok(())
}

/// Runs a test that needs this host to offer something.
pub fn run<F: Future<Output = Result<(), String>>>(name: &str, test: F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if let Err(why) = runtime.block_on(test) {
        super::cgroup::skipped(name, &why);
    }
}

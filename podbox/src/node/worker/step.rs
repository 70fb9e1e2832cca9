//! Steps as tasks: what is in flight is noted, then the work is queued, to be spawned once that is on file.

use super::{Report, Worker};
use crate::api::error::chain;
use crate::api::images::Images;
use crate::node::record::PodRecord;
use crate::node::{Node, hook, pull, resize, words};
use crate::pod::observed::{Hook, SandboxState, Termination};
use crate::pod::plan::{PodStep, is_main_turn};
use crate::pod::resize::Resize;
use crate::sandbox::runtime::Runtime;
use crate::{clock, metrics};
use std::sync::Arc;
use std::time::{Duration, Instant};

impl<R: Runtime, I: Images> Worker<R, I> {
    pub(super) fn issue(&mut self, step: PodStep) {
        let now = clock::instant();
        match step {
            PodStep::EnsureImage { container } => self.ensure_image(container, now),
            PodStep::CreateSandbox => self.create_sandbox(),
            PodStep::Start { container } => self.start(container, now),
            PodStep::PostStart { container } => self.call(container, Hook::PostStart),
            PodStep::PreStop { container } => self.call(container, Hook::PreStop),
            PodStep::Probe { container, probe } => self.probe(&container, probe, now),
            PodStep::Resize { container } => self.resize(container),
            PodStep::Replace { container, why } => {
                let why = format!("Container {container} {why}");
                let end = Termination::new(now, self.pod.shape.grace);
                self.seen.container_mut(&container).replace(end, &why);
            }
            PodStep::Stop { container } => self.stop(container, now),
            PodStep::Kill { container } => self.kill(container),
            PodStep::Fail(verdict) => self.seen.fail(verdict, Termination::new(now, self.pod.shape.grace)),
            PodStep::BeginAnew => self.seen.begin_anew(now),
            PodStep::RemoveSandbox => {
                self.seen.sandbox = SandboxState::Removing;
                self.work(|node, pod| async move {
                    node.untold.wait(&pod.pod).await;
                    Report::Removed { problem: node.discard(&pod.pod).await.err() }
                });
            }
        }
    }

    fn create_sandbox(&mut self) {
        self.seen.sandbox = SandboxState::Creating;
        self.work(|node, pod| async move { Report::Sandbox { result: node.create_sandbox(&pod).await } });
    }

    fn ensure_image(&mut self, container: String, now: Instant) {
        let asked = self.pod.image(&container).0.to_owned();
        self.seen.startup.asks(&container, clock::boot());
        self.seen.container_mut(&container).pulling(&asked, now);
        let held = self.held.0.clone();
        let is_main = self.pod.shape.main.iter().any(|main| main.name == container);
        let held = (is_main && !is_main_turn(&self.pod.shape, &self.seen)).then_some(held);
        self.work(move |node, pod| async move {
            let say = |notice| match (&held, node.notices.get()) {
                // One that finds no room is one of very many.
                (Some(held), _) => drop(held.try_send(notice)),
                (None, Some(notices)) => notices.tell(&pod.pod, notice),
                (None, None) => {}
            };
            let result = pull::image(&node, &pod, &container, &say).await;
            Report::Image { container, asked, result }
        });
    }

    fn start(&mut self, container: String, now: Instant) {
        let share = self.pod.shape.container(&container).map(|shape| shape.share.clone());
        let seen = self.seen.container_mut(&container);
        seen.starting(now);
        (seen.share, seen.resize) = (share, Resize::None);
        let run = self.run_of(&container);
        let image = self.images.get(&container).cloned();
        let address = self.address;
        self.work(move |node, pod| async move {
            let result = node.start(&pod, &run, image.as_deref(), address).await;
            Report::Start { container, result }
        });
    }

    fn call(&mut self, container: String, which: Hook) {
        self.seen.container_mut(&container).calling(which);
        let (run, address) = (self.run_of(&container), self.address);
        self.work(move |node, pod| async move {
            let result = hook::call(&node, &pod, &run, which, address).await;
            Report::Called { run, hook: which, result }
        });
    }

    fn resize(&mut self, container: String) {
        let Some(wanted) = self.pod.shape.container(&container).map(|shape| shape.share.clone()) else {
            return;
        };
        self.seen.container_mut(&container).resizing(wanted.clone());
        let run = self.run_of(&container);
        self.work(move |node, pod| async move {
            let result = resize::container(&node, &pod, &run).await;
            Report::Resized { run, wanted, result }
        });
    }

    fn stop(&mut self, container: String, now: Instant) {
        self.seen.container_mut(&container).stopping(now);
        let signal = self.pod.stop_signal(&container, self.images.get(&container).map(AsRef::as_ref));
        let run = self.run_of(&container);
        self.work(move |node, _| async move {
            let result = node.runtime.signal(&run, signal).await.map_err(|error| chain(&error));
            Report::Told { container, what: "sending the stop signal", result }
        });
    }

    fn kill(&mut self, container: String) {
        self.seen.container_mut(&container).killed();
        let run = self.run_of(&container);
        self.work(move |node, _| async move {
            let result = node.runtime.kill(&run).await.map_err(|error| chain(&error));
            Report::Told { container, what: "killing its processes", result }
        });
    }

    pub(super) fn wait_for_exit(&mut self, container: &str, delay: Duration) {
        let run = self.run_of(container);
        self.spawn(move |node, pod| async move {
            tokio::time::sleep(delay).await;
            let result = match node.runtime.wait(&run).await {
                Ok(exited) => {
                    let message = words::last(&node, &pod, &run, exited.status.code()).await;
                    Ok((exited, message))
                }
                Err(error) => Err(chain(&error)),
            };
            Report::Exit { container: run.name, result }
        });
    }

    /// Queues a step's work.
    pub(super) fn spawn<F>(&mut self, step: impl FnOnce(Arc<Node<R, I>>, Arc<PodRecord>) -> F)
    where
        F: Future<Output = Report> + Send + 'static,
    {
        self.steps.push(Box::pin(step(Arc::clone(&self.node), Arc::clone(&self.pod))));
    }

    /// The same of what is more than waiting: it is timed.
    fn work<F>(&mut self, step: impl FnOnce(Arc<Node<R, I>>, Arc<PodRecord>) -> F)
    where
        F: Future<Output = Report> + Send + 'static,
    {
        let what = match (&self.seen.termination, self.timed) {
            (Some(_), _) => "kill",
            (None, true) => "sync",
            (None, false) => "create",
        };
        self.spawn(|node, pod| {
            let step = step(node, pod);
            async move {
                let began = clock::instant();
                let report = step.await;
                ::metrics::histogram!(metrics::POD_WORKER_SECONDS, "operation_type" => what)
                    .record(clock::instant() - began);
                report
            }
        });
    }
}

//! What came of steps, and what is known of the pod then.

use super::{Worker, startup};
use crate::api::error::chain;
use crate::api::identity::ContainerRef;
use crate::api::image::Image;
use crate::api::images::{Images, PullFailure};
use crate::api::probe::ProbeType;
use crate::api::startup::{Lap, Stage};
use crate::clock;
use crate::pod::observed::{Hook, HookState, ImageState, SandboxState, StartFailure, Termination};
use crate::pod::probe::{Outcome, Probes};
use crate::pod::resize::{Refusal, Share};
use crate::sandbox::runtime::{Exited, Runtime, Started};
use crate::{limits, metrics};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An end, with its last words.
type End = (Exited, String);

/// What came of a step.
#[derive(Debug)]
pub(super) enum Report {
    Image { container: String, asked: String, result: Result<Image, PullFailure> },
    Sandbox { result: Result<(Option<Ipv4Addr>, Vec<Lap>), StartFailure> },
    Refreshed { problem: Option<String> },
    Start { container: String, result: Result<Started, StartFailure> },
    Called { run: ContainerRef, hook: Hook, result: Result<(), String> },
    Exit { container: String, result: Result<End, String> },
    Told { container: String, what: &'static str, result: Result<(), String> },
    Probed { run: ContainerRef, probe: ProbeType, outcome: Outcome, remark: Option<String> },
    Resized { run: ContainerRef, wanted: Share, result: Result<(), Refusal> },
    Removed { problem: Option<String> },
}

impl<R: Runtime, I: Images> Worker<R, I> {
    pub(super) fn note(&mut self, report: Report, now: Instant) {
        match report {
            Report::Image { container, asked, result } => self.note_image(&container, &asked, result, now),
            Report::Sandbox { result: Ok((address, laps)) } => {
                startup::tell_laps(&laps);
                self.seen.startup.has_sandbox(&laps);
                self.address = address;
                self.seen.sandbox = SandboxState::Ready;
                self.refresh.filled(&*self.pod.sources, clock::wall(), now);
            }
            Report::Sandbox { result: Err(failure) } => self.note_no_sandbox(failure, now),
            Report::Refreshed { problem } => self.note_refreshed(problem, now),
            Report::Start { container, result: Ok(started) } => self.note_started(&container, started, now),
            Report::Start { container, result: Err(failure) } => {
                tracing::error!(pod = %self.pod.pod, container, "starting failed: {}", failure.message);
                let seen = self.seen.container_mut(&container);
                match failure.is_of_configuration() && self.node.has_api() {
                    true => seen.refused(failure, now),
                    false => seen.start_failed(failure, clock::wall(), now),
                }
            }
            Report::Called { run, hook, result } => self.note_called(&run, hook, result.err(), now),
            Report::Probed { run, probe, outcome, remark } => {
                self.note_probed(&run, probe, (&outcome, remark), now);
            }
            Report::Exit { container, result } => self.note_exit(&container, result, now),
            Report::Told { result: Ok(()), .. } => {}
            Report::Told { container, what, result: Err(error) } => {
                tracing::warn!(pod = %self.pod.pod, container, "{what} failed: {error}");
            }
            Report::Resized { run, wanted, result } => {
                if let Err(Refusal { message, .. }) = &result {
                    tracing::warn!(pod = %self.pod.pod, container = run.name, "resizing failed: {message}");
                }
                self.seen.container_mut(&run.name).resized(run.attempt, wanted, result, now);
            }
            Report::Removed { problem } => self.note_removed(problem, now),
        }
    }

    fn note_removed(&mut self, problem: Option<String>, now: Instant) {
        if let Some(problem) = &problem {
            tracing::error!(pod = %self.pod.pod, "removing the sandbox failed: {problem}");
        }
        self.seen.sandbox = match problem {
            // A pod leaves the API only when nothing of it is left. Whoever waits for `podbox run` to end does not wait for that.
            Some(message) if self.node.has_api() => {
                SandboxState::Stuck { message, until: now + limits::SANDBOX_RETRY }
            }
            problem => SandboxState::Removed { problem },
        };
    }

    fn note_image(&mut self, container: &str, asked: &str, result: Result<Image, PullFailure>, now: Instant) {
        // The pod may have come to name another one meanwhile, which is asked for by now.
        if self.seen.container(container).asked.as_deref() != Some(asked) {
            return;
        }
        let seen = self.seen.container_mut(container);
        match result {
            Ok(image) => {
                seen.had(image.status_id().to_owned());
                if let Some(took) = self.seen.startup.has_image(container, clock::boot()) {
                    startup::tell(Stage::Image, took);
                }
                self.images.insert(container.to_owned(), Arc::new(image));
            }
            Err(PullFailure { reason, message }) => {
                tracing::error!(pod = %self.pod.pod, container, "{reason}: {message}");
                seen.image = ImageState::Failed { reason: reason.to_owned(), message, at: now };
            }
        }
    }

    fn note_started(&mut self, container: &str, started: Started, now: Instant) {
        if !std::mem::replace(&mut self.timed, true) {
            let took = clock::instant().saturating_duration_since(self.accepted);
            ::metrics::histogram!(metrics::POD_START_SECONDS).record(took);
            ::metrics::histogram!(metrics::KUBELET_POD_START_SECONDS).record(took);
            ::metrics::counter!(metrics::STARTED_PODS).increment(1);
        }
        ::metrics::counter!(metrics::STARTED_CONTAINERS).increment(1);
        startup::tell_laps(&started.laps);
        let shape = self.pod.shape.container(container);
        let hooked = shape.is_some_and(|shape| shape.post_start);
        let ago = clock::wall().duration_since(started.at).unwrap_or_default();
        let begun = now.checked_sub(ago).unwrap_or(now);
        let probes = shape.map(|shape| Probes::new(&shape.probes, begun)).unwrap_or_default();
        self.begin_tally(container);
        let since_boot = clock::boot().saturating_sub(ago);
        self.seen.startup.runs(container, started.cgroup_id, since_boot, &started.laps);
        let seen = self.seen.container_mut(container);
        seen.started(started, if hooked { HookState::Due } else { HookState::Done });
        seen.probed(probes);
        self.wait_for_exit(container, Duration::ZERO);
    }

    fn note_called(&mut self, run: &ContainerRef, hook: Hook, complaint: Option<String>, now: Instant) {
        if let Some(complaint) = &complaint {
            tracing::warn!(pod = %self.pod.pod, container = run.name, "{hook:?}: {complaint}");
        }
        let failed = complaint.is_some() && hook == Hook::PostStart;
        let end = Termination::new(now, self.pod.shape.grace);
        let seen = self.seen.container_mut(&run.name);
        seen.called(run.attempt, hook, complaint);
        if failed && seen.attempt == run.attempt {
            seen.order(end, "FailedPostStartHook");
        }
    }

    fn note_exit(&mut self, container: &str, result: Result<End, String>, now: Instant) {
        let (exited, message) = match result {
            Ok(end) => end,
            Err(error) => {
                // The keeper did not answer. The container may well run: ask again, never assume an end.
                tracing::error!(pod = %self.pod.pod, container, "waiting for its end failed: {error}");
                return self.wait_for_exit(container, limits::KEEPER_RETRY);
            }
        };
        let run = self.run_of(container);
        self.tell_victims(container, now);
        let cause = self.cause(&run, &exited);
        self.keep_beginning(container);
        let seen = self.seen.container_mut(container);
        // One that ended while nobody watched has waited since then.
        let ago = clock::wall().duration_since(exited.at).unwrap_or_default();
        seen.exited(exited, cause, message, now.checked_sub(ago).unwrap_or(now));
        // Of a pod that is to go, somebody waits for what it leaves to go, too; and the ports of one that is told to be over may
        // be given to another at once.
        let is_awaited = self.seen.termination.is_some() || self.pod.holds_host_ports();
        if self.node.has_api() && !is_awaited {
            self.node.untold.note(&self.pod.pod);
        }
        self.spawn(move |node, _| async move {
            node.untold.wait(&run.pod).await;
            let result = node.runtime.remove(&run).await.map_err(|error| chain(&error));
            Report::Told { container: run.name, what: "removing an ended container", result }
        });
    }
}

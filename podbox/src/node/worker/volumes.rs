//! The part of a pod's loop that is about its volumes: trying again what failed for want of something, and bringing up
//! to date what is there.

use super::Worker;
use super::report::Report;
use crate::api::images::Images;
use crate::pod::compose::FAILED_MOUNT;
use crate::pod::notice;
use crate::pod::observed::{ContainerState, SandboxState, StartFailure};
use crate::sandbox::runtime::Runtime;
use crate::{clock, limits};
use std::time::Instant;

impl<R: Runtime, I: Images> Worker<R, I> {
    /// What failed for want of something may go well now.
    pub(super) fn try_again(&mut self, now: Instant) {
        if let SandboxState::Failed { until, .. } | SandboxState::Unmounted { until, .. } =
            &mut self.seen.sandbox
        {
            *until = now;
        }
        for seen in self.seen.containers.values_mut() {
            if matches!(seen.state, ContainerState::Refused { .. }) {
                seen.state = ContainerState::Waiting;
            }
        }
    }

    pub(super) fn note_no_sandbox(&mut self, failure: StartFailure, now: Instant) {
        let StartFailure { reason, message } = failure;
        tracing::error!(pod = %self.pod.pod, "making the sandbox failed: {message}");
        self.seen.sandbox = match reason == FAILED_MOUNT {
            true => SandboxState::Unmounted { message, until: now + self.refresh.failed() },
            false => SandboxState::Failed { message, until: now + limits::SANDBOX_RETRY },
        };
    }

    pub(super) fn note_refreshed(&mut self, problem: Option<String>, now: Instant) {
        self.refresh.filled(&*self.pod.sources, clock::wall(), now);
        let Some(message) = self.refresh.looked(problem, now) else { return };
        tracing::warn!(pod = %self.pod.pod, "{message}");
        if let Some(notices) = self.node.notices.get() {
            notices.tell(&self.pod.pod, notice::failed_mount(message));
        }
    }

    /// Somebody may still read its volumes.
    fn keeps_volumes(&self) -> bool {
        self.seen.sandbox == SandboxState::Ready && self.seen.termination.is_none()
    }

    /// When its volumes are looked at next, whether there are news or not.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.refresh.due().filter(|_| self.keeps_volumes())
    }

    /// Brings the volumes up to date, if that is due.
    pub(super) fn look_at_volumes(&mut self) {
        if self.keeps_volumes() && self.refresh.begin(clock::instant()) {
            let address = self.address;
            self.spawn(move |node, pod| async move {
                Report::Refreshed { problem: node.refresh(&pod, address).await.err() }
            });
        }
    }
}

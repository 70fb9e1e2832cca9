//! The part of a pod's loop that is about kills: why a container ended; OOM kills, which are told; and those of processes that are
//! not their containers' first, of which the pod says what they mean.
//!
//! The kernel's event only wakes; what counts are the victims in its map, with their times. So neither a lost event nor a restart of
//! podbox loses one, and none counts twice: what has begun to end is not asked to again.

use super::Worker;
use crate::api::attribution::OomVictim;
use crate::api::cause::Cause;
use crate::api::identity::ContainerRef;
use crate::api::images::Images;
use crate::api::oom::{Consequence, OF_CHILD};
use crate::limits;
use crate::pod::cause::{self, Evidence};
use crate::pod::kill;
use crate::pod::observed::{Termination, Verdict};
use crate::sandbox::runtime::{Exited, Runtime, Started};
use std::sync::Arc;
use std::time::Instant;

/// Why a pod has failed: upstream's word for a container.
const REASON: &str = "OOMKilled";

impl<R: Runtime, I: Images> Worker<R, I> {
    /// Why the current run of a container has ended: by the kernel's own records, and where those may not have all victims, by
    /// the cgroup's count of groups that were killed as a whole.
    pub(super) fn cause(&self, run: &ContainerRef, exited: &Exited) -> Option<Cause> {
        let seen = self.seen.container(&run.name);
        let Started { cgroup_id, pid, .. } = seen.run()?.started;
        let kernel = &self.node.attribution;
        let (witnessed, victims) = (kernel.end(cgroup_id, pid), kernel.oom_victims(cgroup_id));
        let asked = cause::asked(&self.seen, seen, self.node.has_api());
        let evidence = Evidence {
            status: exited.status,
            witnessed: witnessed.as_ref(),
            victims: &victims,
            pid,
            group_oom: !kernel.watched(cgroup_id) && self.node.runtime.group_oom(run),
            asked: asked.as_ref(),
        };
        Some(evidence.cause())
    }

    /// A kill in a container has begun, and may be over. One that takes its first process is told when that has ended, which is about
    /// to happen: no Event is to be in the way of that word.
    pub(super) fn note_kill(&mut self, container: &str, now: Instant) {
        let Some(run) = self.seen.container(container).run() else { return };
        let Started { cgroup_id, pid, .. } = run.started;
        if self.node.attribution.oom_victims(cgroup_id).iter().all(|victim| victim.pid != pid) {
            self.tell_victims_of(container.to_owned(), cgroup_id, now);
        }
    }

    /// Says which processes of a container the OOM killer took since the last time.
    pub(super) fn tell_victims(&mut self, container: &str, now: Instant) {
        if let Some(run) = self.seen.container(container).run() {
            self.tell_victims_of(container.to_owned(), run.started.cgroup_id, now);
        }
    }

    /// The same of those whose kill was under way when it was last to be told, if that is due.
    pub(super) fn look_for_untold(&mut self, now: Instant) {
        if self.untold_at.is_none_or(|at| now < at) {
            return;
        }
        self.untold_at = None;
        for (container, cgroup) in std::mem::take(&mut self.untold) {
            self.tell_victims_of(container, cgroup, now);
        }
    }

    /// Tells of kills that are not over yet as soon as they are.
    pub(super) async fn tell_rest(&mut self) {
        while let Some(at) = self.untold_at {
            tokio::time::sleep_until(at.into()).await;
            self.look_for_untold(at);
            self.tell();
        }
    }

    /// Tells of kills that are over: one Event has all victims of a decision.
    fn tell_victims_of(&mut self, container: String, cgroup: u64, now: Instant) {
        let kernel = &self.node.attribution;
        let before = kernel.oom_victims(cgroup);
        let under_way = kernel.oom_under_way();
        let after = kernel.oom_victims(cgroup);
        let seen = self.seen.container_mut(&container);
        let untold = |victim: &OomVictim| victim.at_ns > seen.victims_told_ns;
        let (over, open) = kill::over(before, under_way, after.into_iter().filter(untold).collect());
        if let Some(last) = over.iter().map(|victim| victim.at_ns).max() {
            seen.victims_told_ns = last;
        }
        let part = self.pod.shape.part(&container);
        self.said.extend(kill::notices(&part, &over));
        if open {
            self.untold.insert((container, cgroup));
            self.untold_at = Some(now + limits::OOM_KILL_LOOK);
        }
    }

    /// Does what a pod wants done about kills.
    pub(super) fn look_for_kills(&mut self, now: Instant) {
        if self.seen.termination.is_some() {
            return;
        }
        let pod = Arc::clone(&self.pod);
        for shape in pod.shape.containers() {
            let Some(rule) = shape.oom.filter(|rule| rule.consequence != Consequence::Ignore) else {
                continue;
            };
            let seen = self.seen.container_mut(&shape.name);
            let Some(run) = seen.run().filter(|_| seen.order.is_none()) else { continue };
            let own = |victim: &OomVictim| victim.pid != run.started.pid && victim.was_killed();
            let victims = self.node.attribution.oom_victims(run.started.cgroup_id);
            let victims: Vec<OomVictim> = victims.into_iter().filter(own).collect();
            let times: Vec<u64> = victims.iter().map(|victim| victim.at_ns).collect();
            let Some(last) = victims.last().filter(|_| rule.is_due(&times)) else { continue };
            let what = words(&shape.name, last, victims.len());
            let end = Termination::new(now, pod.shape.grace);
            match rule.consequence {
                Consequence::RestartPod => {
                    let message = format!("{what}; the pod asks for another one then, by {OF_CHILD}");
                    self.seen.fail(Verdict { reason: REASON.to_owned(), message }, end);
                    return;
                }
                _ if shape.restarts_failures() && seen.is_not_backing_off(now) => {
                    seen.replace(end, &format!("{what}, will be restarted"));
                }
                _ => seen.order(end, &what),
            }
        }
    }
}

/// What happened, in the manner of the kubelet's words.
fn words(container: &str, last: &OomVictim, kills: usize) -> String {
    let OomVictim { command, pid, .. } = last;
    match kills {
        1 => format!("Container {container} lost process {command} ({pid}) to the OOM killer"),
        kills => {
            format!("Container {container} lost {kills} processes to the OOM killer, {command} ({pid}) last")
        }
    }
}

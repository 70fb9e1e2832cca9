//! The part of a pod's loop that is about its probes: running those that are due, and what follows from what came of them.
//!
//! Most of them come and go without anybody else's having to know; the loop says nothing then (`Worker::quiet`).

use super::Worker;
use super::report::Report;
use crate::api::identity::ContainerRef;
use crate::api::images::Images;
use crate::api::probe::ProbeType;
use crate::api::trigger::{Cause, Interest, Trigger};
use crate::node::probe::{self, Asked};
use crate::pod::notice;
use crate::pod::observed::{ContainerSeen, Run, Termination};
use crate::pod::probe::Outcome;
use crate::sandbox::runtime::Runtime;
use std::collections::BTreeSet;
use std::time::Instant;

impl<R: Runtime, I: Images> Worker<R, I> {
    /// Has the results of a container's probes counted, from zero on.
    pub(super) fn begin_tally(&self, container: &str) {
        let Some(shape) = self.pod.shape.container(container) else { return };
        for probe in ProbeType::ALL.into_iter().filter(|probe| shape.probes.get(*probe).is_some()) {
            self.node.probing.tally.begin(&self.pod.pod, container, probe);
        }
    }

    pub(super) fn probe(&mut self, container: &str, probe: ProbeType, now: Instant) {
        let spec = self.pod.shape.container(container).and_then(|shape| shape.probes.get(probe).cloned());
        let (run, address) = (self.run_of(container), self.address);
        let (Some(spec), Some(current)) = (spec, self.seen.container_mut(container).run_mut()) else {
            return;
        };
        current.probes.begin(probe, &spec, now);
        let (counts, forgives) = (current.probes.counts(probe), current.probes.forgives(probe));
        let cgroup = current.started.cgroup_id;
        let asked = Asked { run, cgroup, probe, counts, forgives, spec, address };
        self.spawn(move |node, pod| async move {
            let (outcome, remark) = probe::run(&node, &pod, &asked).await;
            Report::Probed { run: asked.run, probe, outcome, remark }
        });
    }

    pub(super) fn note_probed(
        &mut self,
        run: &ContainerRef,
        probe: ProbeType,
        (outcome, remark): (&Outcome, Option<String>),
        now: Instant,
    ) {
        // Until it is said otherwise.
        self.quiet = true;
        let Some(shape) = self.pod.shape.container(&run.name) else { return };
        let seen = self.seen.container_mut(&run.name);
        let (attempt, Some(spec)) = (seen.attempt, shape.probes.get(probe)) else { return };
        // Of a run that is over it says nothing.
        let Some(current) = seen.run_mut().filter(|_| attempt == run.attempt) else { return };
        let counts = current.probes.counts(probe);
        if current.probes.outcome(probe, spec, outcome, now) {
            self.quiet = false;
        }
        let condemned = current.probes.condemned(probe) && seen.order.is_none();
        if condemned {
            let end = Termination::new(now, spec.grace.unwrap_or(self.pod.shape.grace));
            let follows = shape.restarts_failures();
            let why = notice::failed_probe(shape, probe, follows);
            if let Outcome::Failure(failure) = outcome {
                tracing::warn!(pod = %run.pod, container = run.name, "{why}: {failure:?}");
            }
            match follows && seen.is_not_backing_off(now) {
                true => seen.replace(end, &why),
                false => seen.order(end, &why),
            }
        }
        let notice =
            notice::probed(self.pod.shape.part(&run.name), probe, outcome, remark).filter(|_| counts);
        if let (Some(notice), Some(notices)) = (notice, self.node.notices.get()) {
            notices.tell(&run.pod, notice);
        }
    }

    /// Something happened in a container: its probes may be worth running now.
    pub(super) fn note_trigger(&mut self, trigger: &Trigger, now: Instant) {
        if trigger.cause == Cause::Zombie {
            return self.note_zombie(now);
        }
        // Kills may mean more to a pod than a reason to probe (`kills`).
        self.quiet = trigger.cause != Cause::OomKilled;
        let name = &trigger.container.name;
        if trigger.cause == Cause::OomKilled {
            self.note_kill(name, now);
            if self.probes_interest() < Interest::Ends {
                return;
            }
        }
        let Some(shape) = self.pod.shape.container(name) else { return };
        let seen = self.seen.container_mut(name);
        let current = seen.attempt == trigger.container.attempt;
        // The ends of what probes run are no reason to probe.
        let own = |run: &Run| trigger.cause != Cause::Exited || trigger.cgroup == run.started.cgroup_id;
        if let Some(run) = seen.run_mut().filter(|run| current && own(run)) {
            run.probes.trigger(&shape.probes, trigger.cause, now);
        }
        // Containers of a pod share their network: a sidecar may serve what is asked of another one.
        for shape in self.pod.shape.containers().filter(|shape| shape.name != *name) {
            if let Some(run) = self.seen.container_mut(&shape.name).run_mut() {
                run.probes.trigger_beside(&shape.probes, trigger.cause, now);
            }
        }
    }

    /// Which triggers are worth waking for.
    pub(super) fn interest(&self) -> Interest {
        // Kills are told, if there is somebody to tell.
        let kills = self.node.has_api() || self.pod.shape.containers().any(|shape| shape.oom.is_some());
        self.probes_interest().max(if kills { Interest::Kills } else { Interest::Nothing })
    }

    /// The cgroups of containers whose probes may be worth running when a process ends.
    pub(super) fn awaited(&self) -> BTreeSet<u64> {
        let runs = self.seen.containers.values().filter_map(ContainerSeen::run);
        runs.filter(|run| run.probes.interest() == Interest::Ends).map(|run| run.started.cgroup_id).collect()
    }

    fn probes_interest(&self) -> Interest {
        let runs = self.seen.containers.values().filter_map(ContainerSeen::run);
        runs.map(|run| run.probes.interest()).max().unwrap_or(Interest::Nothing)
    }
}

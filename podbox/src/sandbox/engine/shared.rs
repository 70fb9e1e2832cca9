//! The engine's blocking half: plans sandboxes and containers, has their steps applied, and keeps who is there.
//! Called on threads that may wait; knows nothing of tasks or logs.

use super::{EngineError, Options, Tracked, lock};
use crate::api::attribution::Attribution;
use crate::api::error::chain;
use crate::api::identity::{ContainerRef, PodRef, QosClass};
use crate::api::startup::Lap;
use crate::sandbox::apply::{Applied, Hands, StepError};
use crate::sandbox::backlog::Asker;
use crate::sandbox::cgroup::{self, CgroupError};
use crate::sandbox::client::{Client, ClientError, Ending};
use crate::sandbox::device::DevicePolicy;
use crate::sandbox::message::{Answer, Body, Held};
use crate::sandbox::plan::{self, Facts};
use crate::sandbox::record::{self, Label};
use crate::sandbox::runtime::Started;
use crate::sandbox::spec::{ContainerSpec, FileVolume, PidNamespace, Resources, SandboxSpec};
use crate::sandbox::timing::{self, OnCgroup};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

/// What calls share.
pub(super) struct Shared {
    pub(super) facts: Facts,
    pub(super) bridge: String,
    pub(super) options: Options,
    pub(super) keeper: Client,
    pub(super) devices: DevicePolicy,
    pub(super) attribution: Arc<dyn Attribution>,
    pub(super) sandboxes: Mutex<BTreeMap<PodRef, Arc<SandboxSpec>>>,
    pub(super) containers: Mutex<BTreeMap<ContainerRef, Arc<Tracked>>>,
    /// Numbers execs, so that their cgroups have names of their own.
    pub(super) execs: AtomicU64,
    /// What asks for sockets in the networks of pods; each holds its network as long as it is here.
    pub(super) askers: Mutex<BTreeMap<PodRef, Arc<Mutex<Asker>>>>,
}

impl Shared {
    fn hands(&self) -> Hands<'_> {
        Hands {
            keeper: &self.keeper,
            attribution: &*self.attribution,
            devices: &self.devices,
            bridge: &self.bridge,
            mtu: self.options.mtu,
            volumes: BTreeMap::new(),
            fail_at: self.options.fail_at,
        }
    }

    /// The same, for steps that are about the volumes of a pod; what is in its files need not be there, and is not copied then.
    fn hands_on(&self, spec: &SandboxSpec) -> Hands<'_> {
        // Whatever cannot be planned does not come to hands.
        Hands { volumes: plan::plugins(spec, &self.facts).unwrap_or_default(), ..self.hands() }
    }

    /// The containers that the keeper holds, or those of one pod.
    pub(super) fn list(&self, pod: Option<&PodRef>) -> Result<Vec<Held>, ClientError> {
        match self.keeper.request(Body::List { pod: pod.map(|pod| pod.uid.clone()) }, &[])? {
            (Answer::List(held), _) => Ok(held),
            _ => Err(ClientError::Confused),
        }
    }

    pub(super) fn create(&self, spec: &SandboxSpec) -> Result<Vec<Lap>, EngineError> {
        let pod = &spec.pod;
        let planned = plan::sandbox(spec, &self.facts);
        let steps = planned.map_err(|source| EngineError::Plan { subject: pod.to_string(), source })?;
        let kept = match lock(&self.sandboxes).entry(pod.clone()) {
            Entry::Occupied(_) => return Err(EngineError::SandboxExists(pod.clone())),
            Entry::Vacant(place) => Arc::clone(place.insert(Arc::new(spec.without_bytes()))),
        };
        // Before the first step: whoever finds the record can take away whatever was done.
        let built = record::write(spec, &self.facts).map_err(EngineError::from).and_then(|()| {
            let applied = self.hands_on(&kept).apply(&steps);
            applied.map_err(|source| EngineError::Create { pod: pod.clone(), source })
        });
        built
            .map(|Applied { laps, .. }| {
                self.protect_with(spec);
                laps
            })
            .inspect_err(|error| {
                // What could not be taken back is still in the record: the next sweep tries again.
                let clean = !matches!(error, EngineError::Create { source, .. } if !source.left.is_empty());
                if clean && record::remove(pod, &self.facts).is_ok() {
                    lock(&self.sandboxes).remove(pod);
                }
            })
    }

    pub(super) fn refill(&self, pod: &PodRef, volumes: &[FileVolume]) -> Result<(), EngineError> {
        let found = lock(&self.sandboxes).get(pod).cloned();
        let spec = found.ok_or_else(|| EngineError::NoSandbox(pod.clone()))?;
        let steps: Result<Vec<_>, _> =
            volumes.iter().map(|volume| plan::refill(volume, &spec, &self.facts)).collect();
        let steps = steps.map_err(|source| EngineError::Plan { subject: pod.to_string(), source })?;
        let applied = self.hands_on(&spec).apply(&steps);
        applied.map(drop).map_err(|source| EngineError::Refill { pod: pod.clone(), source })
    }

    pub(super) fn remove_pod(&self, pod: &PodRef) -> Result<(), EngineError> {
        let Some(spec) = lock(&self.sandboxes).get(pod).cloned() else { return Ok(()) };
        let planned = plan::sandbox(&spec, &self.facts);
        let steps = planned.map_err(|source| EngineError::Plan { subject: pod.to_string(), source })?;
        lock(&self.askers).remove(pod);
        let hands = self.hands_on(&spec);
        let mut left = Vec::new();
        let held = self.list(Some(pod))?;
        for label in held.iter().filter_map(|held| Label::parse(&held.label).ok()) {
            if label.container.pod == *pod {
                left.extend(self.teardown(&label.container, label.qos));
            }
        }
        left.extend(hands.undo(steps.iter().rev().filter_map(|step| step.inverse())));
        if !left.is_empty() {
            return Err(EngineError::Remove { subject: pod.to_string(), left });
        }
        record::remove(pod, &self.facts)?;
        lock(&self.sandboxes).remove(pod);
        // One that was opened meanwhile.
        lock(&self.askers).remove(pod);
        self.protect_with(&spec);
        Ok(())
    }

    /// Keeps what asks for sockets in a pod's network until the pod goes; none where it has gone already.
    pub(super) fn keep_asker(&self, pod: &PodRef, asker: Asker) -> Option<Arc<Mutex<Asker>>> {
        let mut askers = lock(&self.askers);
        // A pod is forgotten before its asker is.
        lock(&self.sandboxes).contains_key(pod).then(|| {
            let asker = Arc::new(Mutex::new(asker));
            askers.insert(pod.clone(), Arc::clone(&asker));
            asker
        })
    }

    /// Keeps for all pods what they have requested of memory, of which each gets its own: the groups that they lie in hand on
    /// only what they have themselves. Nothing where a pod that came or went has nothing to be kept.
    fn protect_with(&self, changed: &SandboxSpec) {
        if changed.resources.memory_min.is_some() {
            self.protect();
        }
    }

    /// Without it, pods run as they would on a node that is not told to: a failure is told, and harms none.
    fn protect(&self) {
        if !self.facts.controllers.contains("memory") {
            return;
        }
        let sandboxes = lock(&self.sandboxes);
        let kept = |class: Option<QosClass>| {
            let those = sandboxes.values().filter(|spec| class.is_none_or(|class| spec.qos == class));
            those.filter_map(|spec| spec.resources.memory_min).fold(0, u64::saturating_add)
        };
        let slice = self.facts.slice();
        let classes = [QosClass::Guaranteed, QosClass::Burstable];
        let groups = classes.map(|class| (slice.join(class.cgroup()), kept(Some(class))));
        for (group, bytes) in [(slice.clone(), kept(None))].iter().chain(&groups) {
            let set = timing::cgroup(OnCgroup::Update, || cgroup::set(group, [&plan::kept(*bytes)]));
            if let Err(error) = set {
                tracing::warn!("memory that pods have requested is not kept for them: {}", chain(&error));
            }
        }
    }

    /// Takes all of a container away, and forgets it only then; gives back what could not be done.
    fn teardown(&self, container: &ContainerRef, qos: QosClass) -> Vec<StepError> {
        let hands = self.hands();
        let mut left = hands.undo(plan::container_teardown(container, qos, &self.facts));
        if self.facts.init_cgroup(container, qos).exists() {
            left.extend(hands.undo(plan::init_teardown(container, qos, &self.facts)));
        }
        lock(&self.containers).remove(container);
        left
    }

    /// The run of a container that runs now.
    pub(super) fn running(&self, pod: &PodRef, name: &str) -> Option<ContainerRef> {
        let containers = lock(&self.containers);
        let mut runs = containers.iter().filter(|(container, tracked)| {
            container.pod == *pod && container.name == name && tracked.ending.borrow().is_none()
        });
        runs.next_back().map(|(container, _)| container.clone())
    }

    pub(super) fn launch(
        &self,
        spec: &ContainerSpec,
    ) -> Result<(Started, Ending, Vec<OwnedFd>), EngineError> {
        let container = &spec.container;
        let sandbox = lock(&self.sandboxes).get(&container.pod).cloned();
        let sandbox = sandbox.ok_or_else(|| EngineError::NoSandbox(container.pod.clone()))?;
        let label = Label::of(spec).text();
        let steps =
            plan::container(spec, &sandbox, &self.facts, label, |name| self.running(&container.pod, name))
                .map_err(|source| EngineError::Plan { subject: container.to_string(), source })?;
        if spec.pid == PidNamespace::OfPod {
            // It runs since the sandbox was made, unless somebody killed it, and all of the pod's containers with it.
            self.keeper.request(Body::Pause(Box::new(plan::pause(&sandbox, &self.facts))), &[])?;
        }
        let id = plan::launch_id(container);
        let ending = self.keeper.watch(&id);
        let applied = self.hands().apply(&steps);
        let ((answer, fds), laps) = match applied {
            Ok(Applied { reply, laps }) => (reply.ok_or(ClientError::Confused)?, laps),
            Err(source) => {
                self.keeper.unwatch(&id);
                return Err(EngineError::Start { name: container.name.clone(), source });
            }
        };
        let Answer::Started { pid, at, user } = answer else { return Err(ClientError::Confused.into()) };
        let cgroup_id = cgroup::id(&self.facts.container_cgroup(container, spec.qos))?;
        Ok((Started { pid, cgroup_id, at, user, laps }, ending, fds))
    }

    /// What grows, grows from the pod to the container; what shrinks, the other way round: so that at no time the pod has
    /// less than its containers are promised.
    pub(super) fn resize(
        &self,
        container: &ContainerRef,
        qos: QosClass,
        own: &Resources,
        whole: &Resources,
    ) -> Result<(), EngineError> {
        let outer = self.facts.pod_cgroup(&container.pod, qos);
        let inner = self.facts.container_cgroup(container, qos);
        if let Some(limit) = own.memory_max {
            cgroup::check_usage(&inner, limit)?;
        }
        let (own, pod) = (plan::resized(own, &self.facts), plan::resized(whole, &self.facts));
        timing::cgroup(OnCgroup::Update, || {
            cgroup::set(&outer, pod.iter().filter(|setting| cgroup::grows(&outer, setting)))
        })?;
        timing::cgroup(OnCgroup::Update, || cgroup::set(&inner, &own))?;
        timing::cgroup(OnCgroup::Update, || cgroup::set(&outer, &pod))?;
        self.note_share(&container.pod, whole)
    }

    /// Keeps in mind, and on file, what a pod as a whole has now, and what is kept for all pods by that.
    fn note_share(&self, pod: &PodRef, whole: &Resources) -> Result<(), EngineError> {
        let mut sandboxes = lock(&self.sandboxes);
        let Some(spec) = sandboxes.get_mut(pod) else { return Ok(()) };
        let before = std::mem::replace(&mut Arc::make_mut(spec).resources, whole.clone());
        if before != *whole {
            // One at a time: several containers of a pod may be resized at once.
            record::write(spec, &self.facts)?;
        }
        drop(sandboxes);
        if before.memory_min != whole.memory_min {
            self.protect();
        }
        Ok(())
    }

    pub(super) fn take_away(&self, container: &ContainerRef, qos: QosClass) -> Result<(), EngineError> {
        let left = self.teardown(container, qos);
        if left.is_empty() {
            return Ok(());
        }
        Err(EngineError::Remove { subject: container.to_string(), left })
    }
}

/// The cgroups between the root and the pods; returns the keeper's.
pub(super) fn prepare_cgroups(facts: &Facts) -> Result<PathBuf, CgroupError> {
    let none = BTreeSet::new();
    cgroup::hand_on(&facts.cgroup_root, facts.controllers.iter())?;
    cgroup::ensure(&facts.slice(), &facts.controllers)?;
    for qos in [QosClass::Guaranteed, QosClass::Burstable, QosClass::BestEffort] {
        cgroup::ensure(&facts.slice().join(qos.cgroup()), &facts.controllers)?;
    }
    let keeper = facts.slice().join("keeper");
    cgroup::ensure(&keeper, &none)?;
    Ok(keeper)
}

//! What there is to know for one reconciliation: the object as it is stored, and its dependents from the indices. Pure.

pub mod nodes;

use super::action::{Actions, Attempt, Write};
use super::cronjob::{self, Started};
use super::daemonset::{self, DaemonSet};
use super::deployment::{self, Set};
use super::disrupted;
use super::disruption;
use super::endpoints;
use super::job::{self, Job};
use super::key::Key;
use super::meta::{Labels, Owner};
use super::pods::{Member, Phase};
use super::replicas::{self, Observed};
use super::revision::Revision;
use super::sets::{self, Sets, selects};
use super::source::Source;
use super::statefulset::{self, StatefulSet};
use super::workload::Workload;
use super::world::World;
use crate::api::object;
use crate::api::objects::{Seen, Target};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where ReplicaSets are.
pub const REPLICA_SETS: &str = "apps/replicasets";
/// Where ReplicationControllers are.
pub const REPLICATION_CONTROLLERS: &str = "/replicationcontrollers";
/// Where Deployments are.
pub const DEPLOYMENTS: &str = "apps/deployments";
/// Where StatefulSets are.
pub const STATEFUL_SETS: &str = "apps/statefulsets";
/// Where DaemonSets are.
pub const DAEMON_SETS: &str = "apps/daemonsets";
/// Where nodes are.
pub const NODES: &str = "/nodes";
/// Where leases are.
pub const LEASES: &str = "coordination.k8s.io/leases";
/// Where ControllerRevisions are.
pub const REVISIONS: &str = "apps/controllerrevisions";
/// Where PersistentVolumeClaims are.
pub const CLAIMS: &str = "/persistentvolumeclaims";
/// Where CronJobs are.
pub const CRON_JOBS: &str = "batch/cronjobs";
/// Where Jobs are.
pub const JOBS: &str = "batch/jobs";
/// Where Services are.
pub const SERVICES: &str = "/services";
/// Where PodDisruptionBudgets are.
pub const BUDGETS: &str = "policy/poddisruptionbudgets";
/// Where EndpointSlices are.
pub const SLICES: &str = "discovery.k8s.io/endpointslices";
/// Where Endpoints are.
pub const LEGACY: &str = "/endpoints";
/// Where pods are.
pub const PODS: &str = "/pods";

/// An object that there is, in the words in which it is written to.
pub fn stored(
    world: &World,
    source: &impl Source,
    collection: &str,
    key: &Key,
) -> Option<(Target, Value, u64)> {
    let found = source.get(collection, key)?;
    let kind = world.catalog.collection(collection)?;
    match serde_json::from_slice(&found.bytes) {
        Ok(object) => Some((world.catalog.target(kind, key), object, found.revision)),
        Err(error) => {
            tracing::error!("{collection} {key} in the store is no JSON: {error}");
            None
        }
    }
}

/// Reconciles a ReplicaSet or a ReplicationController.
pub fn replicas(
    world: &World,
    source: &impl Source,
    (collection, sets): (&str, &Sets),
    key: &Key,
    (attempt, now): (Attempt<'_>, Timestamp),
) -> Actions {
    let Some((at, object, revision)) = stored(world, source, collection, key) else { return Actions::none() };
    let desired = Workload::new(at, object, revision);
    let uid = desired.uid();
    let selector = &desired.claimant.selector;
    let related = OnceCell::new();
    let doubles = |pod: &Member| {
        let related = related.get_or_init(|| per_node(world, sets, key, uid));
        pod.node.as_deref().and_then(|node| related.get(node)).copied().unwrap_or(0)
    };
    let observed = Observed {
        controlled: world.pods.controlled_by(uid).collect(),
        free: world.pods.free(key.namespace(), |labels| selects(selector, labels)).collect(),
        doubles: &doubles,
    };
    replicas::reconcile(&desired, &observed, attempt, now)
}

/// How many active pods of a ReplicaSet and its siblings each node has.
fn per_node<'a>(world: &'a World, sets: &Sets, key: &Key, uid: &str) -> BTreeMap<&'a str, usize> {
    let controller = sets.get(key).and_then(|set| set.controller.clone());
    let siblings = controller.iter().flat_map(|controller| sets.controlled_by(controller));
    let siblings = siblings.filter(|sibling| *sibling != key).filter_map(|sibling| sets.get(sibling));
    let mut count = BTreeMap::new();
    for uid in siblings.map(|set| &*set.uid).chain([uid]) {
        for pod in world.pods.controlled_by(uid).filter(|pod| pod.is_active()) {
            if let Some(node) = &pod.node {
                *count.entry(&**node).or_default() += 1;
            }
        }
    }
    count
}

/// Reconciles a Deployment.
pub fn deployment(
    world: &World,
    source: &impl Source,
    key: &Key,
    (attempt, now): (Attempt<'_>, Timestamp),
) -> Actions {
    let Some((at, object, revision)) = stored(world, source, DEPLOYMENTS, key) else {
        return Actions::none();
    };
    let desired = Workload::new(at, object, revision);
    let (uid, selector) = (desired.uid(), &desired.claimant.selector);
    let namespace = key.namespace();
    let sets = &world.replica_sets;
    let free = sets.free(namespace).filter(|(_, set)| selects(selector, &set.labels)).map(|(key, _)| key);
    let candidates =
        sets.controlled_by(uid).chain(free).filter_map(|key| stored(world, source, REPLICA_SETS, key));
    let candidates: Vec<Set> = candidates.map(|(at, object, stored)| Set::new(at, object, stored)).collect();
    let others_run = |new: &str| {
        let old = sets.controlled_by(uid).filter_map(|key| sets.get(key)).filter(|set| *set.uid != *new);
        old.flat_map(|set| world.pods.controlled_by(&set.uid)).any(|pod| pod.phase != Phase::Ended)
    };
    let taken = |name: &str| source.get(REPLICA_SETS, &Key::new(namespace, name)).is_some();
    let observed = deployment::Observed { sets: candidates, others_run: &others_run, taken: &taken };
    deployment::reconcile(&desired, &observed, attempt, now)
}

/// For a pod that says that it goes for others' sake.
pub fn disrupted(world: &World, source: &impl Source, key: &Key, now: Timestamp) -> Actions {
    let Some(pod) = world.pods.get(key).filter(|pod| pod.disrupted) else { return Actions::none() };
    let Some((_, object, revision)) = stored(world, source, PODS, key) else { return Actions::none() };
    disrupted::reconcile(pod, (&object, revision), now)
}

/// Reconciles a StatefulSet.
pub fn stateful_set(
    world: &World,
    source: &impl Source,
    key: &Key,
    (attempt, now): (Attempt<'_>, Timestamp),
) -> Actions {
    let Some((at, object, revision)) = stored(world, source, STATEFUL_SETS, key) else {
        return Actions::none();
    };
    let Some(set) = StatefulSet::new(at, object, revision) else {
        tracing::error!("the StatefulSet {key} in the store cannot be read");
        return Actions::none();
    };
    let of = |name: &str| Key::new(key.namespace(), name);
    let uid = set.workload.uid();
    let pod =
        |name: &str| world.pods.get(&of(name)).is_some_and(|pod| pod.controller.as_deref() != Some(uid));
    let revision = |name: &str| world.revisions.get(&of(name)).is_some();
    let claim = |name: &str| Some(stored(world, source, CLAIMS, &of(name))?.1);
    let observed = statefulset::Observed {
        pods: pods(world, key.namespace(), &set.workload),
        revisions: revisions(world, source, key.namespace(), &set.workload),
        pod: &pod,
        revision: &revision,
        claim: &claim,
    };
    statefulset::reconcile(&set, &observed, attempt, now)
}

/// Reconciles a DaemonSet.
pub fn daemon_set(
    world: &World,
    source: &impl Source,
    key: &Key,
    (attempt, now): (Attempt<'_>, Timestamp),
) -> Actions {
    let Some((at, object, revision)) = stored(world, source, DAEMON_SETS, key) else {
        return Actions::none();
    };
    let Some(set) = DaemonSet::new(at, object, revision) else {
        tracing::error!("the DaemonSet {key} in the store cannot be read");
        return Actions::none();
    };
    let revision = |name: &str| world.revisions.get(&Key::new(key.namespace(), name)).is_some();
    let observed = daemonset::Observed {
        pods: pods(world, key.namespace(), &set.workload),
        revisions: revisions(world, source, key.namespace(), &set.workload),
        revision: &revision,
        nodes: &world.nodes,
        failures: &world.failures,
    };
    daemonset::reconcile(&set, &observed, attempt, now)
}

/// The pods that an object controls, or that it selects and nobody controls.
fn pods<'a>(world: &'a World, namespace: &str, of: &Workload) -> Vec<&'a Arc<Member>> {
    let free = world.pods.free(namespace, |labels| selects(&of.claimant.selector, labels));
    world.pods.controlled_by(of.uid()).chain(free).collect()
}

/// The revisions that an object controls, or that it selects and nobody controls.
fn revisions(world: &World, source: &impl Source, namespace: &str, of: &Workload) -> Vec<Revision> {
    let all = &world.revisions;
    let free = all.free(namespace).filter(|(_, revision)| selects(&of.claimant.selector, &revision.labels));
    let keys = all.controlled_by(of.uid()).chain(free.map(|(key, _)| key));
    let found = keys.filter_map(|key| stored(world, source, REVISIONS, key));
    found.map(|(at, object, stored)| Revision::new(at, object, stored)).collect()
}

/// Reconciles a CronJob.
pub fn cronjob(world: &World, source: &impl Source, key: &Key, now: Timestamp) -> Actions {
    let Some((at, object, revision)) = stored(world, source, CRON_JOBS, key) else { return Actions::none() };
    let cron = Workload::new(at, object, revision);
    let jobs = world.jobs.controlled_by(cron.uid()).filter_map(|key| stored(world, source, JOBS, key));
    let jobs: Vec<Started> = jobs.map(|(at, object, revision)| Started { at, object, revision }).collect();
    cronjob::reconcile(&cron, &jobs, now)
}

/// Reconciles a Job.
pub fn job(
    world: &World,
    source: &impl Source,
    key: &Key,
    (attempt, now): (Attempt<'_>, Timestamp),
) -> Actions {
    let Some((at, object, revision)) = stored(world, source, JOBS, key) else { return Actions::none() };
    let Some(job) = Job::new(at, object, revision) else {
        tracing::error!("the Job {key} in the store cannot be read");
        return Actions::none();
    };
    let (uid, selector) = (job.workload.uid(), &job.workload.claimant.selector);
    let pod = |pod: &Member| Some(stored(world, source, PODS, &pod.key)?.1);
    let observed = job::Observed {
        controlled: world.pods.controlled_by(uid).collect(),
        free: world.pods.free(key.namespace(), |labels| selects(selector, labels)).collect(),
        pod: &pod,
        departed: world.departed.of(uid),
    };
    job::reconcile(&job, &observed, attempt, now)
}

/// Lets a pod go that a Job held which is not there any more, or does not control it.
pub fn held(world: &World, source: &impl Source, key: &Key) -> Actions {
    let Some((at, pod, revision)) = stored(world, source, PODS, key).filter(|(_, pod, _)| job::holds(pod))
    else {
        return Actions::none();
    };
    let uid = object::uid(&pod);
    let controller = world.pods.get(key).and_then(|pod| pod.controller.clone());
    let job = controller.and_then(|uid| world.jobs.of_uid(&uid)).and_then(|key| world.jobs.get(key));
    match job {
        Some(job) if !job.deleting => Actions::none(),
        // As it is now: who takes it over meanwhile holds it again.
        _ => Actions::of([job::stray(at, Seen { uid: uid.to_owned(), revision: Some(revision) })]),
    }
}

/// Reconciles the endpoints of a Service.
pub fn endpoints(world: &World, source: &impl Source, key: &Key) -> Actions {
    let legacy = stored(world, source, LEGACY, key);
    let slices = world.slices.of(key).filter_map(|key| stored(world, source, SLICES, key));
    let slices = slices.map(|(at, object, revision)| endpoints::Slice { at, object, revision });
    let (mirrored, slices): (Vec<_>, Vec<_>) = slices.partition(|slice| slice.is_of(endpoints::MIRROR));
    let Some((at, object, _)) = stored(world, source, SERVICES, key) else {
        let mut writes = endpoints::mirror(None, &mirrored);
        // Its slices are its dependents; this is not.
        let (name, value) = endpoints::LEGACY_KEEPER;
        let own = legacy.filter(|(_, object, _)| {
            object["metadata"]["labels"][name] == value && !object::deleting(object)
        });
        writes.extend(own.map(|(at, object, revision)| {
            let seen = Seen { uid: object::uid(&object).to_owned(), revision: Some(revision) };
            Write::Delete { at, seen, propagation: None }
        }));
        return Actions::of(writes);
    };
    let desired = endpoints::Desired { at, object };
    if object::deleting(&desired.object) {
        return Actions::none();
    }
    if !desired.selects() {
        return Actions::of(endpoints::mirror(legacy.as_ref(), &mirrored));
    }
    let selector = sets::selector(&desired.object["spec"]["selector"]);
    let observed = endpoints::Observed {
        pods: world.pods.labelled(key.namespace(), |labels| selects(&selector, labels)).collect(),
        slices,
        legacy: legacy.map(|(_, object, revision)| (object, revision)),
        zone: &|node| world.nodes.get(&Key::new("", node))?.zone_label(),
    };
    let mut actions = endpoints::reconcile(&desired, &observed);
    actions.actions.extend(endpoints::mirror(None, &mirrored).into_iter().map(Into::into));
    actions
}

/// Reconciles the status of a PodDisruptionBudget.
pub fn budget(world: &World, source: &impl Source, key: &Key, now: Timestamp) -> Actions {
    let Some((at, object, revision)) = stored(world, source, BUDGETS, key) else { return Actions::none() };
    let given = &object["spec"]["selector"];
    let selector = sets::selector(given);
    // Without one it is about no pods, with one that asks for nothing about all.
    let about = |labels: &Labels| !given.is_null() && (selector.is_empty() || selects(&selector, labels));
    let asks = |pod: &Member| {
        let pod = stored(world, source, PODS, &pod.key);
        let Some(owner) = pod.and_then(|(_, pod, _)| controller(&pod)) else { return Ok(None) };
        asks(world, source, key.namespace(), owner)
    };
    let observed =
        disruption::Observed { pods: world.pods.labelled(key.namespace(), about).collect(), asks: &asks };
    disruption::reconcile(&disruption::Desired { at, object: &object, revision }, &observed, now)
}

/// Who controls an object.
fn controller(object: &Value) -> Option<Owner> {
    let owners = object["metadata"]["ownerReferences"].as_array()?;
    let owner = owners.iter().find(|owner| owner["controller"] == true)?;
    Owner::deserialize(owner).ok()
}

/// Who asks for the pods that an owner controls: its uid, and how many it wants. For ReplicaSets of a Deployment that is
/// the Deployment. Who never says how many it wants is told of in upstream's words.
fn asks(world: &World, source: &impl Source, namespace: &str, owner: Owner) -> disruption::Asks {
    let Some(kind) = world.catalog.find(&owner.api_version, &owner.kind) else {
        return Err(format!("no matches for kind {:?} in version {:?}", owner.kind, owner.api_version));
    };
    let row = world.catalog.row(kind);
    if !row.scaled {
        return Err(format!("{} does not implement the scale subresource", row.resource()));
    }
    let found = stored(world, source, &row.collection, &Key::new(namespace, &owner.name));
    let Some((_, object, _)) = found.filter(|(_, object, _)| object::uid(object) == owner.uid) else {
        return Ok(None);
    };
    let above =
        controller(&object).filter(|above| row.collection == REPLICA_SETS && above.kind == "Deployment");
    if let Some(above) = above
        && let Some(asked) = asks(world, source, namespace, above)?
    {
        return Ok(Some(asked));
    }
    let replicas = object["spec"]["replicas"].as_i64().unwrap_or(1);
    Ok(Some((owner.uid, i32::try_from(replicas).unwrap_or(i32::MAX))))
}

//! What controllers know of everything: indices that each change of the store brings up to date, and whom it wakes. Pure.
//!
//! ```text
//!   pod ──▶ who controls it; if nobody: those that select it       ReplicaSet ──▶ itself, its Deployment (or those that
//!       └──▶ Services and budgets that select it                                   select it)
//!   Deployment, StatefulSet, DaemonSet, Job, CronJob, Service, budget ──▶ itself; a Job also its CronJob
//!   node ──▶ itself; all DaemonSets, if they see a difference; its pods, if they have to leave it     lease ──▶ its node's beat
//!   ControllerRevision ──▶ whose it is     claim ──▶ the StatefulSet that it is named after
//!   EndpointSlice, Endpoints ──▶ its Service
//!   anything ──▶ its dependents and owners, as `graph` has it
//! ```
//!
//! It holds no objects, only what finds and counts them; whatever else is to be known is read from the store. Waking too often
//! costs a look; waking too seldom is a bug.

use super::catalog::Catalog;
use super::daemonset::Failures;
use super::endpoints::{KEEPER, MIRROR, OWN, SERVICE};
use super::gather;
use super::graph::Graph;
use super::job::Departed;
use super::key::{Key, KindId, Place, Work};
use super::marks::Marks;
use super::meta::{Head, Owner};
use super::node_lifecycle::{Beats, Registry, Turns};
use super::nodes::Nodes;
use super::pods::Pods;
use super::sets::Sets;
use super::taint_eviction::Leaving;
use super::wake::News;
use crate::api::objects::NODE_LEASES;
use std::collections::BTreeSet;

/// Everything.
#[derive(Clone, Debug)]
pub struct World {
    /// The kinds there are.
    pub catalog: Catalog,
    /// Pods.
    pub pods: Pods,
    /// ReplicaSets.
    pub replica_sets: Sets,
    /// ReplicationControllers.
    pub replication_controllers: Sets,
    /// Deployments.
    pub deployments: Sets,
    /// StatefulSets.
    pub stateful_sets: Sets,
    /// DaemonSets.
    pub daemon_sets: Sets,
    /// How often their pods have failed where.
    pub failures: Failures,
    /// Nodes.
    pub nodes: Nodes,
    /// Which of them were told of.
    pub registry: Registry,
    /// When they were heard of.
    pub beats: Beats,
    /// Whose turn it is to lose its pods.
    pub turns: Turns,
    /// Pods that have to leave theirs.
    pub leaving: Leaving,
    /// ControllerRevisions.
    pub revisions: Sets,
    /// CronJobs.
    pub cron_jobs: Sets,
    /// Jobs.
    pub jobs: Sets,
    /// Their pods that others told to go.
    pub departed: Departed,
    /// Services.
    pub services: Sets,
    /// PodDisruptionBudgets.
    pub budgets: Sets,
    /// EndpointSlices of podbox's own, by their Services.
    pub slices: Marks,
    /// Owners and dependents.
    pub graph: Graph,
}

/// Kinds that are more to controllers than owners and dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Pod,
    ReplicaSet,
    ReplicationController,
    Deployment,
    StatefulSet,
    DaemonSet,
    Node,
    Lease,
    Revision,
    Claim,
    CronJob,
    Job,
    Service,
    Budget,
    Slice,
    Legacy,
    Other,
}

fn role(collection: &str) -> Role {
    match collection {
        gather::PODS => Role::Pod,
        gather::REPLICA_SETS => Role::ReplicaSet,
        gather::REPLICATION_CONTROLLERS => Role::ReplicationController,
        gather::DEPLOYMENTS => Role::Deployment,
        gather::STATEFUL_SETS => Role::StatefulSet,
        gather::DAEMON_SETS => Role::DaemonSet,
        gather::NODES => Role::Node,
        gather::LEASES => Role::Lease,
        gather::REVISIONS => Role::Revision,
        gather::CLAIMS => Role::Claim,
        gather::CRON_JOBS => Role::CronJob,
        gather::JOBS => Role::Job,
        gather::SERVICES => Role::Service,
        gather::BUDGETS => Role::Budget,
        gather::SLICES => Role::Slice,
        gather::LEGACY => Role::Legacy,
        _ => Role::Other,
    }
}

impl World {
    /// One in which nothing is known yet.
    pub fn new(catalog: Catalog) -> World {
        World {
            catalog,
            pods: Pods::default(),
            replica_sets: Sets::default(),
            replication_controllers: Sets::default(),
            deployments: Sets::default(),
            stateful_sets: Sets::default(),
            daemon_sets: Sets::default(),
            failures: Failures::default(),
            nodes: Nodes::default(),
            registry: Registry::default(),
            beats: Beats::default(),
            turns: Turns::default(),
            leaving: Leaving::default(),
            revisions: Sets::default(),
            cron_jobs: Sets::default(),
            jobs: Sets::default(),
            departed: Departed::default(),
            services: Sets::default(),
            budgets: Sets::default(),
            slices: Marks::default(),
            graph: Graph::default(),
        }
    }

    /// An object is like this now.
    pub fn note(&mut self, kind: KindId, key: &Key, bytes: &[u8], wake: &mut impl FnMut(Work)) {
        let meta = match role(&self.catalog.row(kind).collection) {
            Role::Pod => self.pods.note(key, bytes).map(|(meta, before)| {
                if let Some(now) = self.pods.get(key) {
                    self.failures.note(before.as_deref(), now);
                    self.departed.note(before.as_deref(), now);
                    self.wake_for_place(now, before.is_none(), wake);
                    let news = News::of(before.as_deref(), now);
                    self.wake_for_endpoints(key, before.as_deref(), Some(now), wake);
                    self.wake_for_budgets(key, before.as_deref(), Some(now), wake);
                    self.wake_for_pod(key, before.as_deref().into_iter().chain([&**now]), news, wake);
                }
                meta
            }),
            Role::ReplicaSet => self.replica_sets.note(key, bytes).map(|(meta, before)| {
                wake(Work::ReplicaSet(key.clone()));
                let now = self.replica_sets.get(key);
                self.wake_for_set(key, before.iter().chain(now), wake);
                meta
            }),
            Role::ReplicationController => self.replication_controllers.note(key, bytes).map(|(meta, _)| {
                wake(Work::ReplicationController(key.clone()));
                meta
            }),
            Role::Deployment => self.deployments.note(key, bytes).map(|(meta, _)| {
                wake(Work::Deployment(key.clone()));
                meta
            }),
            Role::StatefulSet => self.stateful_sets.note(key, bytes).map(|(meta, _)| {
                wake(Work::StatefulSet(key.clone()));
                meta
            }),
            Role::DaemonSet => self.daemon_sets.note(key, bytes).map(|(meta, _)| {
                self.failures.begin(&meta.uid, meta.generation);
                wake(Work::DaemonSet(key.clone()));
                meta
            }),
            Role::Node => self.nodes.note(key, bytes).map(|(meta, change)| {
                if change.recovered {
                    self.beats.pardon();
                }
                self.count_nodes(wake);
                self.wake_for_node(key, change, wake);
                meta
            }),
            Role::Lease => {
                if key.namespace() == NODE_LEASES {
                    wake(Work::Beat(Key::new("", key.name())));
                }
                Some(Head::read(bytes))
            }
            Role::Revision => self.revisions.note(key, bytes).map(|(meta, before)| {
                let now = self.revisions.get(key);
                self.wake_for_revision(key, before.iter().chain(now), wake);
                meta
            }),
            Role::Claim => {
                self.wake_for_claim(key, wake);
                Some(Head::read(bytes))
            }
            Role::CronJob => self.cron_jobs.note(key, bytes).map(|(meta, _)| {
                wake(Work::CronJob(key.clone()));
                meta
            }),
            Role::Job => self.jobs.note(key, bytes).map(|(meta, before)| {
                wake(Work::Job(key.clone()));
                self.wake_cron_jobs(before.iter().chain(self.jobs.get(key)), wake);
                if meta.deleting() {
                    self.wake_held(&meta.uid, wake);
                }
                meta
            }),
            Role::Service => self.services.note(key, bytes).map(|(meta, _)| {
                wake(Work::Endpoints(key.clone()));
                meta
            }),
            Role::Budget => self.budgets.note(key, bytes).map(|(meta, _)| {
                wake(Work::Budget(key.clone()));
                meta
            }),
            Role::Slice => {
                let meta = Head::read(bytes);
                let own =
                    meta.labels.get(KEEPER).is_some_and(|keeper| [OWN, MIRROR].contains(&keeper.as_str()));
                let service =
                    meta.labels.get(SERVICE).filter(|_| own).map(|name| Key::new(key.namespace(), name));
                let before = self.slices.note(key, service.clone());
                before.into_iter().chain(service).for_each(|service| wake(Work::Endpoints(service)));
                Some(meta)
            }
            Role::Legacy => {
                wake(Work::Endpoints(key.clone()));
                Some(Head::read(bytes))
            }
            Role::Other => Some(Head::read(bytes)),
        };
        let Some(meta) = meta else {
            return tracing::error!(
                "{} {key} in the store cannot be read",
                self.catalog.row(kind).collection
            );
        };
        let place = Place { kind, key: key.clone() };
        let differs = self.graph.note(&place, &meta, |place| wake(Work::Garbage(place)));
        if differs && !meta.owner_references.iter().all(|owner| self.stays(owner, key.namespace())) {
            wake(Work::Garbage(place));
        }
    }

    /// Whether an owner of something in this namespace surely is there, and is to stay: it has this very name, kind and place.
    fn stays(&self, owner: &Owner, namespace: &str) -> bool {
        let kind = self.catalog.find(&owner.api_version, &owner.kind);
        let sets = match kind.map(|kind| role(&self.catalog.row(kind).collection)) {
            Some(Role::ReplicaSet) => &self.replica_sets,
            Some(Role::ReplicationController) => &self.replication_controllers,
            Some(Role::Deployment) => &self.deployments,
            Some(Role::StatefulSet) => &self.stateful_sets,
            Some(Role::DaemonSet) => &self.daemon_sets,
            Some(Role::Job) => &self.jobs,
            Some(Role::CronJob) => &self.cron_jobs,
            _ => return false,
        };
        let there = sets.of_uid(&owner.uid);
        let there = there.filter(|key| key.name() == owner.name && key.namespace() == namespace);
        there.and_then(|key| sets.get(key)).is_some_and(|set| !set.deleting)
    }

    /// An object is gone; this is what it was last.
    pub fn forget(&mut self, kind: KindId, key: &Key, last: &[u8], wake: &mut impl FnMut(Work)) {
        let meta = Head::read(last);
        match role(&self.catalog.row(kind).collection) {
            Role::Pod => {
                let before = self.pods.forget(key);
                self.leaving.forget(key);
                before.iter().for_each(|pod| self.departed.gone(pod));
                before.iter().filter_map(|pod| pod.node.as_deref()).for_each(|node| self.forget_beats(node));
                self.wake_for_endpoints(key, before.as_deref(), None, wake);
                self.wake_for_budgets(key, before.as_deref(), None, wake);
                self.wake_for_pod(key, before.as_deref(), News::Over, wake);
                self.wake_for_name(key, wake);
            }
            Role::ReplicaSet => {
                let before = self.replica_sets.forget(key);
                wake(Work::ReplicaSet(key.clone()));
                self.wake_for_set(key, &before, wake);
            }
            Role::ReplicationController => {
                self.replication_controllers.forget(key);
                wake(Work::ReplicationController(key.clone()));
            }
            Role::Deployment => {
                self.deployments.forget(key);
                wake(Work::Deployment(key.clone()));
            }
            Role::StatefulSet => drop(self.stateful_sets.forget(key)),
            Role::DaemonSet => {
                if let Some(before) = self.daemon_sets.forget(key) {
                    self.failures.forget(&before.uid);
                }
            }
            Role::Node => {
                let change = self.nodes.forget(key);
                self.forget_beats(key.name());
                self.count_nodes(wake);
                self.wake_for_node(key, change, wake);
                self.pods.on(key.name()).for_each(|pod| wake(Work::PodGarbage(pod.key.clone())));
            }
            Role::Revision => {
                let before = self.revisions.forget(key);
                self.wake_for_revision(key, &before, wake);
            }
            Role::Claim => self.wake_for_claim(key, wake),
            Role::CronJob => drop(self.cron_jobs.forget(key)),
            Role::Job => {
                let before = self.jobs.forget(key);
                self.wake_cron_jobs(&before, wake);
                before.iter().for_each(|job| self.departed.forget(&job.uid));
                before.iter().for_each(|job| self.wake_held(&job.uid, wake));
            }
            Role::Service => {
                self.services.forget(key);
                wake(Work::Endpoints(key.clone()));
            }
            Role::Budget => drop(self.budgets.forget(key)),
            Role::Slice => {
                if let Some(service) = self.slices.note(key, None) {
                    wake(Work::Endpoints(service));
                }
            }
            Role::Legacy => wake(Work::Endpoints(key.clone())),
            Role::Lease | Role::Other => {}
        }
        let place = Place { kind, key: key.clone() };
        self.graph.forget(&place, &meta.uid, |place| wake(Work::Garbage(place)));
    }

    /// How many nodes there are matters to each of them.
    fn count_nodes(&mut self, wake: &mut impl FnMut(Work)) {
        if self.registry.count(self.nodes.len()) {
            self.nodes.keys().for_each(|node| wake(Work::Node(node.clone())));
        }
    }

    /// A node that is gone is remembered as long as it has pods.
    fn forget_beats(&mut self, node: &str) {
        let key = Key::new("", node);
        if self.nodes.get(&key).is_none() && self.pods.on(node).next().is_none() {
            self.beats.forget(&key);
        }
    }

    /// How often the object of a workload was asked for anew.
    pub fn generation(&self, work: &Work) -> Option<i64> {
        let (sets, key) = match work {
            Work::Deployment(key) => (&self.deployments, key),
            Work::ReplicaSet(key) => (&self.replica_sets, key),
            Work::ReplicationController(key) => (&self.replication_controllers, key),
            Work::StatefulSet(key) => (&self.stateful_sets, key),
            Work::DaemonSet(key) => (&self.daemon_sets, key),
            Work::CronJob(key) => (&self.cron_jobs, key),
            Work::Job(key) => (&self.jobs, key),
            _ => return None,
        };
        sets.get(key).map(|set| set.generation)
    }

    /// Objects of a kind that are known and not among these: what went while nobody looked.
    pub fn missing(&self, kind: KindId, there: &BTreeSet<Key>) -> Vec<Key> {
        let known: Box<dyn Iterator<Item = &Key>> = match role(&self.catalog.row(kind).collection) {
            Role::Pod => Box::new(self.pods.keys()),
            Role::ReplicaSet => Box::new(self.replica_sets.keys()),
            Role::ReplicationController => Box::new(self.replication_controllers.keys()),
            Role::Deployment => Box::new(self.deployments.keys()),
            Role::StatefulSet => Box::new(self.stateful_sets.keys()),
            Role::DaemonSet => Box::new(self.daemon_sets.keys()),
            Role::Node => Box::new(self.nodes.keys()),
            Role::Revision => Box::new(self.revisions.keys()),
            Role::CronJob => Box::new(self.cron_jobs.keys()),
            Role::Job => Box::new(self.jobs.keys()),
            Role::Service => Box::new(self.services.keys()),
            Role::Budget => Box::new(self.budgets.keys()),
            Role::Slice => Box::new(self.slices.keys()),
            Role::Legacy | Role::Claim | Role::Lease | Role::Other => {
                Box::new(self.graph.of_kind(kind).map(|place| &place.key))
            }
        };
        known.filter(|key| !there.contains(*key)).cloned().collect()
    }
}

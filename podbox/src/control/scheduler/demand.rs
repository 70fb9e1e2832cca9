//! A pod as the scheduler sees it, read from its manifest once: what it asks for, and what it is to others where it is. Pure.

use super::room::Amounts;
use super::term::{Spread, Term};
use crate::api::eviction::DISRUPTED;
use crate::api::hostports;
use crate::api::support::{self, Tokens};
use crate::api::wish::{self, Tolerance, Wish};
use crate::control::key::Key;
use crate::control::meta::Labels;
use crate::sandbox::spec::Forward;
use k8s_openapi::api::core::v1::{Pod, PodSpec, Volume};
use std::sync::Arc;

/// The reason of a pod's being [`DISRUPTED`] where that is the scheduler.
pub const PREEMPTED: &str = "PreemptionByScheduler";

/// Controllers whose pods are spread though they do not ask for it, as upstream has it: not Jobs, nor DaemonSets.
const SPREADING: [&str; 3] = ["ReplicationController", "ReplicaSet", "StatefulSet"];

/// What a pod takes of a node, and is to other pods.
#[derive(Clone, Debug, Default)]
pub struct Load {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its labels.
    pub labels: Arc<Labels>,
    /// Who controls it, if that is one whose pods are spread.
    pub spreader: Option<Arc<str>>,
    /// Who comes first.
    pub priority: i32,
    /// Whether it is on its way out.
    pub going: bool,
    /// Whether it is so that a more important one can have its place.
    pub preempted: bool,
    /// What it asks for.
    pub amounts: Amounts,
    /// The same, as scores count it.
    pub presumed: Amounts,
    /// Ports of the node.
    pub ports: Vec<Forward>,
    /// What it asks of who comes later.
    pub bonds: Vec<Bond>,
    /// Its claims.
    pub claims: Vec<Key>,
}

impl Load {
    /// Whether as much is left beside it as beside another.
    pub fn takes_as_much_as(&self, other: &Load) -> bool {
        (&self.amounts, &self.ports, &self.claims) == (&other.amounts, &other.ports, &other.claims)
    }
}

/// What a pod that is there means to one that comes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bond {
    /// It must have none of these near.
    Apart(Term),
    /// It had to have one of these near, and likes more of them.
    Together(Term),
    /// It likes these near, so much; or dislikes them.
    Likes(i32, Term),
}

/// What a pod asks for.
#[derive(Clone, Debug, Default)]
pub struct Demand {
    /// What it takes.
    pub load: Arc<Load>,
    /// Whether others may be made to go for it.
    pub preempts: bool,
    /// What podbox does not honour, as reasons for its nodes.
    pub unsupported: Vec<String>,
    /// Which nodes it takes.
    pub wish: Wish,
    /// Which ones it would rather have, and how much.
    pub preferred: Vec<(i64, wish::Term)>,
    /// Which taints it bears.
    pub tolerance: Tolerance,
    /// Whom it must be near to.
    pub near: Vec<Term>,
    /// Whom it must be far from.
    pub far: Vec<Term>,
    /// Whom it would rather be near to, or, below zero, far from.
    pub liked: Vec<(i32, Term)>,
    /// How it and its like are to be spread.
    pub spread: Vec<Spread>,
    /// Its images, with their tags.
    pub images: Vec<String>,
    /// Its uid.
    pub uid: String,
    /// Of its claims, which ones it brings along itself.
    pub own: Vec<bool>,
}

impl Demand {
    /// From a pod as it is stored.
    pub fn of(pod: &Pod) -> Demand {
        let none = PodSpec::default();
        let spec = pod.spec.as_ref().unwrap_or(&none);
        let affinity = spec.affinity.as_ref();
        let near = affinity.and_then(|affinity| affinity.pod_affinity.as_ref());
        let far = affinity.and_then(|affinity| affinity.pod_anti_affinity.as_ref());
        let liked =
            near.iter().flat_map(|one| one.preferred_during_scheduling_ignored_during_execution.iter());
        let disliked =
            far.iter().flat_map(|one| one.preferred_during_scheduling_ignored_during_execution.iter());
        let weighted = |sign| move |term| Term::weighted(term, sign, pod);
        let liked: Vec<_> =
            liked.flatten().map(weighted(1)).chain(disliked.flatten().map(weighted(-1))).collect();
        let near = near.and_then(|one| one.required_during_scheduling_ignored_during_execution.as_ref());
        let far = far.and_then(|one| one.required_during_scheduling_ignored_during_execution.as_ref());
        let near: Vec<Term> = near.into_iter().flatten().map(|term| Term::of(term, pod)).collect();
        let far: Vec<Term> = far.into_iter().flatten().map(|term| Term::of(term, pod)).collect();
        let spreads = spec.topology_spread_constraints.iter().flatten();
        Demand {
            load: Arc::new(Load { bonds: bonds(&near, &far, &liked), ..load(pod) }),
            preempts: spec.preemption_policy.as_deref() != Some("Never"),
            unsupported: unsupported(pod),
            wish: Wish::of(pod),
            preferred: preferred(spec),
            tolerance: Tolerance::of(pod),
            spread: spreads.map(|given| Spread::of(given, pod)).collect(),
            images: images(spec),
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            own: claims(pod).into_iter().map(|(_, own)| own).collect(),
            near,
            far,
            liked,
        }
    }
}

fn load(pod: &Pod) -> Load {
    let known = &pod.metadata;
    let controller = known.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
    let spreader = controller.filter(|owner| SPREADING.contains(&owner.kind.as_str()));
    Load {
        namespace: known.namespace.as_deref().unwrap_or_default().into(),
        labels: Arc::new(known.labels.clone().unwrap_or_default()),
        spreader: spreader.map(|owner| owner.uid.as_str().into()),
        priority: pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0),
        going: known.deletion_timestamp.is_some(),
        preempted: known.deletion_timestamp.is_some() && is_preempted(pod),
        amounts: Amounts::of_pod(pod),
        presumed: Amounts::presumed(pod),
        ports: hostports::of_pod(pod),
        bonds: Vec::new(),
        claims: claims(pod).into_iter().map(|(key, _)| key).collect(),
    }
}

/// A pod's claims, and whether it brings them along.
fn claims(pod: &Pod) -> Vec<(Key, bool)> {
    let word = |field: &Option<String>| field.clone().unwrap_or_default();
    let (namespace, name) = (word(&pod.metadata.namespace), word(&pod.metadata.name));
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let claim = |volume: &Volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(claim), _) => Some((Key::new(&namespace, &claim.claim_name), false)),
        (None, Some(_)) => Some((Key::new(&namespace, &format!("{name}-{}", volume.name)), true)),
        (None, None) => None,
    };
    let mut all: Vec<_> = volumes.filter_map(claim).collect();
    all.sort();
    all.dedup();
    all
}

fn bonds(near: &[Term], far: &[Term], liked: &[(i32, Term)]) -> Vec<Bond> {
    let far = far.iter().cloned().map(Bond::Apart);
    let near = near.iter().cloned().map(Bond::Together);
    let liked = liked.iter().cloned().map(|(weight, term)| Bond::Likes(weight, term));
    far.chain(near).chain(liked).collect()
}

fn unsupported(pod: &Pod) -> Vec<String> {
    let reason =
        |field: &support::Unsupported| format!("node(s) didn't support {} ({})", field.path, field.why);
    support::unsupported(pod, Tokens::ForApi).iter().map(reason).collect()
}

fn preferred(spec: &PodSpec) -> Vec<(i64, wish::Term)> {
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let terms =
        affinity.and_then(|affinity| affinity.preferred_during_scheduling_ignored_during_execution.as_ref());
    let terms = terms.into_iter().flatten();
    terms.map(|term| (term.weight.into(), wish::Term::of(&term.preference))).collect()
}

/// Nodes name their images with tags.
fn images(spec: &PodSpec) -> Vec<String> {
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let images = containers.filter_map(|container| container.image.as_deref());
    let tagged = images.map(|image| match image.rfind(':') > image.rfind('/') {
        true => image.to_owned(),
        false => format!("{image}:latest"),
    });
    tagged.collect()
}

/// Whether somebody said of a pod that it goes for a more important one.
fn is_preempted(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| {
        (condition.type_.as_str(), condition.status.as_str()) == (DISRUPTED, "True")
            && condition.reason.as_deref() == Some(PREEMPTED)
    })
}

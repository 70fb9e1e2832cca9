//! Claims, volumes and classes, as far as bringing them together needs it. Pure.
//!
//! For who binds claims, and for who looks for a node for a pod that has some. It holds what the store shows, and decides nothing.

use crate::api::admission::DEFAULT_STORAGE_CLASS;
use crate::api::quantity::Quantity;
use crate::api::selector::Labels;
use crate::api::wish::Terms;
use crate::control::key::Key;
use crate::control::pods::drop_from;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Of a claim: it has been bound once.
pub const COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// Of a claim or a volume: nobody but podbox chose the other.
pub const BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
/// Of a volume: who has made it.
pub const PROVISIONED: &str = "pv.kubernetes.io/provisioned-by";
/// Of a claim: who is to make its volume.
pub const PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
/// Of a claim: the node on which its volume is to be.
pub const SELECTED: &str = "volume.kubernetes.io/selected-node";
/// The provisioner of classes whose volumes somebody makes by hand.
pub const NONE: &str = "kubernetes.io/no-provisioner";

/// A claim.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// Which one.
    pub key: Key,
    /// Its uid.
    pub uid: String,
    /// Its revision.
    pub revision: u64,
    /// Whether it is to go.
    pub going: bool,
    /// What holds it.
    pub finalizers: Vec<String>,
    /// Who controls it.
    pub controller: Option<String>,
    /// Of which class its volume is to be; empty for none.
    pub class: String,
    /// Whether it does not say so: it is of the class that claims are of by default, once there is one.
    pub classless: bool,
    /// Its volume.
    pub volume: String,
    /// Whether it was bound to it.
    pub completed: bool,
    /// What it says of itself.
    pub phase: String,
    /// How much it says it has.
    pub capacity: Option<Quantity>,
    /// On which node its volume is to be.
    pub node: Option<String>,
    /// Who is to make it, as far as they were told.
    pub provisioner: Option<String>,
    wants: Wants,
    /// Which ones it takes.
    selector: Option<Labels>,
}

/// What of a volume is asked for, or given.
#[derive(Clone, Debug, Default, PartialEq)]
struct Wants {
    modes: BTreeSet<String>,
    block: bool,
    size: Option<Quantity>,
}

/// A volume.
#[derive(Clone, Debug)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its revision.
    pub revision: u64,
    /// Whether it is to go.
    pub going: bool,
    /// What holds it.
    pub finalizers: Vec<String>,
    /// Of which class it is; empty for none.
    pub class: String,
    /// Whose it is: claim, and its uid if that is known.
    pub claim: Option<(Key, String)>,
    /// What it says of itself.
    pub phase: String,
    /// What becomes of it without a claim.
    pub policy: String,
    /// Who has made it.
    pub provisioner: Option<String>,
    /// Whether podbox chose its claim.
    pub by_controller: bool,
    /// How it may be used, as it is written.
    pub modes: Vec<String>,
    /// Where it can be had; everywhere, if it does not say.
    pub nodes: Option<Terms>,
    labels: BTreeMap<String, String>,
    gives: Wants,
}

/// A class.
#[derive(Clone, Debug, PartialEq)]
pub struct Class {
    /// Who makes its volumes.
    pub provisioner: String,
    /// Whether they are made only once it is known on which node.
    pub waits: bool,
    /// Since when it is the class of claims that name none, if it is.
    default: Option<Timestamp>,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Shelf {
    claims: BTreeMap<Key, Claim>,
    /// Those that have no volume.
    unbound: BTreeSet<Key>,
    volumes: BTreeMap<String, Volume>,
    /// Those that are a claim's, or are kept for one.
    kept: BTreeMap<Key, BTreeSet<String>>,
    /// Those that are anybody's.
    free: BTreeSet<String>,
    /// Classes, by their names.
    pub classes: BTreeMap<String, Class>,
    /// The names of nodes, for who binds.
    pub nodes: BTreeSet<String>,
    /// Claims, and volumes in no namespace, that are there and cannot be read: nobody may take them for gone.
    unread: BTreeSet<Key>,
}

fn size(
    list: Option<&BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>>,
) -> Option<Quantity> {
    Quantity::parse(&list?.get("storage")?.0).ok()
}

fn annotation(meta: &ObjectMeta, name: &str) -> Option<String> {
    meta.annotations.as_ref()?.get(name).cloned()
}

fn word(field: &Option<String>) -> String {
    field.clone().unwrap_or_default()
}

impl Claim {
    /// From a claim as it is stored.
    pub fn of(key: &Key, revision: u64, claim: PersistentVolumeClaim) -> Claim {
        let (meta, spec, status) =
            (claim.metadata, claim.spec.unwrap_or_default(), claim.status.unwrap_or_default());
        let owners = meta.owner_references.iter().flatten();
        let requests = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
        Claim {
            key: key.clone(),
            revision,
            going: meta.deletion_timestamp.is_some(),
            controller: owners.clone().find(|one| one.controller == Some(true)).map(|one| one.uid.clone()),
            class: word(&spec.storage_class_name),
            classless: spec.storage_class_name.is_none(),
            volume: word(&spec.volume_name),
            completed: annotation(&meta, COMPLETED).is_some(),
            phase: word(&status.phase),
            capacity: size(status.capacity.as_ref()),
            node: annotation(&meta, SELECTED),
            provisioner: annotation(&meta, PROVISIONER),
            wants: Wants {
                modes: spec.access_modes.iter().flatten().cloned().collect(),
                block: spec.volume_mode.as_deref() == Some("Block"),
                size: size(requests),
            },
            selector: spec.selector.as_ref().map(Labels::of),
            uid: meta.uid.unwrap_or_default(),
            finalizers: meta.finalizers.unwrap_or_default(),
        }
    }

    /// Whether one pod at a time may use it.
    pub fn is_for_one_pod(&self) -> bool {
        self.wants.modes.contains("ReadWriteOncePod")
    }

    /// Why a volume is not what it asks for, in the words of Events.
    pub fn mismatch(&self, volume: &Volume) -> Option<&'static str> {
        self.unlike(volume, volume.class == self.class)
    }

    /// The same, if it is of the right class.
    fn unlike(&self, volume: &Volume, classed: bool) -> Option<&'static str> {
        let (wants, gives) = (&self.wants, &volume.gives);
        match () {
            () if gives.size < wants.size => Some("requested PV is too small"),
            () if !classed => Some("storageClassName does not match"),
            () if gives.block != wants.block => Some("incompatible volumeMode"),
            () if !wants.modes.is_subset(&gives.modes) => Some("incompatible accessMode"),
            () => None,
        }
    }

    fn selects(&self, volume: &Volume) -> bool {
        let label = |key: &str| volume.labels.get(key).map(String::as_str);
        self.selector.as_ref().is_none_or(|selector| selector.matches(label))
    }
}

impl Volume {
    /// From a volume as it is stored.
    pub fn of(revision: u64, volume: PersistentVolume) -> Volume {
        let (meta, spec) = (volume.metadata, volume.spec.unwrap_or_default());
        let claim = spec.claim_ref.as_ref().map(|reference| {
            (Key::new(&word(&reference.namespace), &word(&reference.name)), word(&reference.uid))
        });
        let nodes = spec.node_affinity.as_ref().and_then(|nodes| nodes.required.as_ref());
        let modes = spec.access_modes.clone().unwrap_or_default();
        Volume {
            name: word(&meta.name),
            revision,
            going: meta.deletion_timestamp.is_some(),
            class: word(&spec.storage_class_name),
            claim,
            phase: volume.status.and_then(|status| status.phase).unwrap_or_default(),
            policy: word(&spec.persistent_volume_reclaim_policy),
            provisioner: annotation(&meta, PROVISIONED),
            by_controller: annotation(&meta, BY_CONTROLLER).is_some(),
            nodes: nodes.map(Terms::of),
            gives: Wants {
                modes: modes.iter().cloned().collect(),
                block: spec.volume_mode.as_deref() == Some("Block"),
                size: size(spec.capacity.as_ref()),
            },
            modes,
            uid: meta.uid.unwrap_or_default(),
            finalizers: meta.finalizers.unwrap_or_default(),
            labels: meta.labels.unwrap_or_default(),
        }
    }

    /// How much it has.
    pub fn size(&self) -> Option<Quantity> {
        self.gives.size
    }

    /// Whether it is a claim's: by its name, and by its uid, if that is known.
    pub fn is_of(&self, claim: &Claim) -> bool {
        self.claim
            .as_ref()
            .is_some_and(|(key, uid)| *key == claim.key && (uid.is_empty() || *uid == claim.uid))
    }
}

impl From<StorageClass> for Class {
    fn from(class: StorageClass) -> Class {
        let waits = class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer");
        let is_default =
            annotation(&class.metadata, DEFAULT_STORAGE_CLASS).is_some_and(|word| word == "true");
        let created = class.metadata.creation_timestamp.map_or(Timestamp::UNIX_EPOCH, |time| time.0);
        Class { provisioner: class.provisioner, waits, default: is_default.then_some(created) }
    }
}

impl Shelf {
    /// A claim, or a volume, is there and cannot be read. What was known of it before counts.
    pub fn put_unread(&mut self, key: &Key) {
        self.unread.insert(key.clone());
    }

    /// Whether a claim, or a volume, is there, though nothing may be known of it.
    pub fn is_unread(&self, key: &Key) -> bool {
        self.unread.contains(key)
    }

    /// A claim is like this now.
    pub fn put_claim(&mut self, claim: Claim) {
        self.unread.remove(&claim.key);
        match claim.volume.is_empty() {
            true => drop(self.unbound.insert(claim.key.clone())),
            false => drop(self.unbound.remove(&claim.key)),
        }
        self.claims.insert(claim.key.clone(), claim);
    }

    /// A claim is gone.
    pub fn take_claim(&mut self, key: &Key) {
        self.unread.remove(key);
        self.unbound.remove(key);
        self.claims.remove(key);
    }

    /// A volume is like this now.
    pub fn put_volume(&mut self, volume: Volume) {
        self.take_volume(&volume.name);
        match &volume.claim {
            Some((key, _)) => drop(self.kept.entry(key.clone()).or_default().insert(volume.name.clone())),
            None => drop(self.free.insert(volume.name.clone())),
        }
        self.volumes.insert(volume.name.clone(), volume);
    }

    /// A volume is gone.
    pub fn take_volume(&mut self, name: &str) {
        self.unread.remove(&Key::new("", name));
        let Some(volume) = self.volumes.remove(name) else { return };
        self.free.remove(name);
        if let Some((key, _)) = &volume.claim {
            drop_from(&mut self.kept, key, &volume.name);
        }
    }

    /// A claim.
    pub fn claim(&self, key: &Key) -> Option<&Claim> {
        self.claims.get(key)
    }

    /// A volume.
    pub fn volume(&self, name: &str) -> Option<&Volume> {
        self.volumes.get(name)
    }

    /// All claims, and all volumes.
    pub fn all(&self) -> (impl Iterator<Item = &Claim>, impl Iterator<Item = &Volume>) {
        (self.claims.values(), self.volumes.values())
    }

    /// The claims that have no volume.
    pub fn unbound(&self) -> impl Iterator<Item = &Key> {
        self.unbound.iter()
    }

    /// The volumes that are a claim's, or are kept for it.
    pub fn kept(&self, claim: &Key) -> impl Iterator<Item = &Volume> {
        self.kept.get(claim).into_iter().flatten().filter_map(|name| self.volumes.get(name))
    }

    /// The class of claims that name none: of several the newest, as upstream has it.
    pub fn default_class(&self) -> Option<&str> {
        let all = self.classes.iter().filter_map(|(name, class)| Some((Reverse(class.default?), name)));
        all.min().map(|(_, name)| name.as_str())
    }

    /// Whether a claim gets its volume only once it is known on which node a pod uses it.
    pub fn delayed(&self, claim: &Claim) -> bool {
        self.classes.get(&claim.class).is_some_and(|class| class.waits)
    }

    /// The volume that suits a claim: one that is kept for it, else, of those that are `free`, the smallest that is large enough.
    pub fn best(&self, claim: &Claim, free: impl Fn(&Volume) -> bool) -> Option<&Volume> {
        // Whoever keeps it for the claim knows better of what class it is to be.
        let own =
            |volume: &&Volume| !volume.going && volume.is_of(claim) && claim.unlike(volume, true).is_none();
        let others = self.free.iter().filter_map(|name| self.volumes.get(name));
        let others = others.filter(|volume| !volume.going && claim.mismatch(volume).is_none());
        let others =
            others.filter(|volume| volume.phase == "Available" && claim.selects(volume) && free(volume));
        self.kept(&claim.key).find(own).or_else(|| others.min_by_key(|volume| volume.gives.size))
    }
}

//! The hands of podbox's own provisioner: directories below the state directory, one for each claim that asks for one here.
//!
//! ```text
//!   claim, told to be made here ──▶ a directory ──▶ its volume, already the claim's
//!   volume, Released, to be deleted ──▶ the directory goes ──▶ the volume goes
//! ```
//!
//! What is made or goes, and as what, `control::volumes::provision` decides. Invariant: a directory is there before its volume and goes
//! before it, and only what has a name of podbox's making goes: however often podbox is killed in between, no data are lost and none stay.

use crate::api::error::chain;
use crate::api::objects::{Seen, Target, Writes};
use crate::api::status::ApiError;
use crate::control::action::Edit;
use crate::control::queue::Queue;
use crate::control::volumes::provision::{self, End, FINALIZER, NAME};
use crate::pod::pretend;
use crate::sandbox::tree;
use crate::store::{Batch, Change, Entry, Expired, Happened, Key, Store, Watch};
use crate::{chance, clock, limits};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const CLAIMS: &str = "/persistentvolumeclaims";
const VOLUMES: &str = "/persistentvolumes";
const NODES: &str = "/nodes";
const CLASSES: &str = "storage.k8s.io/storageclasses";
/// What is followed.
const FOLLOWED: [&str; 3] = [CLAIMS, VOLUMES, CLASSES];

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Work {
    Claim(Key),
    Volume(Key),
}

/// Makes volumes, and takes their data away.
pub struct Provisioner<W> {
    store: Store,
    hand: Hand<W>,
    queue: Queue<Work>,
    running: JoinSet<(Work, bool)>,
    start: Instant,
}

/// What one piece of work needs.
#[derive(Clone)]
struct Hand<W> {
    writes: W,
    node: String,
    directory: PathBuf,
}

enum Event {
    /// Of what is followed.
    Changes(usize, Result<Batch, Expired>),
    Ended(Work, bool),
    Time,
}

impl<W: Writes> Provisioner<W> {
    /// For the node of this name; volumes lie in this directory.
    pub fn new(store: Store, writes: W, node: String, directory: PathBuf) -> Self {
        let hand = Hand { writes, node, directory };
        Provisioner { store, hand, queue: Queue::default(), running: JoinSet::new(), start: clock::instant() }
    }

    /// Runs until it is dropped.
    pub async fn run(mut self) {
        let mut watches = FOLLOWED.map(|collection| self.begin(collection));
        loop {
            self.work();
            match self.select(&mut watches).await {
                Event::Changes(which, Ok(batch)) => {
                    batch.changes.iter().for_each(|change| self.touch(FOLLOWED[which], change));
                }
                Event::Changes(which, Err(_)) => watches[which] = self.begin(FOLLOWED[which]),
                Event::Ended(work, true) => self.queue.done(&work),
                Event::Ended(work, false) => self.queue.failed(&work, self.now()),
                Event::Time => {}
            }
        }
    }

    async fn select(&mut self, [claims, volumes, classes]: &mut [Watch; 3]) -> Event {
        // Where no more may be under way, an end makes room.
        let next = self.queue.next_time().filter(|_| self.running.len() < limits::VOLUMES_AT_ONCE);
        let time = next.map_or(limits::CONTROL_IDLE, |at| at.saturating_sub(self.now()));
        tokio::select! {
            Some(ended) = self.running.join_next() => match ended {
                Ok((work, done)) => Event::Ended(work, done),
                // A panic, which was told where it happened.
                Err(_) => Event::Time,
            },
            batch = claims.next() => Event::Changes(0, batch),
            batch = volumes.next() => Event::Changes(1, batch),
            batch = classes.next() => Event::Changes(2, batch),
            () = tokio::time::sleep(time) => Event::Time,
        }
    }

    /// Looks at all objects of a collection; the watch goes on from there.
    fn begin(&mut self, collection: &'static str) -> Watch {
        loop {
            // From the newest revision, history is always there.
            let Ok((page, watch)) = self.store.list_and_watch(collection, None) else { continue };
            page.entries
                .iter()
                .filter_map(|entry| work(collection, &entry.key))
                .for_each(|work| self.queue.add(work));
            return watch;
        }
    }

    /// Something has changed.
    fn touch(&mut self, collection: &'static str, change: &Change) {
        let Entry { key, bytes, .. } = &*change.entry;
        if let Some(work) = work(collection, key) {
            self.queue.add(work);
        }
        match collection {
            // Whoever had it taken away before its claim had it: the claim gets another one.
            VOLUMES if change.happened == Happened::Deleted => {
                let volume = serde_json::from_slice::<PersistentVolume>(bytes).ok();
                let claim = volume.and_then(|volume| volume.spec?.claim_ref);
                let word = |field: Option<String>| field.unwrap_or_default();
                let claim = claim.map(|claim| Key::new(&word(claim.namespace), &word(claim.name)));
                claim.into_iter().for_each(|claim| self.queue.add(Work::Claim(claim)));
            }
            // What could not be made may be possible now.
            CLASSES => {
                let Ok(page) = self.store.list(CLAIMS, None, None, 0, None) else { return };
                for claim in page.entries.iter().map(|entry| Work::Claim(entry.key.clone())) {
                    self.queue.forgive(&claim);
                    self.queue.add(claim);
                }
            }
            _ => {}
        }
    }

    /// Begins what is to be done.
    fn work(&mut self) {
        while self.running.len() < limits::VOLUMES_AT_ONCE {
            let now = self.now();
            let Some(work) = self.queue.take(now) else { return };
            if self.queue.pauses(&work, now) {
                self.queue.paused(&work);
                continue;
            }
            match &work {
                Work::Claim(key) => match self.wanted(key) {
                    Some((claim, class, node)) => {
                        let hand = self.hand.clone();
                        self.running.spawn(async move { (work, hand.make(claim, class, &node).await) });
                    }
                    None => self.queue.done(&work),
                },
                Work::Volume(key) => match self.ended(key) {
                    Some((volume, end)) => {
                        let hand = self.hand.clone();
                        self.running.spawn(async move { (work, hand.end(volume, end).await) });
                    }
                    None => self.queue.done(&work),
                },
            }
        }
    }

    /// A claim whose volume is to be made here, its class, and the node that the volume is of.
    fn wanted(&self, key: &Key) -> Option<(PersistentVolumeClaim, StorageClass, String)> {
        let claim: PersistentVolumeClaim = self.read(CLAIMS, key)?;
        let class = claim.spec.as_ref()?.storage_class_name.as_deref().filter(|name| !name.is_empty())?;
        let class = self.read(CLASSES, &Key::new("", class))?;
        // Simulated nodes have no disk. Their volumes are directories of this one that stay empty.
        let simulated = provision::selected(&claim).filter(|name| {
            self.read(NODES, &Key::new("", name)).is_some_and(|node: Value| pretend::is_simulated(&node))
        });
        let node = simulated.unwrap_or(&self.hand.node).to_owned();
        provision::is_wanted(&claim, &class, &node).then_some((claim, class, node))
    }

    fn ended(&self, key: &Key) -> Option<(PersistentVolume, End)> {
        let volume = self.read(VOLUMES, key)?;
        let end = provision::end(&volume)?;
        Some((volume, end))
    }

    fn read<T: DeserializeOwned>(&self, collection: &str, key: &Key) -> Option<T> {
        serde_json::from_slice(&self.store.get(collection, key)?.bytes).ok()
    }

    fn now(&self) -> Duration {
        clock::instant().saturating_duration_since(self.start)
    }
}

fn work(collection: &str, key: &Key) -> Option<Work> {
    match collection {
        CLAIMS => Some(Work::Claim(key.clone())),
        VOLUMES => Some(Work::Volume(key.clone())),
        _ => None,
    }
}

impl<W: Writes> Hand<W> {
    /// Makes a claim's volume; tells whether that was done.
    async fn make(&self, claim: PersistentVolumeClaim, class: StorageClass, node: &str) -> bool {
        let word = |field: &Option<String>| field.clone().unwrap_or_default();
        let (namespace, name) = (word(&claim.metadata.namespace), word(&claim.metadata.name));
        let uid = word(&claim.metadata.uid);
        let (at, volume) = (target("PersistentVolumeClaim", &namespace, &name), provision::name(&uid));
        let path = self.directory.join(&volume);
        let made = match provision::volume(&claim, &class, (node, &path.to_string_lossy())) {
            Err(why) => Err(why),
            Ok(object) => {
                let told =
                    format!("External provisioner is provisioning volume for claim \"{namespace}/{name}\"");
                self.tell(&at, &uid, ("Normal", "Provisioning"), told).await;
                self.create(&path, object).await
            }
        };
        match &made {
            Ok(()) => {
                let told = format!("Successfully provisioned volume {volume}");
                self.tell(&at, &uid, ("Normal", "ProvisioningSucceeded"), told).await;
            }
            Err(why) => {
                let class = word(&class.metadata.name);
                let told = format!("failed to provision volume with StorageClass {class:?}: {why}");
                self.tell(&at, &uid, ("Warning", "ProvisioningFailed"), told).await;
            }
        }
        made.is_ok()
    }

    async fn create(&self, path: &Path, object: Value) -> Result<(), String> {
        let (directory, path) = (self.directory.clone(), path.to_owned());
        let made = tokio::task::spawn_blocking(move || {
            make(&directory, &path).map_err(|error| format!("making {} failed: {error}", path.display()))
        });
        made.await.map_err(|error| error.to_string())??;
        match self.writes.create(object).await {
            // It is there already: podbox was killed before it could be told.
            Err(error) if error.reason != "AlreadyExists" => Err(error.to_string()),
            _ => Ok(()),
        }
    }

    /// Takes a volume's data away, and then the volume; tells whether that was done.
    async fn end(&self, volume: PersistentVolume, end: End) -> bool {
        let name = volume.metadata.name.clone().unwrap_or_default();
        let uid = volume.metadata.uid.clone().unwrap_or_default();
        let at = target("PersistentVolume", "", &name);
        let removed = match end {
            End::Remove => self.remove(&volume, &name).await,
            End::Release => Ok(()),
        };
        let ended = match removed {
            Ok(()) => self.let_go(&at, &uid).await.map_err(|error| error.to_string()),
            Err(why) => Err(why),
        };
        if let Err(why) = &ended {
            self.tell(&at, &uid, ("Warning", "VolumeFailedDelete"), why.clone()).await;
        }
        ended.is_ok()
    }

    async fn remove(&self, volume: &PersistentVolume, name: &str) -> Result<(), String> {
        let path = self.directory.join(name);
        let local = volume.spec.as_ref().and_then(|spec| spec.local.as_ref());
        let own = local.is_some_and(|local| Path::new(&local.path) == path);
        if !own || !name.starts_with("pvc-") || name.contains('/') {
            return Err(format!("{NAME} has not made what is at the path of {name}, and leaves it alone"));
        }
        let removed = tokio::task::spawn_blocking(move || match tree::remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(format!("removing {} failed: {}", path.display(), chain(&error)))
            }
            _ => Ok(()),
        });
        removed.await.map_err(|error| error.to_string())?
    }

    async fn let_go(&self, at: &Target, uid: &str) -> Result<(), ApiError> {
        let seen = Seen { uid: uid.to_owned(), revision: None };
        let gone = |done: Result<bool, ApiError>| match done {
            Err(error) if error.code == 404 => Ok(()),
            done => done.map(drop),
        };
        gone(self.writes.delete(at, &seen, None).await)?;
        let release = Edit::Release(FINALIZER);
        gone(self.writes.edit(at, "", &seen, |object| release.apply(object)).await)
    }

    async fn tell(&self, at: &Target, uid: &str, (of, reason): (&str, &str), message: String) {
        let now = crate::api::object::time(clock::wall());
        let namespace = if at.namespace.is_empty() { "default" } else { &at.namespace };
        let suffix = u64::from_be_bytes(chance::bytes());
        let mut about = json!({"apiVersion": "v1", "kind": &*at.kind, "name": at.name, "uid": uid});
        if !at.namespace.is_empty() {
            about["namespace"] = at.namespace.clone().into();
        }
        let event = json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": format!("{}.{suffix:016x}", at.name), "namespace": namespace},
            "involvedObject": about,
            "type": of,
            "reason": reason,
            "message": message,
            "source": {"component": NAME, "host": self.node},
            "reportingComponent": NAME,
            "reportingInstance": self.node,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        });
        if let Err(error) = self.writes.create(event).await {
            tracing::debug!("an event of {} was not recorded: {error}", at.name);
        }
    }
}

/// Makes a volume's directory, if it is not there: everybody's within, so that containers of any user can use it, in one that is root's
/// alone.
fn make(directory: &Path, path: &Path) -> io::Result<()> {
    let mut private = DirBuilder::new();
    private.recursive(true).mode(0o700).create(directory)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    fs::set_permissions(path, Permissions::from_mode(0o777))
}

fn target(kind: &'static str, namespace: &str, name: &str) -> Target {
    let (namespace, name) = (namespace.to_owned(), name.to_owned());
    Target { api_version: "v1".into(), kind: kind.into(), namespace, name }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::tests::World;
    use crate::control::volumes;

    /// A cluster whose claims are bound, and this node, `n`, which makes volumes below a directory.
    async fn world() -> (World, tempfile::TempDir) {
        let (world, dir) = (World::new().await, tempfile::tempdir().unwrap());
        for name in ["n", "other"] {
            world.create(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})).await;
        }
        let path = dir.path().join("volumes");
        let provisioner = Provisioner::new(world.store.clone(), world.objects.clone(), "n".into(), path);
        tokio::spawn(provisioner.run());
        tokio::spawn(volumes::run::run(world.store.clone(), world.objects.clone()));
        (world, dir)
    }

    fn claim(name: &str, class: &str, node: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": "default", "annotations": {"volume.kubernetes.io/selected-node": node}},
            "spec": {
                "storageClassName": class, "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}},
            },
        })
    }

    fn is_bound(world: &World, name: &str) -> bool {
        world.get(CLAIMS, name).is_some_and(|claim| claim["status"]["phase"] == "Bound")
    }

    fn volume_of(world: &World, claim: &str) -> String {
        world.get(CLAIMS, claim).unwrap()["spec"]["volumeName"].as_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn a_claim_gets_a_directory_which_goes_with_it() {
        let (world, dir) = world().await;
        world.create(claim("theirs", "local", "other")).await;
        world.create(claim("c", "local", "n")).await;
        world.until(CLAIMS, |world| is_bound(world, "c")).await;
        let volume = volume_of(&world, "c");
        let path = dir.path().join("volumes").join(&volume);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o777);
        fs::write(path.join("data"), "kept").unwrap();
        assert!(!is_bound(&world, "theirs"), "it is for another node");
        let at = target("PersistentVolumeClaim", "default", "c");
        Writes::delete(&world.objects, &at, &Seen::default(), None).await.unwrap();
        let there = |world: &World| world.store.get(VOLUMES, &Key::new("", &volume)).is_some();
        world.until(VOLUMES, |world| !there(world)).await;
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_another_has_made_stays_though_it_says_that_it_is_ours() {
        let (world, dir) = world().await;
        let path = dir.path().join("theirs");
        fs::create_dir(&path).unwrap();
        let mut made = claim("c", "local", "n");
        made["metadata"]["uid"] = "gone".into();
        let (made, class) = (
            serde_json::from_value(made).unwrap(),
            StorageClass { provisioner: NAME.into(), ..StorageClass::default() },
        );
        world.create(provision::volume(&made, &class, ("n", &path.to_string_lossy())).unwrap()).await;
        let told =
            |world: &World| world.list("/events").iter().any(|event| event["reason"] == "VolumeFailedDelete");
        world.until("/events", told).await;
        assert!(path.exists());
    }

    #[tokio::test]
    async fn what_a_class_asks_for_in_vain_is_made_once_it_does_not() {
        let (world, _dir) = world().await;
        let class = |name: &str, parameters: Value| {
            json!({
                "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name},
                "provisioner": NAME, "parameters": parameters, "volumeBindingMode": "WaitForFirstConsumer",
            })
        };
        world.create(class("odd", json!({"type": "ssd"}))).await;
        world.create(claim("c", "odd", "n")).await;
        let told =
            |world: &World| world.list("/events").iter().any(|event| event["reason"] == "ProvisioningFailed");
        world.until("/events", told).await;
        let mut at = target("StorageClass", "", "odd");
        at.api_version = "storage.k8s.io/v1".into();
        Writes::delete(&world.objects, &at, &Seen::default(), None).await.unwrap();
        world.create(class("odd", json!({}))).await;
        world.until(CLAIMS, |world| is_bound(world, "c")).await;
    }
}

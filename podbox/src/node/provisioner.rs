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
use crate::sandbox::tree;
use crate::store::{Batch, Expired, Key, Store, Watch};
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
const CLASSES: &str = "storage.k8s.io/storageclasses";

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
    Changes(bool, Result<Batch, Expired>),
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
        let (mut claims, mut volumes) = (self.begin(CLAIMS), self.begin(VOLUMES));
        loop {
            self.work();
            match self.select(&mut claims, &mut volumes).await {
                Event::Changes(true, batch) => self.note(&mut claims, CLAIMS, batch),
                Event::Changes(false, batch) => self.note(&mut volumes, VOLUMES, batch),
                Event::Ended(work, true) => self.queue.done(&work),
                Event::Ended(work, false) => self.queue.failed(&work, self.now()),
                Event::Time => {}
            }
        }
    }

    async fn select(&mut self, claims: &mut Watch, volumes: &mut Watch) -> Event {
        let time = self.queue.next_time().map_or(limits::CONTROL_IDLE, |at| at.saturating_sub(self.now()));
        tokio::select! {
            Some(ended) = self.running.join_next() => match ended {
                Ok((work, done)) => Event::Ended(work, done),
                // A panic, which was told where it happened.
                Err(_) => Event::Time,
            },
            batch = claims.next() => Event::Changes(true, batch),
            batch = volumes.next() => Event::Changes(false, batch),
            () = tokio::time::sleep(time) => Event::Time,
        }
    }

    /// Looks at all objects of a collection; the watch goes on from there.
    fn begin(&mut self, collection: &'static str) -> Watch {
        loop {
            // From the newest revision, history is always there.
            let Ok((page, watch)) = self.store.list_and_watch(collection, None) else { continue };
            page.entries.iter().for_each(|entry| self.queue.add(work(collection, &entry.key)));
            return watch;
        }
    }

    fn note(&mut self, watch: &mut Watch, collection: &'static str, batch: Result<Batch, Expired>) {
        match batch {
            Ok(batch) => {
                batch.changes.iter().for_each(|change| self.queue.add(work(collection, &change.entry.key)));
            }
            Err(_) => *watch = self.begin(collection),
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
                    Some((claim, class)) => {
                        let hand = self.hand.clone();
                        self.running.spawn(async move { (work, hand.make(claim, class).await) });
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

    fn wanted(&self, key: &Key) -> Option<(PersistentVolumeClaim, StorageClass)> {
        let claim: PersistentVolumeClaim = self.read(CLAIMS, key)?;
        let class = claim.spec.as_ref()?.storage_class_name.as_deref().filter(|name| !name.is_empty())?;
        let class = self.read(CLASSES, &Key::new("", class))?;
        provision::is_wanted(&claim, &class, &self.hand.node).then_some((claim, class))
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

fn work(collection: &str, key: &Key) -> Work {
    match collection {
        CLAIMS => Work::Claim(key.clone()),
        _ => Work::Volume(key.clone()),
    }
}

impl<W: Writes> Hand<W> {
    /// Makes a claim's volume; tells whether that was done.
    async fn make(&self, claim: PersistentVolumeClaim, class: StorageClass) -> bool {
        let word = |field: &Option<String>| field.clone().unwrap_or_default();
        let (namespace, name) = (word(&claim.metadata.namespace), word(&claim.metadata.name));
        let uid = word(&claim.metadata.uid);
        let (at, volume) = (target("PersistentVolumeClaim", &namespace, &name), provision::name(&uid));
        let path = self.directory.join(&volume);
        let made = match provision::volume(&claim, &class, (&self.node, &path.to_string_lossy())) {
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
        let gone = |done: Result<(), ApiError>| match done {
            Err(error) if error.code == 404 => Ok(()),
            done => done,
        };
        gone(self.writes.delete(at, &seen, None).await)?;
        let release = Edit::Release(FINALIZER);
        gone(self.writes.edit(at, "", &seen, |object| release.apply(object)).await.map(drop))
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

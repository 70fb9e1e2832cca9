//! What one pod's change costs the controllers, with few and with many pods stored that do not change.
//!
//! Store, API, controllers, scheduler and simulated nodes run in this process, as `podbox node` runs them, so that moments can be told
//! apart: when the store shows a change, when a controller begins the write that follows from it, and when the store shows that write,
//! durable. The change is to one pod of a Deployment of a hundred; all others are of other such Deployments, settled, on a hundred
//! nodes. They were not made one by one, but copied from the first hundred while nobody looked.

use crate::node::Ground;
use crate::stats::{Report, Samples};
use anyhow::{Context, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use podbox::api::kinds::Kinds;
use podbox::api::lifecycle::Propagation;
use podbox::api::objects::{ObjectRef, Objects, Seen, Target, Writes};
use podbox::api::simulate::Span;
use podbox::api::status::ApiError;
use podbox::auth::certificate;
use podbox::auth::token::Tokens;
use podbox::control::catalog::Catalog;
use podbox::control::manager;
use podbox::control::scheduler::run::{self as scheduler, Hint};
use podbox::fleet::{self, Fleet};
use podbox::pod::pretend::{self, Stage, Telling};
use podbox::server::api::Api;
use podbox::server::api::local::Local;
use podbox::store::{Expected, Happened, Key, Store, Watch};
use podbox::{chance, clock};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// So many pods are stored.
const SIZES: [usize; 3] = [1000, 10_000, 100_000];
/// Pods of one Deployment.
const REPLICAS: usize = 100;
const NODES: u32 = 100;
/// So many pods each of them takes.
const ROOM: &str = "2000";
/// How long the store has to be quiet until a world counts as settled.
const QUIET: Duration = Duration::from_secs(2);
/// Between two changes.
const PAUSE: Duration = Duration::from_millis(20);
/// How long anything may take before the benchmark gives up.
const PATIENCE: Duration = Duration::from_secs(120);
/// Where things are.
const PODS: &str = "/pods";
const SETS: &str = "apps/replicasets";
const DEPLOYMENTS: &str = "apps/deployments";

/// Samples all of it; so many changes of each kind, five times over.
pub async fn run(ground: &Ground, samples: usize, report: &mut Report) -> Result<()> {
    let mut costs = Vec::new();
    for size in SIZES {
        eprintln!("react: {size} pods");
        let path = ground.path().join(format!("react-{size}"));
        let found = one(&path, size, samples * 5).await?;
        std::fs::remove_dir_all(&path)?;
        report.line(format!("{size} pods stored:"));
        let (decided, seen) = (found.decided.p99_ms(), found.shown.median_ms());
        report.table(&[found.alone, found.shown, found.decided, found.replaced, found.replacing]);
        report.line(format!("  processor time per change, of all that follows: {:.0} µs", found.processor));
        costs.push((size, found.processor));
        report.figure(&format!("write_seen_{size}_p50"), seen, "ms");
        match size == SIZES[SIZES.len() - 1] {
            true => report.at_most(&format!("decided_{size}_p99"), decided, "ms", 1.0),
            false => report.figure(&format!("decided_{size}_p99"), decided, "ms"),
        }
        report.figure(&format!("processor_per_change_{size}"), found.processor, "µs");
    }
    if let [(_, few), .., (_, many)] = costs.as_slice() {
        report.at_most("processor_per_change_100000_of_1000", many / few, "", 2.0);
    }
    Ok(())
}

/// What was found with so many pods.
struct Found {
    /// A write by itself: from the call to the moment in which the store shows it.
    alone: Samples,
    /// From a change of a pod to its ReplicaSet's new status, each in the moment in which the store shows it.
    shown: Samples,
    /// From the first to the moment in which that write begins.
    decided: Samples,
    /// From a pod's end to its replacement, each shown.
    replaced: Samples,
    /// From the first to the moment in which the write of the second begins.
    replacing: Samples,
    /// Microseconds of all processors for one change with all that follows from it.
    processor: f64,
}

/// Who writes for the controllers, and when it began what.
#[derive(Clone)]
struct Timed {
    writes: Local,
    begun: Arc<Mutex<BTreeMap<&'static str, Instant>>>,
}

impl Timed {
    fn begin(&self, what: &'static str) {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).insert(what, clock::instant());
    }

    /// When the last such write began.
    fn begun(&self, what: &'static str) -> Result<Instant> {
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.get(what).copied().with_context(|| format!("nobody wrote: {what}"))
    }
}

const STATUS: &str = "the status of a ReplicaSet";
const POD: &str = "a new pod";

impl Writes for Timed {
    async fn create(&self, object: Value) -> Result<String, ApiError> {
        if object["kind"] == "Pod" {
            self.begin(POD);
        }
        Writes::create(&self.writes, object).await
    }

    async fn edit(
        &self,
        at: &Target,
        part: &'static str,
        seen: &Seen,
        edit: impl Fn(&mut Value) + Send + Sync,
    ) -> Result<bool, ApiError> {
        if *at.kind == *"ReplicaSet" && part == "status" {
            self.begin(STATUS);
        }
        self.writes.edit(at, part, seen, edit).await
    }

    async fn delete(&self, at: &Target, seen: &Seen, to: Option<Propagation>) -> Result<bool, ApiError> {
        Writes::delete(&self.writes, at, seen, to).await
    }

    async fn remove(&self, at: &Target, seen: &Seen) -> Result<bool, ApiError> {
        Writes::remove(&self.writes, at, seen).await
    }
}

/// A control plane in this process.
struct Plane {
    store: Store,
    objects: Local,
    timed: Timed,
    loops: JoinSet<()>,
    /// Kept, for the scheduler asks.
    _short: watch::Sender<BTreeSet<podbox::api::pressure::Condition>>,
}

impl Plane {
    async fn start(path: &Path) -> Result<Plane> {
        let store = Store::open(path)?;
        let tokens = Tokens::new(&certificate::key()?)?;
        let api = Arc::new(Api::new(store.clone(), Kinds::new(), "127.0.0.1:6443".into(), tokens));
        api.furnish().await?;
        let of = |name| Local::new(Arc::clone(&api), name);
        let objects = of("podbox-bench");
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "default"}});
        objects.ensure(account).await?;
        let timed = Timed { writes: of("kube-controller-manager"), begun: Arc::default() };
        let mut loops = JoinSet::new();
        loops.spawn(manager::run(store.clone(), timed.clone(), Catalog::new(&api.kinds())));
        let short = watch::Sender::new(BTreeSet::new());
        let hint = Hint { node: "none".to_owned(), short: short.subscribe() };
        loops.spawn(scheduler::run(store.clone(), of("kube-scheduler"), hint));
        let options = fleet::Options { nodes: NODES, start: Span::Never };
        let fleet = Fleet::muster(store.clone(), of("podbox-simulated"), options).await;
        loops.spawn(fleet.run());
        Ok(Plane { store, objects, timed, loops, _short: short })
    }

    async fn end(mut self) {
        self.loops.shutdown().await;
        drop(self.objects);
        self.store.close().await;
    }

    /// Waits until nothing is written any more but signs of life.
    async fn settle(&self) -> Result<()> {
        let collections = [PODS, SETS, DEPLOYMENTS, "/nodes", "/events"];
        let mut watches = Vec::new();
        for collection in collections {
            watches.push(self.store.watch(collection, None, self.store.revision())?);
        }
        let quiet = async {
            loop {
                let changes =
                    futures_util::future::select_all(watches.iter_mut().map(|watch| Box::pin(watch.next())));
                if tokio::time::timeout(QUIET, changes).await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, quiet).await.context("the world does not settle")
    }

    fn list(&self, collection: &str) -> Result<Vec<Arc<podbox::store::Entry>>> {
        Ok(self.store.list(collection, Some("default"), None, 0, None)?.entries)
    }

    /// A pod of the first Deployment, whose names come first.
    fn first_pod(&self) -> Result<Arc<podbox::store::Entry>> {
        let first = self.store.list(PODS, Some("default"), None, 1, None)?.entries.pop();
        first.context("the first Deployment has pods")
    }

    /// Nodes with room, and a Deployment whose pods are Ready.
    async fn first(&self) -> Result<()> {
        for number in 0..NODES {
            let roomy = |node: &mut Value| {
                for of in ["capacity", "allocatable"] {
                    node["status"][of]["pods"] = ROOM.into();
                }
            };
            self.objects.update_status(&ObjectRef::node(&format!("sim-{number}")), roomy).await?;
        }
        let container = json!({"name": "main", "image": "registry.example/app:1"});
        let template = json!({"metadata": {"labels": {"app": FIRST}}, "spec": {"containers": [container]}});
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": FIRST, "namespace": "default"},
            "spec": {"replicas": REPLICAS, "selector": {"matchLabels": {"app": FIRST}}, "template": template},
        });
        self.objects.ensure(deployment).await?;
        self.settle().await?;
        let pods = self.list(PODS)?;
        ensure!(pods.len() == REPLICAS, "there are {} pods", pods.len());
        for pod in &pods {
            self.tell(&pod.key, true).await?;
        }
        self.settle().await
    }

    /// Lets what follows from the last change come to its end.
    async fn pause(&self) {
        tokio::time::sleep(PAUSE).await;
    }

    /// Says whether a pod is Ready.
    async fn tell(&self, key: &Key, ready: bool) -> Result<()> {
        let now = podbox::api::object::time(clock::wall());
        let stage = if ready { Stage::Ready } else { Stage::Running };
        let telling = Telling { stage, restarts: 0, address: "100.64.0.9", host: "100.64.0.1", now: &now };
        let at = ObjectRef::pod(key.namespace(), key.name());
        self.objects.update_status(&at, |pod| pod["status"] = pretend::status(pod, &telling)).await?;
        Ok(())
    }
}

/// The name of the first Deployment; others' have as many letters.
const FIRST: &str = "copy-0000";

/// Copies the first Deployment, its ReplicaSet and its pods until there are so many pods.
async fn copy(store: &Store, pods: usize) -> Result<()> {
    let mut templates = Vec::new();
    for collection in [DEPLOYMENTS, SETS, PODS] {
        for entry in store.list(collection, Some("default"), None, 0, None)?.entries {
            let object: Value = serde_json::from_slice(&entry.bytes)?;
            let uid = object["metadata"]["uid"].as_str().context("it has a uid")?.to_owned();
            templates.push((collection, entry.key.clone(), String::from_utf8(entry.bytes.to_vec())?, uid));
        }
    }
    let owners: Vec<String> =
        templates.iter().filter(|(of, ..)| *of != PODS).map(|(.., uid)| uid.clone()).collect();
    let mut puts = JoinSet::new();
    for number in 1..pods / REPLICAS {
        let name = format!("copy-{number:04}");
        let fresh: Vec<String> = owners.iter().map(|_| chance::uid()).collect();
        for (collection, key, text, uid) in &templates {
            let mut text = text.replace(FIRST, &name);
            for (old, new) in owners.iter().zip(&fresh) {
                text = text.replace(old, new);
            }
            if !owners.contains(uid) {
                text = text.replace(uid, &chance::uid());
            }
            let key = Key::raw(&key.as_str().replace(FIRST, &name));
            let (store, collection) = (store.clone(), *collection);
            puts.spawn(async move {
                let make = move |revision| at_revision(&text, revision).into();
                store.put(collection, &key, Expected::Absent, make).await.map(drop)
            });
            while puts.len() >= 512 {
                puts.join_next().await.context("there are some")???;
            }
        }
    }
    while let Some(done) = puts.join_next().await {
        done??;
    }
    Ok(())
}

/// An object's text with this revision, which the store's own texts begin with.
fn at_revision(text: &str, revision: u64) -> String {
    const FIELD: &str = "\"resourceVersion\":\"";
    let Some((head, rest)) = text.split_once(FIELD) else { return text.to_owned() };
    let tail = rest.split_once('"').map_or("", |(_, tail)| tail);
    format!("{head}{FIELD}{revision}\"{tail}")
}

/// A world with so many pods, and so many changes of each kind to it.
async fn one(path: &Path, size: usize, samples: usize) -> Result<Found> {
    let plane = Plane::start(path).await?;
    plane.first().await?;
    plane.end().await;
    let store = Store::open(path)?;
    copy(&store, size).await?;
    store.close().await;
    drop(store);
    let plane = Plane::start(path).await?;
    plane.settle().await?;
    let stored = plane.list(PODS)?.len();
    ensure!(stored == size, "there are {stored} pods");
    // The first change is seen once all that there is was looked at.
    changes(&plane, 2).await?;
    let found = changes(&plane, samples).await?;
    plane.end().await;
    Ok(found)
}

/// The changes.
async fn changes(plane: &Plane, samples: usize) -> Result<Found> {
    let store = &plane.store;
    let key = plane.first_pod()?.key.clone();
    // It may have taken another one's place.
    plane.tell(&key, true).await?;
    plane.settle().await?;
    let mut pods = store.watch(PODS, None, store.revision())?;
    let mut sets = store.watch(SETS, None, store.revision())?;
    let (mut alone, mut shown, mut decided) = (Vec::new(), Vec::new(), Vec::new());
    let before = processor()?;
    for number in 0..samples {
        plane.tell(&key, number % 2 == 1).await?;
        let changed = next(&mut pods).await?;
        let told = next(&mut sets).await?;
        shown.push(told - changed);
        decided.push(plane.timed.begun(STATUS)?.saturating_duration_since(changed));
        plane.pause().await;
    }
    let processor = (processor()? - before).as_secs_f64() * 1e6 / samples as f64;
    for number in 0..samples {
        let at = ObjectRef {
            api_version: "v1",
            kind: "ServiceAccount",
            namespace: "default".to_owned(),
            name: "default".to_owned(),
        };
        let mut accounts = store.watch("/serviceaccounts", None, store.revision())?;
        let began = clock::instant();
        let note =
            |account: &mut Value| account["metadata"]["annotations"]["number"] = number.to_string().into();
        plane.objects.update(&at, note).await?;
        alone.push(next(&mut accounts).await? - began);
    }
    let (mut replaced, mut replacing) = (Vec::new(), Vec::new());
    for _ in 0..samples {
        let pod = plane.first_pod()?;
        let object: Value = serde_json::from_slice(&pod.bytes)?;
        let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
        let mut pods = store.watch(PODS, None, store.revision())?;
        Objects::remove(&plane.objects, &ObjectRef::pod("default", pod.key.name()), uid).await?;
        let [gone, come] = all(&mut pods, [Happened::Deleted, Happened::Added]).await?;
        replaced.push(come.saturating_duration_since(gone));
        replacing.push(plane.timed.begun(POD)?.saturating_duration_since(gone));
        plane.pause().await;
    }
    Ok(Found {
        alone: Samples::new("  a write alone, shown", alone),
        shown: Samples::new("  readiness to its ReplicaSet's status", shown),
        decided: Samples::new("    of that until the write begins", decided),
        replaced: Samples::new("  end to its replacement", replaced),
        replacing: Samples::new("    of that until the write begins", replacing),
        processor,
    })
}

/// The moment in which the store shows the next change.
async fn next(watch: &mut Watch) -> Result<Instant> {
    let batch = tokio::time::timeout(PATIENCE, watch.next()).await;
    let at = clock::instant();
    batch.context("nobody does anything about it")??;
    Ok(at)
}

/// The moments in which the store shows a change of each of these kinds; two of them may be one.
async fn all<const N: usize>(watch: &mut Watch, such: [Happened; N]) -> Result<[Instant; N]> {
    let mut seen = [None; N];
    while seen.contains(&None) {
        let batch = tokio::time::timeout(PATIENCE, watch.next()).await;
        let at = clock::instant();
        let batch = batch.context("nobody does anything about it")??;
        for (seen, such) in seen.iter_mut().zip(such) {
            let there = batch.changes.iter().any(|change| change.happened == such);
            *seen = seen.or(there.then_some(at));
        }
    }
    Ok(seen.map(|at| at.expect("each was seen")))
}

/// What all threads of this process have spent on processors.
fn processor() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(u64::try_from(micros)?))
}

//! The pods that the API binds to this node: run, told of, and taken away when they are to go.
//!
//! ```text
//!   store: pods ──▶ bound to this node, and new ──▶ agent runs it
//!                   being deleted ────────────────▶ agent ends it within its grace period
//!                   said to be over by others ────▶ agent fails it
//!                   gone from the store ──────────▶ agent ends it at once
//!   memories ─────▶ ran under an earlier daemon ──▶ agent goes on with it, whatever is to become of it
//!   views ────────▶ status into the API ──▶ nothing left of a deleted pod: removed from the API
//! ```
//!
//! It decides nothing about containers; which pods are bound, `schedule` does. Invariant: a pod leaves the API only when nothing of it is left here.

use super::Node;
use super::agent::Agent;
use super::merge::merge_status;
use super::pressure::{self, Eviction};
use super::record::PodRecord;
use super::recorder::Notices;
use super::recover::{Memories, Wanted};
use super::sources::Desk;
use super::teller::{Teller, Written};
use super::untold::Untold;
use super::view::PodView;
use crate::api::admission;
use crate::api::identity::PodRef;
use crate::api::images::Images;
use crate::api::object;
use crate::api::objects::{ObjectRef, Objects};
use crate::api::pressure::Condition;
use crate::api::support::{self, Tokens};
use crate::pod::admit::{self, Rejection};
use crate::pod::fit::{self, Taken};
use crate::pod::glance::Glance;
use crate::pod::notice::Notice;
use crate::pod::observed::Verdict;
use crate::sandbox::runtime::Runtime;
use crate::store::{Change, Entry, Happened, Key, Store, Watch};
use crate::{clock, limits};
use k8s_openapi::api::core::v1::{Node as NodeObject, Pod, PodStatus};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Where pods are in the store.
pub(super) const PODS: &str = "/pods";
/// Where nodes are.
pub(super) const NODES: &str = "/nodes";
/// Why a pod failed that the node had no room for.
const EVICTED: &str = "Evicted";

/// Runs the pods of one node.
pub struct Bound<R, I, O> {
    store: Store,
    objects: Arc<O>,
    name: String,
    agent: Agent<R, I>,
    /// Gives pods what they refer to.
    desk: Desk<O>,
    views: watch::Receiver<BTreeMap<PodRef, PodView>>,
    teller: Teller<O>,
    untold: Arc<Untold>,
    /// Pods that will not be run, so that each is told once.
    refused: BTreeSet<String>,
    /// Pods that have had their run here, while the API has them: what it says of them may be older than that.
    ended: BTreeSet<String>,
    /// Pods that are being ended here though the API does not have them any more: their ends are nobody's news.
    departed: BTreeSet<String>,
    /// What pods of an earlier daemon go on from, until they do.
    memories: Memories,
    notices: Option<Notices>,
    /// What this node allows of unsafe kernel settings.
    allowed_sysctls: Vec<String>,
    /// What the node is short of.
    short: watch::Receiver<BTreeSet<Condition>>,
    /// Pods that are to go, since it is.
    evictions: mpsc::Receiver<Eviction>,
}

enum Event {
    Changes(Vec<Arc<Change>>),
    /// History went on without us: look at everything again.
    Behind,
    Views,
    /// A pod's status was told, or could not be.
    Told(Written),
    /// Nothing of the pod of this uid is left.
    Finished(String),
    /// The node makes a pod go.
    Evict(Eviction),
}

impl<R: Runtime, I: Images, O: Objects> Bound<R, I, O> {
    /// For the node of this name.
    pub fn new(
        (store, objects): (Store, O),
        name: String,
        node: &Node<R, I>,
        (agent, desk): (Agent<R, I>, Desk<O>),
        memories: Memories,
        (short, evictions): (watch::Receiver<BTreeSet<Condition>>, mpsc::Receiver<Eviction>),
    ) -> Self {
        let objects = Arc::new(objects);
        let teller = Teller::new(Arc::clone(&objects));
        let (refused, ended, departed) = Default::default();
        let (views, notices) = (node.views.watch(), node.notices.get().cloned());
        let untold = Arc::clone(&node.untold);
        let allowed_sysctls = node.config.allowed_unsafe_sysctls.clone();
        Bound {
            store,
            objects,
            name,
            agent,
            desk,
            views,
            teller,
            untold,
            refused,
            ended,
            departed,
            memories,
            notices,
            allowed_sysctls,
            short,
            evictions,
        }
    }

    /// Runs until it is dropped.
    pub async fn run(mut self) {
        let mut watch = self.begin().await;
        // Taken out of the API since it was asked what is wanted.
        for (uid, memory) in std::mem::take(&mut self.memories) {
            self.departed.insert(uid);
            self.agent.discard(memory);
        }
        loop {
            let event = self.select(&mut watch).await;
            match event {
                Event::Changes(changes) => {
                    for change in changes {
                        self.changed(&change).await;
                    }
                }
                Event::Behind => watch = self.begin().await,
                Event::Views => self.tell(),
                Event::Told(written) => self.written(&written),
                Event::Finished(uid) if self.departed.remove(&uid) => {}
                Event::Finished(uid) => drop(self.ended.insert(uid)),
                Event::Evict(Eviction { pod, message, grace }) => {
                    let verdict = Verdict { reason: EVICTED.to_owned(), message };
                    self.agent.fail(&pod.uid, verdict, Some(grace));
                }
            }
        }
    }

    async fn select(&mut self, watch: &mut Watch) -> Event {
        tokio::select! {
            batch = watch.next() => match batch {
                Ok(batch) => Event::Changes(batch.changes),
                Err(_) => Event::Behind,
            },
            Some(uid) = self.agent.next_finished() => Event::Finished(uid),
            Ok(()) = self.views.changed() => Event::Views,
            Some(written) = self.teller.next() => Event::Told(written),
            Some(eviction) = self.evictions.recv() => Event::Evict(eviction),
        }
    }

    /// Looks at every pod there is; the watch goes on from there.
    async fn begin(&mut self) -> Watch {
        loop {
            let page = self.store.list(PODS, None, None, 0, None);
            let Ok(page) = page else { continue };
            let Ok(watch) = self.store.watch(PODS, None, page.revision) else { continue };
            let there = page.entries.iter().filter_map(|entry| parsed(entry));
            let there: BTreeSet<String> = there.map(|pod| object::uid(&pod).to_owned()).collect();
            let here: Vec<String> = self.agent.pods().map(|record| record.pod.uid.clone()).collect();
            let known = here.iter().chain(&self.ended).chain(&self.refused);
            let gone: Vec<String> = known.filter(|uid| !there.contains(*uid)).cloned().collect();
            gone.iter().for_each(|uid| self.departs(uid));
            for entry in &page.entries {
                self.look(entry).await;
            }
            return watch;
        }
    }

    async fn changed(&mut self, change: &Change) {
        match change.happened {
            Happened::Added | Happened::Modified => self.look(&change.entry).await,
            Happened::Deleted => {
                let Some(pod) = parsed(&change.entry) else { return };
                self.departs(object::uid(&pod));
            }
        }
    }

    /// A pod has left the API. What runs of it here ends at once: whoever took it out did not wait for it.
    fn departs(&mut self, uid: &str) {
        self.ended.remove(uid);
        self.refused.remove(uid);
        if self.agent.has(uid) {
            self.departed.insert(uid.to_owned());
            self.agent.terminate_pod(uid, Duration::ZERO);
        }
    }

    async fn look(&mut self, entry: &Entry) {
        // Of those on other nodes there may be very many.
        let mine = |pod: &Glance<'_>| pod.node().map_or(pod.is_going(), |node| node == self.name);
        if !Glance::read(&entry.bytes).is_none_or(|pod| mine(&pod)) {
            return;
        }
        let Some(pod) = parsed(entry) else { return };
        let at = ObjectRef::pod(object::namespace(&pod), object::name(&pod));
        let uid = object::uid(&pod).to_owned();
        let own = PodRef { namespace: at.namespace.clone(), name: at.name.clone(), uid: uid.clone() };
        match pod["spec"]["nodeName"].as_str().unwrap_or_default() {
            // Its removal was begun, and not ended before a kill: it never was anywhere.
            "" if object::deleting(&pod) => return self.forget(at, uid),
            node if node == self.name => {}
            _ => return,
        }
        let (deleting, grace, lost) = (object::deleting(&pod), grace(&pod), !over(&pod));
        let new = !self.agent.has(&uid) && !self.ended.contains(&uid);
        if new && (self.memories.contains_key(&uid) || !deleting && lost) {
            self.accept(&at, &own, pod).await;
        } else {
            self.agent.change(&uid, &pod);
            match self.over_elsewhere(&own, &pod) {
                Some(verdict) => self.agent.fail(&uid, verdict, None),
                None => self.teller.look(&own, &pod),
            }
        }
        match (deleting, self.agent.has(&uid)) {
            (true, true) => self.agent.terminate_pod(&uid, grace),
            // One of which something is to be told yet goes after that.
            (true, false) if !self.views.borrow().contains_key(&own) => {
                self.refused.remove(&uid);
                self.teller.remove(at, uid, lost);
            }
            (true, false) => {}
            (false, _) => {}
        }
    }

    /// What somebody else says of a pod's end that this node has not told of: then it ends, as with a kubelet.
    fn over_elsewhere(&self, own: &PodRef, pod: &Value) -> Option<Verdict> {
        let ours = self.teller.latest(own)?.phase.as_deref();
        let word = |field: &str| pod["status"][field].as_str().unwrap_or_default().to_owned();
        let said = over(pod) && !matches!(ours, Some("Succeeded" | "Failed"));
        said.then(|| Verdict { reason: word("reason"), message: word("message") })
    }

    async fn accept(&mut self, at: &ObjectRef, own: &PodRef, pod: Value) {
        let uid = &own.uid;
        if self.refused.contains(uid) {
            return;
        }
        let parsed: Result<Pod, _> = serde_json::from_value(pod);
        let memory = self.memories.remove(uid);
        let judged = match &parsed {
            // It was accepted once.
            Ok(_) if memory.is_some() => Ok(()),
            Ok(pod) => self.judge(pod, uid),
            Err(error) => Err(unsupported(error.to_string())),
        };
        let pod = match (parsed, judged) {
            (Ok(pod), Ok(())) => pod,
            (_, Err(rejection)) => return self.refuse(at, uid, rejection).await,
            (Err(_), Ok(())) => return,
        };
        let sources = self.desk.of(own, admission::service_account_name(&pod));
        let accepted = memory.as_ref().map_or_else(clock::wall, |memory| memory.accepted);
        self.agent.resume(PodRecord::new(own.clone(), pod, sources, accepted), memory);
    }

    /// Whether this node takes a pod: what podbox does not honour, and what this node cannot give it.
    fn judge(&self, pod: &Pod, uid: &str) -> Result<(), Rejection> {
        let unknown = support::unsupported(pod, Tokens::ForApi);
        if !unknown.is_empty() {
            let fields: Vec<String> = unknown.iter().map(ToString::to_string).collect();
            return Err(unsupported(fields.join("; ")));
        }
        if let Some(message) = pressure::refusal(&self.short.borrow(), pod) {
            return Err(Rejection { reason: EVICTED.into(), message });
        }
        if let Some(node) = object_of(&self.store, &self.name) {
            fit::admits(pod, &node, &self.taken(uid))?;
        }
        admit::app_armor(pod, has_app_armor())?;
        admit::sysctls(pod, &self.allowed_sysctls)
    }

    /// What the other pods that run here have taken. No more than the scheduler counts, which sees a pod's end once the API
    /// does: else what it bound would be refused.
    fn taken(&self, uid: &str) -> Taken {
        let counts = |pod: &PodRef| {
            let phase = self.teller.latest(pod).and_then(|status| status.phase.as_deref());
            let over = matches!(phase, Some("Succeeded" | "Failed"));
            let stored = self.store.get(PODS, &Key::new(&pod.namespace, &pod.name));
            pod.uid != uid && !over && stored.is_some()
        };
        let mut taken = Taken::default();
        let here = self.agent.pods().filter(|record| counts(&record.pod));
        here.for_each(|record| taken.add(&record.manifest));
        taken
    }

    /// A pod that this node cannot run as it is asked to fails, and says why.
    async fn refuse(&mut self, at: &ObjectRef, uid: &str, Rejection { reason, message }: Rejection) {
        tracing::warn!("pod {}/{} is refused: {message}", at.namespace, at.name);
        self.refused.insert(uid.to_owned());
        if let Some(notices) = &self.notices {
            let (namespace, name, uid) = (at.namespace.clone(), at.name.clone(), uid.to_owned());
            let notice = Notice {
                part: None,
                warning: true,
                reason: reason.clone(),
                message: message.clone(),
                remark: None,
            };
            notices.tell(&PodRef { namespace, name, uid }, notice);
        }
        let message = format!("Pod was rejected: {message}");
        let now = clock::wall();
        let status = json!({
            "phase": "Failed", "reason": reason, "message": message, "startTime": object::time(now),
        });
        let set = |pod: &mut Value| {
            if object::uid(pod) == uid {
                merge_status(pod, &status, now);
                pod["status"]["observedGeneration"] = object::generation(pod).into();
            }
        };
        if let Err(error) = self.objects.update_status(at, set).await {
            tracing::warn!("telling of pod {}/{} failed: {error}", at.namespace, at.name);
        }
    }

    /// Tells the API what is new of the pods.
    fn tell(&mut self) {
        let views = self.views.borrow_and_update();
        self.teller.retain(|pod| views.contains_key(pod));
        self.untold.retain(|pod| views.contains_key(pod));
        let is_news = |(pod, view): &(&PodRef, &PodView)| {
            !self.teller.is_busy(pod) && (view.gone || !self.teller.has(pod, &view.status))
        };
        let news: Vec<PodRef> = views.iter().filter(is_news).map(|(pod, _)| pod.clone()).collect();
        drop(views);
        news.iter().for_each(|pod| self.tell_of(pod, None));
    }

    /// Goes on with a pod whose status was told, or could not be.
    fn written(&mut self, written: &Written) {
        let pod = &written.pod;
        self.tell_of(pod, Some(&written.status));
        if let Some(stored) = self.stored(pod).filter(|_| written.changed) {
            self.teller.look(pod, &stored);
        }
    }

    /// Tells what a pod is at, and takes it out of the API if nothing of it is left: whether it could be told or not, but not
    /// before that was tried.
    fn tell_of(&mut self, pod: &PodRef, tried: Option<&PodStatus>) {
        let Some(view) = self.views.borrow().get(pod).cloned() else { return };
        let told = self.teller.has(pod, &view.status);
        let tried = told || tried == Some(&view.status);
        if tried {
            self.untold.told(pod);
        }
        if view.gone && tried && self.stored(pod).is_some_and(|stored| object::deleting(&stored)) {
            self.forget(ObjectRef::pod(&pod.namespace, &pod.name), pod.uid.clone());
        }
        match view.gone && told {
            true => self.agent.forget(pod),
            false => self.teller.set(pod, &view.status),
        }
    }

    /// What the API has of a pod.
    fn stored(&self, pod: &PodRef) -> Option<Value> {
        let entry = self.store.get(PODS, &Key::new(&pod.namespace, &pod.name))?;
        let stored = parsed(&entry)?;
        (object::uid(&stored) == pod.uid).then_some(stored)
    }

    /// Nothing of it is here any more.
    fn forget(&mut self, at: ObjectRef, uid: String) {
        self.refused.remove(&uid);
        self.teller.remove(at, uid, false);
    }
}

/// The pods in the API that are to run, or to go on, on the node of this name; or to go, if something of them is here.
pub fn wanted(store: &Store, node: &str) -> Vec<Wanted> {
    let Ok(page) = store.list(PODS, None, None, 0, None) else { return Vec::new() };
    let here = page.entries.iter().filter_map(|entry| parsed(entry));
    let here = here.filter(|pod| pod["spec"]["nodeName"] == node && (!over(pod) || object::deleting(pod)));
    let wanted = |mut pod: Value| {
        let word = |field: &str| object::text(&pod, field).to_owned();
        let reference = PodRef { namespace: word("namespace"), name: word("name"), uid: word("uid") };
        let over = over(&pod);
        // One that nobody can read says nothing of what was.
        let status = serde_json::from_value(pod["status"].take()).unwrap_or_default();
        Wanted { pod: reference, over, status }
    };
    here.map(wanted).collect()
}

/// Whether this host has AppArmor, as the kubelet looks for it.
fn has_app_armor() -> bool {
    let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    enabled.is_ok_and(|enabled| enabled.starts_with('Y'))
}

fn unsupported(message: String) -> Rejection {
    Rejection { reason: "UnsupportedPodSpec".into(), message }
}

/// The node of this name, as the API has it.
pub(super) fn object_of(store: &Store, name: &str) -> Option<NodeObject> {
    let entry = store.get(NODES, &Key::new("", name))?;
    serde_json::from_value(parsed(&entry)?).ok()
}

pub(super) fn over(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

pub(super) fn parsed(entry: &Entry) -> Option<Value> {
    match serde_json::from_slice(&entry.bytes) {
        Ok(value) => Some(value),
        Err(error) => {
            tracing::error!("pod {} in the store is no JSON: {error}", entry.key);
            None
        }
    }
}

fn grace(pod: &Value) -> Duration {
    let seconds = pod["metadata"]["deletionGracePeriodSeconds"].as_u64();
    Duration::from_secs(seconds.unwrap_or(limits::GRACE_SECONDS))
}

//! What each pod on this node is at, for tables, metrics and whoever waits.
//!
//! Workers write their own row; readers are woken by changes. Holds no truth of its own: a row is what a
//! worker last derived from the runtime.

use super::checkpoint::Checkpoints;
use super::past::{self, Past};
use crate::api::cause::{Account, Ending};
use crate::api::identity::PodRef;
use crate::api::startup::{Firsts, Sight, Startup, Waterfall};
use crate::metrics;
use crate::metrics::text::{Page, labels};
use crate::pod::memory::Memory;
use crate::pod::resources::Pledge;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, PodStatus};
use std::collections::BTreeMap;
use tokio::sync::watch;

/// One pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodView {
    /// Its status, as the API words it.
    pub status: PodStatus,
    /// The latest kernel event of each of its containers.
    pub events: BTreeMap<String, LastEvent>,
    /// How runs of its containers ended, by their names.
    pub ends: BTreeMap<String, Vec<Ending>>,
    /// How it came up.
    pub startup: Startup,
    /// What it takes of the node beside what its status says of its containers.
    pub pledge: Pledge,
    /// Nothing of it is left on the node.
    pub gone: bool,
}

/// What the kernel last said of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastEvent {
    /// In words.
    pub text: String,
    /// In which run.
    pub attempt: u32,
    /// An OOM kill. The ends that follow from it do not take its place.
    pub oom: bool,
}

/// The row of each pod.
pub type Rows = BTreeMap<PodRef, PodView>;

/// Every pod of this node.
#[derive(Debug)]
pub struct Views {
    pods: watch::Sender<Rows>,
    past: Past,
}

impl Default for Views {
    fn default() -> Self {
        Views { pods: watch::Sender::new(BTreeMap::new()), past: Past::default() }
    }
}

impl Views {
    /// With what is on file of pods that have left; so are those that leave from now on.
    pub fn with_past(files: Checkpoints) -> Views {
        Views { past: Past::on_file(files), ..Views::default() }
    }

    /// Puts in what a pod's worker knows of it, beside its kernel events. Wakes nobody if that is known.
    pub fn update(&self, pod: &PodRef, mut row: PodView) {
        self.pods.send_if_modified(|pods| {
            let before = pods.get(pod);
            row.events = before.map(|view| view.events.clone()).unwrap_or_default();
            let news = before != Some(&row);
            if news {
                pods.insert(pod.clone(), row);
            }
            news
        });
    }

    /// Takes a pod's row out.
    pub fn remove(&self, pod: &PodRef) {
        // In both for a moment rather than in none.
        let view = self.pods.borrow().get(pod).cloned();
        view.iter().for_each(|view| self.past.keep(pod, view));
        self.pods.send_if_modified(|pods| pods.remove(pod).is_some());
    }

    /// A pod of an earlier daemon is not here any more.
    pub fn leaves(&self, memory: &Memory) {
        self.past.keep_memory(memory);
    }

    /// Notes a kernel event of a pod that has a row.
    pub fn note(&self, pod: &PodRef, container: &str, event: LastEvent) {
        self.pods.send_if_modified(|pods| {
            let Some(view) = pods.get_mut(pod) else { return false };
            let newer = |last: &LastEvent| event.oom || !last.oom || last.attempt != event.attempt;
            if !view.events.get(container).is_none_or(newer) {
                return false;
            }
            view.events.insert(container.to_owned(), event);
            true
        });
    }

    /// How containers ended, of pods that have left this node and of those that are here.
    pub fn accounts(&self) -> Vec<Account> {
        let pods = self.pods.borrow();
        let mut accounts = self.past.accounts();
        accounts.retain(|account| pods.keys().all(|pod| pod.uid != account.uid));
        accounts.extend(pods.iter().map(|(pod, view)| past::account(pod, view)));
        accounts
    }

    /// How pods came up, of those that have left this node and of those that are here; `firsts` asks what the kernel saw of
    /// a run that goes on.
    pub fn waterfalls(&self, sight: Sight, firsts: impl Fn(u64) -> Option<Firsts>) -> Vec<Waterfall> {
        let past = self.past.startups();
        let past = past.iter().map(|(pod, startup)| startup.waterfall(pod, sight, |_| None));
        let mut waterfalls: Vec<Waterfall> = past.collect();
        let pods = self.pods.borrow();
        waterfalls.extend(pods.iter().map(|(pod, view)| view.startup.waterfall(pod, sight, &firsts)));
        waterfalls
    }

    /// Which part of a pod's spec a container is.
    pub fn part(&self, pod: &PodRef, container: &str) -> String {
        let pods = self.pods.borrow();
        let status = pods.get(pod).map(|view| &view.status);
        let among =
            |list: Option<&Vec<ContainerStatus>>| list.into_iter().flatten().any(|one| one.name == container);
        let list = match status {
            Some(status) if among(status.init_container_statuses.as_ref()) => "initContainers",
            Some(status) if among(status.ephemeral_container_statuses.as_ref()) => "ephemeralContainers",
            _ => "containers",
        };
        format!("{list}{{{container}}}")
    }

    /// Wakes at each change.
    pub fn watch(&self) -> watch::Receiver<Rows> {
        self.pods.subscribe()
    }

    /// Sets the gauges of pods and containers, and writes how often these were started again; for each scrape.
    pub fn collect(&self, page: &mut Page) {
        let pods = self.pods.borrow();
        let named = pods.iter().flat_map(|(pod, view)| {
            containers(&view.status).map(|own| {
                let PodRef { namespace, name, .. } = pod;
                let container = own.name.as_str();
                (
                    labels(&[("namespace", namespace), ("pod", name), ("container", container)]),
                    own.restart_count,
                )
            })
        });
        let restarts: Vec<(String, i32)> = named.collect();
        page.rows(
            metrics::CONTAINER_RESTARTS,
            restarts.iter().map(|(own, count)| (own.as_str(), count)),
            |count, series| series.one(*count),
        );
        drop(pods);
        let mut phases =
            BTreeMap::from(["Pending", "Running", "Succeeded", "Failed", "Unknown"].map(|p| (p, 0)));
        let mut states = BTreeMap::from(["waiting", "running", "terminated"].map(|s| (s, 0u32)));
        let mut running = 0;
        for view in self.pods.borrow().values() {
            running += u32::from(containers(&view.status).any(|own| state(own) == "running"));
            let phase = view.status.phase.as_deref().unwrap_or("Pending");
            if let Some(count) = phases.get_mut(phase) {
                *count += 1;
            }
            for container in containers(&view.status) {
                let state = states.get_mut(state(container)).expect("each state is in the table");
                *state += 1;
            }
        }
        page.row(metrics::RUNNING_PODS).one(running);
        let mut told = page.row(metrics::RUNNING_CONTAINERS);
        // One that waits is none to a kubelet's runtime.
        for (word, own) in [("running", "running"), ("exited", "terminated")] {
            told.with(&[("container_state", word)], states[own]);
        }
        for (phase, count) in phases {
            ::metrics::gauge!(metrics::PODS, "phase" => phase).set(f64::from(count));
        }
        for (state, count) in states {
            ::metrics::gauge!(metrics::CONTAINERS, "state" => state).set(f64::from(count));
        }
    }
}

/// Init containers first, ephemeral ones last.
pub fn containers(status: &PodStatus) -> impl Iterator<Item = &ContainerStatus> {
    let init = status.init_container_statuses.iter().flatten();
    let all = init.chain(status.container_statuses.iter().flatten());
    all.chain(status.ephemeral_container_statuses.iter().flatten())
}

fn state(container: &ContainerStatus) -> &'static str {
    match &container.state {
        Some(ContainerState { running: Some(_), .. }) => "running",
        Some(ContainerState { terminated: Some(_), .. }) => "terminated",
        _ => "waiting",
    }
}

//! What `podbox why` and `podbox trace` answer from of pods that were here of late, and how the containers of a pod ended.

use super::view::{PodView, containers};
use crate::api::cause::{Account, ContainerAccount};
use crate::api::identity::PodRef;
use crate::api::startup::Startup;
use crate::limits;
use k8s_openapi::api::core::v1::ContainerStatus;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Pods that have left this node, the latest last.
#[derive(Debug, Default)]
pub struct Past(Mutex<VecDeque<(Account, PodRef, Startup)>>);

impl Past {
    /// Remembers a pod that leaves, if there is anything to tell of it.
    pub fn keep(&self, pod: &PodRef, view: &PodView) {
        let account = account(pod, view);
        if account.containers.iter().all(|container| container.ends.is_empty()) {
            return;
        }
        let mut past = self.lock();
        if past.len() >= limits::PAST_PODS {
            past.pop_front();
        }
        past.push_back((Account { phase: None, ..account }, pod.clone(), view.startup.clone()));
    }

    /// How the containers of all of them ended.
    pub fn accounts(&self) -> Vec<Account> {
        self.lock().iter().map(|(account, ..)| account.clone()).collect()
    }

    /// How all of them came up.
    pub fn startups(&self) -> Vec<(PodRef, Startup)> {
        self.lock().iter().map(|(_, pod, startup)| (pod.clone(), startup.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Account, PodRef, Startup)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of a pod.
pub fn account(pod: &PodRef, view: &PodView) -> Account {
    let PodRef { namespace, name, uid } = pod.clone();
    let verdict = view.status.reason.as_ref().map(|reason| {
        let message = view.status.message.as_deref().unwrap_or_default();
        format!("{reason}: {message}")
    });
    let container = |status: &ContainerStatus| ContainerAccount {
        name: status.name.clone(),
        state: state(status),
        ends: view.ends.get(&status.name).cloned().unwrap_or_default(),
    };
    let containers = containers(&view.status).map(container).collect();
    Account { namespace, pod: name, uid, phase: view.status.phase.clone(), verdict, containers }
}

fn state(status: &ContainerStatus) -> String {
    let Some(state) = &status.state else { return "waiting".to_owned() };
    match (&state.running, &state.waiting, &state.terminated) {
        (Some(running), ..) => match &running.started_at {
            Some(at) => format!("running since {}", at.0),
            None => "running".to_owned(),
        },
        (_, Some(waiting), _) => format!("waiting: {}", waiting.reason.as_deref().unwrap_or("unknown")),
        (_, _, Some(ended)) => {
            format!("{} ({})", ended.reason.as_deref().unwrap_or("ended"), ended.exit_code)
        }
        _ => "waiting".to_owned(),
    }
}

//! What `podbox why` and `podbox trace` answer from of pods that were here of late, and how the containers of a pod ended.
//!
//! With `podbox node` it is on file, for the daemon after this one. A pod whose containers have ended leaves this node before it leaves
//! the API: who asks why it failed most often asks of one that is here.

use super::checkpoint::Checkpoints;
use super::view::{PodView, containers};
use crate::api::cause::{Account, ContainerAccount};
use crate::api::error::chain;
use crate::api::identity::PodRef;
use crate::api::startup::Startup;
use crate::pod::memory::{Memory, State};
use crate::{clock, limits};
use k8s_openapi::api::core::v1::ContainerStatus;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// Pods that have left this node, the latest last.
#[derive(Debug, Default)]
pub struct Past {
    pods: Mutex<VecDeque<Left>>,
    files: Option<Checkpoints>,
}

/// A pod that has left.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Left {
    pod: PodRef,
    /// When, to tell the latest.
    at: SystemTime,
    account: Account,
    startup: Startup,
}

impl Past {
    /// With those that are on file.
    pub fn on_file(files: Checkpoints) -> Past {
        let mut pods: Vec<Left> = files.read();
        pods.sort_by_key(|left| left.at);
        let late = pods.split_off(pods.len().saturating_sub(limits::PAST_PODS));
        pods.iter().for_each(|left| files.remove(&left.pod.uid));
        Past { pods: Mutex::new(late.into()), files: Some(files) }
    }

    /// Remembers a pod that leaves, if there is anything to tell of it.
    pub fn keep(&self, pod: &PodRef, view: &PodView) {
        self.push(pod, account(pod, view), view.startup.clone());
    }

    /// The same of one that an earlier daemon had.
    pub fn keep_memory(&self, memory: &Memory) {
        self.push(&memory.pod, account_of(memory), memory.startup.clone());
    }

    fn push(&self, pod: &PodRef, account: Account, startup: Startup) {
        if account.containers.iter().all(|container| container.ends.is_empty()) {
            return;
        }
        let account = Account { phase: None, ..account };
        let left = Left { pod: pod.clone(), at: clock::wall(), account, startup };
        if let Some(Err(error)) = self.files.as_ref().map(|files| files.write(&pod.uid, &left)) {
            tracing::warn!(%pod, "a restart of podbox forgets how its containers ended: {}", chain(&error));
        }
        let mut pods = self.lock();
        pods.retain(|known| known.pod.uid != pod.uid);
        pods.push_back(left);
        let forgotten = (pods.len() > limits::PAST_PODS).then(|| pods.pop_front()).flatten();
        if let (Some(files), Some(forgotten)) = (&self.files, forgotten) {
            files.remove(&forgotten.pod.uid);
        }
    }

    /// How the containers of all of them ended.
    pub fn accounts(&self) -> Vec<Account> {
        self.lock().iter().map(|left| left.account.clone()).collect()
    }

    /// How all of them came up.
    pub fn startups(&self) -> Vec<(PodRef, Startup)> {
        self.lock().iter().map(|left| (left.pod.clone(), left.startup.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Left>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is remembered of a pod that nobody goes on with.
fn account_of(memory: &Memory) -> Account {
    let PodRef { namespace, name, uid } = memory.pod.clone();
    let verdict = memory.verdict.as_ref().map(|verdict| format!("{}: {}", verdict.reason, verdict.message));
    let containers = memory.containers.iter().map(|(name, container)| {
        let state = match &container.state {
            State::Ended(end) => format!("ended ({})", end.exited.status.code()),
            State::Waiting | State::Starting | State::Running(_) => "gone".to_owned(),
        };
        ContainerAccount { name: name.clone(), state, ends: container.ends.clone() }
    });
    Account { namespace, pod: name, uid, phase: None, verdict, containers: containers.collect() }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::cause::{By, Cause, Ending};
    use k8s_openapi::api::core::v1::PodStatus;
    use std::collections::BTreeMap;

    fn view() -> PodView {
        let cause = Cause { by: By::Oom, message: "the OOM killer".into(), sender: None, telling: false };
        let (started, ended) = (None, SystemTime::UNIX_EPOCH);
        let end = Ending { attempt: 0, started, ended, code: 137, cause };
        let container = ContainerStatus { name: "c".into(), ..ContainerStatus::default() };
        let status = PodStatus { container_statuses: Some(vec![container]), ..PodStatus::default() };
        PodView { status, ends: BTreeMap::from([("c".into(), vec![end])]), ..PodView::default() }
    }

    #[test]
    fn a_later_daemon_knows_the_latest_of_those_that_have_left() {
        let dir = tempfile::tempdir().unwrap();
        let files = || Checkpoints::past(dir.path());
        files().prepare().unwrap();
        let pod = |number: usize| PodRef {
            namespace: "n".into(),
            name: number.to_string(),
            uid: format!("u{number}"),
        };
        let past = Past::on_file(files());
        past.keep(&pod(0), &PodView::default());
        assert!(past.accounts().is_empty(), "there is nothing to tell of it");
        (0..limits::PAST_PODS + 2).for_each(|number| past.keep(&pod(number), &view()));
        let later = Past::on_file(files());
        assert_eq!(later.accounts(), past.accounts());
        assert_eq!(later.accounts().len(), limits::PAST_PODS);
        assert_eq!(later.accounts()[0].pod, "2");
        later.keep(&pod(2), &view());
        let again = Past::on_file(files()).accounts();
        assert_eq!((again.len(), again.last().unwrap().pod.as_str()), (limits::PAST_PODS, "2"));
    }
}

//! What an engine takes over from an earlier one: containers that the keeper holds go on to be followed, and whatever
//! the earlier one had begun and not handed to the keeper is taken away.
//!
//! Invariant: once an engine is open, each container that leaves a trace on this host is held by the keeper, or was told
//! as what could not be taken away.

use super::shared::Shared;
use super::{Engine, EngineError, lock};
use crate::api::error::chain;
use crate::api::identity::{ContainerRef, PodRef};
use crate::sandbox::client::ClientError;
use crate::sandbox::message::{Body, Held};
use crate::sandbox::record::{self, Label};
use crate::sandbox::runtime::{ALONE, Started};
use crate::sandbox::spec::{Forward, Network, SandboxSpec};
use crate::sandbox::{cgroup, plan};
use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Sandboxes that an earlier podbox left in this run directory.
pub fn on_record(run_dir: &Path) -> Result<Vec<PodRef>, EngineError> {
    Ok(record::read_all(run_dir)?.into_iter().map(|spec| spec.pod).collect())
}

/// Ports of the node that lead to those sandboxes, each with the pod's address.
pub fn forwarded(run_dir: &Path) -> Result<Vec<(Ipv4Addr, Forward)>, EngineError> {
    let all = record::read_all(run_dir)?.into_iter();
    let of = |spec: SandboxSpec| match spec.network {
        Network::Pod { address, .. } => spec.forwards.into_iter().map(|one| (address, one)).collect(),
        Network::Host => Vec::new(),
    };
    Ok(all.flat_map(of).collect())
}

impl Engine {
    /// Follows the containers that an earlier engine started.
    pub(super) fn adopt(&self) -> Result<(), EngineError> {
        let shared = &self.0;
        // A start that the earlier engine asked for and did not see the end of. One that hangs is not waited for any longer
        // than by who asks for it: it is a leftover then.
        match shared.keeper.command(Body::Settle) {
            Err(ClientError::Silent) => {
                tracing::warn!(
                    "a container or command that an earlier podbox was starting hangs; it is given up"
                );
            }
            settled => settled?,
        }
        // Asked twice on purpose: watching must come before the list that says who has ended already.
        for held in shared.list(None)? {
            shared.keeper.watch(&held.id);
        }
        let held = shared.list(None)?;
        shared.take_leftovers(&held.iter().map(|held| held.id.clone()).collect());
        held.into_iter().try_for_each(|held| self.follow(held))
    }

    fn follow(&self, held: Held) -> Result<(), EngineError> {
        let shared = &self.0;
        let label: Label = Label::parse(&held.label)?;
        let ending = shared.keeper.watch(&held.id);
        if let Some(end) = held.end {
            shared.keeper.ended(&held.id, end);
        }
        let (_, fds) = shared.keeper.request(Body::Streams { id: held.id.clone() }, &[])?;
        let group = shared.facts.container_cgroup(&label.container, label.qos);
        end_commands(&group);
        let cgroup_id = cgroup::id(&group)?;
        shared.attribution.register(cgroup_id, &label.container);
        let (pid, at, user) = (held.pid, held.started, held.user);
        let started = Started { pid, cgroup_id, at, user, laps: Vec::new() };
        self.track(label, started, ending, fds)
    }
}

impl Shared {
    /// Takes away what there is of containers that the keeper does not hold. What stays is in the way of that container's
    /// next run only.
    fn take_leftovers(&self, held: &BTreeSet<String>) {
        let sandboxes: Vec<_> = lock(&self.sandboxes).values().map(Arc::clone).collect();
        for spec in sandboxes {
            let volumes: BTreeSet<String> =
                spec.empty_dirs.iter().map(|dir| format!("volume-{}", dir.name)).collect();
            let traces = [
                names(&self.facts.pod_cgroup(&spec.pod, spec.qos), ""),
                names(&self.facts.pod_state(&spec.pod), ""),
                names(&self.facts.pod_run(&spec.pod), ".journal"),
            ];
            let traces: BTreeSet<String> = traces.into_iter().flatten().collect();
            for container in traces.difference(&volumes).filter_map(|key| container(&spec.pod, key)) {
                if !held.contains(&plan::launch_id(&container)) {
                    tracing::info!(%container, "taking away what an earlier podbox had not finished");
                    if let Err(error) = self.take_away(&container, spec.qos) {
                        tracing::error!("{}", chain(&error));
                    }
                }
            }
        }
    }
}

/// Ends the probes' commands that the earlier engine did not see the end of: their time was its to keep.
fn end_commands(group: &Path) {
    let names = names(group, "").into_iter().filter(|name| name.starts_with(ALONE));
    let leaves: Vec<PathBuf> = names.map(|name| group.join(name)).collect();
    if leaves.is_empty() {
        return;
    }
    let end = move || {
        for leaf in leaves {
            if let Err(error) = cgroup::remove(&leaf) {
                tracing::warn!("a probe's command of an earlier podbox goes on: {}", chain(&error));
            }
        }
    };
    drop(tokio::task::spawn_blocking(end));
}

/// What a container's key says.
fn container(pod: &PodRef, key: &str) -> Option<ContainerRef> {
    let (name, attempt) = key.rsplit_once('-')?;
    Some(ContainerRef { pod: pod.clone(), name: name.to_owned(), attempt: attempt.parse().ok()? })
}

/// Directories of a directory, or its files that end so, without that end.
fn names(dir: &Path, end: &str) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let wanted = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir() == end.is_empty()));
    wanted.filter_map(|entry| entry.file_name().to_str()?.strip_suffix(end).map(str::to_owned)).collect()
}

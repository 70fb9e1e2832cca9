//! What a daemon does with the pods of an earlier one, before it runs any: those that the API still wants here go on,
//! everything else is taken away.
//!
//! ```text
//!   bound here in the API? ──no──▶ swept up
//!        │ yes
//!   remembered? ──no──▶ what its status says: begun anew, restarts counted on
//!        │ yes
//!   sandbox whole, and the keeper holds each run that is remembered as running?
//!        │ yes                          │ no
//!        ▼                              ▼
//!   goes on as it is              swept up, ends unknown, begun anew
//! ```
//!
//! It asks the API for nothing and writes nothing to it: the pods' workers tell what they find. The same is done for one pod
//! whose worker broke.

use super::Node;
use crate::api::error::chain;
use crate::api::identity::PodRef;
use crate::clock;
use crate::pod::memory::Memory;
use crate::sandbox::engine::{Engine, EngineError};
use crate::sandbox::runtime::Runtime;
use k8s_openapi::api::core::v1::PodStatus;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

/// A pod that the API binds to this node, and that has not ended or has not gone.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Which.
    pub pod: PodRef,
    /// Its containers have ended, for good: only what is left of it is still to be taken away.
    pub over: bool,
    /// What the API says of it.
    pub status: PodStatus,
}

/// What pods go on from, by uid.
pub type Memories = BTreeMap<String, Memory>;

/// Takes away what nobody wants any more, and returns what the others go on from.
pub async fn recover<I>(node: &Node<Engine, I>, wanted: &[Wanted]) -> Result<Memories, EngineError> {
    let (held, wall, boot) = (node.runtime.list().await?, clock::wall(), clock::boot());
    let recorded: BTreeSet<PodRef> = node.runtime.sandboxes().into_iter().collect();
    let mut memories = Memories::new();
    let mut keep = BTreeSet::new();
    let mut vain = Vec::new();
    let remembered = node.checkpoints.iter().flat_map(|checkpoints| checkpoints.read::<Memory>());
    for mut memory in remembered {
        let uid = memory.pod.uid.clone();
        let is_wanted = |wanted: &&Wanted| wanted.pod.uid == uid;
        let wanted = wanted.iter().find(is_wanted);
        if wanted.is_none_or(|wanted| wanted.over && !recorded.contains(&memory.pod)) {
            // Nobody goes on with it, and people still ask how it ended.
            node.views.leaves(&memory);
            node.checkpoints.iter().for_each(|checkpoints| checkpoints.remove(&uid));
            continue;
        }
        memory.sandbox &= recorded.contains(&memory.pod);
        vain.extend(memory.meet(&held, wall, boot));
        if memory.sandbox {
            keep.insert(memory.pod.clone());
        }
        memories.insert(uid, memory);
    }
    for Wanted { pod, over, status } in wanted {
        if !over && !memories.contains_key(&pod.uid) {
            memories
                .extend(Memory::of_status(pod, status, wall, boot).map(|memory| (pod.uid.clone(), memory)));
        }
    }
    if let Err(error) = node.runtime.sweep(&keep).await {
        // Others must not wait for what cannot be taken away now; the next start tries again.
        tracing::error!("taking away what an earlier podbox left failed: {}", chain(&error));
    }
    for container in vain.iter().filter(|container| keep.contains(&container.pod)) {
        if let Err(error) = node.runtime.remove(container).await {
            // Neither may a node without this one.
            tracing::error!(%container, "taking it away failed: {}", chain(&error));
        }
    }
    let left = node.runtime.sandboxes();
    // What was being taken away, and could not be: their workers go on with that.
    for memory in memories.values_mut().filter(|memory| memory.is_ending()) {
        memory.sandbox |= left.contains(&memory.pod);
    }
    let mut leases = node.leases.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = leases.retain(|uid| memories.contains_key(uid) || left.iter().any(|pod| pod.uid == uid));
    if let Err(error) = kept {
        tracing::warn!("giving back the addresses of pods that are gone failed: {}", chain(&error));
    }
    Ok(memories)
}

/// What a pod goes on from whose worker broke; nothing, and then nothing of it is left, where that is not known.
pub(super) async fn again<R: Runtime, I>(node: &Node<R, I>, pod: &PodRef) -> Option<Memory> {
    let mut memory: Option<Memory> = node.checkpoints.as_ref().and_then(|files| files.of(&pod.uid));
    if let Some(memory) = &mut memory {
        let held = node.runtime.list().await;
        let held = held
            .inspect_err(|error| tracing::error!(%pod, "asking what runs of it failed: {}", chain(error)));
        for container in memory.meet(&held.unwrap_or_default(), clock::wall(), clock::boot()) {
            if let Err(error) = node.runtime.remove(&container).await {
                tracing::error!(%container, "taking it away failed: {}", chain(&error));
            }
        }
    }
    if !memory.as_ref().is_some_and(|memory| memory.sandbox)
        && let Err(problem) = node.discard(pod).await
    {
        tracing::error!(%pod, "removing the sandbox failed: {problem}");
    }
    memory
}

//! What a pod without a node says of itself: why it waits, and which node is kept for it. Pure.

use k8s_openapi::api::core::v1::Pod;
use std::sync::Arc;

/// The condition of pods that says whether they have a node.
pub const SCHEDULED: &str = "PodScheduled";
/// Upstream's reason where they have none.
pub const UNSCHEDULABLE: &str = "Unschedulable";
/// Its reason where giving them one failed.
pub const FAILED: &str = "SchedulerError";

/// What it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Why it waits; empty if it does not say.
    pub message: String,
    /// The node that is kept for it.
    pub nominated: Option<Arc<str>>,
    /// Whether a node took it, and giving it that one failed.
    pub failed: bool,
}

impl Told {
    /// Upstream's word for it.
    pub fn reason(&self) -> &'static str {
        if self.failed { FAILED } else { UNSCHEDULABLE }
    }

    /// As its status says it.
    pub fn of(pod: &Pod) -> Told {
        let Some(status) = &pod.status else { return Told::default() };
        let said = status.conditions.iter().flatten().find(|condition| {
            (condition.type_.as_str(), condition.status.as_str()) == (SCHEDULED, "False")
                && condition.reason.as_deref().is_some_and(|reason| [UNSCHEDULABLE, FAILED].contains(&reason))
        });
        let nominated = status.nominated_node_name.as_deref().filter(|name| !name.is_empty());
        Told {
            message: said.and_then(|condition| condition.message.clone()).unwrap_or_default(),
            nominated: nominated.map(Into::into),
            failed: said.is_some_and(|condition| condition.reason.as_deref() == Some(FAILED)),
        }
    }
}

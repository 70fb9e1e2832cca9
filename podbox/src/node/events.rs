//! Kernel events beside the pods they belong to, in words.

use super::view::{LastEvent, Views};
use crate::api::event::{Detail, KernelEvent, Listen};
use crate::api::identity::PodRef;

/// Writes the event into its pod's view. One that nobody here knows the pod of is left alone: the
/// counters in the kernel's maps have it.
pub fn note(views: &Views, event: &KernelEvent) {
    let Some(subject) = &event.subject else { return };
    // A process that ends ends to listen too, and that it ended says more.
    if matches!(event.detail, Detail::Listen(Listen { ended: true, .. })) {
        return;
    }
    let pod =
        PodRef { namespace: subject.namespace.clone(), name: subject.pod.clone(), uid: subject.uid.clone() };
    let text = format!("{} ({}) {}", event.command, event.pid, event.detail);
    let oom = matches!(event.detail, Detail::Oom(_));
    views.note(&pod, &subject.container, LastEvent { text, attempt: subject.attempt, oom });
}

//! Kernel events beside the pods they belong to, in words.

use super::view::{LastEvent, Views};
use crate::api::event::{Detail, KernelEvent, Listen, Subject};
use crate::api::identity::PodRef;
use crate::pod::notice::Notice;

/// What is worth an Event in the API: that process ids run out. That the dead pile up, the pod's worker says.
pub fn notice(views: &Views, event: &KernelEvent) -> Option<(PodRef, Notice)> {
    let (subject, Detail::PidsShort(short)) = (event.subject.as_ref()?, &event.detail) else { return None };
    let (pod, container) = (pod(subject), &subject.container);
    let message = format!("Container {container} has {short}");
    let part = Some(views.part(&pod, container));
    Some((pod, Notice { part, warning: true, reason: "ProcessIdsRunningOut".into(), message, remark: None }))
}

fn pod(subject: &Subject) -> PodRef {
    PodRef { namespace: subject.namespace.clone(), name: subject.pod.clone(), uid: subject.uid.clone() }
}

/// Writes the event into its pod's view. One that nobody here knows the pod of is left alone: the
/// counters in the kernel's maps have it.
pub fn note(views: &Views, event: &KernelEvent) {
    let Some(subject) = &event.subject else { return };
    // A process that ends ends to listen too, and that it ended says more.
    if matches!(event.detail, Detail::Listen(Listen { ended: true, .. })) {
        return;
    }
    let pod = pod(subject);
    let text = event.text();
    let oom = matches!(event.detail, Detail::Oom(_));
    views.note(&pod, &subject.container, LastEvent { text, attempt: subject.attempt, oom });
}

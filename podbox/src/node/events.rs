//! Kernel events beside the pods they belong to, in words.

use super::view::{LastEvent, Views};
use crate::api::event::{Detail, KernelEvent, Listen, Subject};
use crate::api::identity::PodRef;
use crate::limits;
use crate::pod::notice::Notice;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Instant;

/// Which processes were told of late to leave their dead unreaped: one that leaves thousands is one Event, and does not use up
/// what its pod may say.
#[derive(Debug, Default)]
pub struct Culprits(HashMap<(String, Option<u32>), Instant>);

impl Culprits {
    fn is_news(&mut self, uid: &str, parent: Option<u32>, now: Instant) -> bool {
        self.0.retain(|_, told| now.saturating_duration_since(*told) < limits::ZOMBIES_TOLD);
        match self.0.entry((uid.to_owned(), parent)) {
            Entry::Occupied(_) => false,
            Entry::Vacant(new) => {
                new.insert(now);
                true
            }
        }
    }
}

/// What is worth an Event in the API: that nobody reaps the dead, and that process ids run out.
pub fn notice(
    views: &Views,
    event: &KernelEvent,
    told: &mut Culprits,
    now: Instant,
) -> Option<(PodRef, Notice)> {
    let subject = event.subject.as_ref()?;
    let (pod, container) = (pod(subject), &subject.container);
    let (reason, message) = match &event.detail {
        Detail::Zombie(zombie) if told.is_news(&pod.uid, zombie.parent_pid, now) => {
            let culprit = zombie.culprit()?;
            let message = format!("Container {container} has dead processes that nobody reaps: {culprit}");
            ("ZombieProcesses", message)
        }
        Detail::PidsShort(short) => ("ProcessIdsRunningOut", format!("Container {container} has {short}")),
        _ => return None,
    };
    let part = Some(views.part(&pod, container));
    Some((pod, Notice { part, warning: true, reason: reason.into(), message, remark: None }))
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

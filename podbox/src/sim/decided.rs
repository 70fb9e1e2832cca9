//! What the scheduler of a simulated cluster decides, written to its API: as `control::scheduler::run` writes it, without waiting.

use super::api::Refusal;
use super::story;
use super::words;
use super::world::{World, pod};
use crate::api::lifecycle::Deletion;
use crate::api::object;
use crate::api::objects::Seen;
use crate::control::scheduler::{Decision, Subject, Told, run};
use serde_json::Value;

impl World {
    /// The scheduler's write.
    pub(super) fn decided(&mut self, decision: Decision) {
        let subject = decision.subject();
        let at = pod(&subject.key);
        let conflict = std::mem::take(&mut self.weather.conflict);
        let (what, written) = match &decision {
            _ if conflict => ("fails to write".to_owned(), Err(Refusal::Conflict)),
            Decision::Bind(_, node) => (
                format!("gives it to {node}"),
                self.api.bind(&at, &subject.uid, node, self.wall).map(|()| true),
            ),
            Decision::Provide(_, promises) => {
                let writes = promises.iter().map(|(_, _, write)| write.clone());
                let written: Result<Vec<_>, Refusal> = writes.map(|write| self.do_write(write)).collect();
                ("has claims get their volumes".to_owned(), written.map(|_| true))
            }
            Decision::Tell(pod, told) if self.story.is_some() => {
                let who = story::name("Pod", pod.key.name());
                self.relate(&who, &format!("FailedScheduling: {}", told.message));
                (format!("says: {}", told.message), self.says(pod, told))
            }
            Decision::Tell(pod, told) => (format!("says: {}", told.message), self.says(pod, told)),
            Decision::Again(_, message) => (format!("says again: {message}"), Ok(false)),
            Decision::Preempt(pod, told, victims) => {
                let who = story::name("Pod", pod.key.name());
                self.relate(&who, &format!("FailedScheduling: {}", told.message));
                let names: Vec<&str> = victims.iter().map(|victim| victim.key.name()).collect();
                let what = format!(
                    "has it wait for {} and makes room: {names:?}",
                    told.nominated.as_deref().unwrap_or("-")
                );
                (what, self.preempt(pod, told, victims))
            }
        };
        let key = &subject.key;
        self.tell(&format!("scheduler, pod {key}: {what}{}", words::refusal(written.as_ref().err())));
        self.changes += usize::from(written == Ok(true));
        let tells = matches!(decision, Decision::Tell(..) | Decision::Preempt(..));
        let told_nobody = tells && written == Err(Refusal::Gone);
        self.plane.settle_decision(decision, written.is_ok() || told_nobody);
    }

    /// A pod without a node says why, and which one is kept for it.
    fn says(&mut self, about: &Subject, told: &Told) -> Result<bool, Refusal> {
        let now = object::time(self.wall.into());
        let seen = Seen { uid: about.uid.to_string(), revision: None };
        let tell = |pod: &mut Value| {
            if pod["spec"]["nodeName"].is_null() {
                run::unscheduled(pod, told, &now);
            }
        };
        self.api.edit(&pod(&about.key), "status", &seen, tell)
    }

    /// The same, and others go from there, each by itself.
    fn preempt(&mut self, about: &Subject, told: &Told, victims: &[Subject]) -> Result<bool, Refusal> {
        let changed = self.says(about, told)?;
        let now = object::time(self.wall.into());
        for victim in victims {
            let (at, seen) = (pod(&victim.key), Seen { uid: victim.uid.to_string(), revision: None });
            let said = self.api.edit(&at, "status", &seen, |pod| run::disrupted(pod, &now));
            let asked = Deletion { grace_seconds: None, propagation: None };
            let gone = said.and_then(|_| self.api.delete(&at, &seen, asked, self.wall));
            match gone {
                // It has gone by itself.
                Err(Refusal::Gone | Refusal::Conflict) => {}
                Ok(_) => {
                    let node = told.nominated.as_deref().unwrap_or_default();
                    let what = format!("Preempted: Preempted by pod {} on node {node}", about.uid);
                    self.relate(&story::name("Pod", victim.key.name()), &what);
                }
                refused => return refused,
            }
        }
        Ok(changed)
    }
}

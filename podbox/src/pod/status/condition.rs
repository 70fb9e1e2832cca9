//! A pod's conditions, from its containers' statuses. What a readiness gate waits for is said by others, in the API:
//! [`ready`] is asked where both are known.

use crate::pod::observed::{Observed, SandboxState};
use crate::pod::plan::begins_anew;
use crate::pod::resize::{Refusal, RefusalKind, Resize};
use crate::pod::restart::Action;
use crate::pod::shape::{ContainerShape, Shape};
use k8s_openapi::api::core::v1::{ContainerStatus, PodCondition};
use serde_json::Value;

/// Whose conditions they are.
pub(super) struct Containers<'a> {
    pub shape: &'a Shape,
    pub init: &'a [ContainerStatus],
    pub main: &'a [ContainerStatus],
}

/// Status, reason and message of a condition.
struct Word {
    holds: bool,
    reason: &'static str,
    message: String,
}

impl Word {
    fn yes() -> Word {
        Word { holds: true, reason: "", message: String::new() }
    }

    fn no(reason: &'static str, message: String) -> Word {
        Word { holds: false, reason, message }
    }
}

/// In the kubelet's order.
pub(super) fn all(containers: &Containers<'_>, seen: &Observed, phase: &str) -> Vec<PodCondition> {
    let condition = |type_: &str, word: &Word| PodCondition {
        type_: type_.to_owned(),
        status: if word.holds { "True" } else { "False" }.to_owned(),
        reason: (!word.reason.is_empty()).then(|| word.reason.to_owned()),
        message: (!word.message.is_empty()).then(|| word.message.clone()),
        ..Default::default()
    };
    let sandbox = match seen.sandbox {
        SandboxState::Ready => Word::yes(),
        _ => Word::no("", String::new()),
    };
    let ready = containers.ready(phase);
    let own = [
        condition("PodReadyToStartContainers", &sandbox),
        condition("Initialized", &containers.initialized(seen, phase)),
        condition("Ready", &ready),
        condition("ContainersReady", &ready),
        condition("PodScheduled", &Word::yes()),
    ];
    let piled = piled(seen).map(|word| condition(PILED, &word));
    let resizing = resizing(seen).into_iter().map(|(type_, word)| condition(type_, &word));
    let anew = anew(containers.shape, seen, phase).map(|word| condition("AllContainersRestarting", &word));
    own.into_iter().chain(anew).chain(resizing).chain(piled).collect()
}

/// podbox's own: said while many processes of a container have ended and lie unreaped.
pub const PILED: &str = "podbox.io/ZombiesPileUp";

fn piled(seen: &Observed) -> Option<Word> {
    let piles = seen.containers.iter().filter_map(|(name, container)| Some((name, &container.run()?.pile)));
    let told: Vec<String> =
        piles.filter(|(_, pile)| pile.told > 0).map(|(name, pile)| pile.words(name)).collect();
    let word = Word { holds: true, reason: "ProcessesUnreaped", message: told.join("\n") };
    (!told.is_empty()).then_some(word)
}

/// What is said of shares that were asked for and not given yet; nothing where there are none.
pub const RESIZING: [&str; 2] = ["PodResizePending", "PodResizeInProgress"];

fn resizing(seen: &Observed) -> Vec<(&'static str, Word)> {
    let [pending, in_progress] = RESIZING;
    let mut found = Vec::new();
    for container in seen.containers.values().filter(|container| container.run().is_some()) {
        let yes = |reason, message: &str| Word { holds: true, reason, message: message.to_owned() };
        let (type_, word) = match &container.resize {
            Resize::None => continue,
            Resize::Asked(_) => (in_progress, yes("", "")),
            Resize::Failed { refusal: Refusal { kind, message }, .. } => match kind {
                RefusalKind::Infeasible => (pending, yes("Infeasible", message)),
                RefusalKind::Deferred => (pending, yes("Deferred", message)),
                RefusalKind::Error => (in_progress, yes("Error", message)),
            },
        };
        if !found.iter().any(|(known, _)| *known == type_) {
            found.push((type_, word));
        }
    }
    found
}

/// Said of pods whose containers may ask for it.
fn anew(pod: &Shape, seen: &Observed, phase: &str) -> Option<Word> {
    let rules = pod.containers().flat_map(|container| &container.restart.rules);
    let may = rules.map(|(_, action)| *action).any(|action| action == Action::RestartAll);
    may.then(|| match phase {
        "Succeeded" => Word::no("PodCompleted", String::new()),
        "Failed" => Word::no("PodFailed", String::new()),
        _ if seen.termination.is_none() && begins_anew(pod, seen) => Word {
            reason: "RestartAllContainersStarted",
            message: "container exited with restart policy rule".to_owned(),
            ..Word::yes()
        },
        _ => Word::no("", String::new()),
    })
}

impl Containers<'_> {
    fn ready(&self, phase: &str) -> Word {
        match phase {
            "Succeeded" => return Word::no("PodCompleted", String::new()),
            "Failed" => return Word::no("PodFailed", String::new()),
            _ => {}
        }
        let sidecars = pairs(&self.shape.init, self.init).filter(|(shape, _)| shape.sidecar);
        let unready = sidecars.chain(pairs(&self.shape.main, self.main)).filter(|(_, status)| !status.ready);
        match names(unready) {
            Some(names) => Word::no("ContainersNotReady", format!("containers with unready status: {names}")),
            None => Word::yes(),
        }
    }

    fn initialized(&self, seen: &Observed, phase: &str) -> Word {
        if phase == "Succeeded" {
            return Word { reason: "PodCompleted", ..Word::yes() };
        }
        // One that was initialised stays so, whatever becomes of its sidecars.
        if self.shape.main.iter().any(|main| seen.container(&main.name).has_run()) {
            return Word::yes();
        }
        let incomplete = pairs(&self.shape.init, self.init).filter(|(shape, status)| match shape.sidecar {
            true => status.started != Some(true),
            false => !status.ready,
        });
        match names(incomplete) {
            Some(names) => {
                let message = format!("containers with incomplete status: {names}");
                Word::no("ContainersNotInitialized", message)
            }
            None => Word::yes(),
        }
    }
}

fn pairs<'a>(
    shapes: &'a [ContainerShape],
    statuses: &'a [ContainerStatus],
) -> impl Iterator<Item = (&'a ContainerShape, &'a ContainerStatus)> {
    shapes.iter().zip(statuses)
}

/// As upstream prints a list; none, of nobody.
fn names<'a>(of: impl Iterator<Item = (&'a ContainerShape, &'a ContainerStatus)>) -> Option<String> {
    let names: Vec<&str> = of.map(|(shape, _)| shape.name.as_str()).collect();
    (!names.is_empty()).then(|| format!("[{}]", names.join(" ")))
}

/// Makes a `Ready` condition of what containers say and of the pod's readiness gates: `all` are all conditions that the
/// pod will have.
pub fn ready(ready: &mut Value, gates: &Value, all: &[Value]) {
    if ready["status"] != "True" {
        return;
    }
    let gates = gates.as_array().into_iter().flatten().filter_map(|gate| gate["conditionType"].as_str());
    let closed = gates.filter_map(|gate| {
        let Some(condition) = all.iter().find(|condition| condition["type"] == gate) else {
            return Some(format!("corresponding condition of pod readiness gate {gate:?} does not exist."));
        };
        let status = condition["status"].as_str().unwrap_or_default();
        let message = || format!("the status of pod readiness gate {gate:?} is not \"True\", but {status}");
        (status != "True").then(message)
    });
    let closed: Vec<String> = closed.collect();
    if !closed.is_empty() {
        ready["status"] = "False".into();
        ready["reason"] = "ReadinessGatesNotReady".into();
        ready["message"] = closed.join(", ").into();
    }
}

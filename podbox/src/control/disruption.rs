//! PodDisruptionBudgets: how many of a budget's pods are healthy, and how many may be made to go. Pure.
//!
//! ```text
//!   evicted: the API takes one from what is allowed, and notes the pod as disrupted
//!      └▶ it is deleted: nothing to note any more      └▶ it is still there after two minutes: it counts again
//! ```
//!
//! It only tells; who asks a pod to go is held to it by `server::api::eviction`. **Invariant:** nothing is allowed while it is not
//! known how many pods there are to be, nor before there is one.

use super::action::{Actions, Saying, Subject, Write};
use super::meta::written;
use super::pods::Member;
use super::{condition, part, status};
use crate::api::object;
use crate::api::objects::Target;
use crate::limits;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

const ALLOWED: &str = "DisruptionAllowed";

/// A budget.
#[derive(Clone, Debug)]
pub struct Desired<'a> {
    /// Where it is.
    pub at: Target,
    /// As it is stored.
    pub object: &'a Value,
    /// Its revision.
    pub revision: u64,
}

/// Who asks for a pod and others like it, by uid, and how many it wants; or why nobody can say that.
pub type Asks = Result<Option<(String, i32)>, String>;

/// What there is.
pub struct Observed<'a> {
    /// The pods that it is about.
    pub pods: Vec<&'a Arc<Member>>,
    /// Who asks for a pod.
    pub asks: &'a dyn Fn(&Member) -> Asks,
}

/// How many pods there are to be.
struct Expected {
    pods: i32,
    healthy: i32,
    /// Whether some pods are asked for by nobody, so that nobody says how many of them there are to be.
    unmanaged: bool,
}

/// What is to be told, if it is not.
pub fn reconcile(desired: &Desired<'_>, observed: &Observed<'_>, now: Timestamp) -> Actions {
    let about = Subject { at: desired.at.clone(), uid: object::uid(desired.object).to_owned() };
    let actions = match expected(desired.object, observed) {
        Ok(expected) => told(desired, observed, &expected, now),
        Err(why) => unknown(desired, &why, now),
    };
    Actions { about: Some(about), ..actions }
}

/// How many pods there are to be, and how many healthy ones at least.
fn expected(budget: &Value, observed: &Observed<'_>) -> Result<Expected, String> {
    let spec = &budget["spec"];
    let count = i32::try_from(observed.pods.len()).unwrap_or(i32::MAX);
    let (most, least) = (&spec["maxUnavailable"], &spec["minAvailable"]);
    if most.is_null() && least.is_null() {
        // It asks for nothing, and allows nothing.
        return Ok(Expected { pods: 0, healthy: 0, unmanaged: false });
    }
    if most.is_null() && !least.is_string() {
        return Ok(Expected { pods: count, healthy: super::number(least), unmanaged: false });
    }
    let (pods, unmanaged) = scale(observed)?;
    let healthy = match most.is_null() {
        true => part(least, pods, true),
        false => pods.saturating_sub(part(most, pods, true)).max(0),
    };
    Ok(Expected { pods, healthy, unmanaged })
}

/// How many pods those want together who ask for these, and whether some are asked for by nobody.
fn scale(observed: &Observed<'_>) -> Result<(i32, bool), String> {
    let (mut known, mut wanted) = (BTreeMap::new(), BTreeMap::new());
    let mut unmanaged = false;
    for pod in &observed.pods {
        let Some(controller) = &pod.controller else {
            unmanaged = true;
            continue;
        };
        if known.contains_key(controller) {
            continue;
        }
        let found = (observed.asks)(pod)?;
        let (uid, replicas) =
            found.ok_or_else(|| format!("found no controllers for pod {:?}", pod.key.name()))?;
        known.insert(Arc::clone(controller), ());
        wanted.insert(uid, replicas);
    }
    Ok((wanted.into_values().fold(0, i32::saturating_add), unmanaged))
}

fn told(desired: &Desired<'_>, observed: &Observed<'_>, expected: &Expected, now: Timestamp) -> Actions {
    let Disrupted { left: disrupted, next: wake_at, stayed: still_there } =
        Disrupted::new(desired.object, observed, now);
    let healthy =
        |pod: &&&Arc<Member>| pod.ready.is_some() && !pod.deleting && !disrupted.contains_key(pod.key.name());
    let healthy = i32::try_from(observed.pods.iter().filter(healthy).count()).unwrap_or(i32::MAX);
    // A budget without pods allows nothing, so that its first pods are safe until they are counted.
    let allowed = if expected.pods > 0 { (healthy - expected.healthy).max(0) } else { 0 };
    let generation = object::generation(desired.object);
    let (holds, reason) =
        if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    let fields = json!({
        "currentHealthy": healthy,
        "desiredHealthy": expected.healthy,
        "expectedPods": expected.pods,
        "disruptionsAllowed": allowed,
        "disruptedPods": changed(&desired.object["status"]["disruptedPods"], disrupted),
        "observedGeneration": generation,
        "conditions": conditions(desired.object, (holds, reason, ""), generation, now),
    });
    let write = write(desired, fields);
    let mut said = Vec::new();
    // With what is new only: who looks again and again says the same again and again.
    if write.is_some() && observed.pods.is_empty() {
        said.push(Saying::normal("NoPods", "No matching pods found"));
    }
    if write.is_some() && expected.unmanaged {
        said.push(unmanaged(desired.object));
    }
    // Who is told of is noted no more, once that is written.
    said.extend(still_there.iter().filter(|_| write.is_some()).map(|pod| stayed(&desired.at, pod)));
    Actions { said, wake_at, ..Actions::of(write) }
}

fn unmanaged(budget: &Value) -> Saying {
    let selector = &budget["spec"]["selector"];
    Saying::warning(
        "UnmanagedPods",
        format!(
            "Pods selected by this PodDisruptionBudget (selector: {selector}) were found to be unmanaged. As a result, the \
             status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these \
             pods please set \".spec.minAvailable\" field of the PDB to an integer value."
        ),
    )
}

/// It cannot be told how many there are to be, so none may go.
fn unknown(desired: &Desired<'_>, why: &str, now: Timestamp) -> Actions {
    let seen = desired.object["status"]["observedGeneration"].as_i64().unwrap_or(0);
    let condition = ("False", "SyncFailed", why);
    let fields = json!({
        "disruptionsAllowed": 0,
        "conditions": conditions(desired.object, condition, seen, now),
    });
    let write = write(desired, fields);
    let why = format!("Failed to calculate the number of expected pods: {why}");
    let said =
        write.iter().map(|_| Saying::warning("CalculateExpectedPodCountFailed", why.as_str())).collect();
    Actions { said, ..Actions::of(write) }
}

fn write(desired: &Desired<'_>, fields: Value) -> Option<Write> {
    status::write(&desired.at, desired.object, desired.revision, json!({"status": fields}))
}

/// Pods that were evicted and are not being deleted.
#[derive(Default)]
struct Disrupted<'a> {
    /// Those that may still be, with when they were evicted.
    left: BTreeMap<String, String>,
    /// When the next of them counts again.
    next: Option<Timestamp>,
    /// Those that count again.
    stayed: Vec<&'a Member>,
}

impl<'a> Disrupted<'a> {
    fn new(budget: &Value, observed: &Observed<'a>, now: Timestamp) -> Disrupted<'a> {
        let mut found = Disrupted::default();
        for pod in observed.pods.iter().copied().filter(|pod| !pod.deleting) {
            let name = pod.key.name();
            let Some(noted) = budget["status"]["disruptedPods"][name].as_str() else { continue };
            let until = noted.parse::<Timestamp>().ok();
            let until =
                until.and_then(|at| at.checked_add(SignedDuration::try_from(limits::DISRUPTED).ok()?).ok());
            match until.filter(|until| *until >= now) {
                Some(until) => {
                    found.left.insert(name.to_owned(), noted.to_owned());
                    found.next = found.next.into_iter().chain([until]).min();
                }
                None => found.stayed.push(pod),
            }
        }
        // Just after it.
        let after = |next: Timestamp| next.saturating_add(SignedDuration::from_secs(1)).unwrap_or(next);
        Disrupted { next: found.next.map(after), ..found }
    }
}

/// What is said of a pod that was evicted and is still there.
fn stayed(budget: &Target, pod: &Member) -> Saying {
    let Target { namespace, name, .. } = budget;
    let why = format!("Pod was expected by PDB {namespace}/{name} to be deleted but it wasn't");
    Saying::warning("NotDeleted", why).about(Subject { at: pod.target(), uid: pod.uid.to_string() })
}

/// A map as a merge makes it of the one there is; null, which takes it out, if it is empty.
fn changed(before: &Value, now: BTreeMap<String, String>) -> Value {
    if now.is_empty() {
        return Value::Null;
    }
    let gone = before.as_object().into_iter().flatten().map(|(name, _)| (name.clone(), Value::Null));
    gone.chain(now.into_iter().map(|(name, at)| (name, at.into()))).collect::<Map<_, _>>().into()
}

fn conditions(
    budget: &Value,
    (holds, reason, message): (&str, &str, &str),
    generation: i64,
    now: Timestamp,
) -> Value {
    let mut all = condition::of(budget);
    let before = condition::get(&all, ALLOWED).filter(|before| before["status"] == holds);
    let since = before.map_or_else(|| written(now).into(), |before| before["lastTransitionTime"].clone());
    condition::remove(&mut all, ALLOWED);
    all.push(json!({
        "type": ALLOWED,
        "status": holds,
        "reason": reason,
        "message": message,
        "observedGeneration": generation,
        "lastTransitionTime": since,
    }));
    all.into()
}

#[cfg(test)]
mod tests;

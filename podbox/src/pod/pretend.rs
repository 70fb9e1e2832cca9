//! What a node that runs nothing says of itself and of the pods that it was given, in the words of one that does. Pure.
//!
//! Simulated nodes speak through it: those of `podbox sim`, and those that `podbox node --simulated-nodes` puts beside the real one. No
//! process, image or address is behind what it says, so a node of this kind is marked: a label, a role, and its version.

use crate::api::object;
use serde_json::{Value, json};

/// The label of nodes that run nothing.
pub const LABEL: &str = "podbox.io/simulated";
/// What shows in the column ROLES of `kubectl get nodes`.
const ROLE: &str = "node-role.kubernetes.io/simulated";

/// What a container waits for that is about to be started again.
const BACK_OFF: &str = "CrashLoopBackOff";

/// How far a pod has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its image is being pulled.
    Starting,
    /// Its containers run, and are not ready.
    Running,
    /// They are ready.
    Ready,
    /// They have ended with this code, and are about to be started again.
    BackOff(i32),
    /// They have ended with this code.
    Ended(i32),
}

/// What a node does next for a pod of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// It begins.
    Begin,
    /// It comes one stage further.
    Advance(Stage),
    /// It ends, since it is asked to.
    End,
    /// Nothing of it is left: it leaves the API.
    Remove,
}

/// What is to be said of a pod.
#[derive(Clone, Copy, Debug)]
pub struct Telling<'a> {
    /// How far it has come.
    pub stage: Stage,
    /// How often each of its containers was started again.
    pub restarts: u32,
    /// Its address.
    pub address: &'a str,
    /// Its node's.
    pub host: &'a str,
    /// Now, as the API writes times.
    pub now: &'a str,
}

/// What is to be done for a pod that has come so far; `ends` is the code with which it ends by itself, if it does.
pub fn deed(pod: &Value, stage: Option<Stage>, ends: Option<i32>) -> Option<Deed> {
    let over = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if object::deleting(pod) {
        // What never began fails, too.
        return match (!over, waits_for_others(pod)) {
            (true, _) => Some(Deed::End),
            (false, true) => None,
            (false, false) => Some(Deed::Remove),
        };
    }
    match stage {
        None => (!over).then_some(Deed::Begin),
        Some(Stage::Starting | Stage::BackOff(_)) => Some(Deed::Advance(Stage::Running)),
        Some(Stage::Running) => Some(Deed::Advance(Stage::Ready)),
        Some(Stage::Ready) => ends.map(|code| Deed::Advance(Stage::Ended(code))),
        Some(Stage::Ended(_)) => None,
    }
}

/// Whether its node has done its part for a pod that is to go, and others have not.
fn waits_for_others(pod: &Value) -> bool {
    pod["metadata"]["deletionGracePeriodSeconds"] == 0 && !object::finalizers(pod).is_empty()
}

/// How far a pod has come by its own status; `None` if nothing was done for it yet.
pub fn stage(pod: &Value) -> Option<Stage> {
    let status = &pod["status"];
    match status["phase"].as_str() {
        Some("Succeeded") => return Some(Stage::Ended(0)),
        Some("Failed") => return Some(Stage::Ended(1)),
        _ => {}
    }
    let containers = status["containerStatuses"].as_array().filter(|all| !all.is_empty())?;
    let waits = |one: &&Value| one["state"]["waiting"]["reason"] == BACK_OFF;
    if let Some(ended) = containers.iter().find(waits) {
        let code = ended["lastState"]["terminated"]["exitCode"].as_i64();
        return Some(Stage::BackOff(code.and_then(|code| i32::try_from(code).ok()).unwrap_or(0)));
    }
    Some(match containers {
        all if all.iter().any(|one| !one["state"]["running"].is_object()) => Stage::Starting,
        all if all.iter().any(|one| one["ready"] != true) => Stage::Running,
        _ => Stage::Ready,
    })
}

/// Whether a pod whose containers are ready says so, or that one of its readiness gates is closed. Others may have written over it.
pub fn is_current(pod: &Value) -> bool {
    object::holds(pod, "Ready") == gates_are_open(pod)
}

/// A node of this name and address, without a lease. It never lacks anything; how much it has is as pods are, not as any machine is.
pub fn node(name: &str, address: &str, now: &str) -> Value {
    let amounts = json!({"cpu": "32", "memory": "256Gi", "ephemeral-storage": "1Ti", "pods": "110"});
    let version = concat!("v1.36.0+podbox-", env!("CARGO_PKG_VERSION"), "-simulated");
    let condition = |of: &str, status: &str, reason: &str, message: &str| {
        json!({
            "type": of, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        })
    };
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {
            LABEL: "true", ROLE: "", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
        }},
        "spec": {},
        "status": {
            "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}],
            "capacity": amounts,
            "allocatable": amounts,
            "conditions": [
                condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
                condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
                condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
                condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
            ],
            "nodeInfo": {
                "machineID": "", "systemUUID": "", "bootID": "", "kernelVersion": "simulated", "osImage": "simulated",
                "containerRuntimeVersion": concat!("podbox-simulated://", env!("CARGO_PKG_VERSION")),
                "kubeletVersion": version, "kubeProxyVersion": "", "operatingSystem": "linux", "architecture": "amd64",
            },
        },
    })
}

/// Whether a node is of this kind.
pub fn is_simulated(node: &Value) -> bool {
    object::label(node, LABEL) == Some("true")
}

/// The status of a pod that has come so far, after the one that it has.
pub fn status(pod: &Value, telling: &Telling<'_>) -> Value {
    let Telling { stage, address, host, now, .. } = *telling;
    let phase = match stage {
        Stage::Starting => "Pending",
        Stage::Running | Stage::Ready | Stage::BackOff(_) => "Running",
        Stage::Ended(0) => "Succeeded",
        Stage::Ended(_) => "Failed",
    };
    let mut status = pod["status"].as_object().cloned().unwrap_or_default();
    let conditions = conditions(pod, stage, now);
    let own = [
        ("phase", phase.into()),
        ("observedGeneration", object::generation(pod).into()),
        ("hostIP", host.into()),
        ("hostIPs", json!([{"ip": host}])),
        ("conditions", conditions.into()),
        ("containerStatuses", containers(pod, "containers", telling)),
    ];
    status.extend(own.map(|(name, value)| (name.to_owned(), value)));
    status.entry("startTime").or_insert_with(|| now.into());
    if stage != Stage::Starting {
        status.insert("podIP".to_owned(), address.into());
        status.insert("podIPs".to_owned(), json!([{"ip": address}]));
    }
    if pod["spec"]["initContainers"].is_array() {
        let done = if stage == Stage::Starting { stage } else { Stage::Ended(0) };
        let told = Telling { stage: done, restarts: 0, ..*telling };
        status.insert("initContainerStatuses".to_owned(), containers(pod, "initContainers", &told));
    }
    Value::Object(status)
}

/// The pod's conditions: those of others, and what the node says. What was so before has been so since then.
fn conditions(pod: &Value, stage: Stage, now: &str) -> Vec<Value> {
    let before: Vec<&Value> = pod["status"]["conditions"].as_array().into_iter().flatten().collect();
    let open = gates_are_open(pod);
    let (ready, over) = (stage == Stage::Ready, matches!(stage, Stage::Ended(_)));
    let own = [
        ("PodReadyToStartContainers", stage != Stage::Starting && !over),
        ("Initialized", stage != Stage::Starting),
        ("Ready", ready && open),
        ("ContainersReady", ready),
    ];
    let others = before.iter().filter(|one| !own.iter().any(|(of, _)| one["type"] == *of));
    let told = own.iter().map(|(of, holds)| {
        let status = if *holds { "True" } else { "False" };
        let same = before.iter().find(|one| one["type"] == *of && one["status"] == status);
        let since = same.map_or_else(|| now.into(), |one| one["lastTransitionTime"].clone());
        let mut told = json!({
            "type": of, "status": status, "observedGeneration": object::generation(pod), "lastProbeTime": null,
            "lastTransitionTime": since,
        });
        match stage {
            Stage::Ended(0) if !holds => told["reason"] = "PodCompleted".into(),
            Stage::Ended(_) if !holds => told["reason"] = "PodFailed".into(),
            _ => {}
        }
        told
    });
    others.map(|one| (*one).clone()).chain(told).collect()
}

/// Whether the conditions that a pod's readiness waits for hold.
fn gates_are_open(pod: &Value) -> bool {
    let gates = pod["spec"]["readinessGates"].as_array().into_iter().flatten();
    gates.filter_map(|gate| gate["conditionType"].as_str()).all(|of| object::holds(pod, of))
}

/// The statuses of containers that have all come equally far.
fn containers(pod: &Value, which: &str, telling: &Telling<'_>) -> Value {
    let Telling { stage, restarts, now, .. } = *telling;
    let statuses = if which == "containers" { "containerStatuses" } else { "initContainerStatuses" };
    let told = pod["spec"][which].as_array().into_iter().flatten().map(|container| {
        let before = pod["status"][statuses].as_array().into_iter().flatten();
        let before = before.into_iter().find(|one| one["name"] == container["name"]).unwrap_or(&Value::Null);
        let same = before["restartCount"] == restarts;
        // What runs, or ran, has done so since it was begun.
        let began = Some(&before["state"]["running"]["startedAt"]).filter(|began| same && began.is_string());
        let terminated = |code: i32| {
            let reason = if code == 0 { "Completed" } else { "Error" };
            let began = began.cloned().unwrap_or_else(|| now.into());
            json!({"terminated": {"exitCode": code, "reason": reason, "startedAt": began, "finishedAt": now}})
        };
        let ended = Some(&before["state"]).filter(|state| same && state["terminated"].is_object());
        let last = Some(&before["lastState"]).filter(|last| last.is_object());
        let mut last = last.cloned().unwrap_or_else(|| json!({}));
        let state = match (stage, ended) {
            (Stage::Starting, _) => json!({"waiting": {"reason": "ContainerCreating"}}),
            (Stage::Running | Stage::Ready, _) => {
                json!({"running": {"startedAt": began.cloned().unwrap_or_else(|| now.into())}})
            }
            (Stage::BackOff(code), _) => {
                last = terminated(code);
                json!({"waiting": {"reason": BACK_OFF, "message": "back-off restarting failed container"}})
            }
            (Stage::Ended(_), Some(ended)) => ended.clone(),
            (Stage::Ended(code), None) => terminated(code),
        };
        json!({
            "name": container["name"],
            "image": container["image"],
            "imageID": "",
            "restartCount": restarts,
            "ready": matches!(stage, Stage::Ready) || which == "initContainers" && stage == Stage::Ended(0),
            "started": matches!(stage, Stage::Running | Stage::Ready),
            "state": state,
            "lastState": last,
        })
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::kinds::Kinds;
    use crate::api::rules::Write;

    const NOW: &str = "2026-01-01T00:00:00Z";

    fn pod() -> Value {
        let spec = json!({
            "containers": [{"name": "c", "image": "i"}], "initContainers": [{"name": "p", "image": "j"}],
            "readinessGates": [{"conditionType": "e.io/gate"}],
        });
        let bound = json!({"type": "PodScheduled", "status": "True", "lastTransitionTime": NOW});
        json!({"metadata": {"name": "p", "namespace": "n", "generation": 2}, "spec": spec, "status": {"conditions": [bound]}})
    }

    fn told(pod: &Value, stage: Stage, now: &str) -> Value {
        status(pod, &Telling { stage, restarts: 3, address: "100.64.0.5", host: "100.64.0.1", now })
    }

    fn condition<'a>(status: &'a Value, of: &str) -> (&'a str, &'a str) {
        let all = status["conditions"].as_array().unwrap();
        let found = all.iter().find(|one| one["type"] == of).unwrap();
        (found["status"].as_str().unwrap(), found["lastTransitionTime"].as_str().unwrap())
    }

    #[test]
    fn a_pod_comes_as_far_as_is_said_and_others_words_stay() {
        let mut pod = pod();
        pod["status"] = told(&pod, Stage::Starting, NOW);
        assert_eq!((&pod["status"]["phase"], &pod["status"]["podIP"]), (&json!("Pending"), &Value::Null));
        assert_eq!(condition(&pod["status"], "PodScheduled").0, "True");
        pod["status"] = told(&pod, Stage::Ready, "2026-01-01T00:00:05Z");
        let ready = &pod["status"];
        assert_eq!(condition(ready, "ContainersReady"), ("True", "2026-01-01T00:00:05Z"));
        assert_eq!(condition(ready, "Ready"), ("False", NOW), "its gate is closed");
        assert_eq!((&ready["startTime"], &ready["podIP"]), (&json!(NOW), &json!("100.64.0.5")));
        assert_eq!(ready["initContainerStatuses"][0]["state"]["terminated"]["exitCode"], 0);
        let gate = json!({"type": "e.io/gate", "status": "True"});
        pod["status"]["conditions"].as_array_mut().unwrap().push(gate);
        assert_eq!(condition(&told(&pod, Stage::Ready, "later"), "Ready"), ("True", "later"));
        let ended = told(&pod, Stage::Ended(1), "later");
        assert_eq!((&ended["phase"], condition(&ended, "Ready")), (&json!("Failed"), ("False", NOW)));
        assert_eq!(ended["containerStatuses"][0]["restartCount"], 3);
    }

    #[test]
    fn what_it_says_is_what_the_api_takes() {
        let kinds = Kinds::new();
        let mut pod = pod();
        let written = told(&pod, Stage::Ready, NOW);
        let old = kinds.kind("v1", "Pod").unwrap().rules.default(pod.clone()).unwrap();
        pod["status"] = written.clone();
        let admitted = kinds.kind("v1", "Pod").unwrap().rules.admit(pod, Write::Status(&old)).unwrap();
        assert_eq!((admitted.errors.0.len(), &admitted.object["status"]["phase"]), (0, &written["phase"]));
        let node = node("sim-0", "100.64.0.1", NOW);
        let admitted = kinds.kind("v1", "Node").unwrap().rules.admit(node, Write::Create).unwrap();
        assert!(admitted.errors.is_empty(), "{:?}", admitted.errors);
        assert_eq!(admitted.object["metadata"]["labels"][LABEL], "true");
    }
}

//! What of a pod says whether the scheduler has to look at it again: read at each of its changes, of which most say nothing new. Pure.

use super::NAME;
use crate::control::meta::Labels;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// A pod at a glance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Its uid.
    pub uid: String,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// Counts what is asked for.
    generation: i64,
    labels: Labels,
    going: bool,
    /// Where it is; empty if nowhere.
    pub node: String,
    /// Whether it has ended.
    pub over: bool,
    /// Whether it is to be given a node, if it has none, here and now.
    pub waits: bool,
    /// When its node took it on.
    pub started: Option<Timestamp>,
}

impl Seen {
    /// Reads it from a pod's bytes.
    pub fn read(bytes: &[u8]) -> Result<Seen, serde_json::Error> {
        let Raw { metadata, spec, status } = serde_json::from_slice(bytes)?;
        let going = metadata.deletion_timestamp.is_some();
        let ours = spec.scheduler_name.is_none_or(|name| name == NAME);
        Ok(Seen {
            uid: metadata.uid,
            created: metadata.creation_timestamp,
            generation: metadata.generation,
            labels: metadata.labels,
            going,
            node: spec.node_name,
            over: matches!(status.phase.as_str(), "Succeeded" | "Failed"),
            started: status.start_time,
            waits: ours && spec.scheduling_gates.is_empty() && !going,
        })
    }

    /// Whether it takes as much and means the same to others, wherever it is.
    pub fn is_like(&self, other: &Seen) -> bool {
        (self.going, self.generation, &self.labels) == (other.going, other.generation, &other.labels)
    }

    /// Whether it is on its way out.
    pub fn is_going(&self) -> bool {
        self.going
    }
}

#[derive(Deserialize)]
struct Raw {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    uid: String,
    generation: i64,
    creation_timestamp: Option<Timestamp>,
    deletion_timestamp: Option<Timestamp>,
    labels: Labels,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    node_name: String,
    scheduler_name: Option<String>,
    scheduling_gates: Vec<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    phase: String,
    start_time: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn gated_pods_and_those_of_others_are_left_alone() {
        let waits = |spec: serde_json::Value, going: Option<&str>| {
            let pod = json!({"metadata": {"uid": "u", "deletionTimestamp": going}, "spec": spec});
            Seen::read(&serde_json::to_vec(&pod).unwrap()).unwrap().waits
        };
        assert!(waits(json!({}), None) && waits(json!({"schedulerName": NAME, "schedulingGates": []}), None));
        assert!(!waits(json!({"schedulerName": "other"}), None));
        assert!(!waits(json!({"schedulingGates": [{"name": "g"}]}), None));
        assert!(!waits(json!({}), Some("2026-01-01T00:00:00Z")));
    }
}

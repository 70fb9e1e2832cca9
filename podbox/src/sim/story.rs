//! What people would be told of a run, as `kubectl get events` tells it: what controllers say of objects, the writes of which nobody says
//! anything, and what nodes do. For scripts; runs with seeds need none.

use crate::control::action::{Edit, Saying, Write};
use serde_json::Value;
use std::time::Duration;

/// Who tells what, and when.
#[derive(Clone, Debug)]
pub struct Line {
    /// Since the run began.
    pub at: Duration,
    /// Whom it is about, or who does it.
    pub who: String,
    /// In words.
    pub what: String,
}

/// What a controller says of an object; what it wrote to, or why it could not, is put behind it as Events have it.
pub fn saying(saying: &Saying, of: &str) -> String {
    let Saying { reason, message, .. } = saying;
    let message = if message.ends_with(": ") { format!("{message}{of}") } else { message.clone() };
    format!("{reason}: {message}")
}

/// An object, as kubectl names it.
pub fn name(kind: &str, name: &str) -> String {
    format!("{}/{name}", kind.to_lowercase())
}

/// A write of which its controller says nothing, if it is worth a line. `{}` stands for the name of what is created.
pub fn silent(write: &Write) -> Option<String> {
    match write {
        Write::Create(new) => {
            let kind = new["kind"].as_str().unwrap_or_default();
            // Of what follows from something else each time.
            let follows = matches!(kind, "EndpointSlice" | "Endpoints" | "Pod");
            (!follows).then(|| format!("creates {}", name(kind, "{}")))
        }
        Write::Delete { at, .. } | Write::Remove { at, .. } => {
            (at.kind != "EndpointSlice").then(|| format!("deletes {}", name(&at.kind, &at.name)))
        }
        Write::Edit { at, edit, .. } => {
            let at = name(&at.kind, &at.name);
            match edit {
                Edit::Adopt(_) | Edit::AdoptHeld(..) => Some(format!("adopts {at}")),
                Edit::Disown(_) => Some(format!("lets go of {at}")),
                Edit::Merge(patch) => taints(patch).map(|taints| format!("taints {at}: {taints}")),
                Edit::Unblock | Edit::Release(_) | Edit::LetGo(_) => None,
            }
        }
    }
}

fn taints(patch: &Value) -> Option<String> {
    let text = |taint: &Value| {
        let of = |field: &str| taint[field].as_str().unwrap_or_default().to_owned();
        format!("{}:{}", of("key"), of("effect"))
    };
    match patch["spec"].get("taints")? {
        Value::Array(taints) if !taints.is_empty() => {
            Some(taints.iter().map(text).collect::<Vec<_>>().join(", "))
        }
        _ => Some("none".to_owned()),
    }
}

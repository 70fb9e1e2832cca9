//! How a transcript says what was done.

use super::api::Refusal;
use crate::api::object;
use crate::api::objects::Target;
use crate::control::action::{Actions, Edit, Write};
use serde_json::Value;

/// An object that is to be.
pub fn object(object: &Value) -> String {
    let name = match object::name(object) {
        "" => format!("{}…", object::text(object, "generateName")),
        name => name.to_owned(),
    };
    format!("{} {}", object["kind"].as_str().unwrap_or_default(), placed(object::namespace(object), &name))
}

/// An object that is.
pub fn target(at: &Target) -> String {
    format!("{} {}", at.kind, placed(&at.namespace, &at.name))
}

fn placed(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}

/// A controller's write.
pub fn write(write: &Write) -> String {
    match write {
        Write::Create(new) => format!("creates {}", object(new)),
        Write::Edit { at, part, edit, .. } => {
            let part = if part.is_empty() { String::new() } else { format!("'s {part}") };
            let edit = match edit {
                Edit::Merge(patch) => patch.to_string(),
                edit => format!("{edit:?}"),
            };
            format!("edits {}{part}: {edit}", target(at))
        }
        Write::Delete { at, .. } => format!("deletes {}", target(at)),
        Write::Remove { at, .. } => format!("takes away {}", target(at)),
    }
}

/// What a controller decided, in short: its writes follow one by one.
pub fn decision(component: &str, actions: &Actions) -> String {
    let said = actions.said.iter().map(|saying| format!(", says {}: {}", saying.reason, saying.message));
    let said: String = said.collect();
    format!("{component} decides on {} writes{said}", actions.actions.len())
}

/// That it was not done, if so.
pub fn refusal(refusal: Option<&Refusal>) -> String {
    match refusal {
        None => String::new(),
        Some(Refusal::Conflict) => " (conflict)".to_owned(),
        Some(Refusal::Gone) => " (it is gone)".to_owned(),
        Some(Refusal::Exists) => " (refused)".to_owned(),
        Some(Refusal::Invalid(why)) => format!(" (invalid: {why})"),
    }
}

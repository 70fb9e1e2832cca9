//! What many cells are made of: ages, lists, selectors, counts.

use crate::api::object;
use serde_json::Value;
use std::time::{Duration, SystemTime};

pub(super) const NONE: &str = "<none>";
pub(super) const UNSET: &str = "<unset>";

/// A text below an object, or `other` if it is empty or not there.
pub(super) fn text(object: &Value, pointer: &str, other: &str) -> Value {
    match object.pointer(pointer).and_then(Value::as_str) {
        Some(text) if !text.is_empty() => text.into(),
        _ => other.into(),
    }
}

/// A number below an object; 0 if it is not there.
pub(super) fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

/// A flag below an object.
pub(super) fn flag(object: &Value, pointer: &str) -> bool {
    object.pointer(pointer).and_then(Value::as_bool).unwrap_or(false)
}

/// A list below an object; empty if it is not there.
pub(super) fn list<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    object.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// Texts in a row, or `<none>`.
pub(super) fn joined(texts: impl IntoIterator<Item = String>, other: &str) -> Value {
    let all: Vec<_> = texts.into_iter().collect();
    if all.is_empty() { other.into() } else { all.join(",").into() }
}

/// The first three of many, and how many more there are.
pub(super) fn few(texts: impl IntoIterator<Item = String>, other: &str) -> Value {
    let all: Vec<_> = texts.into_iter().collect();
    match all.len() {
        0 => other.into(),
        1..=3 => all.join(",").into(),
        count => format!("{} + {} more...", all[..3].join(","), count - 3).into(),
    }
}

/// How long ago it was created.
pub(super) fn age(object: &Value, now: SystemTime) -> Value {
    since(object.pointer("/metadata/creationTimestamp"), now).into()
}

/// How long ago a time was.
pub(super) fn since(time: Option<&Value>, now: SystemTime) -> String {
    match time.and_then(Value::as_str).and_then(object::read_time) {
        Some(then) => now.duration_since(then).map_or_else(|_| "<invalid>".to_owned(), human),
        None => "<unknown>".to_owned(),
    }
}

/// A span as kubectl has it: two units at most, the finer one only while it tells something.
pub(super) fn human(span: Duration) -> String {
    let seconds = span.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |large: u64, unit: &str, small: u64, finer: &str| match small {
        0 => format!("{large}{unit}"),
        small => format!("{large}{unit}{small}{finer}"),
    };
    if seconds < 120 {
        format!("{seconds}s")
    } else if minutes < 10 {
        two(minutes, "m", seconds % 60, "s")
    } else if minutes < 180 {
        format!("{minutes}m")
    } else if hours < 8 {
        two(hours, "h", minutes % 60, "m")
    } else if hours < 48 {
        format!("{hours}h")
    } else if hours < 192 {
        two(days, "d", hours % 24, "h")
    } else if days < 365 * 2 {
        format!("{days}d")
    } else if days < 365 * 8 {
        two(days / 365, "y", days % 365, "d")
    } else {
        format!("{}y", days / 365)
    }
}

/// Labels as `a=b,c=d`.
pub(super) fn labels(object: &Value, pointer: &str, other: &str) -> Value {
    let map = object.pointer(pointer).and_then(Value::as_object);
    let pairs =
        map.into_iter().flatten().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()));
    joined(pairs, other)
}

/// A label selector with both of its parts.
pub(super) fn selector(object: &Value, pointer: &str) -> Value {
    let Some(selector) = object.pointer(pointer) else { return NONE.into() };
    let map = selector["matchLabels"].as_object();
    let labels =
        map.into_iter().flatten().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()));
    let expressions = list(selector, "/matchExpressions").map(|expression| {
        let key = expression["key"].as_str().unwrap_or_default();
        let mut values: Vec<_> = list(expression, "/values").filter_map(Value::as_str).collect();
        values.sort_unstable();
        match expression["operator"].as_str().unwrap_or_default() {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "Exists" => key.to_owned(),
            _ => format!("!{key}"),
        }
    });
    joined(labels.chain(expressions), NONE)
}

/// Names and images of the containers of a pod template, as two cells.
pub(super) fn containers(object: &Value, pointer: &str) -> [Value; 2] {
    let all: Vec<_> = list(object, pointer).collect();
    let of = |field: &str| {
        joined(all.iter().map(|container| container[field].as_str().unwrap_or_default().to_owned()), "")
    };
    [of("name"), of("image")]
}

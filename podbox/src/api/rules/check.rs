//! Judgements that many fields share, with their wording. Pure.

use super::names::{self, Wrong};
use crate::api::field::{Errors, Path, Reason};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Serialize;
use serde_json::Value;

/// What upstream says of what may not change.
pub const IMMUTABLE: &str = "field is immutable";

/// The text of an optional field, empty where there is none: Go's strings are never absent.
pub fn text(field: &Option<String>) -> &str {
    field.as_deref().unwrap_or_default()
}

/// A value as JSON.
pub fn json(value: impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// Each thing that is wrong with a text is an invalid value.
pub fn all(errors: &mut Errors, path: &Path, value: &str, wrong: Wrong) {
    for why in wrong {
        errors.invalid(path, value, why);
    }
}

/// A text that must be there and be in order.
pub fn named(errors: &mut Errors, path: &Path, value: &str, judge: fn(&str) -> Wrong) {
    if value.is_empty() {
        errors.required(path, "");
    } else {
        all(errors, path, value, judge(value));
    }
}

/// A text that must be in order if it is there.
pub fn maybe(errors: &mut Errors, path: &Path, value: &Option<String>, judge: fn(&str) -> Wrong) {
    if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
        all(errors, path, value, judge(value));
    }
}

/// A text that must not be missing.
pub fn present(errors: &mut Errors, path: &Path, value: &str) {
    if value.is_empty() {
        errors.required(path, "");
    }
}

/// A word out of a list.
pub fn one_of(errors: &mut Errors, path: &Path, value: &str, words: &[&str]) {
    if !words.contains(&value) {
        errors.not_supported(path, value, words);
    }
}

/// A word out of a list that must be there.
pub fn required_word(errors: &mut Errors, path: &Path, value: &str, words: &[&str]) {
    match value {
        "" => errors.required(path, ""),
        value => one_of(errors, path, value, words),
    }
}

/// A number that is not below zero.
pub fn non_negative(errors: &mut Errors, path: &Path, value: impl Into<i64>) {
    let value = value.into();
    if value < 0 {
        errors.invalid(path, value, "must be greater than or equal to 0");
    }
}

/// The same for a number that may be missing.
pub fn maybe_non_negative<T: Into<i64>>(errors: &mut Errors, path: &Path, value: Option<T>) {
    if let Some(value) = value {
        non_negative(errors, path, value);
    }
}

/// A number within bounds.
pub fn within(errors: &mut Errors, path: &Path, value: impl Into<i64>, least: i64, most: i64) {
    let value = value.into();
    if !(least..=most).contains(&value) {
        errors.invalid(path, value, format!("must be between {least} and {most}, inclusive"));
    }
}

/// The number of a port.
pub fn port(errors: &mut Errors, path: &Path, value: i32) {
    within(errors, path, value, 1, 65535);
}

/// A port by number or by name.
pub fn port_or_name(errors: &mut Errors, path: &Path, value: &IntOrString) {
    match value {
        IntOrString::Int(number) => port(errors, path, *number),
        IntOrString::String(name) => all(errors, path, name, names::port_name(name)),
    }
}

/// The ID of a user or group.
pub fn id(errors: &mut Errors, path: &Path, value: Option<i64>) {
    if let Some(value) = value {
        within(errors, path, value, 0, i64::from(i32::MAX));
    }
}

/// A count or a share, not below zero.
pub fn share(errors: &mut Errors, path: &Path, value: &IntOrString) {
    match value {
        IntOrString::Int(number) => non_negative(errors, path, *number),
        IntOrString::String(text) => all(errors, path, text, names::percent(text)),
    }
}

/// A share of at most everything.
pub fn at_most_all(errors: &mut Errors, path: &Path, value: &IntOrString) {
    if let IntOrString::String(text) = value
        && let Some(percent) = text.strip_suffix('%').and_then(|digits| digits.parse::<u64>().ok())
        && percent > 100
    {
        errors.invalid(path, text.as_str(), "must not be greater than 100%");
    }
}

/// Whether a count or share is nothing.
pub fn is_nothing(value: &IntOrString) -> bool {
    match value {
        IntOrString::Int(number) => *number == 0,
        IntOrString::String(text) => text.strip_suffix('%').and_then(|digits| digits.parse().ok()) == Some(0),
    }
}

/// What may not change.
pub fn immutable<T: PartialEq + Serialize>(errors: &mut Errors, path: &Path, new: &T, old: &T) {
    if new != old {
        errors.invalid(path, json(new), IMMUTABLE);
    }
}

/// The permission bits of a file.
pub fn mode(errors: &mut Errors, path: &Path, mode: Option<i32>) {
    if let Some(mode) = mode.filter(|mode| !(0..=0o777).contains(mode)) {
        errors.invalid(path, mode, "must be a number between 0 and 0777 (octal), both inclusive");
    }
}

/// A path that stays below the directory it is meant in.
pub fn local_path(errors: &mut Errors, path: &Path, value: &str) {
    if value.starts_with('/') {
        errors.invalid(path, value, "must be a relative path");
    }
    no_backsteps(errors, path, value);
}

/// A path without a step up.
pub fn no_backsteps(errors: &mut Errors, path: &Path, value: &str) {
    if value.split('/').any(|part| part == "..") {
        errors.invalid(path, value, "must not contain '..'");
    }
}

/// A text of a limited length.
pub fn at_most_bytes(errors: &mut Errors, path: &Path, value: &str, most: usize) {
    if value.len() > most {
        errors.add(Reason::TooLong, path, Value::Null, format!("may not be more than {most} bytes"));
    }
}

/// Where one JSON value differs from another: a line per field, for people who must undo a change.
pub fn changes(old: &Value, new: &Value) -> String {
    let mut lines = Vec::new();
    differences("", old, new, &mut lines);
    lines.join("\n")
}

fn differences(at: &str, old: &Value, new: &Value, lines: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(before), Value::Object(after)) => {
            let added = after.keys().filter(|key| !before.contains_key(*key));
            for key in before.keys().chain(added) {
                let side = |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or_default();
                let at = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                differences(&at, &side(before), &side(after), lines);
            }
        }
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            for (index, (before, after)) in before.iter().zip(after).enumerate() {
                differences(&format!("{at}[{index}]"), before, after, lines);
            }
        }
        (old, new) if old != new => lines.push(format!("{at}: {old} may not become {new}")),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn changes_are_told_field_by_field() {
        let old = json!({"a": [{"b": 1, "c": 2}], "d": "x"});
        let new = json!({"a": [{"b": 1, "c": 3}], "e": true});
        assert_eq!(
            changes(&old, &new),
            "a[0].c: 2 may not become 3\nd: \"x\" may not become null\ne: null may not become true"
        );
    }
}

//! What every object has, whatever its kind: reading and setting metadata on JSON. Pure.
//!
//! Setters make what is missing on the way; a value that is not an object is left as it is.

use jiff::Timestamp;
use serde_json::{Map, Value};
use std::time::{Duration, SystemTime};

/// A field of `metadata`, as a text; empty if it is not there.
pub fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

/// `metadata.name`.
pub fn name(object: &Value) -> &str {
    text(object, "name")
}

/// `metadata.namespace`; empty where there is none.
pub fn namespace(object: &Value) -> &str {
    text(object, "namespace")
}

/// `metadata.uid`.
pub fn uid(object: &Value) -> &str {
    text(object, "uid")
}

/// `metadata.generation`, 0 where it is not counted.
pub fn generation(object: &Value) -> i64 {
    object["metadata"]["generation"].as_i64().unwrap_or(0)
}

/// Whether it is being deleted.
pub fn deleting(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

/// `metadata.finalizers`.
pub fn finalizers(object: &Value) -> Vec<&str> {
    let list = object["metadata"]["finalizers"].as_array();
    list.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// `metadata`, made if it is not there. `None` if the object or its metadata is something else than an object.
pub fn metadata(object: &mut Value) -> Option<&mut Map<String, Value>> {
    object.as_object_mut()?.entry("metadata").or_insert_with(|| Value::Object(Map::new())).as_object_mut()
}

/// Sets a field of `metadata`; null takes it out.
pub fn set(object: &mut Value, field: &str, value: impl Into<Value>) {
    let Some(metadata) = metadata(object) else { return };
    match value.into() {
        Value::Null => drop(metadata.remove(field)),
        value => drop(metadata.insert(field.to_owned(), value)),
    }
}

/// Takes fields of `metadata` from another object, also their absence.
pub fn take(object: &mut Value, from: &Value, fields: &[&str]) {
    for field in fields {
        set(object, field, from["metadata"].get(*field).cloned().unwrap_or_default());
    }
}

/// Takes a top-level field from another object, also its absence.
pub fn take_part(object: &mut Value, from: &Value, part: &str) {
    let Some(fields) = object.as_object_mut() else { return };
    match from.get(part) {
        Some(value) => drop(fields.insert(part.to_owned(), value.clone())),
        None => drop(fields.remove(part)),
    }
}

/// Takes out an annotation, and their map if it was the last.
pub fn remove_annotation(object: &mut Value, key: &str) {
    let Some(metadata) = metadata(object) else { return };
    let Some(all) = metadata.get_mut("annotations").and_then(Value::as_object_mut) else { return };
    all.remove(key);
    if all.is_empty() {
        metadata.remove("annotations");
    }
}

/// A label's value.
pub fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object["metadata"]["labels"].get(key)?.as_str()
}

/// Whether its status says that this condition holds.
pub fn holds(object: &Value, condition: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|one| one["type"] == condition && one["status"] == "True")
}

/// A time as the API writes it: UTC, in whole seconds.
pub fn time(at: SystemTime) -> String {
    let at = Timestamp::try_from(at).unwrap_or(Timestamp::UNIX_EPOCH);
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A time as leases have it: UTC, in microseconds.
pub fn micro_time(at: SystemTime) -> String {
    let at = Timestamp::try_from(at).unwrap_or(Timestamp::UNIX_EPOCH);
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// A span as the API writes it: `10.5s`, `1m0s`, `2h0m30s`.
pub fn duration(span: Duration) -> String {
    let (minutes, seconds) = (span.as_secs() / 60, span.as_secs() % 60);
    let fraction = format!("{:09}", span.subsec_nanos());
    let seconds = format!("{seconds}.{fraction}");
    let seconds = seconds.trim_end_matches('0').trim_end_matches('.');
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// Reads a span as people write it, one number and one unit: `200ms`, `1.5s`, `2m`, `1h`.
pub fn read_duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()
}

/// Reads a time as the API writes it.
pub fn read_time(text: &str) -> Option<SystemTime> {
    text.parse::<Timestamp>().ok().map(SystemTime::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn metadata_is_read_and_set() {
        let mut object = json!({});
        set(&mut object, "name", "a");
        set(&mut object, "uid", Value::Null);
        assert_eq!((name(&object), uid(&object), deleting(&object)), ("a", "", false));
        take(&mut object, &json!({"metadata": {"uid": "u"}}), &["uid", "name"]);
        assert_eq!(object, json!({"metadata": {"uid": "u"}}));
    }

    #[test]
    fn times_are_whole_seconds() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_500);
        assert_eq!(time(at), "1970-01-01T00:00:01Z");
        assert!(read_time(&time(at)).is_some_and(|read| read < at));
    }

    #[test]
    fn spans_are_written_as_go_writes_them() {
        let check = |millis, expected| assert_eq!(duration(Duration::from_millis(millis)), expected);
        check(0, "0s");
        check(10_500, "10.5s");
        check(10, "0.01s");
        check(60_000, "1m0s");
        check(7_230_001, "2h0m30.001s");
    }

    #[test]
    fn spans_are_read_as_people_write_them() {
        let millis = |text| read_duration(text).map(|span| span.as_millis());
        let expected = [200, 1_500, 120_000, 3_600_000].map(Some);
        assert_eq!(["200ms", "1.5s", "2m", "1h"].map(millis), expected);
        assert_eq!(["", "1", "s", "-1s", "nans", "1d", "1h30m"].map(millis), [None; 7]);
    }

    #[test]
    fn a_condition_holds_if_it_says_so() {
        let conditions =
            json!([{"type": "Ready", "status": "False"}, {"type": "Initialized", "status": "True"}]);
        let pod = json!({"status": {"conditions": conditions}});
        assert_eq!(["Initialized", "Ready", "PodScheduled"].map(|of| holds(&pod, of)), [true, false, false]);
        assert!(!holds(&json!({}), "Ready"));
    }
}

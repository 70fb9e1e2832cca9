//! Labels, annotations and label selectors. Pure.

use super::check::{self, all};
use super::names;
use crate::api::field::{Errors, Path, Reason};
use crate::api::selector::Labels;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::Value;
use std::collections::BTreeMap;

/// Labels: of objects, of templates, of nodes to be selected.
pub type Map = BTreeMap<String, String>;

/// How large all annotations of an object may be together.
const ANNOTATIONS_BYTES: usize = 256 << 10;

/// Labels of an object, or those that a selector is made of.
pub fn labels(errors: &mut Errors, path: &Path, labels: &Option<Map>) {
    for (key, value) in labels.iter().flatten() {
        all(errors, path, key, names::qualified(key));
        all(errors, path, value, names::label_value(value));
    }
}

/// Annotations of an object.
pub fn annotations(errors: &mut Errors, path: &Path, annotations: &Option<Map>) {
    let mut size = 0;
    for (key, value) in annotations.iter().flatten() {
        // Upstream has never minded upper case in an annotation's domain.
        all(errors, path, key, names::qualified(&key.to_lowercase()));
        size += key.len() + value.len();
    }
    if size > ANNOTATIONS_BYTES {
        let most = format!("may not be more than {ANNOTATIONS_BYTES} bytes");
        errors.add(Reason::TooLong, path, Value::Null, most);
    }
}

/// A label selector.
pub fn selector(errors: &mut Errors, path: &Path, selector: &LabelSelector) {
    labels(errors, &path.child("matchLabels"), &selector.match_labels);
    let expressions = path.child("matchExpressions");
    for (index, expression) in selector.match_expressions.iter().flatten().enumerate() {
        let at = expressions.index(index);
        let values = expression.values.as_deref().unwrap_or_default();
        match expression.operator.as_str() {
            "In" | "NotIn" if values.is_empty() => {
                errors.required(&at.child("values"), "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "In" | "NotIn" => {}
            "Exists" | "DoesNotExist" if !values.is_empty() => errors.forbidden(
                &at.child("values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            ),
            "Exists" | "DoesNotExist" => {}
            other => errors.invalid(&at.child("operator"), other, "not a valid selector operator"),
        }
        all(errors, &at.child("key"), &expression.key, names::qualified(&expression.key));
        for (number, value) in values.iter().enumerate() {
            all(errors, &at.child("values").index(number), value, names::label_value(value));
        }
    }
}

/// A label selector that may be missing.
pub fn maybe_selector(errors: &mut Errors, path: &Path, given: &Option<LabelSelector>) {
    if let Some(given) = given {
        selector(errors, path, given);
    }
}

/// Whether a selector asks for nothing.
pub fn is_empty(selector: &LabelSelector) -> bool {
    selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty)
}

/// Whether a selector can be understood: its operators are known and have the values they need.
pub fn is_sound(given: &LabelSelector) -> bool {
    let mut errors = Errors::default();
    selector(&mut errors, &Path::ROOT, given);
    errors.is_empty()
}

/// Whether a selector matches labels. One that asks for nothing matches everything.
pub fn matches(selector: &LabelSelector, labels: Option<&Map>) -> bool {
    Labels::of(selector).matches(|key| labels.and_then(|labels| labels.get(key)).map(String::as_str))
}

/// Notes in an object that it has no `spec.selector`, which is not the same as one that asks for nothing: the one
/// is missing, the other too wide. The types cannot tell them apart.
pub fn note_absence(object: &mut Value) {
    let spec = object.get_mut("spec").and_then(Value::as_object_mut);
    if let Some(spec) = spec
        && spec.get("selector").is_none_or(Value::is_null)
    {
        let absent = serde_json::json!({"matchLabels": {}, "matchExpressions": []});
        spec.insert("selector".to_owned(), absent);
    }
}

/// Whether that was noted.
pub fn is_noted_absent(object: &Value) -> bool {
    object["spec"]["selector"] == serde_json::json!({"matchLabels": {}, "matchExpressions": []})
}

/// A selector, unless it was noted as absent.
pub fn given(selector: &LabelSelector) -> Option<&LabelSelector> {
    let absent = selector.match_labels.as_ref().is_some_and(BTreeMap::is_empty)
        && selector.match_expressions.as_ref().is_some_and(Vec::is_empty);
    (!absent).then_some(selector)
}

/// A selector as upstream shows it, which is in its own order of fields.
pub fn shown(selector: Option<&LabelSelector>) -> String {
    let Some(selector) = selector else { return "null".to_owned() };
    let mut parts = Vec::new();
    if let Some(labels) = selector.match_labels.as_ref().filter(|labels| !labels.is_empty()) {
        parts.push(format!("\"matchLabels\":{}", check::json(labels)));
    }
    if let Some(list) = selector.match_expressions.as_ref().filter(|list| !list.is_empty()) {
        parts.push(format!("\"matchExpressions\":{}", check::json(list)));
    }
    format!("{{{}}}", parts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_selectors_operators_need_the_values_they_need() {
        let given: LabelSelector = serde_json::from_value(json!({"matchExpressions": [
            {"key": "a", "operator": "In"},
            {"key": "b", "operator": "Exists", "values": ["x"]},
            {"key": "c d", "operator": "Near"},
        ]}))
        .unwrap();
        let mut errors = Errors::default();
        selector(&mut errors, &Path::ROOT, &given);
        let fields: Vec<_> = errors.0.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "matchExpressions[0].values",
                "matchExpressions[1].values",
                "matchExpressions[2].operator",
                "matchExpressions[2].key"
            ]
        );
    }
}

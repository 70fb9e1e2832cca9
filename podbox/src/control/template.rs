//! Pod templates: whether two are the same, and the short text by which a ReplicaSet and its pods are named.

use serde_json::Value;

/// The label that tells the pods of one template from those of another.
pub const HASH: &str = "pod-template-hash";

/// Letters of which no word can be made.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Whether two templates are the same, but for that label.
pub fn same(a: &Value, b: &Value) -> bool {
    plain(a) == plain(b)
}

/// A template without that label, and without empty metadata, which may be written or not.
fn plain(template: &Value) -> Value {
    let mut plain = template.clone();
    if let Some(labels) = plain["metadata"]["labels"].as_object_mut() {
        labels.remove(HASH);
    }
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    };
    for path in ["labels", "annotations", "creationTimestamp"] {
        if let Some(metadata) = plain["metadata"].as_object_mut()
            && metadata.get(path).is_some_and(is_empty)
        {
            metadata.remove(path);
        }
    }
    plain
}

/// A number from a template and how often that number was taken: FNV-1a of its JSON, whose fields are in order.
///
/// Upstream's is of another form of the template, so the same template has another number there; nothing but names depends on it.
pub fn hash(template: &Value, collisions: i32) -> String {
    let mut hash: u32 = 0x811c_9dc5;
    let mut add = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    };
    add(sorted(template).to_string().as_bytes());
    if collisions > 0 {
        add(&collisions.to_le_bytes());
    }
    hash.to_string().bytes().map(|digit| char::from(LETTERS[usize::from(digit) % LETTERS.len()])).collect()
}

/// With fields in the order of their names, however they came.
pub fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let sorted: std::collections::BTreeMap<_, _> = fields.iter().collect();
            Value::Object(
                sorted.into_iter().map(|(name, value)| (name.clone(), self::sorted(value))).collect(),
            )
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        value => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_hash_is_no_part_of_a_template() {
        let plain = json!({"metadata": {"labels": {"app": "x"}}, "spec": {"a": 1}});
        let mut marked = plain.clone();
        marked["metadata"]["labels"][HASH] = "abc".into();
        assert!(same(&plain, &marked));
        marked["spec"]["a"] = 2.into();
        assert!(!same(&plain, &marked));
        assert!(same(&json!({"metadata": {"labels": {}}}), &json!({"metadata": {"labels": {HASH: "a"}}})));
    }

    #[test]
    fn a_hash_is_short_and_another_after_a_collision() {
        let template = json!({"spec": {"a": 1, "b": 2}});
        let first = hash(&template, 0);
        assert_eq!(first, hash(&json!({"spec": {"b": 2, "a": 1}}), 0));
        assert_ne!(first, hash(&template, 1));
        assert!(first.len() <= 10 && first.bytes().all(|letter| LETTERS.contains(&letter)), "{first}");
    }
}

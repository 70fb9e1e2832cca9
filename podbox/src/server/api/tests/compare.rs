//! What is told, beside what was recorded: equal but for what differs from run to run, which the recordings have
//! placeholders for.

use serde_json::Value;

/// Whether a text is the recorded one, with anything in the places of placeholders.
fn alike(ours: &str, theirs: &str) -> bool {
    let Some((before, rest)) = theirs.split_once('<') else { return ours == theirs };
    let Some((_, after)) = rest.split_once('>').filter(|(name, _)| PLACEHOLDERS.contains(name)) else {
        let Some(ours) = ours.strip_prefix(before).and_then(|ours| ours.strip_prefix('<')) else {
            return false;
        };
        return alike(ours, rest);
    };
    let Some(ours) = ours.strip_prefix(before) else { return false };
    if after.is_empty() {
        return !ours.is_empty();
    }
    ours.char_indices().any(|(at, _)| alike(&ours[at..], after))
}

const PLACEHOLDERS: [&str; 9] =
    ["uid", "time", "rv", "continue", "clusterIP", "nodePort", "suffix", "age", "managedFields"];

fn is_placeholder(text: &str) -> bool {
    text.strip_prefix('<')
        .and_then(|rest| rest.strip_suffix('>'))
        .is_some_and(|name| PLACEHOLDERS.contains(&name))
}

/// Where and how an answer differs from the recorded one.
pub fn differences(ours: &Value, theirs: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("", ours, theirs, &mut found);
    found
}

fn compare(at: &str, ours: &Value, theirs: &Value, found: &mut Vec<String>) {
    match (ours, theirs) {
        // What was dropped to save space.
        (_, Value::String(text)) if text == "<managedFields>" => {}
        (Value::Null, _) | (_, Value::Null) if ours != theirs => found.push(told(at, ours, theirs)),
        (_, Value::String(text)) if is_placeholder(text) => {}
        (Value::String(ours), Value::String(theirs)) if alike(ours, theirs) => {}
        (Value::Object(one), Value::Object(other)) => {
            // A key may have a placeholder in it, too.
            let named = |key: &String| other.keys().find(|theirs| alike(key, theirs));
            let missing = other.keys().filter(|key| !one.keys().any(|ours| alike(ours, key)));
            for key in one.keys() {
                let expected = named(key).map_or(&Value::Null, |name| &theirs[name.as_str()]);
                compare(&format!("{at}.{key}"), &ours[key.as_str()], expected, found);
            }
            for key in missing {
                compare(&format!("{at}.{key}"), &Value::Null, &theirs[key.as_str()], found);
            }
        }
        (Value::Array(one), Value::Array(other)) if at.ends_with(".managedFields") => {
            sets(at, one, other, found)
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (index, (ours, theirs)) in one.iter().zip(other).enumerate() {
                compare(&format!("{at}[{index}]"), ours, theirs, found);
            }
        }
        (ours, theirs) if ours == theirs => {}
        (ours, theirs) => found.push(told(at, ours, theirs)),
    }
}

/// Entries of one second may come in any order.
fn sets(at: &str, ours: &[Value], theirs: &[Value], found: &mut Vec<String>) {
    let mut left: Vec<_> = ours.iter().collect();
    for expected in theirs {
        match left.iter().position(|entry| differences(entry, expected).is_empty()) {
            Some(index) => drop(left.remove(index)),
            None => found.push(told(at, &Value::Null, expected)),
        }
    }
    found.extend(left.into_iter().map(|entry| told(at, entry, &Value::Null)));
}

fn told(at: &str, ours: &Value, theirs: &Value) -> String {
    format!("{at}: {ours}, not {theirs}")
}

#[test]
fn placeholders_stand_for_anything_but_nothing() {
    assert!(alike("a 12 b", "a <rv> b") && !alike("a  b", "a <rv> c") && !alike("", "<rv>"));
    assert!(alike("<none>", "<none>") && alike("must < 3", "must < 3") && !alike("must < 4", "must < 3"));
}

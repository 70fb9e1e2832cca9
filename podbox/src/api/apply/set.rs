//! Sets of fields as `managedFields` has them: a tree whose steps are written as in `FieldsV1`, `f:spec`,
//! `k:{"name":"c"}`, `v:"a"`. Knows no schema.

use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A field of the set, and those below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// Whether the field itself is in the set.
    pub member: bool,
    /// Fields below it, by their steps.
    pub below: BTreeMap<Box<str>, Set>,
}

/// Nesting of a set that is read at most; a deeper one is not one that was written here.
const DEPTH: usize = 100;

impl Set {
    /// A field that is a member and has none below.
    pub fn leaf() -> Set {
        Set { member: true, below: BTreeMap::new() }
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        !self.member && self.below.is_empty()
    }

    /// Puts what lies below a step, unless that is nothing.
    pub fn put(&mut self, step: impl Into<Box<str>>, set: Set) {
        if !set.is_empty() {
            self.below.insert(step.into(), set);
        }
    }

    /// Reads `fieldsV1`.
    pub fn read(fields: &Value) -> Set {
        Set::read_at(fields, 0)
    }

    fn read_at(fields: &Value, depth: usize) -> Set {
        let mut set = Set::default();
        let Some(fields) = fields.as_object().filter(|_| depth < DEPTH) else { return set };
        for (step, below) in fields {
            if step == "." {
                set.member = true;
                continue;
            }
            let mut below_it = Set::read_at(below, depth + 1);
            // What has nothing below it is there for itself.
            below_it.member |= below_it.below.is_empty();
            set.below.insert(canonical(step), below_it);
        }
        set
    }

    /// Writes `fieldsV1`.
    pub fn write(&self) -> Value {
        let mut fields = Map::new();
        if self.member && !self.below.is_empty() {
            fields.insert(".".to_owned(), Value::Object(Map::new()));
        }
        for (step, below) in &self.below {
            fields.insert(step.to_string(), below.write());
        }
        Value::Object(fields)
    }

    /// Adds another's fields.
    pub fn add(&mut self, other: &Set) {
        self.member |= other.member;
        for (step, below) in &other.below {
            match self.below.get_mut(step) {
                Some(own) => own.add(below),
                None => drop(self.below.insert(step.clone(), below.clone())),
            }
        }
    }

    /// Takes another's fields away.
    pub fn subtract(&mut self, other: &Set) {
        self.member &= !other.member;
        for (step, below) in &other.below {
            if let Some(own) = self.below.get_mut(step) {
                own.subtract(below);
                if own.is_empty() {
                    self.below.remove(step);
                }
            }
        }
    }

    /// Takes a field away with all below it.
    pub fn cut(&mut self, path: &[&str]) {
        match path {
            [] => *self = Set::default(),
            [step] => drop(self.below.remove(*step)),
            [step, rest @ ..] => {
                if let Some(below) = self.below.get_mut(*step) {
                    below.cut(rest);
                    if below.is_empty() {
                        self.below.remove(*step);
                    }
                }
            }
        }
    }

    /// The fields that both have.
    pub fn common(&self, other: &Set) -> Set {
        let mut common = Set { member: self.member && other.member, below: BTreeMap::new() };
        for (step, below) in &self.below {
            if let Some(others) = other.below.get(step) {
                common.put(step.clone(), below.common(others));
            }
        }
        common
    }

    /// The members' paths, as errors show them: `.spec.containers[name="c"].image`.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.paths_below("", &mut paths);
        paths
    }

    fn paths_below(&self, path: &str, paths: &mut Vec<String>) {
        for (step, below) in &self.below {
            let path = format!("{path}{}", shown(step));
            if below.member {
                paths.push(path.clone());
            }
            below.paths_below(&path, paths);
        }
    }
}

/// A step as errors show it.
fn shown(step: &str) -> String {
    match step.split_once(':') {
        Some(("f", name)) => format!(".{name}"),
        Some(("v", value)) => format!("[={value}]"),
        Some(("k", keys)) => {
            let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
            let keys: Vec<_> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("[{}]", keys.join(","))
        }
        Some(("i", index)) => format!("[{index}]"),
        _ => step.to_owned(),
    }
}

/// A step as it is written here: a client may have put blanks into its JSON, or keys into another order.
fn canonical(step: &str) -> Box<str> {
    let json = match step.split_once(':') {
        Some((kind @ ("k" | "v"), json)) => serde_json::from_str::<Value>(json).ok().map(|json| (kind, json)),
        _ => None,
    };
    json.map_or_else(|| step.into(), |(kind, json)| format!("{kind}:{json}").into())
}

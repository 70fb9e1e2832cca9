//! Walks over objects along their schema: which fields one has, what differs between two, one merged into the other, fields
//! taken out. Knows no managers.

use super::set::Set;
use crate::api::schema::{Field, ListType, Schema, Type};
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};

/// What is known of a value's place.
#[derive(Clone, Copy)]
pub struct Place<'s> {
    schema: &'s Schema,
    kind: &'s Type,
    /// The field that it is, if it is a structure's.
    field: Option<&'s Field>,
}

/// How a value is owned.
enum Owned<'s> {
    /// As a whole.
    Whole,
    /// By what is in it.
    Map,
    /// By its plain values.
    Set,
    /// By its items, which these fields tell apart.
    Items(&'s [Box<str>]),
}

/// What differs between two objects.
#[derive(Default)]
pub struct Differences {
    /// What came or changed.
    pub set: Set,
    /// What went.
    pub removed: Set,
}

impl<'s> Place<'s> {
    /// An object of that type.
    pub fn root(schema: &'s Schema, kind: &'s Type) -> Place<'s> {
        Place { schema, kind, field: None }
    }

    fn member(self, key: &str) -> Place<'s> {
        let at = |kind, field| Place { schema: self.schema, kind, field };
        match self.kind {
            Type::Struct(id) => {
                let field = self.schema.definition(*id).field(key);
                field.map_or(at(&Type::Any, None), |field| at(&field.kind, Some(field)))
            }
            Type::Map(of) => at(of, None),
            _ => at(&Type::Any, None),
        }
    }

    fn item(self) -> Place<'s> {
        let kind = if let Type::List(of) = self.kind { of } else { &Type::Any };
        Place { schema: self.schema, kind, field: None }
    }

    fn owned(self) -> Owned<'s> {
        let told = self.field.and_then(|field| field.atomic);
        match self.kind {
            Type::Struct(id) if told.unwrap_or(self.schema.definition(*id).atomic) => Owned::Whole,
            Type::Struct(_) => Owned::Map,
            Type::Map(_) | Type::Any if told == Some(true) => Owned::Whole,
            Type::Map(_) | Type::Any => Owned::Map,
            Type::List(_) => match self.field.map(|field| &field.list) {
                Some(ListType::Set) => Owned::Set,
                Some(ListType::Map(keys)) => Owned::Items(keys),
                _ => Owned::Whole,
            },
            _ => Owned::Whole,
        }
    }

    /// Whether upstream's objects have this even when it is silent: what is required is written as null.
    fn always(self) -> bool {
        let time = matches!(self.kind, Type::Time | Type::MicroTime);
        self.field.is_some_and(|field| field.always || field.required || time)
    }

    /// Whether a key is a field that the schema knows.
    fn knows(self, key: &str) -> bool {
        matches!(self.kind, Type::Struct(id) if self.schema.definition(*id).field(key).is_some())
    }

    /// The step to an item of a list.
    fn step(self, item: &Value) -> Result<Box<str>, String> {
        match self.owned() {
            Owned::Items(keys) => {
                let mut named = Map::new();
                for key in keys {
                    let value = item.get(&**key).cloned().or_else(|| {
                        let field = self.item().member(key).field?;
                        field.default.as_deref().map(Value::from)
                    });
                    let value = value.ok_or_else(|| {
                        format!("associative list with keys has an element that omits key field {key:?} (and doesn't have default value)")
                    })?;
                    named.insert(key.to_string(), value);
                }
                Ok(format!("k:{}", Value::Object(named)).into())
            }
            _ => Ok(format!("v:{item}").into()),
        }
    }

    /// The items of a list by their steps. Of those that are the same, the first counts; one without its keys has none.
    fn items(self, list: &[Value]) -> Vec<(Box<str>, &Value)> {
        list.iter().filter_map(|item| Some((self.step(item).ok()?, item))).collect()
    }
}

const EMPTY: &Value = &Value::Null;

fn step(key: &str) -> Box<str> {
    format!("f:{key}").into()
}

/// The fields that a configuration has. An error names a list whose items cannot be told apart.
pub fn fields(value: &Value, at: Place<'_>, path: &str) -> Result<Set, String> {
    let mut set = Set::default();
    match (at.owned(), value) {
        (Owned::Map, Value::Object(map)) => {
            for (key, value) in map {
                let mut below = fields(value, at.member(key), &format!("{path}.{key}"))?;
                let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                below.member |= empty || !at.knows(key);
                set.put(step(key), below);
            }
        }
        (Owned::Set | Owned::Items(_), Value::Array(list)) => {
            for item in list {
                let step = at.step(item).map_err(|why| format!("{path}: {why}"))?;
                let mut below = match at.owned() {
                    Owned::Items(_) => fields(item, at.item(), &format!("{path}{step}"))?,
                    _ => Set::default(),
                };
                below.member = true;
                if set.below.insert(step.clone(), below).is_some() {
                    let mut one = Set::default();
                    one.put(step, Set::leaf());
                    let shown = one.paths().concat();
                    return Err(format!("{path}: duplicate entries for key {shown}"));
                }
            }
        }
        _ => set.member = true,
    }
    Ok(set)
}

/// What came, changed or went from `old` to `new`.
pub fn compare(old: &Value, new: &Value, at: Place<'_>) -> Differences {
    let mut differences = Differences::default();
    compare_at(Some(old), Some(new), at, &mut differences);
    differences
}

fn compare_at(old: Option<&Value>, new: Option<&Value>, at: Place<'_>, into: &mut Differences) {
    if old == new {
        return;
    }
    let hollow = |value: Option<&Value>| match value {
        None | Some(Value::Null) => true,
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        _ => false,
    };
    let both_hollow = hollow(old) && hollow(new);
    if both_hollow && (matches!(at.kind, Type::List(_) | Type::Map(_)) || (old.is_some() && new.is_some())) {
        // Nothing, written in two ways: what is empty is not stored.
        return;
    }
    let owned = if both_hollow { Owned::Whole } else { at.owned() };
    match (owned, old.unwrap_or(EMPTY), new.unwrap_or(EMPTY)) {
        (Owned::Map, Value::Object(_) | Value::Null, Value::Object(_) | Value::Null) => {
            compare_maps(old, new, at, into);
        }
        (Owned::Set | Owned::Items(_), Value::Array(_) | Value::Null, Value::Array(_) | Value::Null) => {
            let (before, after) = (old.and_then(Value::as_array), new.and_then(Value::as_array));
            let before = before.map(|list| at.items(list)).unwrap_or_default();
            let after = after.map(|list| at.items(list)).unwrap_or_default();
            let by_step: HashMap<_, _> = before.iter().rev().map(|(step, item)| (&**step, *item)).collect();
            let kept: HashMap<_, _> = after.iter().map(|(step, _)| (&**step, ())).collect();
            for (step, item) in &after {
                descend(step, by_step.get(&**step).copied(), Some(item), at.item(), into);
            }
            for (step, item) in before.iter().filter(|(step, _)| !kept.contains_key(&**step)) {
                descend(step, Some(item), None, at.item(), into);
            }
        }
        // What was a leaf, or becomes one.
        _ => {
            let change = if new.is_none() { &mut into.removed } else { &mut into.set };
            change.member = true;
        }
    }
    into.set.member |= old.is_none();
    into.removed.member |= new.is_none();
}

fn compare_maps(old: Option<&Value>, new: Option<&Value>, at: Place<'_>, into: &mut Differences) {
    let none = Map::new();
    let (before, after) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
    let (before, after) = (before.unwrap_or(&none), after.unwrap_or(&none));
    for (key, value) in after.iter() {
        let place = at.member(key);
        // A structure that upstream always has was there, empty, as far as its owner was.
        let silent = (old.is_some() && place.always()).then_some(EMPTY);
        descend(&step(key), before.get(key).or(silent), Some(value), place, into);
    }
    for (key, value) in before.iter().filter(|(key, _)| !after.contains_key(*key)) {
        let place = at.member(key);
        let silent = (new.is_some() && place.always()).then_some(EMPTY);
        descend(&step(key), Some(value), silent, place, into);
    }
}

fn descend(step: &str, old: Option<&Value>, new: Option<&Value>, at: Place<'_>, into: &mut Differences) {
    let mut below = Differences::default();
    compare_at(old, new, at, &mut below);
    into.set.put(step, below.set);
    into.removed.put(step, below.removed);
}

/// Merges a configuration into an object.
pub fn merge(into: &mut Value, config: &Value, at: Place<'_>) {
    match (at.owned(), into, config) {
        (Owned::Map, Value::Object(map), Value::Object(config)) => {
            for (key, value) in config {
                match map.get_mut(key) {
                    Some(there) => merge(there, value, at.member(key)),
                    None => drop(map.insert(key.clone(), value.clone())),
                }
            }
        }
        (Owned::Set | Owned::Items(_), Value::Array(list), Value::Array(config)) => {
            let there = std::mem::take(list);
            *list = merge_lists(there, config, at);
        }
        (_, into, config) => into.clone_from(config),
    }
}

/// The items in the configuration's order, those that it does not have behind the ones that they followed.
fn merge_lists(there: Vec<Value>, config: &[Value], at: Place<'_>) -> Vec<Value> {
    let wanted: Vec<_> = config.iter().map(|item| at.step(item).unwrap_or_default()).collect();
    let mut there: Vec<_> =
        there.into_iter().map(|item| (at.step(&item).unwrap_or_default(), Some(item))).collect();
    let both: HashSet<&str> = wanted.iter().map(|step| &**step).collect();
    // Where each step's items are, the first of them last.
    let mut places: HashMap<Box<str>, Vec<usize>> = HashMap::new();
    for (index, (step, _)) in there.iter().enumerate().rev() {
        places.entry(step.clone()).or_default().push(index);
    }
    let mut merged = Vec::new();
    let mut next = 0;
    for (step, item) in wanted.iter().zip(config) {
        // What only the object has comes before the next that both have.
        while let Some((own, rest)) = there.get_mut(next) {
            if both.contains(&**own) {
                break;
            }
            merged.extend(rest.take());
            next += 1;
        }
        match places.get_mut(step).and_then(Vec::pop) {
            Some(index) => {
                let mut own = there[index].1.take().unwrap_or_default();
                merge(&mut own, item, at.item());
                merged.push(own);
            }
            None => merged.push(item.clone()),
        }
        while there.get(next).is_some_and(|(_, rest)| rest.is_none()) {
            next += 1;
        }
    }
    merged.extend(there.into_iter().filter_map(|(_, rest)| rest));
    merged
}

/// Takes the fields of `gone` that `kept` does not have out of an object.
pub fn remove(from: &mut Value, gone: &Set, kept: &Set, at: Place<'_>) {
    match from {
        Value::Object(map) => {
            for (step, below) in &gone.below {
                let Some(key) = step.strip_prefix("f:") else { continue };
                match kept.below.get(step) {
                    None => drop(map.remove(key)),
                    Some(kept) => {
                        if let Some(value) = map.get_mut(key) {
                            remove(value, below, kept, at.member(key));
                        }
                    }
                }
            }
        }
        Value::Array(list) => list.retain_mut(|item| {
            let Ok(step) = at.step(item) else { return true };
            match (gone.below.get(&step), kept.below.get(&step)) {
                (None, _) => true,
                (Some(gone), Some(kept)) if kept.member => {
                    remove(item, gone, kept, at.item());
                    true
                }
                (Some(gone), _) => !gone.member,
            }
        }),
        _ => {}
    }
}

/// Takes out lists and maps that are empty and need not be there, as upstream does not write them.
pub fn prune(value: &mut Value, at: Place<'_>) {
    match (value, at.kind) {
        (Value::Object(map), Type::Struct(_)) => map.retain(|key, value| {
            let place = at.member(key);
            prune(value, place);
            let required = place.field.is_none_or(|field| field.required);
            match (value, place.kind) {
                (Value::Object(map), Type::Map(_)) => required || !map.is_empty(),
                (Value::Array(list), Type::List(_)) => required || !list.is_empty(),
                _ => true,
            }
        }),
        (Value::Object(map), Type::Map(_)) => {
            map.iter_mut().for_each(|(key, value)| prune(value, at.member(key)));
        }
        (Value::Array(list), Type::List(_)) => list.iter_mut().for_each(|item| prune(item, at.item())),
        _ => {}
    }
}

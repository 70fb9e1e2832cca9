//! Strategic merge patches: merge patches that know from the schema which lists merge, and take directives.
//!
//! `$patch: delete|replace|merge` in a map or as an item of a list, `$deleteFromPrimitiveList/FIELD`, `$setElementOrder/FIELD`
//! and `$retainKeys`. What has no schema merges as by RFC 7386.

use super::shown;
use crate::api::schema::{Field, Patch, Schema, Type};
use crate::api::status::ApiError;
use crate::limits;
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};

const DIRECTIVE: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const DELETE: &str = "$deleteFromPrimitiveList/";
const ORDER: &str = "$setElementOrder/";

/// Merges `patch` into `target`, an object of type `kind`.
pub fn apply(target: &mut Value, patch: Value, schema: &Schema, kind: &Type) -> Result<(), ApiError> {
    let Value::Object(patch) = patch else {
        return Err(ApiError::bad_request("a strategic merge patch must be an object"));
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(fields) = target else { return Ok(()) };
    map(fields, patch, schema, kind)
}

fn bad_directive(word: Value, mut patch: Map<String, Value>) -> ApiError {
    let named = shown(&word);
    patch.insert(DIRECTIVE.to_owned(), word);
    ApiError::internal(format!("unknown patch type: {named} in map: {}", shown(&Value::Object(patch))))
}

/// Merges a map or a structure.
fn map(
    target: &mut Map<String, Value>,
    mut patch: Map<String, Value>,
    schema: &Schema,
    kind: &Type,
) -> Result<(), ApiError> {
    match patch.remove(DIRECTIVE) {
        None => {}
        Some(Value::String(word)) if word == "merge" => {}
        Some(Value::String(word)) if word == "replace" => {
            *target = patch;
            return Ok(());
        }
        Some(Value::String(word)) if word == "delete" => {
            target.clear();
            return Ok(());
        }
        Some(other) => return Err(bad_directive(other, patch)),
    }
    if let Some(Value::Array(keep)) = patch.remove(RETAIN) {
        target.retain(|key, _| keep.iter().any(|kept| kept == key));
    }
    let (directives, plain): (Vec<_>, Vec<_>) = patch.into_iter().partition(|(key, _)| key.starts_with('$'));
    let mut orders: Vec<Order> = Vec::new();
    for (key, value) in directives {
        let Value::Array(values) = value else {
            return Err(ApiError::internal(format!("{key} must be a list")));
        };
        if let Some(name) = key.strip_prefix(DELETE) {
            if let Some(Value::Array(items)) = target.get_mut(name) {
                items.retain(|item| !values.contains(item));
            }
        } else if let Some(name) = key.strip_prefix(ORDER) {
            orders.push(Order::new(name, &values, target, &field(schema, kind, name)));
        }
    }
    for (key, value) in plain {
        let field = field(schema, kind, &key);
        // The order of a patch's items is told, if not apart, by the patch.
        if let (Value::Array(items), true) = (&value, field.patch.is_some_and(|patch| patch.merge))
            && !orders.iter().any(|order| order.field == key)
        {
            orders.push(Order::new(&key, items, target, &field));
        }
        member(target, key, value, schema, &field)?;
    }
    orders.iter().for_each(|order| order.apply(target));
    Ok(())
}

/// What is known of a member of a map or a structure.
struct Member<'s> {
    kind: &'s Type,
    patch: Option<&'s Patch>,
}

fn field<'s>(schema: &'s Schema, kind: &'s Type, key: &str) -> Member<'s> {
    let known: Option<&Field> = match kind {
        Type::Struct(id) => schema.definition(*id).field(key),
        Type::Map(of) => return Member { kind: of, patch: None },
        _ => None,
    };
    known.map_or(Member { kind: &Type::Any, patch: None }, |field| Member {
        kind: &field.kind,
        patch: Some(&field.patch),
    })
}

fn member(
    target: &mut Map<String, Value>,
    key: String,
    value: Value,
    schema: &Schema,
    of: &Member<'_>,
) -> Result<(), ApiError> {
    let merges = of.patch.is_some_and(|patch| patch.merge);
    let replaces = of.patch.is_some_and(|patch| patch.replace);
    match (value, of.kind) {
        (Value::Null, _) => {
            target.remove(&key);
        }
        (Value::Object(patch), kind) if !replaces => {
            let directive = patch.get(DIRECTIVE).and_then(Value::as_str);
            // Recorded: a map that is not there is not replaced either.
            if directive == Some("delete") || (directive == Some("replace") && !target.contains_key(&key)) {
                target.remove(&key);
                return Ok(());
            }
            let there = target.entry(key).or_insert(Value::Null);
            if !there.is_object() {
                *there = Value::Object(Map::new());
            }
            if let Value::Object(there) = there {
                map(there, patch, schema, kind)?;
            }
        }
        (Value::Array(patch), Type::List(item)) if merges => {
            let there = target.entry(key).or_insert(Value::Null);
            let mut items = match there.take() {
                Value::Array(items) => items,
                _ => Vec::new(),
            };
            match of.patch.and_then(|patch| patch.key.as_deref()) {
                Some(key) => list(&mut items, patch, key, schema, item)?,
                None => {
                    let mut there: HashSet<Value> = items.iter().cloned().collect();
                    items.extend(patch.into_iter().filter(|value| there.insert(value.clone())));
                }
            }
            *there = Value::Array(items);
        }
        (value, _) => {
            target.insert(key, stripped(value));
        }
    }
    Ok(())
}

/// A value that comes anew, without nulls and directives in it.
fn stripped(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.into_iter().filter(|(key, value)| !value.is_null() && !key.starts_with('$'));
            kept.map(|(key, value)| (key, stripped(value))).collect()
        }
        Value::Array(items) => items.into_iter().map(stripped).collect(),
        other => other,
    }
}

/// Merges a list whose items `key` tells apart.
fn list(
    target: &mut Vec<Value>,
    patch: Vec<Value>,
    key: &str,
    schema: &Schema,
    kind: &Type,
) -> Result<(), ApiError> {
    let replaces = |item: &Value| item.get(DIRECTIVE).is_some_and(|word| word == "replace");
    if patch.iter().any(|item| replaces(item) && item.get(key).is_none()) {
        *target = patch.into_iter().filter(|item| !replaces(item)).map(stripped).collect();
        return Ok(());
    }
    if patch.len().saturating_mul(target.len() + patch.len()) > limits::MERGE_STEPS {
        let why = format!("a list of {} items cannot be merged into one of {}", patch.len(), target.len());
        return Err(ApiError::bad_request(format!("{why}: that is too many; replace it instead")));
    }
    for item in patch {
        let Some(name) = item.get(key).cloned() else {
            let what = format!("map: {} does not contain declared merge key: {key}", shown(&item));
            return Err(ApiError::internal(what));
        };
        let Value::Object(mut item) = item else { continue };
        let same = |there: &Value| there.get(key) == Some(&name);
        match item.get(DIRECTIVE).and_then(Value::as_str) {
            Some("delete") => target.retain(|there| !same(there)),
            Some("replace") => {
                item.remove(DIRECTIVE);
                let item = stripped(Value::Object(item));
                match target.iter_mut().find(|there| same(there)) {
                    Some(there) => *there = item,
                    None => target.push(item),
                }
            }
            _ => {
                let mut fresh = Value::Object(Map::new());
                let (there, new) = match target.iter().position(same) {
                    Some(index) => (&mut target[index], false),
                    None => (&mut fresh, true),
                };
                if let Value::Object(there) = there {
                    map(there, item, schema, kind)?;
                }
                if new {
                    target.push(fresh);
                }
            }
        }
    }
    Ok(())
}

/// The order that a list's items are to have.
struct Order {
    field: String,
    key: Option<Box<str>>,
    /// The names of those that the patch tells of.
    told: Vec<Value>,
    /// The names of those that were there.
    before: Vec<Value>,
}

impl Order {
    fn new(name: &str, told: &[Value], target: &Map<String, Value>, of: &Member<'_>) -> Order {
        let key = of.patch.and_then(|patch| patch.key.clone());
        let named = |items: &[Value]| items.iter().map(|item| name_of(item, key.as_deref())).collect();
        let before = target.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        Order { field: name.to_owned(), told: named(told), before: named(before), key }
    }

    /// Those that the patch tells of come in its order. Another one comes before one of them if it did.
    fn apply(&self, target: &mut Map<String, Value>) {
        let Some(Value::Array(items)) = target.get_mut(&self.field) else { return };
        let (among_told, before) = (places(&self.told), places(&self.before));
        let place = |item: &Value, among: &HashMap<&Value, usize>| {
            among.get(&name_of(item, self.key.as_deref())).copied()
        };
        let (mut told, others): (Vec<_>, Vec<_>) =
            std::mem::take(items).into_iter().partition(|item| place(item, &among_told).is_some());
        told.sort_by_cached_key(|item| place(item, &among_told));
        let mut told = told.into_iter().peekable();
        for other in others {
            let was = place(&other, &before);
            while let Some(next) = told.next_if(|next| match (was, place(next, &before)) {
                (Some(was), Some(next)) => was > next,
                _ => true,
            }) {
                items.push(next);
            }
            items.push(other);
        }
        items.extend(told);
    }
}

/// Where each of these comes first.
fn places(names: &[Value]) -> HashMap<&Value, usize> {
    names.iter().enumerate().rev().map(|(index, name)| (name, index)).collect()
}

/// What tells an item from others.
fn name_of(item: &Value, key: Option<&str>) -> Value {
    key.map_or_else(|| item.clone(), |key| item.get(key).cloned().unwrap_or(Value::Null))
}

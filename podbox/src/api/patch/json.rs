//! JSON patches, RFC 6902, as upstream applies them: to replace a missing key of a map is no failure.

use super::{document, undecodable};
use crate::api::decode::word;
use crate::api::status::ApiError;
use serde_json::Value;

/// Operations of one patch at most, as upstream.
pub const OPERATIONS: usize = 10_000;
/// Bytes that the copies of one patch add at most; each could double the document.
pub const COPIED: usize = 3 << 20;
/// How deep a patch may put a value, as deep as a body may be; pieces put into each other would overflow the stack.
pub const DEPTH: usize = 128;

/// Why an operation cannot be done.
struct Failed;

/// An operation, read.
#[derive(Clone, Debug)]
struct Operation {
    op: String,
    path: Vec<String>,
    from: Option<Vec<String>>,
    value: Option<Value>,
}

/// A patch.
#[derive(Clone, Debug)]
pub struct Operations(Vec<Operation>);

impl Operations {
    /// Reads a patch.
    pub fn read(bytes: &[u8]) -> Result<Operations, ApiError> {
        read(bytes).map(Operations)
    }

    /// Does them in order. After an error the target is somewhere in between.
    pub fn apply(&self, target: &mut Value) -> Result<(), ApiError> {
        let mut copied = 0;
        for operation in &self.0 {
            operation.apply(target, &mut copied).map_err(|Failed| refused())?;
            if copied > COPIED {
                let what = format!("the copies of a JSON patch may add {COPIED} bytes to an object");
                return Err(ApiError::new(413, "RequestEntityTooLarge", what));
            }
        }
        Ok(())
    }
}

fn refused() -> ApiError {
    let mut error =
        ApiError::new(422, "Invalid", "the server rejected our request due to an error in our request");
    error.details = Value::Object(serde_json::Map::new());
    error
}

fn read(bytes: &[u8]) -> Result<Vec<Operation>, ApiError> {
    let list = match document(bytes).map_err(undecodable)? {
        Value::Array(list) => list,
        other => {
            let is = word(&other);
            return Err(undecodable(format!(
                "json: cannot unmarshal {is} into Go value of type []handlers.jsonPatchOp"
            )));
        }
    };
    if list.len() > OPERATIONS {
        let what =
            format!("The allowed maximum operations in a JSON patch is {OPERATIONS}, got {}", list.len());
        return Err(ApiError::new(413, "RequestEntityTooLarge", what));
    }
    list.into_iter().map(|operation| operation_of(operation).ok_or_else(refused)).collect()
}

fn operation_of(mut operation: Value) -> Option<Operation> {
    let text = |key: &str| operation.get(key).and_then(Value::as_str);
    Some(Operation {
        op: text("op")?.to_owned(),
        path: pointer(text("path")?)?,
        from: match text("from") {
            Some(from) => Some(pointer(from)?),
            None => None,
        },
        value: operation.get_mut("value").map(Value::take),
    })
}

/// The parts of a JSON pointer.
fn pointer(text: &str) -> Option<Vec<String>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let parts = text.strip_prefix('/')?.split('/');
    Some(parts.map(|part| part.replace("~1", "/").replace("~0", "~")).collect())
}

impl Operation {
    fn apply(&self, target: &mut Value, copied: &mut usize) -> Result<(), Failed> {
        let value = || self.value.clone().ok_or(Failed);
        match self.op.as_str() {
            "add" => add(target, &self.path, value()?),
            "remove" => remove(target, &self.path).map(drop),
            "replace" => replace(target, &self.path, value()?),
            "move" => {
                let from = self.from.as_deref().ok_or(Failed)?;
                // Into itself would be nowhere.
                if self.path.len() > from.len() && self.path.starts_with(from) {
                    return Err(Failed);
                }
                let moved = remove(target, from)?;
                add(target, &self.path, moved)
            }
            "copy" => {
                let copy = find(target, self.from.as_deref().ok_or(Failed)?).ok_or(Failed)?.clone();
                *copied = copied.saturating_add(size(&copy));
                if *copied > COPIED {
                    return Ok(());
                }
                add(target, &self.path, copy)
            }
            "test" => {
                let expected = self.value.as_ref().unwrap_or(&Value::Null);
                let is = find(target, &self.path).unwrap_or(&Value::Null);
                if is == expected { Ok(()) } else { Err(Failed) }
            }
            _ => Err(Failed),
        }
    }
}

/// About as many bytes as a value has in JSON.
fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 2,
        Value::Array(items) => 2 + items.iter().map(|item| size(item) + 1).sum::<usize>(),
        Value::Object(fields) => {
            2 + fields.iter().map(|(key, value)| key.len() + 4 + size(value)).sum::<usize>()
        }
        _ => 8,
    }
}

/// Whether a value put at a path stays within [`DEPTH`].
fn fits(path: &[String], value: &Value) -> bool {
    fn depth(value: &Value) -> usize {
        match value {
            Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
            Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or_default(),
            _ => 0,
        }
    }
    path.len() < DEPTH && path.len() + depth(value) <= DEPTH
}

fn find<'a>(mut value: &'a Value, path: &[String]) -> Option<&'a Value> {
    for part in path {
        value = match value {
            Value::Object(fields) => fields.get(part)?,
            Value::Array(items) => items.get(index(part, items.len())?)?,
            _ => return None,
        };
    }
    Some(value)
}

fn parent<'a, 'p>(
    mut value: &'a mut Value,
    path: &'p [String],
) -> Result<Option<(&'a mut Value, &'p str)>, Failed> {
    let Some((last, above)) = path.split_last() else { return Ok(None) };
    for part in above {
        value = match value {
            Value::Object(fields) => fields.get_mut(part).ok_or(Failed)?,
            Value::Array(items) => {
                let index = index(part, items.len()).ok_or(Failed)?;
                items.get_mut(index).ok_or(Failed)?
            }
            _ => return Err(Failed),
        };
    }
    Ok(Some((value, last)))
}

/// An index of a list; upstream's library counts negative ones from the end.
fn index(part: &str, len: usize) -> Option<usize> {
    match part.strip_prefix('-') {
        Some(back) => len.checked_sub(back.parse().ok()?),
        None => part.parse().ok(),
    }
}

fn add(target: &mut Value, path: &[String], value: Value) -> Result<(), Failed> {
    put(target, path, value, |items, part, value| {
        let end = items.len();
        let index = if part == "-" { Some(end) } else { index(part, end) };
        items.insert(index.filter(|index| *index <= end).ok_or(Failed)?, value);
        Ok(())
    })
}

fn replace(target: &mut Value, path: &[String], value: Value) -> Result<(), Failed> {
    put(target, path, value, |items, part, value| {
        let index = index(part, items.len()).ok_or(Failed)?;
        *items.get_mut(index).ok_or(Failed)? = value;
        Ok(())
    })
}

/// Puts a value where a path leads to; in a list, as `into_list` does.
fn put(
    target: &mut Value,
    path: &[String],
    value: Value,
    into_list: impl FnOnce(&mut Vec<Value>, &str, Value) -> Result<(), Failed>,
) -> Result<(), Failed> {
    if !fits(path, &value) {
        return Err(Failed);
    }
    match parent(target, path)? {
        None => *target = value,
        // Recorded: upstream replaces what is not there.
        Some((Value::Object(fields), key)) => drop(fields.insert(key.to_owned(), value)),
        Some((Value::Array(items), part)) => into_list(items, part, value)?,
        Some(_) => return Err(Failed),
    }
    Ok(())
}

fn remove(target: &mut Value, path: &[String]) -> Result<Value, Failed> {
    match parent(target, path)?.ok_or(Failed)? {
        (Value::Object(fields), key) => fields.remove(key).ok_or(Failed),
        (Value::Array(items), part) => {
            let index = index(part, items.len()).filter(|index| *index < items.len()).ok_or(Failed)?;
            Ok(items.remove(index))
        }
        _ => Err(Failed),
    }
}

//! Writing a status: only what differs, and only if anything does. Pure.

use super::action::{Edit, Write};
use crate::api::object;
use crate::api::objects::{Seen, Target};
use serde_json::Value;

/// A number of things, which is not written if there are none.
pub fn count(number: usize) -> Value {
    if number == 0 { Value::Null } else { number.into() }
}

/// The write by which an object as it was seen gets these fields, if it does not have them; null stands for none.
pub fn write(at: &Target, object: &Value, revision: u64, fields: Value) -> Option<Write> {
    let edit = Edit::Merge(fields);
    let mut new = object.clone();
    edit.apply(&mut new);
    (new != *object).then(|| Write::Edit {
        at: at.clone(),
        part: "status",
        seen: Seen { uid: object::uid(object).to_owned(), revision: Some(revision) },
        edit,
    })
}

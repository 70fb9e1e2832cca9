//! A first look at a document: its tree, and the keys that a mapping has twice. Counts what it builds, so
//! that aliases of aliases end in an error and not in memory.

use super::child;
use crate::limits;
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

/// What a document is.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) value: Value,
    /// Paths of the keys that came again.
    pub(super) duplicates: Vec<String>,
}

impl Survey {
    pub(super) fn of<'de, D: Deserializer<'de>>(document: D) -> Result<Survey, D::Error> {
        let mut tally = Tally { left: limits::MANIFEST_NODES, duplicates: Vec::new() };
        let value = Node { path: String::new(), tally: &mut tally }.deserialize(document)?;
        Ok(Survey { value, duplicates: tally.duplicates })
    }
}

struct Tally {
    /// Nodes, and 64 bytes of text, that may still come.
    left: usize,
    duplicates: Vec<String>,
}

impl Tally {
    fn charge<E: Error>(&mut self, bytes: usize) -> Result<(), E> {
        match self.left.checked_sub(1 + bytes / 64) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(E::custom(format_args!(
                "the document with its aliases expanded is larger than {} values",
                limits::MANIFEST_NODES
            ))),
        }
    }
}

struct Node<'t> {
    path: String,
    tally: &'t mut Tally,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON has")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        self.tally.charge(0).map(|()| Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        self.visit_unit()
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        self.tally.charge(0).map(|()| value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        self.tally.charge(0).map(|()| value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        self.tally.charge(0).map(|()| value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        self.tally.charge(0).map(|()| value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.tally.charge(value.len()).map(|()| value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        self.tally.charge(0)?;
        let mut items = Vec::new();
        loop {
            let path = format!("{}[{}]", self.path, items.len());
            match seq.next_element_seed(Node { path, tally: self.tally })? {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        self.tally.charge(0)?;
        let mut fields = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let path = child(&self.path, &key);
            let value = map.next_value_seed(Node { path: path.clone(), tally: self.tally })?;
            if fields.insert(key, value).is_some() {
                self.tally.duplicates.push(path);
            }
        }
        Ok(Value::Object(fields))
    }
}

//! Objects by chance, of a schema, and their encoding: the decoder's opposite.

use crate::api::schema::{Field, Schema, Type};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A message of fields that are bytes.
pub fn joined(fields: &[(u32, &[u8])]) -> Vec<u8> {
    let mut message = Vec::new();
    fields.iter().for_each(|(number, bytes)| put_bytes(&mut message, *number, bytes));
    message
}

fn put_varint(into: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        into.push(number as u8 | 0x80);
        number >>= 7;
    }
    into.push(number as u8);
}

fn put_bytes(into: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_varint(into, u64::from(number) << 3 | 2);
    put_varint(into, bytes.len() as u64);
    into.extend_from_slice(bytes);
}

fn put_number(into: &mut Vec<u8>, number: u32, value: i64) {
    put_varint(into, u64::from(number) << 3);
    put_varint(into, value as u64);
}

/// An object's message.
pub fn encode(schema: &Schema, root: &Type, object: &Value) -> Vec<u8> {
    let Type::Struct(id) = root else { panic!("no structure") };
    let definition = schema.definition(*id);
    let mut message = Vec::new();
    let mut embedded: BTreeMap<[u32; 2], Vec<u8>> = BTreeMap::new();
    for (name, value) in object.as_object().unwrap() {
        let field = definition.field(name).unwrap();
        let into = match field.wire.within {
            [0, _] => &mut message,
            within => embedded.entry(within).or_default(),
        };
        put_field(schema, field, value, into);
    }
    // What is embedded in something embedded goes into that first.
    while let Some(([outer, inner], bytes)) = embedded.pop_last() {
        match inner {
            0 => put_bytes(&mut message, outer, &bytes),
            inner => put_bytes(embedded.entry([outer, 0]).or_default(), inner, &bytes),
        }
    }
    message
}

fn put_field(schema: &Schema, field: &Field, value: &Value, into: &mut Vec<u8>) {
    let number = field.wire.number;
    match (&field.kind, value) {
        (Type::List(of), Value::Array(list)) if field.items => {
            let mut items = Vec::new();
            list.iter().for_each(|item| put(schema, of, 1, item, &mut items));
            put_bytes(into, number, &items);
        }
        (Type::List(of), Value::Array(list)) => {
            list.iter().for_each(|item| put(schema, of, number, item, into))
        }
        (Type::Map(of), Value::Object(map)) => {
            for (key, value) in map {
                let mut entry = joined(&[(1, key.as_bytes())]);
                match (&**of, value) {
                    (Type::List(of), Value::Array(list)) => {
                        let mut items = Vec::new();
                        list.iter().for_each(|item| put(schema, of, 1, item, &mut items));
                        put_bytes(&mut entry, 2, &items);
                    }
                    (of, value) => put(schema, of, 2, value, &mut entry),
                }
                put_bytes(into, number, &entry);
            }
        }
        (kind, value) => put(schema, kind, number, value, into),
    }
}

fn put(schema: &Schema, kind: &Type, number: u32, value: &Value, into: &mut Vec<u8>) {
    let text = || value.as_str().unwrap();
    match kind {
        Type::String => put_bytes(into, number, text().as_bytes()),
        Type::Bytes => put_bytes(into, number, &data_encoding::BASE64.decode(text().as_bytes()).unwrap()),
        Type::Int32 | Type::Int64 => put_number(into, number, value.as_i64().unwrap()),
        Type::Bool => put_number(into, number, value.as_bool().unwrap().into()),
        Type::Double => {
            put_varint(into, u64::from(number) << 3 | 1);
            into.extend_from_slice(&value.as_f64().unwrap().to_le_bytes());
        }
        Type::Time | Type::MicroTime => {
            let time: jiff::Timestamp = text().parse().unwrap();
            let mut message = Vec::new();
            put_number(&mut message, 1, time.as_second());
            put_number(&mut message, 2, time.subsec_nanosecond().into());
            put_bytes(into, number, &message);
        }
        Type::Quantity => put_bytes(into, number, &joined(&[(1, text().as_bytes())])),
        Type::IntOrString => {
            let mut message = Vec::new();
            put_number(&mut message, 1, value.is_string().into());
            put_number(&mut message, 2, value.as_i64().unwrap_or_default());
            put_bytes(&mut message, 3, value.as_str().unwrap_or_default().as_bytes());
            put_bytes(into, number, &message);
        }
        Type::Json | Type::Any => put_bytes(into, number, &joined(&[(1, value.to_string().as_bytes())])),
        Type::Struct(_) => put_bytes(into, number, &encode(schema, kind, value)),
        Type::List(_) | Type::Map(_) => panic!("a list in a list"),
    }
}

/// Numbers by chance, the same for the same seed.
pub struct Random(u64);

impl Random {
    /// A sequence of its own.
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    /// An object of a type.
    pub fn object(&mut self, schema: &Schema, root: &Type) -> Value {
        self.structure(schema, root, 0)
    }

    fn structure(&mut self, schema: &Schema, kind: &Type, depth: u64) -> Value {
        let Type::Struct(id) = kind else { panic!("no structure") };
        let mut object = Map::new();
        for field in &schema.definition(*id).fields {
            // Only one of some: the deeper, the fewer, since a pod has thousands.
            if field.wire.number > 0 && self.below(2 + depth / 3) == 0 {
                object.insert(field.name.to_string(), self.value(schema, &field.kind, depth + 1));
            }
        }
        Value::Object(object)
    }

    fn value(&mut self, schema: &Schema, kind: &Type, depth: u64) -> Value {
        let number = self.below(1000) + 1;
        match kind {
            Type::String => format!("text {number} ü").into(),
            Type::Bytes => data_encoding::BASE64.encode(&number.to_be_bytes()).into(),
            Type::Int32 => {
                (if number.is_multiple_of(2) { -(number as i32) } else { i32::MAX - number as i32 }).into()
            }
            Type::Int64 => {
                (if number.is_multiple_of(2) { -(number as i64) } else { i64::MAX - number as i64 }).into()
            }
            Type::Bool => true.into(),
            Type::Double => (number as f64 / 8.0).into(),
            Type::Time => format!("2020-01-02T03:04:{:02}Z", number % 60).into(),
            Type::MicroTime => format!("2020-01-02T03:04:05.{number:06}Z").into(),
            Type::Quantity => format!("{number}Mi").into(),
            Type::IntOrString if number.is_multiple_of(2) => format!("{number}%").into(),
            Type::IntOrString => number.into(),
            Type::Json | Type::Any => json!({"a": [number, null, {"b": "c"}]}),
            Type::Struct(_) => self.structure(schema, kind, depth),
            Type::List(of) => {
                let count = 1 + self.below(2);
                (0..count).map(|_| self.value(schema, of, depth + 1)).collect()
            }
            Type::Map(of) => {
                let count = 1 + self.below(2);
                let entry = |index| (format!("key{index}"), self.value(schema, of, depth + 1));
                Value::Object((0..count).map(entry).collect())
            }
        }
    }
}

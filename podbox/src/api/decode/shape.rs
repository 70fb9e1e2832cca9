//! Gives what a parser reads the shape that the schema says, in one pass: what does not fit is told, what is unknown dropped.
//!
//! As Go's decoder does it, the first value of a wrong type is told and the rest still read, while what a type with a parser of
//! its own refuses (quantities, times) ends the reading.

use super::scalar;
use crate::api::schema::{Definition, Schema, Type};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;

/// Problems told at most, as upstream.
const PROBLEMS: usize = 100;

/// One step from the object to a value.
enum Step<'s> {
    Field(&'s str),
    Key(String),
    Index(usize),
}

/// What is known while an object is read.
pub struct Shaping<'s> {
    schema: &'s Schema,
    path: Vec<Step<'s>>,
    /// The structures around the value.
    owners: Vec<&'s Definition>,
    /// The type error that counts.
    pub mistake: Option<String>,
    /// Unknown and duplicate fields.
    pub problems: Vec<String>,
}

impl<'s> Shaping<'s> {
    /// Nothing read yet.
    pub fn new(schema: &'s Schema) -> Shaping<'s> {
        Shaping { schema, path: Vec::new(), owners: Vec::new(), mistake: None, problems: Vec::new() }
    }

    fn problem(&mut self, what: &str, key: &str) {
        if self.problems.len() < PROBLEMS {
            let mut path = String::new();
            for step in &self.path {
                match step {
                    Step::Index(index) => path += &format!("[{index}]"),
                    Step::Field(name) => push(&mut path, name),
                    Step::Key(name) => push(&mut path, name),
                }
            }
            push(&mut path, key);
            let told = format!("{what} field {path:?}");
            if !self.problems.contains(&told) {
                self.problems.push(told);
            }
        }
    }

    /// A value `is` of a type that it must not have.
    fn mismatch(&mut self, is: &str, kind: &str) {
        if self.mistake.is_none() {
            self.mistake = Some(self.cannot(is, kind));
        }
    }

    fn cannot(&self, is: &str, kind: &str) -> String {
        let fields = self.path.iter().filter_map(|step| match step {
            Step::Field(name) => Some(*name),
            Step::Key(_) | Step::Index(_) => None,
        });
        let path: Vec<_> = fields.collect();
        match self.owners.last() {
            Some(owner) if !path.is_empty() => {
                format!(
                    "json: cannot unmarshal {is} into Go struct field {}.{} of type {kind}",
                    owner.short(),
                    path.join(".")
                )
            }
            _ => format!("json: cannot unmarshal {is} into Go value of type {kind}"),
        }
    }
}

fn push(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(name);
}

/// Go's word for a JSON value's type.
pub fn word(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Reads a value of a type. Null is what is not there.
pub struct Shape<'a, 's> {
    with: &'a mut Shaping<'s>,
    kind: &'s Type,
}

impl<'a, 's> Shape<'a, 's> {
    /// Reads a value of that type.
    pub fn new(with: &'a mut Shaping<'s>, kind: &'s Type) -> Shape<'a, 's> {
        Shape { with, kind }
    }

    fn mismatch<E>(self, is: &str) -> Result<Value, E> {
        let kind = self.type_name(self.kind);
        self.with.mismatch(is, &kind);
        Ok(Value::Null)
    }

    /// A value that ends the reading.
    fn fatal<E: Error>(self, why: String) -> Result<Value, E> {
        let error = E::custom(&why);
        self.with.mistake = Some(why);
        Err(error)
    }

    /// What Go calls a type.
    fn type_name(&self, kind: &Type) -> String {
        match kind {
            Type::String => "string".to_owned(),
            Type::Int32 => "int32".to_owned(),
            Type::Int64 => "int64".to_owned(),
            Type::Double => "float64".to_owned(),
            Type::Bool => "bool".to_owned(),
            Type::Bytes => "[]uint8".to_owned(),
            Type::Time => "v1.Time".to_owned(),
            Type::MicroTime => "v1.MicroTime".to_owned(),
            Type::Quantity => "resource.Quantity".to_owned(),
            Type::IntOrString => "intstr.IntOrString".to_owned(),
            Type::Json | Type::Any => "interface {}".to_owned(),
            Type::Struct(id) => self.with.schema.definition(*id).qualified().to_owned(),
            Type::List(of) => format!("[]{}", self.type_name(of)),
            Type::Map(of) if **of == Type::Quantity => "v1.ResourceList".to_owned(),
            Type::Map(of) => format!("map[string]{}", self.type_name(of)),
        }
    }

    fn number<E: Error>(self, number: Number) -> Result<Value, E> {
        let fits = match self.kind {
            Type::Int32 | Type::IntOrString => {
                number.as_i64().is_some_and(|number| i32::try_from(number).is_ok())
            }
            Type::Int64 => number.is_i64(),
            Type::Double | Type::Json | Type::Any => true,
            Type::Quantity => return self.quantity(&number.to_string()),
            Type::Time | Type::MicroTime => return self.no_string("number"),
            _ => return self.mismatch("number"),
        };
        match (fits, self.kind) {
            (true, _) => Ok(Value::Number(number)),
            (false, Type::IntOrString) => {
                let why = self.with.cannot(&format!("number {number}"), "int32");
                self.fatal(why)
            }
            (false, _) => self.mismatch(&format!("number {number}")),
        }
    }

    fn quantity<E: Error>(self, text: &str) -> Result<Value, E> {
        match scalar::quantity(text) {
            Ok(value) => Ok(value.into()),
            Err(why) => self.fatal(why),
        }
    }

    /// What is to be text for a parser, and is not.
    fn no_string<E: Error>(self, is: &str) -> Result<Value, E> {
        let why = self.with.cannot(is, "string");
        self.fatal(why)
    }

    fn field_of_struct<'de, A: MapAccess<'de>>(
        with: &mut Shaping<'s>,
        definition: &'s Definition,
        map: &mut A,
        fields: &mut Map<String, Value>,
        key: String,
    ) -> Result<(), A::Error> {
        let Some(field) = definition.field(&key) else {
            with.problem("unknown", &key);
            return map.next_value::<IgnoredAny>().map(|_| ());
        };
        with.path.push(Step::Field(&field.name));
        let value = map.next_value_seed(Shape::new(with, &field.kind))?;
        with.path.pop();
        let before = if value.is_null() { None } else { fields.insert(key.clone(), value) };
        if before.is_some() {
            with.problem("duplicate", &key);
        }
        Ok(())
    }
}

/// Whether something below a value of this type can be unknown or come twice.
fn nests(kind: &Type) -> bool {
    match kind {
        Type::Struct(_) | Type::Map(_) | Type::Any => true,
        Type::List(of) => nests(of),
        _ => false,
    }
}

impl<'de> DeserializeSeed<'de> for Shape<'_, '_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Shape<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        match self.kind {
            Type::Bool | Type::Json | Type::Any => Ok(value.into()),
            Type::Quantity => self.quantity(&value.to_string()),
            Type::Time | Type::MicroTime => self.no_string("bool"),
            Type::IntOrString => {
                let why = self.with.cannot("bool", "int32");
                self.fatal(why)
            }
            _ => self.mismatch("bool"),
        }
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        self.number(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        self.number(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        match Number::from_f64(value) {
            Some(number) => self.number(number),
            // YAML has numbers that JSON lacks.
            None => self.mismatch("number"),
        }
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.visit_string(value.to_owned())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        match self.kind {
            Type::String | Type::IntOrString | Type::Json | Type::Any => Ok(value.into()),
            Type::Quantity => self.quantity(&value),
            Type::Time | Type::MicroTime => match scalar::time(&value, *self.kind == Type::MicroTime) {
                Ok(time) => Ok(time.into()),
                Err(why) => self.fatal(why),
            },
            Type::Bytes => match scalar::bytes(&value) {
                Ok(()) => Ok(value.into()),
                Err(why) => {
                    self.with.mistake.get_or_insert(why);
                    Ok(Value::Null)
                }
            },
            _ => self.mismatch("string"),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let of = match self.kind {
            Type::List(of) => &**of,
            Type::Json | Type::Any => self.kind,
            kind => {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                return match kind {
                    Type::Quantity => self.quantity("["),
                    Type::Time | Type::MicroTime => self.no_string("array"),
                    _ => self.mismatch("array"),
                };
            }
        };
        let with = self.with;
        let mut items = Vec::new();
        loop {
            with.path.push(Step::Index(items.len()));
            let item = seq.next_element_seed(Shape::new(with, of))?;
            with.path.pop();
            match item {
                Some(Value::Null) => items.push(of.zero()),
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        let of = match self.kind {
            Type::Struct(id) => {
                let definition = self.with.schema.definition(*id);
                self.with.owners.push(definition);
                while let Some(key) = map.next_key::<String>()? {
                    Shape::field_of_struct(self.with, definition, &mut map, &mut fields, key)?;
                }
                self.with.owners.pop();
                return Ok(Value::Object(fields));
            }
            Type::Map(of) => &**of,
            Type::Json | Type::Any => self.kind,
            kind => {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                return match kind {
                    Type::Quantity => self.quantity("{"),
                    Type::Time | Type::MicroTime => self.no_string("object"),
                    _ => self.mismatch("object"),
                };
            }
        };
        let with = self.with;
        let nests = nests(of);
        while let Some(key) = map.next_key::<String>()? {
            if nests {
                with.path.push(Step::Key(key.clone()));
            }
            let value = map.next_value_seed(Shape::new(with, of))?;
            if nests {
                with.path.pop();
            }
            let value = if value.is_null() { of.zero() } else { value };
            if fields.contains_key(&key) && *of != Type::Json {
                with.problem("duplicate", &key);
            }
            fields.insert(key, value);
        }
        Ok(Value::Object(fields))
    }
}

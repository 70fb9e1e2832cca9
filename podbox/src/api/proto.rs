//! Protobuf bodies to objects as JSON has them: what kubectl sends when it creates. Pure.
//!
//! A body is [`MAGIC`] and an [`Envelope`]; its message is read by the schema, which has every field's number. What comes out is
//! what upstream's Go types would have written as JSON: Go sends every field that is no pointer, so a zero counts only where
//! Go's JSON has it too ([`Field::zero`]). Numbers that the schema does not have are passed over. The
//! API's answers are JSON, which clients that prefer protobuf accept too: nothing is written here.
//!
//! It is written by hand rather than with a library for dynamic messages: those read descriptors, which know neither pointers
//! nor which messages JSON has as one value, and those two are all of the work; the wire itself is a page (`wire`).
//!
//! **Invariant:** the work and the memory are bounded by the body's length and by `limits::{MESSAGE_DEPTH, MANIFEST_NODES}`.

mod value;
mod wire;

#[cfg(test)]
mod tests;

use super::schema::{Definition, Field, Schema, Type, Wire};
use crate::limits;
use serde_json::{Map, Value};
use wire::{Payload, Reader};

/// What a body begins with.
pub const MAGIC: &[u8] = b"k8s\0";

/// Why a body is no object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtoError {
    /// It begins otherwise.
    #[error("provided data does not appear to be a protobuf message, expected prefix {MAGIC:?}")]
    Magic,
    /// It ends within a value.
    #[error("unexpected EOF")]
    Truncated,
    /// A number has more than 64 bits.
    #[error("proto: integer overflow")]
    Overflow,
    /// No field has such a number.
    #[error("proto: illegal tag {0}")]
    Tag(u64),
    /// Kubernetes has no groups, nor wire types 6 and 7.
    #[error("proto: illegal wireType {0}")]
    WireType(u8),
    /// A field is encoded as another type's would be.
    #[error("proto: wrong wireType for field {0}")]
    Mismatch(String),
    /// A text is none.
    #[error("proto: field {0} contains invalid UTF-8")]
    Utf8(String),
    /// A value cannot be what its field is.
    #[error("proto: field {0}: {1}")]
    Value(String, String),
    /// Messages are within each other without end.
    #[error("proto: more than {} messages within each other", limits::MESSAGE_DEPTH)]
    Depth,
    /// There are too many values.
    #[error("proto: more than {} values", limits::MANIFEST_NODES)]
    Values,
    /// The message is packed in a way that is not upstream's.
    #[error("proto: content of type {0:?} is not supported")]
    Content(String),
    /// Only upstream's own kinds have messages.
    #[error("the kind has no protobuf form")]
    Kind,
}

type Result<T> = std::result::Result<T, ProtoError>;

/// What is around a message: upstream's `runtime.Unknown`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope<'b> {
    /// The message's `apiVersion`.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// The message.
    pub raw: &'b [u8],
}

impl<'b> Envelope<'b> {
    /// Opens a body.
    pub fn open(body: &'b [u8]) -> Result<Envelope<'b>> {
        let mut reader = Reader::new(body.strip_prefix(MAGIC).ok_or(ProtoError::Magic)?);
        let mut envelope = Envelope::default();
        while let Some((number, payload)) = reader.next()? {
            match number {
                1 => envelope.type_meta(payload.bytes("typeMeta")?)?,
                2 => envelope.raw = payload.bytes("raw")?,
                3 | 4 => {
                    let content = payload.text("contentType")?;
                    if !content.is_empty() && content != "application/vnd.kubernetes.protobuf" {
                        return Err(ProtoError::Content(content.to_owned()));
                    }
                }
                _ => {}
            }
        }
        Ok(envelope)
    }

    fn type_meta(&mut self, bytes: &[u8]) -> Result<()> {
        let mut reader = Reader::new(bytes);
        while let Some((number, payload)) = reader.next()? {
            match number {
                1 => payload.text("apiVersion")?.clone_into(&mut self.api_version),
                2 => payload.text("kind")?.clone_into(&mut self.kind),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Reads a message of a type.
pub fn message(raw: &[u8], schema: &Schema, root: &Type) -> Result<Value> {
    let Type::Struct(id) = root else { return Err(ProtoError::Kind) };
    let mut decoder = Decoder { schema, values: 0 };
    let mut fields = Map::new();
    decoder.fields(schema.definition(*id), raw, [0, 0], 0, &mut fields)?;
    Ok(Value::Object(fields))
}

struct Decoder<'s> {
    schema: &'s Schema,
    values: usize,
}

impl Decoder<'_> {
    /// Reads a message's fields into what was read of it before, as a message that comes in parts may be. `within` leads to
    /// the embedded structure, whose fields are the definition's own.
    fn fields(
        &mut self,
        definition: &Definition,
        bytes: &[u8],
        within: [u32; 2],
        depth: usize,
        into: &mut Map<String, Value>,
    ) -> Result<()> {
        if depth > limits::MESSAGE_DEPTH {
            return Err(ProtoError::Depth);
        }
        let mut reader = Reader::new(bytes);
        while let Some((number, payload)) = reader.next()? {
            if let Some(field) = definition.field_at(Wire { within, number }) {
                self.field(field, &payload, depth, into)?;
            } else if let Some(inner) = definition.embedded(within, number) {
                self.fields(definition, payload.bytes(definition.short())?, inner, depth + 1, into)?;
            }
        }
        Ok(())
    }

    fn field(
        &mut self,
        field: &Field,
        payload: &Payload<'_>,
        depth: usize,
        into: &mut Map<String, Value>,
    ) -> Result<()> {
        let name = &*field.name;
        match &field.kind {
            Type::List(of) => {
                let Value::Array(list) = into.entry(name).or_insert_with(|| Value::Array(Vec::new())) else {
                    return Ok(());
                };
                match field.items {
                    true => list.extend(self.items(name, of, payload, depth)?),
                    false => self.element(name, of, payload, depth, list)?,
                }
            }
            Type::Map(of) => {
                let (key, value) = self.entry(field, of, payload, depth)?;
                if let Value::Object(map) = into.entry(name).or_insert_with(|| Value::Object(Map::new())) {
                    map.insert(key, value);
                }
            }
            Type::Struct(id) => {
                self.count()?;
                let definition = self.schema.definition(*id);
                let before = into.entry(name).or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(fields) = before {
                    self.fields(definition, payload.bytes(name)?, [0, 0], depth + 1, fields)?;
                }
            }
            kind => {
                self.count()?;
                match value::read(name, kind, payload)? {
                    Some(value) if field.zero || !value::is_zero(kind, &value) => {
                        into.insert(name.to_owned(), value);
                    }
                    _ => drop(into.remove(name)),
                }
            }
        }
        Ok(())
    }

    /// Adds an element to a list, or several: numbers may be packed.
    fn element(
        &mut self,
        name: &str,
        of: &Type,
        payload: &Payload<'_>,
        depth: usize,
        list: &mut Vec<Value>,
    ) -> Result<()> {
        if let (Type::Int32 | Type::Int64 | Type::Bool, Payload::Bytes(packed)) = (of, payload) {
            let mut reader = Reader::new(packed);
            while !reader.is_empty() {
                let payload = Payload::Varint(reader.varint()?);
                list.push(self.value(name, of, &payload, depth)?);
            }
            return Ok(());
        }
        list.push(self.value(name, of, payload, depth)?);
        Ok(())
    }

    /// A list within a message of its own, as field 1.
    fn items(&mut self, name: &str, of: &Type, payload: &Payload<'_>, depth: usize) -> Result<Vec<Value>> {
        let mut reader = Reader::new(payload.bytes(name)?);
        let mut list = Vec::new();
        while let Some((number, payload)) = reader.next()? {
            if number == 1 {
                self.element(name, of, &payload, depth + 1, &mut list)?;
            }
        }
        Ok(list)
    }

    /// An entry of a map: a message of key and value, either of which may be silent.
    fn entry(
        &mut self,
        field: &Field,
        of: &Type,
        payload: &Payload<'_>,
        depth: usize,
    ) -> Result<(String, Value)> {
        let name = &*field.name;
        let (mut key, mut value) = (String::new(), None);
        let mut reader = Reader::new(payload.bytes(name)?);
        while let Some((number, payload)) = reader.next()? {
            match (number, of) {
                (1, _) => payload.text(name)?.clone_into(&mut key),
                (2, Type::List(of)) if field.items => {
                    value = Some(Value::Array(self.items(name, of, &payload, depth + 1)?));
                }
                (2, of) => value = Some(self.value(name, of, &payload, depth + 1)?),
                _ => {}
            }
        }
        Ok((key, value.unwrap_or_else(|| of.zero())))
    }

    /// One value, zero or not.
    fn value(&mut self, name: &str, kind: &Type, payload: &Payload<'_>, depth: usize) -> Result<Value> {
        self.count()?;
        match kind {
            Type::Struct(id) => {
                let mut fields = Map::new();
                let definition = self.schema.definition(*id);
                self.fields(definition, payload.bytes(name)?, [0, 0], depth + 1, &mut fields)?;
                Ok(Value::Object(fields))
            }
            // No kind has a list or a map directly in another.
            Type::List(_) | Type::Map(_) => Err(ProtoError::Mismatch(name.to_owned())),
            kind => Ok(value::read(name, kind, payload)?.unwrap_or_else(|| kind.zero())),
        }
    }

    fn count(&mut self) -> Result<()> {
        self.values += 1;
        if self.values > limits::MANIFEST_NODES { Err(ProtoError::Values) } else { Ok(()) }
    }
}

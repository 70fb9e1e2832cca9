//! What JSON has as one value, whether protobuf has it as a scalar or as a message.

use super::wire::{Payload, Reader};
use super::{ProtoError, Result};
use crate::api::schema::Type;
use data_encoding::BASE64;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Number, Value};

/// Reads a value of a type that is neither a structure nor a list nor a map. A time that is zero is none.
pub fn read(field: &str, kind: &Type, payload: &Payload<'_>) -> Result<Option<Value>> {
    Ok(Some(match kind {
        Type::String => payload.text(field)?.into(),
        // Longer numbers lose their upper bits, as in Go.
        Type::Int32 => (payload.varint(field)? as i32).into(),
        Type::Int64 => (payload.varint(field)? as i64).into(),
        Type::Bool => (payload.varint(field)? != 0).into(),
        Type::Double => double(field, payload)?,
        Type::Bytes => BASE64.encode(payload.bytes(field)?).into(),
        Type::Time => return time(field, payload, false),
        Type::MicroTime => return time(field, payload, true),
        Type::Quantity => quantity(field, payload)?.into(),
        Type::IntOrString => int_or_string(field, payload)?,
        Type::Json | Type::Any => return json(field, payload),
        Type::Struct(_) | Type::List(_) | Type::Map(_) => return Err(ProtoError::Mismatch(field.to_owned())),
    }))
}

/// Whether a value is what Go has where nothing was set.
pub fn is_zero(kind: &Type, value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Bool(set) => !set,
        // JSON that is there is meant.
        Value::Null => *kind != Type::Json,
        Value::Array(_) | Value::Object(_) => false,
    }
}

fn double(field: &str, payload: &Payload<'_>) -> Result<Value> {
    let Payload::Fixed64(bits) = payload else { return Err(ProtoError::Mismatch(field.to_owned())) };
    let number = Number::from_f64(f64::from_bits(*bits));
    number.map(Value::Number).ok_or_else(|| ProtoError::Value(field.to_owned(), "no number".to_owned()))
}

/// Seconds and nanoseconds since 1970.
fn time(field: &str, payload: &Payload<'_>, micro: bool) -> Result<Option<Value>> {
    let bytes = payload.bytes(field)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let (mut seconds, mut nanos) = (0, 0);
    let mut reader = Reader::new(bytes);
    while let Some((number, payload)) = reader.next()? {
        match number {
            1 => seconds = payload.varint(field)? as i64,
            2 => nanos = payload.varint(field)? as i32,
            _ => {}
        }
    }
    let nanos = if micro { nanos } else { 0 };
    let time = Timestamp::new(seconds, nanos);
    let time = time.map_err(|error| ProtoError::Value(field.to_owned(), error.to_string()))?;
    let format = if micro { "%Y-%m-%dT%H:%M:%S%.6fZ" } else { "%Y-%m-%dT%H:%M:%SZ" };
    Ok(Some(time.to_zoned(TimeZone::UTC).strftime(format).to_string().into()))
}

/// Its text, field 1.
fn quantity<'b>(field: &str, payload: &Payload<'b>) -> Result<&'b str> {
    let mut reader = Reader::new(payload.bytes(field)?);
    let mut text = "";
    while let Some((number, payload)) = reader.next()? {
        if number == 1 {
            text = payload.text(field)?;
        }
    }
    Ok(if text.is_empty() { "0" } else { text })
}

/// Which of the two it is, field 1; the number, field 2; the text, field 3.
fn int_or_string(field: &str, payload: &Payload<'_>) -> Result<Value> {
    let mut reader = Reader::new(payload.bytes(field)?);
    let (mut kind, mut int, mut text) = (0, 0, "");
    while let Some((number, payload)) = reader.next()? {
        match number {
            1 => kind = payload.varint(field)?,
            2 => int = payload.varint(field)? as i32,
            3 => text = payload.text(field)?,
            _ => {}
        }
    }
    match kind {
        0 => Ok(int.into()),
        1 => Ok(text.into()),
        other => Err(ProtoError::Value(field.to_owned(), format!("impossible IntOrString.Type {other}"))),
    }
}

/// JSON's own text, field 1.
fn json(field: &str, payload: &Payload<'_>) -> Result<Option<Value>> {
    let mut reader = Reader::new(payload.bytes(field)?);
    let mut raw: &[u8] = b"";
    while let Some((number, payload)) = reader.next()? {
        if number == 1 {
            raw = payload.bytes(field)?;
        }
    }
    if raw.is_empty() {
        return Ok(None);
    }
    let value = serde_json::from_slice(raw);
    value.map(Some).map_err(|error| ProtoError::Value(field.to_owned(), error.to_string()))
}

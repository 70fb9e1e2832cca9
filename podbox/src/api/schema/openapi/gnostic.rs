//! The version 2 document as protobuf, which is how client libraries ask for it: the messages of gnostic's `OpenAPIv2.proto`. Pure.
//!
//! It has the definitions and no paths: clients read what can be done at a path from version 3. Of a schema it has the words that our
//! documents use; `default` and extensions are text, since there they are YAML.

use serde_json::{Map, Value};

// Fields of `Document`.
const SWAGGER: u32 = 1;
const INFO: u32 = 2;
const DEFINITIONS: u32 = 9;
// Of `Info`.
const TITLE: u32 = 1;
const VERSION: u32 = 2;
// Of `NamedSchema` and `NamedAny`, and of lists of them.
const NAME: u32 = 1;
const VALUE: u32 = 2;
const ENTRIES: u32 = 1;
// Of `Schema`.
const REFERENCE: u32 = 1;
const FORMAT: u32 = 2;
const DESCRIPTION: u32 = 4;
const DEFAULT: u32 = 5;
const REQUIRED: u32 = 19;
const ADDITIONAL_PROPERTIES: u32 = 21;
const TYPE: u32 = 22;
const ITEMS: u32 = 23;
const PROPERTIES: u32 = 25;
const EXTENSION: u32 = 31;
// Of `Any`, and of the messages around one schema or word.
const YAML: u32 = 2;
const ONE: u32 = 1;

/// A message as it is written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// A field of bytes, a text or a message.
    fn put(mut self, field: u32, bytes: &[u8]) -> Message {
        const LENGTH_DELIMITED: u64 = 2;
        self.varint(u64::from(field) << 3 | LENGTH_DELIMITED);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn text(self, field: u32, value: &Value) -> Message {
        match value.as_str() {
            Some(text) => self.put(field, text.as_bytes()),
            None => self,
        }
    }

    fn message(self, field: u32, message: Message) -> Message {
        self.put(field, &message.0)
    }
}

/// A document that [`v2`](super::v2) made.
pub fn write(document: &Value) -> Vec<u8> {
    let info = Message::default().text(TITLE, &document["info"]["title"]);
    let info = info.text(VERSION, &document["info"]["version"]);
    Message::default()
        .text(SWAGGER, &document["swagger"])
        .message(INFO, info)
        .message(DEFINITIONS, schemas(&document["definitions"]))
        .0
}

/// `Definitions` or `Properties`.
fn schemas(of: &Value) -> Message {
    let all = of.as_object().into_iter().flatten();
    all.fold(Message::default(), |message, (name, value)| {
        let named = Message::default().put(NAME, name.as_bytes()).message(VALUE, schema(value));
        message.message(ENTRIES, named)
    })
}

fn schema(value: &Value) -> Message {
    let none = Map::new();
    let words = value.as_object().unwrap_or(&none);
    words.iter().fold(Message::default(), |message, (word, value)| match word.as_str() {
        "$ref" => message.text(REFERENCE, value),
        "format" => message.text(FORMAT, value),
        "description" => message.text(DESCRIPTION, value),
        "default" => message.message(DEFAULT, any(value)),
        "required" => value.as_array().into_iter().flatten().fold(message, |m, name| m.text(REQUIRED, name)),
        "additionalProperties" => {
            message.message(ADDITIONAL_PROPERTIES, Message::default().message(ONE, schema(value)))
        }
        "type" => message.message(TYPE, Message::default().text(ONE, value)),
        "items" => message.message(ITEMS, Message::default().message(ONE, schema(value))),
        "properties" => message.message(PROPERTIES, schemas(value)),
        word if word.starts_with("x-") => {
            let named = Message::default().put(NAME, word.as_bytes()).message(VALUE, any(value));
            message.message(EXTENSION, named)
        }
        _ => message,
    })
}

/// JSON is YAML.
fn any(value: &Value) -> Message {
    Message::default().put(YAML, value.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_document_is_written_field_by_field() {
        let document = json!({
            "swagger": "2.0", "info": {"title": "t", "version": "v"}, "paths": {"/api": {}},
            "definitions": {"A": {"type": "object", "required": ["b"], "x-k": ["y"], "properties": {
                "b": {"type": "array", "items": {"$ref": "#/definitions/A"}}}}},
        });
        let mut expected = b"\x0a\x032.0\x12\x06\x0a\x01t\x12\x01v".to_vec();
        let items = b"\xba\x01\x13\x0a\x11\x0a\x0f#/definitions/A";
        let b = [&items[..], b"\xb2\x01\x07\x0a\x05array"].concat();
        let properties = [b"\x0a\x25\x0a\x01b\x12\x20", &b[..]].concat();
        let parts: [&[u8]; 4] = [
            b"\xca\x01\x27",
            &properties,
            b"\x9a\x01\x01b\xb2\x01\x08\x0a\x06object",
            b"\xfa\x01\x0e\x0a\x03x-k\x12\x07\x12\x05[\"y\"]",
        ];
        let schema = parts.concat();
        let named = [b"\x0a\x01A\x12", &[schema.len() as u8][..], &schema].concat();
        let definitions = [b"\x0a", &[named.len() as u8][..], &named].concat();
        expected.extend([b"\x4a", &[definitions.len() as u8][..], &definitions].concat());
        assert_eq!(write(&document), expected);
    }
}

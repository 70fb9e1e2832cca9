//! The shape of every kind: fields, types, and how they merge. Pure.
//!
//! It comes from `schema/v1_36.schema`, which `cargo xtask schema` generates, and from `schema/metrics_v1beta1.schema`, whose three
//! types no crate has: they were written down from upstream's. In these files a line `: NAME` opens a definition
//! (`= quantity`: it is one value; `atomic`: it is owned as a whole), a line `field TYPE marks` is a field of it (`field!`: it
//! must be there), and a line that begins with `"` describes what is above it. `[]T` is a list, `{}T` a map. The marks:
//! `list=set`, `list=map:KEYS` and `map=atomic|granular` say how server-side apply merges, `patch=…` how a strategic merge
//! patch does, `default=` what a silent key means, and `always` that upstream's empty object has the structure. In protobuf
//! `wire=N` is a field's number (`wire=2.3`: of what Go embeds as field 2, `wire=2.4.3` of what it embeds in that), `zero` says that JSON has its zero, and
//! `items` that its list is within a message of its own.
//!
//! The build compresses shapes and descriptions apart: [`builtin`] loads the shapes once, when first asked, and only
//! [`openapi`] reads descriptions. What a kind's values mean is not known here.

pub mod openapi;

#[cfg(test)]
mod tests;

use serde_json::{Map, Value};
use std::collections::HashMap;
use std::io::Read;
use std::sync::OnceLock;

/// A definition's place in its [`Schema`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id(u32);

/// The type of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// A string.
    String,
    /// An integer of 32 bits.
    Int32,
    /// An integer of 64 bits.
    Int64,
    /// A number.
    Double,
    /// True or false.
    Bool,
    /// Bytes, in base64.
    Bytes,
    /// An RFC 3339 time, to the second.
    Time,
    /// An RFC 3339 time, to the microsecond.
    MicroTime,
    /// An amount of a resource.
    Quantity,
    /// A number or a name.
    IntOrString,
    /// Any JSON, owned as a whole.
    Json,
    /// Any JSON, whose maps merge: what has no schema.
    Any,
    /// A structure.
    Struct(Id),
    /// A list.
    List(Box<Type>),
    /// A map from strings.
    Map(Box<Type>),
}

/// How server-side apply merges a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListType {
    /// It has one owner.
    #[default]
    Atomic,
    /// Each of its plain values has owners.
    Set,
    /// Each of its items has, and these fields tell items apart.
    Map(Box<[Box<str>]>),
}

/// How a strategic merge patch changes a field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patch {
    /// Lists: items are merged rather than replaced.
    pub merge: bool,
    /// The field that tells items apart; none for plain values.
    pub key: Option<Box<str>>,
    /// A patch tells with `$retainKeys` which of the structure's fields stay.
    pub retain: bool,
    /// The structure is replaced.
    pub replace: bool,
}

/// Where a field is in a structure's protobuf.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wire {
    /// The number of what Go embeds and JSON does not see, and of what it embeds in that; 0 where there is nothing between.
    pub within: [u32; 2],
    /// Its number; 0 if it has none.
    pub number: u32,
}

/// A field of a structure.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its name in JSON.
    pub name: Box<str>,
    /// Its type.
    pub kind: Type,
    /// Whether it must be there.
    pub required: bool,
    /// Whether upstream's empty object has it, though empty.
    pub always: bool,
    /// How apply merges it, if it is a list.
    pub list: ListType,
    /// Whether it is owned as a whole, if that is not as its type says.
    pub atomic: Option<bool>,
    /// How a strategic merge patch changes it.
    pub patch: Patch,
    /// What it means when it is silent and tells items of a list apart.
    pub default: Option<Box<str>>,
    /// Where it is in protobuf.
    pub wire: Wire,
    /// Whether upstream's JSON has it when it is set to zero in protobuf.
    pub zero: bool,
    /// Whether its list is, in protobuf, within a message of its own.
    pub items: bool,
}

/// A structure, or a name for one value.
#[derive(Clone, Debug)]
pub struct Definition {
    /// `io.k8s.api.core.v1.Container`.
    pub name: Box<str>,
    /// What it is, if it is no structure.
    pub scalar: Option<Type>,
    /// Whether it is owned as a whole.
    pub atomic: bool,
    /// Its fields, by name.
    pub fields: Box<[Field]>,
    /// Its fields' places, by where they are in protobuf.
    wires: Box<[u16]>,
}

/// Definitions that refer to each other.
#[derive(Debug, Default)]
pub struct Schema {
    definitions: Vec<Definition>,
    by_name: HashMap<Box<str>, Id>,
}

/// A schema's text that is not one: the line, and what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the schema: {what}")]
pub struct SchemaError {
    line: usize,
    what: String,
}

static SHAPES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/shapes.z"));

/// The shapes of podbox's own kinds.
pub fn builtin() -> &'static Schema {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    SCHEMA.get_or_init(|| Schema::parse(&inflate(SHAPES)).expect("a test has read the text that is built in"))
}

fn inflate(bytes: &[u8]) -> String {
    let mut text = String::new();
    let read = flate2::read::ZlibDecoder::new(bytes).read_to_string(&mut text);
    read.expect("the build has compressed text");
    text
}

impl Schema {
    /// Reads a schema's text; descriptions are passed over.
    pub fn parse(text: &str) -> Result<Schema, SchemaError> {
        let mut schema = Schema::default();
        let lines = || text.lines().enumerate().filter(|(_, line)| !line.starts_with('"'));
        // Names first: definitions refer to later ones.
        for (index, line) in lines() {
            if let Some(header) = line.strip_prefix(": ") {
                let definition = header_of(header).map_err(at(index))?;
                let id = Id(schema.definitions.len() as u32);
                schema.by_name.insert(definition.name.clone(), id);
                schema.definitions.push(definition);
            }
        }
        let mut fields = Vec::new();
        let mut open: Option<usize> = None;
        for (index, line) in lines() {
            if line.starts_with(": ") {
                schema.close(open, &mut fields);
                open = Some(open.map_or(0, |open| open + 1));
            } else {
                fields.push(schema.field_of(line).map_err(at(index))?);
            }
        }
        schema.close(open, &mut fields);
        Ok(schema)
    }

    fn close(&mut self, open: Option<usize>, fields: &mut Vec<Field>) {
        let fields = std::mem::take(fields);
        if let Some(definition) = open.and_then(|open| self.definitions.get_mut(open)) {
            definition.fields = fields.into();
            definition.fields.sort_by(|a, b| a.name.cmp(&b.name));
            definition.wires = (0..).take(definition.fields.len()).collect();
            definition.wires.sort_by_key(|index| definition.fields[usize::from(*index)].wire);
        }
    }

    /// The definition of that name.
    pub fn find(&self, name: &str) -> Option<&Definition> {
        self.by_name.get(name).map(|id| self.definition(*id))
    }

    /// The type of that name: what a kind's `schema` says.
    pub fn root(&self, name: &str) -> Option<Type> {
        self.by_name.get(name).map(|id| self.reference(*id))
    }

    /// A definition of this schema.
    pub fn definition(&self, id: Id) -> &Definition {
        &self.definitions[id.0 as usize]
    }

    /// All definitions, as in the text.
    pub fn definitions(&self) -> &[Definition] {
        &self.definitions
    }

    fn reference(&self, id: Id) -> Type {
        self.definition(id).scalar.clone().unwrap_or(Type::Struct(id))
    }

    fn field_of(&self, line: &str) -> Result<Field, String> {
        let mut words = line.split(' ');
        let name = words.next().unwrap_or_default();
        let kind = self.type_of(words.next().ok_or("a field without a type")?)?;
        let mut field = Field {
            name: name.trim_end_matches('!').into(),
            kind,
            required: name.ends_with('!'),
            always: false,
            list: ListType::Atomic,
            atomic: None,
            patch: Patch::default(),
            default: None,
            wire: Wire::default(),
            zero: false,
            items: false,
        };
        for word in words {
            field.mark(word)?;
        }
        Ok(field)
    }

    fn type_of(&self, word: &str) -> Result<Type, String> {
        if let Some(of) = word.strip_prefix("[]") {
            return Ok(Type::List(Box::new(self.type_of(of)?)));
        }
        if let Some(of) = word.strip_prefix("{}") {
            return Ok(Type::Map(Box::new(self.type_of(of)?)));
        }
        match self.by_name.get(word) {
            Some(id) => Ok(self.reference(*id)),
            None => scalar_of(word).ok_or_else(|| format!("no definition and no type: {word}")),
        }
    }
}

impl Type {
    /// What a null in a list or a map is.
    pub fn zero(&self) -> Value {
        match self {
            Type::String | Type::Bytes => "".into(),
            Type::Int32 | Type::Int64 | Type::IntOrString | Type::Double => 0.into(),
            Type::Bool => false.into(),
            Type::Quantity => "0".into(),
            Type::Struct(_) | Type::Map(_) => Value::Object(Map::new()),
            Type::List(_) => Value::Array(Vec::new()),
            Type::Time | Type::MicroTime | Type::Json | Type::Any => Value::Null,
        }
    }
}

impl Definition {
    /// One of its fields.
    pub fn field(&self, name: &str) -> Option<&Field> {
        let index = self.fields.binary_search_by(|field| (*field.name).cmp(name)).ok()?;
        self.fields.get(index)
    }

    /// The field at a place in protobuf.
    pub fn field_at(&self, wire: Wire) -> Option<&Field> {
        let at = |index: &u16| self.fields[usize::from(*index)].wire;
        let index = self.wires.binary_search_by_key(&wire, at).ok()?;
        self.fields.get(usize::from(*self.wires.get(index)?)).filter(|_| wire.number > 0)
    }

    /// The way on into the structure that Go embeds at that number, if it does.
    pub fn embedded(&self, within: [u32; 2], number: u32) -> Option<[u32; 2]> {
        let inner = match within {
            [0, _] => [number, 0],
            [outer, 0] => [outer, number],
            _ => return None,
        };
        let within = |index: &u16| self.fields[usize::from(*index)].wire.within;
        let first = self.wires.partition_point(|index| within(index) < inner);
        let there = within(self.wires.get(first).filter(|_| number > 0)?);
        (there == inner || (inner[1] == 0 && there[0] == inner[0])).then_some(inner)
    }

    /// The last part of its name: its type in upstream's Go, `Container`.
    pub fn short(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or(&self.name)
    }

    /// Its type in upstream's Go with the package, `v1.Container`.
    pub fn qualified(&self) -> &str {
        self.name.rmatch_indices('.').nth(1).map_or(&self.name, |(dot, _)| &self.name[dot + 1..])
    }
}

impl Field {
    fn mark(&mut self, word: &str) -> Result<(), String> {
        let (mark, value) = word.split_once('=').unwrap_or((word, ""));
        match (mark, value) {
            ("always", "") => self.always = true,
            ("default", value) => self.default = Some(value.into()),
            ("zero", "") => self.zero = true,
            ("items", "") => self.items = true,
            ("wire", value) => self.wire = wire_of(value).ok_or_else(|| format!("unknown: {word}"))?,
            ("list", "set") => self.list = ListType::Set,
            ("map", "atomic") => self.atomic = Some(true),
            ("map", "granular") => self.atomic = Some(false),
            ("list", value) => {
                let keys = value.strip_prefix("map:").ok_or_else(|| format!("unknown: {word}"))?;
                self.list = ListType::Map(keys.split(',').map(Box::from).collect());
            }
            ("patch", value) => value.split('+').try_for_each(|word| self.patch.mark(word))?,
            _ => return Err(format!("unknown: {word}")),
        }
        Ok(())
    }
}

impl Patch {
    fn mark(&mut self, word: &str) -> Result<(), String> {
        match word.split_once(':').unwrap_or((word, "")) {
            ("merge", key) => {
                self.merge = true;
                self.key = (!key.is_empty()).then(|| key.into());
            }
            ("retain", "") => self.retain = true,
            ("replace", "") => self.replace = true,
            _ => return Err(format!("unknown: patch={word}")),
        }
        Ok(())
    }
}

fn wire_of(text: &str) -> Option<Wire> {
    let numbers = text.split('.').map(|number| number.parse().ok()).collect::<Option<Vec<u32>>>()?;
    Some(match *numbers {
        [number] => Wire { within: [0, 0], number },
        [outer, number] => Wire { within: [outer, 0], number },
        [outer, inner, number] => Wire { within: [outer, inner], number },
        _ => return None,
    })
}

fn at(index: usize) -> impl Fn(String) -> SchemaError {
    move |what| SchemaError { line: index + 1, what }
}

fn header_of(header: &str) -> Result<Definition, String> {
    let mut words = header.split(' ');
    let name = words.next().unwrap_or_default().into();
    let (fields, wires) = (Box::default(), Box::default());
    let mut definition = Definition { name, scalar: None, atomic: false, fields, wires };
    while let Some(word) = words.next() {
        match word {
            "atomic" => definition.atomic = true,
            "=" => {
                let kind = words.next().unwrap_or_default();
                definition.scalar = Some(scalar_of(kind).ok_or_else(|| format!("no type: {kind}"))?);
            }
            _ => return Err(format!("unknown: {word}")),
        }
    }
    Ok(definition)
}

fn scalar_of(word: &str) -> Option<Type> {
    Some(match word {
        "string" => Type::String,
        "int32" => Type::Int32,
        "int64" => Type::Int64,
        "double" => Type::Double,
        "bool" => Type::Bool,
        "bytes" => Type::Bytes,
        "time" => Type::Time,
        "microtime" => Type::MicroTime,
        "quantity" => Type::Quantity,
        "intorstring" => Type::IntOrString,
        "json" => Type::Json,
        "any" => Type::Any,
        _ => return None,
    })
}

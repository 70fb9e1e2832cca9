//! Reads the struct types that a Go program carries for reflection: their fields with tags and types.
//!
//! Go's linker lists types in `.typelink` as offsets into `.rodata`; the layouts are those of Go's `internal/abi`, of 64-bit
//! little-endian programs at fixed addresses. Nothing is run, and what does not fit is an error with its address.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

const MAP: u8 = 21;
const POINTER: u8 = 22;
const SLICE: u8 = 23;
const STRUCT: u8 = 25;
/// Bytes of a type before what its kind adds.
const HEADER: u64 = 48;
const FIELD: u64 = 24;

/// A field of a struct.
#[derive(Clone, Debug)]
pub struct Field {
    /// `json:"replicas,omitempty" protobuf:"varint,1,opt,name=replicas"`.
    pub tag: String,
    /// Its type.
    pub kind: Type,
}

/// A type's place in the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Type(u64);

/// A Go program.
pub struct Program<'a> {
    bytes: &'a [u8],
    /// Where sections are loaded and lie in the file: address, offset, size.
    sections: BTreeMap<String, (u64, u64, u64)>,
}

impl<'a> Program<'a> {
    /// Finds the sections.
    pub fn read(bytes: &'a [u8]) -> Result<Program<'a>> {
        ensure!(bytes.starts_with(b"\x7fELF\x02\x01"), "it is no 64-bit little-endian ELF file");
        let mut program = Program { bytes, sections: BTreeMap::new() };
        let table = program.number(0x28, 8)?;
        let (size, count, names) =
            (program.number(0x3a, 2)?, program.number(0x3c, 2)?, program.number(0x3e, 2)?);
        let names = program.number(table + names * size + 24, 8)?;
        for index in 0..count {
            let at = table + index * size;
            let name = program.tail(names + program.number(at, 4)?)?;
            let end = name.iter().position(|byte| *byte == 0).context("a section's name does not end")?;
            let place =
                (program.number(at + 16, 8)?, program.number(at + 24, 8)?, program.number(at + 32, 8)?);
            program.sections.insert(String::from_utf8_lossy(&name[..end]).into_owned(), place);
        }
        Ok(program)
    }

    /// The named structs that pointers point to, by package and name: `k8s.io/api/core/v1.Pod`.
    pub fn structs(&self) -> Result<BTreeMap<String, Type>> {
        let (_, links, size) = self.section(".typelink")?;
        let (types, ..) = self.section(".rodata")?;
        let mut found = BTreeMap::new();
        for link in (0..size).step_by(4) {
            let pointer = Type(types + self.number(links + link, 4)?);
            if self.kind(pointer)? != POINTER {
                continue;
            }
            let target = self.element(pointer)?;
            if self.kind(target)? == STRUCT && self.flags(target)? & 1 != 0 {
                let package = self.name(types + self.number(self.offset(target.0 + HEADER + 32)?, 4)?)?.0;
                let name = self.type_name(target)?;
                let name = name.rsplit('.').next().unwrap_or(&name).to_owned();
                found.insert(format!("{package}.{name}"), target);
            }
        }
        Ok(found)
    }

    /// A struct's fields.
    pub fn fields(&self, of: Type) -> Result<Vec<Field>> {
        let first = self.number(self.offset(of.0 + HEADER + 8)?, 8)?;
        let count = self.number(self.offset(of.0 + HEADER + 16)?, 8)?;
        let field = |index: u64| {
            let at = self.offset(first + index * FIELD)?;
            let (_, tag) = self.name(self.number(at, 8)?)?;
            Ok(Field { tag, kind: Type(self.number(at + 8, 8)?) })
        };
        (0..count).map(field).collect()
    }

    /// Whether it is one value: no struct, list, map or pointer. A number or a name is a struct in Go, and one value.
    pub fn is_scalar(&self, of: Type) -> Result<bool> {
        let nests = [MAP, POINTER, SLICE, STRUCT].contains(&self.kind(of)?);
        Ok(!nests || self.type_name(of)?.trim_start_matches('*') == "intstr.IntOrString")
    }

    /// What a pointer points to.
    pub fn pointee(&self, of: Type) -> Result<Option<Type>> {
        Ok(if self.kind(of)? == POINTER { Some(self.element(of)?) } else { None })
    }

    /// Whether it is a list with a name of its own, or a map of such.
    pub fn is_named_list(&self, of: Type) -> Result<bool> {
        let of =
            if self.kind(of)? == MAP { Type(self.number(self.offset(of.0 + HEADER + 8)?, 8)?) } else { of };
        Ok(self.kind(of)? == SLICE && self.flags(of)? & 4 != 0)
    }

    fn element(&self, of: Type) -> Result<Type> {
        Ok(Type(self.number(self.offset(of.0 + HEADER)?, 8)?))
    }

    fn kind(&self, of: Type) -> Result<u8> {
        Ok(self.number(self.offset(of.0 + 23)?, 1)? as u8 & 31)
    }

    /// 1: it has a package; 4: it has a name.
    fn flags(&self, of: Type) -> Result<u64> {
        self.number(self.offset(of.0 + 20)?, 1)
    }

    fn type_name(&self, of: Type) -> Result<String> {
        let (types, ..) = self.section(".rodata")?;
        Ok(self.name(types + self.number(self.offset(of.0 + 40)?, 4)?)?.0)
    }

    /// A name and the tag that may follow it.
    fn name(&self, address: u64) -> Result<(String, String)> {
        let mut at = self.offset(address)?;
        let has_tag = self.number(at, 1)? & 2 != 0;
        at += 1;
        let name = self.text(&mut at)?;
        Ok((name, if has_tag { self.text(&mut at)? } else { String::new() }))
    }

    fn text(&self, at: &mut u64) -> Result<String> {
        let (mut length, mut shift) = (0, 0);
        loop {
            let byte = self.number(*at, 1)?;
            *at += 1;
            length |= (byte & 127) << shift;
            shift += 7;
            if byte < 128 || shift > 28 {
                break;
            }
        }
        let bytes = self.tail(*at)?.get(..length as usize).context("a name passes the file's end")?;
        *at += length;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    fn section(&self, name: &str) -> Result<(u64, u64, u64)> {
        self.sections.get(name).copied().with_context(|| format!("it has no {name}: it is no Go program"))
    }

    fn offset(&self, address: u64) -> Result<u64> {
        let mut places = self.sections.values();
        let of = places.find(|(at, _, size)| *at != 0 && (*at..*at + *size).contains(&address));
        of.map(|(at, offset, _)| address - at + offset).with_context(|| format!("nothing is at {address:#x}"))
    }

    fn number(&self, offset: u64, size: usize) -> Result<u64> {
        let bytes = self.tail(offset)?.get(..size).context("a number passes the file's end")?;
        Ok(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn tail(&self, offset: u64) -> Result<&'a [u8]> {
        self.bytes
            .get(offset as usize..)
            .with_context(|| format!("offset {offset:#x} is past the file's end"))
    }
}

/// What a struct tag says of a key: `replicas,omitempty` of `json`.
pub fn tag<'t>(tag: &'t str, key: &str) -> &'t str {
    let value = tag.split(' ').find_map(|part| part.strip_prefix(key)?.strip_prefix(":\""));
    value.and_then(|value| value.strip_suffix('"')).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_told_apart() {
        let all = r#"json:"a,omitempty" patchStrategy:"merge,retainKeys" protobuf:"bytes,1,opt,name=a""#;
        assert_eq!(tag(all, "json"), "a,omitempty");
        assert_eq!(tag(all, "patchStrategy"), "merge,retainKeys");
        assert_eq!(tag(all, "patchMergeKey"), "");
    }

    #[test]
    fn what_is_no_go_program_is_refused() {
        assert!(Program::read(b"#!/bin/sh").is_err());
        let this = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let error = Program::read(&this).unwrap().structs().unwrap_err().to_string();
        assert_eq!(error, "it has no .typelink: it is no Go program");
    }
}

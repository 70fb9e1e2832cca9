//! A reader of BTF, the kernel's description of its own types, for the few questions the loader has:
//! at which offset is this member, and what are this function's parameters.
//!
//! It reads no other kind of question out of BTF and writes none. Invariant: no input makes it panic; a
//! file it does not understand is an error that says so.

use std::collections::HashMap;

/// Why BTF did not answer.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BtfError {
    /// The bytes are not BTF.
    #[error("not BTF, or of an unknown version: {0}")]
    Malformed(&'static str),
    /// There is no such structure in this kernel.
    #[error("this kernel has no struct {0}")]
    NoStruct(String),
    /// The structure has no such member.
    #[error("this kernel's struct {0} has no member {1}")]
    NoMember(String, String),
}

const KIND_INT: u32 = 1;
const KIND_PTR: u32 = 2;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_TYPEDEF: u32 = 8;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_DECL_TAG: u32 = 17;
const KIND_ENUM64: u32 = 19;
/// Anonymous structures nest; a loop among types must not become one here.
const NESTING: u32 = 16;

/// A kernel's types.
pub struct Btf {
    data: Vec<u8>,
    /// Where each type's record is; type 0 is void and has none.
    records: Vec<usize>,
    strings: usize,
    structs: HashMap<String, u32>,
    typedefs: HashMap<String, u32>,
}

/// The fixed part of a type's record.
#[derive(Clone, Copy)]
struct Record {
    name: u32,
    info: u32,
    /// Size or type, by kind.
    word: u32,
    /// Where what follows begins.
    tail: usize,
}

impl Record {
    fn kind(self) -> u32 {
        (self.info >> 24) & 0x1f
    }
    fn count(self) -> usize {
        (self.info & 0xffff) as usize
    }
    fn bitfields(self) -> bool {
        self.info >> 31 == 1
    }
    fn tail_bytes(self) -> Result<usize, BtfError> {
        Ok(match self.kind() {
            KIND_INT | KIND_VAR | KIND_DECL_TAG => 4,
            KIND_ARRAY => 12,
            KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => 12 * self.count(),
            KIND_ENUM | KIND_FUNC_PROTO => 8 * self.count(),
            1..=19 => 0,
            _ => return Err(BtfError::Malformed("a type of unknown kind")),
        })
    }
}

impl Btf {
    /// From the contents of a BTF file, such as `/sys/kernel/btf/vmlinux`.
    pub fn parse(data: Vec<u8>) -> Result<Btf, BtfError> {
        let short = BtfError::Malformed("shorter than its header says");
        if data.get(..3) != Some(&[0x9f, 0xeb, 1]) {
            return Err(BtfError::Malformed("wrong magic"));
        }
        let header = |at| word(&data, at).map(|value| value as usize);
        let (Some(header_len), Some(types), Some(types_len), Some(strings)) =
            (header(4), header(8), header(12), header(16))
        else {
            return Err(short);
        };
        let begin = header_len.saturating_add(types);
        let end = begin.saturating_add(types_len);
        if end > data.len() {
            return Err(short);
        }
        let strings = header_len.saturating_add(strings);
        let mut btf =
            Btf { data, records: vec![0], strings, structs: HashMap::new(), typedefs: HashMap::new() };
        btf.index(begin, end)?;
        Ok(btf)
    }

    fn index(&mut self, begin: usize, end: usize) -> Result<(), BtfError> {
        let mut at = begin;
        while at < end {
            let record = self.record_at(at).ok_or(BtfError::Malformed("a type is cut off"))?;
            let id = self.records.len() as u32;
            self.records.push(at);
            let name = self.string(record.name).to_owned();
            match record.kind() {
                KIND_STRUCT if !name.is_empty() => _ = self.structs.entry(name).or_insert(id),
                KIND_TYPEDEF => _ = self.typedefs.entry(name).or_insert(id),
                _ => {}
            }
            at = record.tail + record.tail_bytes()?;
        }
        Ok(())
    }

    fn record_at(&self, at: usize) -> Option<Record> {
        let name = word(&self.data, at)?;
        let info = word(&self.data, at + 4)?;
        Some(Record { name, info, word: word(&self.data, at + 8)?, tail: at + 12 })
    }

    fn record(&self, id: u32) -> Option<Record> {
        self.record_at(*self.records.get(id as usize).filter(|_| id != 0)?)
    }

    fn string(&self, offset: u32) -> &str {
        let bytes = self.data.get(self.strings.saturating_add(offset as usize)..).unwrap_or_default();
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(0);
        std::str::from_utf8(&bytes[..end]).unwrap_or_default()
    }

    /// The offset in bytes of a structure's member, looked for in anonymous members too.
    pub fn offset(&self, structure: &str, member: &str) -> Result<u32, BtfError> {
        let id = *self.structs.get(structure).ok_or_else(|| BtfError::NoStruct(structure.to_owned()))?;
        let bits = self
            .member_bits(id, member, 0)
            .ok_or_else(|| BtfError::NoMember(structure.to_owned(), member.to_owned()))?;
        Ok(bits / 8)
    }

    /// The size of a structure in bytes.
    pub fn size(&self, structure: &str) -> Result<u32, BtfError> {
        let none = || BtfError::NoStruct(structure.to_owned());
        let id = *self.structs.get(structure).ok_or_else(none)?;
        self.record(id).map(|record| record.word).ok_or_else(none)
    }

    fn member_bits(&self, id: u32, wanted: &str, depth: u32) -> Option<u32> {
        let record = self.record(id).filter(|_| depth < NESTING)?;
        if !matches!(record.kind(), KIND_STRUCT | KIND_UNION) {
            return None;
        }
        (0..record.count()).find_map(|index| {
            let at = record.tail + 12 * index;
            let (name, ty, offset) =
                (word(&self.data, at)?, word(&self.data, at + 4)?, word(&self.data, at + 8)?);
            let bits = if record.bitfields() { offset & 0x00ff_ffff } else { offset };
            match self.string(name) {
                name if name == wanted => Some(bits),
                "" => bits.checked_add(self.member_bits(ty, wanted, depth + 1)?),
                _ => None,
            }
        })
    }

    /// The parameters of a tracepoint, each as the name of the structure it points to, or `None` for what
    /// is no pointer to a structure. `None` if the kernel has no such tracepoint.
    pub fn tracepoint(&self, name: &str) -> Option<Vec<Option<String>>> {
        let typedef = self.record(*self.typedefs.get(&format!("btf_trace_{name}"))?)?;
        let pointer = self.record(typedef.word).filter(|record| record.kind() == KIND_PTR)?;
        let proto = self.record(pointer.word).filter(|record| record.kind() == KIND_FUNC_PROTO)?;
        // The first parameter is the tracing machinery's own.
        let parameters = (1..proto.count()).map(|index| {
            let pointer = self.record(word(&self.data, proto.tail + 8 * index + 4)?)?;
            let pointee = self.record(pointer.word).filter(|_| pointer.kind() == KIND_PTR)?;
            (pointee.kind() == KIND_STRUCT).then(|| self.string(pointee.name).to_owned())
        });
        Some(parameters.collect())
    }
}

/// A little-endian word: podbox is built for such machines, and BTF has the kernel's own order.
fn word(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
#[path = "btf_tests.rs"]
mod tests;

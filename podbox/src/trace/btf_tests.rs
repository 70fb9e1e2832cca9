//! The BTF reader, on types written for these tests and on damaged ones.

use super::*;
use proptest::prelude::*;

/// Writes BTF, type by type; ids begin at 1.
#[derive(Default)]
struct Writer {
    types: Vec<u8>,
    strings: Vec<u8>,
}

impl Writer {
    fn name(&mut self, name: &str) -> u32 {
        if self.strings.is_empty() {
            self.strings.push(0);
        }
        if name.is_empty() {
            return 0;
        }
        let at = self.strings.len() as u32;
        self.strings.extend(name.bytes().chain([0]));
        at
    }

    fn words(&mut self, words: &[u32]) {
        self.types.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
    }

    /// A type without a tail, or the beginning of one.
    fn ty(&mut self, kind: u32, name: &str, count: u32, word: u32) {
        let name = self.name(name);
        self.words(&[name, (kind << 24) | count, word]);
    }

    /// A structure or union; members as name, type, offset in bits.
    fn members(&mut self, kind: u32, name: &str, members: &[(&str, u32, u32)]) {
        self.ty(kind, name, members.len() as u32, 64);
        for (name, ty, bits) in members {
            let name = self.name(name);
            self.words(&[name, *ty, *bits]);
        }
    }

    fn finish(self) -> Vec<u8> {
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        for word in [24, 0, types, types, strings] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(self.types);
        bytes.extend(self.strings);
        bytes
    }
}

/// 1 int, 2 struct task, 3 anonymous struct, 4 anonymous union, 5 struct outer, 6 ptr→task, 7 proto, 8 ptr, 9 typedef.
fn example() -> Vec<u8> {
    let mut btf = Writer::default();
    btf.ty(KIND_INT, "int", 0, 4);
    btf.words(&[32]);
    btf.members(KIND_STRUCT, "task", &[("pid", 1, 0), ("tgid", 1, 32)]);
    btf.members(KIND_STRUCT, "", &[("deep", 1, 32)]);
    btf.members(KIND_UNION, "", &[("flat", 1, 0), ("", 3, 0)]);
    btf.members(KIND_STRUCT, "outer", &[("first", 1, 0), ("", 4, 64)]);
    btf.ty(KIND_PTR, "", 0, 2);
    btf.ty(KIND_FUNC_PROTO, "", 3, 0);
    btf.words(&[0, 6, 0, 6, 0, 1]);
    btf.ty(KIND_PTR, "", 0, 7);
    btf.ty(KIND_TYPEDEF, "btf_trace_mark", 0, 8);
    btf.finish()
}

#[test]
fn members_are_found_by_name_in_anonymous_ones_too() {
    let btf = Btf::parse(example()).unwrap();
    let check = |structure, member, expected| assert_eq!(btf.offset(structure, member), expected, "{member}");
    check("task", "tgid", Ok(4));
    check("outer", "first", Ok(0));
    check("outer", "flat", Ok(8));
    check("outer", "deep", Ok(12));
    check("outer", "tgid", Err(BtfError::NoMember("outer".into(), "tgid".into())));
    check("none", "tgid", Err(BtfError::NoStruct("none".into())));
}

#[test]
fn a_tracepoint_tells_its_parameters_without_the_first() {
    let btf = Btf::parse(example()).unwrap();
    assert_eq!(btf.tracepoint("mark"), Some(vec![Some("task".to_owned()), None]));
    assert_eq!(btf.tracepoint("other"), None);
}

#[test]
fn what_is_not_btf_is_refused() {
    assert!(matches!(Btf::parse(Vec::new()), Err(BtfError::Malformed(_))));
    assert!(matches!(Btf::parse(b"\x7fELF and more".to_vec()), Err(BtfError::Malformed(_))));
    let mut cut = example();
    cut.truncate(60);
    assert!(matches!(Btf::parse(cut), Err(BtfError::Malformed(_))));
}

proptest! {
    #[test]
    fn damaged_btf_never_panics(damage in prop::collection::vec((0_usize..400, any::<u8>()), 0..16)) {
        let mut bytes = example();
        for (at, byte) in damage {
            let length = bytes.len();
            bytes[4 + at % (length - 4)] = byte;
        }
        if let Ok(btf) = Btf::parse(bytes) {
            let _ = (btf.offset("outer", "deep"), btf.offset("task", "none"), btf.tracepoint("mark"));
        }
    }
}

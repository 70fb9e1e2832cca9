//! Whatever a client sends: every reader of requests against recorded bodies that were damaged and against long texts made to
//! be slow. Nothing panics, nothing takes long, and what was read is read again as the same.
//!
//! A run is bounded by proptest's number of cases, which `PROPTEST_CASES` raises and `PROPTEST_RNG_SEED` repeats. cargo-fuzz
//! would want a nightly toolchain; recorded bodies and a dictionary reach as deep, since every type is known.

use super::apply::{self, Write};
use super::decode::{self, FieldValidation, Format, Target};
use super::patch::Patch;
use super::quantity::Quantity;
use super::recorded;
use super::selector::{Fields, Labels};
use crate::{clock, limits};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};
use std::sync::OnceLock;
use std::time::Duration;

/// What such bodies are made of.
const WORDS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    "\"",
    "\\",
    ",",
    ":",
    "null",
    "true",
    "-",
    "1e999",
    "-0",
    "9223372036854775808",
    "\\ud800",
    "\0",
    "\u{feff}",
    "\n",
    "\n- ",
    "\n  ",
    "&a ",
    "*a",
    "<<: *a",
    "!!binary ",
    "? ",
    "|\n",
    "# ",
    "---\n",
    "$patch",
    "delete",
    "$retainKeys",
    "$setElementOrder/containers",
    "$deleteFromPrimitiveList/finalizers",
    "name",
    "/-",
    "/0",
    "~1",
    "f:",
    "k:{\"name\":\"a\"}",
    "10Ki",
    "1e-9999",
    "k8s\0",
];

/// One change of a text.
#[derive(Clone, Debug)]
enum Damage {
    Insert(&'static str),
    Byte(u8),
    Cut(u8),
    Repeat(u8),
}

fn damage() -> impl Strategy<Value = Vec<(Index, Damage)>> {
    let one = prop_oneof![
        prop::sample::select(WORDS).prop_map(Damage::Insert),
        any::<u8>().prop_map(Damage::Byte),
        any::<u8>().prop_map(Damage::Cut),
        any::<u8>().prop_map(Damage::Repeat),
    ];
    prop::collection::vec((any::<Index>(), one), 0..6)
}

fn damaged(mut bytes: Vec<u8>, all: &[(Index, Damage)]) -> Vec<u8> {
    for (at, damage) in all {
        let at = at.index(bytes.len() + 1);
        let end = |count: u8| bytes.len().min(at + usize::from(count));
        match damage {
            Damage::Insert(word) => drop(bytes.splice(at..at, word.bytes())),
            Damage::Byte(byte) => drop(bytes.splice(at..end(1), [*byte])),
            Damage::Cut(count) => drop(bytes.drain(at..end(*count))),
            Damage::Repeat(count) => {
                let again = bytes[at..end(*count)].to_vec();
                bytes.splice(at..at, again);
            }
        }
    }
    bytes
}

/// Bodies as clients sent them, patches among them.
fn bodies() -> &'static [Vec<u8>] {
    static BODIES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    BODIES.get_or_init(|| {
        let files = ["validation.jsonl", "defaulting.jsonl", "patches.jsonl", "metadata.jsonl"];
        let sent =
            files.iter().filter_map(|file| recorded::at_hand(file)).flatten().map(|line| {
                match &line["request"]["body"] {
                    Value::String(text) => text.clone().into_bytes(),
                    body => body.to_string().into_bytes(),
                }
            });
        std::iter::once(pod().to_string().into_bytes()).chain(sent).collect()
    })
}

fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "a", "finalizers": ["x/y"], "labels": {"a": "b"}},
        "spec": {"containers": [{"name": "a", "image": "b", "env": [{"name": "c", "value": "d"}]}], "volumes": [{"name": "v"}]},
    })
}

/// What bodies may be meant to be.
const KINDS: &[(&str, &str, &str)] = &[
    ("", "v1", "Pod"),
    ("", "v1", "ConfigMap"),
    ("", "v1", "Service"),
    ("apps", "v1", "Deployment"),
    ("batch", "v1", "CronJob"),
    ("example.com", "v1", "Custom"),
];
const PATCHES: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

/// Decodes a body in every format; what came out must go in again.
fn decode_all(bytes: &[u8], target: &Target<'_>) {
    for format in [Format::Json, Format::Yaml, Format::Protobuf] {
        let _ = decode::options(bytes, format, "DeleteOptions");
        if let Ok(once) = decode::body(bytes, format, target, FieldValidation::Warn) {
            let text = once.object.to_string();
            let again = decode::body(text.as_bytes(), Format::Json, target, FieldValidation::Strict);
            assert_eq!(again.map(|again| again.object), Ok(once.object), "{text}");
        }
    }
}

/// Patches and applies with a body.
fn patch_all(bytes: &[u8]) {
    let target = Target::named("", "v1", "Pod");
    for content_type in PATCHES {
        let Ok(patch) = Patch::read(content_type, bytes) else { continue };
        let Ok(patched) = patch.apply(pod()) else { continue };
        let _ = decode::patched(patched.clone(), &target, FieldValidation::Strict, || patch.shown(&patched));
    }
    let Ok(config) = decode::body(bytes, Format::Yaml, &target, FieldValidation::Ignore) else { return };
    let write =
        Write { manager: "m", subresource: "", api_version: "v1", now: "2020-01-01T00:00:00Z", reset: &[] };
    for force in [false, true] {
        let Ok(once) = apply::apply(&pod(), &config.object, &target, &write, force) else { continue };
        let _ = apply::apply(&once.object, &config.object, &target, &write, force);
    }
}

proptest! {
    #[test]
    fn damaged_bodies_are_read_or_refused(at in any::<Index>(), kind in prop::sample::select(KINDS), damage in damage()) {
        let bytes = damaged(at.get(bodies()).clone(), &damage);
        let (group, version, kind) = kind;
        decode_all(&bytes, &Target::named(group, version, kind));
        patch_all(&bytes);
    }

    #[test]
    fn words_in_any_order_are_read_or_refused(words in prop::collection::vec(prop::sample::select(WORDS), 0..40)) {
        let bytes = words.concat().into_bytes();
        decode_all(&bytes, &Target::named("", "v1", "Pod"));
        patch_all(&bytes);
    }

    #[test]
    fn selectors_and_quantities_are_read_or_refused(
        words in prop::collection::vec("(in|notin|[a-z]{1,3}|[!=<>(),. \\\\]|==|!=|[0-9eEkKMGi.+-]{1,5}|\\PC)", 0..20),
    ) {
        let text = words.concat();
        if let Ok(labels) = Labels::parse(&text) {
            labels.matches(|_| Some("b"));
        }
        if let Ok(fields) = Fields::parse(&text) {
            fields.matches(&pod());
        }
        if let Ok(amount) = Quantity::parse(&text) {
            prop_assert_eq!(Quantity::parse(&amount.to_string()).map(|again| again.value()), Ok(amount.value()));
        }
    }
}

/// A second is hundreds of times what any of these takes that goes by its length alone.
#[track_caller]
fn soon(what: &str, work: impl FnOnce()) {
    let begin = clock::instant();
    work();
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(20), "{what} took {took:?}");
}

#[test]
fn long_texts_take_no_longer_than_their_length() {
    let length = limits::REQUEST_BYTES / 8;
    let fill = |piece: &str| piece.repeat(length / piece.len());
    let target = Target::named("", "v1", "Pod");
    for piece in [
        "[",
        "{\"a\":",
        "{\"spec\":",
        "[{\"a\":1},",
        "\"\\u0000",
        "a: &a [*a]\n",
        "- ",
        "&a ",
        "? ",
        "!!",
        "\n",
        "0",
        "k8s\0\x12",
    ] {
        let text = fill(piece);
        soon(piece, || decode_all(text.as_bytes(), &target));
        soon(piece, || patch_all(text.as_bytes()));
    }
    for piece in ["a,", "a in (", "!", "(", "a=b,", "a in (b,c),", "\\", " "] {
        let text = fill(piece);
        soon(piece, || drop(Labels::parse(&text)));
        soon(piece, || drop(Fields::parse(&text)));
    }
    for piece in ["9", "0", ".", "1e", "-"] {
        soon(piece, || drop(Quantity::parse(&fill(piece))));
    }
}

#[test]
fn aliases_that_double_are_refused() {
    let mut bomb = "a0: &a0 [x, x]\n".to_owned();
    (1..40).for_each(|index| bomb += &format!("a{index}: &a{index} [*a{0}, *a{0}]\n", index - 1));
    let target = Target::named("example.com", "v1", "Custom");
    soon("a bomb of aliases", || {
        decode::body(bomb.as_bytes(), Format::Yaml, &target, FieldValidation::Warn).unwrap_err();
    });
}

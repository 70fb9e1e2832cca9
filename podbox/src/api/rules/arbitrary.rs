//! Objects that were tampered with: whatever of them can be decoded is judged without a panic, and defaulting it
//! twice is the same as once.

use super::Write;
use crate::api::kinds::Kinds;
use proptest::prelude::*;
use serde_json::{Value, json};

/// One object of each kind that has much to judge.
fn seeds() -> Vec<Value> {
    serde_json::from_str(include_str!("arbitrary/seeds.json")).unwrap()
}

/// What is put in the place of something else.
fn odd() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!("")),
        Just(json!([])),
        Just(json!({})),
        Just(json!(true)),
        Just(json!(0)),
        Just(json!(i32::MIN)),
        Just(json!(i32::MAX)),
        Just(json!(i64::MIN)),
        Just(json!(i64::MAX)),
        Just(json!("a".repeat(300))),
        Just(json!("-1")),
        Just(json!("1e999999")),
        Just(json!("99999999999999999999%")),
        Just(json!("*/0 1-2-3 @every 5,, */")),
        Just(json!("@every 99999999999999999999h")),
        Just(json!("ä/ö/ü['\u{0}']")),
        Just(json!("']")),
        Just(json!("::ffff:1.2.3.4/-1")),
        "[a-zA-Z0-9./*%@:_ -]{0,12}".prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
    ]
}

/// Every place in a value, depth first.
fn places(value: &mut Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter_mut().map(places).sum(),
        Value::Object(fields) => fields.values_mut().map(places).sum::<usize>(),
        _ => 0,
    }
}

fn place(value: &mut Value, mut index: usize) -> Option<&mut Value> {
    if index == 0 {
        return Some(value);
    }
    index -= 1;
    let children: Vec<&mut Value> = match value {
        Value::Array(items) => items.iter_mut().collect(),
        Value::Object(fields) => fields.values_mut().collect(),
        _ => Vec::new(),
    };
    for child in children {
        let size = places(child);
        if index < size {
            return place(child, index);
        }
        index -= size;
    }
    None
}

fn judge(kinds: &Kinds, object: Value, seed: &Value) {
    let kind = kinds.kind(seed["apiVersion"].as_str().unwrap(), seed["kind"].as_str().unwrap()).unwrap();
    let Ok(once) = kind.rules.default(object) else { return };
    let again = kind.rules.default(once.clone()).unwrap();
    assert_eq!(once, again);
    for write in [Write::Create, Write::Update(seed), Write::Status(seed)] {
        kind.rules.admit(once.clone(), write).unwrap();
    }
    // And the other way about: a sound object in the place of a strange one.
    kind.rules.admit(seed.clone(), Write::Update(&once)).unwrap();
}

#[test]
fn the_seeds_are_sound() {
    let kinds = Kinds::new();
    for seed in seeds() {
        let kind = kinds.kind(seed["apiVersion"].as_str().unwrap(), seed["kind"].as_str().unwrap()).unwrap();
        let admitted = kind.rules.admit(seed.clone(), Write::Create).unwrap();
        assert_eq!(admitted.errors.0, [], "{seed}");
    }
}

proptest! {
    #[test]
    fn tampered_objects_are_judged_without_panic(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), odd()), 1..5),
    ) {
        let seeds = seeds();
        let seed = which.get(&seeds);
        let mut object = seed.clone();
        for (where_, what) in changes {
            let index = where_.index(places(&mut object));
            if let Some(there) = place(&mut object, index) {
                *there = what;
            }
        }
        judge(&Kinds::new(), object, seed);
    }
}

//! How upstream's Go types are: each field's number in protobuf, whose zeros JSON has, and how a strategic merge patch
//! changes them. The types are read from kubectl, the very program that sends such messages; what they say is kept in
//! `wire.txt`, so that only `--kubectl` needs the program.
//!
//! A line of that file is `FIELD NUMBER marks`. `2.3` is field 3 of the structure that Go embeds as field 2: JSON does not see
//! it. `zero`: JSON has the field's zero, of a pointer or for want of `omitempty`. `items`: a list within a message of its own.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::definition::{Definition, Field};
use super::go::{self, Program, Type};

/// What upstream's types say, by definition and field.
type Facts = BTreeMap<String, BTreeMap<String, String>>;

/// Reads a program's types: the text of `wire.txt`, of the definitions that are wanted.
pub fn read(program: &Path, wanted: &BTreeMap<String, Definition>) -> Result<String> {
    let bytes = std::fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    let text = write(&bytes, wanted);
    text.with_context(|| format!("{} has no types that can be read", program.display()))
}

fn write(bytes: &[u8], wanted: &BTreeMap<String, Definition>) -> Result<String> {
    let program = Program::read(bytes)?;
    let (mut facts, mut earlier) = (Facts::new(), Facts::new());
    for (path, of) in program.structs()? {
        // k8s.io/api/core/v1.Pod, and a copy that a package has for itself is not meant.
        let Some(path) = path.strip_prefix("k8s.io/") else { continue };
        let name = format!("io.k8s.{}", path.replace('/', "."));
        let is_wanted = |name: &str| wanted.get(name).is_some_and(|definition| definition.scalar.is_none());
        let stable = name.replace(".v1beta1.", ".v1.");
        if is_wanted(&name) {
            collect(&program, of, "", facts.entry(name).or_default())?;
        } else if is_wanted(&stable) {
            collect(&program, of, "", earlier.entry(stable).or_default())?;
        }
    }
    // What the program knows only as a beta has kept its numbers since.
    for (name, fields) in earlier {
        facts.entry(name).or_insert(fields);
    }
    let mut text =
        "# Made by `cargo xtask schema --kubectl PROGRAM` from the types in kubectl 1.35.\n".to_owned();
    for (name, fields) in facts {
        text += &format!(": {name}\n");
        fields.iter().for_each(|(field, fact)| text += &format!("{field} {fact}\n"));
    }
    Ok(text)
}

/// Collects the fields of a struct, those of structs that it embeds included.
fn collect(program: &Program<'_>, of: Type, prefix: &str, into: &mut BTreeMap<String, String>) -> Result<()> {
    for field in program.fields(of)? {
        let (json, protobuf) = (go::tag(&field.tag, "json"), go::tag(&field.tag, "protobuf"));
        let Some(number) = protobuf.split(',').nth(1).filter(|number| !number.is_empty()) else { continue };
        let name = json.split(',').next().unwrap_or_default();
        if name.is_empty() {
            ensure!(json.contains("inline"), "field {number} has no name in JSON");
            let embedded = program.pointee(field.kind)?.unwrap_or(field.kind);
            collect(program, embedded, &format!("{prefix}{number}."), into)?;
            continue;
        }
        let mut fact = format!("{prefix}{number}");
        let target = program.pointee(field.kind)?;
        let shown = target.is_some() || !json.contains(",omit");
        if shown && program.is_scalar(target.unwrap_or(field.kind))? {
            fact += " zero";
        }
        if program.is_named_list(field.kind)? {
            fact += " items";
        }
        fact += &patch(&field.tag)?;
        into.insert(name.to_owned(), fact);
    }
    Ok(())
}

/// ` patch=merge:name+retain`.
fn patch(all: &str) -> Result<String> {
    let mut words = Vec::new();
    for strategy in go::tag(all, "patchStrategy").split(',').filter(|strategy| !strategy.is_empty()) {
        match (strategy, go::tag(all, "patchMergeKey")) {
            ("merge", "") => words.push("merge".to_owned()),
            ("merge", key) => words.push(format!("merge:{key}")),
            ("retainKeys", _) => words.push("retain".to_owned()),
            ("replace", _) => words.push("replace".to_owned()),
            (other, _) => bail!("the patch strategy {other} is unknown"),
        }
    }
    Ok(if words.is_empty() { String::new() } else { format!(" patch={}", words.join("+")) })
}

/// Marks the fields of definitions by what `wire.txt` says.
pub fn apply(text: &str, all: &mut BTreeMap<String, Definition>) -> Result<()> {
    let mut definition = None;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix(": ") {
            definition = all.get_mut(name);
            continue;
        }
        let Some((name, facts)) = line.split_once(' ') else { bail!("wire.txt has a line {line:?}") };
        // Fields come and go with versions: kubectl may know some that are no more.
        if let Some(field) = definition.as_mut().and_then(|definition| definition.fields.get_mut(name)) {
            mark(field, facts)?;
        }
    }
    Ok(())
}

fn mark(field: &mut Field, facts: &str) -> Result<()> {
    let mut words = facts.split(' ');
    field.marks.insert("wire", words.next().unwrap_or_default().to_owned());
    for word in words {
        match word.split_once('=').unwrap_or((word, "")) {
            ("zero", "") => field.marks.insert("zero", String::new()),
            ("items", "") => field.marks.insert("items", String::new()),
            ("patch", value) => field.marks.insert("patch", value.to_owned()),
            _ => bail!("wire.txt has an unknown word {word:?}"),
        };
    }
    Ok(())
}

//! How lists and maps merge: read from the calls of `merge_strategies` in a type's `DeepMerge` impl.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::definition::Definition;

/// Marks the fields of `definition` by what its file says. A key is as in Rust until [`name_keys`].
pub fn read(definition: &mut Definition, text: &str) -> Result<()> {
    let body = text.split_once("impl crate::DeepMerge for ").map_or("", |(_, after)| after);
    let body = body.split_once("\n}\n").map_or(body, |(body, _)| body);
    // Strategies within strategies, of a map's values, come after the first mention of their field.
    for call in body.split("        crate::merge_strategies::").skip(1) {
        let (strategy, arguments) = call.split_once('(').context("a strategy is not called")?;
        let Some(rust) = arguments.trim_start().strip_prefix("&mut self.") else { continue };
        let (rust, rest) = rust.split_once(',').context("a strategy has one argument")?;
        let name = definition.names.get(rust).with_context(|| format!("{rust} has no name in JSON"))?;
        let field = definition.fields.get_mut(name).with_context(|| format!("{name} has no schema"))?;
        match strategy {
            "list::map" => {
                let keys: Vec<_> = rest.split("lhs.").skip(1).filter_map(|key| key.split_once(' ')).collect();
                let keys: Vec<_> = keys.into_iter().map(|(key, _)| key).collect();
                // By a field of a field is the crate's own idea.
                if !keys.iter().any(|key| key.contains('.')) {
                    field.marks.insert("list", format!("map:{}", keys.join(",")));
                }
            }
            "list::set" => {
                field.marks.insert("list", "set".to_owned());
            }
            "map::atomic" => {
                field.marks.insert("map", "atomic".to_owned());
            }
            // What is not marked is atomic if it is a list, and granular if it is a map.
            _ => {}
        }
    }
    Ok(())
}

/// Writes the keys as in JSON.
pub fn name_keys(definition: &mut Definition, all: &BTreeMap<String, Definition>) -> Result<()> {
    for (name, field) in &mut definition.fields {
        let Some(keys) = field.marks.get("list").and_then(|list| list.strip_prefix("map:")) else { continue };
        let path = field.kind.reference().with_context(|| format!("{name} is a map of no type"))?;
        let of = all.get(path).with_context(|| format!("{path} is not there"))?;
        let named = keys.split(',').map(|key| of.names.get(key).map(String::as_str));
        let named: Option<Vec<_>> = named.collect();
        let keys = named.with_context(|| format!("{name}: {path} lacks one of {keys}"))?.join(",");
        field.marks.insert("list", format!("map:{keys}"));
    }
    Ok(())
}

//! The import ranks of podbox/src: a module imports from lower ranks, from its own subject's modules of its rank, and
//! nothing else.

use super::Complaint;
use super::ranks::{EXCEPTIONS, IMPURE, Rank, rank};
use super::source::Source;

/// The highest rank whose modules have no effects.
const PURE: Rank = 1;

/// Everything the file imports that it must not.
pub fn check(source: &Source) -> Vec<Complaint> {
    let Some(module) = source.module() else { return Vec::new() };
    if source.is_test() || module == ["lib"] || module == ["main"] {
        return Vec::new();
    }
    let complain = |line, what| Complaint { file: source.path.clone(), line, what };
    let Some(own) = rank(&module) else {
        let what =
            format!("module {} has no rank: give it one in xtask/src/tidy/ranks.rs", module.join("::"));
        return vec![complain(1, what)];
    };
    let mut complaints = Vec::new();
    for (offset, path) in imports(&source.code, &module) {
        let line = source.line(offset);
        let name = path.join("::");
        match rank(&path) {
            None => complaints.push(complain(line, format!("{name} has no rank: give it one in xtask/src/tidy/ranks.rs"))),
            Some(other) if allowed(&module, own, &path, other) => {}
            Some(other) => complaints.push(complain(
                line,
                format!(
                    "{} (rank {own}) imports {name} (rank {other}): take it as a parameter, move the shared type to api, or move the code up",
                    module.join("::")
                ),
            )),
        }
    }
    if own <= PURE && module != ["clock"] {
        for (word, reason) in IMPURE {
            if let Some(offset) = find_path(&source.code, word) {
                complaints.push(complain(
                    source.line(offset),
                    format!("{} is pure (rank {own}) and must not use {word}: {reason}", module.join("::")),
                ));
            }
        }
    }
    complaints
}

/// Whether `module` may import `path`.
fn allowed(module: &[String], own: Rank, path: &[String], other: Rank) -> bool {
    let inside = path.starts_with(module) || module.starts_with(path);
    let subject = module.first() == path.first() && other <= own;
    let excepted = EXCEPTIONS
        .iter()
        .any(|(from, to, _)| module.join("::").starts_with(from) && path.join("::").starts_with(to));
    other < own || (other == 0 && own == 0) || inside || subject || excepted
}

/// The paths that the code names by `crate::` and `super::`, from the crate's root, with their offsets.
fn imports(code: &str, module: &[String]) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    for (offset, _) in code.match_indices("crate::") {
        if starts_word(code, offset) && !code[..offset].ends_with("$") {
            expand(&code[offset + "crate::".len()..], &[], &mut |path| found.push((offset, path)));
        }
    }
    for (offset, _) in code.match_indices("super::") {
        // Of a chain of them, the first one counts them all.
        if !starts_word(code, offset) || code[..offset].ends_with("super::") {
            continue;
        }
        let mut rest = &code[offset..];
        let mut base = module.to_vec();
        while let Some(shorter) = rest.strip_prefix("super::") {
            base.pop();
            rest = shorter;
        }
        expand(rest, &base, &mut |path| found.push((offset, path)));
    }
    found
}

/// Calls `found` with each path of the tree that `text` begins with: `a::{b, c::d}` has two.
fn expand<'a>(text: &'a str, base: &[String], found: &mut dyn FnMut(Vec<String>)) -> &'a str {
    let mut path = base.to_vec();
    let mut rest = text.trim_start();
    loop {
        if let Some(mut group) = rest.strip_prefix('{') {
            loop {
                group = expand(group, &path, found).trim_start();
                match group.strip_prefix(',') {
                    Some(more) if !more.trim_start().starts_with('}') => group = more,
                    Some(more) => return more.trim_start().trim_start_matches('}'),
                    None => return group.strip_prefix('}').unwrap_or(group),
                }
            }
        }
        let end = rest.find(|char: char| !char.is_alphanumeric() && char != '_').unwrap_or(rest.len());
        if end > 0 && &rest[..end] != "self" {
            path.push(rest[..end].to_owned());
        }
        rest = &rest[end..];
        match rest.strip_prefix("::") {
            Some(more) => rest = more,
            None => break,
        }
    }
    found(path);
    // `as name` and `*` end a path within a group.
    let end = rest.find([',', '}', ';']).unwrap_or(rest.len());
    &rest[end..]
}

fn starts_word(code: &str, offset: usize) -> bool {
    !code[..offset].ends_with(|char: char| char.is_alphanumeric() || char == '_' || char == ':')
}

/// Where the code names `path`, itself or something below it.
fn find_path(code: &str, path: &str) -> Option<usize> {
    code.match_indices(path).map(|(offset, _)| offset).find(|offset| {
        let after = &code[offset + path.len()..];
        starts_word(code, *offset) && (after.starts_with("::") || after.starts_with(';'))
    })
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::tidy::source::Source;
    use std::path::Path;

    #[track_caller]
    fn complaints(file: &str, text: &str, expected: &[&str]) {
        let found = check(&Source::new(&Path::new("podbox/src").join(file), text));
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (complaint, part) in found.iter().zip(expected) {
            assert!(complaint.what.contains(part), "{complaint:?} lacks {part:?}");
        }
    }

    #[test]
    fn lower_ranks_and_the_own_subject_may_be_imported() {
        complaints("pod/plan.rs", "use super::restart::Backoff;\nuse crate::{api::identity, clock};\n", &[]);
        complaints(
            "net/dataplane.rs",
            "use super::{diff, ipam::{Lease, Pool as P}};\nuse crate::config::Config;\n",
            &[],
        );
    }

    #[test]
    fn higher_ranks_may_not_however_they_are_written() {
        complaints("pod/plan.rs", "use crate::server::http;\n", &["pod::plan (rank 1) imports server::http"]);
        complaints("pod/plan.rs", "use crate::{clock, daemon as d, cli::{self}};\n", &["daemon", "cli"]);
        complaints("pod/plan.rs", "fn f() { crate::image::load() }\n", &["image"]);
        complaints(
            "pod/plan.rs",
            "use super::super::image::{load, store};\n",
            &["image::load", "image::store"],
        );
    }

    #[test]
    fn pure_modules_have_no_effects() {
        complaints("pod/plan.rs", "use tokio::time;\nfn f() { std::fs::read(a) }\n", &["tokio", "std::fs"]);
        complaints("pod/plan.rs", "// std::fs\nuse std::fmt;\n", &[]);
    }

    #[test]
    fn a_module_without_a_rank_is_told_where_to_get_one() {
        complaints("novel/thing.rs", "", &["xtask/src/tidy/ranks.rs"]);
    }
}

//! Rules about a file by itself, and about the workspace's list of dependencies.

use super::Complaint;
use super::source::Source;

/// A file with more lines before its tests has a second subject in it.
const MAX_LINES: usize = 450;

/// Longer files, and why each may be.
const LONG: &[(&str, &str)] = &[];

/// Where `unsafe` is expected, and why there.
const UNSAFE: &[(&str, &str)] = &[
    ("podbox-ebpf/", "a BPF program is made of raw pointers"),
    ("podbox-common/src/wire.rs", "promises that shared structs are plain bytes"),
    ("podbox/tests/", "a test may need a system call that nix lacks"),
    ("tests/src/bin/podbox-bench/floor.rs", "the bare clone3 is what is measured"),
    ("podbox/src/trace/", "bytes from kernel maps and rings become structs"),
    ("podbox/src/sandbox/sys.rs", "the system calls that nix lacks"),
    ("podbox/src/sandbox/keeper/", "clone3 and what runs between it and exec"),
    ("podbox/src/sandbox/init.rs", "runs between clone3 and exec"),
    ("podbox/src/sandbox/reap.rs", "goes on between clone3 and exec"),
    ("podbox/src/sandbox/pause.rs", "takes over the descriptor that the keeper put there"),
    ("podbox/src/sandbox/device.rs", "loads the cgroup's device program by bpf(2)"),
    ("podbox/src/sandbox/wire.rs", "descriptors that came in a message become owned"),
    ("podbox/src/cli/doctor/process.rs", "probes system calls that nix lacks"),
];

/// Everything to put right in a file, imports apart.
pub fn check(source: &Source) -> Vec<Complaint> {
    let complain = |line, what: String| Complaint { file: source.path.clone(), line, what };
    let path = source.path.to_string_lossy();
    let mut complaints = Vec::new();
    if !source.first.starts_with("//!") {
        let what =
            "open with `//!`: what the file does, what it deliberately doesn't, the invariant it keeps";
        complaints.push(complain(1, what.to_owned()));
    }
    if source.lines > MAX_LINES && !LONG.iter().any(|(file, _)| path == *file) {
        let what =
            format!("{} lines before the tests, {MAX_LINES} are the limit: move a subject out", source.lines);
        complaints.push(complain(source.lines, what));
    }
    if !UNSAFE.iter().any(|(place, _)| path.starts_with(place)) {
        complaints.extend(unsafe_words(&source.code).map(|offset| {
            let what = "no `unsafe` here: put it into podbox/src/sandbox/sys.rs behind a safe function, or name the file and \
                        the reason in xtask/src/tidy/rules.rs";
            complain(source.line(offset), what.to_owned())
        }));
    }
    complaints
}

/// Where the code uses the keyword.
fn unsafe_words(code: &str) -> impl Iterator<Item = usize> {
    let bounds = |char: char| !char.is_alphanumeric() && char != '_';
    code.match_indices("unsafe")
        .filter(move |(offset, word)| {
            code[..*offset].chars().next_back().is_none_or(bounds)
                && code[offset + word.len()..].chars().next().is_none_or(bounds)
        })
        .map(|(offset, _)| offset)
}

/// Dependencies of the workspace without a comment above their group that says why they are there.
pub fn dependencies(manifest: &str) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let mut inside = false;
    let mut explained = false;
    for (index, line) in manifest.lines().enumerate() {
        if line.starts_with('[') {
            inside = line == "[workspace.dependencies]";
            explained = false;
        } else if line.trim().is_empty() {
            explained = false;
        } else if line.starts_with('#') {
            explained = true;
        } else if inside && !explained && !line.contains("path = ") {
            let name = line.split(['=', ' ']).next().unwrap_or(line);
            let what = format!("say in a comment above why {name} is needed");
            complaints.push(Complaint { file: "Cargo.toml".into(), line: index + 1, what });
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::{check, dependencies};
    use crate::tidy::source::Source;
    use std::path::Path;

    #[track_caller]
    fn complaints(file: &str, text: &str, expected: &[(usize, &str)]) {
        let found = check(&Source::new(Path::new(file), text));
        let found: Vec<(usize, &str)> =
            found.iter().map(|complaint| (complaint.line, complaint.what.as_str())).collect();
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for ((line, what), (at, part)) in found.iter().zip(expected) {
            assert!(line == at && what.contains(part), "{line}: {what}, expected {at}: {part}");
        }
    }

    #[test]
    fn a_file_says_what_it_is() {
        complaints("podbox/src/x.rs", "//! Says.\nfn f() {}\n", &[]);
        complaints("podbox/src/x.rs", "fn f() {}\n", &[(1, "//!")]);
    }

    #[test]
    fn unsafe_is_allowed_in_named_places_only() {
        let text = "//! x\n#![deny(unsafe_op_in_unsafe_fn)]\nfn f() { unsafe { g() } }\n";
        complaints("podbox/src/pod/plan.rs", text, &[(3, "sys.rs")]);
        complaints("podbox/src/sandbox/sys.rs", text, &[]);
    }

    #[test]
    fn a_long_file_is_told_but_tests_do_not_count() {
        let long = "//! x\n".to_owned() + &"fn f() {}\n".repeat(460);
        complaints("podbox/src/x.rs", &long, &[(461, "450")]);
        let tests = "//! x\n#[cfg(test)]\nmod tests {\n".to_owned() + &"fn f() {}\n".repeat(460) + "}\n";
        complaints("podbox/src/x.rs", &tests, &[]);
    }

    #[test]
    fn a_dependency_has_a_reason() {
        let manifest = "[workspace.dependencies]\nown = { path = \"own\" }\n\n# Why.\na = \"1\"\nb = \"1\"\n\nc = \"1\"\n";
        let found = dependencies(manifest);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].line, found[0].what.contains(" c ")), (8, true));
    }
}

//! Recordings of Kubernetes' own API server, for tests that compare with them. They are no part of the repository.

use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Names the directory that has them.
const VARIABLE: &str = "PODBOX_RECORDINGS";
/// Where they are looked for if it names none: beside the checkout.
const BESIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/recordings");

/// The lines of one file of recordings. Where there is none, the test that asks for them is told as skipped, in the form that
/// `cargo xtask test` counts.
pub fn lines(file: &str) -> Vec<Value> {
    at_hand(file).unwrap_or_else(|| {
        let thread = std::thread::current();
        // libtest names a test's thread like the test. Not eprintln: it would keep that for itself when the test passes.
        let test = thread.name().unwrap_or("main");
        writeln!(std::io::stderr(), "SKIPPED {test}: it needs recordings of a Kubernetes: see {VARIABLE}")
            .ok();
        Vec::new()
    })
}

/// The same, for who can do without: none where there are no recordings.
pub fn at_hand(file: &str) -> Option<Vec<Value>> {
    let named = std::env::var_os(VARIABLE).map(PathBuf::from);
    let path = named.as_deref().unwrap_or(Path::new(BESIDE)).join(file);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if named.is_some() => panic!("{VARIABLE}: {}: {error}", path.display()),
        Err(_) => return None,
    };
    Some(text.lines().map(|line| serde_json::from_str(line).expect("a recording is a JSON object")).collect())
}

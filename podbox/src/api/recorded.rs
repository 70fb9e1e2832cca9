//! Recordings of Kubernetes' own API server, for tests that compare with them.

use serde_json::Value;
use std::path::Path;

/// The lines of one file of recordings. Says so loudly where there are none.
pub fn lines(file: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/recordings").join(file);
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("SKIPPED: no recordings at {}", path.display());
        return Vec::new();
    };
    text.lines().map(|line| serde_json::from_str(line).expect("a recording is a JSON object")).collect()
}

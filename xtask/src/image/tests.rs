//! The image is the same each time, and other tools read it.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use super::{BUSYBOX, write};

/// The digest of the whole image: its index names all else by digest.
fn build(dir: &Path) -> String {
    write(Path::new(BUSYBOX), dir).unwrap();
    std::fs::read_to_string(dir.join("index.json")).unwrap()
}

#[test]
fn two_builds_are_the_same_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(build(&dir.path().join("one")), build(&dir.path().join("two")));
}

#[test]
fn building_again_replaces_the_layout_and_leaves_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let layout = dir.path().join("image");
    assert_eq!(build(&layout), build(&layout));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn skopeo_reads_the_layout() {
    if crate::workspace::which("skopeo").is_none() {
        let _ = writeln!(std::io::stderr(), "SKIPPED skopeo_reads_the_layout: it needs skopeo");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let layout = dir.path().join("image");
    build(&layout);
    let output = Command::new("skopeo")
        .args(["inspect", &format!("oci:{}:{}", layout.display(), super::REFERENCE)])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["Layers"].as_array().unwrap().len(), 2);
    assert_eq!(said["Env"][0], "PATH=/usr/sbin:/usr/bin:/sbin:/bin");
}

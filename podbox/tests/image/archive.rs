//! Images from files: several in one archive, layers that are there once and named twice, and a full disk.

use super::ground::{count, image, nothing_remains, succeeded, text};
use super::saved::{self, Layer, Saved};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use tar::EntryType;
use tempfile::TempDir;

fn podbox(dir: &TempDir, args: &[&str]) -> Output {
    image(&dir.path().join("state"), args).output().unwrap()
}

fn load(dir: &TempDir, archive: &Path) -> Output {
    podbox(dir, &["load", archive.to_str().unwrap()])
}

/// Images as `podbox image ls` tells them.
fn listed(dir: &TempDir) -> Vec<String> {
    let output = podbox(dir, &["ls", "-o", "json"]);
    succeeded(&output);
    let images: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    images.iter().map(|image| image["reference"].as_str().unwrap().to_owned()).collect()
}

/// A layer in the store has these files, and no others.
#[track_caller]
fn holds(dir: &TempDir, layer: &Layer, files: &[(&str, &str)]) {
    let root = dir.path().join("state/images/layers").join(layer.diff_id.hex()).join("fs");
    assert_eq!(fs::read_dir(&root).unwrap().count(), files.len());
    for (name, content) in files {
        assert_eq!(fs::read_to_string(root.join(name)).unwrap(), *content, "{name}");
    }
}

#[test]
fn an_archive_of_several_images_brings_all_and_shares_their_layers() {
    let dir = tempfile::tempdir().unwrap();
    let mut saved = Saved::create(dir.path().join("several.tar"));
    let base = saved.layer("base.tar", &[("base", "below both")]);
    let one = saved.layer("one.tar", &[("one", "of the first")]);
    let two = saved.layer("two.tar", &[("two", "of the second")]);
    saved.image(&["one:1", "one:latest"], &[base.clone(), one.clone()]);
    saved.image(&["two:1"], &[base.clone(), two.clone()]);
    let output = load(&dir, &saved.finish());
    succeeded(&output);
    let names = ["one:1", "one:latest", "two:1"].map(|name| format!("docker.io/library/{name}"));
    assert_eq!(listed(&dir), names);
    let said = text(&output.stdout);
    assert!(names.iter().all(|name| said.contains(name)), "{said}");
    let state = dir.path().join("state");
    assert_eq!(count(&state, "layers"), 3);
    holds(&dir, &base, &[("base", "below both")]);
    holds(&dir, &two, &[("two", "of the second")]);
    // What another name or another image still has stays; what nobody has goes.
    succeeded(&podbox(&dir, &["rm", "one:1"]));
    holds(&dir, &one, &[("one", "of the first")]);
    succeeded(&podbox(&dir, &["rm", "one:latest"]));
    assert_eq!(count(&state, "layers"), 2);
    holds(&dir, &base, &[("base", "below both")]);
    succeeded(&podbox(&dir, &["rm", "two:1"]));
    nothing_remains(&state);
}

#[test]
fn an_archive_of_several_images_is_not_named_by_one_tag() {
    let dir = tempfile::tempdir().unwrap();
    let mut saved = Saved::create(dir.path().join("several.tar"));
    let base = saved.layer("base.tar", &[("base", "")]);
    saved.image(&["one:1"], std::slice::from_ref(&base));
    saved.image(&["two:1"], &[base]);
    let output = podbox(&dir, &["load", saved.finish().to_str().unwrap(), "--tag", "mine:1"]);
    assert!(!output.status.success());
    let error = text(&output.stderr);
    assert!(error.contains("several.tar") && error.contains("2 images, --tag can name only one"), "{error}");
    nothing_remains(&dir.path().join("state"));
}

#[test]
fn one_bad_name_keeps_a_whole_archive_out() {
    let dir = tempfile::tempdir().unwrap();
    let mut saved = Saved::create(dir.path().join("several.tar"));
    let base = saved.layer("base.tar", &[("base", "")]);
    saved.image(&["one:1"], std::slice::from_ref(&base));
    saved.image(&["NOT A NAME"], &[base]);
    let output = load(&dir, &saved.finish());
    assert!(!output.status.success() && text(&output.stderr).contains("NOT A NAME"));
    assert!(listed(&dir).is_empty());
    nothing_remains(&dir.path().join("state"));
}

#[test]
fn layers_that_are_links_to_others_are_followed() {
    let dir = tempfile::tempdir().unwrap();
    let mut saved = Saved::create(dir.path().join("linked.tar"));
    let base = saved.layer("aaa/layer.tar", &[("base", "named thrice")]);
    let top = saved.layer("bbb/layer.tar", &[("top", "once")]);
    let symbolic = saved.link("ccc/layer.tar", EntryType::Symlink, "../aaa/layer.tar", &base);
    let hard = saved.link("ddd/layer.tar", EntryType::Link, "aaa/layer.tar", &base);
    saved.image(&["plain:1"], &[base.clone(), top.clone()]);
    saved.image(&["symbolic:1"], std::slice::from_ref(&symbolic));
    saved.image(&["hard:1"], &[hard, top]);
    let archive = saved.finish();
    succeeded(&load(&dir, &archive));
    assert_eq!(listed(&dir).len(), 3);
    assert_eq!(count(&dir.path().join("state"), "layers"), 2);
    // By the link alone, too: the plain layer is not in the store any more.
    for name in ["plain:1", "symbolic:1", "hard:1"] {
        succeeded(&podbox(&dir, &["rm", name]));
    }
    let mut saved = Saved::create(dir.path().join("linked.tar"));
    let base = saved.layer("aaa/layer.tar", &[("base", "named thrice")]);
    let symbolic = saved.link("ccc/layer.tar", EntryType::Symlink, "../aaa/layer.tar", &base);
    saved.image(&["symbolic:1"], &[symbolic]);
    succeeded(&load(&dir, &saved.finish()));
    holds(&dir, &base, &[("base", "named thrice")]);
}

#[test]
fn a_layer_that_links_out_of_its_archive_is_missing() {
    for target in ["../../../etc/passwd", "/etc/passwd", "ccc/layer.tar", "absent.tar"] {
        let dir = tempfile::tempdir().unwrap();
        let mut saved = Saved::create(dir.path().join("linked.tar"));
        let base = saved.layer("aaa/layer.tar", &[("base", "")]);
        let out = saved.link("ccc/layer.tar", EntryType::Symlink, target, &base);
        saved.image(&["out:1"], &[out]);
        let output = load(&dir, &saved.finish());
        assert!(!output.status.success(), "{target}");
        let error = text(&output.stderr);
        assert!(error.contains("linked.tar: ccc/layer.tar is missing"), "{target}: {error}");
        nothing_remains(&dir.path().join("state"));
    }
}

#[test]
fn a_full_disk_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    saved::busybox(dir.path());
    let script = r#"mount -t tmpfs -o size=1m none "$1/disk" || exit 77
        "$2" --state-dir "$1/disk" image load "$1/image.tar" && exit 1
        test -z "$(ls "$1/disk/images/tmp" "$1/disk/images/layers" | grep -v :)""#;
    fs::create_dir(dir.path().join("disk")).unwrap();
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .args([dir.path(), Path::new(env!("CARGO_BIN_EXE_podbox"))])
        .output()
        .unwrap();
    if !nix::unistd::getuid().is_root() || output.status.code() == Some(77) {
        eprintln!(
            "SKIPPED a_full_disk_leaves_nothing: a small disk needs root and mount: {}",
            text(&output.stderr)
        );
        return;
    }
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("no space left on the disk"), "{}", text(&output.stderr));
}

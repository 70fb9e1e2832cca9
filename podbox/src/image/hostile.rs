//! Tests: layers that try to leave their directory, that lie, or that are merely unusual.

use super::digest::Digest;
use super::error::ImageError;
use super::layer::{self, Name};
use crate::api::error::chain;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

/// A layer, entry by entry.
struct Layer(Builder<Vec<u8>>);

impl Layer {
    fn new() -> Layer {
        Layer(Builder::new(Vec::new()))
    }

    fn add(mut self, kind: EntryType, name: &str, link: &str, content: &[u8], mode: u32) -> Layer {
        let mut header = Header::new_gnu();
        // Written by hand: the builder refuses what these tests are about.
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        header.set_uid(u64::from(nix::unistd::getuid().as_raw()));
        header.set_gid(u64::from(nix::unistd::getgid().as_raw()));
        header.set_mtime(1_000_000_000);
        header.set_device_major(0).unwrap();
        header.set_device_minor(0).unwrap();
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    fn pax(mut self, records: &[(&str, &[u8])]) -> Layer {
        self.0.append_pax_extensions(records.iter().copied()).unwrap();
        self
    }

    fn file(self, name: &str, content: &str) -> Layer {
        self.add(EntryType::Regular, name, "", content.as_bytes(), 0o644)
    }

    fn dir(self, name: &str) -> Layer {
        self.add(EntryType::Directory, name, "", b"", 0o755)
    }

    fn symlink(self, name: &str, target: &str) -> Layer {
        self.add(EntryType::Symlink, name, target, b"", 0o777)
    }

    fn hardlink(self, name: &str, target: &str) -> Layer {
        self.add(EntryType::Link, name, target, b"", 0o644)
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// A directory with a layer's place in it, and a neighbour that nothing may touch.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("outside"), "untouched").unwrap();
        Place(dir)
    }

    fn build(&self, bytes: &[u8]) -> Result<u64, ImageError> {
        let name = Name { image: "hostile", diff_id: &Digest::of(bytes) };
        layer::build(name, bytes, bytes.len() as u64, &self.0.path().join("layer"))
    }

    fn fs(&self) -> PathBuf {
        self.0.path().join("layer/fs")
    }
}

#[track_caller]
fn unpacked(layer: Layer) -> (Place, PathBuf) {
    let place = Place::new();
    place.build(&layer.bytes()).unwrap_or_else(|error| panic!("{}", chain(&error)));
    let fs = place.fs();
    (place, fs)
}

/// The layer is refused with an error that names the entry and the reason, and nothing outside is touched.
#[track_caller]
fn refused(layer: Layer, entry: &str, reason: &str) {
    let place = Place::new();
    let error = chain(&place.build(&layer.bytes()).unwrap_err());
    assert!(error.contains("image hostile, layer sha256:"), "{error}");
    assert!(error.contains(&format!("{entry:?}")), "{error}");
    assert!(error.contains(reason), "{error}");
    assert_eq!(fs::read_to_string(place.0.path().join("outside")).unwrap(), "untouched");
    let names: Vec<_> = fs::read_dir(place.0.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn dot_dot_is_refused() {
    refused(Layer::new().file("../outside", "x"), "../outside", "leaves the layer");
    refused(Layer::new().dir("a").file("a/../../outside", "x"), "a/../../outside", "leaves the layer");
    refused(Layer::new().file("../../outside/.wh.x", ""), "../../outside/.wh.x", "leaves the layer");
}

#[test]
fn writing_through_a_symlink_is_refused() {
    refused(Layer::new().symlink("a", "../..").file("a/outside", "x"), "a/outside", "symbolic link");
    refused(Layer::new().symlink("a", "/").file("a/outside", "x"), "a/outside", "symbolic link");
    refused(Layer::new().symlink("a", "/").file("a/.wh.outside", ""), "a/.wh.outside", "symbolic link");
    refused(Layer::new().symlink("a", "..").file("a/.wh..wh..opq", ""), "a/.wh..wh..opq", "symbolic link");
    refused(Layer::new().symlink("a", "..").symlink("b", "a").dir("b/c"), "b/c", "symbolic link");
}

#[test]
fn hard_links_to_the_outside_are_refused() {
    refused(Layer::new().hardlink("a", "../../outside"), "a", "leaves the layer");
    refused(Layer::new().hardlink("a", "/etc/passwd"), "a", "failed");
    refused(Layer::new().symlink("d", "../..").hardlink("a", "d/outside"), "a", "symbolic link");
}

#[test]
fn a_file_in_the_place_of_a_symlink_replaces_the_link_and_not_its_target() {
    let (place, fs) = unpacked(Layer::new().symlink("a", "../../outside").file("a", "mine"));
    assert_eq!(read(&fs.join("a")), "mine");
    assert_eq!(read(&place.0.path().join("outside")), "untouched");
}

#[test]
fn a_hard_link_to_a_symlink_does_not_follow_it() {
    let layer = Layer::new().symlink("a", "../../outside").hardlink("b", "a").file("b", "mine");
    let (place, fs) = unpacked(layer);
    assert_eq!(read(&fs.join("b")), "mine");
    assert_eq!(read(&place.0.path().join("outside")), "untouched");
}

#[test]
fn absolute_symlinks_are_kept_as_data() {
    let (_place, fs) = unpacked(Layer::new().dir("bin").symlink("bin/sh", "/bin/busybox"));
    assert_eq!(fs::read_link(fs.join("bin/sh")).unwrap(), Path::new("/bin/busybox"));
}

#[test]
fn whiteouts_become_overlay_s_own() {
    let (_place, fs) = unpacked(Layer::new().file("etc/.wh.gone", ""));
    let meta = fs::symlink_metadata(fs.join("etc/gone")).unwrap();
    assert!(meta.file_type().is_char_device() && meta.rdev() == 0);
    refused(Layer::new().file(".wh...", ""), ".wh...", "whiteout that names no file");
}

#[test]
fn opaque_directories_are_marked_in_whatever_order_they_come() {
    if !nix::unistd::getuid().is_root() {
        let _ = writeln!(
            io::stderr(),
            "SKIPPED opaque_directories_are_marked_in_whatever_order_they_come: needs root for trusted.overlay.opaque"
        );
        return;
    }
    let opaque = |path: &Path| xattr::get(path, "trusted.overlay.opaque").unwrap();
    let (_place, fs) = unpacked(Layer::new().dir("d").file("d/.wh..wh..opq", "").file("d/new", "x"));
    assert_eq!(opaque(&fs.join("d")).as_deref(), Some(&b"y"[..]));
    // A directory that this layer makes anew hides the old one, wherever its whiteout stands.
    for layer in [
        Layer::new().dir("d").file("d/new", "x").file(".wh.d", ""),
        Layer::new().file(".wh.d", "").dir("d").file("d/new", "x"),
        Layer::new().file(".wh.d", "").file("d/new", "x"),
    ] {
        let (_place, fs) = unpacked(layer);
        assert_eq!(opaque(&fs.join("d")).as_deref(), Some(&b"y"[..]));
        assert_eq!(read(&fs.join("d/new")), "x");
    }
}

#[test]
fn modes_times_and_links_are_kept() {
    let layer = Layer::new()
        .dir("d")
        .add(EntryType::Regular, "d/su", "", b"x", 0o4755)
        .hardlink("d/other", "d/su")
        .add(EntryType::Directory, "tmp", "", b"", 0o1777);
    let (_place, fs) = unpacked(layer);
    let meta = fs::metadata(fs.join("d/su")).unwrap();
    assert_eq!(meta.permissions().mode() & 0o7777, 0o4755);
    assert_eq!((meta.nlink(), meta.mtime()), (2, 1_000_000_000));
    assert_eq!(fs::metadata(fs.join("d")).unwrap().mtime(), 1_000_000_000);
    assert_eq!(fs::metadata(fs.join("tmp")).unwrap().permissions().mode() & 0o7777, 0o1777);
}

#[test]
fn capabilities_with_a_newline_are_kept_and_overlay_attributes_dropped() {
    if !nix::unistd::getuid().is_root() {
        let _ = writeln!(
            io::stderr(),
            "SKIPPED capabilities_with_a_newline_are_kept_and_overlay_attributes_dropped: needs root for security.capability"
        );
        return;
    }
    // cap_dac_override and cap_fowner: 0x0a, a newline.
    let capability = [1, 0, 0, 2, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let records: [(&str, &[u8]); 2] = [
        ("SCHILY.xattr.security.capability", &capability),
        ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
    ];
    let (_place, fs) = unpacked(Layer::new().pax(&records).file("ping", "x"));
    assert_eq!(xattr::get(fs.join("ping"), "security.capability").unwrap().as_deref(), Some(&capability[..]));
    assert_eq!(xattr::get(fs.join("ping"), "trusted.overlay.redirect").unwrap(), None);
}

#[test]
fn a_truncated_layer_is_refused() {
    let mut bytes = Layer::new().file("a", &"x".repeat(4000)).bytes();
    bytes.truncate(2000);
    let error = chain(&Place::new().build(&bytes).unwrap_err());
    assert!(error.contains("truncated or corrupt"), "{error}");
}

#[test]
fn a_layer_that_is_another_one_is_refused() {
    let place = Place::new();
    let bytes = Layer::new().file("a", "x").bytes();
    let name = Name { image: "hostile", diff_id: &Digest::of(b"another") };
    let error = layer::build(name, bytes.as_slice(), 1, &place.0.path().join("layer")).unwrap_err();
    assert!(matches!(error, ImageError::Digest { .. }), "{error}");
}

#[test]
fn a_bomb_is_refused_by_its_header() {
    let mut header = Header::new_gnu();
    header.set_path("bomb").unwrap();
    header.set_size(1 << 40);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mode(0o644);
    header.set_cksum();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(header.as_bytes()).unwrap();
    let error = Place::new().build(&gzip.finish().unwrap()).unwrap_err().to_string();
    assert!(error.contains("decompression bomb"), "{error}");
}

#[test]
fn an_endless_long_name_is_refused() {
    let layer = Layer::new().add(EntryType::GNULongName, "././@LongLink", "", &vec![b'a'; 2 << 20], 0o644);
    refused(layer, "././@LongLink", "larger than 1 MiB");
}

proptest::proptest! {
    /// Whatever the entries are and in whatever order: no panic, and the outside stays as it is.
    #[test]
    fn random_layers_stay_inside(entries in proptest::collection::vec((0..6usize, 0..8usize, 0..8usize), 0..12)) {
        const NAMES: [&str; 8] = ["a", "a/b", "../outside", "a/b/../../..", "/a/b/c", "b", ".wh.a", "a/.wh..wh..opq"];
        const LINKS: [&str; 8] = ["..", "../..", "/", "a", "../../outside", "b", "/etc/passwd", "a/b"];
        let kinds = [EntryType::Regular, EntryType::Directory, EntryType::Symlink, EntryType::Link, EntryType::Fifo, EntryType::Regular];
        let mut layer = Layer::new();
        for (kind, name, link) in entries {
            layer = layer.add(kinds[kind], NAMES[name], LINKS[link], b"", 0o755);
        }
        let place = Place::new();
        let before = fs::metadata("/etc/passwd").unwrap().nlink();
        let _ = place.build(&layer.bytes());
        proptest::prop_assert_eq!(read(&place.0.path().join("outside")), "untouched");
        proptest::prop_assert_eq!(fs::metadata("/etc/passwd").unwrap().nlink(), before);
        proptest::prop_assert_eq!(fs::read_dir(place.0.path()).unwrap().count(), 2);
    }
}

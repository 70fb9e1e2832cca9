//! Which layers are in use: those below an overlay mount of any process, as the kernel tells it.
//!
//! Containers have mount namespaces of their own, so each process' table counts. Nothing is remembered: what
//! uses a layer is asked anew, and a process that ends meanwhile uses nothing any more.
//!
//! **Invariant: a layer below a container's root is found, however it was mounted.** The mount options are not
//! always its paths: the kernel escapes them, and whoever mounts more layers than the options have room for
//! names them by descriptors, which mean nothing to others. Such a container has [`NOTE`] beside its upper directory.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The file beside a container's upper directory with its layers' paths, each ended by a NUL byte; there if its
/// mount does not name them.
pub const NOTE: &str = "layers";
/// How a layer starts that is named by a descriptor of whoever mounted it.
const DESCRIPTOR: &str = "/proc/self/fd/";

/// What a note says of these layers.
pub fn note(layers: &[PathBuf]) -> Vec<u8> {
    layers.iter().flat_map(|layer| [layer.as_os_str().as_encoded_bytes(), b"\0"].concat()).collect()
}

/// The layers that some overlay mount of some process uses.
pub fn mounted() -> HashSet<PathBuf> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    // As bytes: a mount point of anyone may be no UTF-8, and must not hide the other lines.
    let tables = processes.filter_map(|process| fs::read(process.path().join("mountinfo")).ok());
    tables.flat_map(|table| layers(&table, |note| fs::read(note).ok())).collect()
}

/// The layers of a mount table's overlays; `read` gets at notes.
fn layers(mountinfo: &[u8], read: impl Fn(&Path) -> Option<Vec<u8>>) -> Vec<PathBuf> {
    let table = String::from_utf8_lossy(mountinfo);
    let overlays = table.lines().filter_map(|line| line.split_once(" - overlay "));
    overlays.flat_map(|(_, rest)| of_mount(rest.rsplit(' ').next().unwrap_or_default(), &read)).collect()
}

fn of_mount(options: &str, read: impl Fn(&Path) -> Option<Vec<u8>>) -> Vec<PathBuf> {
    let mut lower = Vec::new();
    let mut upper = None;
    for (name, value) in options.split(',').filter_map(|option| option.split_once('=')) {
        let value = octal(value);
        match name {
            "lowerdir" => lower.extend(colons(&value)),
            // The newer system calls take one layer each, as it is.
            "lowerdir+" => lower.push(path(value)),
            "upperdir" => upper = colons(&value).into_iter().next(),
            _ => {}
        }
    }
    if lower.first().is_some_and(|first| first.starts_with(DESCRIPTOR)) {
        let note = upper.and_then(|upper| read(&upper.with_file_name(NOTE))).unwrap_or_default();
        return note.split(|byte| *byte == 0).filter(|p| !p.is_empty()).map(|p| path(p.to_vec())).collect();
    }
    lower
}

/// Undoes the kernel's escapes: a backslash and three octal digits stand for a byte.
fn octal(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = tail.first_chunk::<3>().filter(|_| *first == b'\\');
        let code = code.and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    bytes
}

/// Splits at colons, and undoes overlayfs' own escapes: after a backslash, a byte is part of the path.
fn colons(value: &[u8]) -> Vec<PathBuf> {
    let mut paths = vec![Vec::new()];
    let mut bytes = value.iter().copied();
    while let Some(byte) = bytes.next() {
        match (byte, paths.last_mut()) {
            (b':', _) => paths.push(Vec::new()),
            (b'\\', Some(last)) => last.extend(bytes.next()),
            (byte, Some(last)) => last.push(byte),
            (_, None) => {}
        }
    }
    paths.into_iter().filter(|bytes| !bytes.is_empty()).map(path).collect()
}

fn path(bytes: Vec<u8>) -> PathBuf {
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(options: &str, expected: &[&str]) {
        let table = format!(
            "1 2 0:1 / / rw - ext4 /dev/a rw,lowerdir=/no\n3 1 0:2 / / rw - overlay overlay {options}"
        );
        let notes =
            |path: &Path| (path == Path::new("/c d/layers")).then(|| note(&["/x:y".into(), "/z".into()]));
        assert_eq!(layers(table.as_bytes(), notes), expected.iter().map(PathBuf::from).collect::<Vec<_>>());
    }

    #[test]
    fn layers_are_found_as_each_kernel_tells_them() {
        check("rw,lowerdir=/a/fs:/b/fs,upperdir=/u,workdir=/w,fsync=volatile", &["/a/fs", "/b/fs"]);
        check("rw,lowerdir+=/c/fs,lowerdir+=/d:e/fs,upperdir=/u", &["/c/fs", "/d:e/fs"]);
        check("rw,lowerdir=/a::/data,upperdir=/u", &["/a", "/data"]);
    }

    #[test]
    fn odd_paths_are_read_back() {
        check(
            r"rw,lowerdir=/a\040b/fs:/c\134:d/fs:/e\134\054f/fs:/g\134\134h,upperdir=/u",
            &["/a b/fs", "/c:d/fs", "/e,f/fs", r"/g\h"],
        );
    }

    #[test]
    fn descriptors_are_looked_up_in_the_containers_note() {
        check(r"rw,lowerdir=/proc/self/fd/3:/proc/self/fd/4,upperdir=/c\040d/upper", &["/x:y", "/z"]);
        check("rw,lowerdir=/proc/self/fd/3,upperdir=/elsewhere/upper", &[]);
    }
}

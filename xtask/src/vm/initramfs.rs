//! The initramfs: busybox, the two scripts, the modules. Written once per kernel and content, as a `newc` cpio archive.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::modules;
use crate::workspace;

/// First program of the machine.
const INIT: &str = include_str!("init.sh");
/// Process 1 once the root is in place.
const AGENT: &str = include_str!("agent.sh");
/// A static busybox, from Debian's `busybox-static`.
const BUSYBOX: &str = "/bin/busybox";

/// The initramfs for the kernel whose modules are in `modules_dir`, made in `cache` if it isn't there yet.
pub fn ensure(modules_dir: &Path, cache: &Path) -> Result<PathBuf> {
    let files = modules::in_load_order(modules_dir)?;
    let image = cache.join(format!("initrd-{:016x}.cpio", fingerprint(&files)));
    if image.exists() {
        return Ok(image);
    }
    let archive = build(&files)?;
    // Other machines may be starting, of this process too: each has a file of its own, which appears whole or not at all.
    let mut unfinished = tempfile::Builder::new()
        .prefix("initrd-")
        .suffix(".tmp")
        .tempfile_in(cache)
        .with_context(|| format!("cannot make a file in {}", cache.display()))?;
    unfinished.write_all(&archive).with_context(|| format!("cannot write {}", image.display()))?;
    unfinished.persist(&image).with_context(|| format!("cannot write {}", image.display()))?;
    Ok(image)
}

/// Changes when the content would.
fn fingerprint(files: &[PathBuf]) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    (INIT, AGENT, files).hash(&mut hasher);
    hasher.finish()
}

/// The archive's bytes.
fn build(modules: &[PathBuf]) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for dir in ["bin", "dev", "host", "mods", "new", "proc", "rw", "sys"] {
        archive.dir(dir);
    }
    archive.file("bin/busybox", &std::fs::read(BUSYBOX).with_context(|| format!("cannot read {BUSYBOX}"))?);
    archive.file("init", INIT.as_bytes());
    archive.file("agent.sh", AGENT.as_bytes());
    let mut order = String::new();
    for module in modules {
        let file = module.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let name = file.trim_end_matches(".xz");
        archive.file(&format!("mods/{name}"), &plain(module)?);
        order.push_str(name);
        order.push('\n');
    }
    archive.file("mods/order", order.as_bytes());
    Ok(archive.finish())
}

/// A module's content, unpacked: the insmod of the initramfs takes no compressed ones.
fn plain(module: &Path) -> Result<Vec<u8>> {
    if module.extension().is_some_and(|extension| extension == "xz") {
        let mut command = Command::new(workspace::which("xz").context("no `xz` on PATH; install xz-utils")?);
        let output = command.arg("--decompress").arg("--stdout").arg(module).output()?;
        anyhow::ensure!(output.status.success(), "cannot unpack {}: xz {}", module.display(), output.status);
        return Ok(output.stdout);
    }
    std::fs::read(module).with_context(|| format!("cannot read {}", module.display()))
}

/// A cpio archive in the making, in the one format the kernel unpacks.
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn dir(&mut self, path: &str) {
        self.entry(path, 0o040_755, &[]);
    }

    fn file(&mut self, path: &str, content: &[u8]) {
        self.entry(path, 0o100_755, content);
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        // magic, inode, mode, uid, gid, links, mtime, size, four device numbers, length of the name, checksum
        let header = [self.entries, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(path.as_bytes()) + 1, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in header {
            write!(self.bytes, "{field:08x}").expect("a vector takes every write");
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    /// Names and contents end at a multiple of four.
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

fn len(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("nothing in an initramfs has 4 GB")
}

#[cfg(test)]
mod tests {
    use super::{Archive, PathBuf};

    #[test]
    fn an_archive_has_aligned_entries_and_a_trailer() {
        let mut archive = Archive::default();
        archive.dir("bin");
        archive.file("bin/x", b"abcde");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8_lossy(&bytes);
        assert_eq!(text.matches("070701").count(), 3);
        assert!(text.contains("abcde") && text.contains("TRAILER!!!"));
    }

    #[test]
    fn machines_that_start_together_share_one_complete_initramfs() {
        let (modules, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(modules.path().join("modules.dep"), "").unwrap();
        let start = std::sync::Barrier::new(4);
        let images: Vec<PathBuf> = std::thread::scope(|scope| {
            let ensure = || {
                start.wait();
                super::ensure(modules.path(), cache.path()).unwrap()
            };
            let machines: Vec<_> = (0..4).map(|_| scope.spawn(ensure)).collect();
            machines.into_iter().map(|machine| machine.join().unwrap()).collect()
        });
        assert!(images.iter().all(|image| *image == images[0]), "{images:?}");
        let left: Vec<_> =
            std::fs::read_dir(cache.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(left, images[..1]);
    }
}

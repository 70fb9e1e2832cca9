//! Archives as `docker save` writes them, member by member.

use podbox::image::Digest;
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType, Header};

/// An archive that is being written.
pub struct Saved {
    path: PathBuf,
    archive: Builder<File>,
    images: Vec<Value>,
}

/// A layer's member, and the digest of its content.
#[derive(Clone)]
pub struct Layer {
    pub member: String,
    pub diff_id: Digest,
}

impl Saved {
    pub fn create(path: PathBuf) -> Saved {
        let archive = Builder::new(File::create(&path).unwrap());
        Saved { path, archive, images: Vec::new() }
    }

    /// Adds a layer with these files.
    pub fn layer(&mut self, member: &str, files: &[(&str, &str)]) -> Layer {
        let mut layer = Builder::new(Vec::new());
        for (name, content) in files {
            append(&mut layer, name, content.as_bytes());
        }
        self.stored(member, &layer.into_inner().unwrap())
    }

    /// Adds a layer as these bytes.
    pub fn stored(&mut self, member: &str, bytes: &[u8]) -> Layer {
        append(&mut self.archive, member, bytes);
        Layer { member: member.to_owned(), diff_id: Digest::of(bytes) }
    }

    /// Adds the layer once more under another name: a link to where it is, as the link has it.
    pub fn link(&mut self, member: &str, kind: EntryType, target: &str, layer: &Layer) -> Layer {
        let mut header = header();
        header.set_entry_type(kind);
        self.archive.append_link(&mut header, member, target).unwrap();
        Layer { member: member.to_owned(), diff_id: layer.diff_id.clone() }
    }

    /// Adds an image of these layers, the lowest first.
    pub fn image(&mut self, names: &[&str], layers: &[Layer]) {
        let config = json!({"os": "linux", "architecture": oci_spec::image::Arch::default(),
            "config": {"Cmd": ["/bin/sh"], "Labels": {"number": self.images.len().to_string()}},
            "rootfs": {"type": "layers", "diff_ids": layers.iter().map(|l| l.diff_id.to_string()).collect::<Vec<_>>()}});
        let member = format!("{}.json", self.images.len());
        append(&mut self.archive, &member, config.to_string().as_bytes());
        let members: Vec<_> = layers.iter().map(|layer| &layer.member).collect();
        self.images.push(json!({"Config": member, "RepoTags": names, "Layers": members}));
    }

    /// Writes the list of images; tells where the archive is.
    pub fn finish(mut self) -> PathBuf {
        append(&mut self.archive, "manifest.json", Value::from(self.images).to_string().as_bytes());
        self.archive.into_inner().unwrap().flush().unwrap();
        self.path
    }
}

/// An image of one layer with busybox.
pub fn busybox(dir: &Path) -> PathBuf {
    let mut layer = Builder::new(Vec::new());
    layer.append_path_with_name("/bin/busybox", "bin/busybox").unwrap();
    let mut link = header();
    link.set_entry_type(EntryType::Symlink);
    layer.append_link(&mut link, "bin/sh", "/bin/busybox").unwrap();
    let mut saved = Saved::create(dir.join("image.tar"));
    let layer = saved.stored("layer.tar", &layer.into_inner().unwrap());
    saved.image(&["busybox:test"], &[layer]);
    saved.finish()
}

fn append<W: Write>(archive: &mut Builder<W>, name: &str, bytes: &[u8]) {
    let mut header = header();
    header.set_size(bytes.len() as u64);
    archive.append_data(&mut header, name, bytes).unwrap();
}

fn header() -> Header {
    let mut header = Header::new_gnu();
    header.set_size(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mode(0o755);
    header
}

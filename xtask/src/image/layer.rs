//! A layer: a tar archive whose bytes depend on its entries alone.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Result;
use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header};

/// A layer in the making; entries are sorted by path, whatever the order they come in.
#[derive(Default)]
pub struct Layer(BTreeMap<String, Entry>);

enum Entry {
    Dir(u32),
    File(u32, Vec<u8>),
    Link(String),
}

impl Layer {
    /// Adds a directory.
    pub fn dir(&mut self, path: &str, mode: u32) {
        self.0.insert(path.to_owned(), Entry::Dir(mode));
    }

    /// Adds a file.
    pub fn file(&mut self, path: &str, mode: u32, content: impl Into<Vec<u8>>) {
        self.0.insert(path.to_owned(), Entry::File(mode, content.into()));
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, to: &str) {
        self.0.insert(path.to_owned(), Entry::Link(to.to_owned()));
    }

    /// The layer's archive.
    pub fn finish(self) -> Result<Archive> {
        let mut tar = Builder::new(Vec::new());
        for (path, entry) in self.0 {
            let mut header = Header::new_gnu();
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            header.set_size(0);
            header.set_mode(0o777);
            match entry {
                Entry::Dir(mode) => {
                    header.set_entry_type(EntryType::Directory);
                    header.set_mode(mode);
                    tar.append_data(&mut header, path + "/", std::io::empty())?;
                }
                Entry::File(mode, content) => {
                    header.set_entry_type(EntryType::Regular);
                    header.set_mode(mode);
                    header.set_size(content.len() as u64);
                    tar.append_data(&mut header, path, content.as_slice())?;
                }
                Entry::Link(to) => {
                    header.set_entry_type(EntryType::Symlink);
                    tar.append_link(&mut header, path, to)?;
                }
            }
        }
        let plain = tar.into_inner()?;
        // A gzip header may tell time and system: this one tells neither.
        let mut gzip =
            GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::default());
        gzip.write_all(&plain)?;
        Ok(Archive { plain, compressed: gzip.finish()? })
    }
}

/// A finished layer.
pub struct Archive {
    /// The tar archive, by whose digest the image's configuration knows the layer.
    pub plain: Vec<u8>,
    /// The same, gzipped, as the layout stores it.
    pub compressed: Vec<u8>,
}

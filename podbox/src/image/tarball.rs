//! Reads a layer's archive as a stream, one entry after the other: ustar, GNU long names, PAX records.
//!
//! The tar crate decodes header fields; the stream is walked here because a layer is hostile input: extended
//! headers have a bound (the crate reads them whole into memory), and a PAX value may contain a newline, as
//! binary capabilities do (the crate splits at newlines and loses them). Pure but for the reader it is given.

use super::error::EntryError;
use super::pax::{self, Extensions};
use crate::limits;
use std::io::{self, Read};
use tar::{EntryType, Header};

const BLOCK: u64 = 512;

/// What one entry says of itself; its content follows in the stream.
#[derive(Debug)]
pub struct Entry {
    /// Its name, unchecked.
    pub path: Vec<u8>,
    /// What it links to, unchecked.
    pub link: Vec<u8>,
    /// What it is.
    pub kind: EntryType,
    /// Bytes of content.
    pub size: u64,
    /// The header, for mode and device numbers.
    pub header: Header,
    /// Owner and group.
    pub owner: (u32, u32),
    /// Seconds and nanoseconds.
    pub mtime: (i64, u32),
    /// Extended attributes: name and value.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Why the next entry could not be read.
#[derive(Debug)]
pub enum ReadError {
    /// The stream itself is bad, or ended too early.
    Stream(io::Error),
    /// An entry is, by name.
    Entry(String, EntryError),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> ReadError {
        ReadError::Stream(error)
    }
}

/// An archive being read.
#[derive(Debug)]
pub struct Tarball<R> {
    reader: R,
    /// Bytes of the current entry's content, and its padding, that were not read yet.
    left: u64,
    padding: u64,
}

impl<R: Read> Tarball<R> {
    /// From its first byte.
    pub fn new(reader: R) -> Tarball<R> {
        Tarball { reader, left: 0, padding: 0 }
    }

    /// The reader, to digest what follows the archive.
    pub fn into_inner(self) -> R {
        self.reader
    }

    /// The next entry, or the archive's end.
    pub fn next(&mut self) -> Result<Option<Entry>, ReadError> {
        let mut long_name = None;
        let mut long_link = None;
        let mut extensions = Extensions::default();
        loop {
            self.skip()?;
            let Some(header) = self.header()? else { return Ok(None) };
            let kind = header.entry_type();
            let size = match extensions.size {
                Some(size) if !is_extension(kind) => size,
                _ => header.entry_size()?,
            };
            self.left = size;
            self.padding = size.wrapping_neg() % BLOCK;
            match kind {
                EntryType::GNULongName => long_name = Some(until_nul(self.extension(&header)?)),
                EntryType::GNULongLink => long_link = Some(until_nul(self.extension(&header)?)),
                EntryType::XHeader => {
                    extensions = pax::parse(&self.extension(&header)?).map_err(|e| bad(&header, e))?
                }
                // Defaults for all entries; image builders write only comments (a git commit) into it.
                EntryType::XGlobalHeader => {}
                _ => return entry(header, size, long_name, long_link, extensions).map(Some),
            }
        }
    }

    fn header(&mut self) -> io::Result<Option<Header>> {
        let mut header = Header::new_old();
        if !read_block(&mut self.reader, header.as_mut_bytes())? || header.as_bytes().iter().all(|b| *b == 0)
        {
            return Ok(None);
        }
        let bytes = header.as_bytes();
        let spaces = 8 * u32::from(b' ');
        let sum: u32 = bytes[..148].iter().chain(&bytes[156..]).map(|b| u32::from(*b)).sum::<u32>() + spaces;
        if header.cksum()? != sum {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a header's checksum does not match"));
        }
        Ok(Some(header))
    }

    fn extension(&mut self, header: &Header) -> Result<Vec<u8>, ReadError> {
        if self.left > limits::ENTRY_EXTENSION_BYTES {
            return Err(bad(header, EntryError::Header("its extended header is larger than 1 MiB")));
        }
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn skip(&mut self) -> io::Result<()> {
        io::copy(self, &mut io::sink())?;
        let padding = std::mem::take(&mut self.padding);
        let skipped = io::copy(&mut self.reader.by_ref().take(padding), &mut io::sink())?;
        if skipped < padding { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}

/// The current entry's content.
impl<R: Read> Read for Tarball<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let n = self.reader.read(&mut buffer[..wanted])?;
        if n == 0 && wanted > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= n as u64;
        Ok(n)
    }
}

/// Reads a block; false at a clean end of the stream.
fn read_block(reader: &mut impl Read, block: &mut [u8; 512]) -> io::Result<bool> {
    let mut filled = 0;
    while filled < block.len() {
        match reader.read(&mut block[filled..]) {
            Ok(0) if filled == 0 => return Ok(false),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

fn entry(
    header: Header,
    size: u64,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    extensions: Extensions,
) -> Result<Entry, ReadError> {
    let path = extensions.path.or(long_name).unwrap_or_else(|| header.path_bytes().into_owned());
    let name = String::from_utf8_lossy(&path).into_owned();
    let refuse = |error| ReadError::Entry(name.clone(), error);
    if extensions.sparse || header.entry_type() == EntryType::GNUSparse {
        return Err(refuse(EntryError::Kind('S')));
    }
    let id = |pax: Option<u64>, old: io::Result<u64>| {
        let id = pax.map_or(old, Ok).map_err(|_| EntryError::Header("owner"))?;
        u32::try_from(id).map_err(|_| EntryError::Header("owner out of range"))
    };
    let uid = id(extensions.uid, header.uid()).map_err(refuse)?;
    let gid = id(extensions.gid, header.gid()).map_err(refuse)?;
    let mtime = match extensions.mtime {
        Some(mtime) => mtime,
        None => (header.mtime().ok().and_then(|s| i64::try_from(s).ok()).unwrap_or(0), 0),
    };
    let link = extensions.link.or(long_link).or_else(|| header.link_name_bytes().map(|b| b.into_owned()));
    Ok(Entry {
        path,
        link: link.unwrap_or_default(),
        kind: header.entry_type(),
        size,
        owner: (uid, gid),
        mtime,
        xattrs: extensions.xattrs,
        header,
    })
}

fn is_extension(kind: EntryType) -> bool {
    matches!(
        kind,
        EntryType::GNULongName | EntryType::GNULongLink | EntryType::XHeader | EntryType::XGlobalHeader
    )
}

fn bad(header: &Header, error: EntryError) -> ReadError {
    ReadError::Entry(String::from_utf8_lossy(&header.path_bytes()).into_owned(), error)
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|b| *b == 0) {
        bytes.truncate(end);
    }
    bytes
}

//! The text of one log, as far as it is on file: entries of the CRI's format as the lines that were written.
//!
//! **Invariant:** it holds one chunk, however long the log is.

use crate::api::logs::LogOptions;
use crate::api::object;
use crate::limits;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A log that is being read.
pub struct Text {
    options: LogOptions,
    path: PathBuf,
    file: BufReader<File>,
    /// Where to begin, until that was looked for.
    tail: Option<usize>,
    /// The beginning of an entry whose end is not on file yet.
    half: Vec<u8>,
    /// Whether the next content begins a line.
    starts: bool,
    left: Option<usize>,
}

/// What one look at the file found.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// Some of the text.
    Bytes(Bytes),
    /// Another file has taken this one's place, and is read from now on.
    Rotated,
    /// Nothing more, for now.
    Quiet,
    /// As much as was asked for.
    Enough,
}

impl Text {
    /// The log at a path.
    pub fn open(path: PathBuf, options: LogOptions) -> io::Result<Text> {
        let file = BufReader::new(File::open(&path)?);
        let (tail, left) = (options.tail, options.limit);
        Ok(Text { options, path, file, tail, half: Vec::new(), starts: true, left })
    }

    /// Reads on; blocks as long as the disk takes.
    pub fn read(&mut self) -> io::Result<Found> {
        if let Some(lines) = self.tail.take() {
            seek_tail(self.file.get_mut(), lines)?;
        }
        if self.left == Some(0) {
            return Ok(Found::Enough);
        }
        let bytes = self.chunk()?;
        if !bytes.is_empty() {
            return Ok(Found::Bytes(bytes));
        }
        Ok(if self.options.follow && self.rotated() { Found::Rotated } else { Found::Quiet })
    }

    /// Goes on in the file that took this one's place, if there is one.
    fn rotated(&mut self) -> bool {
        let here = self.file.get_ref().metadata().map(|metadata| metadata.ino());
        let there = std::fs::metadata(&self.path).map(|metadata| metadata.ino());
        match (here, there) {
            (Ok(here), Ok(there)) if here != there => match File::open(&self.path) {
                Ok(file) => {
                    self.file = BufReader::new(file);
                    true
                }
                Err(_) => false,
            },
            _ => false,
        }
    }

    /// What is on file, up to a chunk.
    fn chunk(&mut self) -> io::Result<Bytes> {
        let mut out = BytesMut::new();
        while out.len() < limits::LOG_CHUNK && self.left != Some(0) {
            let read = self.file.read_until(b'\n', &mut self.half)?;
            if read == 0 || self.half.last() != Some(&b'\n') {
                break;
            }
            let entry = std::mem::take(&mut self.half);
            self.entry(&entry, &mut out);
        }
        Ok(out.freeze())
    }

    /// Appends what an entry stands for.
    fn entry(&mut self, entry: &[u8], out: &mut BytesMut) {
        let mut parts = entry.splitn(4, |byte| *byte == b' ');
        let (Some(time), Some(_), Some(tag), Some(content)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return;
        };
        let time = String::from_utf8_lossy(time);
        if self.options.since.is_some_and(|since| object::read_time(&time).is_some_and(|at| at < since)) {
            return;
        }
        let whole = tag == b"F";
        let content = content.strip_suffix(b"\n").unwrap_or(content);
        let before = out.len();
        if self.options.timestamps && self.starts {
            out.put_slice(time.as_bytes());
            out.put_u8(b' ');
        }
        out.put_slice(content);
        if whole {
            out.put_u8(b'\n');
        }
        self.starts = whole;
        if let Some(left) = &mut self.left {
            let allowed = (*left).min(out.len() - before);
            out.truncate(before + allowed);
            *left -= allowed;
        }
    }
}

/// Puts a file's cursor where its last so many entries begin.
fn seek_tail(file: &mut File, lines: usize) -> io::Result<()> {
    const STEP: u64 = 64 << 10;
    let mut end = file.metadata()?.len();
    let mut found = 0;
    let mut chunk = Vec::new();
    let length = end;
    while end > 0 {
        let start = end.saturating_sub(STEP);
        chunk.resize((end - start) as usize, 0);
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut chunk)?;
        for (index, byte) in chunk.iter().enumerate().rev() {
            let at = start + index as u64;
            // The last byte ends the last line.
            if *byte == b'\n' && at + 1 != length {
                found += 1;
            }
            if found == lines && *byte == b'\n' || lines == 0 {
                return file.seek(SeekFrom::Start(if lines == 0 { length } else { at + 1 })).map(drop);
            }
        }
        end = start;
    }
    file.rewind()
}

/// The content of the last `lines` entries of a log file, of that the last `bytes` bytes.
pub fn tail(path: &Path, lines: usize, bytes: usize) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    seek_tail(&mut file, lines)?;
    let mut text = BytesMut::new();
    for entry in BufReader::new(file).split(b'\n') {
        let entry = entry?;
        let mut parts = entry.splitn(4, |byte| *byte == b' ').skip(2);
        let (Some(tag), Some(content)) = (parts.next(), parts.next()) else { continue };
        text.put_slice(content);
        if tag == b"F" {
            text.put_u8(b'\n');
        }
        let more = text.len().saturating_sub(bytes);
        text.advance(more);
    }
    Ok(text.to_vec())
}

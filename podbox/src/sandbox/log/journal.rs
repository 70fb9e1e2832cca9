//! The journal of a log pump: one record, replaced in place. Its `pwrite` stays within one page, which
//! the kernel copies whole or not at all, so a killed writer leaves the old record or the new one.

use super::cri::Name;
use nix::fcntl::{Flock, FlockArg};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What a pump was about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// Bytes may be on their way into staging and into the file, whose good part ends at `length`.
    Filling { length: u64 },
    /// Staging holds bytes that are on file, except for the last `keep` of them.
    Draining { name: Name, keep: u64 },
}

const BYTES: usize = 16;

#[derive(Debug)]
pub(super) struct Journal {
    /// Locked: two pumps on one container's streams would write the same bytes twice.
    file: Flock<File>,
    /// What the file says; `None` before the first record.
    pub(super) now: Option<Record>,
}

impl Journal {
    /// Opens the journal once nobody else has it: a pump that was dropped may still be at its last chunk.
    pub(super) fn open(path: &Path) -> io::Result<Journal> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        let file = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
        let mut bytes = [0; BYTES];
        let now = match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => Some(decode(bytes)?),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(error) => return Err(error),
        };
        Ok(Journal { file, now })
    }

    pub(super) fn record(&mut self, record: Record) -> io::Result<()> {
        if self.now != Some(record) {
            self.file.write_all_at(&encode(record), 0)?;
            self.now = Some(record);
        }
        Ok(())
    }
}

fn encode(record: Record) -> [u8; BYTES] {
    let (kind, value) = match record {
        Record::Filling { length } => (0u64, length),
        Record::Draining { name: Name::Stdout, keep } => (1, keep),
        Record::Draining { name: Name::Stderr, keep } => (2, keep),
    };
    let mut bytes = [0; BYTES];
    bytes[..8].copy_from_slice(&kind.to_le_bytes());
    bytes[8..].copy_from_slice(&value.to_le_bytes());
    bytes
}

fn decode(bytes: [u8; BYTES]) -> io::Result<Record> {
    let word =
        |at: usize| bytes[at..at + 8].iter().rev().fold(0u64, |value, &byte| value << 8 | u64::from(byte));
    let value = word(8);
    match word(0) {
        0 => Ok(Record::Filling { length: value }),
        1 => Ok(Record::Draining { name: Name::Stdout, keep: value }),
        2 => Ok(Record::Draining { name: Name::Stderr, keep: value }),
        kind => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the log journal has a record of unknown kind {kind}"),
        )),
    }
}

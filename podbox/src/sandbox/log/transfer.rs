//! One chunk of one stream from the container's pipe to the log file, in the steps that the drawing in
//! `sandbox::log` shows, and what a successor does about a chunk that was left half way.

use super::cri::{self, Name, Tail};
use super::file::LogFile;
use super::journal::{Journal, Record};
use super::pipe::{self, Glass, Moved};
use super::tap::Taps;
use crate::clock;
use bytes::Bytes;
use jiff::Timestamp;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

/// What came of trying to move a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Something was moved; there may be more.
    Moved,
    /// The container wrote nothing new.
    Empty,
    /// The stream has ended, and all of it is on file.
    Ended,
}

/// A stream's pipes.
#[derive(Debug)]
pub(super) struct Channel {
    source: Arc<OwnedFd>,
    staging_read: OwnedFd,
    staging_write: OwnedFd,
}

impl Channel {
    pub(super) fn new(source: Arc<OwnedFd>, staging_read: OwnedFd, staging_write: OwnedFd) -> Channel {
        Channel { source, staging_read, staging_write }
    }
}

#[derive(Debug)]
pub(super) struct Transfer {
    path: PathBuf,
    journal_path: PathBuf,
    channels: [Channel; 2],
    glass: Glass,
    /// The file and the journal, once they are open and agree. `None` at first and after every failure,
    /// so that the way back from a failure is the one from a crash.
    open: Option<(LogFile, Journal)>,
    taps: Taps,
    /// Of what each stream's staging holds, how many bytes the taps have seen.
    shown: [usize; 2],
    /// What they are to see next.
    fresh: Bytes,
}

impl Transfer {
    pub(super) fn new(
        path: PathBuf,
        journal_path: PathBuf,
        channels: [Channel; 2],
        taps: Taps,
    ) -> io::Result<Transfer> {
        for channel in &channels {
            pipe::resize(&channel.staging_write)?;
        }
        let glass = Glass::new()?;
        let (shown, fresh) = ([0; 2], Bytes::new());
        Ok(Transfer { path, journal_path, channels, glass, open: None, taps, shown, fresh })
    }

    /// Moves one chunk; after an error, the next call first mends what this one left. `last`: where there is none, the stream
    /// has ended.
    pub(super) fn chunk(&mut self, name: Name, last: bool) -> io::Result<Outcome> {
        let (mut file, mut journal) = match self.open.take() {
            Some(open) => open,
            None => self.recover()?,
        };
        self.announce(&mut file, &mut journal)?;
        let moved = match self.stage(name)? {
            Moved::Empty if last => Moved::Ended,
            moved => moved,
        };
        let entries = self.compose(name, moved)?;
        if entries.consumed > 0 {
            file.append(&entries.text)?;
            self.settle(name, entries.kept, &mut journal)?;
            self.drain(name, entries.kept)?;
        }
        self.open = Some((file, journal));
        Ok(match moved {
            Moved::Ended => Outcome::Ended,
            Moved::Empty => Outcome::Empty,
            Moved::Some | Moved::Full => Outcome::Moved,
        })
    }

    /// Makes the file, the journal and staging agree again.
    pub(super) fn recover(&mut self) -> io::Result<(LogFile, Journal)> {
        // The journal first: it keeps others from the file.
        let journal = Journal::open(&self.journal_path)?;
        let mut file = LogFile::open(&self.path)?;
        match journal.now {
            None => {}
            Some(Record::Filling { length }) => file.cut(length)?,
            Some(Record::Draining { name, keep }) => self.drain(name, keep)?,
        }
        Ok((file, journal))
    }

    /// Says where the file's good part ends; from here on staging may grow. Rotates first: never between
    /// this and the chunk's end.
    pub(super) fn announce(&self, file: &mut LogFile, journal: &mut Journal) -> io::Result<()> {
        file.rotate(now()?)?;
        journal.record(Record::Filling { length: file.length })
    }

    /// Moves bytes into staging.
    pub(super) fn stage(&self, name: Name) -> io::Result<Moved> {
        let channel = &self.channels[name as usize];
        pipe::shift(&channel.source, &channel.staging_write)
    }

    /// The entries that staging's content comes to.
    pub(super) fn compose(&mut self, name: Name, moved: Moved) -> io::Result<Composed> {
        let bytes = self.glass.look(&self.channels[name as usize].staging_read)?;
        self.note(name, &bytes);
        let tail = match moved {
            Moved::Ended | Moved::Full => Tail::Flush,
            Moved::Some | Moved::Empty => Tail::Keep,
        };
        let entries =
            cri::entries(&bytes, name, &now()?.strftime("%Y-%m-%dT%H:%M:%S.%9fZ").to_string(), tail);
        let kept = (bytes.len() - entries.consumed) as u64;
        Ok(Composed { text: entries.text, consumed: entries.consumed, kept })
    }

    /// Keeps what the taps have not seen of staging's content.
    fn note(&mut self, name: Name, bytes: &[u8]) {
        let shown = &mut self.shown[name as usize];
        if self.taps.wanted() {
            self.fresh = Bytes::copy_from_slice(bytes.get(*shown..).unwrap_or_default());
        }
        *shown = bytes.len();
    }

    /// What the taps are to see next.
    pub(super) fn take_fresh(&mut self) -> Bytes {
        std::mem::take(&mut self.fresh)
    }

    /// Says that all of staging but the last `kept` bytes is on file.
    pub(super) fn settle(&self, name: Name, kept: u64, journal: &mut Journal) -> io::Result<()> {
        journal.record(Record::Draining { name, keep: kept })
    }

    /// Takes out of staging what is on file.
    pub(super) fn drain(&mut self, name: Name, keep: u64) -> io::Result<()> {
        let pipe = &self.channels[name as usize].staging_read;
        let held = self.glass.look(pipe)?.len();
        let gone = held.saturating_sub(keep as usize);
        pipe::discard(pipe, gone)?;
        let shown = &mut self.shown[name as usize];
        *shown = shown.saturating_sub(gone);
        Ok(())
    }
}

/// What to write, and what it leaves in staging.
#[derive(Debug)]
pub(super) struct Composed {
    pub(super) text: Vec<u8>,
    pub(super) consumed: usize,
    pub(super) kept: u64,
}

fn now() -> io::Result<Timestamp> {
    Timestamp::try_from(clock::wall()).map_err(io::Error::other)
}

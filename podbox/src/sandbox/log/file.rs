//! A container's log file and its rotation: `0.log`, and beside it `0.log.20240101-000000` and so on, as
//! the kubelet names them. Does not compress, and does not sync: a log is as durable as the page cache.

use crate::limits::{LOG_FILE_BYTES, LOG_FILES};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, civil};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const SUFFIX: &str = "%Y%m%d-%H%M%S";

#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    pub(super) length: u64,
}

impl LogFile {
    pub(super) fn open(path: &Path) -> io::Result<LogFile> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let file = File::options().append(true).create(true).open(path)?;
        let length = file.metadata()?.len();
        Ok(LogFile { path: path.to_owned(), file, length })
    }

    /// Cuts off what comes after `length`. A file that is shorter was rotated since: nothing of it goes.
    pub(super) fn cut(&mut self, length: u64) -> io::Result<()> {
        if self.length > length {
            self.file.set_len(length)?;
            self.length = length;
        }
        Ok(())
    }

    pub(super) fn append(&mut self, text: &[u8]) -> io::Result<()> {
        self.file.write_all(text)?;
        self.length += text.len() as u64;
        Ok(())
    }

    /// Starts a new file if this one is full, and removes the oldest beyond the limit.
    pub(super) fn rotate(&mut self, now: Timestamp) -> io::Result<()> {
        if self.length < LOG_FILE_BYTES {
            return Ok(());
        }
        let mut older = rotated(&self.path)?;
        let stamp = next_stamp(older.last().map(|(stamp, _)| *stamp), now);
        let mut name = OsString::from(&self.path);
        name.push(format!(".{}", stamp.strftime(SUFFIX)));
        let name = PathBuf::from(name);
        fs::rename(&self.path, &name)?;
        older.push((stamp, name));
        *self = LogFile::open(&self.path)?;
        let excess = (older.len() + 1).saturating_sub(LOG_FILES);
        older.iter().take(excess).try_for_each(|(_, path)| fs::remove_file(path))
    }
}

/// A name is a second; a container that fills several files in one gets the seconds that follow, so that
/// no file replaces another and their order holds.
fn next_stamp(newest: Option<civil::DateTime>, now: Timestamp) -> civil::DateTime {
    let now = now.to_zoned(TimeZone::UTC).datetime();
    match newest.and_then(|newest| newest.checked_add(1.second()).ok()) {
        Some(after) if after > now => after,
        _ => now,
    }
}

/// Earlier files of this log, the oldest first.
fn rotated(path: &Path) -> io::Result<Vec<(civil::DateTime, PathBuf)>> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str()))
    else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let file_name = entry.file_name();
        let stamp = file_name
            .to_str()
            .and_then(|other| other.strip_prefix(name)?.strip_prefix('.'))
            .and_then(|stamp| civil::DateTime::strptime(SUFFIX, stamp).ok());
        found.extend(stamp.map(|stamp| (stamp, entry.path())));
    }
    found.sort();
    Ok(found)
}

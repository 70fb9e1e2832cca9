//! The store's file: one redb database, one transaction per batch.
//!
//! It holds what there is, not what was: history begins anew with each process. Keys are collection, a zero byte
//! and the object's key; values are the revision in eight bytes, and the object. It keeps no copy of the objects, and
//! the database's own cache is small: what is read is in memory already.
//!
//! **Invariant:** a transaction is on disk whole before [`Disk::commit`] says so, or not at all, or it says that it
//! does not know. After a failure the file is opened again: redb refuses everything until then, and the disk may have
//! room by now.

pub use super::error::DiskError;

use super::file::Allocated;
use super::history::{Change, Happened};
use super::state::{Entry, FIRST, Key, Revision, State};
use crate::limits;
use bytes::Bytes;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition, TableError};
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const OBJECTS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("objects");
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const REVISION: &str = "revision";
const FORMAT: &str = "format";
/// The layout described above.
const FORMAT_NOW: u64 = 1;
const NAME: &str = "objects.redb";

/// What became of a transaction.
#[derive(Debug)]
pub(super) enum Commit {
    /// It is on disk.
    Done,
    /// It is not.
    Refused(DiskError),
    /// It may be; [`Disk::settle`] will tell.
    Unknown(DiskError),
}

pub(super) struct Disk {
    path: PathBuf,
    /// `None` after a failure.
    database: Option<Database>,
}

impl Disk {
    /// Opens or makes the file, and reads all of it.
    pub(super) fn open(dir: &Path) -> Result<(Disk, State), DiskError> {
        let path = dir.join(NAME);
        let make = |source| DiskError::Make { path: path.clone(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(make)?;
        // Also one that an older version or a careless copy left open to others.
        std::fs::set_permissions(dir, Permissions::from_mode(0o700)).map_err(make)?;
        let file = open(&path).map_err(make)?;
        file.set_permissions(Permissions::from_mode(0o600)).map_err(make)?;
        let mut disk = Disk { path, database: None };
        let state = disk.guard(Disk::load)?;
        Ok((disk, state))
    }

    /// redb panics on some damaged files; a person is to read one clear error.
    fn guard<T>(&mut self, act: impl FnOnce(&mut Disk) -> Result<T, DiskError>) -> Result<T, DiskError> {
        catch_unwind(AssertUnwindSafe(|| act(self))).unwrap_or_else(|_| {
            self.database = None;
            Err(DiskError::Damaged { path: self.path.clone(), what: "it makes no sense".to_owned() })
        })
    }

    /// Opens the database, whose checksums are right: redb verifies them when the last process was killed, and we
    /// when it was not.
    fn database(&self) -> Result<Database, DiskError> {
        let failed = |error: DatabaseError| self.failed(error.into());
        let file = open(&self.path).map_err(|error| failed(error.into()))?;
        let repaired = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&repaired);
        let mut database = Database::builder()
            .set_cache_size(limits::STORE_CACHE_BYTES)
            .set_repair_callback(move |_| told.store(true, Ordering::Relaxed))
            .create_with_backend(Allocated::new(file).map_err(failed)?)
            .map_err(failed)?;
        if !repaired.load(Ordering::Relaxed) && !database.check_integrity().map_err(failed)? {
            tracing::error!("the store {} was damaged; the newest writes may be lost", self.path.display());
        }
        Ok(database)
    }

    fn load(&mut self) -> Result<State, DiskError> {
        let database = self.database()?;
        let (format, revision) = meta(&database).map_err(|error| self.failed(error))?;
        if format > FORMAT_NOW {
            return Err(DiskError::Newer { path: self.path.clone(), found: format, known: FORMAT_NOW });
        }
        let objects = objects(&database).map_err(|error| self.failed(error))?;
        self.database = Some(database);
        Ok(State::new(revision, objects))
    }

    /// Makes changes durable.
    pub(super) fn commit(&mut self, revision: Revision, changes: &[(Arc<str>, Change)]) -> Commit {
        let before = revision - changes.len() as u64;
        if self.database.is_none()
            && let Err(error) = self.settle(before, before)
        {
            return Commit::Refused(error);
        }
        let write = || self.database.as_ref().map_or(Ok(()), |database| write(database, revision, changes));
        let panicked = || redb::Error::Corrupted("the database panicked".to_owned());
        let done = catch_unwind(AssertUnwindSafe(write)).unwrap_or_else(|_| Err(panicked()));
        let Err(error) = done else { return Commit::Done };
        let error = self.unwritten(error);
        self.database = None;
        match self.settle(before, revision) {
            Ok(true) => Commit::Done,
            Ok(false) => Commit::Refused(error),
            Err(_) => Commit::Unknown(error),
        }
    }

    /// Whether the transaction that failed is on disk after all: it is at `after` then, and at `before` if not.
    pub(super) fn settle(&mut self, before: Revision, after: Revision) -> Result<bool, DiskError> {
        match self.reopen()? {
            found if found == after => Ok(true),
            found if found == before => Ok(false),
            found => {
                self.database = None;
                Err(DiskError::Replaced { path: self.path.clone(), found, expected: before })
            }
        }
    }

    /// Opens the database again, and tells its revision.
    fn reopen(&mut self) -> Result<Revision, DiskError> {
        self.database = None;
        self.guard(|disk| {
            let database = disk.database()?;
            let (_, revision) = meta(&database).map_err(|error| disk.failed(error))?;
            disk.database = Some(database);
            Ok(revision)
        })
    }

    fn failed(&self, error: redb::Error) -> DiskError {
        let path = self.path.clone();
        match error {
            redb::Error::Corrupted(what) => DiskError::Damaged { path, what },
            redb::Error::DatabaseAlreadyOpen => DiskError::InUse { path },
            redb::Error::Io(error) if damaged(&error) => DiskError::Damaged { path, what: error.to_string() },
            error if full(&error) => DiskError::Full { path, source: Box::new(error) },
            error => DiskError::Open { path, source: Box::new(error) },
        }
    }

    fn unwritten(&self, error: redb::Error) -> DiskError {
        let (path, source) = (self.path.clone(), Box::new(error));
        if full(&source) { DiskError::Full { path, source } } else { DiskError::Write { path, source } }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn full(error: &redb::Error) -> bool {
    let kinds = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
    matches!(error, redb::Error::Io(error) if kinds.contains(&error.kind()))
}

/// What redb answers to a file that is cut off or no database.
fn damaged(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData)
}

/// The file's format and its revision.
fn meta(database: &Database) -> Result<(u64, Revision), redb::Error> {
    let table = match database.begin_read()?.open_table(META) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return Ok((FORMAT_NOW, FIRST)),
        Err(error) => return Err(error.into()),
    };
    let value = |name| Ok::<_, redb::Error>(table.get(name)?.map(|value| value.value()));
    Ok((value(FORMAT)?.unwrap_or(FORMAT_NOW), value(REVISION)?.unwrap_or(FIRST)))
}

fn objects(database: &Database) -> Result<Vec<(Arc<str>, Entry)>, redb::Error> {
    let table = match database.begin_read()?.open_table(OBJECTS) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut found: Vec<(Arc<str>, Entry)> = Vec::new();
    for row in table.iter()? {
        let (key, value) = row?;
        let Some((name, entry)) = entry(key.value(), value.value()) else {
            return Err(redb::Error::Corrupted("an object's row is malformed".to_owned()));
        };
        let collection = match found.last() {
            Some((last, _)) if **last == *name => Arc::clone(last),
            _ => name.into(),
        };
        found.push((collection, entry));
    }
    Ok(found)
}

fn entry<'a>(key: &'a [u8], value: &[u8]) -> Option<(&'a str, Entry)> {
    let (collection, key) = std::str::from_utf8(key).ok()?.split_once('\0')?;
    let (revision, bytes) = value.split_first_chunk::<8>()?;
    let revision = Revision::from_le_bytes(*revision);
    Some((collection, Entry { key: Key::raw(key), revision, bytes: Bytes::copy_from_slice(bytes) }))
}

fn write(database: &Database, revision: Revision, changes: &[(Arc<str>, Change)]) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut objects = transaction.open_table(OBJECTS)?;
        let mut key = Vec::new();
        for (collection, Change { happened, entry, .. }) in changes {
            key.clear();
            for part in [collection.as_bytes(), b"\0", entry.key.as_str().as_bytes()] {
                key.extend_from_slice(part);
            }
            if *happened == Happened::Deleted {
                objects.remove(&*key)?;
                continue;
            }
            let mut room = objects.insert_reserve(&*key, 8 + entry.bytes.len())?;
            let (head, body) = room.as_mut().split_at_mut(8);
            head.copy_from_slice(&entry.revision.to_le_bytes());
            body.copy_from_slice(&entry.bytes);
        }
        let mut meta = transaction.open_table(META)?;
        meta.insert(FORMAT, FORMAT_NOW)?;
        meta.insert(REVISION, revision)?;
    }
    Ok(transaction.commit()?)
}

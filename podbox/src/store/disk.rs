//! The store's file: one redb database, one transaction per batch.
//!
//! It holds what there is, not what was: history begins anew with each process. Keys are collection, a zero byte
//! and the object's key; values are the revision in eight bytes, and the object.
//!
//! **Invariant:** a transaction is on disk whole before [`Disk::commit`] returns, or not at all. After a failure the
//! file is opened again: the disk may have been full, and may have room by now.

use super::history::{Change, Happened};
use super::state::{Entry, FIRST, Key, Revision, State};
use crate::limits;
use bytes::Bytes;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const OBJECTS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("objects");
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const REVISION: &str = "revision";
const NAME: &str = "objects.redb";

/// A failure of the store's file.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// Its directory or the file itself cannot be made.
    #[error("making the store {} failed", .path.display())]
    Make {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be opened.
    #[error("opening the store {} failed; if it is damaged, put a backup in its place", .path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        source: Box<redb::Error>,
    },
    /// What it holds makes no sense.
    #[error("the store {} is damaged: {what}; put a backup in its place", .path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// It cannot be written.
    #[error("writing the store {} failed; is the disk full?", .path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: Box<redb::Error>,
    },
    /// The writer's thread cannot be started.
    #[error("starting the store's writer failed")]
    Thread(#[source] io::Error),
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
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        // Also one that an older version or a careless copy left open to others.
        file.and_then(|file| file.set_permissions(Permissions::from_mode(0o600))).map_err(make)?;
        let mut disk = Disk { path, database: None };
        let state = disk.load()?;
        Ok((disk, state))
    }

    fn database(&mut self) -> Result<&Database, DiskError> {
        if self.database.is_none() {
            let opened = Database::builder().set_cache_size(limits::STORE_CACHE_BYTES).create(&self.path);
            let failed = |error: redb::DatabaseError| DiskError::Open {
                path: self.path.clone(),
                source: Box::new(error.into()),
            };
            self.database = Some(opened.map_err(failed)?);
        }
        Ok(self.database.as_ref().expect("it was opened above"))
    }

    fn load(&mut self) -> Result<State, DiskError> {
        let path = self.path.clone();
        let database = self.database()?;
        let read = || -> Result<State, redb::Error> {
            let transaction = database.begin_read()?;
            let revision = match transaction.open_table(META) {
                Ok(meta) => meta.get(REVISION)?.map_or(FIRST, |value| value.value()),
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(State::new(FIRST, [])),
                Err(error) => return Err(error.into()),
            };
            let table = transaction.open_table(OBJECTS)?;
            let mut found = Vec::new();
            let mut collection: Arc<str> = "".into();
            for row in table.iter()? {
                let (key, value) = row?;
                let Some((name, entry)) = entry(key.value(), value.value()) else {
                    return Err(redb::Error::Corrupted("an object's row is malformed".to_owned()));
                };
                if *name != *collection {
                    collection = name.into();
                }
                found.push((Arc::clone(&collection), entry));
            }
            Ok(State::new(revision, found))
        };
        read().map_err(|error| match error {
            redb::Error::Corrupted(what) => DiskError::Damaged { path, what },
            error => DiskError::Open { path, source: Box::new(error) },
        })
    }

    /// Makes changes durable.
    pub(super) fn commit(
        &mut self,
        revision: Revision,
        changes: &[(Arc<str>, Change)],
    ) -> Result<(), DiskError> {
        let path = self.path.clone();
        let database = self.database()?;
        let write = || -> Result<(), redb::Error> {
            let transaction = database.begin_write()?;
            {
                let mut objects = transaction.open_table(OBJECTS)?;
                for (collection, change) in changes {
                    let key = [collection.as_bytes(), b"\0", change.entry.key.as_str().as_bytes()].concat();
                    match change.happened {
                        Happened::Deleted => drop(objects.remove(&*key)?),
                        Happened::Added | Happened::Modified => {
                            let revision = change.entry.revision.to_le_bytes();
                            let value = [&revision, &*change.entry.bytes].concat();
                            drop(objects.insert(&*key, &*value)?);
                        }
                    }
                }
                transaction.open_table(META)?.insert(REVISION, revision)?;
            }
            Ok(transaction.commit()?)
        };
        let done = write();
        done.map_err(|error| {
            // After an I/O error redb refuses everything until it is opened again.
            self.database = None;
            DiskError::Write { path, source: Box::new(error) }
        })
    }
}

fn entry<'a>(key: &'a [u8], value: &[u8]) -> Option<(&'a str, Entry)> {
    let (collection, key) = std::str::from_utf8(key).ok()?.split_once('\0')?;
    let (revision, bytes) = value.split_first_chunk::<8>()?;
    let revision = Revision::from_le_bytes(*revision);
    Some((collection, Entry { key: Key::raw(key), revision, bytes: Bytes::copy_from_slice(bytes) }))
}

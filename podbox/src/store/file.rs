//! The file under the database: redb's own, but that it takes its room from the disk when it grows.
//!
//! A file that only claims its length has holes, and a full disk is then found anywhere in the middle of a
//! transaction, or of the repair after it. With the room taken first, only growing can fail, and a store on a full
//! disk can always be opened.

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use redb::backends::FileBackend;
use redb::{BackendError, DatabaseError, StorageBackend};
use std::fs::File;
use std::io;
use std::ops::Bound;

#[derive(Debug)]
pub(super) struct Allocated {
    /// The same open file as the backend's.
    file: File,
    backend: FileBackend,
}

impl Allocated {
    pub(super) fn new(file: File) -> Result<Allocated, DatabaseError> {
        let backend = FileBackend::new(file.try_clone()?)?;
        Ok(Allocated { file, backend })
    }

    fn allocate(&self, from: u64, to: u64) -> io::Result<()> {
        let (Ok(start), Ok(length)) = (from.try_into(), (to - from).try_into()) else {
            return Err(Errno::EFBIG.into());
        };
        loop {
            match fallocate(&self.file, FallocateFlags::empty(), start, length) {
                Err(Errno::EINTR) => {}
                // Some file systems cannot.
                Err(Errno::EOPNOTSUPP) => return self.backend.set_len(to),
                done => return Ok(done?),
            }
        }
    }
}

impl StorageBackend for Allocated {
    fn set_len(&self, len: u64) -> io::Result<()> {
        let now = self.len()?;
        if len > now { self.allocate(now, len) } else { self.backend.set_len(len) }
    }

    fn len(&self) -> io::Result<u64> {
        self.backend.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.backend.read(offset, out)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.backend.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.backend.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.backend.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.backend.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.backend.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.backend.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.backend.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.backend.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.backend.query_lock_range(start, end)
    }
}

//! Tells readers that a file has grown, was moved or went: one inotify instance for all of a node's logs, since a host
//! has few of them (128 for each user, as a rule) and anybody who follows a log would take one.
//!
//! **Invariant:** what happens to a file after [`Growth::follow`] wakes its reader, however many events came at once.

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Follows files.
#[derive(Default)]
pub struct Growth(Mutex<Option<Following>>);

/// From the first file on.
struct Following {
    shared: Arc<Shared>,
    reading: JoinHandle<()>,
}

struct Shared {
    inotify: Inotify,
    files: Mutex<HashMap<WatchDescriptor, Followed>>,
}

/// A file that somebody follows.
struct Followed {
    readers: usize,
    changed: watch::Sender<()>,
}

/// One reader's file.
pub struct Growing {
    shared: Arc<Shared>,
    file: WatchDescriptor,
    changed: watch::Receiver<()>,
}

impl Growth {
    /// Follows the file that is at a path now.
    pub fn follow(&self, path: &Path) -> io::Result<Growing> {
        let mut following = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = match following.take() {
            Some(begun) => begun,
            None => Following::begin()?,
        };
        let shared = Arc::clone(&following.insert(begun).shared);
        drop(following);
        let flags = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_DELETE_SELF;
        // Not without the lock: whoever leaves last stops watching.
        let mut files = shared.files();
        let file = shared.inotify.add_watch(path, flags)?;
        let new = || Followed { readers: 0, changed: watch::channel(()).0 };
        let followed = files.entry(file).or_insert_with(new);
        followed.readers += 1;
        let changed = followed.changed.subscribe();
        drop(files);
        Ok(Growing { shared, file, changed })
    }
}

impl Following {
    fn begin() -> io::Result<Following> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let fd = inotify.as_fd().try_clone_to_owned()?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe for types whose descriptor may change; this does not"
        )]
        let events = AsyncFd::with_interest(fd, Interest::READABLE)?;
        let shared = Arc::new(Shared { inotify, files: Mutex::default() });
        let reading = tokio::spawn(read(Arc::clone(&shared), events));
        Ok(Following { shared, reading })
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

async fn read(shared: Arc<Shared>, events: AsyncFd<OwnedFd>) {
    while let Ok(mut ready) = events.readable().await {
        match shared.inotify.read_events() {
            Ok(events) => events.iter().for_each(|event| shared.tell(event.wd, event.mask)),
            Err(Errno::EAGAIN) => ready.clear_ready(),
            Err(error) => {
                tracing::error!(%error, "reading what happens to logs failed; those that are followed stand still");
                return;
            }
        }
    }
}

impl Shared {
    fn files(&self) -> MutexGuard<'_, HashMap<WatchDescriptor, Followed>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, file: WatchDescriptor, what: AddWatchFlags) {
        let mut files = self.files();
        if what.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            // Whose they were, nobody knows.
            files.values().for_each(|followed| followed.changed.send_replace(()));
        }
        if what.contains(AddWatchFlags::IN_IGNORED) {
            // The kernel has let it go; its number may become another file's.
            files.remove(&file);
        } else if let Some(followed) = files.get(&file) {
            followed.changed.send_replace(());
        }
    }
}

impl Growing {
    /// Takes note of what has happened so far; what is read after this has it.
    pub fn seen(&mut self) {
        self.changed.borrow_and_update();
    }

    /// Waits until something has happened since. A file that is no more has nothing to wait for.
    pub async fn changed(&mut self) {
        if self.changed.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Growing {
    fn drop(&mut self) {
        let mut files = self.shared.files();
        let Some(followed) = files.get_mut(&self.file) else { return };
        if !followed.changed.subscribe().same_channel(&self.changed) {
            return;
        }
        followed.readers -= 1;
        if followed.readers == 0 {
            files.remove(&self.file);
            // It may be gone already.
            let _ = self.shared.inotify.rm_watch(self.file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, OpenOptions};
    use std::io::Write;
    use std::time::Duration;
    use tokio::time::timeout;

    async fn soon(growing: &mut Growing) {
        timeout(Duration::from_secs(120), growing.changed()).await.expect("it is told nothing");
    }

    #[tokio::test]
    async fn every_reader_is_told_of_its_file_by_one_instance() {
        let dir = tempfile::tempdir().unwrap();
        let growth = Growth::default();
        let path = |name: &str| dir.path().join(name);
        let append = |name: &str| {
            let mut file = OpenOptions::new().append(true).create(true).open(path(name)).unwrap();
            file.write_all(b"line\n").unwrap();
        };
        append("a");
        append("b");
        // More than a host gives one user instances.
        let mut readers: Vec<_> = (0..500).map(|_| growth.follow(&path("a")).unwrap()).collect();
        let mut other = growth.follow(&path("b")).unwrap();
        append("a");
        for reader in &mut readers {
            soon(reader).await;
        }
        assert!(timeout(Duration::from_millis(50), other.changed()).await.is_err(), "nothing happened to it");
        readers.truncate(1);
        let last = readers.first_mut().unwrap();
        last.seen();
        append("a");
        soon(last).await;
        fs::rename(path("a"), path("a.1")).unwrap();
        soon(last).await;
        drop(readers);
        assert_eq!(other.shared.files().len(), 1, "who leaves is forgotten");
    }
}

//! The writer: one thread that takes what waits, checks it, makes it durable in one transaction, and tells.

use super::disk::{Disk, DiskError};
use super::history::{Change, Happened};
use super::state::{Entry, Key, Revision, State};
use super::{Command, Expected, Shared, WriteError};
use crate::{clock, limits, metrics as table};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Starts the thread. It ends when every sender is gone, after the last write.
pub(super) fn spawn(
    shared: Arc<Shared>,
    mut disk: Disk,
    mut queue: mpsc::Receiver<Command>,
) -> Result<(), DiskError> {
    let run = move || {
        let mut waiting = Vec::with_capacity(limits::STORE_BATCH);
        while let Some(first) = queue.blocking_recv() {
            waiting.push(first);
            while waiting.len() < limits::STORE_BATCH {
                let Ok(next) = queue.try_recv() else { break };
                waiting.push(next);
            }
            batch(&shared, &mut disk, waiting.drain(..));
        }
    };
    let spawned = std::thread::Builder::new().name("store".into()).spawn(run);
    spawned.map(drop).map_err(DiskError::Thread)
}

type Reply = oneshot::Sender<Result<Arc<Entry>, WriteError>>;

fn batch(shared: &Shared, disk: &mut Disk, commands: impl Iterator<Item = Command>) {
    let mut staged = Staged::default();
    let mut replies: Vec<(Reply, Arc<Entry>)> = Vec::new();
    {
        let state = shared.read();
        staged.revision = state.revision();
        for command in commands {
            let Command { collection, key, expected, put, make, reply } = command;
            match staged.add(&state, collection, key, expected, put, make) {
                Ok(entry) => replies.push((reply, entry)),
                // Whoever asked may have gone.
                Err(current) => drop(reply.send(Err(WriteError::Conflict(current)))),
            }
        }
    }
    if replies.is_empty() {
        return;
    }
    let began = clock::instant();
    let done = disk.commit(staged.revision, &staged.changes);
    ::metrics::histogram!(table::STORE_COMMIT_SECONDS).record(clock::instant().duration_since(began));
    match done {
        Ok(()) => {
            shared.publish(staged.changes);
            for (reply, entry) in replies {
                drop(reply.send(Ok(entry)));
            }
        }
        Err(error) => {
            tracing::error!("writing to the store failed: {}", crate::api::error::chain(&error));
            let error = Arc::new(error);
            for (reply, _) in replies {
                drop(reply.send(Err(WriteError::Disk(Arc::clone(&error)))));
            }
        }
    }
}

/// What a batch is going to change.
#[derive(Default)]
struct Staged {
    revision: Revision,
    changes: Vec<(Arc<str>, Change)>,
    /// The latest state of what the batch touched.
    latest: BTreeMap<(Arc<str>, Key), Option<Arc<Entry>>>,
}

impl Staged {
    /// Adds a write; gives back what is there instead of what was expected.
    fn add(
        &mut self,
        state: &State,
        collection: Arc<str>,
        key: Key,
        expected: Expected,
        put: bool,
        make: super::Make,
    ) -> Result<Arc<Entry>, Option<Arc<Entry>>> {
        let place = (collection, key);
        let current = match self.latest.get(&place) {
            Some(staged) => staged.clone(),
            None => state.get(&place.0, &place.1).cloned(),
        };
        let fits = match (expected, &current) {
            (Expected::Absent, current) => current.is_none(),
            (Expected::Revision(revision), Some(entry)) => entry.revision == revision,
            (Expected::Revision(_), None) => false,
            // There is nothing to delete where nothing is.
            (Expected::Any, current) => put || current.is_some(),
        };
        if !fits {
            return Err(current);
        }
        self.revision += 1;
        let revision = self.revision;
        let entry = Arc::new(Entry { key: place.1.clone(), revision, bytes: make(revision) });
        let happened = match (put, &current) {
            (false, _) => Happened::Deleted,
            (true, None) => Happened::Added,
            (true, Some(_)) => Happened::Modified,
        };
        let change = Change { happened, entry: Arc::clone(&entry), previous: current };
        self.changes.push((Arc::clone(&place.0), change));
        self.latest.insert(place, put.then(|| Arc::clone(&entry)));
        Ok(entry)
    }
}

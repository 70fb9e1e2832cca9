//! Tells that something has changed in any of several collections, and in which namespaces, for loops that look at all of what is concerned
//! again then. Several changes may be one beat.

use crate::store::{Batch, Store};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// Beats when something has changed. Ends when it is dropped.
pub struct Pulse {
    shared: Arc<Shared>,
    _followers: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    changed: Notify,
    /// What has changed since the last beat.
    beat: Mutex<Beat>,
}

/// Where something has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beat {
    /// Perhaps anywhere: changes were missed.
    all: bool,
    namespaces: BTreeSet<String>,
}

impl Beat {
    /// Perhaps anywhere.
    pub fn anywhere() -> Beat {
        Beat { all: true, namespaces: BTreeSet::new() }
    }

    /// Whether something may have changed in a namespace.
    pub fn concerns(&self, namespace: &str) -> bool {
        self.all || self.namespaces.contains(namespace)
    }
}

impl Pulse {
    /// Of these collections, from now on.
    pub fn new(store: &Store, collections: impl IntoIterator<Item = String>) -> Pulse {
        let shared = Arc::new(Shared::default());
        let mut followers = JoinSet::new();
        for collection in collections {
            let (store, shared) = (store.clone(), Arc::clone(&shared));
            followers.spawn(async move { follow(&store, &collection, &shared).await });
        }
        Pulse { shared, _followers: followers }
    }

    /// The next beat.
    pub async fn next(&self) -> Beat {
        loop {
            self.shared.changed.notified().await;
            let beat = std::mem::take(&mut *self.shared.beat.lock().unwrap_or_else(PoisonError::into_inner));
            if beat != Beat::default() {
                return beat;
            }
        }
    }
}

impl Shared {
    fn note(&self, batch: Option<&Batch>) {
        let mut beat = self.beat.lock().unwrap_or_else(PoisonError::into_inner);
        match batch {
            None => beat.all = true,
            Some(batch) => {
                for change in &batch.changes {
                    let namespace = change.entry.key.namespace();
                    if !beat.namespaces.contains(namespace) {
                        beat.namespaces.insert(namespace.to_owned());
                    }
                }
            }
        }
        drop(beat);
        self.changed.notify_one();
    }
}

async fn follow(store: &Store, collection: &str, shared: &Shared) {
    loop {
        // From the newest revision, history is always there; behind it, one beat makes up for all that was missed.
        if let Ok(mut watch) = store.watch(collection, None, store.revision()) {
            while let Ok(batch) = watch.next().await {
                shared.note(Some(&batch));
            }
        }
        shared.note(None);
    }
}

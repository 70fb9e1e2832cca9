//! Tells that something has changed in any of several collections, for loops that look at everything again then. Several
//! changes may be one beat.

use crate::store::Store;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// Beats when something has changed. Ends when it is dropped.
pub struct Pulse {
    changed: Arc<Notify>,
    _followers: JoinSet<()>,
}

impl Pulse {
    /// Of these collections, from now on.
    pub fn new(store: &Store, collections: impl IntoIterator<Item = String>) -> Pulse {
        let changed = Arc::new(Notify::new());
        let mut followers = JoinSet::new();
        for collection in collections {
            let (store, changed) = (store.clone(), Arc::clone(&changed));
            followers.spawn(async move { follow(&store, &collection, &changed).await });
        }
        Pulse { changed, _followers: followers }
    }

    /// The next beat.
    pub async fn next(&self) {
        self.changed.notified().await;
    }
}

async fn follow(store: &Store, collection: &str, changed: &Notify) {
    loop {
        // From the newest revision, history is always there; behind it, one beat makes up for all that was missed.
        if let Ok(mut watch) = store.watch(collection, None, store.revision()) {
            while watch.next().await.is_ok() {
                changed.notify_one();
            }
        }
        changed.notify_one();
    }
}

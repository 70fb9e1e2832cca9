//! Keeps the status of quotas true: what is allowed and what is in use, for people. What is refused does not depend on it
//! (`server::api::quotas` counts by itself).

use super::pulse::Pulse;
use crate::limits;
use crate::server::api::local::Local;
use crate::store::Store;

const QUOTAS: &str = "/resourcequotas";

/// Runs until it is dropped.
pub async fn run(store: Store, objects: Local) {
    let quotas = Pulse::new(&store, [QUOTAS.to_owned()]);
    let mut counted: Option<Pulse> = None;
    loop {
        let there: Vec<_> = match store.list(QUOTAS, None, None, 0, None) {
            Ok(page) => page.entries.iter().map(|entry| entry.key.clone()).collect(),
            Err(_) => Vec::new(),
        };
        counted = match (there.is_empty(), counted) {
            (true, _) => None,
            (false, Some(counted)) => Some(counted),
            (false, None) => Some(Pulse::new(&store, objects.collections())),
        };
        let mut failed = false;
        for key in there {
            match objects.recount(key.namespace(), key.name()).await {
                Err(error) if error.code != 404 => {
                    tracing::warn!("counting for the quota {key} failed, and is tried again: {error}");
                    failed = true;
                }
                _ => {}
            }
        }
        tokio::select! {
            () = quotas.next() => {}
            () = async { match &counted {
                Some(counted) => counted.next().await,
                None => std::future::pending().await,
            } } => {}
            () = tokio::time::sleep(limits::FURNISH_RETRY), if failed => {}
        }
    }
}

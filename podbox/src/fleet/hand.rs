//! What simulated nodes write: which of them there are, how they are, their leases, and what becomes of their pods.
//!
//! It decides nothing. Each write is about the object of the uid that it was decided about, and does nothing to another of its name.

use super::cast::Write;
use super::roster;
use crate::api::object;
use crate::api::objects::{ObjectRef, Objects};
use crate::api::status::ApiError;
use crate::control::key::Key;
use crate::node::register;
use crate::pod::pretend::{self, Telling};
use crate::store::Store;
use crate::{clock, limits};
use futures_util::future::join_all;
use ipnet::Ipv4Net;
use serde_json::Value;
use std::sync::Arc;

/// Whoever writes.
pub struct Hand<O>(Arc<O>);

impl<O> Clone for Hand<O> {
    fn clone(&self) -> Self {
        Hand(Arc::clone(&self.0))
    }
}

impl<O: Objects> Hand<O> {
    /// By these.
    pub fn new(objects: O) -> Hand<O> {
        Hand(Arc::new(objects))
    }

    /// Puts so many nodes into the API, and takes out those of an earlier podbox that are beyond that.
    pub async fn muster(&self, store: &Store, nodes: u32) {
        let there = store.list("/nodes", None, None, 0, None).map(|page| page.entries).unwrap_or_default();
        let there = there.iter().filter_map(|entry| serde_json::from_slice::<Value>(&entry.bytes).ok());
        let surplus = there.filter(|node| roster::number(node).is_some_and(|number| number >= nodes));
        for node in surplus {
            let name = object::name(&node);
            if let Err(error) = self.0.remove(&ObjectRef::node(name), object::uid(&node)).await {
                tracing::warn!("taking the simulated node {name} out of the API failed: {error}");
            }
        }
        let now = object::time(clock::wall());
        let wanted: Vec<u32> = (0..nodes).collect();
        for some in wanted.chunks(limits::SIMULATED_AT_ONCE) {
            let made = join_all(some.iter().map(|number| self.0.ensure(roster::node(*number, &now)))).await;
            for error in made.into_iter().filter_map(Result::err) {
                tracing::warn!("putting a simulated node into the API failed: {error}");
            }
        }
    }

    /// Renews the leases of nodes of these names and uids.
    pub async fn renew(&self, nodes: Vec<(String, String)>) {
        let renewed = join_all(nodes.iter().map(|(name, uid)| register::renew(&*self.0, name, uid))).await;
        for ((name, _), renewed) in nodes.iter().zip(renewed) {
            if let Err(error) = renewed {
                tracing::warn!("renewing the lease of the simulated node {name} failed: {error}");
            }
        }
    }

    /// Writes; tells whether that was done, or is not to be done any more.
    pub async fn write(&self, write: Write) -> bool {
        let written = match &write {
            Write::Node { name, uid, range } => self.node(name, uid, range).await,
            Write::Pod { key, uid, stage, restarts, address, host } => {
                let now = object::time(clock::wall());
                let telling = Telling { stage: *stage, restarts: *restarts, address, host, now: &now };
                let tell = |pod: &mut Value| {
                    if object::uid(pod) == uid {
                        pod["status"] = pretend::status(pod, &telling);
                    }
                };
                self.0.update_status(&place(key), tell).await.map(drop)
            }
            Write::Remove { key, uid } => self.0.remove(&place(key), uid).await,
        };
        match written {
            Ok(()) => true,
            // It is gone.
            Err(ApiError { code: 404, .. }) => true,
            Err(error) => {
                tracing::debug!("{write:?} failed, and is tried again: {error}");
                false
            }
        }
    }

    /// A node says how it is, and that it lives.
    async fn node(&self, name: &str, uid: &str, range: &Ipv4Net) -> Result<(), ApiError> {
        let at = ObjectRef::node(name);
        let own = |node: &Value| object::uid(node) == uid;
        let give = |node: &mut Value| {
            if own(node) {
                roster::give(node, range);
            }
        };
        self.0.update(&at, give).await?;
        let tell = |node: &mut Value| {
            if own(node) {
                node["status"] = roster::status(node, range, clock::wall());
            }
        };
        self.0.update_status(&at, tell).await?;
        register::renew(&*self.0, name, uid).await
    }
}

fn place(key: &Key) -> ObjectRef {
    ObjectRef::pod(key.namespace(), key.name())
}

//! Says that this node lives and how it is: its lease every few seconds, its status when something changed, or else every few
//! minutes, as upstream has it.
//!
//! It decides nothing: what the node is short of is found in `node::pressure`.

use super::Node;
use super::pressure;
use super::register::{self, Health, Identity};
use crate::api::error::chain;
use crate::api::object;
use crate::api::objects::{ObjectRef, Objects};
use crate::api::pressure::Condition;
use crate::api::status::ApiError;
use crate::image::{Record, Store};
use crate::sandbox::runtime::Runtime;
use crate::sandbox::spec::{CpuMax, Resources};
use crate::{clock, limits};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;

/// Tells the API of a node.
pub struct Heartbeat<R, I, O> {
    node: Arc<Node<R, I>>,
    images: Store,
    identity: Identity,
    objects: O,
    /// What the node is short of.
    short: watch::Receiver<BTreeSet<Condition>>,
    /// The node object's uid.
    uid: String,
    /// What was told last, and when.
    told: Option<(Health, Instant)>,
}

impl<R: Runtime, I: Send + Sync + 'static, O: Objects> Heartbeat<R, I, O> {
    /// Puts the node into the API.
    pub async fn begin(
        node: Arc<Node<R, I>>,
        images: Store,
        identity: Identity,
        objects: O,
        short: watch::Receiver<BTreeSet<Condition>>,
    ) -> Result<Self, ApiError> {
        let uid = String::new();
        let mut heartbeat = Heartbeat { node, images, identity, objects, short, uid, told: None };
        heartbeat.tell().await?;
        heartbeat.record("Normal", "Starting", "Starting kubelet.").await;
        Ok(heartbeat)
    }

    async fn record(&self, of: &str, reason: &str, message: &str) {
        let event = pressure::event(self.identity.name(), of, reason, message);
        if let Err(error) = self.objects.ensure(event).await {
            tracing::warn!("recording {reason} failed: {error}");
        }
    }

    /// Tells until it is dropped.
    pub async fn run(mut self) {
        let mut lease = tokio::time::interval(limits::LEASE_RENEWAL);
        let mut look = tokio::time::interval(limits::HEALTH_LOOK);
        loop {
            let told = tokio::select! {
                _ = lease.tick() => self.renew().await,
                _ = look.tick() => self.tell().await,
                Ok(()) = self.short.changed() => self.tell().await,
            };
            if let Err(error) = told {
                tracing::warn!("telling the API of this node failed: {error}");
                // Somebody may have taken it out of there.
                self.told = None;
            }
        }
    }

    /// Renews the lease; who looks after nodes may have taken this one for silent meanwhile.
    async fn renew(&mut self) -> Result<(), ApiError> {
        register::renew(&self.objects, self.identity.name(), &self.uid).await?;
        let node = self.objects.update(&ObjectRef::node(self.identity.name()), |_| {}).await?;
        let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
        let mut ready = conditions.into_iter().filter(|condition| condition["type"] == "Ready");
        if ready.any(|ready| ready["status"] == "Unknown") {
            self.told = None;
            self.tell().await?;
        }
        Ok(())
    }

    /// Says how the node is, if that is news, or if it was said long ago.
    async fn tell(&mut self) -> Result<(), ApiError> {
        let health = self.health().await;
        let now = clock::instant();
        let known = |(told, at): &(Health, Instant)| {
            *told == health && now.saturating_duration_since(*at) < limits::HEARTBEAT
        };
        if self.told.as_ref().is_some_and(known) {
            return Ok(());
        }
        let mut news = Vec::new();
        let sound = |health: &Health| (health.short.clone(), health.unready.is_empty());
        if self.told.as_ref().is_none_or(|(told, _)| sound(told) != sound(&health)) {
            let node = self.identity.register(&self.objects).await?;
            self.uid = object::uid(&node).to_owned();
            news = self.identity.news(&node["status"], &health);
        }
        self.identity.report(&self.objects, &health).await?;
        for (of, reason, message) in news {
            self.record(of, reason, &message).await;
        }
        self.told = Some((health, now));
        Ok(())
    }

    async fn health(&mut self) -> Health {
        let short = self.short.borrow_and_update().clone();
        let mut troubles = Vec::new();
        if let Err(error) = self.node.runtime.list().await {
            troubles.push(format!("container runtime is down: {}", chain(&error)));
        }
        let bridge = &self.node.config.bridge;
        if !Path::new("/proc/sys/net/ipv4/conf").join(bridge).exists() {
            troubles.push(format!(
                "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:the bridge {bridge} is gone"
            ));
        }
        let images = match self.images.list() {
            Ok(records) => told_images(&records),
            Err(error) => {
                troubles.push(format!("reading the images failed: {}", chain(&error)));
                Vec::new()
            }
        };
        let limited = Resources {
            cpu_max: Some(CpuMax { quota_us: 1000, period_us: 100_000 }),
            memory_max: Some(0),
            ..Resources::default()
        };
        let lacking =
            self.node.runtime.unenforced(&limited).into_iter().map(|limit| limit.controller).collect();
        Health { short, unready: troubles.join("; "), lacking, images }
    }
}

/// Images as nodes tell of them: once each, with all their names, the largest first.
fn told_images(records: &[Record]) -> Vec<(Vec<String>, u64)> {
    let mut by_id: BTreeMap<String, (Vec<String>, u64)> = BTreeMap::new();
    for record in records {
        let (names, bytes) = by_id.entry(record.id.to_string()).or_default();
        names.extend(record.names());
        *bytes = record.size;
    }
    let mut all: Vec<(Vec<String>, u64)> = by_id.into_values().collect();
    for (names, _) in &mut all {
        // Digests before tags.
        names.sort_by_key(|name| (!name.contains('@'), name.clone()));
        names.dedup();
    }
    all.sort_by_key(|(_, bytes)| Reverse(*bytes));
    all
}

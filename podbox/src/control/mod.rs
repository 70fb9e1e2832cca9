//! Controllers: what workloads ask for is made so, object by object.
//!
//! ```text
//!   store: changes ─▶ world: indices ─▶ whom they wake ─▶ queue ─▶ reconcile(desired, observed, now) ─▶ actions
//!      ▲                                                                                                  │
//!      └──────────────────── apply: writes, at once, each against what was seen ◀─────────────────────────┘
//! ```
//!
//! All but [`manager`], [`apply`], [`events`], [`follow`], [`intake`] and the `run` of [`scheduler`] and [`volumes`] is pure: ordered maps, no time and no chance of its own, so that the same
//! changes always lead to the same actions. Controllers know of each other and of nodes only what is in the store.
//!
//! **Invariant: a key is reconciled with the world in which all of its own earlier writes are seen.** At most one
//! reconciliation of it is under way; it ends when its writes are acknowledged, which the store does after it has shown them; and
//! before the next one the manager takes in all that the store shows. So nothing has to be remembered of what was written
//! (upstream's expectations), and a restart between any two writes changes nothing.

pub mod action;
pub mod apply;
pub mod catalog;
pub mod claim;
pub mod condition;
pub mod controllers;
pub mod cronjob;
pub mod daemonset;
pub mod deployment;
pub mod disrupted;
pub mod disruption;
pub mod endpoints;
pub mod events;
pub mod follow;
pub mod garbage;
pub mod gather;
pub mod graph;
pub mod intake;
pub mod job;
pub mod key;
pub mod manager;
pub mod marks;
pub mod meta;
pub mod node_lifecycle;
pub mod nodes;
pub mod pod_garbage;
pub mod pods;
pub mod queue;
pub mod rank;
pub mod replicas;
pub mod revision;
pub mod scheduler;
pub mod sets;
pub mod source;
pub mod statefulset;
pub mod status;
pub mod taint_eviction;
pub mod template;
pub mod volumes;
pub mod wake;
pub mod workload;
pub mod world;

use serde_json::Value;

#[cfg(test)]
pub(crate) mod tests;

/// A number of a spec or a status; 0 where there is none.
fn number(value: &Value) -> i32 {
    value.as_i64().and_then(|number| i32::try_from(number).ok()).unwrap_or(0)
}

/// A number, or a share of `replicas` in per cent.
fn part(value: &Value, replicas: i32, up: bool) -> i32 {
    if let Some(number) = value.as_i64() {
        return i32::try_from(number).unwrap_or(i32::MAX);
    }
    let percent = value.as_str().and_then(|text| text.strip_suffix('%')?.parse::<i64>().ok()).unwrap_or(0);
    let product = percent.saturating_mul(replicas.into());
    let rounded = if up { product.saturating_add(99) / 100 } else { product / 100 };
    i32::try_from(rounded).unwrap_or(i32::MAX)
}

//! On which nodes a DaemonSet's pods are to run. Pure.

use super::{DaemonSet, member};
use crate::api::wish::{Tolerance, Wish};
use crate::control::nodes::Facts;
use k8s_openapi::api::core::v1::Pod;
use serde::Deserialize;

/// What a node is to a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// One of its pods is to run there.
    Wanted,
    /// None is to come, but one that is there may stay.
    Borne,
    /// None is to be there.
    Unwanted,
}

/// What decides it.
#[derive(Debug)]
pub struct Eligible {
    /// The only node, if the template names one.
    only: Option<String>,
    wish: Wish,
    tolerance: Tolerance,
}

impl Eligible {
    /// Of a set's template.
    pub fn new(set: &DaemonSet) -> Eligible {
        let pod = Pod::deserialize(member::bearing(set)).unwrap_or_default();
        let only = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).filter(|name| !name.is_empty());
        Eligible { only, wish: Wish::of(&pod), tolerance: Tolerance::of(&pod) }
    }

    /// What a node is to the set.
    pub fn place(&self, name: &str, node: &Facts) -> Place {
        let named = self.only.as_deref().is_none_or(|only| only == name);
        let unborne = |effects: &[&str]| self.tolerance.unborne(&node.taints, effects).is_some();
        if !named || !self.wish.is_met(name, &node.labels) || unborne(&["NoExecute"]) {
            Place::Unwanted
        } else if unborne(&["NoSchedule"]) {
            Place::Borne
        } else {
            Place::Wanted
        }
    }
}

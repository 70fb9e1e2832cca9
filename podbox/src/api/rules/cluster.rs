//! Namespaces, nodes, service accounts and bindings: defaults, validation, what may not change.

use super::check::{all, present, required_word, text};
use super::pod::affinity;
use super::pod::default::{canonical, set};
use super::{Rules, names};
use crate::api::field::{Errors, Path};
use k8s_openapi::api::core::v1::{
    Binding, Namespace, NamespaceStatus, Node, NodeSpec, ServiceAccount, Taint,
};
use std::collections::BTreeSet;

/// The label by which selectors find a namespace by its name.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";
/// Keeps a namespace until what lies in it is gone.
const CONTENT: &str = "kubernetes";

impl Rules for Namespace {
    fn default(&mut self) {
        let name = text(&self.metadata.name).to_owned();
        if !name.is_empty() {
            self.metadata.labels.get_or_insert_default().insert(NAME_LABEL.to_owned(), name);
        }
        set(&mut self.status.get_or_insert_default().phase, "Active");
    }

    fn prepare_create(&mut self) {
        self.status =
            Some(NamespaceStatus { phase: Some("Active".to_owned()), ..NamespaceStatus::default() });
        let finalizers = self.spec.get_or_insert_default().finalizers.get_or_insert_default();
        if !finalizers.iter().any(|finalizer| finalizer == CONTENT) {
            finalizers.push(CONTENT.to_owned());
        }
    }

    /// Finalizers change by the subresource for them.
    fn prepare_update(&mut self, old: &Namespace) {
        self.spec.clone_from(&old.spec);
        self.status.clone_from(&old.status);
    }

    fn prepare_status(&mut self, old: &Namespace) {
        self.spec.clone_from(&old.spec);
    }

    /// By `finalize`, only what keeps it is changed.
    fn prepare_part(&mut self, _part: &str, old: &Namespace) {
        self.status.clone_from(&old.status);
    }

    fn validate(&self, errors: &mut Errors, path: &Path) {
        let finalizers = self.spec.as_ref().and_then(|spec| spec.finalizers.as_ref());
        let at = path.child("spec");
        for name in finalizers.into_iter().flatten() {
            let at = at.child("finalizers");
            all(errors, &at, name, names::qualified(name));
            if !name.contains('/') && name != CONTENT {
                let why = "name is neither a standard finalizer name nor is it fully qualified";
                errors.invalid(&at, name.as_str(), why);
            }
        }
    }
}

impl Rules for Node {
    fn default(&mut self) {
        let spec = self.spec.get_or_insert_default();
        // Two spellings of one field.
        if let Some(first) = spec.pod_cidr.clone().filter(|cidr| !cidr.is_empty()) {
            spec.pod_cidrs.get_or_insert_with(|| vec![first]);
        } else {
            spec.pod_cidr = spec.pod_cidrs.iter().flatten().next().cloned();
        }
        let status = self.status.get_or_insert_default();
        status.node_info.get_or_insert_default();
        status.daemon_endpoints.get_or_insert_default().kubelet_endpoint.get_or_insert_default();
        [&mut status.capacity, &mut status.allocatable].into_iter().flatten().for_each(canonical);
        if status.allocatable.is_none() {
            status.allocatable.clone_from(&status.capacity);
        }
    }

    fn prepare_update(&mut self, old: &Node) {
        self.status.clone_from(&old.status);
    }

    fn prepare_status(&mut self, old: &Node) {
        self.spec.clone_from(&old.spec);
    }

    fn validate(&self, errors: &mut Errors, path: &Path) {
        let none = NodeSpec::default();
        let (spec, path) = (self.spec.as_ref().unwrap_or(&none), path.child("spec"));
        taints(errors, &path.child("taints"), spec.taints.as_deref().unwrap_or_default());
        let ranges = spec.pod_cidrs.as_deref().unwrap_or_default();
        let at = path.child("podCIDRs");
        for (index, range) in ranges.iter().enumerate() {
            all(errors, &at.index(index), range, names::cidr(range));
        }
        if ranges.len() > 2 {
            let why = "may specify no more than one CIDR for each IP family";
            errors.invalid(&at, ranges.to_vec(), why);
        }
    }

    fn validate_update(&self, old: &Node, errors: &mut Errors, path: &Path) {
        let (none, path) = (NodeSpec::default(), path.child("spec"));
        let (new, old) = (self.spec.as_ref().unwrap_or(&none), old.spec.as_ref().unwrap_or(&none));
        let ranges = old.pod_cidrs.as_ref().is_some_and(|ranges| !ranges.is_empty());
        if ranges && new.pod_cidrs != old.pod_cidrs {
            let why = "node updates may not change podCIDR except from \"\" to valid";
            errors.forbidden(&path.child("podCIDRs"), why);
        }
        if !text(&old.provider_id).is_empty() && new.provider_id != old.provider_id {
            let why = "node updates may not change providerID except from \"\" to valid";
            errors.forbidden(&path.child("providerID"), why);
        }
    }
}

fn taints(errors: &mut Errors, path: &Path, taints: &[Taint]) {
    let mut seen = BTreeSet::new();
    for (index, taint) in taints.iter().enumerate() {
        let at = path.index(index);
        all(errors, &at.child("key"), &taint.key, names::qualified(&taint.key));
        let value = text(&taint.value);
        all(errors, &at.child("value"), value, names::label_value(value));
        match taint.effect.as_str() {
            "" => errors.required(&at.child("effect"), ""),
            effect => affinity::effect(errors, &at.child("effect"), effect),
        }
        if !seen.insert((&taint.key, &taint.effect)) {
            errors.duplicate(&at, format!("{}:{}", taint.key, taint.effect));
        }
    }
}

/// A shape is all it has.
impl Rules for ServiceAccount {}

impl Rules for Binding {
    fn validate(&self, errors: &mut Errors, path: &Path) {
        let at = path.child("target");
        let kind = text(&self.target.kind);
        if !kind.is_empty() {
            required_word(errors, &at.child("kind"), kind, &["Node", "<empty>"]);
        }
        present(errors, &at.child("name"), text(&self.target.name));
    }
}

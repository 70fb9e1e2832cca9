//! Roles and their bindings: defaults, validation, what may not change. Who may grant what is the server's.

use super::check::{all, json, named, present, text};
use super::pod::default::set;
use super::{Rules, labels, names};
use crate::api::field::{Errors, Path, Reason};
use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};

const GROUP: &str = "rbac.authorization.k8s.io";

impl Rules for Role {
    fn validate(&self, errors: &mut Errors, path: &Path) {
        rules(errors, &path.child("rules"), self.rules.as_deref().unwrap_or_default(), true);
    }
}

impl Rules for ClusterRole {
    fn validate(&self, errors: &mut Errors, path: &Path) {
        rules(errors, &path.child("rules"), self.rules.as_deref().unwrap_or_default(), false);
        let Some(aggregation) = &self.aggregation_rule else { return };
        let aggregation_path = path.child("aggregationRule");
        let at = aggregation_path.child("clusterRoleSelectors");
        let selectors = aggregation.cluster_role_selectors.as_deref().unwrap_or_default();
        if selectors.is_empty() {
            errors.required(&at, "at least one clusterRoleSelector required if aggregationRule is non-nil");
        }
        for (index, selector) in selectors.iter().enumerate() {
            labels::selector(errors, &at.index(index), selector);
        }
    }
}

fn rules(errors: &mut Errors, path: &Path, rules: &[PolicyRule], namespaced: bool) {
    for (index, rule) in rules.iter().enumerate() {
        self::rule(errors, &path.index(index), rule, namespaced);
    }
}

fn rule(errors: &mut Errors, path: &Path, rule: &PolicyRule, namespaced: bool) {
    let empty = |list: &Option<Vec<String>>| list.as_ref().is_none_or(Vec::is_empty);
    if rule.verbs.is_empty() {
        errors.required(&path.child("verbs"), "verbs must contain at least one value");
    }
    if !empty(&rule.non_resource_urls) {
        let at = path.child("nonResourceURLs");
        let urls = json(&rule.non_resource_urls);
        if namespaced {
            errors.invalid(&at, urls.clone(), "namespaced rules cannot apply to non-resource URLs");
        }
        if !(empty(&rule.api_groups) && empty(&rule.resources) && empty(&rule.resource_names)) {
            let why = "rules cannot apply to both regular resources and non-resource URLs";
            errors.invalid(&at, urls, why);
        }
        return;
    }
    if empty(&rule.api_groups) {
        errors.required(&path.child("apiGroups"), "resource rules must supply at least one api group");
    }
    if empty(&rule.resources) {
        errors.required(&path.child("resources"), "resource rules must supply at least one resource");
    }
}

/// Fills in whose words the kinds are.
fn binding_default(role: &mut RoleRef, subjects: &mut Option<Vec<Subject>>) {
    set(&mut role.api_group, GROUP);
    for subject in subjects.iter_mut().flatten() {
        if ["User", "Group"].contains(&subject.kind.as_str()) {
            set(&mut subject.api_group, GROUP);
        }
    }
}

impl Rules for RoleBinding {
    fn default(&mut self) {
        binding_default(&mut self.role_ref, &mut self.subjects);
    }

    fn validate(&self, errors: &mut Errors, path: &Path) {
        role_ref(errors, &path.child("roleRef"), &self.role_ref, &["Role", "ClusterRole"]);
        subjects(errors, &path.child("subjects"), self.subjects.as_deref().unwrap_or_default(), true);
    }

    fn validate_update(&self, old: &RoleBinding, errors: &mut Errors, path: &Path) {
        same_role(errors, path, &self.role_ref, &old.role_ref);
    }
}

impl Rules for ClusterRoleBinding {
    fn default(&mut self) {
        binding_default(&mut self.role_ref, &mut self.subjects);
    }

    fn validate(&self, errors: &mut Errors, path: &Path) {
        role_ref(errors, &path.child("roleRef"), &self.role_ref, &["ClusterRole"]);
        subjects(errors, &path.child("subjects"), self.subjects.as_deref().unwrap_or_default(), false);
    }

    fn validate_update(&self, old: &ClusterRoleBinding, errors: &mut Errors, path: &Path) {
        same_role(errors, path, &self.role_ref, &old.role_ref);
    }
}

fn role_ref(errors: &mut Errors, path: &Path, role: &RoleRef, kinds: &[&str]) {
    let group = text(&role.api_group);
    if group != GROUP {
        errors.not_supported(&path.child("apiGroup"), group, &[GROUP]);
    }
    if !kinds.contains(&role.kind.as_str()) {
        errors.not_supported(&path.child("kind"), role.kind.as_str(), kinds);
    }
    named(errors, &path.child("name"), &role.name, names::path_segment);
}

fn same_role(errors: &mut Errors, path: &Path, new: &RoleRef, old: &RoleRef) {
    if new != old {
        let shown = format!(
            "{{\"APIGroup\":{},\"Kind\":{},\"Name\":{}}}",
            json(&new.api_group),
            json(&new.kind),
            json(&new.name)
        );
        errors.add_shown(Reason::Invalid, &path.child("roleRef"), shown, "cannot change roleRef");
    }
}

fn subjects(errors: &mut Errors, path: &Path, subjects: &[Subject], namespaced: bool) {
    for (index, subject) in subjects.iter().enumerate() {
        let at = path.index(index);
        present(errors, &at.child("name"), &subject.name);
        let group = text(&subject.api_group);
        match subject.kind.as_str() {
            "ServiceAccount" => {
                if !subject.name.is_empty() {
                    let wrong = names::subdomain(&subject.name);
                    all(errors, &at.child("name"), &subject.name, wrong);
                }
                if !group.is_empty() {
                    errors.not_supported(&at.child("apiGroup"), group, &[""]);
                }
                if !namespaced {
                    present(errors, &at.child("namespace"), text(&subject.namespace));
                }
            }
            "User" | "Group" if group != GROUP => {
                errors.not_supported(&at.child("apiGroup"), group, &[GROUP]);
            }
            "User" | "Group" => {}
            kind => {
                let kinds = ["ServiceAccount", "User", "Group"];
                errors.not_supported(&at.child("kind"), kind, &kinds);
            }
        }
    }
}

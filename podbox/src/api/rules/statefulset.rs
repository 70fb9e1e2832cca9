//! StatefulSets: defaults, validation, what may not change.

use super::check::{at_most_all, is_nothing, json, maybe_non_negative, one_of, share, text};
use super::pod::default::{self as pod, set};
use super::replicas::usable_selector;
use super::{Rules, labels, template};
use crate::api::field::{Errors, Path, Reason};
use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec, StatefulSetStatus,
    StatefulSetUpdateStrategy,
};
use serde_json::Value;

const MAY_CHANGE: &str = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
    'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are \
    forbidden";

impl Rules for StatefulSet {
    fn decode(mut object: Value) -> serde_json::Result<StatefulSet> {
        labels::note_absence(&mut object);
        serde_json::from_value(object)
    }

    fn default(&mut self) {
        let spec = self.spec.get_or_insert_default();
        set(&mut spec.pod_management_policy, "OrderedReady");
        let strategy = spec.update_strategy.get_or_insert_default();
        if text(&strategy.type_).is_empty() {
            set(&mut strategy.type_, "RollingUpdate");
            strategy.rolling_update.get_or_insert_default();
        }
        if text(&strategy.type_) == "RollingUpdate"
            && let Some(rolling) = &mut strategy.rolling_update
        {
            rolling.partition.get_or_insert(0);
        }
        let retention = spec.persistent_volume_claim_retention_policy.get_or_insert_default();
        set(&mut retention.when_deleted, "Retain");
        set(&mut retention.when_scaled, "Retain");
        spec.replicas.get_or_insert(1);
        spec.revision_history_limit.get_or_insert(10);
        pod::template(&mut spec.template);
        spec.volume_claim_templates.iter_mut().flatten().for_each(Rules::default);
    }

    fn prepare_create(&mut self) {
        self.status = Some(StatefulSetStatus { available_replicas: Some(0), ..Default::default() });
    }

    fn prepare_update(&mut self, old: &StatefulSet) {
        self.status.clone_from(&old.status);
    }

    fn prepare_status(&mut self, old: &StatefulSet) {
        self.spec.clone_from(&old.spec);
    }

    fn validate(&self, errors: &mut Errors, path: &Path) {
        let none = StatefulSetSpec::default();
        let (spec, path) = (self.spec.as_ref().unwrap_or(&none), path.child("spec"));
        let at = path.child("podManagementPolicy");
        match text(&spec.pod_management_policy) {
            "" => errors.required(&at, ""),
            "OrderedReady" | "Parallel" => {}
            other => errors.invalid(&at, other, "must be 'OrderedReady' or 'Parallel'"),
        }
        if let Some(strategy) = &spec.update_strategy {
            self::strategy(errors, &path.child("updateStrategy"), strategy);
        }
        if let Some(policy) = &spec.persistent_volume_claim_retention_policy {
            retention(errors, &path.child("persistentVolumeClaimRetentionPolicy"), policy);
        }
        maybe_non_negative(errors, &path.child("replicas"), spec.replicas);
        maybe_non_negative(errors, &path.child("minReadySeconds"), spec.min_ready_seconds);
        let start = spec.ordinals.as_ref().and_then(|ordinals| ordinals.start);
        maybe_non_negative(errors, &path.child("ordinals").child("start"), start);
        if usable_selector(errors, &path.child("selector"), &spec.selector, "statefulset", "") {
            pods(errors, &path.child("template"), spec);
        }
        maybe_non_negative(errors, &path.child("revisionHistoryLimit"), spec.revision_history_limit);
    }

    fn validate_update(&self, old: &StatefulSet, errors: &mut Errors, path: &Path) {
        let (mut new, old) = (self.spec.clone().unwrap_or_default(), old.spec.clone().unwrap_or_default());
        new.replicas = old.replicas;
        new.ordinals.clone_from(&old.ordinals);
        new.template.clone_from(&old.template);
        new.update_strategy.clone_from(&old.update_strategy);
        new.min_ready_seconds = old.min_ready_seconds;
        new.revision_history_limit = old.revision_history_limit;
        let retention = &old.persistent_volume_claim_retention_policy;
        new.persistent_volume_claim_retention_policy.clone_from(retention);
        if new != old {
            errors.forbidden(&path.child("spec"), MAY_CHANGE);
        }
    }

    fn validate_status(&self, _old: &StatefulSet, errors: &mut Errors, path: &Path) {
        let Some(status) = &self.status else { return };
        let at = path.child("status");
        let all = status.replicas;
        maybe_non_negative(errors, &at.child("replicas"), Some(all));
        for (field, count) in [
            ("readyReplicas", status.ready_replicas),
            ("currentReplicas", status.current_replicas),
            ("updatedReplicas", status.updated_replicas),
            ("availableReplicas", status.available_replicas),
        ] {
            let count = count.unwrap_or(0);
            maybe_non_negative(errors, &at.child(field), Some(count));
            if count > all {
                errors.invalid(&at.child(field), count, "cannot be greater than status.replicas");
            }
        }
    }

    fn warnings(&self) -> Vec<String> {
        let spec = self.spec.as_ref();
        spec.map(|spec| template::warnings(&spec.template, &["spec", "template"])).unwrap_or_default()
    }
}

/// The claims that the set makes are its pods' volumes too.
fn pods(errors: &mut Errors, path: &Path, spec: &StatefulSetSpec) {
    template::matches(errors, path, &spec.template, labels::given(&spec.selector));
    let claims = spec.volume_claim_templates.as_deref().unwrap_or_default();
    let volumes: Vec<_> = claims.iter().map(|claim| text(&claim.metadata.name)).collect();
    template::validate(errors, path, &spec.template, &volumes);
    template::always_restarts(errors, path, &spec.template, "StatefulSet");
}

fn strategy(errors: &mut Errors, path: &Path, strategy: &StatefulSetUpdateStrategy) {
    let at = path.child("rollingUpdate");
    match text(&strategy.type_) {
        "" => errors.required(path, ""),
        "OnDelete" => {
            if let Some(rolling) = &strategy.rolling_update {
                errors.invalid(&at, json(rolling), "only allowed for updateStrategy 'RollingUpdate'");
            }
        }
        "RollingUpdate" => {
            let Some(rolling) = &strategy.rolling_update else { return };
            maybe_non_negative(errors, &at.child("partition"), rolling.partition);
            if let Some(down) = &rolling.max_unavailable {
                let at = at.child("maxUnavailable");
                share(errors, &at, down);
                if is_nothing(down) {
                    errors.invalid(&at, json(down), "cannot be 0");
                }
                at_most_all(errors, &at, down);
            }
        }
        other => {
            let rolling = json(&strategy.rolling_update);
            let shown = format!("{{\"Type\":{},\"RollingUpdate\":{rolling}}}", json(other));
            errors.add_shown(Reason::Invalid, path, shown, "must be 'RollingUpdate' or 'OnDelete'");
        }
    }
}

fn retention(errors: &mut Errors, path: &Path, policy: &StatefulSetPersistentVolumeClaimRetentionPolicy) {
    for (field, word) in [("whenDeleted", &policy.when_deleted), ("whenScaled", &policy.when_scaled)] {
        one_of(errors, &path.child(field), text(word), &["Delete", "Retain"]);
    }
}

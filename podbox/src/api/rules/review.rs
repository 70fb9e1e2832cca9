//! Questions that are answered and not kept: defaults, validation.

use super::Rules;
use super::check::present;
use crate::api::field::{Errors, Path};
use k8s_openapi::api::authentication::v1::{SelfSubjectReview, TokenRequest, TokenReview};
use k8s_openapi::api::authorization::v1::{
    LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview,
    SubjectAccessReviewSpec,
};

/// Seconds that a token is good for, unless more or less is asked.
const TOKEN_SECONDS: i64 = 3600;

impl Rules for TokenRequest {
    fn default(&mut self) {
        self.spec.get_or_insert_default().expiration_seconds.get_or_insert(TOKEN_SECONDS);
    }

    fn prepare_create(&mut self) {
        self.status = None;
    }

    fn validate(&self, errors: &mut Errors, path: &Path) {
        let Some(seconds) = self.spec.as_ref().and_then(|spec| spec.expiration_seconds) else { return };
        let spec = path.child("spec");
        let at = spec.child("expirationSeconds");
        if seconds < 600 {
            errors.invalid(&at, seconds, "may not specify a duration less than 10 minutes");
        }
        if seconds > 1 << 32 {
            errors.invalid(&at, seconds, "may not specify a duration larger than 2^32 seconds");
        }
    }
}

impl Rules for TokenReview {
    fn validate(&self, errors: &mut Errors, path: &Path) {
        present(errors, &path.child("spec").child("token"), &self.spec.token);
    }
}

/// It has no fields of its own.
impl Rules for SelfSubjectReview {}

/// Any namespace will do.
impl Rules for SelfSubjectRulesReview {}

const ONE: &str = "exactly one of nonResourceAttributes or resourceAttributes must be specified";

impl Rules for SelfSubjectAccessReview {
    fn validate(&self, errors: &mut Errors, path: &Path) {
        if self.spec.resource_attributes.is_some() == self.spec.non_resource_attributes.is_some() {
            let at = path.child("spec");
            errors.invalid(&at.child("resourceAttributes"), serde_json::Value::Null, ONE);
        }
    }
}

impl Rules for SubjectAccessReview {
    fn validate(&self, errors: &mut Errors, path: &Path) {
        access(errors, &path.child("spec"), &self.spec);
    }
}

impl Rules for LocalSubjectAccessReview {
    fn validate(&self, errors: &mut Errors, path: &Path) {
        let at = path.child("spec");
        access(errors, &at, &self.spec);
        let asked = self.spec.resource_attributes.as_ref().and_then(|asked| asked.namespace.as_ref());
        if asked != self.metadata.namespace.as_ref() {
            let resource = at.child("resourceAttributes");
            let asked = asked.map(String::as_str).unwrap_or_default();
            errors.invalid(&resource.child("namespace"), asked, "must match metadata.namespace");
        }
        if self.spec.non_resource_attributes.is_some() {
            let why = "disallowed on this kind of request";
            errors.invalid(&at.child("nonResourceAttributes"), serde_json::Value::Null, why);
        }
    }
}

fn access(errors: &mut Errors, path: &Path, spec: &SubjectAccessReviewSpec) {
    if spec.resource_attributes.is_some() == spec.non_resource_attributes.is_some() {
        errors.invalid(&path.child("resourceAttributes"), serde_json::Value::Null, ONE);
    }
    let nobody =
        spec.user.as_deref().unwrap_or_default().is_empty() && spec.groups.as_ref().is_none_or(Vec::is_empty);
    if nobody {
        errors.invalid(&path.child("user"), "", "at least one of user or group must be specified");
    }
}

//! Projected volumes: several sources in one directory, where no two may make the same file.

use super::{below, downward, files, items};
use crate::api::field::{Errors, Path};
use crate::api::rules::check::present;
use k8s_openapi::api::core::v1::VolumeProjection;
use std::collections::BTreeSet;

/// Seconds that a token must be good for, at least and at most.
const TOKEN_SECONDS: std::ops::RangeInclusive<i64> = 600..=1 << 32;

/// Defaults a source.
pub fn default(source: &mut VolumeProjection) {
    if let Some(token) = &mut source.service_account_token {
        token.expiration_seconds.get_or_insert(3600);
    }
    if let Some(certificate) = &mut source.pod_certificate {
        certificate.max_expiration_seconds.get_or_insert(86400);
    }
    source.downward_api.iter_mut().flat_map(|source| source.items.iter_mut().flatten()).for_each(downward);
}

/// The sources of a volume.
pub fn sources(errors: &mut Errors, path: &Path, sources: &[VolumeProjection]) {
    let mut made = BTreeSet::new();
    for (index, source) in sources.iter().enumerate() {
        let list = path.child("sources");
        one(errors, &list.index(index), source, &mut made);
    }
}

fn one<'a>(errors: &mut Errors, path: &Path, source: &'a VolumeProjection, made: &mut BTreeSet<&'a str>) {
    let mut count = 0;
    let mut first = |errors: &mut Errors, field: &str| {
        count += 1;
        if count > 1 {
            errors.forbidden(&path.child(field), "may not specify more than 1 volume type");
        }
        count == 1
    };
    if let Some(secret) = &source.secret
        && first(errors, "secret")
    {
        let (at, list) = (path.child("secret"), secret.items.as_deref().unwrap_or_default());
        present(errors, &at.child("name"), &secret.name);
        items(errors, &at.child("items"), list);
        list.iter().for_each(|item| file(errors, &at, made, &item.path));
    }
    if let Some(map) = &source.config_map
        && first(errors, "configMap")
    {
        let (at, list) = (path.child("configMap"), map.items.as_deref().unwrap_or_default());
        present(errors, &at.child("name"), &map.name);
        items(errors, &at.child("items"), list);
        list.iter().for_each(|item| file(errors, &at, made, &item.path));
    }
    if let Some(fields) = &source.downward_api
        && first(errors, "downwardAPI")
    {
        let (at, list) = (path.child("downwardAPI"), fields.items.as_deref().unwrap_or_default());
        files(errors, &at, list);
        list.iter().for_each(|item| file(errors, &at, made, &item.path));
    }
    if let Some(token) = &source.service_account_token
        && first(errors, "serviceAccountToken")
    {
        let at = path.child("serviceAccountToken");
        let seconds = token.expiration_seconds.unwrap_or(3600);
        if seconds < *TOKEN_SECONDS.start() {
            let why = "may not specify a duration less than 10 minutes";
            errors.invalid(&at.child("expirationSeconds"), seconds, why);
        }
        if seconds > *TOKEN_SECONDS.end() {
            let why = "may not specify a duration larger than 2^32 seconds";
            errors.invalid(&at.child("expirationSeconds"), seconds, why);
        }
        path_of(errors, &at, &token.path);
        file(errors, &at, made, &token.path);
    }
    if let Some(bundle) = &source.cluster_trust_bundle
        && first(errors, "clusterTrustBundle")
    {
        let at = path.child("clusterTrustBundle");
        path_of(errors, &at, &bundle.path);
        file(errors, &at, made, &bundle.path);
    }
    if let Some(certificate) = &source.pod_certificate
        && first(errors, "podCertificate")
    {
        present(errors, &path.child("podCertificate").child("signerName"), &certificate.signer_name);
        present(errors, &path.child("podCertificate").child("keyType"), &certificate.key_type);
    }
    if count == 0 {
        errors.required(path, "must specify a volume type");
    }
}

fn path_of(errors: &mut Errors, path: &Path, value: &str) {
    let at = path.child("path");
    if value.is_empty() {
        errors.required(&at, "");
    } else {
        below(errors, &at, value);
    }
}

/// Takes note of a file; two sources may not make the same one.
fn file<'a>(errors: &mut Errors, path: &Path, made: &mut BTreeSet<&'a str>, file: &'a str) {
    if file.is_empty() {
        return;
    }
    if !made.insert(file) {
        let why = format!("conflicting duplicate paths in {path}");
        errors.invalid(path, file, why);
    }
}

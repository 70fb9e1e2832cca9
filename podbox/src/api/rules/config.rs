//! ConfigMaps and Secrets: defaults, validation by a Secret's type, what may not change.

use super::check::{IMMUTABLE, all, present, text};
use super::names;
use super::pod::default::set;
use super::{Rules, labels::Map};
use crate::api::field::{Errors, Path, Reason};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use serde_json::Value;
use std::collections::BTreeMap;

/// How large all values of an object may be together.
const BYTES: usize = 1 << 20;
const SEALED: &str = "field is immutable when `immutable` is set";

/// The type of Secrets that hold a token without an end.
pub const ACCOUNT_TOKEN: &str = "kubernetes.io/service-account-token";

type Data = BTreeMap<String, ByteString>;

impl Rules for ConfigMap {
    fn validate(&self, errors: &mut Errors, path: &Path) {
        let mut size = 0;
        let at = path.child("data");
        for (key, value) in self.data.iter().flatten() {
            all(errors, &at.key(key), key, names::config_key(key));
            if self.binary_data.as_ref().is_some_and(|binary| binary.contains_key(key)) {
                errors.invalid(&at.key(key), key.as_str(), "duplicate of key present in binaryData");
            }
            size += value.len();
        }
        let at = path.child("binaryData");
        for (key, value) in self.binary_data.iter().flatten() {
            all(errors, &at.key(key), key, names::config_key(key));
            size += value.0.len();
        }
        fits(errors, path, size);
    }

    fn validate_update(&self, old: &ConfigMap, errors: &mut Errors, path: &Path) {
        if old.immutable != Some(true) {
            return;
        }
        for (field, changed) in [
            ("immutable", self.immutable != Some(true)),
            ("data", self.data != old.data),
            ("binaryData", self.binary_data != old.binary_data),
        ] {
            if changed {
                errors.forbidden(&path.child(field), SEALED);
            }
        }
    }
}

impl Rules for Secret {
    fn default(&mut self) {
        set(&mut self.type_, "Opaque");
        if let Some(strings) = self.string_data.take() {
            let data = self.data.get_or_insert_default();
            data.extend(strings.into_iter().map(|(key, value)| (key, ByteString(value.into_bytes()))));
        }
    }

    fn validate(&self, errors: &mut Errors, path: &Path) {
        let none = Data::new();
        let data = self.data.as_ref().unwrap_or(&none);
        let at = path.child("data");
        for key in data.keys() {
            all(errors, &at.key(key), key, names::config_key(key));
        }
        fits(errors, &at, data.values().map(|value| value.0.len()).sum());
        by_type(errors, path, self, data);
    }

    fn validate_update(&self, old: &Secret, errors: &mut Errors, path: &Path) {
        if self.type_ != old.type_ {
            errors.invalid(&path.child("type"), text(&self.type_), IMMUTABLE);
        }
        if old.immutable != Some(true) {
            return;
        }
        for (field, changed) in [("immutable", self.immutable != Some(true)), ("data", self.data != old.data)]
        {
            if changed {
                errors.forbidden(&path.child(field), SEALED);
            }
        }
    }
}

fn fits(errors: &mut Errors, path: &Path, size: usize) {
    if size > BYTES {
        errors.add(Reason::TooLong, path, Value::Null, format!("may not be more than {BYTES} bytes"));
    }
}

/// What a Secret of a type must have. Values are not told.
fn by_type(errors: &mut Errors, path: &Path, secret: &Secret, data: &Data) {
    let at = path.child("data");
    let mut need = |key: &str| {
        if !data.contains_key(key) {
            errors.required(&at.key(key), "");
        }
    };
    match text(&secret.type_) {
        "kubernetes.io/tls" => ["tls.crt", "tls.key"].into_iter().for_each(need),
        "kubernetes.io/ssh-auth" => need("ssh-privatekey"),
        "kubernetes.io/basic-auth" if !data.contains_key("username") && !data.contains_key("password") => {
            ["username", "password"].into_iter().for_each(need);
        }
        "kubernetes.io/dockerconfigjson" => is_json(errors, &at, data, ".dockerconfigjson"),
        "kubernetes.io/dockercfg" => is_json(errors, &at, data, ".dockercfg"),
        ACCOUNT_TOKEN => {
            let none = Map::new();
            let annotations = secret.metadata.annotations.as_ref().unwrap_or(&none);
            const NAME: &str = "kubernetes.io/service-account.name";
            let metadata = path.child("metadata");
            let name = annotations.get(NAME).map(String::as_str).unwrap_or_default();
            present(errors, &metadata.child("annotations").key(NAME), name);
        }
        _ => {}
    }
}

fn is_json(errors: &mut Errors, path: &Path, data: &Data, key: &str) {
    let Some(value) = data.get(key) else { return errors.required(&path.key(key), "") };
    if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(&value.0) {
        let why = match value.0.iter().find(|byte| !byte.is_ascii_whitespace()) {
            _ if !error.is_syntax() => "unexpected end of JSON input".to_owned(),
            Some(first) if error.column() <= 1 => {
                format!("invalid character {:?} looking for beginning of value", char::from(*first))
            }
            _ => error.to_string(),
        };
        errors.invalid(&path.key(key), "<secret contents redacted>", why);
    }
}

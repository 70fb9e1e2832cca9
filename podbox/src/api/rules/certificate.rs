//! Requests for certificates: validation, and which part of a request which write may change.
//!
//! Who asks, and when what is said of a request came to be so, is `api::admission::certificate`'s to fill in. What a request says is
//! never changed; whether it is approved is said only by its part `approval`, and its certificate only in its status.

use super::check::{one_of, text};
use super::{Rules, names};
use crate::api::field::{Errors, Path, Reason};
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition, CertificateSigningRequestStatus,
};
use std::collections::BTreeSet;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::FromDer;

/// What a certificate may be asked for.
const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];
/// The shortest life that can be asked for, in seconds.
const SHORTEST: i32 = 600;
/// Conditions that decide a request; the last is the signer's to say.
const DECISIONS: [&str; 3] = ["Approved", "Denied", "Failed"];

impl Rules for CertificateSigningRequest {
    fn prepare_create(&mut self) {
        self.status = Some(CertificateSigningRequestStatus::default());
    }

    fn prepare_update(&mut self, old: &CertificateSigningRequest) {
        self.spec.clone_from(&old.spec);
        self.status.clone_from(&old.status);
    }

    fn prepare_status(&mut self, old: &CertificateSigningRequest) {
        self.spec.clone_from(&old.spec);
        let conditions = &mut self.status.get_or_insert_default().conditions;
        // Whoever changes the status does not approve or deny, by leaving that out either.
        let before = old.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let decided = before.filter(|one| ["Approved", "Denied"].contains(&one.type_.as_str()));
        let lost: Vec<_> = decided
            .filter(|one| !conditions.iter().flatten().any(|new| new.type_ == one.type_))
            .cloned()
            .collect();
        if !lost.is_empty() {
            conditions.get_or_insert_default().extend(lost);
        }
    }

    fn prepare_part(&mut self, _part: &str, old: &CertificateSigningRequest) {
        self.spec.clone_from(&old.spec);
        let certificate = old.status.as_ref().and_then(|status| status.certificate.clone());
        self.status.get_or_insert_default().certificate = certificate;
    }

    fn validate(&self, errors: &mut Errors, path: &Path) {
        conditions(errors, path, conditions_of(self));
    }

    fn validate_create(&self, errors: &mut Errors, path: &Path) {
        let (spec, path) = (&self.spec, path.child("spec"));
        if let Some(why) = unreadable(&spec.request.0) {
            errors.add_omitted(Reason::Invalid, &path.child("request"), why);
        }
        let (at, usages) = (path.child("usages"), spec.usages.as_deref().unwrap_or_default());
        if usages.is_empty() {
            errors.required(&at, "usages must contain at least one value");
        }
        let mut seen = BTreeSet::new();
        for (index, usage) in usages.iter().enumerate() {
            one_of(errors, &at.index(index), usage, USAGES);
            if !seen.insert(usage.as_str()) {
                errors.duplicate(&at.index(index), usage.as_str());
            }
        }
        signer(errors, &path.child("signerName"), &spec.signer_name);
        if let Some(seconds) = spec.expiration_seconds.filter(|seconds| *seconds < SHORTEST) {
            let why = "may not specify a duration less than 600 seconds (10 minutes)";
            errors.invalid(&path.child("expirationSeconds"), seconds, why);
        }
    }

    fn validate_status(&self, old: &CertificateSigningRequest, errors: &mut Errors, path: &Path) {
        let at = path.child("status");
        conditions(errors, path, conditions_of(self));
        for word in &DECISIONS[..2] {
            decided(errors, &at.child("conditions"), word, (conditions_of(self), conditions_of(old)));
        }
        lasts(errors, path, "Failed", (conditions_of(self), conditions_of(old)));
        let certificate = |request: &CertificateSigningRequest| {
            request
                .status
                .as_ref()
                .and_then(|status| status.certificate.clone())
                .filter(|bytes| !bytes.0.is_empty())
        };
        if let (before @ Some(_), now) = (certificate(old), certificate(self))
            && before != now
        {
            let why = "updates may not modify existing certificate content";
            errors.forbidden(&at.child("certificate"), why);
        }
    }

    fn validate_part(&self, _part: &str, old: &CertificateSigningRequest, errors: &mut Errors, path: &Path) {
        for word in DECISIONS {
            lasts(errors, path, word, (conditions_of(self), conditions_of(old)));
        }
    }
}

type Conditions = [CertificateSigningRequestCondition];

fn conditions_of(request: &CertificateSigningRequest) -> &Conditions {
    request.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default()
}

/// Why a request cannot be read, if it cannot.
fn unreadable(pem: &[u8]) -> Option<&'static str> {
    const LABEL: &str = "PEM block type must be CERTIFICATE REQUEST";
    let Ok((_, pem)) = parse_x509_pem(pem) else { return Some(LABEL) };
    if pem.label != "CERTIFICATE REQUEST" {
        return Some(LABEL);
    }
    let read = X509CertificationRequest::from_der(&pem.contents);
    read.is_err().then_some("the PEM block holds no certificate request")
}

fn signer(errors: &mut Errors, path: &Path, name: &str) {
    if name.is_empty() {
        return errors.required(path, "");
    }
    if name == "kubernetes.io/legacy-unknown" {
        return errors.invalid(path, name, "the legacy signerName is not allowed via this API version");
    }
    let Some((domain, rest)) = name.split_once('/').filter(|(_, rest)| !rest.contains('/')) else {
        let why = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        return errors.invalid(path, name, why);
    };
    for (text, label) in
        domain.split('.').map(|label| (domain, label)).chain(rest.split('.').map(|label| (rest, label)))
    {
        for why in names::label(label) {
            errors.invalid(path, text, format!("validating label {label:?}: {why}"));
        }
    }
    if !domain.contains('.') {
        errors.invalid(path, domain, "should be a domain with at least two segments separated by dots");
    }
}

fn conditions(errors: &mut Errors, path: &Path, conditions: &Conditions) {
    let at = path.child("status");
    let at = at.child("conditions");
    let (mut seen, mut contrary) = (BTreeSet::new(), false);
    for (index, condition) in conditions.iter().enumerate() {
        let (at, word) = (at.index(index), condition.type_.as_str());
        if word.is_empty() {
            errors.required(&at.child("type"), "");
        }
        match condition.status.as_str() {
            "" => errors.required(&at.child("status"), ""),
            status if DECISIONS.contains(&word) => one_of(errors, &at.child("status"), status, &["True"]),
            status => one_of(errors, &at.child("status"), status, &["False", "True", "Unknown"]),
        }
        if !word.is_empty() && !seen.insert(word) {
            errors.duplicate(&at.child("type"), word);
        }
        let decides = |one: &str| one == "Approved" || one == "Denied";
        if decides(word) && seen.contains("Approved") && seen.contains("Denied") && !contrary {
            contrary = true;
            errors.invalid(&at.child("type"), word, "Approved and Denied conditions are mutually exclusive");
        }
    }
}

/// A decision stays.
fn lasts(errors: &mut Errors, path: &Path, word: &str, (new, old): (&Conditions, &Conditions)) {
    let has = |all: &Conditions| all.iter().any(|one| one.type_ == word);
    if has(old) && !has(new) {
        let at = path.child("status");
        let why = format!("updates may not remove a condition of type {word:?}");
        errors.forbidden(&at.child("conditions"), why);
    }
}

/// Whoever changes the status neither decides nor changes what was decided.
fn decided(errors: &mut Errors, path: &Path, word: &str, (new, old): (&Conditions, &Conditions)) {
    let of = |all: &Conditions| all.iter().find(|one| one.type_ == word).cloned();
    match (of(old), of(new)) {
        (None, Some(_)) => {
            errors.forbidden(path, format!("updates may not add a condition of type {word:?}"));
        }
        (Some(_), None) => {
            errors.forbidden(path, format!("updates may not remove a condition of type {word:?}"));
        }
        (Some(before), Some(now))
            if (&before.status, text(&before.reason), text(&before.message))
                != (&now.status, text(&now.reason), text(&now.message)) =>
        {
            errors.forbidden(path, format!("updates may not modify a condition of type {word:?}"));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::rules::{Erased, Of, Write};
    use serde_json::{Value, json};

    /// A request that can be read.
    fn pem() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["e2e.example.com".to_owned()]).unwrap();
        params.serialize_request(&key).unwrap().pem().unwrap()
    }

    fn asked(with: &Value) -> Value {
        let request = data_encoding::BASE64.encode(pem().as_bytes());
        let mut object = json!({
            "metadata": {"name": "r"},
            "spec": {"request": request, "signerName": "example.com/signer", "usages": ["client auth"]},
        });
        for (field, value) in with.as_object().unwrap() {
            object["spec"][field] = value.clone();
        }
        object
    }

    #[track_caller]
    fn check(object: Value, write: Write<'_>, expected: &[&str]) -> Value {
        let admitted = Of::<CertificateSigningRequest>::new().admit(object, write).unwrap();
        let told: Vec<_> = admitted.errors.0.iter().map(ToString::to_string).collect();
        assert_eq!(told, expected);
        admitted.object
    }

    #[test]
    fn a_request_says_what_for_and_whom_it_asks() {
        check(asked(&json!({})), Write::Create, &[]);
        check(
            asked(
                &json!({"request": "bm90IFBFTQ==", "usages": [], "signerName": "signer", "expirationSeconds": 1}),
            ),
            Write::Create,
            &[
                "spec.request: Invalid value: PEM block type must be CERTIFICATE REQUEST",
                "spec.usages: Required value: usages must contain at least one value",
                "spec.signerName: Invalid value: \"signer\": must be a fully qualified domain and path of the form \
                 'example.com/signer-name'",
                "spec.expirationSeconds: Invalid value: 1: may not specify a duration less than 600 seconds (10 minutes)",
            ],
        );
    }

    #[test]
    fn each_part_changes_what_it_is_for() {
        let made = check(asked(&json!({})), Write::Create, &[]);
        let with = |status: Value| {
            let mut object = made.clone();
            object["spec"]["usages"] = json!(["any"]);
            object["status"] = status;
            object
        };
        let (approved, other) =
            (json!({"type": "Approved", "status": "True"}), json!({"type": "ByWhom", "status": "False"}));
        let both = json!({"conditions": [approved, other], "certificate": "YQ=="});
        // The request itself: nothing.
        assert_eq!(check(with(both.clone()), Write::Update(&made), &[]), made);
        let told = check(with(both.clone()), Write::Part("approval", &made), &[]);
        assert_eq!(told["spec"], made["spec"]);
        assert_eq!(told["status"]["conditions"], json!([approved, other]));
        assert!(told["status"]["certificate"].is_null(), "{told}");
        let why = "status.conditions: Forbidden: updates may not add a condition of type \"Approved\"";
        check(with(both), Write::Status(&made), &[why]);
        // The signer leaves out what is not its own, and it stays.
        let issued = check(with(json!({"certificate": "YQ=="})), Write::Status(&told), &[]);
        assert_eq!(
            (&issued["status"]["certificate"], &issued["status"]["conditions"]),
            (&json!("YQ=="), &json!([approved]))
        );
        let why = "status.certificate: Forbidden: updates may not modify existing certificate content";
        check(with(json!({"certificate": "Yg=="})), Write::Status(&issued), &[why]);
        let why = "status.conditions: Forbidden: updates may not remove a condition of type \"Approved\"";
        check(with(json!({})), Write::Part("approval", &issued), &[why]);
    }

    #[test]
    fn nobody_is_approved_and_denied() {
        let made = check(asked(&json!({})), Write::Create, &[]);
        let mut object = made.clone();
        object["status"] = json!({"conditions": [{"type": "Denied", "status": "True"}, {"type": "Approved", "status": "True"}]});
        let why = "status.conditions[1].type: Invalid value: \"Approved\": Approved and Denied conditions are mutually exclusive";
        check(object, Write::Part("approval", &made), &[why]);
    }
}

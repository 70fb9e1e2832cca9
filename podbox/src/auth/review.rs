//! Answers to reviews: who am I, who is this, may they. Pure: a review comes in as JSON, validated, and goes out with its
//! status.

use super::attributes::Attributes;
use super::rbac::{Rbac, Rule};
use super::token::{Lookup, Tokens};
use crate::api::object;
use crate::api::status::ApiError;
use crate::api::user::User;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::SystemTime;

/// SelfSubjectReview: `kubectl auth whoami`.
pub fn whoami(mut review: Value, user: &User, now: SystemTime) -> Value {
    object::set(&mut review, "creationTimestamp", object::time(now));
    answered(review, json!({"userInfo": user.info()}))
}

/// SelfSubjectAccessReview: `kubectl auth can-i`.
pub fn own_access(review: Value, user: &User, rbac: &Rbac) -> Result<Value, ApiError> {
    let asked = Asked::read(&review["spec"])?;
    let status = asked.decide(user, rbac);
    Ok(answered(review, status))
}

/// SubjectAccessReview and LocalSubjectAccessReview.
pub fn access(review: Value, rbac: &Rbac) -> Result<Value, ApiError> {
    let asked = Asked::read(&review["spec"])?;
    let user = User {
        name: asked.user.clone().unwrap_or_default(),
        uid: asked.uid.clone().unwrap_or_default(),
        groups: asked.groups.clone().unwrap_or_default(),
        extra: asked.extra.clone().unwrap_or_default(),
    };
    let status = asked.decide(&user, rbac);
    Ok(answered(review, status))
}

/// SelfSubjectRulesReview: `kubectl auth can-i --list`.
pub fn rules(review: Value, user: &User, rbac: &Rbac) -> Result<Value, ApiError> {
    let namespace = review["spec"]["namespace"].as_str().unwrap_or_default();
    if namespace.is_empty() {
        return Err(ApiError::bad_request("no namespace on request"));
    }
    let (rules, missing) = rbac.rules_for(user, namespace);
    let some = |wanted: fn(&Rule) -> bool| -> Vec<Value> {
        rules.iter().filter(|rule| wanted(rule)).map(|rule| rule.value()).collect()
    };
    let mut status = json!({
        "resourceRules": some(|rule| !rule.resources.is_empty()),
        "nonResourceRules": some(|rule| !rule.urls.is_empty()),
        "incomplete": !missing.is_empty(),
    });
    if !missing.is_empty() {
        status["evaluationError"] = missing.join(", ").into();
    }
    Ok(answered(review, status))
}

/// TokenReview. A token that is not good is an answer, not an error.
pub fn token(review: Value, tokens: &Tokens, lookup: &impl Lookup, now: SystemTime) -> Value {
    let spec = &review["spec"];
    let audiences = spec["audiences"].as_array().into_iter().flatten();
    let audiences: Vec<String> = audiences.filter_map(|one| one.as_str().map(str::to_owned)).collect();
    let shown = spec["token"].as_str().unwrap_or_default();
    let status = match tokens.review(shown, &audiences, lookup, now) {
        Ok((user, audiences)) => json!({"authenticated": true, "user": user.info(), "audiences": audiences}),
        Err(refused) => json!({"user": {}, "error": refused.to_string()}),
    };
    answered(review, status)
}

fn answered(mut review: Value, status: Value) -> Value {
    if let Some(fields) = review.as_object_mut() {
        fields.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
        fields.insert("status".to_owned(), status);
    }
    review
}

/// The question of an access review, with whom it is about where it is about someone else.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    resource_attributes: Option<Resource>,
    non_resource_attributes: Option<Path>,
    user: Option<String>,
    uid: Option<String>,
    groups: Option<Vec<String>>,
    extra: Option<BTreeMap<String, Vec<String>>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Resource {
    namespace: String,
    verb: String,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Path {
    path: String,
    verb: String,
}

impl Asked {
    fn read(spec: &Value) -> Result<Asked, ApiError> {
        Asked::deserialize(spec).map_err(|error| ApiError::bad_request(format!("spec: {error}")))
    }

    fn decide(&self, user: &User, rbac: &Rbac) -> Value {
        let base = Attributes::of(user);
        let asked = match (&self.resource_attributes, &self.non_resource_attributes) {
            (Some(asked), _) => Attributes {
                verb: &asked.verb,
                group: &asked.group,
                version: &asked.version,
                resource: &asked.resource,
                subresource: &asked.subresource,
                namespace: &asked.namespace,
                name: &asked.name,
                ..base
            },
            (None, Some(asked)) => Attributes { verb: &asked.verb, path: &asked.path, ..base },
            (None, None) => base,
        };
        let decision = rbac.decide(&asked);
        let mut status = json!({"allowed": decision.allowed()});
        let reason = decision.reason();
        if !reason.is_empty() {
            status["reason"] = reason.into();
        }
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::recorded;
    use crate::api::user::CREDENTIAL;
    use crate::auth::certificate;
    use crate::auth::rbac::{GROUP, default};

    fn rbac() -> Rbac {
        let mut rbac = Rbac::default();
        for object in default::objects() {
            let resource =
                if object["kind"] == "ClusterRole" { "clusterroles" } else { "clusterrolebindings" };
            rbac.put(resource, &object).unwrap();
        }
        let binding = json!({
            "metadata": {"name": "b", "namespace": "a"},
            "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": "view"},
            "subjects": [{"kind": "User", "name": "jane"}],
        });
        rbac.put("rolebindings", &binding).unwrap();
        rbac
    }

    /// The answers that upstream gave to a service account without rights.
    #[test]
    fn recorded_reviews_are_answered_alike() {
        let now = SystemTime::UNIX_EPOCH;
        let mut user = User::service_account("rec-val", "plain", "<uid>");
        user.extra.insert(CREDENTIAL.to_owned(), vec!["JTI=<uid>".to_owned()]);
        for line in recorded::lines("validation.jsonl") {
            let body = line["request"]["body"].clone();
            let mut answer = match line["name"].as_str() {
                Some("selfsubjectreview") => whoami(body, &user, now),
                Some("selfsubjectaccessreview") => own_access(body, &user, &rbac()).unwrap(),
                _ => continue,
            };
            if answer["metadata"]["creationTimestamp"].is_string() {
                answer["metadata"]["creationTimestamp"] = "<time>".into();
            }
            let mut expected = line["response"].clone();
            expected["metadata"].as_object_mut().unwrap().remove("managedFields");
            assert_eq!(answer, expected);
        }
    }

    fn status(spec: Value) -> Value {
        access(json!({"spec": spec}), &rbac()).unwrap()["status"].take()
    }

    #[test]
    fn access_is_reviewed_for_whom_it_is_asked() {
        let pods = json!({"verb": "list", "resource": "pods", "namespace": "a"});
        assert_eq!(
            status(json!({"user": "jane", "resourceAttributes": pods})),
            json!({
                "allowed": true,
                "reason": "RBAC: allowed by RoleBinding \"b/a\" of ClusterRole \"view\" to User \"jane\"",
            })
        );
        assert_eq!(status(json!({"user": "joe", "resourceAttributes": pods})), json!({"allowed": false}));
        let masters = json!({"groups": ["system:masters"], "resourceAttributes": pods});
        assert_eq!(status(masters), json!({"allowed": true}));
        let health = json!({"verb": "get", "path": "/healthz"});
        assert_eq!(
            status(json!({"groups": ["system:unauthenticated"], "nonResourceAttributes": health}))["allowed"],
            true
        );
        assert_eq!(status(json!({"user": "joe", "nonResourceAttributes": health}))["allowed"], false);
        assert_eq!(access(json!({"spec": {"groups": "x"}}), &rbac()).unwrap_err().code, 400);
    }

    #[test]
    fn the_rules_of_a_namespace_are_listed() {
        let jane = User::authenticated("jane", []);
        let answer = rules(json!({"spec": {"namespace": "a"}}), &jane, &rbac()).unwrap();
        let status = &answer["status"];
        let of_pods = |rule: &&Value| rule["resources"].as_array().unwrap().contains(&"pods/log".into());
        let rule = status["resourceRules"].as_array().unwrap().iter().find(of_pods).unwrap();
        assert_eq!((&rule["verbs"], &rule["apiGroups"]), (&json!(["get", "list", "watch"]), &json!([""])));
        assert!(
            status["nonResourceRules"].as_array().unwrap().iter().any(|rule| rule["verbs"] == json!(["get"]))
        );
        assert_eq!(status["incomplete"], false);
        assert_eq!(
            rules(json!({"spec": {}}), &jane, &rbac()).unwrap_err().message,
            "no namespace on request"
        );
    }

    struct One(Value);

    impl Lookup for One {
        fn object(&self, _: &str, _: &str, _: &str) -> Option<Value> {
            Some(self.0.clone())
        }
    }

    #[test]
    fn a_token_is_reviewed() {
        let now = SystemTime::UNIX_EPOCH;
        let tokens = Tokens::new(&certificate::key().unwrap()).unwrap();
        let account = json!({"metadata": {"name": "app", "namespace": "a", "uid": "u"}});
        let issued = tokens.issue(&json!({}), &account, &One(account.clone()), now).unwrap();
        let review = |token: &Value, audiences: Value| {
            let review = json!({"spec": {"token": token, "audiences": audiences}});
            self::token(review, &tokens, &One(account.clone()), now)["status"].take()
        };
        let good = review(&issued["status"]["token"], Value::Null);
        assert_eq!((&good["authenticated"], &good["user"]["uid"]), (&json!(true), &json!("u")));
        assert_eq!(good["audiences"], json!([super::super::token::ISSUER]));
        let other = review(&issued["status"]["token"], json!(["other"]));
        assert!(other["authenticated"].is_null() && other["error"].as_str().unwrap().contains("other"));
        let bad = json!({"user": {}, "error": "invalid bearer token"});
        assert_eq!(review(&"nonsense".into(), Value::Null), bad);
    }
}

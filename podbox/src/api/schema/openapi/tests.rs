//! The documents by themselves, and their index against the recording.

use super::{index, v2, v3};
use crate::api::kinds::Kinds;
use crate::api::recorded;
use serde_json::Value;

/// Every `$ref` of a document.
fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str));
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn every_reference_is_to_a_schema_of_the_document() {
    let kinds = Kinds::new();
    let mut documents = vec![v2(&kinds)];
    documents.extend(kinds.iter().filter_map(|kind| v3(&kinds, &kind.group, &kind.version)));
    for document in documents {
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(!found.is_empty());
        for reference in found {
            assert!(document.pointer(&reference[1..]).is_some(), "{reference}");
        }
    }
}

#[test]
fn documents_have_what_kubectl_reads() {
    let document = v3(&Kinds::new(), "apps", "v1").unwrap();
    let schemas = &document["components"]["schemas"];
    let deployment = &schemas["io.k8s.api.apps.v1.Deployment"];
    assert_eq!(deployment["x-kubernetes-group-version-kind"][0]["kind"], "Deployment");
    assert_eq!(deployment["description"], "Deployment enables declarative updates for Pods and ReplicaSets.");
    let ports = &schemas["io.k8s.api.core.v1.Container"]["properties"]["ports"];
    assert_eq!(ports["x-kubernetes-patch-merge-key"], "containerPort");
    assert_eq!(ports["x-kubernetes-list-map-keys"], serde_json::json!(["containerPort", "protocol"]));
    assert!(ports["description"].as_str().unwrap().starts_with("List of ports to expose"));
    let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Deployment");
    let parameters = patch["parameters"].as_array().unwrap();
    for name in ["dryRun", "fieldValidation"] {
        assert!(parameters.iter().any(|parameter| parameter["name"] == name), "{name}");
    }
    assert!(v3(&Kinds::new(), "apps", "v9").is_none());
}

#[test]
fn the_index_names_groups_as_recorded() {
    let ours = index(&Kinds::new());
    for line in recorded::lines("discovery.jsonl") {
        if line["request"]["path"] != "/openapi/v3" {
            continue;
        }
        let theirs = line["response"]["paths"].as_object().unwrap();
        for (path, entry) in ours["paths"].as_object().unwrap() {
            // Upstream has this one from a server of its own, which was not recorded.
            let elsewhere = path == "apis/metrics.k8s.io/v1beta1";
            assert!(elsewhere || theirs.contains_key(path), "{path}");
            let url = entry["serverRelativeURL"].as_str().unwrap();
            assert!(url.starts_with(&format!("/openapi/v3/{path}?hash=")), "{url}");
        }
    }
}

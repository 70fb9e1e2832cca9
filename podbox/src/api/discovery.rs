//! Discovery documents: which groups, versions and resources there are, in the plain form and in the aggregated
//! one. Pure: made from the kinds' table.

use super::kinds::{Kind, Kinds, Scope, Subresource, Verb};
use serde_json::{Value, json};
use std::sync::Arc;

/// A group's versions, the preferred one first.
type Group<'a> = (&'a str, Vec<&'a str>);

fn groups(kinds: &Kinds) -> Vec<Group<'_>> {
    let mut found: Vec<Group> = Vec::new();
    for kind in kinds.iter() {
        match found.iter_mut().find(|(group, _)| *group == kind.group) {
            Some((_, versions)) if versions.contains(&&*kind.version) => {}
            Some((_, versions)) => versions.push(&kind.version),
            None => found.push((&kind.group, vec![&kind.version])),
        }
    }
    // v2 before v1, and both before v1beta1.
    found.iter_mut().for_each(|(_, versions)| versions.sort_by_key(|version| priority(version)));
    found
}

fn priority(version: &str) -> (bool, std::cmp::Reverse<String>) {
    let stable = version.strip_prefix('v').is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()));
    (!stable, std::cmp::Reverse(version.to_owned()))
}

/// `/api`.
pub fn core(address: &str) -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    })
}

/// `/apis`.
pub fn group_list(kinds: &Kinds) -> Value {
    let groups = groups(kinds).into_iter().filter(|(group, _)| !group.is_empty()).map(group_value);
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups.collect::<Vec<_>>()})
}

/// `/apis/GROUP`.
pub fn group(kinds: &Kinds, name: &str) -> Option<Value> {
    let found = groups(kinds).into_iter().find(|(group, _)| *group == name && !name.is_empty())?;
    let mut value = group_value(found);
    value["kind"] = "APIGroup".into();
    value["apiVersion"] = "v1".into();
    Some(value)
}

fn group_value((name, versions): Group) -> Value {
    let version = |version: &&str| json!({"groupVersion": format!("{name}/{version}"), "version": version});
    json!({
        "name": name,
        "versions": versions.iter().map(version).collect::<Vec<_>>(),
        "preferredVersion": versions.first().map(version),
    })
}

/// `/api/v1` and `/apis/GROUP/VERSION`.
pub fn resource_list(kinds: &Kinds, group: &str, version: &str) -> Option<Value> {
    let of: Vec<_> = kinds.iter().filter(|kind| kind.group == group && kind.version == version).collect();
    let first = of.first()?;
    let mut resources: Vec<Value> = of.iter().flat_map(|kind| resources(kind)).collect();
    resources.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
    Some(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": first.api_version(),
        "resources": resources,
    }))
}

fn words(verbs: &[Verb]) -> Vec<&'static str> {
    verbs.iter().map(|verb| verb.word()).collect()
}

fn resources(kind: &Arc<Kind>) -> Vec<Value> {
    let mut own = json!({
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced(),
        "kind": kind.kind,
        "verbs": words(kind.verbs),
    });
    if !kind.short_names.is_empty() {
        own["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        own["categories"] = json!(kind.categories);
    }
    if kind.stored() {
        own["storageVersionHash"] = storage_hash(kind).into();
    }
    let sub = |sub: &Subresource| {
        let mut value = json!({
            "name": format!("{}/{}", kind.plural, sub.name),
            "singularName": "",
            "namespaced": kind.namespaced(),
            "kind": sub.kind,
            "verbs": words(sub.verbs),
        });
        if let Some((group, version)) = &sub.of {
            value["group"] = json!(group);
            value["version"] = json!(version);
        }
        value
    };
    std::iter::once(own).chain(kind.subresources.iter().map(sub)).collect()
}

/// Tells clients whether the stored form of a kind is the one they saw last.
fn storage_hash(kind: &Kind) -> String {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(format!("{}/{}", kind.api_version(), kind.kind));
    data_encoding::BASE64.encode(&digest[..8])
}

/// `/api` and `/apis` in the aggregated form, `apidiscovery.k8s.io/v2`.
pub fn aggregated(kinds: &Kinds, core: bool) -> Value {
    let chosen = groups(kinds).into_iter().filter(|(group, _)| group.is_empty() == core);
    let item = |(group, versions): Group| {
        let metadata = if group.is_empty() { json!({}) } else { json!({"name": group}) };
        let versions = versions.into_iter().map(|version| {
            let of = kinds.iter().filter(|kind| kind.group == group && kind.version == version);
            json!({
                "version": version,
                "resources": of.map(aggregated_resource).collect::<Vec<_>>(),
                "freshness": "Current",
            })
        });
        json!({"metadata": metadata, "versions": versions.collect::<Vec<_>>()})
    };
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": chosen.map(item).collect::<Vec<_>>(),
    })
}

fn aggregated_resource(kind: &Arc<Kind>) -> Value {
    let mut value = json!({
        "resource": kind.plural,
        "responseKind": {"group": "", "version": "", "kind": kind.kind},
        "scope": if kind.scope == Scope::Namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular,
        "verbs": words(kind.verbs),
    });
    if !kind.short_names.is_empty() {
        value["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        value["categories"] = json!(kind.categories);
    }
    if !kind.subresources.is_empty() {
        let mut subs: Vec<_> = kind.subresources.iter().collect();
        subs.sort_by(|a, b| a.name.cmp(&b.name));
        let sub = |sub: &&Subresource| {
            let (group, version) = sub.of.clone().unwrap_or_default();
            json!({
                "subresource": sub.name,
                "responseKind": {"group": group, "version": version, "kind": sub.kind},
                "verbs": words(sub.verbs),
            })
        };
        value["subresources"] = subs.iter().map(sub).collect();
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::recorded;
    use std::collections::BTreeMap;

    /// Resources by name; without the hash, which every server chooses for itself.
    fn by_name(list: &Value, key: &str) -> BTreeMap<String, Value> {
        let items = list.as_array().expect("a list").iter().cloned().map(|mut item| {
            item.as_object_mut().expect("an object").remove("storageVersionHash");
            if let Some(subs) = item.get_mut("subresources").and_then(Value::as_array_mut) {
                subs.sort_by_key(|sub| sub["subresource"].to_string());
            }
            (item[key].as_str().unwrap_or_default().to_owned(), item)
        });
        items.collect()
    }

    #[test]
    fn what_podbox_serves_is_described_as_upstream_describes_it() {
        let kinds = Kinds::new();
        for line in recorded::lines("discovery.jsonl") {
            let path = line["request"]["path"].as_str().unwrap();
            let response = &line["response"];
            let Some((group, version)) = path.trim_matches('/').rsplit_once('/') else { continue };
            let group = group.trim_start_matches("apis/").trim_start_matches("api");
            if response["kind"] != "APIResourceList" || !kinds.has_version(group, version) {
                continue;
            }
            let ours = by_name(&resource_list(&kinds, group, version).unwrap()["resources"], "name");
            let theirs = by_name(&response["resources"], "name");
            for (name, resource) in ours {
                assert_eq!(Some(&resource), theirs.get(&name), "{path} {name}");
            }
        }
    }

    #[test]
    fn the_aggregated_form_says_the_same() {
        let kinds = Kinds::new();
        for line in recorded::lines("discovery.jsonl") {
            let core = match line["name"].as_str().unwrap() {
                "aggregated api" => true,
                "aggregated apis" => false,
                _ => continue,
            };
            let ours = aggregated(&kinds, core);
            // Upstream has this one from a server of its own, which was not recorded.
            let recorded = |item: &&Value| item["metadata"]["name"] != "metrics.k8s.io";
            for item in ours["items"].as_array().unwrap().iter().filter(recorded) {
                let theirs = line["response"]["items"].as_array().unwrap();
                let theirs = theirs.iter().find(|other| other["metadata"] == item["metadata"]).unwrap();
                for version in item["versions"].as_array().unwrap() {
                    let of = theirs["versions"].as_array().unwrap();
                    let of = of.iter().find(|other| other["version"] == version["version"]).unwrap();
                    let theirs = by_name(&of["resources"], "resource");
                    for (name, resource) in by_name(&version["resources"], "resource") {
                        assert_eq!(Some(&resource), theirs.get(&name), "{name}");
                    }
                }
            }
        }
    }
}

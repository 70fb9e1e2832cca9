//! Rows against those that Kubernetes' own server made of the same objects.

use super::*;
use crate::api::kinds::Kinds;
use crate::api::recorded;

#[test]
fn columns_are_upstreams() {
    let kinds = Kinds::new();
    let mut compared = 0;
    for line in recorded::lines("tables.jsonl") {
        let response = &line["response"];
        let path = line["request"]["path"].as_str().unwrap().split('?').next().unwrap();
        let parts: Vec<_> = path.trim_matches('/').split('/').collect();
        let (group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => continue,
        };
        let plural = match rest {
            ["namespaces", _, plural, ..] => plural,
            [plural, ..] => plural,
            [] => continue,
        };
        let (Some(kind), "Table") =
            (kinds.resource(group, version, plural), response["kind"].as_str().unwrap_or_default())
        else {
            continue;
        };
        if path.ends_with("/scale") {
            continue;
        }
        compared += 1;
        let shape = |columns: &Value| -> Vec<String> {
            let columns = columns.as_array().unwrap().iter();
            columns
                .map(|c| format!("{} {} {} {}", c["name"], c["type"], c["format"], c["priority"]))
                .collect()
        };
        assert_eq!(shape(&columns(kind)), shape(&response["columnDefinitions"]), "{path}");
    }
    eprintln!("{compared} tables compared");
}

#[test]
fn ages_are_kubectls() {
    for (seconds, text) in [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (125, "2m5s"),
        (600, "10m"),
        (10_799, "179m"),
        (10_800, "3h"),
        (14_460, "4h1m"),
        (86_400, "24h"),
        (172_800, "2d"),
        (180_000, "2d2h"),
        (691_200, "8d"),
        (63_072_000, "2y"),
        (64_000_000, "2y10d"),
        (400_000_000, "12y"),
    ] {
        assert_eq!(cell::human(std::time::Duration::from_secs(seconds)), text, "{seconds}");
    }
}

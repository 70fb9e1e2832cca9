//! Recorded requests are sent again, in order, to an API with an empty store: statuses first, then what is told.

use super::Client;
use super::compare::differences;
use super::known::{KNOWN, Known};
use super::memory::Memory;
use crate::api::recorded;
use bytes::Bytes;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Lines whose uid is not the object's.
const MEANS_ANOTHER: [&str; 4] = ["update: uid", "uid precondition", "replace uid", "with uid"];
const ANOTHER: &str = "11111111-1111-1111-1111-111111111111";

/// What the recorder did without a line: it took away what was made though it was meant to be refused, and what
/// nobody would finish deleting.
async fn tidy_up(
    client: &mut Client,
    file: &str,
    name: &str,
    method: &str,
    path: &str,
    code: u16,
    response: &Value,
) {
    let refused = file == "validation.jsonl" && (name.contains(": ") || name.starts_with("unknown "));
    let made = response["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    if method == "POST" && code == 201 && refused && !made.is_empty() && response["kind"] != "Status" {
        let at = format!("{path}/{made}?gracePeriodSeconds=0&propagationPolicy=Background");
        client.send("DELETE", &at, &json!({}), Bytes::new()).await;
    }
    if file == "metadata.jsonl" && name.starts_with("get ") && name.contains(" after ") && code == 200 {
        let patch = Bytes::from_static(b"{\"metadata\":{\"finalizers\":null}}");
        let headers = json!({"Content-Type": "application/merge-patch+json"});
        client.send("PATCH", path, &headers, patch).await;
    }
}

/// What came of a file.
#[derive(Default)]
struct Outcome {
    lines: usize,
    /// Differences that are not listed.
    different: Vec<String>,
    /// Rows of the list that were needed.
    known: BTreeSet<&'static Known>,
}

impl Outcome {
    fn note(&mut self, line: &str, told: String) {
        match KNOWN.iter().find(|(name, part, _)| line.contains(name) && told.starts_with(part)) {
            Some(row) => drop(self.known.insert(row)),
            None => self.different.push(format!("{line}: {told}")),
        }
    }
}

/// Replays a file from an empty store.
async fn replay(file: &str) -> Outcome {
    let mut client = Client::new().await;
    // The recorded server had no class for claims that name none.
    let class = "/apis/storage.k8s.io/v1/storageclasses/local";
    assert_eq!(client.send("DELETE", class, &json!({}), Bytes::new()).await.0, 200);
    let mut memory = Memory::default();
    let mut outcome = Outcome::default();
    for line in recorded::lines(file) {
        let name = line["name"].as_str().unwrap();
        let method = line["request"]["method"].as_str().unwrap();
        let path = line["request"]["path"].as_str().unwrap();
        let bare = path.split('?').next().unwrap();
        let mut target = Value::String(path.to_owned());
        let now = memory.of(bare);
        memory.fill(&mut target, &Value::Null, &now);
        let mut body = line["request"]["body"].clone();
        if MEANS_ANOTHER.iter().any(|word| name.contains(word)) || now.is_null() {
            body = serde_json::from_str(&body.to_string().replace("<uid>", ANOTHER)).unwrap();
        }
        without_vendors(&mut body);
        let bytes = match &mut body {
            Value::Null => Bytes::new(),
            Value::String(text) => Bytes::from(text.clone()),
            value => {
                memory.fill(value, &now, &now);
                serde_json::to_vec(value).unwrap().into()
            }
        };
        let target = target.as_str().unwrap().to_owned();
        let (user, headers) = (&line["user"], &line["request"]["headers"]);
        let (code, bytes) = client.send_as(user, method, &target, headers, bytes).await;
        if let Some(theirs) = line.get("warnings").filter(|_| user.is_null()) {
            let mut ours = client.warnings();
            // What has no effect yet is podbox's own to say.
            ours.retain(|told| !told.contains("is stored, but") && !told.contains(": not supported yet"));
            for told in differences(&json!(ours), theirs) {
                outcome.note(name, format!(".warnings{told}"));
            }
        }
        let text = || Value::String(String::from_utf8_lossy(&bytes).into_owned());
        let mut response: Value = serde_json::from_slice(&bytes).unwrap_or_else(|_| text());
        memory.note(bare, &response);
        let setup = line["setup"] == true;
        if !setup {
            tidy_up(&mut client, file, name, method, bare, code, &response).await;
        }
        let mut theirs = line["response"].clone();
        if user.is_string() && code >= 400 {
            // Who does not get in is told so in upstream's words.
            assert_eq!(response, theirs, "{name}");
        }
        outcome.lines += 1;
        if u64::from(code) != line["status"].as_u64().unwrap() {
            let (ours, theirs) = (&response["message"], &theirs["message"]);
            outcome.note(name, format!(".code: {code} {ours}, not {} {theirs}", line["status"]));
            continue;
        }
        if setup || theirs.is_null() || theirs == "<omitted>" {
            continue;
        }
        [&mut response, &mut theirs].into_iter().for_each(own_words);
        without_vendors(&mut theirs);
        if theirs["metadata"].get("generation").is_some()
            && theirs["metadata"].as_object().map_or(0, |all| all.len()) == 1
        {
            // Only this much was recorded.
            response = json!({"kind": response["kind"], "metadata": {"generation": response["metadata"]["generation"]}});
        }
        differences(&response, &theirs).into_iter().for_each(|told| outcome.note(name, told));
    }
    assert!(client.api.store.revision() > 0);
    outcome
}

/// Takes out what only the recorded server's vendor puts into the volume with a pod's token.
fn without_vendors(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if let Some(sources) = fields.get_mut("sources").and_then(Value::as_array_mut) {
                sources.retain(|source| source["configMap"]["name"] != "openshift-service-ca.crt");
            }
            fields.values_mut().for_each(without_vendors);
        }
        Value::Array(items) => items.iter_mut().for_each(without_vendors),
        _ => {}
    }
}

/// Takes out what each has in words of its own: how columns are described.
fn own_words(value: &mut Value) {
    let columns = value.get_mut("columnDefinitions").and_then(Value::as_array_mut);
    for column in columns.into_iter().flatten() {
        column["description"] = Value::Null;
    }
}

const FILES: [&str; 5] =
    ["metadata.jsonl", "defaulting.jsonl", "validation.jsonl", "tables.jsonl", "patches.jsonl"];

#[tokio::test]
async fn recorded_requests_are_answered_as_recorded() {
    let (mut lines, mut used) = (0, BTreeSet::<&Known>::new());
    for file in FILES {
        let outcome = replay(file).await;
        assert!(outcome.different.is_empty(), "{file}:\n{}", outcome.different.join("\n"));
        eprintln!("{file}: {} lines are answered as recorded, or differ as listed", outcome.lines);
        lines += outcome.lines;
        used.extend(outcome.known);
    }
    let stale: Vec<_> = KNOWN.iter().filter(|row| !used.contains(row)).collect();
    assert!(lines == 0 || stale.is_empty(), "no difference any more: {stale:?}");
}

//! Watches replayed: the same requests while a watch is open, and the events that Kubernetes' own server told.

use super::*;
use crate::api::recorded;
use std::collections::BTreeMap;
use std::time::Duration;

/// Watches whose revision is of a list that has no line of its own: everything before is not told.
const LISTED_ANEW: &str = "deletecollection events";

/// For what is recorded to come, on a slow disk.
const PATIENCE: Duration = Duration::from_secs(120);
/// For what is not recorded to come after it.
const MORE: Duration = Duration::from_millis(300);

/// How long a watch goes on: as short as the API allows; if something is written meanwhile, until that has been told, and where
/// its end itself is recorded, long enough for a slow disk.
fn hurried(path: &str, quiet: bool) -> String {
    let Some((before, rest)) = path.split_once("timeoutSeconds=") else { return path.to_owned() };
    let seconds = match (quiet, ends(path)) {
        (true, _) => 1,
        (false, true) => 8,
        (false, false) => PATIENCE.as_secs(),
    };
    format!("{before}timeoutSeconds={seconds}{}", rest.trim_start_matches(|one: char| one.is_ascii_digit()))
}

/// Whether a watch tells something at its end.
fn ends(path: &str) -> bool {
    path.contains("allowWatchBookmarks")
}

/// All events of a watch; of one that goes on, until so many have come and no more are on their way.
async fn told(response: Response<Incoming>, wanted: Option<usize>) -> Vec<Value> {
    let (mut body, mut bytes) = (response.into_body(), Vec::new());
    loop {
        let told = bytes.iter().filter(|byte| **byte == b'\n').count();
        let patience = if wanted.is_some_and(|wanted| told >= wanted) { MORE } else { PATIENCE };
        match tokio::time::timeout(patience, body.frame()).await {
            Ok(Some(frame)) => bytes.extend(frame.unwrap().into_data().unwrap_or_default()),
            Ok(None) | Err(_) => break,
        }
    }
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

/// Whether a value is what was recorded, whose placeholders stand for anything.
fn is(ours: &Value, recorded: &Value) -> bool {
    match (ours, recorded) {
        (Value::String(ours), Value::String(recorded)) => fits(ours, recorded),
        // Left out to save space.
        (_, Value::String(recorded)) => recorded == "<managedFields>",
        // What upstream writes as null, podbox leaves out: `lastProbeTime` of conditions.
        (Value::Object(ours), Value::Object(recorded)) => {
            ours.keys().all(|key| recorded.contains_key(key))
                && recorded.iter().all(|(key, value)| is(ours.get(key).unwrap_or(&Value::Null), value))
        }
        (Value::Array(ours), Value::Array(recorded)) => {
            ours.len() == recorded.len() && ours.iter().zip(recorded).all(|(ours, value)| is(ours, value))
        }
        (ours, recorded) => ours == recorded,
    }
}

fn fits(ours: &str, recorded: &str) -> bool {
    // An age is what the clock says, sometimes recorded as it was.
    let age = |text: &str| {
        text == "<age>" || text.strip_suffix('s').is_some_and(|number| number.parse::<u32>().is_ok())
    };
    let Some((before, rest)) = recorded.split_once('<') else {
        return ours == recorded || (age(ours) && age(recorded));
    };
    let after = rest.split_once('>').map_or("", |(_, after)| after);
    ours.starts_with(before) && (after.contains('<') || ours.ends_with(after))
}

/// What is compared of events: all but how columns are described, and what admission puts into a pod's spec, which
/// other recordings are about.
fn compared(mut events: Vec<Value>) -> Vec<Value> {
    for event in &mut events {
        let object = &mut event["object"];
        if object["kind"] == "Pod"
            && let Some(fields) = object.as_object_mut()
        {
            fields.remove("spec");
        }
        let columns = object.get_mut("columnDefinitions").and_then(Value::as_array_mut);
        for column in columns.into_iter().flatten() {
            column["description"] = Value::Null;
        }
    }
    events
}

/// Takes out bookmarks that come when it suits a server; tells whether there was one.
fn take_bookmarks(events: &mut Vec<Value>) -> bool {
    let before = events.len();
    events
        .retain(|event| event["type"] != "BOOKMARK" || !event["object"]["metadata"]["annotations"].is_null());
    events.len() < before
}

/// The same API, as the next process serves it: it remembers no changes.
async fn restarted(before: Client) -> Client {
    before.api.store.close().await;
    let store = Store::open(before._dir.path()).unwrap();
    let tokens = Tokens::new(&certificate::key().unwrap()).unwrap();
    let api = Arc::new(Api::new(store, Kinds::new(), "127.0.0.1:6443".into(), tokens));
    let root = Arc::new(User::authenticated("admin", [MASTERS.to_owned()]));
    let sender = connect(&api, Peer::of(root, None)).await;
    Client { sender, api, ..before }
}

/// A watch, and what its line says happens while it is open.
async fn watched(client: &mut Client, line: &Value, path: &str) -> Vec<Value> {
    let root = Arc::new(User::authenticated("watcher", [MASTERS.to_owned()]));
    let mut watcher = connect(&client.api, Peer::of(root, None)).await;
    let response = begin(&mut watcher, "GET", path, &line["request"]["headers"], Bytes::new()).await;
    assert_eq!(u64::from(response.status().as_u16()), line["status"].as_u64().unwrap());
    for request in line["during"].as_array().into_iter().flatten() {
        let mut headers = json!({});
        if let Some(content_type) = request["contentType"].as_str() {
            headers["Content-Type"] = content_type.into();
        }
        let (method, path) = (request["method"].as_str().unwrap(), request["path"].as_str().unwrap());
        let body = if request["body"].is_null() { String::new() } else { request["body"].to_string() };
        let (code, answer) = client.send(method, path, &headers, body.into()).await;
        assert!(code < 300, "{method} {path}: {code} {}", String::from_utf8_lossy(&answer));
    }
    let goes_on = line["during"].as_array().is_some_and(|during| !during.is_empty()) && !ends(path);
    told(response, line["response"].as_array().map(Vec::len).filter(|_| goes_on)).await
}

#[tokio::test]
async fn recorded_watches_tell_the_same_events() {
    let mut client = restarted(Client::new().await).await;
    let mut revisions: BTreeMap<String, String> = BTreeMap::new();
    let mut different = Vec::new();
    for line in recorded::lines("watch.jsonl") {
        let (name, request) = (line["name"].as_str().unwrap(), &line["request"]);
        let (method, path) = (request["method"].as_str().unwrap(), request["path"].as_str().unwrap());
        let bare = path.split('?').next().unwrap();
        let now = client.api.store.revision().to_string();
        let listed = revisions.get(bare).filter(|_| name != LISTED_ANEW);
        let quiet = line["during"].as_array().is_none_or(Vec::is_empty);
        let path = hurried(&path.replace("<rv>", listed.unwrap_or(&now)), quiet);
        if path.contains("watch=1") || path.contains("/watch/") {
            let mut ours = compared(watched(&mut client, &line, &path).await);
            let mut recorded = compared(line["response"].as_array().cloned().unwrap_or_default());
            let marked = take_bookmarks(&mut ours);
            assert!(marked || !take_bookmarks(&mut recorded), "{name}: there is no bookmark");
            take_bookmarks(&mut recorded);
            let differs = ours.iter().zip(&recorded).find(|(ours, recorded)| !is(ours, recorded));
            if differs.is_some() || ours.len() != recorded.len() {
                let (count, wanted) = (ours.len(), recorded.len());
                different.push(format!("{name}: {count} events, recorded {wanted}: {differs:#?}"));
            }
            continue;
        }
        let body = if request["body"].is_null() { String::new() } else { request["body"].to_string() };
        let (code, answer) = client.send(method, &path, &request["headers"], body.into()).await;
        assert_eq!(u64::from(code), line["status"].as_u64().unwrap(), "{name}");
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        if method == "GET" {
            let revision = answer["metadata"]["resourceVersion"].as_str().unwrap();
            revisions.insert(bare.to_owned(), revision.to_owned());
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

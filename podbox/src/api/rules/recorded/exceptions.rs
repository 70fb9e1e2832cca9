//! Recorded answers that the rules do not give, and why.

use serde_json::Value;

/// Not the rules' to give.
pub const ELSEWHERE: &[(&str, &str)] = &[
    ("create pod under limitrange", "a LimitRange's defaults come from admission"),
    ("pod: imagePullSecret no name (warning)", "k8s-openapi always writes a reference's name"),
    ("service: nodePort out of range", ALLOCATION),
    ("service: clusterIP outside range", ALLOCATION),
    ("service: clusterIP already allocated", ALLOCATION),
    ("service: nodePort already allocated", ALLOCATION),
];

const ALLOCATION: &str = "addresses and ports are allocated by the server";

/// Given with the same fields and reasons, in other words after a line's end or around a value.
pub const SOFT: &[(&str, &str)] = &[
    ("pod update: command", DIFF),
    ("pod update: nodeName", DIFF),
    ("pod update: resources", DIFF),
    ("pvc update: size unbound", DIFF),
    ("pvc update: accessModes", DIFF),
    ("pvc update: class", DIFF),
    ("job update: template", VALUE),
];

const VALUE: &str = "upstream shows Go's struct, ours the API's object";
const DIFF: &str = "upstream appends a diff of Go's structs; ours names the API's fields";

/// Leaves of what is told only what must be alike: a message's first line, without a value that is an object.
pub fn soften(status: &mut Value) {
    let soft = |text: &mut Value| {
        let line = text.as_str().and_then(|text| text.lines().next()).unwrap_or_default();
        *text = match (line.find('{'), line.rfind('}')) {
            (Some(start), Some(end)) if start < end => [&line[..start], &line[end..]].concat().into(),
            _ => line.into(),
        };
    };
    soft(&mut status["message"]);
    for cause in status["details"]["causes"].as_array_mut().into_iter().flatten() {
        soft(&mut cause["message"]);
    }
}

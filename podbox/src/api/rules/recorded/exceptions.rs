//! Recorded answers that the rules do not give, and why.

use serde_json::Value;

/// Not the rules' to give.
pub const ELSEWHERE: &[(&str, &str)] = &[
    ("create pod under limitrange", "a LimitRange's defaults come from admission"),
    ("pod: imagePullSecret no name (warning)", "k8s-openapi always writes a reference's name"),
];

/// Given with the same fields and reasons, in other words after a line's end or around a value.
pub const SOFT: &[(&str, &str)] = &[
    ("pod update: command", DIFF),
    ("pod update: nodeName", DIFF),
    ("pod update: resources", DIFF),
    ("pvc update: size unbound", DIFF),
    ("pvc update: accessModes", DIFF),
    ("pvc update: class", DIFF),
];

const DIFF: &str = "upstream appends a diff of Go's structs; ours names the API's fields";

/// Leaves of what is told only what must be alike: a message's first line, or of an invalid value the detail.
pub fn soften(status: &mut Value) {
    let first_line = |text: &mut Value| {
        *text = text.as_str().and_then(|text| text.lines().next()).unwrap_or_default().into();
    };
    first_line(&mut status["message"]);
    for cause in status["details"]["causes"].as_array_mut().into_iter().flatten() {
        first_line(&mut cause["message"]);
    }
}

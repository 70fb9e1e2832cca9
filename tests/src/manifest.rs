//! Manifests of the test image's jobs, short enough to be read in a test.

use crate::host::IMAGE;

/// A pod: `spec` is what stands in its `spec` mapping, in flow style.
pub fn pod(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\n\
         spec: {{terminationGracePeriodSeconds: 2, {spec}}}\n"
    )
}

/// A container of the test image; `fields` in flow style.
pub fn container(name: &str, fields: &str) -> String {
    format!("{{name: {name}, image: {IMAGE:?}, imagePullPolicy: IfNotPresent, {fields}}}")
}

/// A container that does a job of `testjobs`.
pub fn job(name: &str, args: &str) -> String {
    let args: Vec<String> = args.split_whitespace().map(|word| format!("{word:?}")).collect();
    container(name, &format!("args: [{}]", args.join(", ")))
}

/// A container that runs a script of busybox's shell; `fields` are further ones.
pub fn script(name: &str, script: &str, fields: &str) -> String {
    // JSON's strings are YAML's.
    let script = serde_json::Value::from(script);
    container(name, &format!("command: [/bin/busybox, sh, -c], args: [{script}], {fields}"))
}

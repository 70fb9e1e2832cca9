//! What of a pod, or of a template of pods, is stored but has no effect: told with the write, so that nobody is surprised
//! when the node refuses to run it.

use crate::api::kinds::Kind;
use crate::api::oom;
use crate::api::simulate;
use crate::api::support::{self, Tokens};
use k8s_openapi::api::core::v1::Pod;
use serde::Deserialize;
use serde_json::{Value, json};

/// Where kinds have their pods, and how warnings name it.
fn template(kind: &Kind) -> Option<(&'static str, &'static str)> {
    Some(match (&*kind.group, &*kind.kind) {
        ("", "Pod") => ("", ""),
        ("", "PodTemplate") => ("/template", "template."),
        ("", "ReplicationController")
        | ("apps", "DaemonSet" | "Deployment" | "ReplicaSet" | "StatefulSet") => {
            ("/spec/template", "spec.template.")
        }
        ("batch", "Job") => ("/spec/template", "spec.template."),
        ("batch", "CronJob") => ("/spec/jobTemplate/spec/template", "spec.jobTemplate.spec.template."),
        _ => return None,
    })
}

/// The warnings about an object.
pub fn told(kind: &Kind, object: &Value) -> Vec<String> {
    let Some((at, prefix)) = template(kind) else { return Vec::new() };
    let Some(pod) = object.pointer(at).filter(|pod| !pod["spec"].is_null()) else { return Vec::new() };
    let metadata = json!({"annotations": pod["metadata"]["annotations"]});
    // What is no pod is refused by its rules.
    let Ok(pod) = Pod::deserialize(json!({"metadata": metadata, "spec": pod["spec"]})) else {
        return Vec::new();
    };
    of_pod(&pod, prefix)
}

/// Those about what a node that runs nothing is newly asked to simulate.
pub fn of_node(kind: &Kind, new: &Value, old: &Value) -> Vec<String> {
    let said =
        |node: &Value| node["metadata"]["annotations"][simulate::ANNOTATION].as_str().map(str::to_owned);
    let news =
        (kind.kind == "Node").then(|| said(new)).flatten().filter(|news| Some(news) != said(old).as_ref());
    news.and_then(|news| simulate::complaint(&news, true)).into_iter().collect()
}

/// Those about a pod, or about a template, which the warnings name by `prefix`.
pub fn of_pod(pod: &Pod, prefix: &str) -> Vec<String> {
    let fields = support::unsupported(pod, Tokens::ForApi);
    let said = pod.metadata.annotations.as_ref().and_then(|all| all.get(simulate::ANNOTATION));
    let said = said.and_then(|said| simulate::complaint(said, false));
    let told = fields.iter().map(ToString::to_string).chain(oom::complaint(pod)).chain(said);
    told.map(|told| format!("{prefix}{told}")).collect()
}

//! `/targets`: which of the pages Prometheus is to scrape as which job, and of which node they are, for its discovery by HTTP. So its
//! configuration names only an address, and needs nobody's leave to ask the API.

use serde_json::{Value, json};

/// Those of the job by which kubernetes-mixin looks for kubelets. `/metrics/resource` is left out: it has again what is in
/// `/metrics/cadvisor`.
const KUBELET: [&str; 3] = ["/metrics", "/metrics/cadvisor", "/metrics/probes"];

/// What there is at `host`, the address by which it was asked; of `node`, where there is an API.
pub fn of(host: &str, node: Option<&str>) -> Value {
    let mut groups: Vec<Value> = Vec::new();
    for page in KUBELET {
        let mut labels = json!({"job": "kubelet", "metrics_path": page, "__metrics_path__": page});
        if let Some(node) = node {
            labels["node"] = node.into();
        }
        groups.push(json!({"targets": [host], "labels": labels}));
    }
    if node.is_some() {
        let labels = json!({"job": "kube-state-metrics", "__metrics_path__": "/metrics/state"});
        groups.push(json!({"targets": [host], "labels": labels}));
    }
    groups.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prometheus_is_told_of_every_page_by_the_jobs_that_are_asked_for() {
        let told = |node| {
            let groups = of("192.0.2.1:9810", node);
            let groups = groups.as_array().unwrap().clone();
            assert!(groups.iter().all(|group| group["targets"] == json!(["192.0.2.1:9810"])));
            groups.into_iter().map(|group| group["labels"].clone()).collect::<Vec<_>>()
        };
        let cadvisor = json!({
            "job": "kubelet", "metrics_path": "/metrics/cadvisor", "__metrics_path__": "/metrics/cadvisor", "node": "a",
        });
        let state = json!({"job": "kube-state-metrics", "__metrics_path__": "/metrics/state"});
        let all = told(Some("a"));
        assert!(all.contains(&cadvisor) && all.contains(&state), "{all:?}");
        // Without an API there are no objects, and no node among them.
        let all = told(None);
        assert!(all.iter().all(|labels| labels["job"] == "kubelet" && labels["node"].is_null()), "{all:?}");
    }
}

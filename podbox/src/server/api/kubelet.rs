//! The subresource `proxy` of nodes: what clients ask a kubelet for. This server and its node are one process, so nothing is
//! passed on: it is answered here, from the node's numbers and the store. Anything else is not there, as kubelets say it.

use super::media::Media;
use super::proxy::split;
use super::summary::summary;
use super::write::read;
use super::{Api, Call, answer, not_allowed};
use crate::api::identity::PodRef;
use crate::api::status::ApiError;
use crate::pod::glance;
use crate::server::http::{Body, text};
use crate::store::Key;
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

impl Api {
    /// Answers a request for a node's `proxy`.
    pub(super) async fn kubelet(&self, call: &Call) -> Result<Response<Body>, ApiError> {
        let invalid = || ApiError::bad_request(format!("invalid node request {:?}", call.info.name));
        let (_, name, _) = split(&call.info.name).ok_or_else(invalid)?;
        self.find(&call.at(&Key::new("", name)))?;
        if call.info.verb != "get" {
            return Err(not_allowed());
        }
        let early = || ApiError::new(503, "ServiceUnavailable", "this node is still starting; try again");
        match call.info.rest.trim_matches('/') {
            "healthz" => Ok(text(StatusCode::OK, "ok")),
            "pods" => answer::plain(200, &self.pods_on(name), Media::JSON, &[]),
            "stats/summary" => {
                let all = self.snapshot().ok_or_else(early)?;
                let disk = match (call.query.flag("only_cpu_and_memory"), self.stats.get()) {
                    (false, Some(stats)) => Some(stats.disk().await.map_err(ApiError::internal)?),
                    _ => None,
                };
                let value = summary(name, &all, disk.as_deref(), |pod| self.started(pod));
                answer::plain(200, &value, Media::JSON, &[])
            }
            page if page == "metrics" || page.starts_with("metrics/") => self.page(&format!("/{page}")).await,
            _ => Ok(text(StatusCode::NOT_FOUND, "404 page not found\n")),
        }
    }

    /// The pods that are bound to a node.
    fn pods_on(&self, node: &str) -> Value {
        let page = self.store.list("/pods", None, None, 0, None).map(|page| page.entries);
        let pods = page.unwrap_or_default();
        let pods: Vec<Value> = glance::on_node(&pods, node).filter_map(|entry| read(entry).ok()).collect();
        json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods})
    }

    /// Since when a pod is there.
    fn started(&self, pod: &PodRef) -> Option<Value> {
        let stored = self.pod_of(pod)?;
        stored["status"].get("startTime").cloned()
    }
}

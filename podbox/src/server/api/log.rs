//! A pod's log: which container's and which run's, and then the node's own words.

use super::write::read;
use super::{Api, Call};
use crate::api::identity::PodRef;
use crate::api::logs::LogOptions;
use crate::api::object;
use crate::api::status::ApiError;
use crate::clock;
use crate::server::http::{Body, text};
use crate::server::patience::Unhurried;
use futures_util::StreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::{Response, StatusCode};
use serde_json::Value;
use std::convert::Infallible;
use std::time::Duration;

const CONTAINERS: [(&str, &str); 3] = [
    ("initContainers", "initContainerStatuses"),
    ("containers", "containerStatuses"),
    ("ephemeralContainers", "ephemeralContainerStatuses"),
];

fn names<'a>(pod: &'a Value, list: &str) -> Vec<&'a str> {
    let list = pod["spec"][list].as_array();
    list.into_iter().flatten().filter_map(|container| container["name"].as_str()).collect()
}

/// The container that is meant, and where its status is.
pub(super) fn container(pod: &Value, asked: &str) -> Result<(String, &'static str), ApiError> {
    let name = object::name(pod);
    if asked.is_empty() {
        let all = names(pod, "containers");
        return match all.as_slice() {
            [one] => Ok(((*one).to_owned(), "containerStatuses")),
            _ => {
                let mut message = format!(
                    "a container name must be specified for pod {name}, choose one of: [{}]",
                    all.join(" ")
                );
                let init = names(pod, "initContainers");
                if !init.is_empty() {
                    message.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
                }
                Err(ApiError::bad_request(message))
            }
        };
    }
    let found = CONTAINERS.iter().find(|(list, _)| names(pod, list).contains(&asked));
    let (_, statuses) = found
        .ok_or_else(|| ApiError::bad_request(format!("container {asked} is not valid for pod {name}")))?;
    Ok((asked.to_owned(), statuses))
}

/// Which run is meant.
fn attempt(pod: &Value, container: &str, statuses: &str, previous: bool) -> Result<u32, ApiError> {
    let name = object::name(pod);
    let all = pod["status"][statuses].as_array();
    let status = all.into_iter().flatten().find(|status| status["name"] == container);
    let restarts = status.and_then(|status| status["restartCount"].as_u64()).unwrap_or(0);
    let restarts = u32::try_from(restarts).unwrap_or(u32::MAX);
    let state = status.map(|status| &status["state"]);
    let ran = |state: &Value| state["running"].is_object() || state["terminated"].is_object();
    if previous {
        return restarts.checked_sub(1).ok_or_else(|| {
            let message = format!("previous terminated container {container:?} in pod {name:?} not found");
            ApiError::bad_request(message)
        });
    }
    match state {
        Some(state) if ran(state) => Ok(restarts),
        // It waits to be started again: its last run is what there is.
        Some(_) if status.is_some_and(|status| status["lastState"]["terminated"].is_object()) => Ok(restarts),
        waiting => {
            let reason =
                waiting.and_then(|state| state["waiting"]["reason"].as_str()).unwrap_or("ContainerCreating");
            let message = format!("container {container:?} in pod {name:?} is waiting to start: {reason}");
            Err(ApiError::bad_request(message))
        }
    }
}

impl Api {
    /// Answers a request for a log.
    pub(super) fn log(&self, call: &Call) -> Result<Response<Body>, ApiError> {
        let pod = read(&*self.find(call)?)?;
        let query = &call.query;
        let (container, statuses) = container(&pod, query.text("container"))?;
        let count = |name: &str| -> Result<Option<usize>, ApiError> {
            Ok(query.number(name)?.and_then(|number| usize::try_from(number).ok()))
        };
        let ago = query.number("sinceSeconds")?.and_then(|seconds| u64::try_from(seconds).ok());
        let since = match (ago, query.text("sinceTime")) {
            (Some(seconds), _) => clock::wall().checked_sub(Duration::from_secs(seconds)),
            (None, "") => None,
            (None, time) => Some(object::read_time(time).ok_or_else(|| {
                ApiError::bad_request(format!("sinceTime: Invalid value: {time:?}: must be an RFC 3339 time"))
            })?),
        };
        if pod["spec"]["nodeName"].as_str().unwrap_or_default().is_empty() {
            let message = format!("pod {} does not have a host assigned", object::name(&pod));
            return Err(ApiError::bad_request(message));
        }
        let options = LogOptions {
            attempt: attempt(&pod, &container, statuses, query.flag("previous"))?,
            container,
            follow: query.flag("follow"),
            tail: count("tailLines")?,
            since,
            timestamps: query.flag("timestamps"),
            limit: count("limitBytes")?,
        };
        let word = |field: &str| object::text(&pod, field).to_owned();
        let pod_ref = PodRef { namespace: word("namespace"), name: word("name"), uid: word("uid") };
        let logs = self.logs.get().ok_or_else(|| {
            ApiError::new(503, "ServiceUnavailable", "this node is still starting; try again")
        })?;
        let stream = logs.open(&pod_ref, options)?;
        let mut response = text(StatusCode::OK, "");
        response.extensions_mut().insert(Unhurried);
        let frames = stream.map(|bytes| Ok::<_, Infallible>(Frame::data(bytes)));
        *response.body_mut() = StreamBody::new(frames).boxed_unsync();
        Ok(response)
    }
}

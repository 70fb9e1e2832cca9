//! A pod's log: which container's and which run's, and then the node's own words.

use super::write::read;
use super::{Api, Call};
use crate::api::identity::PodRef;
use crate::api::logs::LogOptions;
use crate::api::object;
use crate::api::status::ApiError;
use crate::clock;
use crate::pod::pretend;
use crate::server::http::{Body, text};
use crate::server::patience::Unhurried;
use crate::store::Key;
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

/// Which run is meant: the one that the status names, in the order in which the kubelet looks.
fn attempt(pod: &Value, container: &str, statuses: &str, previous: bool) -> Result<u32, ApiError> {
    let name = object::name(pod);
    let none = |why: &str| {
        let message = format!("container {container:?} in pod {name:?} {why}");
        Err(ApiError::bad_request(message))
    };
    let all = pod["status"][statuses].as_array();
    let Some(status) = all.into_iter().flatten().find(|status| status["name"] == container) else {
        return none("is not available");
    };
    let (state, last) = (&status["state"], &status["lastState"]["terminated"]);
    if previous {
        return run_of(last).ok_or_else(|| {
            let message = format!("previous terminated container {container:?} in pod {name:?} not found");
            ApiError::bad_request(message)
        });
    }
    let run = if state["running"].is_object() { run_of(status) } else { run_of(&state["terminated"]) };
    // Of one that waits to be started again, the last run is what there is.
    match run.or_else(|| run_of(last)) {
        Some(run) => Ok(run),
        None if state["terminated"].is_object() || last.is_object() => none("is terminated"),
        None => none(&format!("is waiting to start: {}", reason(state))),
    }
}

/// The run whose ID is there, as in `podbox://UID/NAME-RUN`.
fn run_of(status: &Value) -> Option<u32> {
    let (_, run) = status["containerID"].as_str()?.rsplit_once('-')?;
    run.parse().ok()
}

/// Why a container waits that has never run, in the words that belong to logs.
fn reason(state: &Value) -> &str {
    match state["waiting"]["reason"].as_str().unwrap_or("ContainerCreating") {
        "ErrImagePull" => "image can't be pulled",
        "ImagePullBackOff" => "trying and failing to pull image",
        reason => reason,
    }
}

impl Api {
    /// Refuses what is asked of a pod that runs nowhere: it has no node, or one that only pretends.
    pub(super) fn is_somewhere(&self, pod: &Value) -> Result<(), ApiError> {
        let (name, node) = (object::name(pod), pod["spec"]["nodeName"].as_str().unwrap_or_default());
        if node.is_empty() {
            return Err(ApiError::bad_request(format!("pod {name} does not have a host assigned")));
        }
        let entry = self.store.get("/nodes", &Key::new("", node));
        if entry.is_some_and(|entry| read(&entry).is_ok_and(|node| pretend::is_simulated(&node))) {
            let why = format!("pod {name} is on the simulated node {node}: nothing of it runs");
            return Err(ApiError::bad_request(why));
        }
        Ok(())
    }

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
        self.is_somewhere(&pod)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Which run of a container with this status is shown, and which as the previous one: or what is said instead.
    #[track_caller]
    fn check(status: Value, expected: [Result<u32, &str>; 2]) {
        let mut status = status;
        status["name"] = "c".into();
        let pod = json!({"metadata": {"name": "p"}, "status": {"containerStatuses": [status]}});
        let found = [false, true].map(|previous| attempt(&pod, "c", "containerStatuses", previous));
        let found = found.map(|found| found.map_err(|error| error.to_string()));
        assert_eq!(found, expected.map(|one| one.map_err(str::to_owned)));
    }

    fn ended(run: u32) -> Value {
        json!({"terminated": {"exitCode": 1, "containerID": format!("podbox://a-b/c-{run}")}})
    }

    #[test]
    fn the_run_that_is_shown_is_the_one_that_the_status_names() {
        const NO_PREVIOUS: Result<u32, &str> =
            Err("previous terminated container \"c\" in pod \"p\" not found");
        let waits = |reason: &str| json!({"waiting": {"reason": reason}});
        let running = json!({"running": {}});
        check(json!({"state": running, "containerID": "podbox://a-b/c-0"}), [Ok(0), NO_PREVIOUS]);
        check(
            json!({"state": running, "containerID": "podbox://a-b/c-7", "lastState": ended(6)}),
            [Ok(7), Ok(6)],
        );
        check(json!({"state": ended(7), "lastState": ended(6)}), [Ok(7), Ok(6)]);
        // In back-off the run that crashed last is both.
        let back_off = json!({"state": waits("CrashLoopBackOff"), "lastState": ended(7), "restartCount": 7});
        check(back_off, [Ok(7), Ok(7)]);
        // The run that was to follow was refused.
        let refused = waits("CreateContainerConfigError");
        check(json!({"state": refused, "lastState": ended(7), "restartCount": 7}), [Ok(7), Ok(7)]);
        let lost = json!({"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown"}});
        check(
            json!({"state": lost, "lastState": {}}),
            [Err("container \"c\" in pod \"p\" is terminated"), NO_PREVIOUS],
        );
        for (reason, words) in [
            ("ContainerCreating", "container \"c\" in pod \"p\" is waiting to start: ContainerCreating"),
            ("ErrImagePull", "container \"c\" in pod \"p\" is waiting to start: image can't be pulled"),
            (
                "ImagePullBackOff",
                "container \"c\" in pod \"p\" is waiting to start: trying and failing to pull image",
            ),
        ] {
            check(json!({"state": waits(reason)}), [Err(words), NO_PREVIOUS]);
        }
    }

    #[test]
    fn a_pod_that_was_never_begun_has_no_logs_to_show() {
        let pod = json!({"metadata": {"name": "p"}, "status": {"phase": "Failed"}});
        let said = attempt(&pod, "c", "containerStatuses", false).map_err(|error| error.to_string());
        assert_eq!(said, Err("container \"c\" in pod \"p\" is not available".to_owned()));
    }
}

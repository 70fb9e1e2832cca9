//! What tests do with the pods of a node: make them, look at them, wait for what they become.

use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use crate::host::IMAGE;
use crate::needs;
use crate::node::Node;
use crate::run::limit;
use crate::wait::{wait_for, wait_until};

/// Where pods are in the API.
pub const PODS: &str = "/api/v1/namespaces/default/pods";
const EVENTS: &str = "/api/v1/namespaces/default/events";

/// Between two looks at a node: it has its own work to do meanwhile.
pub fn pause() {
    sleep(Duration::from_millis(if needs::in_machine() { 100 } else { 10 }));
}

/// A container that runs a script of busybox's shell in the test image, with whatever else it has.
pub fn script(name: &str, text: &str, more: Value) -> Value {
    let mut container = json!({
        "name": name, "image": IMAGE, "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/busybox", "sh", "-c"], "args": [text],
    });
    let fields = container.as_object_mut().expect("it is an object");
    fields.extend(more.as_object().cloned().unwrap_or_default());
    container
}

/// A script that goes on until it is asked to end. It says when it can be: [`Node::wait_stays`].
pub const STAYS: &str = "trap 'exit 0' TERM; echo stays; while :; do sleep 0.1; done";

/// A container's status, wherever the pod has it.
pub fn container<'a>(pod: &'a Value, name: &str) -> &'a Value {
    let lists = ["initContainerStatuses", "containerStatuses"].map(|list| &pod["status"][list]);
    let mut all = lists.into_iter().filter_map(Value::as_array).flatten();
    all.find(|status| status["name"] == name).unwrap_or(&Value::Null)
}

/// Whether a pod is ready.
pub fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
}

/// Whether a pod is over.
pub fn is_over(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

impl Node {
    /// Creates these objects, all with one call.
    #[track_caller]
    pub fn create_all(&self, objects: &[Value]) {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        let file = self.host.file("objects.json", list.to_string());
        self.kubectl(&["create", "-f", file.to_str().expect("a plain path")]);
    }

    /// A pod, as the API has it.
    #[track_caller]
    pub fn pod(&self, name: &str) -> Value {
        self.get(&format!("{PODS}/{name}"))
    }

    /// Waits until a pod is as it should be; says what it was at the end if it never is.
    #[track_caller]
    pub fn wait_pod(&self, name: &str, what: &str, like: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_for(&format!("pod {name} {what}"), limit(), || {
                last = self.pod(name);
                let found = like(&last).then(|| last.clone());
                if found.is_none() {
                    pause();
                }
                found
            })
        }));
        found.unwrap_or_else(|_| {
            panic!("pod {name} never {what}: {:#}\n{}", last["status"], self.complained())
        })
    }

    /// Waits until a container that [`STAYS`] would heed that it is asked to end: when it runs, its shell may not have begun.
    #[track_caller]
    pub fn wait_stays(&self, name: &str, container: &str) {
        let says = || self.host.lines(name, container, 0).iter().any(|line| line == "stays");
        wait_until(&format!("{container} of {name} can be asked to end"), limit(), says);
    }

    /// Waits until `kubectl describe` tells all of this of a pod: what a person reads who wonders why it does not run.
    #[track_caller]
    pub fn wait_described(&self, name: &str, words: &[&str]) {
        let mut text = String::new();
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_for(name, limit(), || {
                text = self.kubectl(&["describe", "pod", name]);
                let narrow = text.split_whitespace().collect::<Vec<_>>().join(" ");
                words.iter().all(|word| narrow.contains(word)).then_some(())
            })
        }));
        assert!(found.is_ok(), "not all of {words:?} in {text}");
    }

    /// `reason message` of each Event of an object.
    #[track_caller]
    pub fn events(&self, name: &str) -> String {
        let list = self.events_of(name);
        let text = |of: &Value| of.as_str().unwrap_or_default().to_owned();
        list.iter().map(|event| text(&event["reason"]) + " " + &text(&event["message"]) + "\n").collect()
    }

    /// The Events of an object.
    #[track_caller]
    pub fn events_of(&self, name: &str) -> Vec<Value> {
        let list = self.get(&format!("{EVENTS}?fieldSelector=involvedObject.name%3D{name}"));
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// What a script prints that is executed in a container of the test image.
    #[track_caller]
    pub fn inside(&self, name: &str, container: &str, text: &str) -> String {
        self.kubectl(&["exec", name, "-c", container, "--", "/bin/busybox", "sh", "-c", text])
    }
}

/// A pod of this name that ends within a second when it is asked to.
pub fn pod(name: &str, mut spec: Value) -> Value {
    if spec["terminationGracePeriodSeconds"].is_null() {
        spec["terminationGracePeriodSeconds"] = 1.into();
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
}

//! Pods that change while they run: another image, labels, ephemeral containers; and `kubectl debug`, which makes them.

use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use podbox_tests::busybox::{self, NAMES};
use podbox_tests::needs;
use podbox_tests::node::Node;
use podbox_tests::run::limit;
use podbox_tests::terminal::Terminal;
use podbox_tests::wait::{wait_for, wait_until};
use serde_json::{Value, json};

/// A node with busybox' images; none, loudly, where the test cannot run.
fn node(test: &str) -> Option<Node> {
    needs::host(test)?;
    let node = Node::start(test)?;
    busybox::load(test, &node.host)?;
    Some(node)
}

/// Runs a pod of these containers, and waits until it is ready.
#[track_caller]
fn run_pod(node: &Node, name: &str, spec: Value) {
    let mut whole = json!({"terminationGracePeriodSeconds": 1, "restartPolicy": "Always"});
    let fields = whole.as_object_mut().expect("it is an object");
    fields.extend(spec.as_object().expect("it is an object").clone());
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": whole});
    let file = node.host.file(&format!("{name}.json"), pod.to_string());
    node.kubectl(&["apply", "-f", file.to_str().expect("the test's paths are text")]);
    node.kubectl(&["wait", "--for=condition=Ready", &format!("pod/{name}"), "--timeout=300s"]);
}

fn container(name: &str, image: &str, script: &str) -> Value {
    json!({"name": name, "image": image, "imagePullPolicy": "Never", "command": ["sh", "-c", script]})
}

/// kubectl with these arguments.
fn kubectl(node: &Node, args: &[&str]) -> Command {
    let mut command = node.client("kubectl");
    command.args(args).stdin(Stdio::null());
    command
}

fn pod(node: &Node, name: &str) -> Value {
    serde_json::from_str(&node.kubectl(&["get", "pod", name, "-o", "json"])).expect("kubectl prints JSON")
}

/// `reason message` of each Event of a pod.
fn events(node: &Node, pod: &str) -> String {
    let form = "jsonpath={range .items[*]}{.reason} {.message}{\"\\n\"}{end}";
    node.kubectl(&["get", "events", "--field-selector", &format!("involvedObject.name={pod}"), "-o", form])
}

#[track_caller]
fn wait_until_pod(node: &Node, name: &str, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
    wait_for(what, limit(), || Some(pod(node, name)).filter(&condition))
}

const TRAP: &str = "trap 'exit 0' TERM; echo version $(cat /version); while :; do sleep 0.1; done";

#[test]
fn a_pod_follows_its_later_versions() {
    let Some(node) = node("a_pod_follows_its_later_versions") else { return };
    let containers = json!([container("web", NAMES[0], TRAP), container("other", NAMES[0], TRAP)]);
    run_pod(&node, "changing", json!({"containers": containers}));
    let observed = |pod: &Value| pod["status"]["observedGeneration"].as_i64();
    let before =
        wait_until_pod(&node, "changing", "it says what it acted on", |pod| observed(pod) == Some(1));
    for condition in before["status"]["conditions"].as_array().expect("it has conditions") {
        if condition["type"] != "PodScheduled" {
            assert_eq!(condition["observedGeneration"], 1, "{condition}");
        }
    }

    // Another image: that container runs again, with it, and the other one stays.
    let says = || node.kubectl(&["logs", "changing", "-c", "web"]);
    wait_until("it can be asked to end", limit(), || says() == "version 1\n");
    node.kubectl(&["set", "image", "pod/changing", &format!("web={}", NAMES[1])]);
    let web = |pod: &Value| {
        let all = pod["status"]["containerStatuses"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|status| status["name"] == "web").unwrap_or_default()
    };
    let after = wait_until_pod(&node, "changing", "it runs again", |pod| {
        web(pod)["restartCount"] == 1 && web(pod)["ready"] == true && observed(pod) == Some(2)
    });
    assert_eq!(web(&after)["image"], NAMES[1]);
    assert_ne!(web(&after)["imageID"], web(&before)["imageID"]);
    assert_eq!(web(&after)["lastState"]["terminated"]["exitCode"], 0);
    wait_until("its log", limit(), || says() == "version 2\n");
    let killing = "Killing Container web definition changed, will be restarted\n";
    wait_until("the Event", limit(), || events(&node, "changing").contains(killing));
    let all = after["status"]["containerStatuses"].as_array().expect("it has two");
    let other = all.iter().find(|status| status["name"] == "other").expect("it has two");
    assert_eq!(other["restartCount"], 0);

    // An image that is not to be had is waited for, and forgotten for one that is.
    node.kubectl(&["set", "image", "pod/changing", "other=podbox.local/none:1"]);
    let other = |pod: &Value| {
        let all = pod["status"]["containerStatuses"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|status| status["name"] == "other").unwrap_or_default()
    };
    wait_until_pod(&node, "changing", "it waits for its image", |pod| {
        other(pod)["state"]["waiting"]["reason"] == "ErrImageNeverPull"
    });
    node.kubectl(&["set", "image", "pod/changing", &format!("other={}", NAMES[1])]);
    wait_until_pod(&node, "changing", "it runs again", |pod| {
        other(pod)["restartCount"] == 1 && other(pod)["ready"] == true && observed(pod) == Some(4)
    });

    // How long it may still be at it.
    node.kubectl(&["patch", "pod", "changing", "-p", "{\"spec\": {\"activeDeadlineSeconds\": 1}}"]);
    wait_until_pod(&node, "changing", "its time is over", |pod| {
        pod["status"]["reason"] == "DeadlineExceeded" && observed(pod) == Some(5)
    });
}

#[test]
fn a_change_outlives_the_daemon_that_was_told_of_it() {
    let Some(mut node) = node("a_change_outlives_the_daemon_that_was_told_of_it") else { return };
    run_pod(&node, "changing", json!({"containers": [container("web", NAMES[0], TRAP)]}));
    run_pod(&node, "staying", json!({"containers": [container("web", NAMES[0], TRAP)]}));
    node.kubectl(&["set", "image", "pod/changing", &format!("web={}", NAMES[1])]);
    node.restart(Signal::SIGKILL);
    let first = |pod: &Value| pod["status"]["containerStatuses"][0].clone();
    wait_until_pod(&node, "changing", "it runs the other image", |pod| {
        first(pod)["restartCount"] == 1 && first(pod)["ready"] == true
    });
    wait_until("its log", limit(), || node.kubectl(&["logs", "changing"]) == "version 2\n");
    assert_eq!(first(&pod(&node, "staying"))["restartCount"], 0);
}

#[test]
fn kubectl_debug_looks_into_a_running_pod() {
    let Some(mut node) = node("kubectl_debug_looks_into_a_running_pod") else { return };
    let script = "echo -n hidden > /proc/self/comm; while :; do sleep 0.1; done";
    run_pod(&node, "patient", json!({"containers": [container("main", NAMES[0], script)]}));

    // A shell in the container's processes, with its own files, in the pod's network.
    let debug = ["debug", "-it", "patient", "--target=main", "-c", "doctor", "--image", NAMES[1]];
    let args = [&debug[..], &["--image-pull-policy=Never", "--", "sh"]].concat();
    let mut shell = Terminal::run(kubectl(&node, &args), 30, 100);
    shell.press("\n");
    shell.wait("# ");
    shell.press("cat /proc/1/comm /version; hostname; echo ke''y\n");
    shell.wait("key");
    let screen = shell.screen().replace('\r', "");
    assert!(screen.contains("hidden\n2\npatient\n"), "{screen}");
    let doctor = |pod: &Value, name: &str| {
        let all = pod["status"]["ephemeralContainerStatuses"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|status| status["name"] == name).unwrap_or_default()
    };
    assert!(doctor(&pod(&node, "patient"), "doctor")["state"]["running"].is_object());
    shell.press("exit 7\n");
    shell.end();
    let ended = wait_until_pod(&node, "patient", "its end is told", |pod| {
        doctor(pod, "doctor")["state"]["terminated"].is_object()
    });
    assert_eq!(doctor(&ended, "doctor")["state"]["terminated"]["exitCode"], 7);
    assert!(node.kubectl(&["logs", "patient", "-c", "doctor"]).contains("hidden"));
    wait_until("the Event", limit(), || {
        let started = ["--field-selector", "involvedObject.name=patient,reason=Started"];
        let whom = ["-o", "jsonpath={.items[*].involvedObject.fieldPath}"];
        node.kubectl(&[&["get", "events"][..], &started, &whom].concat())
            .contains("spec.ephemeralContainers{doctor}")
    });

    // One that stays: commands run in it, and a daemon after this one knows it.
    let debug = ["debug", "patient", "-c", "stays", "--image", NAMES[0], "--image-pull-policy=Never"];
    let script = "trap 'exit 0' TERM; echo here; while :; do sleep 0.1; done";
    node.kubectl(&[&debug[..], &["--", "sh", "-c", script]].concat());
    wait_until_pod(&node, "patient", "it runs", |pod| doctor(pod, "stays")["state"]["running"].is_object());
    node.restart(Signal::SIGKILL);
    assert_eq!(node.kubectl(&["exec", "patient", "-c", "stays", "--", "cat", "/version"]), "1\n");
    let there = pod(&node, "patient");
    assert_eq!(doctor(&there, "doctor")["state"]["terminated"]["exitCode"], 7, "it is not run again");
    assert_eq!(doctor(&there, "stays")["restartCount"], 0);
    assert_eq!(there["status"]["containerStatuses"][0]["restartCount"], 0);
    assert_eq!(there["status"]["phase"], "Running");
    let described = node.kubectl(&["describe", "pod", "patient"]);
    assert!(described.contains("Ephemeral Containers:"), "{described}");

    // With the pod it goes.
    node.kubectl(&["delete", "pod", "patient", "--timeout=300s"]);
}

#[test]
fn kubectl_debug_copies_a_pod_and_looks_at_the_node() {
    let Some(node) = node("kubectl_debug_copies_a_pod_and_looks_at_the_node") else { return };
    let script = "echo -n hidden > /proc/self/comm; while :; do sleep 0.1; done";
    run_pod(&node, "patient", json!({"containers": [container("main", NAMES[0], script)]}));

    // In a copy, everything sees everything.
    let debug = ["debug", "-it", "patient", "--copy-to=copy", "--share-processes", "-c", "doctor"];
    let image = ["--image", NAMES[1], "--image-pull-policy=Never", "--profile=general", "--", "sh"];
    let mut shell = Terminal::run(kubectl(&node, &[&debug[..], &image].concat()), 30, 100);
    shell.press("\n");
    shell.wait("# ");
    shell.press("until grep -q hidden /proc/[0-9]*/comm; do :; done; cat /version; echo se''en\n");
    shell.wait("seen");
    assert!(shell.screen().replace('\r', "").contains("2\nseen"), "{}", shell.screen());
    shell.press("exit\n");
    shell.end();
    assert_eq!(pod(&node, "copy")["spec"]["shareProcessNamespace"], true);
    assert_eq!(pod(&node, "patient")["status"]["phase"], "Running");

    // On the node, its processes, its network and its files.
    let name = node.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"]);
    node.host.file("mark", "of the host");
    let target = format!("node/{name}");
    let debug = ["debug", "-it", &target, "--image", NAMES[1], "--image-pull-policy=Never"];
    let args = [&debug[..], &["--profile=general", "--", "sh"]].concat();
    let mut shell = Terminal::run(kubectl(&node, &args), 30, 100);
    shell.press("\n");
    shell.wait("# ");
    let mark = node.host.dir.join("mark").display().to_string();
    shell.press(&format!(
        "cat /host{mark}; echo; grep -c . /proc/{}/comm; echo lo''oked\n",
        std::process::id()
    ));
    shell.wait("looked");
    let screen = shell.screen().replace('\r', "");
    assert!(screen.contains("of the host\n1\nlooked"), "{screen}");
    shell.press("exit\n");
    shell.end();
    node.kubectl(&["delete", "pods", "--all", "--timeout=300s"]);
}

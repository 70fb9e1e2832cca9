//! Pods that cannot run as things are: what they, their Events and `kubectl describe` say of it, and that they run once the
//! cause is mended, without a new pod. Through the API, on the real kernel.

use podbox_tests::busybox;
use podbox_tests::host::Host;
use podbox_tests::needs;
use podbox_tests::node::Node;
use podbox_tests::pods::{STAYS, container, is_over, is_ready, pod, script};
use serde_json::{Value, json};

/// An image whose user is not in its own `/etc/passwd`.
const GHOST: &str = "podbox.local/ghost:1";

/// A node that tries again every second; none, loudly, where the test cannot run.
fn node(test: &str) -> Option<Node> {
    needs::host(test)?;
    needs::program(test, "kubectl")?;
    let mut host = Host::new(test)?;
    host.set("PODBOX_RESTART_BACKOFF_MAX", "1");
    Some(Node::on(host))
}

/// Why a container waits: reason and message.
fn waits<'a>(pod: &'a Value, name: &str) -> (&'a str, &'a str) {
    let waiting = &container(pod, name)["state"]["waiting"];
    (waiting["reason"].as_str().unwrap_or_default(), waiting["message"].as_str().unwrap_or_default())
}

fn class(handler: &str) -> Value {
    json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "late"}, "handler": handler})
}

fn map(key: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {key: "1"}})
}

#[test]
fn what_is_refused_before_a_program_runs_is_no_run_and_goes_well_once_it_is_mended() {
    let test = "what_is_refused_before_a_program_runs_is_no_run_and_goes_well_once_it_is_mended";
    let (Some(()), Some(node)) = (needs::file(test, "/bin/busybox"), node(test)) else { return };
    busybox::load_as(&node.host, GHOST, 3, &json!({"User": "ghost"}));
    let beside = || script("other", STAYS, json!({}));

    let ghost = json!({"name": "c", "image": GHOST, "imagePullPolicy": "Never"});
    let ghost = json!({"restartPolicy": "Never", "containers": [ghost, beside()]});
    let part = json!({"volumeMounts": [{"name": "v", "mountPath": "/part", "subPath": "out"}]});
    let whole = || json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]});
    let link = json!({
        "volumes": [{"name": "v", "emptyDir": {}}],
        "initContainers": [script("link", "/bin/busybox ln -s /etc /v/out", whole())],
        "containers": [script("c", STAYS, part), script("other", STAYS, whole())],
    });
    let key = json!({"configMapKeyRef": {"name": "settings", "key": "wanted"}});
    let unset = script("c", STAYS, json!({"env": [{"name": "X", "valueFrom": key}]}));
    let unset = json!({"restartPolicy": "Never", "containers": [unset, beside()]});
    let key = json!({"secretKeyRef": {"name": "login", "key": "key"}});
    let binary = script("c", STAYS, json!({"env": [{"name": "X", "valueFrom": key}]}));
    let binary = json!({"containers": [binary, beside()]});
    // The byte 0xff.
    let login =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login"}, "data": {"key": "/w=="}});
    let classed = json!({"runtimeClassName": "late", "containers": [script("c", STAYS, json!({}))]});
    let nowhere = script("c", STAYS, json!({"workingDir": "/etc/hostname"}));
    let nowhere = json!({"restartPolicy": "Never", "containers": [nowhere]});
    let sysctls = json!([{"name": "net.core.somaxconn", "value": "512"}]);
    let denied = json!({
        "securityContext": {"sysctls": sysctls}, "containers": [script("c", STAYS, json!({}))],
    });
    let name = node.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"]);
    let bound = |more: Value| {
        let mut spec = json!({"nodeName": name, "containers": [script("c", STAYS, json!({}))]});
        spec.as_object_mut().expect("it is an object").extend(more.as_object().cloned().unwrap_or_default());
        spec
    };
    let mut labelled = pod("labelled", bound(json!({})));
    labelled["metadata"]["labels"] = json!({"kubernetes.io/os": "windows"});
    let mut asks = pod("asks", bound(json!({"hostUsers": false})));
    asks["metadata"]["annotations"] = json!({"podbox.io/init": "d"});
    node.create_all(&[class("other"), map("other"), login]);
    node.create_all(&[
        pod("ghost", ghost),
        pod("link", link),
        pod("unset", unset),
        pod("binary", binary),
        pod("classed", classed),
        pod("nowhere", nowhere),
        pod("denied", denied),
        pod("foreign", bound(json!({"os": {"name": "windows"}}))),
        asks,
        labelled,
    ]);

    let refused = |name: &str, reason: &str, words: &str| {
        let pod = node.wait_pod(name, "says why it waits", |pod| waits(pod, "c").0 == reason);
        let (_, message) = waits(&pod, "c");
        assert!(message.contains(words), "{message}");
        assert_eq!(container(&pod, "c")["restartCount"], 0);
        node.wait_pod(name, "has its other container", |pod| container(pod, "other")["ready"] == true);
        node.wait_described(name, &[&format!("Reason: {reason}"), "Warning Failed", "kubelet", words]);
    };
    refused("ghost", "CreateContainerError", "user \"ghost\" is not in the image's /etc/passwd");
    let sub_path = "failed to prepare subPath for volumeMount \"v\" of container \"c\"";
    refused("link", "CreateContainerConfigError", sub_path);
    refused("unset", "CreateContainerConfigError", "couldn't find key wanted in ConfigMap default/settings");
    refused("binary", "CreateContainerConfigError", "key key in Secret default/login is not UTF-8");
    let no_runtime = "failed to get sandbox runtime: no runtime for \"other\" is configured";
    node.wait_described("classed", &["Warning FailedCreatePodSandBox", no_runtime]);
    assert_eq!(node.pod("classed")["status"]["message"], Value::Null, "the Event says it");

    node.kubectl(&["set", "image", "pod/ghost", &format!("c={}", podbox_tests::host::IMAGE)]);
    node.inside("link", "other", "rm /v/out && mkdir /v/out");
    node.kubectl(&["patch", "configmap", "settings", "-p", "{\"data\": {\"wanted\": \"2\"}}"]);
    node.kubectl(&["patch", "secret", "login", "-p", "{\"stringData\": {\"key\": \"text\"}}"]);
    node.kubectl(&["delete", "runtimeclass", "late"]);
    node.create_all(&[class("podbox")]);
    for name in ["link", "unset", "binary", "classed"] {
        let pod = node.wait_pod(name, "runs", is_ready);
        assert_eq!(container(&pod, "c")["restartCount"], 0);
    }
    // That image has its own command, which needs to be told what to do.
    node.wait_pod("ghost", "has had a run", |pod| container(pod, "c")["state"]["terminated"].is_object());

    // A place to work that is none: all was made for the program, so that was its run.
    let nowhere = node.wait_pod("nowhere", "is over", is_over);
    let ended = &container(&nowhere, "c")["state"]["terminated"];
    assert_eq!((&ended["reason"], &ended["exitCode"]), (&json!("StartError"), &json!(128)), "{ended}");
    let denied = node.wait_pod("denied", "is refused", is_over);
    assert_eq!(denied["status"]["reason"], "SysctlForbidden");
    assert!(denied["status"]["startTime"].is_string(), "{}", denied["status"]);
    let sysctl = "forbidden sysctl: \"net.core.somaxconn\" not allowlisted";
    node.wait_described("denied", &["Reason: SysctlForbidden", "Warning SysctlForbidden", sysctl]);

    // Nor does what is for another system, or asks for what there is not, wait to be mended.
    for (name, reason, words) in [
        ("foreign", "PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS"),
        (
            "labelled",
            "PodOSSelectorNodeLabelDoesNotMatch",
            "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label",
        ),
        (
            "asks",
            "UnsupportedPodSpec",
            "spec.hostUsers: not supported yet: there are no user namespaces yet; metadata.annotations[podbox.io/init]: \
             invalid: it is no list of containers of the pod, like `web, worker`",
        ),
    ] {
        let refused = node.wait_pod(name, "is refused", is_over);
        assert_eq!(refused["status"]["phase"], "Failed");
        assert_eq!(refused["status"]["reason"], reason);
        assert_eq!(refused["status"]["message"], format!("Pod was rejected: {words}"));
        node.wait_described(name, &[&format!("Warning {reason}"), words]);
    }
    let log = node.client("kubectl").args(["logs", "foreign"]).output().expect("kubectl starts");
    let said = String::from_utf8_lossy(&log.stderr).into_owned();
    assert!(said.contains("container \"c\" in pod \"foreign\" is not available"), "{said}");
}

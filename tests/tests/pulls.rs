//! How pods come by their images: from a registry that wants to know who asks, and what is said of it meanwhile.

use std::process::Command;

use podbox_tests::needs;
use podbox_tests::node::Node;
use podbox_tests::registry::{ADDRESS, PASSWORD, Registry, USER};
use podbox_tests::run::limit;
use podbox_tests::wait::{wait_for, wait_until};
use serde_json::{Value, json};

fn apply(node: &Node, object: &Value) {
    let name = object["metadata"]["name"].as_str().expect("it has a name");
    let file = node.host.file(&format!("{name}.json"), object.to_string());
    node.kubectl(&["apply", "-f", file.to_str().expect("the test's paths are text")]);
}

/// A pod with the image and these secrets.
fn pod(name: &str, image: &str, policy: &str, secrets: &[&str]) -> Value {
    let secrets: Vec<Value> = secrets.iter().map(|name| json!({"name": name})).collect();
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
        "terminationGracePeriodSeconds": 1, "restartPolicy": "Never", "imagePullSecrets": secrets,
        "containers": [{"name": "main", "image": image, "imagePullPolicy": policy, "args": ["signals"]}]}})
}

/// A secret with a login for each of these places.
fn secret(name: &str, places: &[(&str, &str)]) -> Value {
    let auths = places
        .iter()
        .map(|(place, password)| (place.to_string(), json!({"username": USER, "password": password})));
    let config = json!({"auths": auths.collect::<serde_json::Map<_, _>>()}).to_string();
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
        "type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": config}})
}

/// `reason message` of each Event of a pod, in the order of their first time.
fn events(node: &Node, pod: &str) -> String {
    let of_it = format!("involvedObject.name={pod}");
    let form = "jsonpath={range .items[*]}{.reason} {.message}{\"\\n\"}{end}";
    node.kubectl(&["get", "events", "--field-selector", &of_it, "-o", form])
}

#[track_caller]
fn wait_for_event(node: &Node, pod: &str, event: &str) {
    wait_until(&format!("the event {event:?}"), limit(), || {
        events(node, pod).lines().any(|line| line == event)
    });
}

/// Why a pod's container waits.
fn waiting(node: &Node, pod: &str, field: &str) -> String {
    let form = format!("jsonpath={{.status.containerStatuses[0].state.waiting.{field}}}");
    node.kubectl(&["get", "pod", pod, "-o", &form])
}

#[track_caller]
fn wait_ready(node: &Node, pod: &str) {
    node.kubectl(&["wait", "--for=condition=Ready", &format!("pod/{pod}"), "--timeout=300s"]);
}

#[test]
fn a_closed_registry_lets_in_who_has_the_secret_and_nobody_else() {
    let test = "a_closed_registry_lets_in_who_has_the_secret_and_nobody_else";
    let Some(()) = needs::host(test) else { return };
    let Some(node) = Node::start(test) else { return };
    let Some(registry) = Registry::start(test, &node.host) else { return };
    let image = registry.push("team/private:1");

    // Without a login, or with what is none, it is not to be had; and it is said why.
    apply(&node, &pod("nobody", &image, "Always", &["absent"]));
    wait_until("the pull fails", limit(), || waiting(&node, "nobody", "reason") == "ImagePullBackOff");
    let message = waiting(&node, "nobody", "message");
    assert!(message.contains("refused access"), "{message}");
    let missing = "FailedToRetrieveImagePullSecret Unable to retrieve some image pull secrets (absent); attempting \
                   to pull the image may not succeed.";
    wait_for_event(&node, "nobody", missing);
    wait_for_event(&node, "nobody", &format!("Pulling Pulling image {image:?}"));
    wait_for_event(&node, "nobody", "Failed Error: ErrImagePull");
    wait_for_event(&node, "nobody", &format!("BackOff Back-off pulling image {image:?}"));
    let failed = format!("Failed Failed to pull image {image:?}: ");
    wait_until("the pull's failure is told", limit(), || events(&node, "nobody").contains(&failed));

    // The most particular place first, then the next, until one is let in.
    let places = [(&*format!("{ADDRESS}/team"), "sesame"), ("https://*.0.0.1:5000/v2/", PASSWORD)];
    apply(&node, &secret("logins", &places));
    apply(&node, &pod("guest", &image, "Always", &["logins"]));
    wait_ready(&node, "guest");
    let pulled = format!("Pulled Successfully pulled image {image:?} in ");
    let line = wait_for(&pulled, limit(), || {
        events(&node, "guest").lines().find(|line| line.starts_with(&pulled)).map(str::to_owned)
    });
    assert!(line.contains(" including waiting). Image size: ") && line.ends_with(" bytes."), "{line}");

    // What is here is not asked for by who has the login that it was had with;
    apply(&node, &pod("twin", &image, "IfNotPresent", &["logins"]));
    wait_ready(&node, "twin");
    let present =
        format!("Pulled Container image {image:?} already present on machine and can be accessed by the pod");
    wait_for_event(&node, "twin", &present);
    assert!(!events(&node, "twin").contains("Pulling"));
    let id = node.kubectl(&["get", "pod", "twin", "-o", "jsonpath={.status.containerStatuses[0].imageID}"]);
    assert!(id.starts_with(&format!("{ADDRESS}/team/private@sha256:")), "{id}");
    // by anybody else it is, until they have one.
    apply(&node, &pod("neighbour", &image, "IfNotPresent", &["later"]));
    wait_until("the pull fails", limit(), || waiting(&node, "neighbour", "reason") == "ImagePullBackOff");
    apply(&node, &pod("shy", &image, "Never", &[]));
    wait_until("it may not have it", limit(), || waiting(&node, "shy", "reason") == "ErrImageNeverPull");
    assert!(waiting(&node, "shy", "message").contains("does not have the proper auth (image secret)"));
    apply(&node, &secret("later", &[(ADDRESS, PASSWORD)]));
    wait_ready(&node, "neighbour");

    // What cannot be had is told, and had once it is there: a name that is none, a registry that is not there, an image
    // that is pushed later.
    let late = format!("{ADDRESS}/team/late:1");
    for (name, image) in [("wrong", "UPPER:1"), ("dead", "127.0.0.1:9/x:1"), ("late", &late)] {
        apply(&node, &pod(name, image, "IfNotPresent", &["logins"]));
    }
    wait_until("its name is none", limit(), || waiting(&node, "wrong", "reason") == "InvalidImageName");
    let wrong = "Failed to apply default image tag \"UPPER:1\": couldn't parse image name \"UPPER:1\": invalid reference format";
    assert_eq!(waiting(&node, "wrong", "message"), wrong);
    wait_for_event(&node, "wrong", &format!("InspectFailed {wrong}"));
    wait_for_event(&node, "wrong", "Failed Error: InvalidImageName");
    wait_until("nobody answers", limit(), || waiting(&node, "dead", "reason") == "ImagePullBackOff");
    assert!(
        waiting(&node, "dead", "message").contains("127.0.0.1:9"),
        "{}",
        waiting(&node, "dead", "message")
    );
    for name in ["wrong", "dead"] {
        node.kubectl(&["set", "image", &format!("pod/{name}"), &format!("main={image}")]);
        wait_ready(&node, name);
    }
    wait_until("it is not there", limit(), || waiting(&node, "late", "reason") == "ImagePullBackOff");
    registry.push("team/late:1");
    wait_ready(&node, "late");
    apply(&node, &pod("stubborn", &format!("{ADDRESS}/team/other:1"), "Never", &["logins"]));
    wait_until("it is not there", limit(), || waiting(&node, "stubborn", "reason") == "ErrImageNeverPull");
    let never =
        format!("Container image \"{ADDRESS}/team/other:1\" is not present with pull policy of Never");
    assert_eq!(waiting(&node, "stubborn", "message"), never);

    // What kubectl makes serves too, also by way of the pod's service account.
    node.kubectl(&[
        "create",
        "secret",
        "docker-registry",
        "made",
        &format!("--docker-server={ADDRESS}"),
        &format!("--docker-username={USER}"),
        &format!("--docker-password={PASSWORD}"),
    ]);
    let patch = "{\"imagePullSecrets\": [{\"name\": \"made\"}]}";
    wait_until("the namespace has its service account", limit(), || {
        let patched =
            node.client("kubectl").args(["patch", "serviceaccount", "default", "-p", patch]).output();
        patched.expect("kubectl starts").status.success()
    });
    apply(&node, &pod("account", &image, "Always", &[]));
    wait_ready(&node, "account");

    assert!(!node.complained().contains(PASSWORD), "{}", node.complained());
    let found = Command::new("grep").args(["-r", PASSWORD]).arg(node.host.dir.join("logs")).output();
    assert!(found.expect("grep starts").stdout.is_empty(), "a password is in a log");
}

//! What is left of runs and pods that are over: which logs are shown, and which go; and sandboxes that do not want to go.

use std::fs;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::Signal;
use podbox_tests::host::Host;
use podbox_tests::needs;
use podbox_tests::node::Node;
use podbox_tests::pods::{STAYS, container, is_over, is_ready, pod, script};
use podbox_tests::run::limit;
use podbox_tests::wait::{wait_for, wait_until};
use serde_json::{Value, json};

/// The pod's own directory of logs.
fn logs_of(node: &Node, name: &str) -> std::path::PathBuf {
    let uid = node.kubectl(&["get", "pod", name, "-o", "jsonpath={.metadata.uid}"]);
    node.host.dir.join(format!("logs/default_{name}_{uid}"))
}

/// Why a container waits.
fn waits(pod: &Value) -> &Value {
    &container(pod, "c")["state"]["waiting"]["reason"]
}

/// Puts a file in the place of another, for this test alone.
fn cover(path: &str, by: &Path) {
    mount(Some(by), path, None::<&str>, MsFlags::MS_BIND, None::<&str>).expect("the test may mount");
}

#[test]
fn what_is_over_is_shown_by_its_status_and_taken_away_whole() {
    let test = "what_is_over_is_shown_by_its_status_and_taken_away_whole";
    let (Some(()), Some(())) = (needs::host(test), needs::program(test, "kubectl")) else { return };
    let Some(host) = Host::new(test) else { return };
    let resolver = host.file("resolv.conf", "nameserver 192.0.2.1\nsearch one.example\n");
    let hosts = host.file("hosts", "127.0.0.1 localhost\n192.0.2.7 one\n");
    cover("/etc/resolv.conf", &resolver);
    cover("/etc/hosts", &hosts);
    let mut node = Node::on(host);

    let volume = || json!([{"name": "v", "emptyDir": {}}]);
    let mounted = json!([{"name": "v", "mountPath": "/v"}]);
    let text = "echo x >>/v/runs; echo run $(($(grep -c . /v/runs) - 1)); exit 1";
    let crashes = script("c", text, json!({"volumeMounts": mounted}));
    let text = "echo $WANTED; until [ -e /v/go ]; do sleep 0.1; done; rm /v/go; exit 1";
    let key =
        json!({"name": "WANTED", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "wanted"}}});
    let refused = script("c", text, json!({"volumeMounts": mounted, "env": [key]}));
    let short = || json!({"containers": [script("c", &format!("echo here; {STAYS}"), json!({}))]});
    let stuck = script("c", STAYS, json!({"volumeMounts": mounted}));
    let names = |hosts: bool| {
        let text = if hosts { "grep 192 /etc/hosts" } else { "cat /etc/resolv.conf" };
        json!({"restartPolicy": "Never", "dnsPolicy": "Default", "hostNetwork": hosts,
            "containers": [script("c", text, json!({}))]})
    };
    let map = |data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": data});
    node.create_all(&[
        map(json!({"wanted": "first"})),
        pod("crashes", json!({"volumes": volume(), "containers": [crashes]})),
        pod("refused", json!({"volumes": volume(), "containers": [refused]})),
        pod("stuck", json!({"volumes": volume(), "containers": [stuck]})),
        pod("short", short()),
        pod("stays", short()),
        pod("dns-one", names(false)),
        pod("hosts-one", names(true)),
    ]);
    let log = |name: &str, more: &[&str]| {
        let output = node.client("kubectl").args(["logs", name]).args(more).output().expect("kubectl starts");
        String::from_utf8_lossy(if output.status.success() { &output.stdout } else { &output.stderr })
            .into_owned()
    };

    // What the host calls others is read for each pod.
    for (name, said) in [("dns-one", "nameserver 192.0.2.1\n"), ("hosts-one", "192.0.2.7 one\n")] {
        node.wait_pod(name, "is over", is_over);
        assert!(log(name, &[]).contains(said), "{name}: {}", log(name, &[]));
    }
    fs::write(&resolver, "nameserver 192.0.2.2\n").expect("the test's tmpfs has room");
    fs::write(&hosts, "192.0.2.8 two\n").expect("the test's tmpfs has room");
    node.create_all(&[pod("dns-two", names(false)), pod("hosts-two", names(true))]);
    for (name, said) in [("dns-two", "nameserver 192.0.2.2\n"), ("hosts-two", "192.0.2.8 two\n")] {
        node.wait_pod(name, "is over", is_over);
        assert!(log(name, &[]).contains(said), "{name}: {}", log(name, &[]));
    }

    // Something in its volume cannot be removed: the pod stays until it can.
    let stuck = node.wait_pod("stuck", "runs", is_ready);
    let uid = stuck["metadata"]["uid"].as_str().expect("it has a uid");
    let own = node.host.dir.join("state/pods").join(uid);
    let held = own.join("volume-v/held");
    fs::create_dir(&held).unwrap_or_else(|error| panic!("{}: {error}", held.display()));
    mount(Some("tmpfs"), &held, Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("the test may mount");
    node.kubectl(&["delete", "pod", "stuck", "--grace-period=1", "--wait=false"]);
    node.wait_described("stuck", &["Warning FailedKillPod", "error killing pod: ", "cannot remove "]);
    assert!(node.pod("stuck")["metadata"]["deletionTimestamp"].is_string());

    // In back-off, what crashed last is both the last run and the one before.
    let (shown, restarts) = wait_for("it is in back-off", limit(), || {
        let before = node.pod("crashes");
        let shown = [log("crashes", &[]), log("crashes", &["--previous"])];
        let after = node.pod("crashes");
        let restarts = &container(&after, "c")["restartCount"];
        let same = container(&before, "c")["restartCount"] == *restarts;
        let backs_off = [&before, &after].iter().all(|pod| waits(pod) == "CrashLoopBackOff");
        (same && backs_off).then(|| (shown, restarts.clone()))
    });
    assert_eq!(shown, [format!("run {restarts}\n"), format!("run {restarts}\n")]);

    // A run that was refused is none: the one before it is what there is.
    node.wait_pod("refused", "runs", is_ready);
    node.kubectl(&["patch", "configmap", "settings", "-p", r#"{"data": {"wanted": null}}"#]);
    node.inside("refused", "c", "touch /v/go");
    let refused = node.wait_pod("refused", "is refused", |pod| waits(pod) == "CreateContainerConfigError");
    assert_eq!(container(&refused, "c")["restartCount"], 0);
    assert_eq!([log("refused", &[]), log("refused", &["--previous"])], ["first\n", "first\n"]);
    node.kubectl(&["patch", "configmap", "settings", "-p", r#"{"data": {"wanted": "second"}}"#]);
    let again = node.wait_pod("refused", "runs again", is_ready);
    assert_eq!(container(&again, "c")["restartCount"], 1);
    wait_until("it has written", limit(), || log("refused", &[]) == "second\n");
    assert_eq!(log("refused", &["--previous"]), "first\n");

    // Logs go with their pod, though nobody has looked for what is over while it was there.
    let [short, stays] = ["short", "stays"].map(|name| {
        node.wait_pod(name, "runs", is_ready);
        logs_of(&node, name)
    });
    let foreign = node.host.dir.join("logs/default_foreign_1234/c/0.log");
    node.host.file("logs/default_foreign_1234/c/0.log", "theirs\n");
    assert!(short.exists() && stays.exists());
    node.kubectl(&["delete", "pod", "short", "--grace-period=1", "--timeout=300s"]);
    node.restart(Signal::SIGKILL);
    wait_until("its logs are gone", limit(), || !short.exists());
    assert!(stays.exists() && foreign.exists());

    assert!(held.exists() && node.pod("stuck")["metadata"]["deletionTimestamp"].is_string());
    umount2(&held, MntFlags::MNT_DETACH).expect("it is mounted");
    node.kubectl(&["wait", "pod/stuck", "--for=delete", "--timeout=300s"]);
    wait_until("nothing of it is left", limit(), || !own.exists());
}

//! Why containers ended: who killed them is told by `podbox why`, by status and by an Event, of ends that no podbox saw, too.
//! Exit codes say nothing here: nearly all of these are 137.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podbox_tests::comeback::{Node, container, spec};
use podbox_tests::needs;
use podbox_tests::run::limit;
use podbox_tests::wait::{wait_equal, wait_for, wait_until};
use serde_json::{Value, json};

const SLEEP: &str = "exec /bin/testjobs sleep 3600000";
/// As pid 1 it hears no signal but KILL.
const STUBBORN: &str = "trap '' TERM; while :; do sleep 1; done";

/// What `podbox why POD ARGS` prints.
#[track_caller]
fn why(node: &Node, pod: &str, args: &[&str]) -> String {
    let output = node.host.podbox().args(["why", pod]).args(args).output().expect("podbox starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("it prints text")
}

/// The last end of the pod's container `c`.
fn last(node: &Node, pod: &str) -> Value {
    let pods: Value = serde_json::from_str(&why(node, pod, &["-o", "json"])).expect("it prints JSON");
    let ends = pods[0]["containers"][0]["ends"].as_array().expect("a list");
    ends.last().expect("it has ended").clone()
}

fn first_process(node: &Node, uid: &str) -> Pid {
    Pid::from_raw(node.pid(uid).expect("it runs"))
}

/// The messages of a pod's Events with this reason.
fn told(node: &Node, pod: &str, reason: &str) -> Vec<String> {
    let events = node.ask("GET", "/api/v1/namespaces/default/events", None);
    let ours = |event: &&Value| event["involvedObject"]["name"] == pod && event["reason"] == reason;
    let events = events["items"].as_array().expect("a list").iter().filter(ours);
    events.map(|event| event["message"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn an_end_is_told_with_who_caused_it_though_no_podbox_saw_it() {
    let test = "an_end_is_told_with_who_caused_it_though_no_podbox_saw_it";
    let Some(()) = needs::file(test, "/sys/kernel/btf/vmlinux") else { return };
    let Some(mut node) = Node::start(test) else { return };
    // With an init it is the program of which this is told all the same.
    let killed = node.create_with("killed", &json!({"podbox.io/init": "c"}), spec("Never", SLEEP));
    let away = node.create("away", spec("Never", SLEEP));
    node.create("code", spec("Never", "exit 137"));
    let mut sick = spec("Always", STUBBORN);
    sick["containers"][0]["livenessProbe"] =
        json!({"exec": {"command": ["/bin/false"]}, "failureThreshold": 1, "periodSeconds": 1});
    node.create("sick", sick);
    let hog = needs::has_controller("memory").then(|| {
        let gate = "until [ -e /v/go ]; do sleep 0.05; done; /bin/testjobs sleep 3600000 & exec /bin/testjobs eat 200";
        let mut hog = spec("Never", gate);
        hog["containers"][0]["resources"] = json!({"limits": {"memory": "32Mi"}});
        node.create("hog", hog)
    });
    for name in ["killed", "away"].into_iter().chain(hog.as_ref().map(|_| "hog")) {
        node.wait(name, "is ready", |pod| container(pod)["ready"] == true);
    }
    kill(first_process(&node, &killed), Signal::SIGKILL).expect("it runs");
    let pod = node.wait("killed", "has failed", |pod| pod["status"]["phase"] == "Failed");
    let message = container(&pod)["state"]["terminated"]["message"].clone();
    let own = std::fs::read_to_string("/proc/self/comm").expect("a process has a name");
    let by = format!("by {} ({}), a process of the host", own.trim(), std::process::id());
    assert_eq!(message, format!("SIGKILL, sent {by}"));
    let end = last(&node, "killed");
    assert_eq!((&end["cause"]["by"], &end["cause"]["message"]), (&json!("process"), &message), "{end}");
    let died = format!("Container c died: SIGKILL, sent {by}");
    wait_equal("an Event tells of it", limit(), &vec![died], || told(&node, "killed", "ContainerDied"));

    node.wait("sick", "was restarted", |pod| container(pod)["restartCount"] != 0);
    let end = last(&node, "sick");
    let late = "SIGKILL, sent by podbox, for it had not ended within 1 s: Container c failed liveness probe, will be restarted";
    assert_eq!((&end["cause"]["by"], &end["cause"]["message"]), (&json!("podbox"), &json!(late)), "{end}");

    let pod = node.wait("code", "has failed", |pod| pod["status"]["phase"] == "Failed");
    let by_itself = "exited with 137 by itself: no signal ended this process";
    assert_eq!(container(&pod)["state"]["terminated"]["message"], by_itself);
    assert_eq!(last(&node, "code")["cause"]["message"], by_itself);
    let text = why(&node, "default/code", &[]);
    assert!(
        text.contains("container c: Error (137)\n") && text.contains(", code 137\n    exited with 137 "),
        "{text}"
    );

    node.end(Signal::SIGKILL);
    kill(first_process(&node, &away), Signal::SIGKILL).expect("it runs");
    if let Some(uid) = &hog {
        let go = node.host.dir.join("state/pods").join(uid).join("volume-v/go");
        std::fs::write(go, "").expect("its volume is there");
        let events = node.host.cgroup.join(format!("podbox.slice/burstable/pod{uid}/c-0/cgroup.events"));
        let is_empty = || std::fs::read_to_string(&events).unwrap_or_default().contains("populated 0");
        wait_until("the hog is killed without podbox", limit(), is_empty);
    }
    node.serve();
    node.wait("away", "has failed", |pod| pod["status"]["phase"] == "Failed");
    let end = last(&node, "away");
    assert_eq!(end["cause"]["sender"]["pid"], std::process::id(), "{end}");
    let end = last(&node, "sick");
    assert_eq!(end["cause"]["by"], "podbox", "what was known before is known still: {end}");
    // Of pods that had left the node, too.
    assert_eq!(last(&node, "killed")["cause"]["message"], message);
    assert_eq!(last(&node, "code")["code"], 137);
    if hog.is_some() {
        let pod = node.wait("hog", "has failed", |pod| pod["status"]["phase"] == "Failed");
        let ended = &container(&pod)["state"]["terminated"];
        assert_eq!(ended["reason"], "OOMKilled", "{ended}");
        let message = ended["message"].as_str().unwrap_or_default();
        assert!(message.starts_with("the OOM killer took testjobs ("), "{message}");
        assert!(message.contains("limit of 32Mi was hit with 3"), "{message}");
        let told = wait_for("an Event tells of it", limit(), || {
            Some(told(&node, "hog", "OOMKilling")).filter(|told| !told.is_empty())
        });
        let [one] = told.as_slice() else { panic!("one decision, told as {told:?}") };
        assert!(one.starts_with("Out of memory: the ") && one.contains("killed testjobs ("), "{one}");
        assert!(one.contains("; with the chosen one's group); the allocation was "), "{one}");
    }
    node.delete("away", 0);
    node.wait("away", "is gone", |pod| pod["code"] == 404);
    // The API lets it go at once; on the node its sandbox may still have to.
    let gone = format!("pod default/away ({away}): no longer on this node");
    let head = || why(&node, "away", &[]).lines().next().unwrap_or_default().to_owned();
    wait_equal("it is remembered", limit(), &gone, head);
    node.stop();
}

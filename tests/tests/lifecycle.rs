//! A pod's life as people see it through the API: hooks, last words, deadlines, restarts, conditions, and what
//! `kubectl describe` says where something fails.

use std::fs;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use podbox_tests::host::{Host, IMAGE};
use podbox_tests::manifest;
use podbox_tests::needs;
use podbox_tests::node::Node;
use podbox_tests::pods::{container, is_over as over};
use podbox_tests::run::{Run, limit};
use podbox_tests::wait::{wait_for, wait_until};
use serde_json::{Value, json};

/// Ends by TERM, and says so in the file that the test reads.
const MAIN: &str = "trap 'echo term >> $LOG; exit 0' TERM; echo main >> $LOG; while :; do sleep 0.05; done";

/// A container that runs a script of busybox's shell, with `/h` as the test's own directory.
fn script(name: &str, script: &str, fields: Value) -> Value {
    let mut container = json!({
        "name": name, "image": IMAGE, "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/busybox", "sh", "-c", script],
        "env": [{"name": "LOG", "value": "/h/log"}],
        "volumeMounts": [{"name": "h", "mountPath": "/h"}],
    });
    let more = fields.as_object().cloned().unwrap_or_default();
    container.as_object_mut().expect("it is one").extend(more);
    container
}

fn sh(script: &str) -> Value {
    json!({"exec": {"command": ["/bin/busybox", "sh", "-c", script]}})
}

/// A node, and what a pod writes outside itself.
struct Life {
    node: Node,
}

impl Life {
    fn start(test: &str) -> Option<Life> {
        needs::host(test)?;
        Some(Life { node: Node::start(test)? })
    }

    fn dir(&self, pod: &str) -> PathBuf {
        let dir = self.node.host.dir.join("h").join(pod);
        fs::create_dir_all(&dir).expect("the test's tmpfs has room");
        dir
    }

    /// Creates a pod; `spec` without the volume.
    fn create(&self, name: &str, mut spec: Value) {
        spec["volumes"] = json!([{"name": "h", "hostPath": {"path": self.dir(name)}}]);
        if spec["terminationGracePeriodSeconds"].is_null() {
            spec["terminationGracePeriodSeconds"] = 5.into();
        }
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec});
        let file = self.node.host.file(&format!("{name}.json"), pod.to_string());
        self.node.kubectl(&["create", "-f", file.to_str().expect("the path is UTF-8")]);
    }

    fn pod(&self, name: &str) -> Value {
        let text = self.node.kubectl(&["get", "pod", name, "-o", "json"]);
        serde_json::from_str(&text).expect("kubectl prints JSON")
    }

    #[track_caller]
    fn wait(&self, name: &str, what: &str, so: impl Fn(&Value) -> bool) -> Value {
        wait_for(&format!("{name} {what}"), limit(), || Some(self.pod(name)).filter(|pod| so(pod)))
    }

    /// The lines that a pod wrote.
    fn log(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.dir(name).join("log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    #[track_caller]
    fn wait_log(&self, name: &str, line: &str) {
        wait_until(&format!("{name} writes {line}"), limit(), || self.log(name).iter().any(|l| l == line));
    }

    /// Waits until `kubectl describe` says all of this.
    #[track_caller]
    fn described(&self, name: &str, words: &[&str]) {
        wait_until(&format!("kubectl describe pod {name} says {words:?}"), limit(), || {
            let said = self.node.kubectl(&["describe", "pod", name]);
            let said: Vec<&str> = said.split_whitespace().collect();
            let said = said.join(" ");
            words.iter().all(|word| said.contains(word))
        });
    }

    fn delete(&self, name: &str) {
        self.node.kubectl(&["delete", "pod", name]);
    }
}

fn condition<'a>(pod: &'a Value, kind: &str) -> &'a Value {
    let mut all = pod["status"]["conditions"].as_array().into_iter().flatten();
    all.find(|condition| condition["type"] == kind).unwrap_or(&Value::Null)
}

#[test]
fn hooks_come_after_the_start_and_before_the_stop_signal_and_hold_up_what_they_should() {
    let test = "hooks_come_after_the_start_and_before_the_stop_signal_and_hold_up_what_they_should";
    let Some(life) = Life::start(test) else { return };
    let post_start = sh("until [ -e /h/go ]; do sleep 0.05; done; echo post >> /h/log");
    let hooks = json!({"lifecycle": {"postStart": post_start, "preStop": sh("echo pre >> /h/log")}});
    let after = "trap 'exit 0' TERM; echo after >> /h/log; while :; do sleep 0.05; done";
    let containers = [script("main", MAIN, hooks), script("after", after, json!({}))];
    life.create("hooked", json!({"terminationGracePeriodSeconds": 60, "containers": containers}));
    life.wait_log("hooked", "main");
    let told = |pod: &Value| container(pod, "main")["state"]["waiting"].is_object();
    let pod = life.wait("hooked", "tells of its containers", told);
    let main = container(&pod, "main");
    assert_eq!(main["state"]["waiting"]["reason"], "ContainerCreating", "{main}");
    assert_eq!((&pod["status"]["phase"], &main["started"]), (&json!("Pending"), &json!(false)));
    let ready = condition(&pod, "Ready");
    assert_eq!(ready["reason"], "ContainersNotReady", "{ready}");
    assert_eq!(ready["message"], "containers with unready status: [main after]");
    fs::write(life.dir("hooked").join("go"), "").expect("the test's tmpfs has room");
    life.node.kubectl(&["wait", "pod/hooked", "--for=condition=Ready", "--timeout=300s"]);
    life.wait_log("hooked", "after");
    life.delete("hooked");
    assert_eq!(life.log("hooked"), ["main", "post", "after", "pre", "term"]);

    // Over HTTP, to a port by its name; by TCP; and after a while of nothing.
    let server = json!({
        "name": "server", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "args": ["http", "8080"],
        "ports": [{"name": "web", "containerPort": 8080}],
        "lifecycle": {"preStop": {"httpGet": {"path": "/status/503", "port": "web"}}},
    });
    let get = json!({"lifecycle": {"postStart": {"tcpSocket": {"port": 8080}},
        "preStop": {"sleep": {"seconds": 1}}}});
    let waiting = json!({"name": "first", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "args": ["fetch", "http://127.0.0.1:8080/", "--retry-until", "20000"],
        "restartPolicy": "Never"});
    let mut server_first = server.clone();
    server_first["restartPolicy"] = "Always".into();
    life.create(
        "net",
        json!({"terminationGracePeriodSeconds": 60, "initContainers": [server_first, waiting],
            "containers": [script("main", MAIN, get)]}),
    );
    life.node.kubectl(&["wait", "pod/net", "--for=condition=Ready", "--timeout=300s"]);
    life.delete("net");
    assert_eq!(life.log("net"), ["main", "term"]);
    let events = life.node.kubectl(&["get", "events", "-o", "jsonpath={.items[*].reason}"]);
    assert!(!events.contains("Hook"), "an HTTP answer is one, whatever its status: {events}");
}

#[test]
fn hooks_that_fail_are_told_and_do_what_upstream_has_them_do() {
    let Some(life) = Life::start("hooks_that_fail_are_told_and_do_what_upstream_has_them_do") else { return };
    // The hook waits until the run can be asked to end.
    let main = "trap 'exit 0' TERM; touch /h/up; while :; do sleep 0.05; done";
    let hook = sh("until [ -e /h/up ]; do sleep 0.05; done; rm /h/up; echo oh no; exit 3");
    let fails = json!({"lifecycle": {"postStart": hook}});
    life.create(
        "never",
        json!({"restartPolicy": "Never", "containers": [script("main", main, fails.clone())]}),
    );
    life.create("always", json!({"containers": [script("main", main, fails)]}));
    let pre_stop = json!({"lifecycle": {"preStop": sh("exit 4")}});
    life.create("prestop", json!({"containers": [script("main", MAIN, pre_stop)]}));
    let long = json!({"lifecycle": {"preStop": sh("exec sleep 600")}});
    life.create(
        "long",
        json!({"terminationGracePeriodSeconds": 1, "containers": [script("main", MAIN, long)]}),
    );

    let pod = life.wait("never", "is over", over);
    assert_eq!(pod["status"]["phase"], "Succeeded", "it ended well when it was asked to");
    life.described(
        "never",
        &["FailedPostStartHook", "PostStartHook failed", "Killing", "FailedPostStartHook"],
    );
    let waits = |pod: &Value| container(pod, "main")["state"]["waiting"]["reason"] == "CrashLoopBackOff";
    let pod = life.wait("always", "waits", waits);
    assert_eq!(container(&pod, "main")["lastState"]["terminated"]["exitCode"], 0, "{pod}");
    life.described(
        "always",
        &["Waiting", "CrashLoopBackOff", "FailedPostStartHook", "Back-off restarting failed container main"],
    );

    for name in ["prestop", "long"] {
        life.wait_log(name, "main");
        life.delete(name);
        assert_eq!(life.log(name), ["main", "term"], "{name}");
    }
    let form = "jsonpath={range .items[*]}{.involvedObject.name} {.message}{\"\\n\"}{end}";
    let events = wait_for("an Event tells of the hook", limit(), || {
        let events = life.node.kubectl(&["get", "events", "-o", form]);
        events.contains("prestop PreStopHook failed").then_some(events)
    });
    assert!(!events.contains("oh no"), "what a hook says may be a secret: {events}");
    // Both are in back-off or over: nothing holds up their end.
    life.node.kubectl(&["delete", "pods", "--all"]);
}

#[test]
fn last_words_are_in_the_status() {
    let Some(life) = Life::start("last_words_are_in_the_status") else { return };
    let user = json!({"terminationMessagePath": "/dev/words/own", "securityContext": {"runAsUser": 1000, "runAsGroup": 1000}});
    let fallback = json!({"terminationMessagePolicy": "FallbackToLogsOnError"});
    let containers = json!([
        script("words", "printf DONE > /dev/termination-log", json!({})),
        script("user", "printf OWN > /dev/words/own; exit 3", user),
        script("log", "echo first; echo second >&2; exit 1", fallback.clone()),
        script("well", "echo said; exit 0", fallback.clone()),
        script("both", "echo said; printf FILE > /dev/termination-log; exit 1", fallback),
        script("silent", "echo said; exit 1", json!({})),
        script("long", "head -c 5000 /dev/zero | tr '\\\\0' x > /dev/termination-log", json!({})),
    ]);
    life.create("ends", json!({"restartPolicy": "Never", "containers": containers}));
    let pod = life.wait("ends", "is over", over);
    let message = |name: &str| container(&pod, name)["state"]["terminated"]["message"].clone();
    let all = ["words", "user", "well", "both", "silent"].map(message);
    assert_eq!(json!(all), json!(["DONE", "OWN", null, "FILE", null]));
    // Two pipes: which is read first, nobody promises.
    let log = message("log");
    let mut log: Vec<&str> = log.as_str().unwrap_or_default().lines().collect();
    log.sort_unstable();
    assert_eq!(log, ["first", "second"]);
    assert_eq!(message("long").as_str().map(str::len), Some((12 << 10) / 7));
    life.described("ends", &["Message: DONE", "first", "second"]);
}

#[test]
fn a_deadline_ends_a_pod_also_across_a_restart_of_podbox() {
    let Some(mut life) = Life::start("a_deadline_ends_a_pod_also_across_a_restart_of_podbox") else { return };
    life.create("late", json!({"activeDeadlineSeconds": 5, "containers": [script("main", MAIN, json!({}))]}));
    life.wait_log("late", "main");
    life.node.restart(Signal::SIGKILL);
    let pod = life.wait("late", "is over", over);
    let status = &pod["status"];
    assert_eq!(
        (&status["phase"], &status["reason"]),
        (&json!("Failed"), &json!("DeadlineExceeded")),
        "{status}"
    );
    assert_eq!(status["message"], "Pod was active on the node longer than the specified deadline");
    assert_eq!(condition(&pod, "Ready")["reason"], "PodFailed");
    assert_eq!(life.log("late"), ["main", "term"], "it was asked to end");
    life.described("late", &["Reason: DeadlineExceeded", "Normal DeadlineExceeded"]);
}

#[test]
fn sidecars_end_last_the_last_one_first_and_a_second_delete_hastens_the_end() {
    let test = "sidecars_end_last_the_last_one_first_and_a_second_delete_hastens_the_end";
    let Some(life) = Life::start(test) else { return };
    let side = |name: &str| {
        let text = format!(
            "trap 'echo {name} >> /h/log; exit 0' TERM; touch /h/up-{name}; while :; do sleep 0.05; done"
        );
        script(name, &text, json!({"restartPolicy": "Always"}))
    };
    let main = script(
        "main",
        "trap 'sleep 0.3; echo main >> /h/log; exit 0' TERM; touch /h/up-main; while :; do sleep 0.05; done",
        json!({}),
    );
    let inits = [side("one"), side("two")];
    life.create(
        "sides",
        json!({"terminationGracePeriodSeconds": 60, "initContainers": inits, "containers": [main]}),
    );
    let up = |name: &str| life.dir("sides").join(format!("up-{name}")).exists();
    wait_until("all know what to do", limit(), || ["one", "two", "main"].into_iter().all(up));
    life.node.kubectl(&["wait", "pod/sides", "--for=condition=Ready", "--timeout=300s"]);
    life.delete("sides");
    assert_eq!(life.log("sides"), ["main", "two", "one"]);

    let deaf = || script("main", "trap '' TERM; echo up >> /h/log; while :; do sleep 0.05; done", json!({}));
    for (name, args) in [("slow", &["--grace-period=1"][..]), ("forced", &["--grace-period=0", "--force"])] {
        life.create(name, json!({"terminationGracePeriodSeconds": 600, "containers": [deaf()]}));
        life.wait_log(name, "up");
        life.node.kubectl(&["delete", "pod", name, "--wait=false"]);
        assert_eq!(life.pod(name)["metadata"]["deletionGracePeriodSeconds"], 600);
        life.node.kubectl(&[&["delete", "pod", name], args].concat());
    }
    // Nothing of either is left, also of the one that the API let go first.
    wait_until("no pod's sandbox is left", limit(), || {
        let left = fs::read_dir(life.node.host.dir.join("run/sandboxes"));
        left.into_iter().flatten().count() == 0
    });
}

#[test]
fn each_container_may_be_restarted_by_its_own_rules() {
    let Some(life) = Life::start("each_container_may_be_restarted_by_its_own_rules") else { return };
    let count = |name: &str, code: u8, again: u8| {
        format!("echo {name} >> /h/log; [ $(grep -c {name} /h/log) -gt 1 ] && exit {again}; exit {code}")
    };
    let rules = json!({"restartPolicy": "Never", "restartPolicyRules":
        [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]});
    let containers = json!([
        script("rule", &count("rule", 42, 1), rules),
        script("failure", &count("failure", 7, 0), json!({"restartPolicy": "OnFailure"})),
        script("never", &count("never", 1, 1), json!({})),
    ]);
    life.create("rules", json!({"restartPolicy": "Never", "containers": containers}));
    let pod = life.wait("rules", "is over", over);
    let ends = ["rule", "failure", "never"].map(|name| {
        let status = container(&pod, name);
        json!([status["restartCount"], status["state"]["terminated"]["exitCode"]])
    });
    assert_eq!(json!(ends), json!([[1, 1], [1, 0], [0, 1]]), "{pod}");
    assert_eq!(pod["status"]["phase"], "Failed");
}

#[test]
fn all_of_a_pod_begins_anew_when_a_container_asks_for_that() {
    let Some(life) = Life::start("all_of_a_pod_begins_anew_when_a_container_asks_for_that") else { return };
    let rules = json!([{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [88]}}]);
    let rules = json!({"restartPolicy": "Never", "restartPolicyRules": rules});
    let asks = "echo asks >> /h/log; [ $(grep -c asks /h/log) -gt 1 ] && exec sleep 1000; \
                until grep -q main /h/log; do sleep 0.05; done; exit 88";
    let spec = json!({
        "restartPolicy": "Never",
        "initContainers": [script("init", "echo init >> /h/log", json!({}))],
        "containers": [script("main", MAIN, json!({})), script("asks", asks, rules)],
    });
    life.create("anew", spec);
    let restarts =
        |pod: &Value| ["init", "main", "asks"].map(|name| container(pod, name)["restartCount"].clone());
    let pod = life.wait("anew", "runs again", |pod| {
        restarts(pod) == [1, 1, 1].map(Value::from) && condition(pod, "Ready")["status"] == "True"
    });
    assert_eq!(condition(&pod, "AllContainersRestarting")["status"], "False");
    assert_eq!(container(&pod, "asks")["lastState"]["terminated"]["exitCode"], 88);
    assert_eq!(container(&pod, "main")["lastState"]["terminated"]["exitCode"], 137, "nobody asked it");
    wait_until("each has said so twice", limit(), || {
        let mut log = life.log("anew");
        log.sort();
        log == ["asks", "asks", "init", "init", "main", "main"]
    });
    life.node.kubectl(&["delete", "pod", "anew", "--grace-period=1"]);
}

#[test]
fn a_pod_is_ready_once_its_gates_are_open() {
    let Some(life) = Life::start("a_pod_is_ready_once_its_gates_are_open") else { return };
    let gates = json!([{"conditionType": "example.com/gate"}]);
    life.create("gated", json!({"readinessGates": gates, "containers": [script("main", MAIN, json!({}))]}));
    life.node.kubectl(&["wait", "pod/gated", "--for=condition=ContainersReady", "--timeout=300s"]);
    let ready = life.wait("gated", "says why it is not ready", |pod| {
        condition(pod, "Ready")["reason"] == "ReadinessGatesNotReady"
    });
    let message = "corresponding condition of pod readiness gate \"example.com/gate\" does not exist.";
    assert_eq!(condition(&ready, "Ready")["message"], message);
    let patch = |status: &str| {
        let condition = json!([{"type": "example.com/gate", "status": status}]);
        let patch = json!({"status": {"conditions": condition}}).to_string();
        life.node.kubectl(&["patch", "pod", "gated", "--subresource=status", "-p", &patch]);
    };
    patch("True");
    life.node.kubectl(&["wait", "pod/gated", "--for=condition=Ready", "--timeout=300s"]);
    patch("False");
    let closed = life.wait("gated", "is not ready", |pod| condition(pod, "Ready")["status"] == "False");
    let message = "the status of pod readiness gate \"example.com/gate\" is not \"True\", but False";
    assert_eq!(condition(&closed, "Ready")["message"], message);
    life.delete("gated");
}

#[test]
fn what_keeps_a_container_from_running_is_told_and_mended_without_a_new_pod() {
    let test = "what_keeps_a_container_from_running_is_told_and_mended_without_a_new_pod";
    let Some(life) = Life::start(test) else { return };
    let absent = json!({"name": "main", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["/bin/absent"]});
    let other = script("other", MAIN, json!({}));
    life.create("absent", json!({"containers": [absent, other]}));
    life.wait_log("absent", "main");
    let pod = life.wait("absent", "waits", |pod| {
        // The others are not harmed.
        container(pod, "main")["state"]["waiting"]["reason"] == "CrashLoopBackOff"
            && container(pod, "other")["ready"] == true
    });
    let last = &container(&pod, "main")["lastState"]["terminated"];
    assert_eq!((&last["reason"], &last["exitCode"]), (&json!("StartError"), &json!(128)), "{last}");
    life.described(
        "absent",
        &["Reason: CrashLoopBackOff", "Reason: StartError", "Warning Failed", "/bin/absent"],
    );

    let env =
        json!({"env": [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "x"}}}]});
    life.create(
        "unset",
        json!({"restartPolicy": "Never", "containers": [script("main", "echo $X > /h/log", env)]}),
    );
    let reason = "CreateContainerConfigError";
    let pod =
        life.wait("unset", "waits", |pod| container(pod, "main")["state"]["waiting"]["reason"] == reason);
    assert_eq!(pod["status"]["phase"], "Pending");
    let message = &container(&pod, "main")["state"]["waiting"]["message"];
    assert_eq!(message, "configmap \"settings\" not found");
    life.described(
        "unset",
        &["Reason: CreateContainerConfigError", "Error: configmap \"settings\" not found"],
    );
    life.node.kubectl(&["delete", "pods", "--all", "--grace-period=1"]);
}

#[test]
fn a_restart_of_podbox_calls_no_hook_again_whose_answer_it_had() {
    let Some(mut life) = Life::start("a_restart_of_podbox_calls_no_hook_again_whose_answer_it_had") else {
        return;
    };
    let pre_stop = sh("echo pre >> /h/log; until [ -e /h/go ]; do sleep 0.05; done");
    let hooks = json!({"lifecycle": {"postStart": sh("echo post >> /h/log"), "preStop": pre_stop}});
    let containers = json!([script("main", MAIN, hooks)]);
    life.create("kept", json!({"terminationGracePeriodSeconds": 60, "containers": containers}));
    life.node.kubectl(&["wait", "pod/kept", "--for=condition=Ready", "--timeout=300s"]);
    life.node.restart(Signal::SIGKILL);
    life.node.kubectl(&["delete", "pod", "kept", "--wait=false"]);
    life.wait_log("kept", "pre");
    life.node.restart(Signal::SIGKILL);
    // Nobody knows what came of it, so it is called once more.
    let calls = |life: &Life| life.log("kept").iter().filter(|line| *line == "pre").count();
    wait_until("the preStop hook is called again", limit(), || calls(&life) == 2);
    fs::write(life.dir("kept").join("go"), "").expect("the test's tmpfs has room");
    life.node.kubectl(&["wait", "pod/kept", "--for=delete", "--timeout=300s"]);
    let mut log = life.log("kept");
    log[..2].sort();
    assert_eq!(log, ["main", "post", "pre", "pre", "term"]);
}

#[test]
fn the_longest_wait_between_restarts_is_the_nodes_to_say() {
    let Some(host) = Host::new("the_longest_wait_between_restarts_is_the_nodes_to_say") else { return };
    let count = "echo run >> /v/runs; [ $(grep -c run /v/runs) -eq 5 ]";
    let counts = manifest::script("c", count, "volumeMounts: [{name: v, mountPath: /v}]");
    let spec =
        format!("restartPolicy: OnFailure, volumes: [{{name: v, emptyDir: {{}}}}], containers: [{counts}]");
    let file = host.file("pod.yaml", manifest::pod("crashes", &spec));
    let mut command = host.podbox();
    command.args(["run", "--restart-backoff-max", "1"]).arg(file);
    // By the usual waits this would take 70 s.
    Run::start(command, &host.dir).end().expect(0);
    host.assert_clean();
}

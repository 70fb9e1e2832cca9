//! Fields of pods that do what they say, one pod for many of them: through the API, on the real kernel.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::Signal;
use podbox_tests::busybox;
use podbox_tests::host::{Host, entries};
use podbox_tests::needs;
use podbox_tests::node::Node;
use podbox_tests::pods::{STAYS, container, is_over, is_ready, pod, script};
use podbox_tests::run::limit;
use podbox_tests::wait::{wait_for, wait_until};
use serde_json::{Value, json};

/// A pod's cgroup.
fn group(node: &Node, name: &str) -> PathBuf {
    let pod = node.pod(name);
    let uid = pod["metadata"]["uid"].as_str().expect("it has a uid").to_owned();
    let class = pod["status"]["qosClass"].as_str().expect("it has a class").to_lowercase();
    node.host.cgroup.join(format!("podbox.slice/{class}/pod{uid}"))
}

/// The first process of a container's run.
fn pid(node: &Node, name: &str, container: &str, run: u32) -> String {
    let procs = group(node, name).join(format!("{container}-{run}/cgroup.procs"));
    let procs = fs::read_to_string(&procs).unwrap_or_else(|error| panic!("{}: {error}", procs.display()));
    procs.lines().next().expect("it runs").to_owned()
}

fn map(kind: &str, name: &str, fields: Value) -> Value {
    let mut object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}});
    let whole = object.as_object_mut().expect("it is an object");
    whole.extend(fields.as_object().cloned().expect("it is an object"));
    object
}

#[test]
fn a_container_has_the_rights_the_variables_and_the_files_that_its_pod_says() {
    let test = "a_container_has_the_rights_the_variables_and_the_files_that_its_pod_says";
    let Some(node) = Node::start(test) else { return };
    let text = "id -u; id -g; id -G; grep -E '^(CapPrm|CapBnd|NoNewPrivs)' /proc/self/status | grep -o '[0-9a-f]*$'; \
                touch /x 2>&1 | grep -o 'Read-only.*'; stat -c '%a %g' /v; touch /v/x; stat -c %g /v/x";
    let own = json!({
        "volumeMounts": [{"name": "v", "mountPath": "/v"}],
        "securityContext": {"readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]}},
    });
    let rights = json!({
        "restartPolicy": "Never", "containers": [script("c", text, own)], "volumes": [{"name": "v", "emptyDir": {}}],
        "securityContext": {"runAsUser": 1000, "runAsGroup": 3000, "fsGroup": 2000, "supplementalGroups": [4000],
            "supplementalGroupsPolicy": "Strict", "fsGroupChangePolicy": "OnRootMismatch"},
    });
    let text = "env | grep -E '^(MAP_|SECRET_|web_|WEB_)' | sort; sha256sum </f/bytes | cut -c1-8; cat /f/memory /f/cpu";
    let of = |resource: &str, divisor: &str| {
        json!({"path": resource.split('.').next_back(), "resourceFieldRef":
            {"containerName": "c", "resource": resource, "divisor": divisor}})
    };
    let own = json!({
        "envFrom": [{"prefix": "MAP_", "configMapRef": {"name": "map"}},
            {"prefix": "SECRET_", "secretRef": {"name": "secret"}},
            {"configMapRef": {"name": "none", "optional": true}}],
        "volumeMounts": [{"name": "f", "mountPath": "/f"}],
        "resources": {"requests": {"memory": "16Mi", "cpu": "250m"}},
    });
    let sources = json!([
        {"configMap": {"name": "map", "items": [{"key": "bytes", "path": "bytes"}]}},
        {"downwardAPI": {"items": [of("requests.memory", "1Mi"), of("requests.cpu", "1m")]}},
    ]);
    let variables = json!({
        "restartPolicy": "Never", "enableServiceLinks": false, "containers": [script("c", text, own)],
        "volumes": [{"name": "f", "projected": {"sources": sources}}],
    });
    let port = json!({"ports": [{"containerPort": 53, "hostPort": 5353, "protocol": "UDP"}]});
    let name = node.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"]);
    let huge = json!({"resources": {"requests": {"cpu": "1000000"}}});
    let pages = json!({"resources": {"limits": {"cpu": "1m", "hugepages-2Mi": "2Mi"}}});
    let confined = json!({"securityContext": {"appArmorProfile": {"type": "RuntimeDefault"}}});
    node.kubectl(&["create", "service", "clusterip", "web", "--tcp=80:80"]);
    node.create_all(&[
        // The bytes 0xff 0x00.
        map("ConfigMap", "map", json!({"data": {"a": "1"}, "binaryData": {"bytes": "/wA="}})),
        map("Secret", "secret", json!({"stringData": {"b": "hidden"}})),
        pod("rights", rights),
        pod("variables", variables),
        pod("port", json!({"containers": [script("c", STAYS, port)]})),
        pod("huge", json!({"nodeName": name, "containers": [script("c", STAYS, huge)]})),
        pod("pages", json!({"containers": [script("c", STAYS, pages)]})),
        pod("confined", json!({"containers": [script("c", STAYS, confined)]})),
    ]);

    let printed = |name: &str| -> Vec<String> {
        node.wait_pod(name, "is over", is_over);
        node.kubectl(&["logs", name]).lines().map(str::to_owned).collect()
    };
    let none = "0000000000000000";
    let expected =
        ["1000", "3000", "3000 2000 4000", none, none, "1", "Read-only file system", "2777 2000", "2000"];
    assert_eq!(printed("rights"), expected, "{}", node.complained());
    let user = &node.pod("rights")["status"]["containerStatuses"][0]["user"]["linux"];
    assert_eq!(user, &json!({"uid": 1000, "gid": 3000, "supplementalGroups": [2000, 3000, 4000]}));
    let expected = ["MAP_a=1", "SECRET_b=hidden", "ea5dbf95", "16250"];
    let variables = printed("variables");
    assert_eq!(variables, expected, "{}", node.complained());

    let huge = node.wait_pod("huge", "is refused", is_over);
    assert_eq!(huge["status"]["reason"], "OutOfcpu");
    let message = huge["status"]["message"].as_str().unwrap_or_default();
    let words = "Pod was rejected: Node didn't have enough resource: cpu, requested: 1000000000, used: ";
    assert!(message.starts_with(words), "{message}");
    let confined = node.wait_pod("confined", "is refused", is_over);
    assert_eq!(confined["status"]["reason"], "AppArmor");
    let message = confined["status"]["message"].as_str().unwrap_or_default();
    assert!(message.starts_with("Pod was rejected: Cannot enforce AppArmor: "), "{message}");
    let waits = |pod: &Value| pod["status"].to_string().contains("Insufficient hugepages-2Mi");
    node.wait_pod("pages", "waits for huge pages", waits);

    // A datagram to the node's port reaches the pod's, where the test answers in its place.
    node.wait_pod("port", "runs", is_ready);
    let network = fs::File::open(format!("/proc/{}/ns/net", pid(&node, "port", "c", 0))).expect("it runs");
    let answering = thread::spawn(move || {
        setns(network, CloneFlags::CLONE_NEWNET).expect("root may enter it");
        let server = UdpSocket::bind("0.0.0.0:53").expect("nobody else has it");
        server.set_read_timeout(Some(limit())).expect("it is a time");
        let mut buffer = [0; 64];
        let (length, from) = server.recv_from(&mut buffer).expect("a datagram comes");
        server.send_to(&buffer[..length], from).expect("its sender is there");
    });
    let client = UdpSocket::bind("0.0.0.0:0").expect("there are ports");
    client.set_read_timeout(Some(Duration::from_millis(100))).expect("it is a time");
    let mut buffer = [0; 64];
    wait_until("an answer", limit(), || {
        client.send_to(b"hello", "10.85.0.1:5353").is_ok() && client.recv_from(&mut buffer).is_ok()
    });
    assert_eq!(&buffer[..5], b"hello");
    answering.join().expect("it has answered");
}

#[test]
fn a_sidecar_that_crashes_comes_back_signals_are_those_that_were_asked_for_and_no_run_leaves_anything() {
    let test =
        "a_sidecar_that_crashes_comes_back_signals_are_those_that_were_asked_for_and_no_run_leaves_anything";
    // Nothing of it is up to the kernel's version.
    let Some(()) = needs::host(test) else { return };
    let (Some(()), Some(())) = (needs::program(test, "kubectl"), needs::file(test, "/bin/busybox")) else {
        return;
    };
    let Some(mut host) = Host::new(test) else { return };
    host.set("PODBOX_RESTART_BACKOFF_MAX", "1");
    let marks = host.dir.join("marks");
    fs::create_dir(&marks).expect("the test's tmpfs has room");
    fs::set_permissions(&marks, fs::Permissions::from_mode(0o777)).expect("it is there");
    busybox::load_as(&host, "podbox.local/stops:1", 3, &json!({"StopSignal": "SIGUSR2"}));
    let mut node = Node::on(host);
    let volumes = || json!([{"name": "h", "hostPath": {"path": marks}}]);
    let mounts = || json!([{"name": "h", "mountPath": "/h"}]);

    let crashes = "echo run >>/h/side; if [ $(grep -c run /h/side) = 1 ]; then until [ -e /h/crash ]; do sleep 0.05; done; \
                   exit 3; fi; trap 'exit 0' TERM; while :; do sleep 0.1; done";
    let side = script("side", crashes, json!({"restartPolicy": "Always", "volumeMounts": mounts()}));
    let init = script("init", "exit 0", json!({}));
    let paired = json!({
        "volumes": volumes(), "initContainers": [side, init], "containers": [script("main", STAYS, json!({}))],
    });
    let heeds = |signal: &str| {
        format!(
            "trap 'echo {signal} >>/h/$HOSTNAME; exit 0' {signal}; touch /h/up-$HOSTNAME; while :; do sleep 0.05; done"
        )
    };
    let own = json!({"volumeMounts": mounts(), "lifecycle": {"stopSignal": "SIGUSR1"}});
    let own = json!({
        "os": {"name": "linux"}, "volumes": volumes(), "containers": [script("c", &heeds("USR1"), own)],
    });
    let of_image = json!({
        "name": "c", "image": "podbox.local/stops:1", "imagePullPolicy": "Never", "volumeMounts": mounts(),
        "command": ["sh", "-c", heeds("USR2").replace("touch", "echo >")],
    });
    let of_image = json!({"volumes": volumes(), "containers": [of_image]});
    let restarts = script(
        "c",
        "echo run >>/h/runs; [ $(grep -c run /h/runs) = 6 ] && exec sleep 1000000; exit 1",
        json!({"volumeMounts": mounts()}),
    );
    let restarts = json!({"volumes": volumes(), "containers": [restarts]});
    node.create_all(&[
        pod("paired", paired),
        pod("own", own),
        pod("image", of_image),
        pod("restarts", restarts),
    ]);

    node.wait_pod("paired", "runs", is_ready);
    fs::write(marks.join("crash"), "").expect("the test's tmpfs has room");
    let paired = node.wait_pod("paired", "has its sidecar again", |pod| {
        let side = container(pod, "side");
        side["restartCount"] == 1 && side["ready"] == true && is_ready(pod)
    });
    let ended = &container(&paired, "side")["lastState"]["terminated"];
    assert_eq!((&ended["exitCode"], &ended["reason"]), (&json!(3), &json!("Error")));
    assert_eq!(container(&paired, "main")["restartCount"], 0);
    assert_eq!(container(&paired, "init")["restartCount"], 0, "it has had its turn");

    for (name, signal) in [("own", "USR1\n"), ("image", "USR2\n")] {
        wait_until("it heeds its signal", limit(), || marks.join(format!("up-{name}")).exists());
        node.kubectl(&["delete", "pod", name, "--grace-period=30", "--timeout=300s"]);
        let heard = fs::read_to_string(marks.join(name)).expect("it was asked to end");
        assert_eq!(heard, signal);
    }

    let pod = node.wait_pod("restarts", "has run six times", |pod| {
        container(pod, "c")["restartCount"] == 5 && container(pod, "c")["ready"] == true
    });
    let uid = pod["metadata"]["uid"].as_str().expect("it has a uid");
    let group = group(&node, "restarts");
    let dirs = || -> Vec<PathBuf> { entries(&group).into_iter().filter(|path| path.is_dir()).collect() };
    wait_until("only the last run has a cgroup", limit(), || dirs() == [group.join("c-5")]);
    // It looks for what nobody needs as it begins.
    node.restart(Signal::SIGKILL);
    let logs = node.host.dir.join(format!("logs/default_restarts_{uid}/c"));
    let left = || -> Vec<String> {
        let files = entries(&logs);
        let names = files.iter().filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    };
    let last = wait_for("older logs are gone", limit(), || {
        let left = left();
        (left.len() <= 2).then_some(left)
    });
    assert_eq!(last, ["4.log", "5.log"]);
    node.kubectl(&["delete", "pods", "--all", "--grace-period=1", "--timeout=300s"]);
    assert_eq!(dirs(), Vec::<PathBuf>::new());
}

#[test]
#[expect(clippy::disallowed_methods, reason = "it measures what passes for a person")]
fn what_a_volume_is_made_of_reaches_the_container_within_a_second() {
    let test = "what_a_volume_is_made_of_reaches_the_container_within_a_second";
    let Some(()) = needs::host(test) else { return };
    let Some(node) = Node::start(test) else { return };
    let mounts = json!([{"name": "map", "mountPath": "/map"}, {"name": "secret", "mountPath": "/secret"},
        {"name": "down", "mountPath": "/down"}]);
    let item = json!({"path": "key", "fieldRef": {"fieldPath": "metadata.labels['key']"}});
    let spec = json!({
        "containers": [script("c", STAYS, json!({"volumeMounts": mounts}))],
        "volumes": [{"name": "map", "configMap": {"name": "map"}}, {"name": "secret", "secret": {"secretName": "secret"}},
            {"name": "down", "downwardAPI": {"items": [item]}}],
    });
    let mut labelled = pod("reader", spec);
    labelled["metadata"]["labels"] = json!({"key": "0"});
    node.create_all(&[
        map("ConfigMap", "map", json!({"data": {"key": "0"}})),
        map("Secret", "secret", json!({"stringData": {"key": "0"}})),
        labelled,
    ]);
    node.wait_pod("reader", "runs", is_ready);
    // As the container sees it, without a command's time.
    let root = PathBuf::from(format!("/proc/{}/root", pid(&node, "reader", "c", 0)));
    for round in 1..=3 {
        for (volume, object, patch) in [
            ("map", "configmap/map", json!({"data": {"key": round.to_string()}})),
            ("secret", "secret/secret", json!({"stringData": {"key": round.to_string()}})),
            ("down", "pod/reader", json!({"metadata": {"labels": {"key": round.to_string()}}})),
        ] {
            let before = Instant::now();
            node.kubectl(&["patch", object, "--type=merge", "-p", &patch.to_string()]);
            let written = Instant::now();
            let file = root.join(volume).join("key");
            wait_until("the new content", limit(), || {
                fs::read_to_string(&file).is_ok_and(|text| text == round.to_string())
            });
            let (whole, after) = (before.elapsed(), written.elapsed());
            println!("{volume}: {whole:?} with kubectl, {after:?} after its answer");
            // The promise is a second; whoever else uses this machine may take their time.
            assert!(after < Duration::from_secs(10), "{volume}: {after:?}");
        }
    }
}

#[test]
fn memory_that_was_requested_is_kept_where_the_node_is_told_so() {
    let test = "memory_that_was_requested_is_kept_where_the_node_is_told_so";
    let (Some(()), Some(())) = (needs::program(test, "kubectl"), needs::controller(test, "memory")) else {
        return;
    };
    let Some(mut host) = Host::new(test) else { return };
    host.set("PODBOX_MEMORY_QOS", "true");
    let node = Node::on(host);
    let asks = |requests: Value, limits: Value| json!({"containers": [script("c", STAYS, json!({"resources": {"requests": requests, "limits": limits}}))]});
    let (most, least) = (json!({"cpu": "100m", "memory": "24Mi"}), json!({"memory": "16Mi"}));
    let pods = [
        pod("whole", asks(most.clone(), most)),
        pod("part", asks(least.clone(), json!({"memory": "32Mi"}))),
        pod("other", asks(least, json!({}))),
        pod("none", asks(json!({}), json!({}))),
    ];
    node.create_all(&pods);
    for name in ["whole", "part", "other", "none"] {
        node.wait_pod(name, "runs", is_ready);
    }
    let slice = node.host.cgroup.join("podbox.slice");
    let read = |group: PathBuf, file: &str| {
        fs::read_to_string(group.join(file)).expect("it is there").trim().to_owned()
    };
    let mib = |mib: u64| (mib << 20).to_string();
    for (name, kept, high) in [
        ("whole", mib(24), "max".to_owned()),
        // Nine tenths of what lies between request and limit.
        ("part", mib(16), (((16 << 20) + (16 << 20) * 9 / 10) / 4096 * 4096).to_string()),
        ("none", mib(0), "max".to_owned()),
    ] {
        let group = group(&node, name);
        assert_eq!(
            (read(group.join("c-0"), "memory.min"), read(group.join("c-0"), "memory.high")),
            (kept.clone(), high),
            "{name}"
        );
        assert_eq!(read(group, "memory.min"), kept, "{name}");
    }
    let sums = || ["", "guaranteed", "burstable"].map(|class| read(slice.join(class), "memory.min"));
    wait_until("what is kept for all", limit(), || sums() == [mib(56), mib(24), mib(32)]);
    // Given all that it may have, it is not slowed down any more, and what is kept for it counts for all groups that it lies in.
    let whole = json!({"requests": {"memory": "40Mi"}, "limits": {"memory": "40Mi"}});
    let patch = json!({"spec": {"containers": [{"name": "c", "resources": whole}]}}).to_string();
    node.kubectl(&["patch", "pod", "part", "--subresource", "resize", "-p", &patch]);
    node.wait_pod("part", "has what it asked for", |pod| {
        container(pod, "c")["resources"]["requests"]["memory"] == "40Mi"
    });
    let part = group(&node, "part");
    let of_run = |file: &str| read(part.join("c-0"), file);
    assert_eq!(
        [of_run("memory.min"), of_run("memory.high"), of_run("memory.max")],
        [mib(40), "max".into(), mib(40)]
    );
    assert_eq!([read(part.clone(), "memory.min"), read(part, "memory.max")], [mib(40), mib(40)]);
    wait_until("it is kept for it", limit(), || sums() == [mib(80), mib(24), mib(56)]);
    node.kubectl(&["delete", "pod", "part", "whole", "--grace-period=1", "--timeout=300s"]);
    wait_until("only what is there is kept", limit(), || sums() == [mib(16), mib(0), mib(16)]);
}

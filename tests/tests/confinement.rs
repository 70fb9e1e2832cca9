//! What a container is confined by, and what it sees of its pod, its node and its cluster: through the API, on the
//! real kernel.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podbox_tests::host::{IMAGE, answers};
use podbox_tests::node::Node;
use podbox_tests::pods::script;
use podbox_tests::run::limit;
use podbox_tests::wait::{wait_for, wait_until};
use serde_json::{Value, json};

/// What is done with a node here.
trait Pods {
    fn create(&self, name: &str, spec: Value);
    fn printed(&self, name: &str) -> Vec<String>;
}

impl Pods for Node {
    #[track_caller]
    fn create(&self, name: &str, mut spec: Value) {
        spec["terminationGracePeriodSeconds"] = 0.into();
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec});
        let file = self.host.file(&format!("{name}.json"), pod.to_string());
        self.kubectl(&["create", "-f", file.to_str().expect("a plain path")]);
    }

    /// What the pod's only container has printed by its end.
    #[track_caller]
    fn printed(&self, name: &str) -> Vec<String> {
        let over = |pod: &Value| matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        self.wait_pod(name, "has ended", over);
        self.kubectl(&["logs", name]).lines().map(str::to_owned).collect()
    }
}

fn running(pod: &Value) -> bool {
    pod["status"]["phase"] == "Running"
}

fn waiting(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]["state"]["waiting"]
}

#[test]
fn a_pod_is_called_and_asks_for_names_as_its_spec_says() {
    let Some(node) = Node::start("a_pod_is_called_and_asks_for_names_as_its_spec_says") else { return };
    node.kubectl(&["create", "service", "clusterip", "my-db", "--tcp=5432:5432"]);
    let text = "hostname; cat /etc/hostname; tail -n 1 /etc/resolv.conf; head -n 1 /etc/resolv.conf; \
        grep -c 127.0.0.1 /etc/hosts; grep web-0 /etc/hosts; grep alias /etc/hosts; \
        cat /proc/sys/net/ipv4/ip_local_port_range /proc/sys/kernel/shm_rmid_forced; \
        echo $MY_DB_SERVICE_PORT $MY_DB_PORT_5432_TCP_PROTO; echo $KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT; \
        echo $HOSTNAME; echo $LABEL $IPS $HOSTS; echo $LINK; echo $CPU $WHOLE";
    let from = |path: &str| json!({"fieldRef": {"fieldPath": path}});
    let of = |resource: &str, divisor: &str| json!({"resourceFieldRef": {"resource": resource, "divisor": divisor}});
    let env = json!([
        {"name": "LABEL", "valueFrom": from("metadata.labels['app']")},
        {"name": "IPS", "valueFrom": from("status.podIPs")},
        {"name": "HOSTS", "valueFrom": from("status.hostIPs")},
        {"name": "LINK", "value": "$(LABEL) $$(LABEL) $(MY_DB_SERVICE_PORT) $(NONE)"},
        {"name": "CPU", "valueFrom": of("requests.cpu", "1m")},
        {"name": "WHOLE", "valueFrom": of("limits.cpu", "1")},
    ]);
    let container = script("c", text, json!({"env": env, "resources": {"requests": {"cpu": "250m"}}}));
    let spec = json!({
        "restartPolicy": "Never", "containers": [container], "hostname": "web-0", "subdomain": "web",
        "setHostnameAsFQDN": true, "hostAliases": [{"ip": "192.0.2.7", "hostnames": ["alias", "alias.example"]}],
        "dnsPolicy": "None",
        "dnsConfig": {"nameservers": ["192.0.2.53"], "searches": ["a.example", "b.example"],
            "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]},
        "securityContext": {"sysctls": [
            {"name": "net.ipv4.ip_local_port_range", "value": "20000 30000"},
            {"name": "kernel.shm_rmid_forced", "value": "1"},
        ]},
    });
    node.create("names", spec);
    let printed = node.printed("names");
    let pod = node.pod("names");
    let (ip, host) = (pod["status"]["podIP"].as_str().unwrap(), pod["status"]["hostIP"].as_str().unwrap());
    let fqdn = "web-0.web.default.svc.cluster.local";
    let cpus = std::thread::available_parallelism().unwrap();
    let expected = [
        fqdn.to_owned(),
        fqdn.to_owned(),
        "options ndots:2 edns0".to_owned(),
        "search a.example b.example".to_owned(),
        "1".to_owned(),
        format!("{ip}\t{fqdn}\tweb-0"),
        "192.0.2.7\talias\talias.example".to_owned(),
        "20000\t30000".to_owned(),
        "1".to_owned(),
        "5432 tcp".to_owned(),
        "10.96.0.1:443".to_owned(),
        fqdn.to_owned(),
        format!("names {ip} {host}"),
        "names $(LABEL) 5432 $(NONE)".to_owned(),
        format!("250 {cpus}"),
    ];
    assert_eq!(printed, expected, "{}", node.complained());
}

#[test]
fn what_a_node_does_not_allow_is_refused_in_the_kubelets_words() {
    let Some(node) = Node::start("what_a_node_does_not_allow_is_refused_in_the_kubelets_words") else {
        return;
    };
    let sleep = || script("c", "sleep 3600", json!({}));
    let spec = json!({
        "containers": [sleep()], "securityContext": {"sysctls": [{"name": "net.core.somaxconn", "value": "512"}]},
    });
    node.create("sysctl", spec);
    let pod = node.wait_pod("sysctl", "has failed", |pod| pod["status"]["phase"] == "Failed");
    assert_eq!(pod["status"]["reason"], "SysctlForbidden");
    let message = pod["status"]["message"].as_str().unwrap();
    assert!(message.ends_with("forbidden sysctl: \"net.core.somaxconn\" not allowlisted"), "{message}");

    node.create("root", json!({"containers": [sleep()], "securityContext": {"runAsNonRoot": true}}));
    let pod = node
        .wait_pod("root", "says why it waits", |pod| waiting(pod)["reason"] == "CreateContainerConfigError");
    let message = waiting(&pod)["message"].as_str().unwrap();
    assert!(
        message.starts_with("container has runAsNonRoot and image will run as root (pod: \"root_default("),
        "{message}"
    );

    let class = json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "other"}, "handler": "other"});
    let file = node.host.file("class.json", class.to_string());
    node.kubectl(&["create", "-f", file.to_str().unwrap()]);
    node.create("class", json!({"containers": [sleep()], "runtimeClassName": "other"}));
    wait_for("the Event", limit(), || {
        let events =
            node.kubectl(&["get", "events", "--field-selector=involvedObject.name=class", "-o", "wide"]);
        let told = events.contains("FailedCreatePodSandBox")
            && events.contains("no runtime for \"other\" is configured");
        told.then_some(())
    });
}

#[test]
fn a_pod_may_bring_its_own_seccomp_profile() {
    let Some(node) = Node::start("a_pod_may_bring_its_own_seccomp_profile") else { return };
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}],
    });
    node.host.file("state/seccomp/team/no-mkdir.json", profile.to_string());
    node.host.file("state/seccomp/bad.json", "{\"defaultAction\": \"SCMP_ACT_NO\"}");
    let with = |name: &str| {
        let context =
            json!({"securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": name}}});
        let text = "mkdir /tmp/x 2>&1; grep Seccomp: /proc/self/status; sleep 3600";
        json!({"containers": [script("c", text, context)]})
    };
    node.create("own", with("team/no-mkdir.json"));
    node.wait_pod("own", "runs", running);
    wait_for("its output", limit(), || {
        let log = node.kubectl(&["logs", "own"]);
        (log.lines().count() == 2).then(|| {
            assert_eq!(log, "mkdir: can't create directory '/tmp/x': Function not implemented\nSeccomp:\t2\n")
        })
    });
    // Whoever comes later is under it too.
    assert!(node.inside("own", "c", "mkdir /tmp/y 2>&1 || true").contains("Function not implemented"));
    for (pod, profile, why) in [
        ("none", "gone.json", "cannot load seccomp profile"),
        ("bad", "bad.json", "unknown action \"SCMP_ACT_NO\""),
    ] {
        node.create(pod, with(profile));
        let pod =
            node.wait_pod(pod, "says why it waits", |pod| waiting(pod)["reason"] == "CreateContainerError");
        let message = waiting(&pod)["message"].as_str().unwrap();
        assert!(message.contains(why) && message.contains(profile), "{message}");
    }
}

/// Of a process's status in the container's `/proc`.
fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().trim()
}

#[test]
fn containers_that_share_processes_have_a_first_one_that_reaps_and_can_do_nothing_else() {
    let test = "containers_that_share_processes_have_a_first_one_that_reaps_and_can_do_nothing_else";
    let Some(mut node) = Node::start(test) else { return };
    let trace = json!({"securityContext": {"capabilities": {"add": ["SYS_PTRACE"]}}});
    let spec = json!({
        "shareProcessNamespace": true,
        "containers": [script("one", "exec sleep 1234567", json!({})), script("two", "sleep 7654321", trace)],
    });
    node.create("shared", spec);
    node.wait_pod("shared", "runs", running);
    let uid = node.pod("shared")["metadata"]["uid"].as_str().unwrap().to_owned();
    let pids = node.host.cgroup.join(format!("podbox.slice/besteffort/pod{uid}/pids/cgroup.procs"));
    let pause = || fs::read_to_string(&pids).unwrap_or_default().trim().parse::<i32>().ok();

    // A container runs before its shell has begun.
    let sees = |container: &str, program: &str| {
        let what = format!("{container} sees {program:?}");
        wait_until(&what, limit(), || node.inside("shared", container, "ps").contains(program));
    };
    sees("one", "sleep 7654321");
    sees("two", "sleep 1234567");
    let status = node.inside("shared", "two", "cat /proc/1/status");
    for (name, value) in [
        ("Name", "podbox"),
        ("Uid", "65535\t65535\t65535\t65535"),
        ("Gid", "65535\t65535\t65535\t65535"),
        ("Groups", ""),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
        ("CapPrm", "0000000000000000"),
        ("CapBnd", "0000000000000000"),
        ("Threads", "1"),
    ] {
        assert_eq!(field(&status, name), value, "{name} of {status}");
    }
    // Without the right to trace its links lead nowhere; with it, to nothing of the host's, and nothing to write to.
    assert_eq!(
        node.inside("shared", "one", "cat /proc/1/root/etc/passwd /proc/1/exe 2>/dev/null | wc -c").trim(),
        "0"
    );
    assert_eq!(
        node.inside("shared", "two", "ls -A /proc/1/root /proc/1/cwd | grep -v : | grep -c .  || true")
            .trim(),
        "0"
    );
    let opened = node.inside("shared", "two", "( : >>/proc/1/exe ) 2>&1 || true");
    assert!(["Text file busy", "Read-only file system"].iter().any(|why| opened.contains(why)), "{opened}");
    // No descriptor leads anywhere but to what every process has.
    let left = "for d in /proc/1/fd/* /proc/self/fd/*; do readlink $d; done | grep -v -e /dev/null -e '^pipe:' -e '/proc/.*/fd$' || true";
    assert_eq!(node.inside("shared", "two", left), "");

    // Who loses its parent is reaped.
    node.inside("shared", "one", "( ( sleep 0.2 ) & ) ; exit 0");
    wait_for("no process is left to reap", limit(), || {
        let stat = node.inside("shared", "one", "cat /proc/[0-9]*/stat 2>/dev/null || true");
        (!stat.contains(") Z ") && !node.inside("shared", "one", "ps").contains("sleep 0.2")).then_some(())
    });
    // Its own namespace cannot end it.
    node.inside("shared", "two", "kill -TERM 1; kill -KILL 1; kill -INT 1; true");
    let first = pause().expect("it runs");

    node.restart(Signal::SIGKILL);
    assert_eq!(pause(), Some(first), "a new daemon leaves it alone");
    assert!(node.inside("shared", "one", "ps").contains("sleep 7654321"));
    assert_eq!(node.pod("shared")["status"]["containerStatuses"][0]["restartCount"], 0);

    // The host's administrator can end it. All containers end with it, and come back with a new one.
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    node.wait_pod("shared", "runs again", |pod| {
        let statuses = pod["status"]["containerStatuses"].as_array().unwrap();
        statuses.iter().all(|status| status["restartCount"] == 1 && status["ready"] == true)
    });
    wait_until("two sees the one that came back", limit(), || {
        node.inside("shared", "two", "ps").contains("sleep 1234567")
    });
    assert!(pause().is_some_and(|pid| pid != first));
    node.kubectl(&["delete", "pod", "shared"]);
    wait_for("nothing of it is left", limit(), || (!pids.exists()).then_some(()));
}

#[test]
fn the_hosts_namespaces_are_had_only_by_who_asks_for_them() {
    let Some(node) = Node::start("the_hosts_namespaces_are_had_only_by_who_asks_for_them") else { return };
    const NAMES: [&str; 4] = ["pid", "ipc", "net", "uts"];
    let host =
        |name: &str| fs::read_link(format!("/proc/thread-self/ns/{name}")).unwrap().display().to_string();
    let text = format!(
        "for n in {}; do readlink /proc/self/ns/$n; done; echo x >/dev/shm/podbox-test-$HOSTNAME || true",
        NAMES.join(" ")
    );
    for (name, flag) in [("pids", "hostPID"), ("ipcs", "hostIPC"), ("nets", "hostNetwork"), ("none", "")] {
        let mut spec = json!({"restartPolicy": "Never", "containers": [script("c", &text, json!({}))]});
        if !flag.is_empty() {
            spec[flag] = true.into();
        }
        node.create(name, spec);
        let printed = node.printed(name);
        for (at, namespace) in NAMES.iter().enumerate() {
            let wanted = flag.to_lowercase() == format!("host{namespace}")
                || (flag == "hostNetwork" && *namespace == "net");
            assert_eq!(printed[at] == host(namespace), wanted, "{namespace} with {flag:?}: {printed:?}");
        }
    }
    // Shared memory goes with the IPC namespace.
    let shared = fs::remove_file("/dev/shm/podbox-test-ipcs").is_ok();
    assert!(shared && !fs::exists("/dev/shm/podbox-test-none").unwrap());
}

#[test]
fn ports_of_the_node_lead_to_one_pod_as_long_as_it_is_there() {
    let Some(mut node) = Node::start("ports_of_the_node_lead_to_one_pod_as_long_as_it_is_there") else {
        return;
    };
    let server = |ports: Value| {
        let container = json!({
            "name": "c", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "args": ["http", "80"], "ports": ports,
        });
        json!({"containers": [container]})
    };
    let all = json!([
        {"containerPort": 80, "hostPort": 8081},
        {"containerPort": 80, "hostPort": 8082, "hostIP": "127.0.0.1"},
    ]);
    node.create("web", server(all));
    node.wait_pod("web", "runs", running);
    wait_for("it listens", limit(), || answers("127.0.0.1:8081").then_some(()));
    // The loopback, and an address of the host's: the bridge's own.
    for (address, expected) in [
        ("127.0.0.1:8081", true),
        ("10.85.0.1:8081", true),
        ("127.0.0.1:8082", true),
        ("10.85.0.1:8082", false),
    ] {
        assert_eq!(answers(address), expected, "{address}: {}", node.complained());
    }
    // Another pod reaches it too, and the host's loopback is not its own.
    let fetch = |port: u16, at: &str| format!("/bin/testjobs fetch http://{at}:{port}/ || echo none");
    let look = script("c", &format!("{}; {}", fetch(8081, "10.85.0.1"), fetch(8082, "127.0.0.1")), json!({}));
    node.create("client", json!({"restartPolicy": "Never", "containers": [look]}));
    let printed = node.printed("client");
    // What is said on standard error may come before.
    let greeted = printed.iter().any(|line| line.starts_with("hello from"));
    assert!(greeted && printed.contains(&"none".to_owned()), "{printed:?}");

    // Nobody would bind it here: it comes by itself.
    let mut late = server(json!([{"containerPort": 80, "hostPort": 8081, "hostIP": "10.85.0.1"}]));
    late["nodeName"] = node.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"]).into();
    node.create("late", late);
    let late = node.wait_pod("late", "has failed", |pod| pod["status"]["phase"] == "Failed");
    assert_eq!(late["status"]["reason"], "NodePorts");
    let message = late["status"]["message"].as_str().unwrap();
    assert!(message.contains("didn't have free ports for the requested pod ports"), "{message}");

    node.restart(Signal::SIGKILL);
    assert!(answers("127.0.0.1:8081"), "a new daemon keeps it");
    node.kubectl(&["delete", "pod", "web", "late"]);
    wait_for("the node's ports are free again", limit(), || {
        let table = node.client("nft").args(["list", "table", "inet", "podbox"]).output().unwrap();
        let table = String::from_utf8_lossy(&table.stdout).into_owned();
        (!table.contains("8081") && !table.contains("8082")).then_some(())
    });
    assert!(!answers("127.0.0.1:8081"));
}

#[test]
fn a_pod_reaches_the_api_with_what_it_is_given() {
    let test = "a_pod_reaches_the_api_with_what_it_is_given";
    let Some(()) = podbox_tests::needs::program(test, "curl") else { return };
    let Some(node) = Node::start(test) else { return };
    // curl and its libraries are the host's.
    let dirs = [("usr", "/usr"), ("lib", "/usr/lib"), ("lib64", "/usr/lib64")];
    let volumes = dirs.map(|(name, path)| json!({"name": name, "hostPath": {"path": path}}));
    let mounts =
        dirs.map(|(name, _)| json!({"name": name, "mountPath": format!("/{name}"), "readOnly": true}));
    let text = "cd /var/run/secrets/kubernetes.io/serviceaccount; \
        for path in /version /api/v1/namespaces/$(cat namespace)/pods; do \
        curl -sS --cacert ca.crt -H \"Authorization: Bearer $(cat token)\" \
        https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT$path; echo; done";
    let container = script("c", text, json!({"volumeMounts": mounts}));
    node.create("client", json!({"restartPolicy": "Never", "containers": [container], "volumes": volumes}));
    let printed = node.printed("client").join("\n");
    for part in [
        "\"gitVersion\"",
        "User \\\"system:serviceaccount:default:default\\\" cannot list resource \\\"pods\\\"",
    ] {
        assert!(printed.contains(part), "no {part} in {printed}\n{}", node.complained());
    }
    let endpoints =
        node.kubectl(&["get", "endpoints", "kubernetes", "-o", "jsonpath={.subsets[0].addresses[0].ip}"]);
    assert_eq!(endpoints, "10.85.0.1");
}

#[test]
fn limits_of_a_pod_as_a_whole_and_what_its_class_adds_are_its_cgroups() {
    let test = "limits_of_a_pod_as_a_whole_and_what_its_class_adds_are_its_cgroups";
    let (Some(()), Some(())) =
        (podbox_tests::needs::controller(test, "memory"), podbox_tests::needs::controller(test, "cpu"))
    else {
        return;
    };
    let Some(node) = Node::start(test) else { return };
    let class = json!({
        "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "own"}, "handler": "podbox",
        "overhead": {"podFixed": {"cpu": "500m", "memory": "16Mi"}},
    });
    let file = node.host.file("class.json", class.to_string());
    node.kubectl(&["create", "-f", file.to_str().unwrap()]);
    let one = script(
        "one",
        "sleep 3600",
        json!({"resources": {"requests": {"cpu": "1"}, "limits": {"memory": "32Mi"}}}),
    );
    node.create("whole", json!({
        "containers": [one, script("two", "sleep 3600", json!({}))], "runtimeClassName": "own",
        "resources": {"requests": {"cpu": "1", "memory": "48Mi"}, "limits": {"cpu": "2", "memory": "64Mi"}},
    }));
    let pod = node.wait_pod("whole", "runs", running);
    assert_eq!(pod["status"]["qosClass"], "Burstable");
    let group = node
        .host
        .cgroup
        .join(format!("podbox.slice/burstable/pod{}", pod["metadata"]["uid"].as_str().unwrap()));
    let read =
        |file: &str| fs::read_to_string(group.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    for (file, value) in [
        ("memory.max", (80 << 20).to_string()),
        ("cpu.max", "250000 100000".to_owned()),
        ("cpu.weight", "138".to_owned()),
        ("one-0/memory.max", (32 << 20).to_string()),
        ("one-0/cpu.weight", "100".to_owned()),
        ("two-0/memory.max", "max".to_owned()),
        ("two-0/cpu.weight", "1".to_owned()),
    ] {
        assert_eq!(read(file).trim(), value, "{file}");
    }
}

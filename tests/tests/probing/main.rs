//! Probes of every kind on the real kernel, on one node: what decides, what triggers, where the time goes, what
//! is said of servers and commands that do not behave, and that nothing of a probe stays.

mod manifests;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use manifests::{bad, commands, ends, frozen, kinds, periods, six, table, throttled};
use podbox_tests::host::entries;
use podbox_tests::metrics::metrics;
use podbox_tests::needs;
use podbox_tests::node::Node;
use podbox_tests::pods::{container as status, is_ready};
use podbox_tests::run::limit;
use podbox_tests::wait::{wait_for, wait_until};
use serde_json::{Value, json};

#[test]
fn probes_of_every_kind_decide_are_timed_and_leave_nothing_behind() {
    let test = "probes_of_every_kind_decide_are_timed_and_leave_nothing_behind";
    let Some(()) = needs::file(test, "/sys/kernel/btf/vmlinux") else { return };
    // So many containers at once are more than an emulated processor starts in time.
    let Some(()) = needs::host(test) else { return };
    let Some(node) = Node::start(test) else { return };
    let probed = Probed { node, addresses: RefCell::default() };
    fs::create_dir(probed.shared()).expect("the test's tmpfs has room");
    let mut pods = vec![kinds(), ends(), bad(), commands(), frozen(), periods()];
    let throttles = needs::has_controller("cpu");
    if throttles {
        pods.push(throttled());
    }
    let interfaces = fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap_or_default();
    if !interfaces.is_empty() {
        pods.push(six());
    }
    for pod in &mut pods {
        pod["spec"]["volumes"] = json!([{"name": "h", "hostPath": {"path": probed.shared()}}]);
    }
    probed.node.create_all(&pods);

    probed.every_kind_succeeds_and_listening_brings_it_forward();
    probed.liveness_and_startup_end_runs();
    probed.bad_servers_are_told_of_in_upstreams_words();
    probed.commands_leave_nothing();
    probed.a_container_that_does_not_run_fails_in_time_and_the_queue_is_told_of();
    probed.annotations_say_how_often_and_how();
    if !interfaces.is_empty() {
        probed.ipv6_is_timed_too();
    }
    if throttles {
        probed.throttling_is_told_of_and_counted_as_one_event();
    }
    probed.metrics_have_upstreams_names();
}

struct Probed {
    node: Node,
    /// By the pod's name.
    addresses: RefCell<BTreeMap<String, String>>,
}

impl Probed {
    fn shared(&self) -> PathBuf {
        self.node.host.dir.join("h")
    }

    fn allow(&self, file: &str) {
        fs::write(self.shared().join(file), "").expect("the test's tmpfs has room");
    }

    /// The results of a container's probe so far, as `podbox probes` tells them.
    fn row(&self, container: &str, probe: &str) -> Value {
        let output =
            self.node.client("podbox").args(["probes", "-o", "json"]).output().expect("podbox starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let rows: Vec<Value> = serde_json::from_slice(&output.stdout).expect("podbox prints JSON");
        let own = rows.into_iter().find(|row| row["container"] == container && row["probe"] == probe);
        own.unwrap_or_default()
    }

    fn results(&self, container: &str, probe: &str) -> Vec<Value> {
        self.row(container, probe)["results"].as_array().cloned().unwrap_or_default()
    }

    #[track_caller]
    fn result(&self, container: &str, probe: &str, what: &str, like: impl Fn(&Value) -> bool) -> Value {
        let mut last = Vec::new();
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_for(what, limit(), || {
                last = self.results(container, probe);
                last.iter().find(|result| like(result)).cloned()
            })
        }));
        let said = || self.node.complained();
        found.unwrap_or_else(|_| panic!("no {probe} probe of {container} {what}: {last:#?}\n{}", said()))
    }

    /// The Events of a pod by container, without its address.
    fn events(&self, pod: &str) -> Vec<(String, Value)> {
        let of_it = format!("involvedObject.name={pod}");
        let list = self.node.kubectl(&["get", "events", "--field-selector", &of_it, "-o", "json"]);
        let list: Value = serde_json::from_str(&list).expect("kubectl prints JSON");
        let ip =
            self.addresses.borrow_mut().entry(pod.to_owned()).or_insert_with(|| self.address(pod)).clone();
        let all = list["items"].as_array().cloned().unwrap_or_default().into_iter();
        all.filter_map(|mut event| {
            let path = event["involvedObject"]["fieldPath"].as_str()?;
            let container = path.strip_prefix("spec.containers{")?.strip_suffix('}')?.to_owned();
            event["message"] = text(&event).replace(&ip, "IP").into();
            Some((container, event))
        })
        .collect()
    }

    /// A pod's address, which stays the same.
    fn address(&self, pod: &str) -> String {
        let pod = self.node.wait_pod(pod, "has an address", |pod| pod["status"]["podIP"].is_string());
        pod["status"]["podIP"].as_str().unwrap_or_default().to_owned()
    }

    #[track_caller]
    fn told(&self, pod: &str, container: &str, message: impl Fn(&str) -> bool) -> Value {
        let mut last = Vec::new();
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_for("an Event", limit(), || {
                last = self.events(pod);
                let mut own = last.iter().filter(|(name, event)| name == container && message(text(event)));
                own.next().map(|(_, event)| event.clone())
            })
        }));
        found.unwrap_or_else(|_| panic!("{pod} {container} is told of otherwise: {last:#?}"))
    }

    fn every_kind_succeeds_and_listening_brings_it_forward(&self) {
        let servers = [("http", "startup"), ("tcp", "readiness")];
        for (server, probe) in servers {
            let first = self.result(server, probe, "fails at first", |result| result["verdict"] == "failure");
            assert!(first["triggered"].is_null(), "{first}");
        }
        assert!(self.results("http", "readiness").is_empty(), "it waits for the startup probe");
        self.allow("go");
        self.node.wait_pod("kinds", "is ready", is_ready);
        for (server, probe) in servers {
            let passed = self.result(server, probe, "passes", |result| result["verdict"] == "success");
            assert_eq!(passed["triggered"], true, "{server}: {passed}");
        }
        // As upstream, it waits for its server within its own time.
        self.result("grpc", "readiness", "passes", |result| result["verdict"] == "success");
        let passed = self.result("http", "readiness", "passes", |result| result["verdict"] == "success");
        let part = |phase: &str| passed["phases_us"][phase].as_u64();
        assert!(part("application").is_some_and(|took| took > 45_000), "{passed}");
        assert!(part("connect").is_some() && part("transfer").is_some(), "{passed}");
        // Where no program may be put at a function's end, the wait is the application's.
        let sees_accepts = needs::in_machine();
        assert_eq!(part("accept_queue").is_some(), sees_accepts, "{passed}");
        let parts = ["connect", "accept_queue", "application", "transfer"];
        let all: u64 = parts.into_iter().filter_map(part).sum();
        assert!(all <= passed["took_us"].as_u64().unwrap_or(0), "the parts are of the whole: {passed}");

        self.allow("end");
        let gone = |result: &Value| result["verdict"] == "failure" && result["triggered"] == true;
        self.result("goes", "readiness", "is asked again once its server has gone", |result| {
            gone(result) && result["at"].as_str() > passed["at"].as_str()
        });
        assert!(is_ready(&self.node.pod("kinds")), "what was triggered fails nobody");
    }

    fn liveness_and_startup_end_runs(&self) {
        let restarts = |pod: &Value, name: &str| status(pod, name)["restartCount"].as_u64().unwrap_or(0);
        let pod = self.node.wait_pod("ends", "has run again", |pod| {
            restarts(pod, "live") >= 1 && restarts(pod, "start") >= 1
        });
        // It had the probe's own grace to end, of a second, and not the pod's.
        let ended = &status(&pod, "live")["lastState"]["terminated"];
        assert_eq!((&ended["exitCode"], &ended["reason"]), (&json!(137), &json!("Error")), "{pod:#}");
        let log = || fs::read_to_string(self.shared().join("live")).unwrap_or_default();
        wait_until("it is asked before it is killed", limit(), || log().contains("term\n"));
        assert!(!self.shared().join("asked-start").exists(), "the others wait for the startup probe");
        let refused = "Liveness probe failed: dial tcp IP:81: connect: connection refused";
        self.told("ends", "live", |message| message == refused);
        self.told("ends", "live", |message| {
            message == "Container live failed liveness probe, will be restarted"
        });
        self.told("ends", "start", |message| {
            message == "Container start failed startup probe, will be restarted"
        });
    }

    fn bad_servers_are_told_of_in_upstreams_words(&self) {
        let ip = self.address("bad");
        for (name, _, _, words) in table() {
            let words = words.replace("IP", &ip);
            // The kernel may have something to add.
            let more = format!("{words}; ");
            self.result(name, "readiness", &format!("fails with {words:?}"), |result| {
                result["verdict"] != "success" && (text(result) == words || text(result).starts_with(&more))
            });
        }
        self.result("endless", "startup", "passes", |result| result["verdict"] == "success");
        let took =
            |name: &str| self.results(name, "readiness").last().and_then(|last| last["took_us"].as_u64());
        for name in ["silent", "drip"] {
            // A second is all that they have; the prober may be late to see that it is over.
            assert!(
                took(name).is_some_and(|took| (1_000_000..30_000_000).contains(&took)),
                "{name}: {:?}",
                took(name)
            );
        }
    }

    fn commands_leave_nothing(&self) {
        let times = |container: &str, verdict: &str| {
            let all = self.results(container, "readiness");
            all.iter().filter(|result| result["verdict"] == verdict).count()
        };
        wait_until("some commands were run", limit(), || {
            times("forks", "success") >= 3 && times("stuck", "failure") >= 2
        });
        let late = "Readiness probe failed: command timed out: \"/bin/busybox sh -c trap '' TERM INT HUP; ";
        self.told("commands", "stuck", |message| {
            message.starts_with(late) && message.contains(" timed out after 1s")
        });
        for name in ["forks", "stuck"] {
            let group = self.cgroup("commands", name);
            let leaves = || {
                let all = entries(&group).into_iter().filter(|path| path.is_dir()).collect::<Vec<_>>();
                assert!(all.len() <= 1, "never is there more than of one probe: {all:?}");
                all.len()
            };
            wait_until(&format!("nothing of {name}'s probe is left"), limit(), || leaves() == 0);
            // Whatever a probe has left would be a child of the first process, alive or not.
            let first = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
            let first: u32 =
                first.trim().parse().unwrap_or_else(|_| panic!("one process in {name}: {first:?}"));
            assert_eq!(children(first), BTreeSet::new(), "{name}");
        }
    }

    /// The cgroup of a container's first run.
    fn cgroup(&self, pod: &str, container: &str) -> PathBuf {
        let uid = self.node.pod(pod)["metadata"]["uid"].as_str().expect("it has one").to_owned();
        let own = format!("{container}-0");
        let classes = entries(&self.node.host.cgroup.join("podbox.slice"));
        let pods = classes.iter().flat_map(|class| entries(class));
        let of_pod = pods.filter(|dir| dir.to_string_lossy().contains(&uid));
        let mut found = of_pod.map(|dir| dir.join(&own)).filter(|dir| dir.is_dir());
        found.next().unwrap_or_else(|| panic!("{pod} {container} has no cgroup"))
    }

    fn a_container_that_does_not_run_fails_in_time_and_the_queue_is_told_of(&self) {
        self.node.wait_pod("frozen", "is ready", is_ready);
        let freeze = self.cgroup("frozen", "web").join("cgroup.freeze");
        fs::write(&freeze, "1").expect("a cgroup can be frozen");
        let pod = self.node.wait_pod("frozen", "is not ready any more", |pod| !is_ready(pod));
        assert_eq!(status(&pod, "web")["restartCount"], 0);
        let ip = pod["status"]["podIP"].as_str().expect("it has one");
        // A server that does not run accepts nobody; who sees that, says it.
        let late = format!(
            "Get \"http://{ip}:8080/\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        );
        self.result("web", "readiness", "fails in time", |result| {
            let queued = text(result).ends_with("s of it in the accept queue") || !needs::in_machine();
            text(result).starts_with(&late) && queued
        });
        let stuck = "command timed out: \"/bin/busybox sh -c true\" timed out after 2s";
        self.result("web", "liveness", "fails in time", |result| text(result).starts_with(stuck));

        let address: SocketAddr = format!("{ip}:8080").parse().expect("an address");
        let mut waiting = Vec::new();
        // One more than there is room for finds none; of the dropped one, the client hears nothing.
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_secs(2)) {
            waiting.push(stream);
            assert!(waiting.len() < 100_000, "a queue is never full");
        }
        let full = format!(
            "Get \"http://{ip}:8080/\": dial tcp {ip}:8080: i/o timeout (Client.Timeout exceeded while awaiting headers); accept queue full ("
        );
        self.result("web", "readiness", "says that the queue is full", |result| {
            text(result).starts_with(&full)
        });
        drop(waiting);
        fs::write(&freeze, "0").expect("a cgroup can be thawed");
        self.node.wait_pod("frozen", "is ready again", is_ready);
    }

    fn annotations_say_how_often_and_how(&self) {
        let by_period = |container: &str, probe: &str| {
            let all = self.results(container, probe);
            all.into_iter().filter(|result| result["triggered"].is_null()).collect::<Vec<_>>()
        };
        wait_until("half a second is a period", limit(), || by_period("often", "liveness").len() >= 3);
        assert_eq!(self.row("often", "liveness")["period_ms"], 500);

        // Until it is ready it is asked often, and only the first failure counts.
        wait_until("it is asked until it is ready", limit(), || self.results("soon", "readiness").len() >= 3);
        assert_eq!(by_period("soon", "readiness").len(), 1);
        self.allow("soon");
        self.node.wait_pod("periods", "is ready", is_ready);
        let listens = self.result("state", "readiness", "passes", |result| result["verdict"] == "success");
        assert!(listens["phases_us"].is_null(), "nobody connected: {listens}");
        let asked = self.results("soon", "readiness");
        assert_eq!(asked.last().map(|last| &last["verdict"]), Some(&json!("success")), "{asked:#?}");
        let beside = || self.results("often", "liveness").last().cloned().unwrap_or_default()["at"].clone();
        // Three further periods of the other one.
        for _ in 0..3 {
            let before = beside();
            wait_until("the other one is asked again", limit(), || beside() != before);
        }
        assert_eq!(self.results("soon", "readiness"), asked, "then no more than its period says");
    }

    fn ipv6_is_timed_too(&self) {
        self.node.wait_pod("six", "is ready", is_ready);
        let passed = self.result("six", "readiness", "passes", |result| result["verdict"] == "success");
        let phases = &passed["phases_us"];
        assert!(phases["connect"].is_u64() && phases["application"].is_u64(), "{passed}");
        assert_eq!(phases["accept_queue"].is_u64(), needs::in_machine(), "{passed}");
    }

    fn throttling_is_told_of_and_counted_as_one_event(&self) {
        let late = "Liveness probe failed: Get \"http://IP:8080/delay/600000\": context deadline exceeded (Client.Timeout exceeded while awaiting headers); ";
        let is_it = |message: &str| {
            let remark = message
                .strip_prefix(late)
                .and_then(|rest| rest.split_once("s of it CPU-throttled at limit 100m"));
            remark.and_then(|(share, _)| share.parse::<f64>().ok()).is_some_and(|share| share > 0.5)
        };
        self.told("throttled", "busy", is_it);
        // However long it was each time, it is the same thing that happens.
        wait_until("it is counted", limit(), || {
            let all = self.events("throttled").into_iter();
            let mut own = all.filter(|(_, event)| text(event).starts_with(&late[..late.len() - 2]));
            let (_, first) = own.next().unwrap_or_default();
            assert!(own.next().is_none(), "one Event");
            first["count"].as_u64().is_some_and(|count| count >= 3)
        });
        let failed = self.result("busy", "liveness", "fails", |result| result["verdict"] == "failure");
        assert!(
            failed["throttled_us"]
                .as_u64()
                .is_some_and(|took| took <= failed["took_us"].as_u64().unwrap_or(0)),
            "{failed}"
        );
        assert_eq!(status(&self.node.pod("throttled"), "busy")["restartCount"], 0);
    }

    fn metrics_have_upstreams_names(&self) {
        let pod = self.node.pod("kinds");
        let uid = pod["metadata"]["uid"].as_str().expect("it has one");
        let text = metrics();
        let has = |start: String| {
            assert!(text.lines().any(|line| line.starts_with(&start)), "{start} is not in\n{text}");
        };
        has(format!(
            "prober_probe_total{{probe_type=\"Readiness\",result=\"successful\",container=\"tcp\",pod=\"kinds\",namespace=\"default\",pod_uid=\"{uid}\"}} "
        ));
        has(format!(
            "prober_probe_total{{probe_type=\"Readiness\",result=\"failed\",container=\"tcp\",pod=\"kinds\",namespace=\"default\",pod_uid=\"{uid}\"}} 1"
        ));
        let labels = "probe_type=\"Startup\",container=\"http\",pod=\"kinds\",namespace=\"default\"";
        has(format!("prober_probe_duration_seconds_count{{{labels}}} "));
        has(format!("prober_probe_duration_seconds_bucket{{{labels},le=\"0.00005\"}} 0"));
        for phase in ["connect", "application", "transfer"] {
            has(format!(
                "podbox_probe_phase_seconds_bucket{{probe_type=\"Readiness\",phase=\"{phase}\",le=\"0.00005\"}} "
            ));
        }
    }
}

fn text(event: &Value) -> &str {
    event["message"].as_str().unwrap_or_default()
}

/// The processes whose parent this is, dead ones too.
fn children(of: u32) -> BTreeSet<String> {
    let parent = |path: &Path| {
        let line = fs::read_to_string(path.join("stat")).ok()?;
        let (_, rest) = line.rsplit_once(')')?;
        rest.split_whitespace().nth(1)?.parse::<u32>().ok()
    };
    let all = entries(Path::new("/proc")).into_iter();
    let own = all.filter(|path| parent(path) == Some(of));
    own.map(|path| fs::read_to_string(path.join("stat")).unwrap_or_default()).collect()
}

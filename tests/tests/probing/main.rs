//! Probes of every kind on the real kernel: what decides, what triggers, where the time goes, what is said of servers and
//! commands that do not behave, what a limit has to do with it, and that nothing of a probe stays.
//!
//! One node does one thing after another, with few containers at a time: an emulated processor has no room for more.

mod bad;
mod kinds;
mod limits;
mod manifests;
mod said;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use manifests::{commands, ends, frozen, kinds, periods, six, stalled, throttled, unruly};
use podbox_tests::host::entries;
use podbox_tests::needs;
use podbox_tests::node::Node;
use podbox_tests::pods::{PODS, pause};
use podbox_tests::run::limit;
use podbox_tests::wait::wait_for;
use serde_json::{Value, json};

#[test]
fn probes_of_every_kind_decide_are_timed_and_leave_nothing_behind() {
    let test = "probes_of_every_kind_decide_are_timed_and_leave_nothing_behind";
    let Some(()) = needs::file(test, "/sys/kernel/btf/vmlinux") else { return };
    let Some(probed) = Probed::start(test) else { return };
    let interfaces = fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap_or_default();
    let six = (!interfaces.is_empty()).then(six);
    probed.with([kinds()].into_iter().chain(six.clone()), || {
        probed.every_kind_succeeds_and_listening_brings_it_forward();
        if six.is_some() {
            probed.ipv6_is_timed_too();
        }
        probed.metrics_have_upstreams_names();
    });
    probed.with([ends(), periods()], || {
        // So many results are kept, and no more.
        probed.annotations_say_how_often_and_how();
        probed.the_end_of_a_process_brings_success_forward();
        probed.liveness_and_startup_end_runs();
    });
    probed.with([unruly(), commands()], || {
        probed.bad_servers_are_told_of_in_upstreams_words();
        probed.commands_leave_nothing();
    });
    probed.with([frozen()], || probed.a_container_that_does_not_run_fails_in_time_and_the_queue_is_told_of());
}

#[test]
fn what_keeps_a_container_from_answering_is_in_the_event_and_it_is_counted_all_the_same() {
    let test = "what_keeps_a_container_from_answering_is_in_the_event_and_it_is_counted_all_the_same";
    let Some(()) = needs::controller(test, "cpu") else { return };
    let Some(()) = needs::controller(test, "memory") else { return };
    let Some(probed) = Probed::start(test) else { return };
    probed.with([throttled(), stalled()], || {
        probed.waiting_for_memory_is_told_of();
        probed.throttling_is_told_of_and_counted();
    });
}

/// A node, and a directory of the test's that its pods see as `/h`.
struct Probed {
    node: Node,
    /// By the pod's name.
    addresses: RefCell<BTreeMap<String, String>>,
}

impl Probed {
    fn start(test: &str) -> Option<Probed> {
        let probed = Probed { node: Node::start(test)?, addresses: RefCell::default() };
        fs::create_dir(probed.shared()).expect("the test's tmpfs has room");
        Some(probed)
    }

    /// Does it while these pods are there.
    fn with(&self, pods: impl IntoIterator<Item = Value>, work: impl FnOnce()) {
        let volume = json!([{"name": "h", "hostPath": {"path": self.shared()}}]);
        let mut pods: Vec<Value> = pods.into_iter().collect();
        pods.iter_mut().for_each(|pod| pod["spec"]["volumes"] = volume.clone());
        self.node.create_all(&pods);
        work();
        for pod in &pods {
            self.node.delete_at_once(&format!("{PODS}/{}", pod["metadata"]["name"].as_str().unwrap_or("?")));
        }
    }

    fn shared(&self) -> PathBuf {
        self.node.host.dir.join("h")
    }

    fn allow(&self, file: &str) {
        fs::write(self.shared().join(file), "").expect("the test's tmpfs has room");
    }

    /// What is known of a container's probe, as `podbox probes -o json` prints it.
    fn row(&self, container: &str, probe: &str) -> Value {
        let rows = self.node.own("/probes").as_array().cloned().unwrap_or_default();
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
                unless_found(last.iter().find(|result| like(result)).cloned())
            })
        }));
        let said = || self.node.complained();
        found.unwrap_or_else(|_| panic!("no {probe} probe of {container} {what}: {last:#?}\n{}", said()))
    }

    #[track_caller]
    fn passes(&self, container: &str, probe: &str) -> Value {
        self.result(container, probe, "passes", |result| result["verdict"] == "success")
    }

    /// The Events of a pod by container, without its address.
    fn events(&self, pod: &str) -> Vec<(String, Value)> {
        let ip =
            self.addresses.borrow_mut().entry(pod.to_owned()).or_insert_with(|| self.address(pod)).clone();
        let of_container = |mut event: Value| {
            let path = event["involvedObject"]["fieldPath"].as_str()?;
            let container = path.strip_prefix("spec.containers{")?.strip_suffix('}')?.to_owned();
            event["message"] = text(&event).replace(&ip, "IP").into();
            Some((container, event))
        };
        self.node.events_of(pod).into_iter().filter_map(of_container).collect()
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
                unless_found(own.next().map(|(_, event)| event.clone()))
            })
        }));
        found.unwrap_or_else(|_| panic!("{pod} {container} is told of otherwise: {last:#?}"))
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
}

/// What was found; a pause before the next look otherwise.
fn unless_found<T>(found: Option<T>) -> Option<T> {
    if found.is_none() {
        pause();
    }
    found
}

/// Waits until it is so, and lets the node work meanwhile.
#[track_caller]
fn until(what: &str, so: impl Fn() -> bool) {
    wait_for(what, limit(), || unless_found(so().then_some(())));
}

fn text(event: &Value) -> &str {
    event["message"].as_str().unwrap_or_default()
}

//! `metrics/resource` of a kubelet: CPU time and memory for Prometheus, by upstream's names. Pure.

use crate::api::stats::Snapshot;
use std::fmt::{Display, Write};
use std::time::{Duration, SystemTime};

/// A family of metrics, with its lines.
struct Family {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    lines: String,
}

impl Family {
    fn new(name: &'static str, kind: &'static str, help: &'static str) -> Family {
        Family { name, kind, help, lines: String::new() }
    }

    fn add(&mut self, labels: &str, value: impl Display, at: SystemTime) {
        let millis = since_epoch(at).as_millis();
        // Writing to a text does not fail.
        let _ = writeln!(self.lines, "{}{labels} {value} {millis}", self.name);
    }

    fn write(&self, into: &mut String) {
        let Family { name, kind, help, lines } = self;
        let _ = write!(into, "# HELP {name} [STABLE] {help}\n# TYPE {name} {kind}\n{lines}");
    }
}

/// The text of all families. Names of pods and containers have nothing in them that needs escaping.
pub fn resource_metrics(all: &Snapshot) -> String {
    let counter = |name, help| Family::new(name, "counter", help);
    let gauge = |name, help| Family::new(name, "gauge", help);
    let mut container_cpu = counter(
        "container_cpu_usage_seconds_total",
        "Cumulative cpu time consumed by the container in core-seconds",
    );
    let mut container_memory =
        gauge("container_memory_working_set_bytes", "Current working set of the container in bytes");
    let mut started =
        gauge("container_start_time_seconds", "Start time of the container since unix epoch in seconds");
    let mut node_cpu =
        counter("node_cpu_usage_seconds_total", "Cumulative cpu time consumed by the node in core-seconds");
    let mut node_memory = gauge("node_memory_working_set_bytes", "Current working set of the node in bytes");
    let mut pod_cpu =
        counter("pod_cpu_usage_seconds_total", "Cumulative cpu time consumed by the pod in core-seconds");
    let mut pod_memory = gauge("pod_memory_working_set_bytes", "Current working set of the pod in bytes");
    let host = &all.host.usage.sample;
    node_cpu.add("", seconds(host.cpu_nanos), host.at);
    node_memory.add("", host.memory.working_set, host.at);
    for (pod, usage) in &all.pods {
        let whose = format!("namespace=\"{}\",pod=\"{}\"", pod.namespace, pod.name);
        for (name, container) in &usage.containers {
            let sample = &container.usage.sample;
            let labels = format!("{{container=\"{name}\",{whose}}}");
            container_cpu.add(&labels, seconds(sample.cpu_nanos), sample.at);
            container_memory.add(&labels, sample.memory.working_set, sample.at);
            started.add(&labels, since_epoch(container.started).as_secs_f64(), sample.at);
        }
        let (sample, labels) = (&usage.usage.sample, format!("{{{whose}}}"));
        pod_cpu.add(&labels, seconds(sample.cpu_nanos), sample.at);
        pod_memory.add(&labels, sample.memory.working_set, sample.at);
    }
    let mut text = String::new();
    let families = [container_cpu, container_memory, started, node_cpu, node_memory, pod_cpu, pod_memory];
    families.iter().for_each(|family| family.write(&mut text));
    text.push_str(
        "# HELP resource_scrape_error [STABLE] 1 if there was an error while getting container metrics, 0 otherwise\n\
         # TYPE resource_scrape_error gauge\nresource_scrape_error 0\n",
    );
    text
}

fn seconds(nanos: u64) -> f64 {
    Duration::from_nanos(nanos).as_secs_f64()
}

fn since_epoch(at: SystemTime) -> Duration {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

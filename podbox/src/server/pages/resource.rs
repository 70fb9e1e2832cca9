//! `/metrics/resource`: CPU time and memory, for autoscalers and whoever wants no more, by the kubelet's names. Pure.

use crate::api::account::{Account, Books};
use crate::metrics::Kind;
use crate::metrics::text::{Family, Page, counter, gauge, labels};
use std::time::{Duration, SystemTime};

/// A container that runs.
struct Run<'a> {
    account: &'a Account,
    started: SystemTime,
}

/// The page, and how many series it has no room for.
pub fn render(books: &Books) -> (String, usize) {
    let mut page = Page::default();
    let (mut pods, mut runs) = (Vec::new(), Vec::new());
    for (pod, (own, _)) in &books.pods {
        let whose = labels(&[("namespace", &pod.namespace), ("pod", &pod.name)]);
        for run in &own.containers {
            let named = labels(&[("container", &run.container.name)]) + "," + &whose;
            runs.push((named, Run { account: &run.account, started: run.started }));
        }
        pods.push((whose, &own.account));
    }
    for family in Run::FAMILIES {
        page.write(family, runs.iter().map(|(own, run)| (own.as_str(), run)));
    }
    let host = &books.host.usage.sample;
    page.family(NODE_CPU, Kind::Counter, "Time on processors, of the node.")
        .one(Duration::from_nanos(host.cpu_nanos));
    page.family(NODE_MEMORY, Kind::Gauge, "The node's working set.").one(host.memory.working_set);
    for family in PODS {
        page.write(family, pods.iter().map(|(own, account)| (own.as_str(), *account)));
    }
    page.family(ERROR, Kind::Gauge, "Whether these numbers could not be had.").one(false);
    page.finish()
}

const NODE_CPU: &str = "node_cpu_usage_seconds_total";
const NODE_MEMORY: &str = "node_memory_working_set_bytes";
const ERROR: &str = "resource_scrape_error";

impl<'a> Run<'a> {
    const FAMILIES: &'a [Family<Run<'a>>] = &[
        counter("container_cpu_usage_seconds_total", "Time on processors.", |run, series| {
            series.one(run.account.cpu.usage);
        }),
        gauge(
            "container_memory_working_set_bytes",
            "Memory that it cannot easily give back.",
            |run, series| {
                series.one(run.account.memory.working_set);
            },
        ),
        gauge("container_start_time_seconds", "When it was started.", |run, series| series.one(run.started)),
    ];
}

const PODS: &[Family<Account>] = &[
    counter("pod_cpu_usage_seconds_total", "Time on processors, of all its containers.", |pod, series| {
        series.one(pod.cpu.usage);
    }),
    gauge("pod_memory_working_set_bytes", "Memory that they cannot easily give back.", |pod, series| {
        series.one(pod.memory.working_set);
    }),
];

/// The names of every family that can be on the page.
#[cfg(test)]
pub(super) fn names() -> Vec<String> {
    let families =
        Run::FAMILIES.iter().map(|family| family.name).chain(PODS.iter().map(|family| family.name));
    families.chain([NODE_CPU, NODE_MEMORY, ERROR]).map(str::to_owned).collect()
}

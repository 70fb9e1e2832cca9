//! `/metrics/resource`: CPU time and memory, for autoscalers and whoever wants no more, by the kubelet's names. Pure.

use crate::api::account::{Account, Books};
use crate::metrics::Kind;
use crate::metrics::text::{Family, Page, counter, gauge, labels};
use std::time::SystemTime;

/// What is told of containers, of pods and of the node: each has the same two, by a name that begins with its own.
const USE: [Family<Account>; 2] = [
    counter("_cpu_usage_seconds_total", "Time on processors.", |own, series| series.one(own.cpu.usage)),
    gauge("_memory_working_set_bytes", "Memory that is not easily given back.", |own, series| {
        series.one(own.memory.working_set);
    }),
];

const STARTED: Family<SystemTime> =
    gauge("container_start_time_seconds", "When it was started.", |started, series| series.one(*started));
const ERROR: &str = "resource_scrape_error";

/// The page, and how many series it has no room for.
pub fn render(books: &Books) -> (String, usize) {
    let mut page = Page::default();
    let (mut pods, mut runs, mut starts) = (Vec::new(), Vec::new(), Vec::new());
    for (pod, (own, _)) in &books.pods {
        let whose = labels(&[("namespace", &pod.namespace), ("pod", &pod.name)]);
        for run in &own.containers {
            let named = labels(&[("container", &run.container.name)]) + "," + &whose;
            starts.push((named.clone(), run.started));
            runs.push((named, &run.account));
        }
        pods.push((whose, &own.account));
    }
    let host = books.of_host();
    for (whose, accounts) in [("container", runs), ("pod", pods), ("node", vec![(String::new(), &host)])] {
        for family in &USE {
            let name = format!("{whose}{}", family.name);
            let accounts = accounts.iter().map(|(own, account)| (own.as_str(), *account));
            page.write_named((&name, family.kind, family.help), accounts, family.series);
        }
    }
    page.write(&STARTED, starts.iter().map(|(own, started)| (own.as_str(), started)));
    page.family(ERROR, Kind::Gauge, "Whether these numbers could not be had.").one(false);
    page.finish()
}

/// The names of every family that can be on the page.
#[cfg(test)]
pub(super) fn names() -> Vec<String> {
    let of = |whose: &'static str| USE.iter().map(move |family| format!("{whose}{}", family.name));
    let others = [STARTED.name, ERROR].map(str::to_owned);
    ["container", "pod", "node"].into_iter().flat_map(of).chain(others).collect()
}

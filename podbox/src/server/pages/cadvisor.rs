//! `/metrics/cadvisor`: what the kernel has counted for the host, pods and containers, by cAdvisor's names and labels. Pure.
//!
//! A container's series end with its run, as its cgroup does, but for one: how many of its processes were killed for want of
//! memory is told over all its runs, under the id of its pod's group, for as long as there is the pod. A pod's own series have no
//! container, and no image.

use crate::api::account::{Account, Books, Charge, DiskTraffic, Pressure, Throttling};
use crate::api::identity::PodRef;
use crate::api::stats::Traffic;
use crate::metrics::Kind;
use crate::metrics::text::{Family, Page, Series, counter, gauge, labels};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// A cgroup.
struct Group<'a> {
    account: &'a Account,
    started: Option<SystemTime>,
    seen: SystemTime,
    /// Names of disks.
    devices: &'a BTreeMap<String, String>,
}

/// A link, by its name.
type Links = Vec<(String, Traffic)>;

/// The page, and how many series it has no room for.
pub fn render(books: &Books) -> (String, usize) {
    let mut page = Page::default();
    let host = books.of_host();
    let mut groups = vec![(name("/", "", "", "", "", ""), group(&host, Some(books.host.booted), books))];
    let all = books.links.iter().map(|(name, traffic)| (name.clone(), *traffic)).collect();
    let mut links = vec![(groups[0].0.clone(), all)];
    let mut kills = Vec::new();
    for (pod, (own, traffic)) in &books.pods {
        let PodRef { namespace, name: pod_name, .. } = pod;
        let of_pod = name(&own.group, "", "", "", namespace, pod_name);
        links.extend(traffic.map(|traffic| (of_pod.clone(), vec![("eth0".to_owned(), traffic)])));
        groups.push((of_pod, group(&own.account, None, books)));
        for run in &own.containers {
            let container = &run.container.name;
            let known = books.known.get(pod).and_then(|own| own.get(container)).cloned().unwrap_or_default();
            let of_run = name(&run.group, container, &known.image, &known.id, namespace, pod_name);
            groups.push((of_run, group(&run.account, Some(run.started), books)));
        }
        kills.extend(oom_kills(books, pod, &own.group));
    }
    for family in Group::FAMILIES {
        page.write(family, groups.iter().map(|(own, group)| (own.as_str(), group)));
    }
    page.write(&OOM_KILLS, kills.iter().map(|(own, kills)| (own.as_str(), kills)));
    for family in NETWORK {
        page.write(family, links.iter().map(|(own, links)| (own.as_str(), links)));
    }
    let mut machine = |name, help, value: u64| page.family(name, Kind::Gauge, help).one(value);
    machine(CORES, "Processors that the machine has.", books.processors as u64);
    machine(MEMORY, "Memory that the machine has.", books.host.memory_bytes);
    page.finish()
}

const CORES: &str = "machine_cpu_cores";
const MEMORY: &str = "machine_memory_bytes";

fn group<'a>(account: &'a Account, started: Option<SystemTime>, books: &'a Books) -> Group<'a> {
    Group { account, started, seen: books.host.usage.sample.at, devices: &books.devices }
}

/// The labels of a group.
fn name(id: &str, container: &str, image: &str, name: &str, namespace: &str, pod: &str) -> String {
    labels(&[
        ("container", container),
        ("id", id),
        ("image", image),
        ("name", name),
        ("namespace", namespace),
        ("pod", pod),
    ])
}

/// Of all of a pod's containers, also those that do not run now: where the kernel's own record is had, by that, else by their groups' counts.
fn oom_kills(books: &Books, pod: &PodRef, id: &str) -> Vec<(String, u64)> {
    let known = books.known.get(pod).into_iter().flatten();
    let each = known.map(|(container, known)| {
        let key = (pod.namespace.clone(), pod.name.clone(), container.clone());
        let recorded = books.oom_kills.as_ref().map(|all| all.get(&key).copied().unwrap_or(0));
        let runs = books.pods.get(pod).map(|(own, _)| own.containers.as_slice()).unwrap_or_default();
        let counted = runs.iter().filter(|run| run.container.name == *container);
        let counted = || counted.filter_map(|run| run.account.charge).map(|charge| charge.oom_kills).sum();
        let kills = recorded.unwrap_or_else(counted);
        (name(id, container, &known.image, container, &pod.namespace, &pod.name), kills)
    });
    each.collect()
}

fn charged(group: &Group<'_>, series: &mut Series<'_>, of: impl Fn(&Charge) -> Option<u64>) {
    if let Some(value) = group.account.charge.as_ref().and_then(of) {
        series.one(value);
    }
}

/// What only containers have.
fn of_run(group: &Group<'_>, series: &mut Series<'_>, value: impl Fn(&Account) -> Option<u64>) {
    let is_run = group.account.cpu.weight.is_some() || group.account.charge.is_some();
    if let Some(value) = group.started.filter(|_| is_run).and_then(|_| value(group.account)) {
        series.one(value);
    }
}

fn throttled(group: &Group<'_>, series: &mut Series<'_>, of: impl Fn(&Throttling) -> f64) {
    // As upstream: only of what has a limit.
    if let Some(own) = group.account.cpu.throttling.filter(|_| group.account.cpu.limit.is_some()) {
        series.one(of(&own));
    }
}

fn disks(group: &Group<'_>, series: &mut Series<'_>, of: impl Fn(&DiskTraffic) -> u64) {
    for (number, traffic) in &group.account.disks {
        series.with(&[("device", group.devices.get(number).unwrap_or(number))], of(traffic));
    }
}

fn pressed(of: Option<Pressure>, series: &mut Series<'_>, which: impl Fn(Pressure) -> Duration) {
    if let Some(pressure) = of {
        series.one(which(pressure));
    }
}

fn faults(group: &Group<'_>, series: &mut Series<'_>) {
    let memory = &group.account.memory;
    // What is counted for a group is counted for all above it: both scopes are the same number.
    for scope in ["container", "hierarchy"] {
        series.with(&[("failure_type", "pgfault"), ("scope", scope)], memory.page_faults);
        series.with(&[("failure_type", "pgmajfault"), ("scope", scope)], memory.major_page_faults);
    }
}

/// A weight as the shares from which the kubelet makes it.
fn shares(weight: u64) -> u64 {
    2 + weight.saturating_sub(1) * 262_142 / 9_999
}

fn links(all: &Links, series: &mut Series<'_>, of: impl Fn(&Traffic) -> u64) {
    for (name, traffic) in all {
        series.with(&[("interface", name)], of(traffic));
    }
}

const OOM_KILLS: Family<u64> = counter(
    "container_oom_events_total",
    "Processes that the kernel killed for want of memory, over all runs of the container.",
    |kills, series| series.one(*kills),
);

impl<'a> Group<'a> {
    const FAMILIES: &'a [Family<Group<'a>>] = &[
        counter("container_cpu_usage_seconds_total", "Time on processors.", |own, series| {
            series.with(&[("cpu", "total")], own.account.cpu.usage);
        }),
        counter("container_cpu_user_seconds_total", "Time on processors in its own code.", |own, series| {
            series.one(own.account.cpu.user);
        }),
        counter("container_cpu_system_seconds_total", "Time on processors in the kernel.", |own, series| {
            series.one(own.account.cpu.system);
        }),
        counter(
            "container_cpu_cfs_periods_total",
            "Periods of its limit in which it had work.",
            |own, series| {
                throttled(own, series, |own| own.periods as f64);
            },
        ),
        counter(
            "container_cpu_cfs_throttled_periods_total",
            "Those in which its limit held it up.",
            |own, series| {
                throttled(own, series, |own| own.throttled_periods as f64);
            },
        ),
        counter(
            "container_cpu_cfs_throttled_seconds_total",
            "Time for which its limit held it up.",
            |own, series| {
                throttled(own, series, |own| own.time.as_secs_f64());
            },
        ),
        gauge("container_memory_usage_bytes", "All memory that it holds, caches included.", |own, series| {
            series.one(own.account.memory.usage);
        }),
        gauge(
            "container_memory_working_set_bytes",
            "What of it it cannot easily give back.",
            |own, series| {
                series.one(own.account.memory.working_set);
            },
        ),
        gauge("container_memory_rss", "What of it is in no file.", |own, series| {
            series.one(own.account.memory.rss)
        }),
        gauge("container_memory_cache", "What of it is in files.", |own, series| {
            charged(own, series, |own| Some(own.cache));
        }),
        gauge("container_memory_swap", "What of it was swapped out.", |own, series| {
            charged(own, series, |own| Some(own.swap.unwrap_or(0)));
        }),
        gauge("container_memory_mapped_file", "Files that it has mapped.", |own, series| {
            charged(own, series, |own| Some(own.mapped));
        }),
        gauge("container_memory_kernel_usage", "What the kernel holds for it.", |own, series| {
            charged(own, series, |own| Some(own.kernel));
        }),
        gauge("container_memory_total_active_file_bytes", "Files that it read lately.", |own, series| {
            charged(own, series, |own| Some(own.active_file));
        }),
        gauge(
            "container_memory_total_inactive_file_bytes",
            "Files that it did not read for a while.",
            |own, series| {
                charged(own, series, |own| Some(own.inactive_file));
            },
        ),
        gauge("container_memory_max_usage_bytes", "The most that it held at once.", |own, series| {
            charged(own, series, |own| own.peak);
        }),
        counter("container_memory_failcnt", "How often it ran against its limit.", |own, series| {
            charged(own, series, |own| Some(own.failures));
        }),
        counter("container_memory_failures_total", "Pages that it had to wait for.", faults),
        counter("container_fs_reads_bytes_total", "Bytes that it read from disks.", |own, series| {
            disks(own, series, |own| own.read_bytes);
        }),
        counter("container_fs_reads_total", "How often it read from disks.", |own, series| {
            disks(own, series, |own| own.reads);
        }),
        counter("container_fs_writes_bytes_total", "Bytes that it wrote to disks.", |own, series| {
            disks(own, series, |own| own.written_bytes);
        }),
        counter("container_fs_writes_total", "How often it wrote to disks.", |own, series| {
            disks(own, series, |own| own.writes);
        }),
        counter(
            "container_pressure_cpu_waiting_seconds_total",
            "Some of it waited for processors.",
            |own, series| {
                pressed(own.account.pressure.cpu, series, |own| own.some);
            },
        ),
        counter(
            "container_pressure_cpu_stalled_seconds_total",
            "All of it waited for processors.",
            |own, series| {
                pressed(own.account.pressure.cpu, series, |own| own.full);
            },
        ),
        counter(
            "container_pressure_memory_waiting_seconds_total",
            "Some of it waited for memory.",
            |own, series| {
                pressed(own.account.pressure.memory, series, |own| own.some);
            },
        ),
        counter(
            "container_pressure_memory_stalled_seconds_total",
            "All of it waited for memory.",
            |own, series| {
                pressed(own.account.pressure.memory, series, |own| own.full);
            },
        ),
        counter(
            "container_pressure_io_waiting_seconds_total",
            "Some of it waited for disks.",
            |own, series| {
                pressed(own.account.pressure.io, series, |own| own.some);
            },
        ),
        counter(
            "container_pressure_io_stalled_seconds_total",
            "All of it waited for disks.",
            |own, series| {
                pressed(own.account.pressure.io, series, |own| own.full);
            },
        ),
        gauge("container_processes", "Its processes.", |own, series| series.one(own.account.processes)),
        gauge("container_threads", "Its threads.", |own, series| {
            if let Some(threads) = own.account.threads {
                series.one(threads);
            }
        }),
        gauge("container_threads_max", "Threads that it may have; 0 if there is no limit.", |own, series| {
            if own.account.threads.is_some() {
                series.one(own.account.threads_limit.unwrap_or(0));
            }
        }),
        gauge("container_start_time_seconds", "When it was started.", |own, series| {
            if let Some(started) = own.started {
                series.one(started);
            }
        }),
        gauge("container_last_seen", "When these numbers were read.", |own, series| series.one(own.seen)),
        gauge("container_spec_cpu_period", "The period of its limit, in microseconds.", |own, series| {
            of_run(own, series, |own| Some(own.cpu.limit?.1.as_micros() as u64));
        }),
        gauge("container_spec_cpu_quota", "Its limit in each period, in microseconds.", |own, series| {
            of_run(own, series, |own| Some(own.cpu.limit?.0.as_micros() as u64));
        }),
        gauge("container_spec_cpu_shares", "Its share when processors are short.", |own, series| {
            of_run(own, series, |own| own.cpu.weight.map(shares));
        }),
        gauge(
            "container_spec_memory_limit_bytes",
            "Memory that it may hold; 0 if there is no limit.",
            |own, series| {
                of_run(own, series, |own| Some(own.charge?.limit.unwrap_or(0)));
            },
        ),
        gauge(
            "container_spec_memory_swap_limit_bytes",
            "Swap that it may have; 0 if there is no limit.",
            |own, series| {
                of_run(own, series, |own| Some(own.charge?.swap_limit.unwrap_or(0)));
            },
        ),
        gauge(
            "container_spec_memory_reservation_limit_bytes",
            "Memory that is kept for it.",
            |own, series| {
                of_run(own, series, |own| Some(own.charge?.reserved));
            },
        ),
    ];
}

const NETWORK: &[Family<Links>] = &[
    counter("container_network_receive_bytes_total", "Bytes that came in.", |own, series| {
        links(own, series, |own| own.rx_bytes);
    }),
    counter("container_network_receive_packets_total", "Packets that came in.", |own, series| {
        links(own, series, |own| own.rx_packets);
    }),
    counter("container_network_receive_packets_dropped_total", "Those that found no room.", |own, series| {
        links(own, series, |own| own.rx_dropped);
    }),
    counter("container_network_receive_errors_total", "Those that were damaged.", |own, series| {
        links(own, series, |own| own.rx_errors);
    }),
    counter("container_network_transmit_bytes_total", "Bytes that went out.", |own, series| {
        links(own, series, |own| own.tx_bytes);
    }),
    counter("container_network_transmit_packets_total", "Packets that went out.", |own, series| {
        links(own, series, |own| own.tx_packets);
    }),
    counter(
        "container_network_transmit_packets_dropped_total",
        "Those that found no room.",
        |own, series| {
            links(own, series, |own| own.tx_dropped);
        },
    ),
    counter("container_network_transmit_errors_total", "Those that could not go out.", |own, series| {
        links(own, series, |own| own.tx_errors);
    }),
];

/// The names of every family that can be on the page.
#[cfg(test)]
pub(super) fn names() -> Vec<String> {
    let groups =
        Group::FAMILIES.iter().map(|family| family.name).chain(NETWORK.iter().map(|family| family.name));
    groups.chain([OOM_KILLS.name, CORES, MEMORY]).map(str::to_owned).collect()
}

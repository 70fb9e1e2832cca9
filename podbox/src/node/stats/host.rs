//! What the whole host uses, from `/proc`.
//!
//! A hierarchy's root has no `memory.current`; what the kubelet takes for it is memory that is not free.

use crate::api::stats::{Memory, Sample, Traffic};
use nix::unistd::{SysconfVar, sysconf};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::{Duration, SystemTime};

/// The host at a moment.
#[derive(Clone, Copy, Debug)]
pub(in crate::node) struct Host {
    pub(in crate::node) sample: Sample,
    pub(in crate::node) booted: SystemTime,
    pub(in crate::node) memory_bytes: u64,
    pub(in crate::node) processes_limit: u64,
}

/// Looks at the host.
pub(in crate::node) fn read(at: SystemTime) -> io::Result<Host> {
    let stat = fs::read_to_string("/proc/stat")?;
    let meminfo = fs::read_to_string("/proc/meminfo")?;
    let vmstat = fs::read_to_string("/proc/vmstat").unwrap_or_default();
    let loadavg = fs::read_to_string("/proc/loadavg")?;
    let ticks = sysconf(SysconfVar::CLK_TCK).ok().flatten().and_then(|ticks| u64::try_from(ticks).ok());
    let tick_nanos = 1_000_000_000 / ticks.unwrap_or(100).max(1);
    let (total, mut memory) = memory(&meminfo);
    let faults = |name| words(&vmstat).find(|(key, _)| *key == name).map_or(0, |(_, value)| value);
    (memory.page_faults, memory.major_page_faults) = (faults("pgfault"), faults("pgmajfault"));
    let booted = words(&stat).find(|(key, _)| *key == "btime").map_or(0, |(_, value)| value);
    let limit = |path: &str| fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok());
    let limits = ["/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"].into_iter().filter_map(limit);
    let cpu_nanos = busy(&stat).saturating_mul(tick_nanos);
    Ok(Host {
        sample: Sample { at, cpu_nanos, memory, processes: threads(&loadavg) },
        booted: SystemTime::UNIX_EPOCH + Duration::from_secs(booted),
        memory_bytes: total,
        processes_limit: limits.min().unwrap_or(0),
    })
}

/// The ticks of all processors that were not idle, of `/proc/stat`. What guests used is in `user` and `nice` already.
fn busy(stat: &str) -> u64 {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu ")).unwrap_or_default();
    let ticks: Vec<u64> = line.split_whitespace().take(8).map(|word| word.parse().unwrap_or(0)).collect();
    let idle = ticks.iter().skip(3).take(2).sum();
    ticks.iter().sum::<u64>().saturating_sub(idle)
}

/// All there is, and what of it is in use.
fn memory(meminfo: &str) -> (u64, Memory) {
    let of = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        kib.unwrap_or(0) * 1024
    };
    let usage = of("MemTotal").saturating_sub(of("MemFree"));
    let working_set = usage.saturating_sub(of("Inactive(file)"));
    let memory = Memory { usage, working_set, rss: of("AnonPages"), ..Memory::default() };
    (of("MemTotal"), memory)
}

/// Processes and threads that there are: the second number of `1/234`.
fn threads(loadavg: &str) -> u64 {
    let all = loadavg.split(' ').nth(3).and_then(|word| word.split_once('/'));
    all.and_then(|(_, all)| all.parse().ok()).unwrap_or(0)
}

fn words(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| line.split_once(' ')).map(|(key, rest)| {
        let value = rest.split(' ').next().and_then(|word| word.parse().ok());
        (key, value.unwrap_or(0))
    })
}

/// What went through each link of this network namespace.
pub(in crate::node) fn links() -> BTreeMap<String, Traffic> {
    traffic(&fs::read_to_string("/proc/self/net/dev").unwrap_or_default())
}

fn traffic(dev: &str) -> BTreeMap<String, Traffic> {
    let link = |line: &str| {
        let (name, numbers) = line.split_once(':')?;
        let numbers: Vec<u64> = numbers.split_whitespace().map(|word| word.parse().unwrap_or(0)).collect();
        let at = |index: usize| numbers.get(index).copied().unwrap_or(0);
        let traffic = Traffic {
            rx_bytes: at(0),
            rx_packets: at(1),
            rx_errors: at(2),
            rx_dropped: at(3),
            tx_bytes: at(8),
            tx_packets: at(9),
            tx_errors: at(10),
            tx_dropped: at(11),
        };
        Some((name.trim().to_owned(), traffic))
    };
    dev.lines().filter_map(link).collect()
}

/// The link that the default route leads over.
pub(super) fn default_link() -> Option<String> {
    let routes = fs::read_to_string("/proc/self/net/route").ok()?;
    let mut routes = routes.lines().map(|line| line.split_whitespace());
    routes.find_map(|mut words| {
        let name = words.next()?;
        (words.next()? == "00000000").then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_not_using() {
        assert_eq!(busy("cpu  10 20 30 4000 500 6 7 8 9 9\ncpu0 1 1 1 1\n"), 10 + 20 + 30 + 6 + 7 + 8);
        assert_eq!(busy(""), 0);
    }

    #[test]
    fn memory_is_what_is_not_free_without_files_that_nobody_reads() {
        let text =
            "MemTotal:       1000 kB\nMemFree:         400 kB\nInactive(file):  100 kB\nAnonPages: 50 kB\n";
        let (total, memory) = memory(text);
        assert_eq!(total, 1000 * 1024);
        assert_eq!((memory.usage, memory.working_set, memory.rss), (600 * 1024, 500 * 1024, 50 * 1024));
    }

    #[test]
    fn links_and_threads_are_read() {
        let dev = "Inter-|   Receive\n face |bytes packets\n  eth0: 100 1 2 9 0 0 0 0 300 3 4 8 0 0 0 0\n";
        let expected = Traffic {
            rx_bytes: 100,
            rx_packets: 1,
            rx_errors: 2,
            rx_dropped: 9,
            tx_bytes: 300,
            tx_packets: 3,
            tx_errors: 4,
            tx_dropped: 8,
        };
        assert_eq!(traffic(dev).get("eth0"), Some(&expected));
        assert_eq!(threads("0.1 0.2 0.3 1/234 5678\n"), 234);
    }

    #[test]
    fn this_host_is_read() {
        let host = read(SystemTime::UNIX_EPOCH).unwrap();
        assert!(host.memory_bytes > host.sample.memory.working_set && host.sample.cpu_nanos > 0, "{host:?}");
        assert!(host.processes_limit > host.sample.processes && host.booted > SystemTime::UNIX_EPOCH);
    }
}

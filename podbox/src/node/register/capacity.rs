//! What the host has to give, and what of it pods may have: without what is kept for the host's own programs and what must
//! always be left.

use crate::api::pressure::Signal;
use crate::api::quantity::Quantity;
use crate::config::{Config, Duties};
use crate::limits;
use crate::pod::compose::{Amounts, NodeFacts};
use nix::sys::statvfs::statvfs;
use nix::sys::sysinfo::sysinfo;
use serde_json::{Map, Value, json};
use std::fs;

/// Where the kernel tells of its huge pages.
const HUGE_PAGES: &str = "/sys/kernel/mm/hugepages";

/// Capacity, and what can be promised of it.
pub(super) fn of_host(facts: &NodeFacts, config: &Config) -> (Value, Value) {
    let all = amounts(facts.cpu_milli, facts.memory_bytes, config);
    // Pods are given none: none are to be had, then, rather than some that nobody gets.
    let pages: Vec<_> = huge_pages().into_iter().map(|(size, _)| (size, 0)).collect();
    (written(&all, &pages), written(&facts.allocatable, &pages))
}

/// What can be promised to pods of these processors, this memory and the disk.
pub(in crate::node) fn allocatable(cpu_milli: u64, memory: u64, config: &Config) -> Amounts {
    let reserved: u64 = huge_pages().iter().map(|(_, bytes)| bytes).sum();
    left(&amounts(cpu_milli, memory, config), reserved, &config.duties)
}

fn amounts(cpu_milli: u64, memory: u64, config: &Config) -> Amounts {
    let disk =
        statvfs(&config.state_dir).map_or(0, |stat| stat.blocks().saturating_mul(stat.fragment_size()));
    Amounts { cpu_milli, memory, disk }
}

/// What is left for pods.
fn left(all: &Amounts, huge_pages: u64, duties: &Duties) -> Amounts {
    let kept = |signal: Signal, capacity: u64| {
        let hard = duties.thresholds.iter().find(|one| one.signal == signal && one.grace.is_none());
        hard.map_or(0, |threshold| threshold.below.of(capacity))
    };
    let memory = kept(Signal::Memory, all.memory).saturating_add(duties.reserved_memory);
    let disk = kept(Signal::NodeFs, all.disk).saturating_add(duties.reserved_disk);
    Amounts {
        cpu_milli: all.cpu_milli.saturating_sub(duties.reserved_cpu_milli),
        memory: all.memory.saturating_sub(memory.saturating_add(huge_pages)),
        disk: all.disk.saturating_sub(disk),
    }
}

fn written(amounts: &Amounts, huge_pages: &[(String, u64)]) -> Value {
    let cpu = match amounts.cpu_milli % 1000 {
        0 => (amounts.cpu_milli / 1000).to_string(),
        _ => format!("{}m", amounts.cpu_milli),
    };
    let mut all: Map<String, Value> = huge_pages
        .iter()
        .map(|(name, bytes)| (name.clone(), Quantity::bytes(*bytes).to_string().into()))
        .collect();
    all.insert("cpu".to_owned(), cpu.into());
    all.insert("memory".to_owned(), format!("{}Ki", amounts.memory / 1024).into());
    all.insert("ephemeral-storage".to_owned(), format!("{}Ki", amounts.disk / 1024).into());
    all.insert("pods".to_owned(), json!(limits::PODS.to_string()));
    Value::Object(all)
}

/// Huge pages that were set aside, by their resource's name.
fn huge_pages() -> Vec<(String, u64)> {
    let sizes = fs::read_dir(HUGE_PAGES).into_iter().flatten().flatten();
    let mut all: Vec<(String, u64)> = sizes
        .filter_map(|size| {
            let name = size.file_name().into_string().ok()?;
            let kib: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
            let count = fs::read_to_string(size.path().join("nr_hugepages")).ok()?;
            let bytes = kib.checked_mul(1024)?;
            let resource = format!("hugepages-{}", Quantity::bytes(bytes));
            Some((resource, count.trim().parse::<u64>().ok()?.checked_mul(bytes)?))
        })
        .collect();
    all.sort();
    all
}

/// Bytes of swap.
pub(super) fn swap_bytes() -> u64 {
    sysinfo().map(|info| info.swap_total()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_get_what_is_not_kept_back() {
        let all = Amounts { cpu_milli: 2000, memory: 1000 << 20, disk: 1000 << 20 };
        let duties = Duties { reserved_cpu_milli: 500, reserved_memory: 200 << 20, ..Duties::default() };
        let expected = Amounts { cpu_milli: 1500, memory: 600 << 20, disk: 900 << 20 };
        assert_eq!(left(&all, 100 << 20, &duties), expected);
        let pages = [("hugepages-2Mi".to_owned(), 4 << 20)];
        let expected = json!({
            "cpu": "1500m", "memory": "614400Ki", "ephemeral-storage": "921600Ki", "pods": "110",
            "hugepages-2Mi": "4Mi",
        });
        assert_eq!(written(&left(&all, 100 << 20, &duties), &pages), expected);
    }
}

//! A pod's and a container's limits as cgroup files: those that this host can enforce, and those that it cannot.

use super::Facts;
use crate::sandbox::runtime::Unenforced;
use crate::sandbox::spec::Resources;
use crate::sandbox::step::Setting;

/// Every cgroup file that the resources want written, with its controller.
fn settings(resources: &Resources) -> Vec<(&'static str, Setting)> {
    let mut all = Vec::new();
    let mut add = |controller, file, value: Option<String>, optional| {
        all.extend(value.map(|value| (controller, Setting { file, value, optional })));
    };
    let text = |value: Option<u64>| value.map(|value| value.to_string());
    let cpu_max = resources.cpu_max.map(|max| format!("{} {}", max.quota_us, max.period_us));
    add("cpu", "cpu.max", cpu_max, false);
    add("cpu", "cpu.weight", text(resources.cpu_weight), false);
    add("memory", "memory.max", text(resources.memory_max), false);
    add("memory", "memory.high", text(resources.memory_high), false);
    add("memory", "memory.min", text(resources.memory_min), false);
    // As the kubelet has it: a memory limit is one of memory, not of memory and then swap.
    add("memory", "memory.swap.max", resources.memory_max.map(|_| "0".into()), true);
    add("memory", "memory.oom.group", resources.oom_group.then(|| "1".into()), false);
    add("pids", "pids.max", text(resources.pids_max), false);
    all
}

/// What to write into a cgroup, as far as this host can enforce it.
pub fn enforced(resources: &Resources, facts: &Facts) -> Vec<Setting> {
    let all = settings(resources).into_iter();
    all.filter(|(controller, _)| facts.controllers.contains(*controller)).map(|(_, s)| s).collect()
}

/// What to write into a cgroup that may have had other resources: what they leave out is not to stay.
pub fn resized(resources: &Resources, facts: &Facts) -> Vec<Setting> {
    const NONE: [(&str, &str, &str); 4] = [
        ("cpu", "cpu.max", "max"),
        ("memory", "memory.max", "max"),
        ("memory", "memory.high", "max"),
        ("memory", "memory.min", "0"),
    ];
    let mut all = enforced(resources, facts);
    for (controller, file, value) in NONE {
        if facts.controllers.contains(controller) && all.iter().all(|setting| setting.file != file) {
            all.push(Setting { file, value: value.to_owned(), optional: false });
        }
    }
    all
}

/// Limits in these resources that this host cannot enforce.
pub fn unenforced(resources: &Resources, facts: &Facts) -> Vec<Unenforced> {
    let all = settings(resources).into_iter();
    all.filter(|(controller, setting)| !facts.controllers.contains(*controller) && !setting.optional)
        .map(|(controller, setting)| Unenforced { setting: setting.file, controller })
        .collect()
}

/// The memory that a group of pods is not to lose.
pub fn kept(bytes: u64) -> Setting {
    Setting { file: "memory.min", value: bytes.to_string(), optional: false }
}

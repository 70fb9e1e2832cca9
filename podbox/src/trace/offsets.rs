//! Which members of the kernel's structures the programs read: the twin of `podbox-ebpf/src/offsets.rs`.

use super::btf::{Btf, BtfError};

/// Structure and member; the programs' global is `STRUCT__MEMBER` in capitals.
pub const MEMBERS: &[(&str, &str)] = &[
    ("task_struct", "pid"),
    ("task_struct", "tgid"),
    ("task_struct", "flags"),
    ("task_struct", "start_boottime"),
    ("task_struct", "exit_code"),
    ("task_struct", "group_leader"),
    ("task_struct", "real_parent"),
    ("task_struct", "sighand"),
    ("task_struct", "signal"),
    ("task_struct", "comm"),
    ("task_struct", "cgroups"),
    ("task_struct", "thread_pid"),
    ("task_struct", "mm"),
    ("mm_struct", "total_vm"),
    ("mm_struct", "rss_stat"),
    ("sighand_struct", "action"),
    ("kernel_siginfo", "si_code"),
    ("kernel_siginfo", "_sifields"),
    ("signal_struct", "live"),
    ("signal_struct", "nr_threads"),
    ("signal_struct", "flags"),
    ("signal_struct", "group_exit_code"),
    ("pid", "level"),
    ("pid", "numbers"),
    ("css_set", "dfl_cgrp"),
    ("cgroup", "level"),
    ("cgroup", "ancestors"),
    ("cgroup", "kn"),
    ("kernfs_node", "id"),
    ("mem_cgroup", "css"),
    ("mem_cgroup", "memory"),
    ("page_counter", "usage"),
    ("cgroup_subsys_state", "cgroup"),
    ("oom_control", "memcg"),
    ("oom_control", "chosen"),
    ("oom_control", "totalpages"),
    ("sock", "sk_protocol"),
    // Each is the first member of the next: offsets from the one are offsets from the others.
    ("sock_common", "skc_num"),
    ("sock_common", "skc_family"),
    ("sock_common", "skc_daddr"),
    ("sock_common", "skc_rcv_saddr"),
    ("sock_common", "skc_dport"),
    ("inet_sock", "inet_sport"),
];

/// Members that a kernel may be built without: their offset is then 0, which the programs take for their absence.
pub const OPTIONAL: &[(&str, &str)] =
    &[("sock_common", "skc_v6_daddr"), ("sock_common", "skc_v6_rcv_saddr"), ("sock", "sk_cgrp_data")];

/// The name of the global for a member.
fn global(structure: &str, member: &str) -> String {
    format!("{structure}__{member}").to_uppercase()
}

/// Every global with its value in this kernel.
pub fn resolve(btf: &Btf) -> Result<Vec<(String, u32)>, BtfError> {
    let needed = MEMBERS
        .iter()
        .map(|(structure, member)| Ok((global(structure, member), btf.offset(structure, member)?)));
    let optional = OPTIONAL.iter().map(|(structure, member)| {
        Ok((global(structure, member), btf.offset(structure, member).unwrap_or(0)))
    });
    let sizes = [("k_sigaction".to_owned(), btf.size("k_sigaction")?)];
    let sizes = sizes.map(|(structure, size)| Ok((global(&structure, "size"), size)));
    needed.chain(optional).chain(sizes).chain(rss_counters(btf)?.map(Ok)).collect()
}

/// How a process's pages in memory are counted: as plain numbers, or since 6.2 by counters with a part for each CPU, which
/// is left out here: some dozens of pages.
fn rss_counters(btf: &Btf) -> Result<[(String, u32); 2], BtfError> {
    let (count, size) = match btf.size("mm_rss_stat") {
        Ok(_) => (0, size_of::<u64>() as u32),
        Err(_) => (btf.offset("percpu_counter", "count")?, btf.size("percpu_counter")?),
    };
    Ok([("RSS_COUNTER__COUNT".to_owned(), count), ("RSS_COUNTER__SIZE".to_owned(), size)])
}

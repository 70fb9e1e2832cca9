//! What a cgroup uses, from its files, and from `/proc` where the kernel keeps no count for it.
//!
//! CPU time is in every group's `cpu.stat`. Memory is counted only where the memory controller is; elsewhere it is the
//! sum of what its processes have resident, in which a page that two of them share counts twice.

use crate::api::stats::{Memory, Sample};
use std::fs;
use std::path::Path;
use std::time::SystemTime;

/// What a group and those below it use; none if it is not there any more.
pub fn group(path: &Path, at: SystemTime) -> Option<Sample> {
    let cpu = fs::read_to_string(path.join("cpu.stat")).ok()?;
    let cpu_nanos = field(&cpu, "usage_usec").unwrap_or(0).saturating_mul(1000);
    let counted = fs::read_to_string(path.join("memory.current")).ok();
    let pids = fs::read_to_string(path.join("pids.current")).ok();
    let charged = counted.map(|usage| {
        let stat = fs::read_to_string(path.join("memory.stat")).unwrap_or_default();
        charged(number(&usage), &stat)
    });
    let (memory, processes) = match (charged, pids) {
        (Some(memory), Some(pids)) => (memory, number(&pids)),
        (charged, pids) => {
            let (memory, processes) = resident(path);
            (charged.unwrap_or(memory), pids.as_deref().map_or(processes, number))
        }
    };
    Some(Sample { at, cpu_nanos, memory, processes })
}

/// The memory that is charged to a group.
pub(super) fn charged(usage: u64, stat: &str) -> Memory {
    let of = |name| field(stat, name).unwrap_or(0);
    Memory {
        usage,
        working_set: usage.saturating_sub(of("inactive_file")),
        rss: of("anon"),
        page_faults: of("pgfault"),
        major_page_faults: of("pgmajfault"),
    }
}

/// What the processes of a group and of those below it have resident, and how many they are.
fn resident(path: &Path) -> (Memory, u64) {
    let (mut memory, mut processes) = (Memory::default(), 0);
    let mut groups = vec![path.to_owned()];
    while let Some(group) = groups.pop() {
        let pids = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        for pid in pids.split_whitespace() {
            // One that has ended meanwhile has nothing.
            let statm = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
            let [usage, rss] = pages(&statm).map(|pages| pages.saturating_mul(page_size()));
            memory.usage += usage;
            memory.working_set += usage;
            memory.rss += rss;
            processes += 1;
        }
        let below = fs::read_dir(&group).into_iter().flatten().flatten();
        groups.extend(below.filter(|entry| entry.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()));
    }
    (memory, processes)
}

/// Resident pages, and those of them that are in no file, of a `statm`.
fn pages(statm: &str) -> [u64; 2] {
    let mut words = statm.split(' ').skip(1).map(number);
    let (resident, shared) = (words.next().unwrap_or(0), words.next().unwrap_or(0));
    [resident, resident.saturating_sub(shared)]
}

fn page_size() -> u64 {
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
    size.ok().flatten().and_then(|size| u64::try_from(size).ok()).unwrap_or(4096)
}

pub(super) fn field(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(key, _)| *key == name).map(|(_, value)| number(value))
}

fn number(text: &str) -> u64 {
    text.trim().parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_nobody_reads_are_no_working_set() {
        let stat = "anon 300\nfile 900\ninactive_file 600\npgfault 7\npgmajfault 2\n";
        let memory = charged(1200, stat);
        let expected =
            Memory { usage: 1200, working_set: 600, rss: 300, page_faults: 7, major_page_faults: 2 };
        assert_eq!(memory, expected);
        // The two files are read one after the other.
        assert_eq!(charged(100, stat).working_set, 0);
    }

    #[test]
    fn a_group_is_read_with_and_without_controllers() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        let read = || group(dir.path(), SystemTime::UNIX_EPOCH);
        assert_eq!(read(), None);
        write("cpu.stat", "usage_usec 42\nuser_usec 40\n");
        fs::create_dir(dir.path().join("exec-1")).unwrap();
        write("cgroup.procs", "");
        write("exec-1/cgroup.procs", &format!("{}\n", std::process::id()));
        let found = read().unwrap();
        assert_eq!((found.cpu_nanos, found.processes), (42_000, 1));
        assert!(found.memory.rss > 0 && found.memory.working_set >= found.memory.rss, "{found:?}");
        write("memory.current", "8192\n");
        write("memory.stat", "anon 4096\n");
        write("pids.current", "3\n");
        let found = read().unwrap();
        assert_eq!((found.memory.working_set, found.memory.rss, found.processes), (8192, 4096, 3));
    }
}

//! What podbox could leave behind on a host, listed; comparing two lists proves that it left nothing.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Everything of one moment that a pod could have made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remains(BTreeSet<String>);

impl Remains {
    /// Lists links, mounts, cgroups, BPF programs, packet filter rules, and podbox's processes.
    pub fn now() -> Remains {
        let mut all = BTreeSet::new();
        all.extend(names("/sys/class/net").map(|name| format!("link {name}")));
        all.extend(mounts());
        for root in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
            cgroups(Path::new(root), &mut all);
        }
        all.extend(listed("bpftool", &["prog", "list"], "bpf program"));
        all.extend(listed("nft", &["list", "ruleset"], "nft"));
        all.extend(processes());
        Remains(all)
    }

    /// What is there now and wasn't then.
    pub fn since(&self, before: &Remains) -> Vec<String> {
        self.0.difference(&before.0).cloned().collect()
    }
}

/// Panics if anything is there that wasn't `before`, after having given it a moment to go.
///
/// # Panics
/// When something is left.
#[track_caller]
pub fn assert_none(before: &Remains) {
    let limit = std::time::Duration::from_secs(5);
    let mut left = Vec::new();
    // BPF programs and network namespaces are freed by the kernel a moment after their last reference.
    let gone = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        crate::wait::wait_until("nothing is left behind", limit, || {
            left = Remains::now().since(before);
            left.is_empty()
        });
    }));
    assert!(gone.is_ok(), "left behind:\n{}", left.join("\n"));
}

fn names(dir: &str) -> impl Iterator<Item = String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok())
}

fn mounts() -> Vec<String> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(|point| format!("mount {point}")).collect()
}

fn cgroups(dir: &Path, all: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        // v1 hierarchies beside it belong to others.
        let is_v2 = path.join("cgroup.type").exists();
        if is_v2 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            all.insert(format!("cgroup {}", path.display()));
            cgroups(&path, all);
        }
    }
}

fn processes() -> Vec<String> {
    names("/proc")
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .filter_map(|pid| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
            let name = name.trim_end();
            ["podbox", "testjobs"].contains(&name).then(|| format!("process {name} {pid}"))
        })
        .collect()
}

/// The lines that a program lists; none, if it isn't there.
fn listed(program: &str, args: &[&str], what: &str) -> Vec<String> {
    let output = Command::new(program).args(args).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| format!("{what} {}", line.trim()))
        .collect()
}

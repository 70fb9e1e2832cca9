//! What podbox could leave behind on a host, listed; comparing two lists proves that it left nothing.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Everything of one moment that a pod could have made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remains {
    all: BTreeSet<String>,
    /// Processes and cgroups are those that carry this mark in their environment, command or cgroup.
    mark: String,
}

impl Remains {
    /// Lists links, mounts, BPF objects, packet filter rules and settings; of cgroups and processes only those whose
    /// command, environment or cgroup names `mark`, for others may run podbox on this host.
    pub fn of(mark: &str) -> Remains {
        let mut all = BTreeSet::new();
        all.extend(listed("ip", &["-o", "link"], "link").into_iter().filter_map(|line| link(&line)));
        all.extend(mounts());
        for root in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
            cgroups(Path::new(root), &mut all);
        }
        all.retain(|line| !line.starts_with("cgroup ") || line.contains(mark));
        for kind in ["prog", "map", "link"] {
            all.extend(bpf_objects(kind));
        }
        all.extend(listed("nft", &["list", "ruleset"], "nft"));
        all.extend(settings());
        all.extend(processes(mark));
        Remains { all, mark: mark.to_owned() }
    }

    /// What is there now and wasn't then.
    pub fn since(&self, before: &Remains) -> Vec<String> {
        self.all.difference(&before.all).cloned().collect()
    }
}

/// Panics if anything is there that wasn't `before`, after having given it a moment to go.
///
/// # Panics
/// When something is left.
#[track_caller]
pub fn assert_none(before: &Remains) {
    let limit = crate::run::limit();
    let mut left = Vec::new();
    // BPF programs and network namespaces are freed by the kernel a moment after their last reference.
    let gone = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        crate::wait::wait_until("nothing is left behind", limit, || {
            left = Remains::of(&before.mark).since(before);
            if left.iter().any(|line| line.starts_with("bpf ")) {
                let held = bpf_objects_held_by_others(&before.mark);
                left.retain(|line| !held.contains(line));
            }
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
    let mounts = std::fs::read_to_string("/proc/thread-self/mounts").unwrap_or_default();
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

/// `link NAME` of a line of `ip -o link`.
fn link(line: &str) -> Option<String> {
    let name = line.split(": ").nth(1)?;
    Some(format!("link {}", name.split('@').next()?))
}

/// Settings of the kernel that podbox changes and gives back.
fn settings() -> Vec<String> {
    let files = ["/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/bpf_stats_enabled"];
    let read = |file: &&str| Some(format!("setting {file} = {}", std::fs::read_to_string(file).ok()?.trim()));
    files.iter().filter_map(read).collect()
}

fn processes(mark: &str) -> Vec<String> {
    pids()
        .into_iter()
        .filter_map(|pid| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
            let name = name.trim_end();
            bears(&pid, mark).then(|| format!("process {name} {pid}"))
        })
        .collect()
}

fn pids() -> Vec<String> {
    names("/proc").filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())).collect()
}

/// Whether a process' command, environment or cgroup names `mark`.
fn bears(pid: &str, mark: &str) -> bool {
    ["cgroup", "cmdline", "environ"].iter().any(|file| {
        let bytes = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).contains(mark)
    })
}

/// `bpf KIND ID` of every BPF object of a kind.
fn bpf_objects(kind: &str) -> Vec<String> {
    let lines = listed("bpftool", &[kind, "list"], "");
    let id = |line: &String| Some(line.trim().split_once(':')?.0.parse::<u32>().ok()?.to_string());
    lines.iter().filter_map(id).map(|id| format!("bpf {kind} {id}")).collect()
}

/// The BPF objects that processes without `mark` hold: not ours.
fn bpf_objects_held_by_others(mark: &str) -> BTreeSet<String> {
    let others = pids().into_iter().filter(|pid| !bears(pid, mark));
    let files = others.flat_map(|pid| {
        let dir = format!("/proc/{pid}/fdinfo");
        names(&dir)
            .map(|fd| std::fs::read_to_string(format!("{dir}/{fd}")).unwrap_or_default())
            .collect::<Vec<_>>()
    });
    let object = |line: &str| {
        let (kind, id) = line.split_once("_id:")?;
        Some(format!("bpf {kind} {}", id.trim()))
    };
    let mut held: BTreeSet<String> =
        files.flat_map(|text| text.lines().filter_map(object).collect::<Vec<_>>()).collect();
    // Where a pin alone holds a link, its program tells whose it is.
    let links = listed("bpftool", &["link", "list"], "");
    held.extend(links.iter().filter_map(|line| link_of(line, &held)).collect::<Vec<_>>());
    held
}

/// `bpf link ID` of `ID: KIND  prog ID`, if its program is one of these.
fn link_of(line: &str, programs: &BTreeSet<String>) -> Option<String> {
    let (id, rest) = line.trim().split_once(':')?;
    let program = rest.split_whitespace().skip_while(|word| *word != "prog").nth(1)?;
    programs.contains(&format!("bpf prog {program}")).then(|| format!("bpf link {id}"))
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

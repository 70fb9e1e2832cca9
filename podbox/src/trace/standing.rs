//! The standing comparison of what was counted here with what the kernel's own files say, and how long containers' process ids
//! last. A difference that stays from one look to the next is told: counts that nobody checks are believed until they are needed.
//!
//! | file | what must hold |
//! |---|---|
//! | `memory.events` | as many OOM kills as victims were marked, neither more nor fewer; a group kill may count its chosen one twice, and who shares memory is not counted at all |
//! | `pids.current` | no fewer processes than lie dead and unreaped here, for the dead hold their ids |
//! | `cgroup.events` | where nobody is left who was there, some exit was counted |
//!
//! It finds cgroups by their ids, as the kernel's handles of files allow, and so depends on nobody's paths. A cgroup that is gone
//! has nothing to say, and is nobody's any more. It mends nothing: a count that was wrong stays what was counted.

use super::forecast::Trend;
use super::tracer::{Tracer, lock};
use crate::api::attribution::Attribution;
use crate::api::event::{Detail, KernelEvent, PidsShort};
use crate::api::zombie::Unreaped;
use crate::{clock, limits};
use podbox_common::{ContainerStats, Head, RawRole};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// One file of all the containers that are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// By how much it differs from what was counted here.
    pub differs: u64,
    /// Containers that have it: where there are none, that it does not differ says nothing.
    pub containers: u64,
}

impl Compared {
    fn lasting(self, before: Compared) -> Compared {
        Compared { differs: self.differs.min(before.differs), ..self }
    }

    fn plus(self, other: Compared) -> Compared {
        Compared { differs: self.differs + other.differs, containers: self.containers + other.containers }
    }
}

/// Differences, each summed over the containers that are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skew {
    /// OOM kills of `memory.events` that no victim here accounts for, and victims that it does not know.
    pub memory_events: Compared,
    /// Dead processes here that `pids.current` does not know any more.
    pub pids_current: Compared,
    /// Containers that `cgroup.events` calls empty, and of which no exit was counted.
    pub cgroup_events: Compared,
}

impl Skew {
    /// By the file that is compared with.
    pub fn by_source(self) -> [(&'static str, Compared); 3] {
        [
            ("memory.events", self.memory_events),
            ("pids.current", self.pids_current),
            ("cgroup.events", self.cgroup_events),
        ]
    }

    /// What both have: a difference that may just have come about is none yet.
    fn lasting(self, before: Skew) -> Skew {
        Skew {
            memory_events: self.memory_events.lasting(before.memory_events),
            pids_current: self.pids_current.lasting(before.pids_current),
            cgroup_events: self.cgroup_events.lasting(before.cgroup_events),
        }
    }

    fn plus(self, other: Skew) -> Skew {
        Skew {
            memory_events: self.memory_events.plus(other.memory_events),
            pids_current: self.pids_current.plus(other.pids_current),
            cgroup_events: self.cgroup_events.plus(other.cgroup_events),
        }
    }
}

/// What was seen of a container.
#[derive(Debug, Default)]
struct Seen {
    /// It has had processes.
    populated: bool,
    skew: Skew,
    trend: Trend,
    /// When its ids were last about to run out, since boot: that was told.
    short_at: Option<Duration>,
}

impl Seen {
    /// Its ids are about to run out: whether that is news, for it was not so for a while.
    fn is_news(&mut self, now: Duration) -> bool {
        let before = self.short_at.replace(now);
        before.is_none_or(|before| now.saturating_sub(before) >= limits::PIDS_URGENT)
    }
}

/// What its files say; what cannot be read is not there.
#[derive(Clone, Copy, Debug, Default)]
struct Files {
    oom_kills: Option<u64>,
    group_kills: u64,
    pids: Option<u64>,
    pids_max: Option<u64>,
    populated: Option<bool>,
}

/// Looks every now and then, for as long as the tracer lives.
pub(super) async fn run(tracer: Weak<Tracer>, cgroup_root: File) {
    let (root, mut seen) = (Arc::new(cgroup_root), HashMap::new());
    let mut ticks = tokio::time::interval(limits::STANDING_LOOK);
    loop {
        ticks.tick().await;
        let (Some(tracer), root) = (tracer.upgrade(), Arc::clone(&root)) else { return };
        // Files of many cgroups, one after the other.
        let looked = tokio::task::spawn_blocking(move || {
            look(&tracer, &root, &mut seen, clock::boot());
            seen
        });
        match looked.await {
            Ok(next) => seen = next,
            Err(error) if error.is_panic() => {
                tracing::error!(%error, "comparing the counts with the cgroups' own begins anew");
                seen = HashMap::new();
            }
            // The runtime is shutting down.
            Err(_) => return,
        }
    }
}

fn look(tracer: &Tracer, root: &File, seen: &mut HashMap<u64, Seen>, now: Duration) {
    // The counts first: what happens between is in the files then, and lasts no second look.
    let counted = counted(tracer);
    let mut skew = Skew::default();
    let (mut short, mut gone) = (Vec::new(), Vec::new());
    seen.retain(|cgroup, _| counted.contains_key(cgroup));
    for (cgroup, (stats, dead)) in counted {
        let files = match read(root, cgroup) {
            Ok(files) => files,
            Err(error) => {
                // Stale: it was removed.
                gone.extend((error.raw_os_error() == Some(libc::ESTALE)).then_some(cgroup));
                continue;
            }
        };
        let seen = seen.entry(cgroup).or_default();
        let current = compare(&stats, dead, &files, seen.populated);
        seen.populated |= files.populated == Some(true);
        skew = skew.plus(current.lasting(std::mem::replace(&mut seen.skew, current)));
        if let (Some(current), Some(max)) = (files.pids, files.pids_max) {
            seen.trend.saw(now, current);
            short.extend(seen.trend.until(max).map(|until| (cgroup, PidsShort::new(current, max, until))));
        }
    }
    for (cgroup, short) in &short {
        let Some(seen) = seen.get_mut(cgroup).filter(|_| short.is_urgent()) else { continue };
        if seen.is_news(now) {
            tell(tracer, *cgroup, short.clone(), now);
        }
    }
    let mut state = lock(&tracer.state);
    // Whoever removed it may not have been able to say whose it was.
    gone.into_iter().for_each(|cgroup| state.retire(cgroup, now));
    state.skew = skew;
    state.pids_until = short.into_iter().map(|(cgroup, short)| (cgroup, short.seconds)).collect();
}

/// The counts of containers that are there, and how many dead each has that hold their ids: those that /proc knows too.
/// Who was reaped may stay in the kernel's map for a while, until it tells.
fn counted(tracer: &Tracer) -> HashMap<u64, (ContainerStats, u64)> {
    let state = lock(&tracer.state);
    let mut dead: HashMap<u64, u64> = HashMap::new();
    for zombie in state.zombies(None) {
        *dead.entry(zombie.container).or_default() += 1;
    }
    let live = state.register.entries().filter(|(_, entry)| entry.removed.is_none() && !entry.gap);
    live.filter_map(|(cgroup, _)| {
        let stats = state.maps.containers.get(&cgroup, 0).ok()?.0;
        Some((cgroup, (stats, dead.get(&cgroup).copied().unwrap_or(0))))
    })
    .collect()
}

fn compare(stats: &ContainerStats, dead: u64, files: &Files, was_populated: bool) -> Skew {
    let sum = |roles: &[RawRole]| roles.iter().map(|role| stats.oom_victims[*role as usize]).sum::<u64>();
    // Those that were exiting were marked only, and among those of unknown roles may be such; those that share memory are
    // not counted by the kernel.
    let killed = sum(&[RawRole::Chosen, RawRole::Group]);
    let maybe = killed + sum(&[RawRole::Unwatched]);
    let ends = stats.exits_success + stats.exits_error + stats.exits_signal.iter().sum::<u64>();
    let compared = |differs: Option<u64>| Compared {
        differs: differs.unwrap_or(0),
        containers: u64::from(differs.is_some()),
    };
    Skew {
        memory_events: compared(files.oom_kills.map(|kills| {
            kills.saturating_sub(maybe).saturating_sub(files.group_kills) + killed.saturating_sub(kills)
        })),
        pids_current: compared(files.pids.map(|pids| dead.saturating_sub(pids))),
        cgroup_events: compared(
            files.populated.map(|populated| u64::from(!populated && was_populated && ends == 0)),
        ),
    }
}

fn tell(tracer: &Tracer, cgroup: u64, short: PidsShort, now: Duration) {
    let facts = tracer.facts();
    let Unreaped { count, fault } = tracer.unreaped(cgroup);
    let short = PidsShort { unreaped: count as u64, fault, ..short };
    let head = Head {
        kind: 0,
        tgid: 0,
        seq: 0,
        at_ns: now.as_nanos() as u64,
        container: cgroup,
        leaf: cgroup,
        ns_pid: 0,
        reserved: 0,
        comm: [0; 16],
    };
    let state = lock(&tracer.state);
    let event: KernelEvent =
        super::attribute::subject(&head, Detail::PidsShort(short), &state.register, &facts);
    // No subscriber is no error.
    let _ = tracer.events.send(Arc::new(event));
}

/// The files of a cgroup by its id; an error where it is gone.
fn read(root: &File, cgroup: u64) -> io::Result<Files> {
    let dir = open(root, cgroup)?;
    let text = |name: &str| text(&dir, name).unwrap_or_default();
    let value = |text: &str, key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
        line.and_then(|value| value.parse::<u64>().ok())
    };
    let memory = text("memory.events");
    Ok(Files {
        oom_kills: value(&memory, "oom_kill"),
        group_kills: value(&memory, "oom_group_kill").unwrap_or(0),
        pids: text("pids.current").trim().parse().ok(),
        pids_max: text("pids.max").trim().parse().ok(),
        populated: value(&text("cgroup.events"), "populated").map(|populated| populated == 1),
    })
}

fn text(dir: &OwnedFd, name: &str) -> io::Result<String> {
    // By the directory's descriptor, which stays the same cgroup's.
    let path = Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name);
    let mut text = String::new();
    File::open(path)?.read_to_string(&mut text)?;
    Ok(text)
}

/// The kernel's `struct file_handle` of a file of kernfs: FILEID_KERNFS, and the number of its node.
#[repr(C)]
struct Handle {
    bytes: u32,
    kind: i32,
    id: u64,
}

const FILEID_KERNFS: i32 = 0xfe;

fn open(root: &File, cgroup: u64) -> io::Result<OwnedFd> {
    let mut handle = Handle { bytes: size_of::<u64>() as u32, kind: FILEID_KERNFS, id: cgroup };
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
    // SAFETY: the kernel reads as many bytes behind the head as it says; the descriptor that it returns is ours alone.
    unsafe {
        let fd = libc::open_by_handle_at(root.as_raw_fd(), (&raw mut handle).cast(), flags);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_process_ids_run_out_is_news_again_once_it_was_not_so_for_a_while() {
        let (mut seen, look) = (Seen::default(), limits::STANDING_LOOK);
        let calm = limits::PIDS_URGENT;
        assert!(seen.is_news(calm));
        assert!(!seen.is_news(calm + look) && !seen.is_news(2 * calm), "it goes on");
        assert!(seen.is_news(3 * calm));
        assert!(!seen.is_news(3 * calm + look));
    }

    #[test]
    fn what_the_files_say_beyond_the_counts_is_a_difference() {
        let mut stats = ContainerStats::ZERO;
        stats.oom_victims[RawRole::Chosen as usize] = 1;
        stats.oom_victims[RawRole::Group as usize] = 1;
        stats.oom_victims[RawRole::Sharing as usize] = 4;
        stats.exits_signal[9] = 6;
        // A group kill of two counts three.
        let files = Files { oom_kills: Some(3), group_kills: 1, populated: Some(false), ..Files::default() };
        let none = Compared { differs: 0, containers: 1 };
        let agreed = Skew { memory_events: none, cgroup_events: none, ..Skew::default() };
        assert_eq!(compare(&stats, 0, &files, true), agreed, "and nothing is known of its process ids");
        let kills = |kills: u64, stats: &ContainerStats| {
            compare(stats, 0, &Files { oom_kills: Some(kills), ..files }, true).memory_events.differs
        };
        assert_eq!([5, 2, 1, 0].map(|number| kills(number, &stats)), [2, 0, 1, 2], "missed here, or there");
        // Where the decision is not watched, some may have been marked only.
        stats.oom_victims[RawRole::Unwatched as usize] = 2;
        assert_eq!([6, 5, 2, 1].map(|number| kills(number, &stats)), [1, 0, 0, 1]);
        let pids = compare(&stats, 3, &Files { pids: Some(1), ..files }, true).pids_current;
        assert_eq!(pids, Compared { differs: 2, containers: 1 });
        let empty = |was_populated| compare(&ContainerStats::ZERO, 0, &files, was_populated).cgroup_events;
        assert_eq!((empty(true).differs, empty(false).differs), (1, 0), "it may not have begun");
        let differs = Skew { memory_events: Compared { differs: 2, containers: 1 }, ..agreed };
        assert_eq!(differs.lasting(Skew::default()), agreed, "it may be on its way");
    }

    #[test]
    fn a_cgroup_is_found_by_its_id() {
        use std::os::unix::fs::MetadataExt;
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
        let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"));
        let Some(mount) = mount.and_then(|line| line.split(' ').nth(1)) else { return };
        let root = File::open(mount).unwrap();
        let id = root.metadata().unwrap().ino();
        // Handles of files are for root alone.
        let Ok(found) = open(&root, id) else { return };
        assert_eq!(File::from(found).metadata().unwrap().ino(), id);
        assert!(read(&root, u64::MAX).is_err());
    }
}

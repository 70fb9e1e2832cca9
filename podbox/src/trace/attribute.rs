//! Cgroup ids → containers, boot time → wall time: what turns a raw event into one for people. Pure.
//!
//! A removed container keeps its entry as a tombstone, since events may come after its end.

use super::decode::{self, Raw};
use crate::api::attribution::{OomRole, OomVictim};
use crate::api::event::{Detail, Exit, KernelEvent, Listen, Oom, OomLimit, Reap, Subject};
use crate::api::identity::ContainerRef;
use crate::api::sender::{Origin, Sender};
use podbox_common::{Head, NO_LIMIT, OomEvent, RawLimit, RawRole, Sent};
use std::collections::BTreeMap;
use std::time::Duration;

/// Which cgroup is which container.
#[derive(Debug, Default)]
pub struct Register {
    entries: BTreeMap<u64, Entry>,
}

/// What is known of a cgroup.
#[derive(Debug)]
pub struct Entry {
    /// Whose it is.
    pub container: ContainerRef,
    /// When it was removed, in time since boot.
    pub removed: Option<Duration>,
    /// For a while, nobody recorded what happened there.
    pub gap: bool,
    /// Whoever runs containers now says so; else an earlier podbox did.
    claimed: bool,
}

impl Register {
    /// Says whose a cgroup is.
    pub fn insert(&mut self, cgroup: u64, container: ContainerRef) {
        let gap = self.gap(cgroup);
        self.entries.insert(cgroup, Entry { container, removed: None, gap, claimed: true });
    }

    /// Says whose an earlier podbox said it is.
    pub fn recall(&mut self, cgroup: u64, container: ContainerRef, gap: bool) {
        self.entries.insert(cgroup, Entry { container, removed: None, gap, claimed: false });
    }

    /// Says that what happened in it was not all recorded.
    pub fn miss(&mut self, cgroup: u64) {
        self.entries.get_mut(&cgroup).into_iter().for_each(|entry| entry.gap = true);
    }

    /// Whether that is so.
    pub fn gap(&self, cgroup: u64) -> bool {
        self.entries.get(&cgroup).is_some_and(|entry| entry.gap)
    }

    /// Cgroups of which only an earlier podbox said whose they are, but for tombstones.
    pub fn unclaimed(&self) -> Vec<u64> {
        let unclaimed = |entry: &Entry| !entry.claimed && entry.removed.is_none();
        self.entries.iter().filter(|(_, entry)| unclaimed(entry)).map(|(cgroup, _)| *cgroup).collect()
    }

    /// Forgets a cgroup at once.
    pub fn drop(&mut self, cgroup: u64) {
        self.entries.remove(&cgroup);
    }

    /// Makes an entry a tombstone.
    pub fn remove(&mut self, cgroup: u64, now: Duration) {
        if let Some(entry) = self.entries.get_mut(&cgroup) {
            entry.removed.get_or_insert(now);
        }
    }

    /// Whose a cgroup is, or was.
    pub fn get(&self, cgroup: u64) -> Option<&ContainerRef> {
        self.entries.get(&cgroup).map(|entry| &entry.container)
    }

    /// Every entry, tombstones included.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &ContainerRef)> {
        self.entries.iter().map(|(cgroup, entry)| (*cgroup, &entry.container))
    }

    /// Every entry with all that is known of it.
    pub fn entries(&self) -> impl Iterator<Item = (u64, &Entry)> {
        self.entries.iter().map(|(cgroup, entry)| (*cgroup, entry))
    }

    /// Takes out the tombstones that are older than `age`.
    pub fn expire(&mut self, now: Duration, age: Duration) -> Vec<(u64, ContainerRef)> {
        let old = |entry: &Entry| entry.removed.is_some_and(|removed| now.saturating_sub(removed) >= age);
        let expired = self.entries.iter().filter(|(_, e)| old(e)).map(|(cgroup, _)| *cgroup).collect();
        self.take(expired)
    }

    /// Takes out the oldest tombstones, as many as this.
    pub fn expire_oldest(&mut self, count: usize) -> Vec<(u64, ContainerRef)> {
        let removed = self.entries.iter().filter_map(|(cgroup, entry)| Some((entry.removed?, *cgroup)));
        let mut tombstones: Vec<_> = removed.collect();
        tombstones.sort_unstable();
        self.take(tombstones.into_iter().take(count).map(|(_, cgroup)| cgroup).collect())
    }

    fn take(&mut self, cgroups: Vec<u64>) -> Vec<(u64, ContainerRef)> {
        let taken = cgroups.into_iter().filter_map(|cgroup| Some((cgroup, self.entries.remove(&cgroup)?)));
        taken.map(|(cgroup, entry)| (cgroup, entry.container)).collect()
    }
}

/// What must be known of this host to read an event.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Whether the OOM killer's decision is watched (fentry runs here).
    pub oom_watched: bool,
    /// Wall time at boot: what to add to an event's time.
    pub boot_ns: i128,
    /// The size of its pages, in which the kernel counts memory.
    pub page_bytes: u64,
}

/// The event for people.
pub fn attribute(raw: &Raw, register: &Register, facts: &Facts) -> KernelEvent {
    let detail = match raw {
        Raw::Exit(event) => {
            Detail::Exit(Exit { sender: sender(&event.sent, register, facts), ..decode::exit(event.status) })
        }
        Raw::Oom(event) => Detail::Oom(oom(event, register, facts)),
        Raw::Reap(event) => Detail::Reap(Reap {
            lifetime_ms: event.head.at_ns.saturating_sub(event.died_ns) / 1_000_000,
            reaper_pid: (event.reaper_tgid != 0).then_some(event.reaper_tgid),
            reaper_command: (event.reaper_tgid != 0).then(|| decode::command(&event.reaper_comm)),
        }),
        Raw::Listen(event) => Detail::Listen(Listen { port: event.port, ended: event.listening == 0 }),
    };
    subject(raw.head(), detail, register, facts)
}

/// Adds who and when to what.
pub fn subject(head: &Head, detail: Detail, register: &Register, facts: &Facts) -> KernelEvent {
    KernelEvent {
        seq: head.seq,
        time: time(head.at_ns, facts),
        subject: register.get(head.container).map(Subject::from),
        cgroup: head.leaf,
        pid: head.tgid,
        ns_pid: (head.ns_pid != 0).then_some(head.ns_pid),
        command: decode::command(&head.comm),
        detail,
    }
}

/// Time since boot as wall time.
fn time(at_ns: u64, facts: &Facts) -> jiff::Timestamp {
    let time = jiff::Timestamp::from_nanosecond(facts.boot_ns + i128::from(at_ns));
    time.unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}

/// The victim as whoever handles its exit wants it.
pub fn victim(event: &OomEvent, register: &Register, facts: &Facts) -> OomVictim {
    OomVictim {
        pid: event.head.tgid,
        command: decode::command(&event.head.comm),
        at_ns: event.head.at_ns,
        kill_ns: (event.kill_ns != 0).then_some(event.kill_ns),
        oom: oom(event, register, facts),
    }
}

/// Who sent a signal; `None` where nobody saw one.
pub fn sender(sent: &Sent, register: &Register, facts: &Facts) -> Option<Sender> {
    let origin = origin(sent.origin);
    (origin != Origin::Unknown).then(|| Sender {
        origin,
        signal: sent.signal as u8,
        time: time(sent.at_ns, facts),
        pid: (sent.tgid != 0).then_some(sent.tgid),
        command: (sent.tgid != 0).then(|| decode::command(&sent.comm)),
        container: register.get(sent.container).map(ContainerRef::to_string),
        code: sent.code,
        detail: (sent.detail != 0).then_some(sent.detail),
    })
}

/// Where a signal came from.
pub fn origin(raw: u32) -> Origin {
    use podbox_common::Origin as Raw;
    match Raw::ALL.get(raw as usize) {
        Some(Raw::Itself) => Origin::Itself,
        Some(Raw::Inside) => Origin::Container,
        Some(Raw::Beside) => Origin::OtherContainer,
        Some(Raw::Host) => Origin::Host,
        Some(Raw::Podbox) => Origin::Podbox,
        Some(Raw::Kernel) => Origin::Kernel,
        Some(Raw::Oom) => Origin::Oom,
        Some(Raw::Namespace) => Origin::Namespace,
        Some(Raw::Unknown) | None => Origin::Unknown,
    }
}

/// Where the decision is watched, a mark outside of it can only be the shortcut for one that is exiting.
pub fn role(raw: u32, oom_watched: bool) -> OomRole {
    match raw {
        raw if raw == RawRole::Chosen as u32 => OomRole::Chosen,
        raw if raw == RawRole::Group as u32 => OomRole::Group,
        raw if raw == RawRole::Exiting as u32 => OomRole::Exiting,
        raw if raw == RawRole::Sharing as u32 => OomRole::Sharing,
        _ if oom_watched => OomRole::Exiting,
        _ => OomRole::Unknown,
    }
}

fn oom(event: &OomEvent, register: &Register, facts: &Facts) -> Oom {
    let limit = limit(event.limit_kind);
    let decided = limit.is_some();
    let hit = decided && event.limit != NO_LIMIT;
    let unknown = match (decided, facts.oom_watched) {
        (true, _) => None,
        (false, true) => Some("the kernel chose nobody: the process was exiting already"),
        (false, false) => Some("this kernel refuses fentry, so the killer's decision cannot be watched"),
    };
    let bytes = |pages: u64| pages.saturating_mul(facts.page_bytes);
    Oom {
        role: role(event.role, facts.oom_watched),
        limit,
        limit_unknown: unknown.map(str::to_owned),
        limit_cgroup: hit.then_some(event.limit),
        limit_bytes: decided.then(|| bytes(event.limit_pages)),
        used_bytes: hit.then(|| bytes(event.used_pages)),
        rss_bytes: bytes(event.rss_pages),
        vm_bytes: bytes(event.total_vm_pages),
        trigger_pid: event.trigger_tgid,
        trigger_command: decode::command(&event.trigger_comm),
        trigger_container: register.get(event.trigger_container).map(ContainerRef::to_string),
    }
}

/// Whose limit it was; `None` where the decision was not watched, or there was none.
pub fn limit(raw: u32) -> Option<OomLimit> {
    let is = |kind: RawLimit| raw == kind as u32;
    match () {
        () if is(RawLimit::Node) => Some(OomLimit::Node),
        () if is(RawLimit::Inner) => Some(OomLimit::Inner),
        () if is(RawLimit::Container) => Some(OomLimit::Container),
        () if is(RawLimit::Pod) => Some(OomLimit::Pod),
        () if is(RawLimit::Qos) => Some(OomLimit::Qos),
        () if is(RawLimit::Above) => Some(OomLimit::Above),
        () if is(RawLimit::Elsewhere) => Some(OomLimit::Elsewhere),
        () => None,
    }
}

#[cfg(test)]
#[path = "attribute_tests.rs"]
mod tests;

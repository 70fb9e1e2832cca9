//! Attribution: which pod and container an event is told of, in which role.

use super::*;
use crate::api::identity::PodRef;
use podbox_common::{Comm, ExitEvent, Kind, ListenEvent, ReapEvent};

fn container(name: &str) -> ContainerRef {
    let pod = PodRef { namespace: "shop".into(), name: "web".into(), uid: "u-1".into() };
    ContainerRef { pod, name: name.into(), attempt: 2 }
}

fn register() -> Register {
    let mut register = Register::default();
    register.insert(40, container("app"));
    register.insert(50, container("eater"));
    register
}

fn facts(oom_watched: bool) -> Facts {
    Facts { oom_watched, boot_ns: 1_000_000_000_000, page_bytes: 4096 }
}

fn comm(name: &str) -> Comm {
    let mut comm = [0; 16];
    comm[..name.len()].copy_from_slice(name.as_bytes());
    comm
}

fn head(kind: Kind) -> Head {
    Head {
        kind: kind as u32,
        tgid: 123,
        seq: 7,
        at_ns: 5_500_000_000,
        container: 40,
        leaf: 41,
        ns_pid: 3,
        reserved: 0,
        comm: comm("worker"),
    }
}

fn oom_event(role: RawRole, limit: u64, limit_kind: RawLimit) -> Raw {
    Raw::Oom(OomEvent {
        head: head(Kind::Oom),
        role: role as u32,
        limit_kind: limit_kind as u32,
        limit,
        limit_pages: 256,
        used_pages: 255,
        total_vm_pages: 1000,
        rss_pages: 100,
        kill_ns: 5_400_000_000,
        trigger_tgid: 99,
        reserved: 0,
        trigger_comm: comm("eater"),
        trigger_container: 50,
    })
}

fn json(raw: &Raw, oom_watched: bool) -> serde_json::Value {
    serde_json::to_value(attribute(raw, &register(), &facts(oom_watched))).unwrap()
}

#[test]
fn the_oldest_tombstones_make_room_and_what_is_there_stays() {
    let mut register = register();
    for (cgroup, removed) in [(60, 7), (61, 5), (62, 6)] {
        register.insert(cgroup, container("gone"));
        register.remove(cgroup, Duration::from_secs(removed));
    }
    let expired = |register: &mut Register, count| -> Vec<u64> {
        register.expire_oldest(count).into_iter().map(|(cgroup, _)| cgroup).collect()
    };
    assert_eq!(expired(&mut register, 2), [61, 62]);
    assert_eq!(expired(&mut register, 2), [60]);
    assert!(expired(&mut register, 2).is_empty());
    assert_eq!(register.iter().map(|(cgroup, _)| cgroup).collect::<Vec<_>>(), [40, 50]);
}

#[test]
fn an_exit_is_printed_flat_with_its_container() {
    let sent = Sent {
        at_ns: 5_400_000_000,
        container: 50,
        tgid: 99,
        signal: 9,
        origin: podbox_common::Origin::Beside as u32,
        comm: comm("kill"),
        ..Sent::default()
    };
    let raw = Raw::Exit(ExitEvent { head: head(Kind::Exit), status: 9, reserved: 0, sent });
    assert_eq!(
        json(&raw, true),
        serde_json::json!({
            "kind": "exit", "seq": 7, "time": "1970-01-01T00:16:45.5Z",
            "namespace": "shop", "pod": "web", "uid": "u-1", "container": "app", "attempt": 2,
            "cgroup": 41, "pid": 123, "ns_pid": 3, "command": "worker", "signal": 9,
            "sender": {
                "origin": "other-container", "signal": 9, "time": "1970-01-01T00:16:45.4Z", "pid": 99,
                "command": "kill", "container": "shop/web/eater#2", "code": 0,
            },
        })
    );
}

#[test]
fn a_socket_that_listens_is_printed_with_its_port() {
    let mut event = ListenEvent { head: head(Kind::Listen), port: 8080, family: 2, listening: 1 };
    let begins = json(&Raw::Listen(event), true);
    assert_eq!((&begins["kind"], &begins["port"]), (&"listen".into(), &8080.into()));
    assert!(begins.get("ended").is_none());
    event.listening = 0;
    assert_eq!(json(&Raw::Listen(event), true)["ended"], true);
}

#[test]
fn what_is_printed_can_be_read_back() {
    let reap = ReapEvent {
        head: head(Kind::Reap),
        died_ns: 4_000_000_000,
        reaper_tgid: 0,
        reserved: 0,
        reaper_comm: comm(""),
    };
    let listen = ListenEvent { head: head(Kind::Listen), port: 80, family: 10, listening: 0 };
    for raw in [oom_event(RawRole::Group, 30, RawLimit::Pod), Raw::Reap(reap), Raw::Listen(listen)] {
        let event = attribute(&raw, &register(), &facts(true));
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<KernelEvent>(&text).unwrap(), event);
    }
}

#[test]
fn an_oom_kill_names_role_limit_and_trigger() {
    let event = json(&oom_event(RawRole::Group, 30, RawLimit::Pod), true);
    assert_eq!(event["role"], "group");
    assert_eq!(event["limit"], "pod");
    assert_eq!(event["limit_cgroup"], 30);
    assert_eq!(event["limit_bytes"], 1 << 20);
    assert_eq!(event["trigger_pid"], 99);
    assert_eq!(event["trigger_container"], "shop/web/eater#2");
    assert!(event.get("limit_unknown").is_none());
}

#[test]
fn the_limit_is_named_by_its_place_in_the_tree() {
    let check = |level, expected| {
        let event = oom_event(RawRole::Chosen, 9, RawLimit::at(level, 4));
        assert_eq!(json(&event, true)["limit"], expected, "level {level}");
    };
    check(5, "inner");
    check(4, "container");
    check(3, "pod");
    check(2, "qos");
    check(1, "above");
    assert_eq!(json(&oom_event(RawRole::Chosen, NO_LIMIT, RawLimit::Node), true)["limit"], "node");
    let elsewhere = oom_event(RawRole::Sharing, 9, RawLimit::Elsewhere);
    assert_eq!(json(&elsewhere, true)["limit"], "elsewhere");
    assert_eq!(json(&elsewhere, true)["role"], "sharing");
}

#[test]
fn an_unwatched_kill_says_why_its_limit_is_unknown() {
    let event = json(&oom_event(RawRole::Unwatched, 0, RawLimit::Unknown), false);
    assert_eq!(event["role"], "unknown");
    assert!(event.get("limit").is_none());
    assert!(event["limit_unknown"].as_str().unwrap().contains("fentry"));
    // Where kills are watched, the same mark means that nothing had to be killed.
    assert_eq!(json(&oom_event(RawRole::Unwatched, 0, RawLimit::Unknown), true)["role"], "exiting");
}

#[test]
fn a_tombstone_attributes_until_it_expires() {
    let second = Duration::from_secs;
    let mut register = register();
    register.remove(40, second(100));
    register.remove(40, second(200));
    assert!(register.expire(second(399), second(300)).is_empty());
    assert_eq!(register.get(40), Some(&container("app")));
    assert_eq!(register.expire(second(400), second(300)), [(40, container("app"))]);
    assert_eq!(register.get(40), None);
    assert!(register.get(50).is_some());
}

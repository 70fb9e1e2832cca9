//! Namespaces without a process, and the links into them.

use crate::ground::{Ground, inside, run, serve, who_am_i};
use nix::sched::{CloneFlags, setns};
use podbox::sandbox::link::{self, LinkError, LinkSpec};
use podbox::sandbox::netns::{self, NetnsError, PinSpec, Pinned};
use std::net::{IpAddr, Ipv4Addr};

const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 85, 0, 1);

/// A bridge as the dataplane makes it; its index.
fn bridge() -> u32 {
    run("ip link add br0 type bridge; ip addr add 10.85.0.1/16 dev br0; ip link set br0 up");
    run("cat /proc/thread-self/net/igmp >/dev/null; ip -o link show br0")
        .split(':')
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

fn link_spec(bridge_index: u32, name: &str, last: u8) -> LinkSpec {
    LinkSpec {
        host_name: name.into(),
        bridge_index,
        address: Ipv4Addr::new(10, 85, 0, last),
        prefix_len: 16,
        gateway: GATEWAY,
        mtu: 1400,
    }
}

fn attach(pod: &Pinned, spec: &LinkSpec) {
    link::attach(pod.net.as_ref().unwrap(), spec).unwrap();
}

#[test]
fn two_pods_talk_to_each_other_and_to_the_host() {
    let Some(ground) = Ground::new("two_pods_talk_to_each_other_and_to_the_host") else { return };
    let bridge = bridge();
    let (a, b) = (ground.pin("a"), ground.pin("b"));
    attach(&a, &link_spec(bridge, "pba", 2));
    attach(&b, &link_spec(bridge, "pbb", 3));
    let (a, b) = (a.net.unwrap(), b.net.unwrap());

    let in_b = inside(&b, || serve(Ipv4Addr::new(10, 85, 0, 3)));
    assert_eq!(who_am_i(&in_b, &a), IpAddr::from([10, 85, 0, 2]), "pod to pod, with its own address");
    let in_host = serve(GATEWAY);
    assert_eq!(who_am_i(&in_host, &b), IpAddr::from([10, 85, 0, 3]), "pod to host");
    let in_a = inside(&a, || serve(Ipv4Addr::LOCALHOST));
    assert_eq!(who_am_i(&in_a, &a), IpAddr::V4(Ipv4Addr::LOCALHOST), "pod to itself");
}

#[test]
fn a_pod_has_its_hostname_route_and_settings() {
    let Some(ground) = Ground::new("a_pod_has_its_hostname_route_and_settings") else { return };
    let bridge = bridge();
    let pod = ground.pin("web-0");
    attach(&pod, &link_spec(bridge, "pba", 2));
    let told = std::thread::scope(|scope| {
        let inside = || {
            setns(&pod.uts, CloneFlags::CLONE_NEWUTS).unwrap();
            setns(pod.net.as_ref().unwrap().fd(), CloneFlags::CLONE_NEWNET).unwrap();
            run(
                "hostname; ip -4 route show default; ip -o link show eth0; cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range",
            )
        };
        scope.spawn(inside).join().unwrap()
    });
    for part in
        ["web-0\n", "default via 10.85.0.1 dev eth0", "mtu 1400", "0a:58:0a:55:00:02", "\n0\n0\t2147483647\n"]
    {
        assert!(told.contains(part), "{part:?} in {told}");
    }
}

#[test]
fn what_was_made_is_taken_away_completely() {
    let Some(ground) = Ground::new("what_was_made_is_taken_away_completely") else { return };
    let bridge = bridge();
    let before = ground.snapshot();
    let pod = ground.pin("a");
    attach(&pod, &link_spec(bridge, "pba", 2));
    assert_ne!(ground.snapshot(), before);
    drop(pod);
    for _ in 0..2 {
        link::detach("pba").unwrap();
        netns::unpin(&ground.pins.join("a")).unwrap();
    }
    assert_eq!(ground.snapshot(), before);
    netns::remove_dir(ground.run_dir()).unwrap();
    assert!(!ground.pins.exists());
    netns::remove_dir(ground.run_dir()).unwrap();
}

#[test]
fn each_failing_step_leaves_nothing() {
    let Some(ground) = Ground::new("each_failing_step_leaves_nothing") else { return };
    let bridge = bridge();
    let pod = ground.pin("a");
    let net = pod.net.as_ref().unwrap();
    let good = link_spec(bridge, "pba", 2);
    let before = ground.snapshot();

    let no_bridge = LinkSpec { bridge_index: 4711, ..good.clone() };
    assert!(matches!(link::attach(net, &no_bridge), Err(LinkError::Create { .. })));
    let no_address = LinkSpec { prefix_len: 33, ..good.clone() };
    assert!(matches!(link::attach(net, &no_address), Err(LinkError::Address { .. })));
    let no_route = LinkSpec { gateway: Ipv4Addr::new(192, 0, 2, 1), ..good.clone() };
    let error = link::attach(net, &no_route).unwrap_err();
    assert!(matches!(error, LinkError::Route { .. }), "{error:?}");
    let no_name = LinkSpec { host_name: "a-name-of-many-letters".into(), ..good.clone() };
    assert!(matches!(link::attach(net, &no_name), Err(LinkError::Create { .. })));
    let long = PinSpec { hostname: "x".repeat(65), network: true, ipc: true };
    assert!(matches!(netns::pin(&ground.pins.join("b"), &long), Err(NetnsError::Hostname { .. })));
    assert_eq!(ground.snapshot(), before);

    link::attach(net, &good).unwrap();
}

#[test]
fn a_name_is_never_given_twice() {
    let Some(ground) = Ground::new("a_name_is_never_given_twice") else { return };
    let bridge = bridge();
    let (a, b) = (ground.pin("a"), ground.pin("b"));
    attach(&a, &link_spec(bridge, "pba", 2));
    let before = ground.snapshot();
    let again = link::attach(b.net.as_ref().unwrap(), &link_spec(bridge, "pba", 3));
    assert!(matches!(again, Err(LinkError::Create { .. })));
    let pinned =
        netns::pin(&ground.pins.join("a"), &PinSpec { hostname: "a".into(), network: true, ipc: true });
    assert!(matches!(pinned, Err(NetnsError::Exists(_))));
    assert_eq!(ground.snapshot(), before, "the first pod's link and pins are untouched");
}

#[test]
fn a_host_network_pod_has_no_network_of_its_own() {
    let Some(ground) = Ground::new("a_host_network_pod_has_no_network_of_its_own") else { return };
    let dir = ground.pins.join("a");
    let pod = netns::pin(&dir, &PinSpec { hostname: "node".into(), network: false, ipc: true }).unwrap();
    assert!(pod.net.is_none() && !dir.join("net").exists() && dir.join("uts").exists());
    netns::unpin(&dir).unwrap();
    assert!(!dir.exists());
}

#[test]
fn the_pins_directory_is_not_copied_by_a_recursive_bind() {
    let Some(ground) = Ground::new("the_pins_directory_is_not_copied_by_a_recursive_bind") else { return };
    let _pod = ground.pin("a");
    let again = netns::ensure_dir(ground.run_dir()).unwrap();
    assert_eq!(again, ground.pins);
    let copy = tempfile::tempdir().unwrap();
    let count = || std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap().lines().count();
    let before = count();
    run(&format!("mount --rbind {} {}", ground.run_dir().display(), copy.path().display()));
    assert_eq!(count(), before + 1, "only the directory itself; no pin, and no second tmpfs");
    run(&format!("umount {}", copy.path().display()));
}

/// Not a test: prints what each step costs here. `--ignored measure --nocapture`.
#[test]
#[ignore = "a measurement"]
fn measure() {
    let Some(ground) = Ground::new("measure") else { return };
    let bridge = bridge();
    let mut spans: [Vec<u128>; 4] = Default::default();
    for round in 0..200u8 {
        let name = format!("pb{round}");
        let started = podbox::clock::instant();
        let pod = ground.pin(&name);
        let pinned = podbox::clock::instant();
        attach(&pod, &link_spec(bridge, &name, 2));
        let attached = podbox::clock::instant();
        drop(pod);
        link::detach(&name).unwrap();
        let detached = podbox::clock::instant();
        netns::unpin(&ground.pins.join(&name)).unwrap();
        let unpinned = podbox::clock::instant();
        let ends = [pinned - started, attached - pinned, detached - attached, unpinned - detached];
        for (span, end) in spans.iter_mut().zip(ends) {
            span.push(end.as_micros());
        }
    }
    for (name, span) in ["pin", "attach", "detach", "unpin"].iter().zip(&mut spans) {
        span.sort_unstable();
        println!("{name}: p50 {} us, p99 {} us", span[span.len() / 2], span[span.len() * 99 / 100]);
    }
}

//! The node's side: bridge, forwarding, masquerade, and what happens where the host is in the way.

use crate::ground::{Ground, inside, run, serve, who_am_i};
use podbox::config::Config;
use podbox::net::dataplane::{self, Dataplane, DataplaneError};
use podbox::net::diff::Conflict;
use podbox::sandbox::link::{self, LinkSpec};
use podbox::sandbox::netns::Pinned;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

pub fn config(ground: &Ground) -> Config {
    Config { run_dir: ground.run_dir().to_owned(), ..Config::default() }
}

/// The dataplane's calls on this thread, which is the one in the test's namespaces.
pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn ensure(config: &Config, pods: &[&str]) -> Result<Dataplane, DataplaneError> {
    let pods: BTreeSet<_> = pods.iter().map(|&name| name.to_owned()).collect();
    block_on(dataplane::ensure(config, pods, Vec::new()))
}

pub fn attach(config: &Config, plane: Dataplane, pod: &Pinned, name: &str, last: u8) {
    let spec = LinkSpec {
        host_name: name.into(),
        bridge_index: plane.bridge_index,
        address: Ipv4Addr::new(10, 85, 0, last),
        prefix_len: config.pod_cidr.prefix_len(),
        gateway: config.gateway(),
        mtu: plane.mtu,
    };
    link::attach(pod.net.as_ref().unwrap(), &spec).unwrap();
}

/// A network outside of the node, which knows no way back to pods.
pub fn outside(ground: &Ground) -> Pinned {
    let outside = ground.pin("outside");
    run(&format!(
        "ip link add up0 mtu 1450 type veth peer name up1 netns {}",
        ground.pins.join("outside/net").display()
    ));
    run(
        "ip addr add 192.0.2.1/24 dev up0; ip link set up0 up; ip route add default via 192.0.2.2 dev up0 2>/dev/null || true",
    );
    inside(outside.net.as_ref().unwrap(), || run("ip addr add 192.0.2.2/24 dev up1; ip link set up1 up"));
    run("ip route replace default via 192.0.2.2 dev up0");
    outside
}

#[test]
fn the_world_sees_the_nodes_address_and_pods_see_each_others() {
    let Some(ground) = Ground::new("the_world_sees_the_nodes_address_and_pods_see_each_others") else {
        return;
    };
    let config = config(&ground);
    let world = outside(&ground).net.unwrap();
    let plane = ensure(&config, &[]).unwrap();
    assert_eq!(plane.mtu, 1450, "that of the way out");
    let (a, b) = (ground.pin("a"), ground.pin("b"));
    attach(&config, plane, &a, "pba", 2);
    attach(&config, plane, &b, "pbb", 3);
    let (a, b) = (a.net.unwrap(), b.net.unwrap());

    let in_world = inside(&world, || serve(Ipv4Addr::new(192, 0, 2, 2)));
    assert_eq!(who_am_i(&in_world, &a), IpAddr::from([192, 0, 2, 1]), "masqueraded");
    let in_b = inside(&b, || serve(Ipv4Addr::new(10, 85, 0, 3)));
    assert_eq!(who_am_i(&in_b, &a), IpAddr::from([10, 85, 0, 2]), "not masqueraded");
    let in_host = serve(config.gateway());
    assert_eq!(who_am_i(&in_host, &a), IpAddr::from([10, 85, 0, 2]), "to the host: not masqueraded");
}

#[test]
fn teardown_restores_the_host() {
    let Some(ground) = Ground::new("teardown_restores_the_host") else { return };
    let config = config(&ground);
    run("sysctl -qw net.ipv4.ip_forward=0");
    let before = ground.snapshot() + &run("sysctl net.ipv4.ip_forward");
    for _ in 0..2 {
        ensure(&config, &[]).unwrap();
        let plane = ensure(&config, &[]).unwrap();
        assert_eq!(ensure(&config, &[]).unwrap(), plane, "making it again changes nothing");
        assert_eq!(run("sysctl -n net.ipv4.ip_forward"), "1\n");
        let pod = ground.pin("a");
        attach(&config, plane, &pod, "pba", 2);
        block_on(dataplane::teardown(&config)).unwrap();
        drop(pod);
        podbox::sandbox::netns::unpin(&ground.pins.join("a")).unwrap();
        assert_eq!(ground.snapshot() + &run("sysctl net.ipv4.ip_forward"), before);
    }
    block_on(dataplane::teardown(&config)).unwrap();
}

#[test]
fn forwarding_stays_where_it_was_on_or_another_needs_it() {
    let Some(ground) = Ground::new("forwarding_stays_where_it_was_on_or_another_needs_it") else { return };
    let config = config(&ground);
    run("sysctl -qw net.ipv4.ip_forward=1");
    ensure(&config, &[]).unwrap();
    block_on(dataplane::teardown(&config)).unwrap();
    assert_eq!(run("sysctl -n net.ipv4.ip_forward"), "1\n");

    run("sysctl -qw net.ipv4.ip_forward=0");
    ensure(&config, &[]).unwrap();
    run("ip link add other0 type bridge; ip link set other0 up");
    block_on(dataplane::teardown(&config)).unwrap();
    assert_eq!(run("sysctl -n net.ipv4.ip_forward"), "1\n", "other0 came in the meantime");
}

#[test]
fn links_without_a_pod_are_removed_at_start() {
    let Some(ground) = Ground::new("links_without_a_pod_are_removed_at_start") else { return };
    let config = config(&ground);
    let plane = ensure(&config, &[]).unwrap();
    let (a, b) = (ground.pin("a"), ground.pin("b"));
    attach(&config, plane, &a, "pba", 2);
    attach(&config, plane, &b, "pbb", 3);
    run("ip link add pbforeign type bridge");
    ensure(&config, &["pbb"]).unwrap();
    let links = run("ip -o link");
    assert!(!links.contains("pba@") && links.contains("pbb@") && links.contains("pbforeign"), "{links}");
}

#[test]
fn a_host_in_the_way_is_told_and_left_alone() {
    let Some(ground) = Ground::new("a_host_in_the_way_is_told_and_left_alone") else { return };
    let config = config(&ground);
    let conflicts = [
        ("ip link add podbox0 type bridge", "podbox0"),
        ("ip link add v0 type bridge; ip addr add 10.85.9.1/24 dev v0; ip link set v0 up", "v0"),
        ("ip link add v0 type bridge; ip link set v0 up; ip route add 10.85.9.0/24 dev v0", "v0"),
    ];
    for (way, link) in conflicts {
        run(way);
        let before = ground.snapshot();
        let error = ensure(&config, &[]).unwrap_err();
        assert!(matches!(error, DataplaneError::Conflict(Conflict::Bridge(..) | Conflict::Range { .. })));
        assert!(error.to_string().contains(link), "{error}");
        assert_eq!(ground.snapshot(), before, "after {way}");
        run(&format!("ip link delete {link}"));
    }
}

#[test]
fn a_failure_half_way_leaves_nothing() {
    let Some(ground) = Ground::new("a_failure_half_way_leaves_nothing") else { return };
    let config = config(&ground);
    run("sysctl -qw net.ipv4.ip_forward=0");
    let before = ground.snapshot();
    // Forwarding cannot be noted down: the run directory is not a directory.
    let broken = Config { run_dir: "/dev/null".into(), ..config.clone() };
    let error = ensure(&broken, &[]).unwrap_err();
    assert!(matches!(error, DataplaneError::File { .. }), "{error:?}");
    assert_eq!(ground.snapshot(), before);
    ensure(&config, &[]).unwrap();
}

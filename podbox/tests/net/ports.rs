//! Ports of the node that lead to pods, and the Service of the API: who reaches them, and what they must not take.

use crate::dataplane::{attach, block_on, config, outside};
use crate::ground::{Ground, inside, run};
use podbox::net::{dataplane, nat};
use podbox::sandbox::spec::Forward;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::time::Duration;

/// For what is there.
const PATIENCE: Duration = Duration::from_secs(60);
/// For what must not be: packets that are dropped have no answer.
const SILENCE: Duration = Duration::from_millis(500);

const POD: Ipv4Addr = Ipv4Addr::new(10, 85, 0, 2);
const NODE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const SERVICE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 1), 443);

/// Tells whoever connects its name, from now on.
fn serve(name: &'static str, address: Ipv4Addr, port: u16) -> SocketAddrV4 {
    let listener = TcpListener::bind((address, port)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for caller in listener.incoming() {
            let _ = caller.unwrap().write_all(name.as_bytes());
        }
    });
    SocketAddrV4::new(address, port)
}

/// Who answers there.
fn ask(address: Ipv4Addr, port: u16, patience: Duration) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&SocketAddrV4::new(address, port).into(), patience).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).ok()?;
    Some(said)
}

fn to_pod(address: Ipv4Addr, port: u16) -> (Ipv4Addr, Forward) {
    (POD, Forward { address, protocol: "TCP".into(), port, target_port: 80 })
}

#[test]
fn ports_of_the_node_and_the_api_are_for_whom_they_are_meant() {
    let Some(ground) = Ground::new("ports_of_the_node_and_the_api_are_for_whom_they_are_meant") else {
        return;
    };
    let config = config(&ground);
    let neighbour = outside(&ground).net.unwrap();
    let foreign = inside(&neighbour, || serve("neighbour", NEIGHBOUR, 0));
    let forwards = vec![
        to_pod(Ipv4Addr::UNSPECIFIED, 8081),
        to_pod(Ipv4Addr::LOCALHOST, 8082),
        to_pod(NODE, 8083),
        // An address that is not the node's.
        to_pod(NEIGHBOUR, foreign.port()),
    ];
    let plane = block_on(dataplane::ensure(&config, BTreeSet::new(), forwards)).unwrap();
    let (server, client) = (ground.pin("a"), ground.pin("b"));
    attach(&config, plane, &server, "pba", 2);
    attach(&config, plane, &client, "pbb", 3);
    let (server, client) = (server.net.unwrap(), client.net.unwrap());
    inside(&server, || serve("pod", POD, 80));
    nat::lead(SERVICE, serve("api", config.gateway(), 0)).unwrap();
    // A neighbour that sends what it likes to the node.
    inside(&neighbour, || {
        run("ip addr flush dev lo; sysctl -qw net.ipv4.conf.all.route_localnet=1; \
             ip route add 127.0.0.1/32 via 192.0.2.1; ip route add 10.96.0.1/32 via 192.0.2.1")
    });

    let host = |address, port| ask(address, port, PATIENCE);
    let pod = |address, port| inside(&client, || ask(address, port, PATIENCE));
    let beside = |address, port, patience| inside(&neighbour, || ask(address, port, patience));
    let (led, (service, port)) = (Some("pod".to_owned()), (*SERVICE.ip(), SERVICE.port()));
    for port in [8081, 8082] {
        assert_eq!(host(Ipv4Addr::LOCALHOST, port), led, "the node's loopback, {port}");
    }
    for port in [8081, 8083] {
        assert_eq!(pod(NODE, port), led, "a pod, {port}");
        assert_eq!(beside(NODE, port, PATIENCE), led, "a neighbour, {port}");
    }
    for from in [host(service, port), pod(service, port)] {
        assert_eq!(from.as_deref(), Some("api"));
    }

    for from in [host(NEIGHBOUR, foreign.port()), pod(NEIGHBOUR, foreign.port())] {
        assert_eq!(from.as_deref(), Some("neighbour"), "traffic to a foreign address stays its own");
    }
    for port in [8081, 8082] {
        assert_eq!(
            beside(Ipv4Addr::LOCALHOST, port, SILENCE),
            None,
            "the node's loopback is its own, {port}"
        );
    }
    assert_eq!(beside(service, port, SILENCE), None, "the API is for this node and its pods");
}

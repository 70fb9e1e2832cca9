//! Leases over `kill -9`, at any moment.

use podbox::net::lease::Leases;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};

const CHILD: &str = "PODBOX_TEST_LEASES";

fn open(dir: &Path) -> Leases {
    Leases::open(dir, "10.85.0.0/16".parse().unwrap()).unwrap()
}

/// Not a test by itself: gives out addresses and tells each once it has it, until it is killed.
#[test]
fn child_that_leases() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let mut leases = open(Path::new(&dir));
    let start = leases.ipam().leased();
    for pod in start.. {
        let address = leases.acquire(&pod.to_string()).unwrap();
        println!("leased {pod} {address}");
    }
}

#[test]
fn no_address_is_given_twice_over_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut told: BTreeMap<Ipv4Addr, String> = BTreeMap::new();
    for kills in 1..8 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "lease::child_that_leases", "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = 0;
        while seen < kills * 7 {
            let line = lines.next().unwrap().unwrap();
            seen += usize::from(note(&line, &mut told));
        }
        child.kill().unwrap();
        // What it told before it died counts too.
        for line in lines.map_while(Result::ok) {
            note(&line, &mut told);
        }
        child.wait().unwrap();
        let leases = open(dir.path());
        for (address, pod) in &told {
            assert_eq!(leases.ipam().get(pod), Some(*address), "pod {pod} after {kills} kills");
        }
    }
}

/// Notes a lease that was told; a line cut short by the kill was not.
fn note(line: &str, told: &mut BTreeMap<Ipv4Addr, String>) -> bool {
    let Some(lease) = line.split("leased ").nth(1) else { return false };
    let Some((pod, address)) = lease.split_once(' ') else { return false };
    let Ok(address) = address.parse() else { return false };
    let other = told.insert(address, pod.to_owned());
    assert_eq!(other, None, "{address} twice");
    true
}

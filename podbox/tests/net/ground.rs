//! The ground a network test stands on: network and mount namespaces of the test thread's own, so that the
//! machine's are never touched, and what is in them.

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use podbox::sandbox::netns::{self, PinSpec, Pinned, PodNet};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long one connection may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// Namespaces of this thread's own, and a run directory.
pub struct Ground {
    run_dir: tempfile::TempDir,
    pub pins: PathBuf,
}

impl Ground {
    /// `None`, told loudly, where the kernel does not allow namespaces.
    pub fn new(test: &str) -> Option<Ground> {
        if let Err(errno) = unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS) {
            eprintln!("SKIPPED {test}: making namespaces failed: {errno} (it needs CAP_SYS_ADMIN)");
            return None;
        }
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        run("ip link set lo up");
        let run_dir = tempfile::tempdir().unwrap();
        let pins = netns::ensure_dir(run_dir.path()).unwrap();
        Some(Ground { run_dir, pins })
    }

    pub fn run_dir(&self) -> &Path {
        self.run_dir.path()
    }

    pub fn pin(&self, name: &str) -> Pinned {
        netns::pin(&self.pins.join(name), &PinSpec { hostname: name.into(), network: true, ipc: true })
            .unwrap()
    }

    /// Everything a sandbox could leave behind: links, addresses, routes, rules, mounts, pins.
    pub fn snapshot(&self) -> String {
        let mounts = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let mut pins: Vec<_> =
            std::fs::read_dir(&self.pins).unwrap().map(|e| e.unwrap().file_name()).collect();
        pins.sort();
        // Not `ip link`: its state column settles late.
        let network =
            ["ip -o -4 addr", "ip -4 route", "nft list ruleset", "ls /proc/thread-self/net/dev_snmp6"];
        let network: Vec<_> = network.iter().map(|command| run(command)).collect();
        // A bridge without ports loses its carrier a moment after the last one left.
        let network = network.join("\n").replace("linkdown ", "");
        format!("{network}\n{mounts}\n{pins:?}")
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // Detaches the tests' own leftovers when one fails half-way; the namespaces die with the thread.
        let _ = nix::mount::umount2(&self.pins, nix::mount::MntFlags::MNT_DETACH);
    }
}

/// Runs a command in this thread's namespaces.
pub fn run(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Does the work in a pod's network namespace.
pub fn inside<T: Send>(pod: &PodNet, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            setns(pod.fd(), CloneFlags::CLONE_NEWNET).unwrap();
            work()
        });
        thread.join().unwrap()
    })
}

/// A server that tells one caller which address it comes from.
pub fn serve(address: Ipv4Addr) -> TcpListener {
    TcpListener::bind((address, 0)).unwrap()
}

/// Connects to the server and returns who it says we are.
pub fn who_am_i(server: &TcpListener, pod: &PodNet) -> IpAddr {
    let address = server.local_addr().unwrap();
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| {
            let (mut caller, from) = server.accept().unwrap();
            caller.write_all(from.ip().to_string().as_bytes()).unwrap();
        });
        let said = inside(pod, || ask(address));
        answer.join().unwrap();
        said.parse().unwrap()
    })
}

fn ask(address: SocketAddr) -> String {
    let mut said = String::new();
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)
        .unwrap_or_else(|error| panic!("no way to {address}: {error}"));
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.read_to_string(&mut said).unwrap();
    said
}

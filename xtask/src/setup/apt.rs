//! Debian packages: which, why, and how to tell that they are there without asking dpkg.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::Need;
use crate::workspace;

/// A package, what tells that it is installed, and what it is for.
pub struct Package {
    /// Its name in Debian.
    pub name: &'static str,
    /// A file it brings.
    proof: &'static str,
    /// What needs it.
    serves: &'static [Serves],
}

/// What a package is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Serves {
    Build,
    Image,
    Vm,
    Peers,
}
use Serves::{Build, Image, Peers, Vm};

impl Package {
    /// Whether `need` needs it.
    pub fn serves(&self, need: Need<'_>) -> bool {
        self.serves.contains(&match need {
            Need::Build => Build,
            Need::Image => Image,
            Need::Vm(_) => Vm,
            Need::Peers => Peers,
        })
    }

    /// Whether it is installed.
    pub fn is_here(&self) -> bool {
        Path::new(self.proof).exists()
    }
}

const fn package(serves: &'static [Serves], name: &'static str, proof: &'static str) -> Package {
    Package { name, proof, serves }
}

/// Everything that is taken from Debian.
pub const PACKAGES: &[Package] = &[
    // A C compiler and linker, for the crates that have C in them.
    package(&[Build], "gcc", "/usr/bin/gcc"),
    package(&[Build], "libc6-dev", "/usr/include/stdlib.h"),
    package(&[Build], "pkg-config", "/usr/bin/pkg-config"),
    // A rustc with a `core` for BPF, and the LLVM that bpf-linker is built against.
    package(&[Build], "rustc-web", "/usr/bin/rustc"),
    package(&[Build], "libstd-rust-web-dev-bpf", "/usr/lib/rustlib/bpfel-unknown-none/lib"),
    package(&[Build], "llvm-22-dev", "/usr/lib/llvm-22/bin/llvm-config"),
    package(&[Build], "g++", "/usr/bin/g++"),
    package(&[Build], "zlib1g-dev", "/usr/include/zlib.h"),
    package(&[Build], "libzstd-dev", "/usr/include/zstd.h"),
    // The machine, its first programs, and what unpacks and indexes its modules.
    package(&[Vm], "qemu-system-x86", "/usr/bin/qemu-system-x86_64"),
    package(&[Image, Vm], "busybox-static", "/bin/busybox"),
    package(&[Vm], "kmod", "/sbin/depmod"),
    package(&[Vm], "xz-utils", "/usr/bin/xz"),
    package(&[Vm], "util-linux", "/usr/bin/setpriv"),
    // What podbox is tested with and measured beside.
    package(&[Peers], "crun", "/usr/bin/crun"),
    package(&[Peers], "runc", "/usr/sbin/runc"),
    package(&[Peers], "containernetworking-plugins", "/usr/lib/cni/bridge"),
    package(&[Peers], "docker-registry", "/usr/bin/docker-registry"),
    package(&[Peers], "skopeo", "/usr/bin/skopeo"),
    package(&[Peers], "nftables", "/usr/sbin/nft"),
    package(&[Peers], "iptables", "/usr/sbin/iptables"),
    package(&[Peers], "iproute2", "/usr/sbin/ip"),
    package(&[Peers], "strace", "/usr/bin/strace"),
    package(&[Peers], "prometheus", "/usr/bin/promtool"),
    package(&[Peers], "victoria-metrics", "/usr/bin/vmagent"),
    package(&[Peers], "wrk", "/usr/bin/wrk"),
    package(&[Peers], "etcd-server", "/usr/bin/etcd"),
    // For the peers that Debian doesn't have.
    package(&[Peers], "python3-venv", "/usr/lib/python3.11/ensurepip"),
];

/// Installs `packages`, with apt's progress on our output.
pub fn install(packages: &[&Package]) -> Result<()> {
    let names: Vec<&str> = packages.iter().map(|package| package.name).collect();
    let by_hand = format!("apt-get install --no-install-recommends {}", names.join(" "));
    if workspace::which("apt-get").is_none() {
        bail!("setup: missing {}; there is no apt-get here, install them your own way", names.join(", "));
    }
    if !workspace::is_root() && workspace::which("sudo").is_none() {
        bail!("setup: installing needs root; run as root: {by_hand}");
    }
    eprintln!("setup: installing {}", names.join(", "));
    workspace::run(as_root("apt-get").args(["update", "--quiet"])).with_context(|| {
        format!("setup: the package lists can't be had; is there network? By hand: {by_hand}")
    })?;
    // A package that brings a daemon doesn't start it: RUNLEVEL=1 is for sysvinit, the other for systemd.
    let mut install = as_root("env");
    install.args([
        "RUNLEVEL=1",
        "SYSTEMD_OFFLINE=1",
        "DEBIAN_FRONTEND=noninteractive",
        "apt-get",
        "install",
        "--quiet",
        "--yes",
    ]);
    install.args(["--no-install-recommends"]).args(&names);
    workspace::run(&mut install).with_context(|| format!("setup: by hand: {by_hand}"))?;
    match packages.iter().find(|package| !package.is_here()) {
        None => Ok(()),
        Some(package) => bail!(
            "setup: {} is installed but {} is not there; this tool knows Debian 12, other releases may differ",
            package.name,
            package.proof
        ),
    }
}

/// `program` with root's rights.
fn as_root(program: &str) -> Command {
    let mut command = if workspace::is_root() {
        workspace::command(program)
    } else {
        let mut sudo = workspace::command("sudo");
        sudo.arg(program);
        sudo
    };
    command.stdin(Stdio::inherit());
    command
}

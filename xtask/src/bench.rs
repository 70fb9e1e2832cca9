//! `cargo xtask bench NAME`: builds podbox and its benchmark program (`tests/src/bin/podbox-bench`, which says how each is
//! measured) for release, and runs it on this host or in a virtual machine. Its last line is one JSON object.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::setup::{self, Need};
use crate::{image, vm, workspace};

/// The longest time a benchmark may take.
const LIMIT: Duration = Duration::from_secs(1800);
/// What the benchmark program needs before it can start: directories of its own, the test image. On a host without
/// the v2 controllers at the usual place, cgroup v2 is where systemd's hybrid layout has it.
const PREPARE: &str = r#"
set -e
ip link set lo up
for dir in /var/lib/podbox /run/podbox /var/log/pods; do mkdir -p $dir; mount -t tmpfs tmpfs $dir; done
[ -e /sys/fs/cgroup/cgroup.controllers ] || export PODBOX_CGROUP_ROOT=/sys/fs/cgroup/unified
podbox image load "$1" >&2
export PODBOX_BENCH_IMAGE="$1"
shift
exec podbox-bench "$@"
"#;

/// `cargo xtask bench`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Which one.
    #[arg(value_parser = ["pod-start", "exec", "kernel", "memory", "store", "api", "pods", "probes", "control"])]
    name: String,
    /// Run in a virtual machine; the default, except for api, pods, probes, control, and what of kernel needs no memory controller.
    #[arg(long, conflicts_with = "host")]
    vm: bool,
    /// Run on this host's kernel, in a network and mount namespace of its own.
    #[arg(long)]
    host: bool,
    /// Kernel series of the virtual machine.
    #[arg(long, default_value = "6.12", value_parser = clap::builder::PossibleValuesParser::new(vm::SERIES))]
    kernel: String,
    /// Samples of each thing that is timed.
    #[arg(long, default_value_t = 20)]
    samples: u32,
    /// Only this part of probes, control or kernel.
    #[arg(long, value_parser = ["cost", "oom", "exec", "listen", "rollout", "rate", "busy", "bind", "react", "idle"])]
    part: Option<String>,
}

/// Runs the verb; returns its exit status.
pub fn main(args: &Args) -> Result<i32> {
    setup::ensure(&[Need::Build, Need::Peers])?;
    eprintln!("bench: building for release");
    let build = ["build", "--release", "--quiet", "--bin", "podbox", "--bin", "podbox-bench"];
    workspace::run(workspace::cargo().args(build))?;
    let image = image::ensure()?.display().to_string();
    let samples = args.samples.to_string();
    let words = |part: Option<&str>| {
        let words = ["sh", "-c", PREPARE, "sh", &image, &args.name, &samples];
        words.into_iter().chain(part).map(str::to_owned).collect::<Vec<_>>()
    };
    let bin = workspace::target().join("release");
    let mut part = args.part.as_deref();
    if args.host || (!args.vm && ["kernel", "api", "pods", "probes", "control"].contains(&&*args.name)) {
        ensure!(workspace::is_root(), "benchmarks make namespaces and cgroups: run as root");
        eprintln!("bench: on this host");
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "--propagation", "private", "--"]).args(words(part));
        command.env("PATH", workspace::search_path(&bin)?);
        let status = command.status().context("cannot start unshare")?;
        let rest_in_machine = args.name == "kernel" && part.is_none() && !args.host && !limits_memory();
        if !status.success() || !rest_in_machine {
            return Ok(status.code().unwrap_or(1));
        }
        part = Some("oom");
    }
    setup::ensure(&[Need::Vm(&args.kernel)])?;
    eprintln!("bench: in a virtual machine with kernel {}", args.kernel);
    let command = words(part);
    let (series, memory) = (args.kernel.clone(), "4G".to_owned());
    vm::run(&vm::Request { series, memory, timeout: LIMIT, bin, command })
}

/// Whether this host's cgroup v2 can limit memory.
fn limits_memory() -> bool {
    std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").is_ok_and(|names| names.contains("memory"))
}

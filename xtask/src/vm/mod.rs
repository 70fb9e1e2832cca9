//! `cargo xtask vm`: runs a command as root on another kernel, with everything that is installed on this host.
//!
//! The guest's root is the host's own root file system, read-only over 9p, below a writable layer that vanishes with the
//! machine. One directory is shared for results: `$PODBOX_VM_OUT`, the same path on both sides. The guest has no network.
//! What the machine itself does wrong (no boot, a panic, a hang) is an error with the console's tail, apart from
//! the command's exit status, which is passed on.

mod initramfs;
mod job;
mod logs;
mod machine;
mod modules;
mod signals;
mod stream;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::setup;
use crate::workspace;
use job::Job;
use machine::{Boot, End};

/// The kernel series that podbox is tested on, oldest first.
pub const SERIES: &[&str] = &["6.1", "6.12"];

/// How many lines of the console a failure shows.
const TAIL: usize = 50;

/// `cargo xtask vm`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Kernel series.
    #[arg(long, default_value = "6.12", value_parser = clap::builder::PossibleValuesParser::new(SERIES))]
    kernel: String,
    /// Memory, as qemu writes it; only what the guest uses is taken.
    #[arg(long, default_value = "4G")]
    memory: String,
    /// The longest time the machine may run.
    #[arg(long, default_value_t = 1200, value_name = "SECONDS")]
    timeout: u64,
    /// Put the release build's binaries on PATH instead of the debug build's.
    #[arg(long)]
    release: bool,
    /// Take the workspace's binaries as they are.
    #[arg(long)]
    no_build: bool,
    /// The command, run in the present directory.
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

/// What a machine is asked to be and to do.
#[derive(Debug, Clone)]
pub struct Request {
    /// Kernel series, one of [`SERIES`].
    pub series: String,
    /// Memory, as qemu writes it.
    pub memory: String,
    /// The longest time it may run.
    pub timeout: Duration,
    /// The directory that comes first on the command's `PATH`.
    pub bin: PathBuf,
    /// The command.
    pub command: Vec<String>,
}

/// What is booted.
pub struct Kernel {
    /// Where `setup` has put it.
    dir: PathBuf,
    /// Its image.
    vmlinuz: PathBuf,
    /// The initramfs with its modules.
    initrd: PathBuf,
}

/// How the guest's processor is had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accel {
    /// The host's processor.
    Kvm,
    /// An emulated one, some ten times slower.
    Tcg,
}

impl Accel {
    fn arguments(self) -> [&'static str; 4] {
        match self {
            Accel::Kvm => ["-accel", "kvm", "-cpu", "host"],
            // One thread for both processors: with a thread each, QEMU 7.2 lets one run on code that the other has just
            // changed, and a kernel that switches its static branches dies of an int3 now and then.
            Accel::Tcg => ["-accel", "tcg,thread=single", "-cpu", "max"],
        }
    }

    /// How long a boot may take. With KVM that is seconds; but who gives it up does without until the host boots again, and that is
    /// ten times slower, so a slow or busy host has its time. One whose KVM cannot run the kernel says so at once
    /// (`machine`); one that says nothing loses this time, and only once.
    fn boot_limit(self) -> Duration {
        Duration::from_secs(match self {
            Accel::Kvm => 180,
            Accel::Tcg => 600,
        })
    }
}

/// Runs the verb; returns the command's exit status.
pub fn main(args: Args) -> Result<i32> {
    if !args.no_build {
        let mut cargo = workspace::cargo();
        cargo.args(["build", "--quiet", "--package", "podbox"]);
        if args.release {
            cargo.arg("--release");
        }
        workspace::run(&mut cargo)?;
    }
    run(&Request {
        series: args.kernel,
        memory: args.memory,
        timeout: Duration::from_secs(args.timeout),
        bin: workspace::target().join(if args.release { "release" } else { "debug" }),
        command: args.command,
    })
}

/// Boots a machine as requested, with its output on ours; returns the command's exit status.
pub fn run(request: &Request) -> Result<i32> {
    boot(request, None)
}

/// As [`run`], with the command's standard output in `output` instead of ours; several machines may run at once so, if
/// [`heed_signals`] was called first.
pub fn run_into(request: &Request, output: File) -> Result<i32> {
    boot(request, Some(&output))
}

/// Makes interrupt and terminate signals wait for the machines that will run; to be called before there are threads.
pub fn heed_signals() -> Result<()> {
    signals::block()
}

fn boot(request: &Request, output: Option<&File>) -> Result<i32> {
    setup::ensure(&[setup::Need::Vm(&request.series)])?;
    let dir = workspace::vm().join(&request.series);
    let (vmlinuz, modules) = installed(&dir)?;
    let initrd = initramfs::ensure(&modules, &dir)?;
    let kernel = Kernel { dir, vmlinuz, initrd };
    let attempt = |accel| attempt(request, &kernel, accel, output);
    if kvm_is_worth_a_try() {
        match attempt(Accel::Kvm)? {
            End::NeverBooted(why) if why != "interrupted" => {
                eprintln!("vm: KVM doesn't work here ({why}); emulating the processor instead");
                std::fs::write(no_kvm_stamp(), boot_id())?;
            }
            end => return finish(end),
        }
    }
    finish(attempt(Accel::Tcg)?)
}

/// One boot. What the console said is shown and kept only if the machine failed.
fn attempt(request: &Request, kernel: &Kernel, accel: Accel, output: Option<&File>) -> Result<End> {
    let job = Job::new(&request.command, &request.bin, &kernel.dir)?;
    let console = machine::console(&job);
    let end = machine::run(request, &Boot { kernel, console: &console, accel, output }, &job)?;
    let said = std::fs::read(&console).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let complaint = std::fs::read_to_string(job.dir.join("qemu")).unwrap_or_default();
    logs::prune(&workspace::vm());
    Ok(match end {
        End::Ended(status) => {
            std::fs::remove_file(&console).ok();
            End::Ended(status)
        }
        End::Died(why) => End::Died(describe(&why, &said, &complaint, &console)),
        // Trying KVM is no failure to be told at length.
        End::NeverBooted(why) if accel == Accel::Kvm => {
            std::fs::remove_file(&console).ok();
            End::NeverBooted(why)
        }
        End::NeverBooted(why) => End::NeverBooted(describe(&why, &said, &complaint, &console)),
    })
}

fn finish(end: End) -> Result<i32> {
    match end {
        End::Ended(status) => Ok(status),
        End::NeverBooted(why) | End::Died(why) => bail!("vm: {why}"),
    }
}

/// Why the machine failed, with what qemu said and the console's tail.
fn describe(why: &str, console: &str, qemu: &str, path: &Path) -> String {
    let lines: Vec<&str> = console.lines().map(str::trim_end).collect();
    let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n");
    let panic = lines.iter().find_map(|line| line.find("Kernel panic").map(|at| &line[at..]));
    let why = panic.map_or_else(|| why.to_owned(), |panic| format!("{panic}; {why}"));
    let qemu = qemu.trim_end();
    format!("{why}\n{qemu}\n--- end of the console, whole in {} ---\n{tail}", path.display())
}

/// The kernel image and the modules' directory that `setup` put below `dir`.
fn installed(dir: &Path) -> Result<(PathBuf, PathBuf)> {
    let boot = dir.join("boot");
    let release = std::fs::read_dir(&boot)
        .with_context(|| format!("cannot read {}", boot.display()))?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_prefix("vmlinuz-").map(str::to_owned))
        .max()
        .with_context(|| {
            format!("no kernel in {}; remove {} and try again", boot.display(), dir.display())
        })?;
    Ok((boot.join(format!("vmlinuz-{release}")), dir.join("lib/modules").join(release)))
}

/// Whether this host has KVM that wasn't found unable to run a guest since the host's own boot.
fn kvm_is_worth_a_try() -> bool {
    let open = File::options().read(true).write(true).open("/dev/kvm");
    open.is_ok() && std::fs::read_to_string(no_kvm_stamp()).ok() != Some(boot_id())
}

fn no_kvm_stamp() -> PathBuf {
    workspace::vm().join("kvm-does-not-work")
}

fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

#[cfg(test)]
mod tests;

//! One virtual machine from start to end: qemu's command line, and the loop that watches it.
//!
//! ```text
//! booting ──ready──▶ running ──exit──▶ draining ──both outputs complete──▶ Ended(status)
//!    │                  │
//!    │                  └─ qemu ends (a panic reboots, and a reboot ends qemu), no beat, too long ─▶ Died(why)
//!    └─ qemu ends or cannot go on, or no sign of life in the time a boot takes ─▶ NeverBooted(why)
//! ```

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::job::Job;
use super::stream::{self, Connection, Event};
use super::{Accel, Kernel, Request};
use crate::clock;

/// The guest says every two seconds that it lives; on a loaded machine without KVM it may be very late.
const NO_BEAT: Duration = Duration::from_secs(300);
/// What remains of the output after the command's end is on its way already.
const DRAIN: Duration = Duration::from_secs(10);
/// How often the loop looks at the clock and at qemu.
const TICK: Duration = Duration::from_millis(100);

/// What qemu says of a host whose KVM cannot run this kernel. The machine stands still then, for ever.
const UNABLE: &str = "KVM internal error";

/// How a machine ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// The command ended with this status.
    Ended(i32),
    /// The machine didn't get as far as the command.
    NeverBooted(String),
    /// The machine died or hung while the command ran.
    Died(String),
}

/// What qemu is told to boot, and how.
pub struct Boot<'a> {
    /// Kernel and initramfs.
    pub kernel: &'a Kernel,
    /// Where the kernel's console is written.
    pub console: &'a Path,
    /// How the processor is had.
    pub accel: Accel,
    /// Where the command's standard output goes, if not to ours.
    pub output: Option<&'a File>,
}

/// Boots a machine, runs the job, and returns how that ended; nothing of the machine is left.
pub fn run(request: &Request, boot: &Boot<'_>, job: &Job) -> Result<End> {
    super::signals::block()?;
    let (sender, events) = channel();
    let output: Box<dyn io::Write + Send> = match boot.output {
        Some(file) => Box::new(file.try_clone().context("cannot hand on the output")?),
        None => Box::new(io::stdout()),
    };
    stream::copy(&job.socket("stdout"), &job.mark, output, sender.clone())?;
    stream::copy(&job.socket("stderr"), &job.mark, io::stderr(), sender.clone())?;
    stream::control(&job.socket("control"), sender.clone())?;
    super::signals::forward(sender);
    let mut command = qemu(request, boot, job)?;
    let child = command.spawn().with_context(|| format!("cannot start {:?}", command.get_program()))?;
    let now = clock::now();
    let mut watch = Watch {
        qemu: child,
        control: None,
        started: now,
        beat: now,
        ready: false,
        status: None,
        complete: 0,
        interrupts: 0,
        said: job.dir.join("qemu"),
        boot_limit: boot.accel.boot_limit(),
        run_limit: request.timeout,
    };
    let end = watch.until_end(&events);
    drop(events);
    watch.qemu.kill().ok();
    watch.qemu.wait().context("cannot wait for qemu")?;
    Ok(end)
}

/// qemu's command line.
fn qemu(request: &Request, boot: &Boot<'_>, job: &Job) -> Result<Command> {
    // If the tools are killed, the machine goes too.
    let mut command = Command::new("setpriv");
    command.args([
        "--pdeathsig",
        "KILL",
        "qemu-system-x86_64",
        "-no-user-config",
        "-nodefaults",
        "-display",
        "none",
    ]);
    command.args(["-machine", "q35", "-smp", "2", "-no-reboot", "-nic", "none"]);
    command.args(boot.accel.arguments());
    command.arg("-m").arg(&request.memory);
    command.arg("-kernel").arg(&boot.kernel.vmlinuz).arg("-initrd").arg(&boot.kernel.initrd);
    let cmdline = format!(
        "console=ttyS0 loglevel=5 panic=-1 oops=panic cgroup_no_v1=all podbox.job={}",
        job.dir.display()
    );
    command.arg("-append").arg(cmdline);
    command.arg("-serial").arg(format!("file:{}", comma(boot.console)));
    command.args(["-device", "virtio-serial-pci"]);
    for port in ["control", "stdout", "stderr"] {
        command.arg("-chardev").arg(format!("socket,id={port},path={}", comma(&job.socket(port))));
        command.arg("-device").arg(format!("virtserialport,chardev={port},name=podbox.{port}"));
    }
    command
        .arg("-virtfs")
        .arg("local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap")
        .arg("-virtfs")
        .arg(format!("local,path={},mount_tag=out,security_model=none,multidevs=remap", comma(&job.out)));
    let said = File::create(job.dir.join("qemu")).context("cannot keep what qemu says")?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
    // Ctrl-C is for the command: see `signals`.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    Ok(command)
}

/// `path` inside one of qemu's comma-separated options.
fn comma(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

/// The state of the loop.
struct Watch {
    qemu: Child,
    /// The guest's control port, once it is connected.
    control: Option<Connection>,
    started: Instant,
    /// When the guest last said anything.
    beat: Instant,
    ready: bool,
    /// The command's status, once it has ended.
    status: Option<i32>,
    /// How many of the two outputs are complete.
    complete: u8,
    /// How often a signal was passed on: the third one ends the machine.
    interrupts: u8,
    /// What qemu says.
    said: PathBuf,
    boot_limit: Duration,
    run_limit: Duration,
}

impl Watch {
    fn until_end(&mut self, events: &Receiver<Event>) -> End {
        loop {
            match events.recv_timeout(TICK) {
                Ok(event) => self.apply(event),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
            if let Some(end) = self.end(clock::now()) {
                return end;
            }
        }
    }

    fn apply(&mut self, event: Event) {
        self.beat = clock::now();
        match event {
            Event::Connected(connection) => self.control = Some(connection),
            Event::Ready => self.ready = true,
            Event::Beat => {}
            Event::Exit(status) => self.status = Some(status),
            Event::Complete => self.complete += 1,
            Event::Signal(signal) => {
                self.interrupts += 1;
                if let Some(control) = &mut self.control {
                    control.signal(signal);
                }
            }
        }
    }

    /// How it ended, if it has.
    fn end(&mut self, now: Instant) -> Option<End> {
        let silent = now.saturating_duration_since(self.beat);
        if let Some(status) = self.status {
            return (self.complete == 2 || silent > DRAIN).then_some(End::Ended(status));
        }
        let total = now.saturating_duration_since(self.started);
        let why = if self.interrupts > 2 || (self.interrupts > 0 && !self.ready) {
            "interrupted".to_owned()
        } else if let Ok(Some(status)) = self.qemu.try_wait() {
            format!("the machine went down ({status})")
        } else if !self.ready && std::fs::read_to_string(&self.said).is_ok_and(|said| said.contains(UNABLE)) {
            UNABLE.to_owned()
        } else if !self.ready && total > self.boot_limit {
            format!("no sign of life within {} s of boot", self.boot_limit.as_secs())
        } else if self.ready && silent > NO_BEAT {
            format!("the machine hangs: no sign of life for {} s", NO_BEAT.as_secs())
        } else if total > self.run_limit {
            format!("the command runs for more than {} s; --timeout allows more", self.run_limit.as_secs())
        } else {
            return None;
        };
        Some(if self.ready { End::Died(why) } else { End::NeverBooted(why) })
    }
}

/// Where the console of a machine with this job goes.
pub fn console(job: &Job) -> PathBuf {
    let name = job.out.file_name().unwrap_or_default().to_string_lossy().replace("out-", "console-");
    job.out.with_file_name(format!("{name}.log"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine that was started at `now` and has got as far as its command.
    fn running(now: Instant) -> Watch {
        let qemu = Command::new("sleep").arg("1000").spawn().unwrap();
        let (boot_limit, run_limit) = (Duration::from_secs(20), Duration::from_secs(1000));
        let (control, status, complete, interrupts) = (None, None, 0, 0);
        Watch {
            qemu,
            control,
            started: now,
            beat: now,
            ready: true,
            status,
            complete,
            interrupts,
            said: PathBuf::new(),
            boot_limit,
            run_limit,
        }
    }

    #[test]
    fn a_slow_boot_has_its_time_and_one_that_cannot_go_on_has_none() {
        let dir = tempfile::tempdir().unwrap();
        let start = clock::now();
        let mut watch = Watch { ready: false, said: dir.path().join("qemu"), ..running(start) };
        let late = start + watch.boot_limit;
        assert_eq!(watch.end(late), None);
        std::fs::write(&watch.said, "qemu: warning: slow\n").unwrap();
        assert_eq!(watch.end(late), None);
        let never = watch.end(late + TICK);
        assert!(
            matches!(&never, Some(End::NeverBooted(why)) if why.contains("no sign of life")),
            "{never:?}"
        );
        std::fs::write(&watch.said, "KVM internal error. Suberror: 1\n").unwrap();
        assert_eq!(watch.end(start), Some(End::NeverBooted(UNABLE.to_owned())));
        watch.qemu.kill().unwrap();
        watch.qemu.wait().unwrap();
    }

    #[test]
    fn a_machine_without_a_sign_of_life_hangs_and_a_long_command_does_not() {
        let start = clock::now();
        let mut watch = running(start);
        assert_eq!(watch.end(start + NO_BEAT), None);
        let hung = watch.end(start + NO_BEAT + TICK);
        assert!(
            matches!(&hung, Some(End::Died(why)) if why.contains("hangs: no sign of life for 300 s")),
            "{hung:?}"
        );
        watch.beat = start + NO_BEAT;
        assert_eq!(watch.end(start + NO_BEAT + TICK), None);
        watch.qemu.kill().unwrap();
        watch.qemu.wait().unwrap();
    }
}

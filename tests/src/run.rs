//! A `podbox run`, or another command of podbox's, while it goes on.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::needs;
use crate::wait::wait_for;

/// The longest wait for one thing: a virtual machine without hardware support is ten times slower than a host.
pub fn limit() -> Duration {
    Duration::from_secs(if needs::in_machine() { 300 } else { 120 })
}

/// The running command.
#[derive(Debug)]
pub struct Run {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

/// How it ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// What it printed on standard output.
    pub out: String,
    /// What it printed on standard error.
    pub err: String,
}

static NUMBER: AtomicU32 = AtomicU32::new(0);

impl Run {
    /// Starts the command; what it prints goes to files in `dir`.
    pub fn start(mut command: Command, dir: &Path) -> Run {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let (out, err) = (dir.join(format!("out.{number}")), dir.join(format!("err.{number}")));
        let create = |path: &Path| File::create(path).expect("the test's directory has room");
        let child = command.stdin(Stdio::null()).stdout(create(&out)).stderr(create(&err)).spawn();
        Run { child: child.expect("the program starts"), out, err }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed on standard output so far.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.out).unwrap_or_default()
    }

    /// What it has printed on standard error so far.
    pub fn complained(&self) -> String {
        fs::read_to_string(&self.err).unwrap_or_default()
    }

    /// Waits until `condition` gives something; it must not end before.
    #[track_caller]
    pub fn wait_for<T>(&mut self, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
        wait_for(what, limit(), || {
            if let Some(found) = condition() {
                return Some(found);
            }
            let ended = self.child.try_wait().expect("it is our child");
            if let Some(status) = ended {
                panic!("ended ({status}) before: {what}\n{}\n{}", self.said(), self.complained());
            }
            None
        })
    }

    /// Reads what it has printed, without borrowing it.
    pub fn reader(&self) -> impl Fn() -> String + use<> {
        let out = self.out.clone();
        move || fs::read_to_string(&out).unwrap_or_default()
    }

    /// Waits until it has printed `text` on standard output.
    #[track_caller]
    pub fn wait_said(&mut self, text: &str) {
        let said = self.reader();
        self.wait_for(&format!("it prints {text:?}"), || said().contains(text).then_some(()));
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("process ids are small"));
        kill(pid, signal).expect("it is our child, and not reaped");
    }

    /// Waits until it has printed `text` on standard error.
    #[track_caller]
    pub fn wait_complained(&mut self, text: &str) {
        let err = self.err.clone();
        let said = || fs::read_to_string(&err).unwrap_or_default().contains(text).then_some(());
        self.wait_for(&format!("it complains of {text:?}"), said);
    }

    /// Waits for its end.
    #[track_caller]
    pub fn end(mut self) -> Ended {
        let status = wait_for("it ends", limit(), || self.child.try_wait().expect("it is our child"));
        Ended { status, out: self.said(), err: self.complained() }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            if std::thread::panicking() {
                eprintln!("it was still running:\n{}\n{}", self.said(), self.complained());
            }
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

impl Ended {
    /// Panics, with all it printed, unless it exited with `code`.
    #[track_caller]
    pub fn expect(self, code: i32) -> Ended {
        let what = match self.status.signal() {
            Some(signal) => format!("signal {signal}"),
            None => format!("{:?}", self.status.code()),
        };
        assert_eq!(self.status.code(), Some(code), "ended by {what}\n{}\n{}", self.out, self.err);
        self
    }

    /// Panics unless it printed `text` on standard output.
    #[track_caller]
    pub fn says(self, text: &str) -> Ended {
        assert!(self.out.contains(text), "no {text:?} in:\n{}\n{}", self.out, self.err);
        self
    }

    /// Panics unless it printed `text` on standard error.
    #[track_caller]
    pub fn complains(self, text: &str) -> Ended {
        assert!(self.err.contains(text), "no {text:?} in:\n{}\n{}", self.err, self.out);
        self
    }
}

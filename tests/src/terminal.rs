//! A program on a terminal of its own, and the person in front of it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::thread;

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::run::limit;
use crate::wait::{wait_for, wait_until};

/// A program on a terminal of its own.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    keys: File,
    terminal: OwnedFd,
    screen: Arc<Mutex<String>>,
}

impl Terminal {
    /// Starts a program on one of this size.
    pub fn run(mut command: Command, height: u16, width: u16) -> Terminal {
        let size = Winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).expect("there are terminals");
        let end = || pty.slave.try_clone().expect("descriptors are left");
        command.stdin(end()).stdout(end()).stderr(end());
        let child = command.spawn().expect("kubectl starts");
        let keys = File::from(pty.master);
        let mut reader = keys.try_clone().expect("descriptors are left");
        let screen = Arc::<Mutex<String>>::default();
        let seen = Arc::clone(&screen);
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                seen.lock()
                    .expect("nobody panics with it")
                    .push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        Terminal { child, keys, terminal: pty.slave, screen }
    }

    /// What was shown so far.
    pub fn screen(&self) -> String {
        self.screen.lock().expect("nobody panics with it").clone()
    }

    /// Waits until it shows this.
    #[track_caller]
    pub fn wait(&self, shown: &str) {
        let found = || self.screen().contains(shown);
        wait_until(&format!("{shown:?} on the screen"), limit(), found);
    }

    /// Types something.
    pub fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("the terminal takes keys");
    }

    /// Makes it another size, and tells the program.
    pub fn resize(&self, height: u16, width: u16) {
        let terminal = self.terminal.try_clone().expect("descriptors are left");
        let size = [height.to_string(), width.to_string()];
        let done = Command::new("stty").args(["rows", &size[0], "cols", &size[1]]).stdin(terminal).status();
        assert!(done.expect("stty starts").success());
        self.signal(Signal::SIGWINCH);
    }

    /// Signals the program.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("process ids are small"));
        kill(pid, signal).expect("it is our child");
    }

    /// Waits for the program; its exit code.
    #[track_caller]
    pub fn end(mut self) -> Option<i32> {
        let status = wait_for("it ends", limit(), || self.child.try_wait().expect("it is our child"));
        status.code()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the screen:\n{}", self.screen());
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

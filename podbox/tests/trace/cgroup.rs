//! A temporary cgroup subtree, and processes in it.

use podbox::api::identity::{ContainerRef, PodRef};
use podbox::clock::instant;
use std::ffi::CString;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The level of containers in these trees: TREE/CONTAINER.
pub const LEVEL: u32 = 2;

/// How long what ends may be on its way, and how often it is looked at.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(1);

/// Says, past the test harness's capture, that a test did not run.
pub fn skipped(test: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}

/// Where cgroup v2 is mounted.
fn root() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"))?;
    mount.split(' ').nth(1).map(PathBuf::from)
}

/// A cgroup directly below the root, removed at the end with all that is in it.
pub struct Tree {
    dir: PathBuf,
    /// The name of the pod that its containers are of.
    pod: String,
}

impl Tree {
    /// Err says what is missing here.
    pub fn new() -> Result<Tree, String> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        if !nix::unistd::geteuid().is_root() {
            return Err("needs root".into());
        }
        let root = root().ok_or("cgroup v2 is not mounted")?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = root.join(format!("podbox-trace-{}-{number}", std::process::id()));
        fs::create_dir(&dir).map_err(|error| format!("cannot make {}: {error}", dir.display()))?;
        Ok(Tree { dir, pod: "pod".into() })
    }

    /// With the memory controller.
    pub fn with_memory() -> Result<Tree, String> {
        let root = root().ok_or("cgroup v2 is not mounted")?;
        let controllers = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
        if !controllers.split_whitespace().any(|controller| controller == "memory") {
            return Err(format!("no memory controller in {}", root.display()));
        }
        fs::write(root.join("cgroup.subtree_control"), "+memory").map_err(|error| error.to_string())?;
        let tree = Tree::new()?;
        fs::write(tree.dir.join("cgroup.subtree_control"), "+memory").map_err(|error| error.to_string())?;
        Ok(tree)
    }

    /// The cgroup of a pod in this one, with what this one controls.
    pub fn pod(&self, name: &str) -> Tree {
        let dir = self.dir.join(name);
        fs::create_dir(&dir).unwrap();
        let controllers = fs::read_to_string(dir.join("cgroup.controllers")).unwrap();
        for controller in controllers.split_whitespace() {
            fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}")).unwrap();
        }
        Tree { dir, pod: name.into() }
    }

    pub fn set(&self, file: &str, value: &str) {
        fs::write(self.dir.join(file), value).unwrap();
    }

    pub fn container(&self, name: &str) -> Container {
        let dir = self.dir.join(name);
        fs::create_dir(&dir).unwrap();
        let id = fs::metadata(&dir).unwrap().ino();
        let pod = PodRef { namespace: "test".into(), name: self.pod.clone(), uid: "uid".into() };
        Container { dir, id, name: ContainerRef { pod, name: name.into(), attempt: 0 } }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::write(self.dir.join("cgroup.kill"), "1");
        if !removed(&self.dir) {
            let _ = writeln!(std::io::stderr(), "{} is left", self.dir.display());
        }
    }
}

/// Removes a cgroup with all below; false if something stays in it. What was killed, or waited for, leaves it a moment later.
pub fn removed(dir: &Path) -> bool {
    let end = instant() + PATIENCE;
    loop {
        remove(dir);
        if !dir.exists() {
            return true;
        }
        if instant() > end {
            return false;
        }
        std::thread::sleep(LOOK);
    }
}

fn remove(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove(&entry.path());
        }
    }
    let _ = fs::remove_dir(dir);
}

/// A container's cgroup.
#[derive(Clone)]
pub struct Container {
    pub dir: PathBuf,
    pub id: u64,
    pub name: ContainerRef,
}

impl Container {
    pub fn set(&self, file: &str, value: &str) {
        fs::write(self.dir.join(file), value).unwrap();
    }

    /// What a file says that holds a number.
    pub fn number(&self, file: &str) -> u64 {
        fs::read_to_string(self.dir.join(file)).unwrap().trim().parse().unwrap()
    }

    /// Removes it, if nobody is in it any more; whether it is gone.
    pub fn remove(&self) -> bool {
        remove(&self.dir);
        !self.dir.exists()
    }

    /// A command that begins in this cgroup.
    pub fn command(&self, program: &str, args: &[&str]) -> Command {
        command_in(&self.dir, program, args)
    }

    /// A shell in this cgroup.
    pub fn shell(&self, script: &str) -> Child {
        self.command("/bin/sh", &["-c", script]).spawn().unwrap()
    }
}

pub fn command_in(dir: &Path, program: &str, args: &[&str]) -> Command {
    let procs = CString::new(dir.join("cgroup.procs").as_os_str().as_bytes()).unwrap();
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // SAFETY: only system calls on memory made before the fork.
    unsafe {
        command.pre_exec(move || {
            let fd = libc::open(procs.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
            if fd < 0 || libc::write(fd, b"0".as_ptr().cast(), 1) != 1 {
                return Err(std::io::Error::last_os_error());
            }
            // Who runs the tests may ignore them, as a shell does for what it runs in the background.
            for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT] {
                libc::signal(signal, libc::SIG_DFL);
            }
            Ok(())
        });
    }
    command
}

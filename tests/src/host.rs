//! A host of a test's own: network and mount namespaces, directories on a tmpfs, a cgroup. podbox runs in it as on a
//! machine of its own, beside whatever runs outside.
//!
//! Dropped, also by a failed test, it ends what is left in the cgroup. What may not be left is for
//! [`Host::assert_clean`] to say.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use crate::log::{self, Entry};
use crate::remains::{self, Remains};
use crate::run::Run;
use crate::wait::wait_until;
use crate::{image, needs, podbox};

/// The test image, as manifests call it.
pub const IMAGE: &str = "podbox.local/testjobs:latest";

/// A place to run podbox in.
#[derive(Debug)]
pub struct Host {
    /// A tmpfs for whatever the test needs.
    pub dir: PathBuf,
    /// podbox's root of cgroups.
    pub cgroup: PathBuf,
    before: Remains,
    /// What podbox is told by its environment, beside where it is.
    settings: Vec<(&'static str, String)>,
}

static NUMBER: AtomicU32 = AtomicU32::new(0);

impl Host {
    /// A host with the test image; none, loudly, where the test `name` cannot run.
    pub fn new(name: &str) -> Option<Host> {
        let host = Host::without_image(name)?;
        let loaded = host.podbox().args(["image", "load"]).arg(image()).output().expect("podbox starts");
        assert!(loaded.status.success(), "loading the image: {}", String::from_utf8_lossy(&loaded.stderr));
        Some(host)
    }

    /// A host without any image.
    pub fn without_image(name: &str) -> Option<Host> {
        needs::root(name)?;
        // Of this thread and what it starts, not of the whole program.
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).expect("root may make namespaces");
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
            .expect("a new mount namespace can be made private");
        let up =
            Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("iproute2 is installed");
        assert!(up.success());
        let (mark, dir, cgroup) = fresh_place();
        // overlayfs wants no overlay below itself, which a virtual machine's root is.
        mount(Some("tmpfs"), &dir, Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("a tmpfs");
        let before = Remains::of(&mark);
        Some(Host { dir, cgroup, before, settings: Vec::new() })
    }

    /// podbox on this host, ready for arguments.
    pub fn podbox(&self) -> Command {
        let mut command = podbox();
        command
            .env("PODBOX_STATE_DIR", self.dir.join("state"))
            .env("PODBOX_RUN_DIR", self.dir.join("run"))
            .env("PODBOX_LOG_DIR", self.dir.join("logs"))
            .env("PODBOX_CGROUP_ROOT", &self.cgroup)
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.dir);
        command
    }

    /// Sets a variable of podbox's environment for whatever of it is started from now on.
    pub fn set(&mut self, name: &'static str, value: &str) {
        self.settings.retain(|(other, _)| *other != name);
        self.settings.push((name, value.to_owned()));
    }

    /// Writes a file into the test's directory; returns its path.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.join(name);
        fs::create_dir_all(path.parent().expect("a file lies in a directory")).expect("a directory");
        fs::write(&path, content).expect("the test's tmpfs has room");
        path
    }

    /// Starts `podbox run` with this manifest.
    pub fn run(&self, manifest: &str) -> Run {
        let file = self.file("manifest.yaml", manifest);
        self.run_file(&file)
    }

    /// Starts `podbox run FILE`.
    pub fn run_file(&self, file: &Path) -> Run {
        let mut command = self.podbox();
        command.arg("run").arg(file);
        Run::start(command, &self.dir)
    }

    /// What a run of a container wrote, by its log in the CRI format.
    pub fn log(&self, pod: &str, container: &str, attempt: u32) -> Vec<Entry> {
        let logs = self.dir.join("logs");
        let prefix = format!("default_{pod}_");
        let pods = fs::read_dir(logs).into_iter().flatten().flatten();
        let mut dirs: Vec<_> =
            pods.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix)).collect();
        // Of several runs of the pod, the last.
        dirs.sort_by_key(|entry| entry.metadata().and_then(|data| data.modified()).ok());
        let Some(dir) = dirs.last() else { return Vec::new() };
        let file = dir.path().join(container).join(format!("{attempt}.log"));
        log::parse(&fs::read_to_string(file).unwrap_or_default())
    }

    /// The lines of [`Host::log`], without the log's own columns.
    pub fn lines(&self, pod: &str, container: &str, attempt: u32) -> Vec<String> {
        self.log(pod, container, attempt).into_iter().map(|entry| entry.text).collect()
    }

    /// Panics if podbox left anything but images and logs.
    #[track_caller]
    pub fn assert_clean(&self) {
        remains::assert_none(&self.before);
        let empty = [
            "run/sandboxes",
            "run/pods",
            "run/ns",
            "run/bpf",
            "run/root",
            "run/empty",
            "run/memories",
            "state/pods",
        ];
        let left: Vec<PathBuf> = empty.iter().flat_map(|dir| entries(&self.dir.join(dir))).collect();
        assert!(left.is_empty(), "left behind: {left:?}");
        let sockets = entries(&self.dir.join("run"));
        let sockets: Vec<_> =
            sockets.iter().filter(|path| path.extension().is_some_and(|end| end == "sock")).collect();
        assert!(sockets.is_empty(), "left behind: {sockets:?}");
    }

    /// A pod's cgroup, once it is there: the only one, or the one with this uid.
    pub fn pod_cgroup(&self) -> Option<PathBuf> {
        ["guaranteed", "burstable", "besteffort"].iter().find_map(|class| {
            let dirs = entries(&self.cgroup.join("podbox.slice").join(class)).into_iter();
            dirs.into_iter().find(|path| path.is_dir())
        })
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        end_cgroup(&self.cgroup);
        umount2(&self.dir, MntFlags::MNT_DETACH).ok();
        fs::remove_dir(&self.dir).ok();
    }
}

/// Whether one of the test image's servers answers HTTP at this address of the host.
pub fn answers(address: &str) -> bool {
    let address: SocketAddr = address.parse().expect("an address");
    let limit = Duration::from_secs(20);
    let Ok(mut stream) = TcpStream::connect_timeout(&address, limit) else { return false };
    let mut answer = String::new();
    stream.set_read_timeout(Some(limit)).expect("a timeout");
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok();
    stream.read_to_string(&mut answer).ok();
    answer.contains("hello from")
}

/// Kills what is in a cgroup and takes it away.
pub fn end_cgroup(path: &Path) {
    fs::write(path.join("cgroup.kill"), "1").ok();
    let events = path.join("cgroup.events");
    wait_until("killed processes are gone", Duration::from_secs(30), || {
        !fs::read_to_string(&events).unwrap_or_default().contains("populated 1")
    });
    remove_cgroups(path);
}

/// Where cgroup v2 is, with every controller handed on.
fn cgroup_root() -> &'static Path {
    let unified = Path::new("/sys/fs/cgroup/unified");
    let root = if unified.exists() { unified } else { Path::new("/sys/fs/cgroup") };
    let offered = fs::read_to_string(root.join("cgroup.controllers")).expect("cgroup v2 is mounted");
    for controller in offered.split_whitespace() {
        fs::write(root.join("cgroup.subtree_control"), format!("+{controller}")).ok();
    }
    root
}

/// What lies in a directory.
pub fn entries(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// A name that nothing bears, and a directory and a cgroup of it: those of a run that was aborted may lie there under a reused
/// process id.
fn fresh_place() -> (String, PathBuf, PathBuf) {
    let makes = |path: &Path| match fs::create_dir(path) {
        Ok(()) => true,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => false,
        Err(error) => panic!("making {} for the test: {error}", path.display()),
    };
    loop {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let mark = format!("podbox-e2e-{}-{number}", std::process::id());
        let (dir, cgroup) = (std::env::temp_dir().join(&mark), cgroup_root().join(&mark));
        if makes(&dir) {
            if makes(&cgroup) {
                return (mark, dir, cgroup);
            }
            fs::remove_dir(&dir).ok();
        }
    }
}

fn remove_cgroups(path: &Path) {
    entries(path).iter().filter(|path| path.is_dir()).for_each(|path| remove_cgroups(path));
    fs::remove_dir(path).ok();
}

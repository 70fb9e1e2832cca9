//! cgroup v2: its controllers, and a process that starts in one.

use super::report::Finding;
use crate::api::error::chain;
use nix::errno::Errno;
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

/// What each controller is for.
const CONTROLLERS: [(&str, &str); 3] = [
    ("memory", "memory limits, and OOM kills of a container alone"),
    ("cpu", "CPU limits and shares"),
    ("pids", "limits of the number of processes"),
];
const MEND_CONTROLLER: &str = "boot with cgroup_no_v1=all systemd.unified_cgroup_hierarchy=1";

pub fn cgroup(root: &Path) -> Vec<Finding> {
    let name = "cgroup v2";
    let seen = match statfs(root) {
        Ok(found) if found.filesystem_type() == CGROUP2_SUPER_MAGIC => {
            let mut findings = vec![Finding::ok(name, root.display().to_string())];
            findings.extend(controllers(root));
            findings.push(process(root));
            return findings;
        }
        Ok(_) => format!("{} is something else", root.display()),
        Err(errno) => format!("{}: {errno}", root.display()),
    };
    vec![Finding::missing(name, seen, "containers", &mend_root(root))]
}

/// Names the place where v2 is, if there is one beside v1.
fn mend_root(root: &Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let elsewhere = mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (dir, kind) = (words.next()?, words.next()?);
        (kind == "cgroup2" && Path::new(dir) != root).then_some(dir)
    });
    match elsewhere {
        Some(dir) => format!("it is at {dir}: --cgroup-root {dir}; or {MEND_CONTROLLER}"),
        None => format!("mount -t cgroup2 cgroup2 {}", root.display()),
    }
}

fn controllers(root: &Path) -> Vec<Finding> {
    let offered = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
    let offers = |name: &str| offered.split_whitespace().any(|offered| offered == name);
    let finding = |&(name, lost): &(&str, &str)| {
        let title = format!("cgroup v2: {name}");
        if offers(name) {
            Finding::ok(&title, "controller offered")
        } else {
            Finding::degraded(&title, "no such controller here (bound to v1?)", lost, MEND_CONTROLLER)
        }
    };
    CONTROLLERS.iter().map(finding).collect()
}

/// Starts a process in a cgroup of its own, and ends it with the cgroup.
fn process(root: &Path) -> Finding {
    let name = "clone3 into cgroup";
    let dir = root.join(format!("podbox-try-{}", std::process::id()));
    if let Err(error) = fs::create_dir(&dir) {
        return Finding::missing(
            name,
            format!("making {}: {error}", dir.display()),
            "containers",
            "run as root",
        );
    }
    let tried = start_in(&dir);
    let removed = fs::remove_dir(&dir);
    match tried.and(removed) {
        Ok(()) => Finding::ok(name, "and told of its end by a pidfd"),
        Err(error) => Finding::missing(name, chain(&error), "containers", "run a kernel from 5.7 on"),
    }
}

fn start_in(dir: &Path) -> io::Result<()> {
    let cgroup = File::open(dir)?;
    clone_into(cgroup.as_fd())?;
    // Written to an empty cgroup it does nothing, but must be there.
    fs::write(dir.join("cgroup.kill"), "1")
}

/// Starts a process in the cgroup that does nothing but end, and waits for it.
fn clone_into(cgroup: BorrowedFd<'_>) -> io::Result<()> {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    let mut args = libc::clone_args {
        flags: CLONE_INTO_CGROUP,
        exit_signal: libc::SIGCHLD as u64,
        cgroup: cgroup.as_raw_fd() as u64,
        pidfd: 0,
        child_tid: 0,
        parent_tid: 0,
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
    };
    // SAFETY: the arguments are whole and of the size given; without CLONE_VM the child has memory of its own.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    if pid == 0 {
        // SAFETY: the child of a threaded process may only call what is safe in a signal handler; _exit is.
        unsafe { libc::_exit(0) };
    }
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    let child = nix::unistd::Pid::from_raw(pid as i32);
    loop {
        match nix::sys::wait::waitpid(child, None) {
            Err(Errno::EINTR) => {}
            other => return other.map(drop).map_err(io::Error::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_no_cgroup_is_told_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let findings = cgroup(dir.path());
        assert_eq!(findings.len(), 1);
        assert!(findings[0].essential && !findings[0].mend.is_empty(), "{findings:?}");
    }
}

//! The least that the kernel takes for a pod: clone3 into new namespaces, until the child is gone; a veth pair, created
//! and up; a cgroup directory. What any engine must ask of it, and nothing else.

use anyhow::{Context, Result, ensure};
use futures_util::TryStreamExt;
use podbox::clock;
use rtnetlink::{Handle, LinkUnspec, LinkVeth};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// A way to the kernel.
pub struct Floor {
    handle: Handle,
    cgroup: PathBuf,
}

impl Floor {
    /// Opens netlink and finds the cgroup root.
    pub fn new() -> Result<Floor> {
        let (connection, handle, _) = rtnetlink::new_connection().context("netlink")?;
        tokio::spawn(connection);
        let cgroup = podbox::cli::config().cgroup_root.join("podbox-bench-floor");
        Ok(Floor { handle, cgroup })
    }

    /// One sample.
    pub async fn sample(&self, round: usize) -> Result<Duration> {
        let (a, b) = (format!("fla{round}"), format!("flb{round}"));
        let begun = clock::instant();
        fs::create_dir(&self.cgroup).context("a cgroup")?;
        clone_and_wait()?;
        self.handle.link().add(LinkVeth::new(&a, &b).build()).execute().await.context("a veth")?;
        self.handle.link().set(LinkUnspec::new_with_name(&a).up().build()).execute().await?;
        self.handle.link().set(LinkUnspec::new_with_name(&b).up().build()).execute().await?;
        let took = begun.elapsed();
        fs::remove_dir(&self.cgroup).context("removing the cgroup")?;
        let mut found = self.handle.link().get().match_name(a).execute();
        let link = found.try_next().await?.context("the veth is there")?;
        self.handle.link().del(link.header.index).execute().await.context("removing the veth")?;
        Ok(took)
    }
}

/// A child in new namespaces of every kind a pod has, which ends at once.
fn clone_and_wait() -> Result<()> {
    let flags = libc::CLONE_NEWPID
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP;
    // SAFETY: all zeroes is a valid clone_args.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    // SAFETY: without CLONE_VM this is fork; the child calls only _exit.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<libc::clone_args>()) };
    if pid == 0 {
        // SAFETY: ends the child without running anything of the parent's.
        unsafe { libc::_exit(0) };
    }
    ensure!(pid > 0, "clone3 failed: {}", std::io::Error::last_os_error());
    let mut status = 0;
    // SAFETY: the pointer is to a local.
    let waited = unsafe { libc::waitpid(pid as libc::pid_t, &raw mut status, 0) };
    ensure!(waited == pid as libc::pid_t, "waitpid failed: {}", std::io::Error::last_os_error());
    Ok(())
}

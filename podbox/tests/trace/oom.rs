//! OOM victims. Every case is one that guessing from exit codes or from memory.events gets wrong: the
//! victim is not the container's first process, the trigger is elsewhere, or the limit is an ancestor's.

use super::cgroup::{Container, Tree};
use super::watch::{Watch, run};
use podbox::api::attribution::{Attribution, OomRole, OomVictim};
use podbox::api::event::{Detail, KernelEvent, Oom, OomLimit};
use podbox::api::sender::Origin;
use podbox::trace::{Kind, Loss};
use std::io::{BufRead, BufReader};
use std::os::fd::{FromRawFd, OwnedFd};
use std::process::{Child, Stdio};

/// Takes memory until it is killed: `tail` keeps an endless last line.
const EAT: &str = "tail /dev/zero";

/// Takes memory, and keeps it.
const HOLD: &str = "$| = 1; open my $zeros, '<', '/dev/zero'; sysread $zeros, my $held, 50331648; print qq(held\\n); sleep 1000";

fn oom(event: &KernelEvent) -> Option<(KernelEvent, Oom)> {
    match &event.detail {
        Detail::Oom(oom) => Some((event.clone(), oom.clone())),
        _ => None,
    }
}

/// What the kernel can tell here: role and limit need fentry.
fn expect(watch: &Watch, oom: &Oom, role: OomRole, limit: OomLimit) {
    if watch.tracer.oom_watched() {
        assert_eq!((oom.role, oom.limit), (role, Some(limit)));
    } else {
        assert_eq!((oom.role, oom.limit), (OomRole::Unknown, None));
        assert!(oom.limit_unknown.is_some());
    }
}

async fn finish(mut child: Child) -> std::process::ExitStatus {
    tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap()
}

#[test]
fn a_child_killed_for_memory_is_told_though_its_container_lives_on() {
    run("a_child_killed_for_memory_is_told_though_its_container_lives_on", async {
        let tree = Tree::with_memory()?;
        let container = tree.container("app");
        container.set("memory.max", "33554432");
        let mut watch = Watch::start(&[&container])?;
        let shell = container.shell(&format!("{EAT}; exit 5"));
        let pid = shell.id();
        let (event, oom) = watch.next(oom).await;
        assert_eq!(finish(shell).await.code(), Some(5));

        assert_ne!(event.pid, pid);
        assert_eq!(event.command, "tail");
        assert_eq!(event.subject.unwrap().container, "app");
        expect(&watch, &oom, OomRole::Chosen, OomLimit::Container);
        assert_eq!(oom.limit_bytes, watch.tracer.oom_watched().then_some(33554432));
        assert_eq!((oom.trigger_pid, oom.trigger_command.as_str()), (event.pid, "tail"));
        assert_eq!(oom.trigger_container.as_deref(), Some("test/pod/app#0"));
        let victims = watch.tracer.oom_victims(container.id);
        assert_eq!(victims.iter().map(|victim| victim.pid).collect::<Vec<_>>(), [event.pid]);
        Ok(())
    });
}

#[test]
fn a_sigkill_is_no_oom_kill() {
    run("a_sigkill_is_no_oom_kill", async {
        let tree = Tree::with_memory()?;
        let container = tree.container("app");
        let mut watch = Watch::start(&[&container])?;
        let shell = container.shell("kill -KILL $$");
        let pid = shell.id();
        finish(shell).await;
        watch.end(pid).await;
        assert_eq!(watch.tracer.oom_victims(container.id), []);
        Ok(())
    });
}

#[test]
fn a_group_kill_names_the_chosen_one_and_counts_each_victim_once() {
    run("a_group_kill_names_the_chosen_one_and_counts_each_victim_once", async {
        let tree = Tree::with_memory()?;
        let container = tree.container("app");
        container.set("memory.max", "33554432");
        container.set("memory.oom.group", "1");
        let watch = Watch::start(&[&container])?;
        // Until then the other one is a shell, too.
        let executed = "until read -r name </proc/$!/comm && [ $name = sleep ]; do :; done";
        let shell = container.shell(&format!("sleep 1000 & {executed}; {EAT}; exit 5"));
        let pid = shell.id();
        finish(shell).await;
        // Not from events: the map alone must know, and the first process is gone.
        let victims = watch.tracer.oom_victims(container.id);
        assert!(victims.iter().any(|victim| victim.pid == pid), "{victims:#?}");
        // The kernel kills one after the other: who is at it may be on its way still.
        let victims = victims_of(&watch, &container, 3).await;
        let by_role = |role| names(&victims, role);
        if watch.tracer.oom_watched() {
            assert_eq!(by_role(OomRole::Chosen), ["tail"]);
            assert_eq!(by_role(OomRole::Group), ["sh", "sleep"]);
        } else {
            assert_eq!(by_role(OomRole::Unknown), ["sh", "sleep", "tail"]);
        }
        let counted = watch.totals(&container).oom_victims(watch.tracer.oom_watched());
        assert_eq!(counted.values().sum::<u64>(), 3);
        Ok(())
    });
}

/// So many victims, once they are.
async fn victims_of(watch: &Watch, container: &Container, number: usize) -> Vec<OomVictim> {
    let are = watch.until(|tracer| tracer.oom_victims(container.id).len() >= number).await;
    let victims = watch.tracer.oom_victims(container.id);
    assert!(are && victims.len() == number, "{number} expected: {victims:#?}");
    victims
}

fn names(victims: &[OomVictim], role: OomRole) -> Vec<&str> {
    let mut names: Vec<&str> =
        victims.iter().filter(|v| v.oom.role == role).map(|v| v.command.as_str()).collect();
    names.sort_unstable();
    names
}

#[test]
fn a_pods_limit_kills_in_one_container_what_another_triggered() {
    run("a_pods_limit_kills_in_one_container_what_another_triggered", async {
        let tree = Tree::with_memory()?;
        let (holder, eater) = (tree.container("holder"), tree.container("eater"));
        tree.set("memory.max", "100663296");
        let mut watch = Watch::start(&[&holder, &eater])?;
        // 48 MiB held until it is ended, and nothing more taken once it says so; the other one may not be chosen, but allocates.
        let mut held = holder.command("perl", &["-e", HOLD]).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(held.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "held\n");
        let spared = eater.shell(&format!("echo -1000 >/proc/self/oom_score_adj; exec {EAT}"));
        let spared_pid = spared.id();
        let (event, oom) = watch.next(oom).await;
        assert_eq!(event.subject.unwrap().container, "holder");
        expect(&watch, &oom, OomRole::Chosen, OomLimit::Pod);
        assert_eq!(oom.trigger_pid, spared_pid);
        assert_eq!(oom.trigger_container.as_deref(), Some("test/pod/eater#0"));
        assert_eq!(watch.tracer.oom_victims(eater.id), []);
        tree.set("cgroup.kill", "1");
        finish(held).await;
        finish(spared).await;
        Ok(())
    });
}

/// A process that shares its parent's memory, as after vfork, and eats: the kernel chooses the parent, which is not in the
/// middle of a vfork, and kills the child with it, unmarked. It has the kernel fill memory (MAP_POPULATE): one that fills it itself needs
/// its own pages of code in between, and older kernels go on for minutes to take them away and read them again before they kill.
pub const SHARE_AND_EAT: &str = "syscall(58); syscall(9, 0, 67108864, 3, 0x8022, -1, 0) while 1";

#[test]
fn who_shares_the_victims_memory_is_told_though_the_kernel_marks_and_counts_one() {
    run("who_shares_the_victims_memory_is_told_though_the_kernel_marks_and_counts_one", async {
        let tree = Tree::with_memory()?;
        let container = tree.container("app");
        container.set("memory.max", "33554432");
        let watch = Watch::start(&[&container])?;
        let parent = container.command("perl", &["-e", SHARE_AND_EAT]).spawn().unwrap();
        let pid = parent.id();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&finish(parent).await), Some(9));
        let events = std::fs::read_to_string(container.dir.join("memory.events")).unwrap();
        assert!(events.contains("\noom_kill 1\n"), "{events}");

        // The kernel turns to who shares the victim's memory when that one may be gone already.
        let victims = victims_of(&watch, &container, 2).await;
        let chosen = if watch.tracer.oom_watched() { OomRole::Chosen } else { OomRole::Unknown };
        let roles: Vec<(OomRole, bool)> =
            victims.iter().map(|victim| (victim.oom.role, victim.pid == pid)).collect();
        assert_eq!(roles, [(chosen, true), (OomRole::Sharing, false)], "{victims:#?}");
        let end = watch.tracer.end(container.id, pid).and_then(|end| end.sender);
        assert_eq!(end.map(|sender| sender.origin), Some(Origin::Oom));
        if watch.tracer.oom_watched() {
            let figures = &victims[0].oom;
            assert_eq!((figures.limit_bytes, figures.limit), (Some(33554432), Some(OomLimit::Container)));
            assert!(figures.used_bytes.is_some_and(|used| used > 24 << 20), "{figures:?}");
            assert!((16 << 20..34 << 20).contains(&figures.rss_bytes), "{figures:?}");
            assert_eq!(victims[0].kill_ns, victims[1].kill_ns);
        }
        Ok(())
    });
}

/// What the exit path of a container relies on, without a timer: the reason is in the map before the
/// descriptor says that there is an exit.
#[test]
fn a_victim_is_in_the_map_before_its_pidfd_is_readable() {
    run("a_victim_is_in_the_map_before_its_pidfd_is_readable", async {
        const TIMES: usize = 50;
        let tree = Tree::with_memory()?;
        let container = tree.container("app");
        container.set("memory.max", "8388608");
        let watch = Watch::start(&[&container])?;
        let mut missing = 0;
        for _ in 0..TIMES {
            let mut child = container.command("tail", &["/dev/zero"]).spawn().unwrap();
            let pidfd = pidfd(child.id());
            let mut poll =
                [nix::poll::PollFd::new(std::os::fd::AsFd::as_fd(&pidfd), nix::poll::PollFlags::POLLIN)];
            nix::poll::poll(&mut poll, nix::poll::PollTimeout::NONE).unwrap();
            let victims = watch.tracer.oom_victims(container.id);
            missing += usize::from(!victims.iter().any(|victim| victim.pid == child.id()));
            child.wait().unwrap();
        }
        assert_eq!(missing, 0, "of {TIMES} victims");
        let snapshot = watch.tracer.snapshot();
        assert!(snapshot.events.contains(&(Kind::Oom, TIMES as u64)));
        assert!(snapshot.losses.contains(&(Loss::VictimRecord, 0)));
        Ok(())
    });
}

fn pidfd(pid: u32) -> OwnedFd {
    // SAFETY: a system call without pointers; the descriptor it returns is ours alone.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        assert!(fd >= 0, "pidfd_open: {}", std::io::Error::last_os_error());
        OwnedFd::from_raw_fd(fd as i32)
    }
}

/// A memory limit by cgroup v1: what hosts have that bind the memory controller there. The victim's v2
/// cgroup still says whose it is.
struct OldLimit(std::path::PathBuf);

impl OldLimit {
    fn new(bytes: u64) -> Result<OldLimit, String> {
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
        let memory = |line: &&str| {
            let mut words = line.split(' ').skip(2);
            words.next() == Some("cgroup")
                && words.next().is_some_and(|o| o.split(',').any(|o| o == "memory"))
        };
        let mount = mounts.lines().find(memory).and_then(|line| line.split(' ').nth(1));
        let dir = std::path::Path::new(mount.ok_or("no memory controller in cgroup v1 either")?)
            .join(format!("podbox-trace-{}", std::process::id()));
        std::fs::create_dir(&dir).map_err(|error| format!("cannot make {}: {error}", dir.display()))?;
        let limit = OldLimit(dir);
        std::fs::write(limit.0.join("memory.limit_in_bytes"), bytes.to_string())
            .map_err(|e| e.to_string())?;
        Ok(limit)
    }
}

impl Drop for OldLimit {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn a_victim_is_attributed_where_the_memory_controller_is_elsewhere() {
    run("a_victim_is_attributed_where_the_memory_controller_is_elsewhere", async {
        let tree = Tree::new()?;
        let limit = OldLimit::new(16 << 20)?;
        let container = tree.container("app");
        let mut watch = Watch::start(&[&container])?;
        let join = limit.0.join("cgroup.procs");
        let shell = container.shell(&format!("(echo 0 >{}; exec {EAT}); exit 5", join.display()));
        let (event, oom) = watch.next(oom).await;
        assert_eq!(finish(shell).await.code(), Some(5));
        assert_eq!((event.command.as_str(), event.subject.unwrap().container.as_str()), ("tail", "app"));
        assert_eq!(oom.trigger_pid, event.pid);
        if !watch.tracer.oom_watched() {
            assert_eq!((oom.role, oom.limit), (OomRole::Unknown, None));
            assert!(oom.limit_unknown.unwrap().contains("fentry"));
        }
        let victims = watch.tracer.oom_victims(container.id);
        assert_eq!(victims.iter().map(|victim| victim.pid).collect::<Vec<_>>(), [event.pid]);
        Ok(())
    });
}

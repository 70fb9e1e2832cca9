//! Processes that come and go as fast as all processors can make them: none is uncounted, and what could not be told is
//! counted as such.

use super::cgroup::{Container, LEVEL, Tree};
use super::watch::{Watch, in_machine, load, lost, run, sent, totals};
use podbox::api::attribution::{Attribution, OomRole};
use podbox::api::event::Detail;
use podbox::trace::{Kind, Loss, TraceConfig, Tracer};
use std::ffi::CString;
use std::io::Read;
use std::os::fd::FromRawFd;
use std::os::unix::ffi::OsStrExt;

/// How long a flood lasts.
const SECONDS: i64 = 3;
/// For a child that borrows its parent's memory and ends at once.
const STACK: usize = 16 << 10;

/// A process in a container that makes others for a while, each of which ends at once; how many it made is told by the pipe.
struct Flood {
    pid: libc::pid_t,
    told: std::fs::File,
    /// One that piles ends once this is closed.
    held: Option<std::fs::File>,
}

/// What it does with those it makes.
#[derive(Clone, Copy)]
enum Manner {
    /// Takes each one's end at once, for some seconds.
    Reaping,
    /// Makes so many, and takes nobody's end until it may.
    Piling(u64),
}

extern "C" fn nothing(_: *mut libc::c_void) -> libc::c_int {
    0
}

impl Flood {
    fn begin(container: &Container, manner: Manner) -> Flood {
        let procs = CString::new(container.dir.join("cgroup.procs").as_os_str().as_bytes()).unwrap();
        let mut stack = vec![0_u8; STACK];
        // SAFETY: the end of the stack, which grows down, aligned as calls want it.
        let top = unsafe { stack.as_mut_ptr().add(STACK) };
        let top = top.wrapping_sub(top.addr() % 16);
        let (mut pipe, mut hold) = ([0; 2], [0; 2]);
        // SAFETY: two descriptors' room; the copy of this process makes system calls on memory made before, and ends.
        unsafe {
            assert_eq!(libc::pipe2(pipe.as_mut_ptr(), libc::O_CLOEXEC), 0);
            assert_eq!(libc::pipe2(hold.as_mut_ptr(), libc::O_CLOEXEC), 0);
            let pid = libc::fork();
            assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
            if pid == 0 {
                libc::close(hold[1]);
                libc::_exit(flood(&procs, top.cast(), manner, (pipe[1], hold[0])));
            }
            libc::close(pipe[1]);
            libc::close(hold[0]);
            let [told, held] = [pipe[0], hold[1]].map(|fd| std::fs::File::from_raw_fd(fd));
            Flood { pid, told, held: Some(held) }
        }
    }

    /// How many it made, once it has.
    fn made(&mut self) -> u64 {
        let mut number = [0; 8];
        self.told.read_exact(&mut number).unwrap();
        u64::from_ne_bytes(number)
    }

    /// Waits for its end; how many processes have ended, with itself.
    fn end(mut self) -> u64 {
        let made = self.made();
        self.finish();
        made + 1
    }

    fn finish(&mut self) {
        drop(self.held.take());
        let mut status = 0;
        // SAFETY: a pointer to a local.
        assert_eq!(unsafe { libc::waitpid(self.pid, &raw mut status, 0) }, self.pid);
        assert_eq!(status, 0);
    }
}

/// In the copy: only system calls.
unsafe fn flood(procs: &CString, stack: *mut libc::c_void, manner: Manner, (told, held): (i32, i32)) -> i32 {
    let now = || {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: a pointer to a local.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
        time.tv_sec
    };
    // SAFETY: descriptors and memory of its own; the children borrow its memory while it waits for them.
    unsafe {
        let fd = libc::open(procs.as_ptr(), libc::O_WRONLY);
        if fd < 0 || libc::write(fd, b"0".as_ptr().cast(), 1) != 1 {
            return 1;
        }
        let (mut made, until) = (0_u64, now() + SECONDS + 1);
        let goes_on = |made| match manner {
            Manner::Reaping => now() < until,
            Manner::Piling(count) => made < count,
        };
        while goes_on(made) {
            let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
            let pid = libc::clone(nothing, stack, flags, std::ptr::null_mut());
            let reaps = matches!(manner, Manner::Reaping);
            if pid < 0 || reaps && libc::waitpid(pid, std::ptr::null_mut(), 0) != pid {
                return 2;
            }
            made += 1;
        }
        if libc::write(told, (&raw const made).cast(), 8) != 8 {
            return 3;
        }
        if let Manner::Piling(_) = manner {
            let mut byte = 0_u8;
            libc::read(held, (&raw mut byte).cast(), 1);
        }
        while libc::waitpid(-1, std::ptr::null_mut(), 0) > 0 {}
        0
    }
}

/// One for each processor.
fn floods(container: &Container) -> Vec<Flood> {
    let processors = std::thread::available_parallelism().unwrap().get();
    (0..processors).map(|_| Flood::begin(container, Manner::Reaping)).collect()
}

/// What the reader found missing is what the kernel's side could not send, and nothing is unaccounted for.
async fn all_is_told(watch: &mut Watch, container: &Container, before: u64) {
    // One more goes through once there is room again, and shows the gap.
    let mut ended = before;
    loop {
        let mut last = container.shell("exit 0");
        let pid = last.id();
        assert!(tokio::task::spawn_blocking(move || last.wait().unwrap()).await.unwrap().success());
        ended += 1;
        assert!(ended < before + 100, "the reader does not get on");
        if watch.comes(|event| event.pid == pid && matches!(event.detail, Detail::Exit(_))).await {
            break;
        }
    }
    // Where the reaping itself is not seen, but only what the kernel frees afterwards, some are not, of a flood: it is said how many.
    let settled = |tracer: &Tracer| {
        let snapshot = tracer.snapshot();
        let unseen = lost(tracer, Loss::DeadRecord) + snapshot.unseen;
        let reaped = totals(tracer, container).stats.reaped;
        snapshot.missed.contains(&(Kind::Exit, lost(tracer, Loss::ExitEvent))) && reaped + unseen == ended
    };
    let told = watch.until(settled).await;
    let snapshot = watch.tracer.snapshot();
    let reaped = totals(&watch.tracer, container).stats.reaped;
    assert!(told, "{reaped} of {ended} reaped: {snapshot:#?}");
    // Where fentry runs, none is unseen.
    assert!(!watch.tracer.oom_watched() || snapshot.unseen == 0, "{snapshot:#?}");
    assert_eq!(sent(&watch.tracer, Kind::Exit), ended);
}

#[test]
fn every_exit_of_a_flood_is_counted_and_every_drop_is_told() {
    run("every_exit_of_a_flood_is_counted_and_every_drop_is_told", async {
        let tree = Tree::new()?;
        let container = tree.container("app");
        let mut watch = Watch::start(&[&container])?;
        let floods = floods(&container);
        let ended = tokio::task::spawn_blocking(move || floods.into_iter().map(Flood::end).sum::<u64>());
        let ended = ended.await.unwrap();
        println!("{ended} processes in {SECONDS} s");
        let stats = watch.totals(&container).stats;
        assert_eq!((stats.exits_success, stats.exits_error), (ended, 0));
        all_is_told(&mut watch, &container, ended).await;
        Ok(())
    });
}

/// Room for so many processes, where that may be had: in a machine.
fn make_room(processes: u64) {
    for limit in ["pid_max", "threads-max"] {
        std::fs::write(format!("/proc/sys/kernel/{limit}"), (2 * processes).to_string()).unwrap();
    }
}

/// What this process has in memory, in pages.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn more_dead_processes_than_are_remembered_are_counted_all_the_same() {
    // What the kernel's side remembers.
    const REMEMBERED: u64 = 16_384;
    run("more_dead_processes_than_are_remembered_are_counted_all_the_same", async {
        let tree = Tree::new()?;
        // A hundred thousand take an emulated machine minutes: on demand.
        let asked = std::env::var("PODBOX_PROCESSES").ok().and_then(|number| number.parse().ok());
        let dead: u64 = if in_machine() { asked.unwrap_or(30_000) } else { REMEMBERED + 600 };
        if in_machine() {
            make_room(dead);
        }
        let container = tree.container("app");
        let mut watch = Watch::start(&[&container])?;
        let before = resident();
        let mut flood = Flood::begin(&container, Manner::Piling(dead));
        let (flood, made) = tokio::task::spawn_blocking(move || {
            let made = flood.made();
            (flood, made)
        })
        .await
        .unwrap();
        assert_eq!(made, dead);
        // Who borrows its parent's memory gives it back before its end is counted.
        let counted = watch.until(|tracer| totals(tracer, &container).stats.exits_success >= dead).await;
        let exits = watch.totals(&container).stats.exits_success;
        assert!(counted && exits == dead, "{exits} of {dead}");
        // Those that are not remembered are no zombies here, and said to be missing.
        let lost = lost(&watch.tracer, Loss::DeadRecord);
        let told = |tracer: &Tracer| totals(tracer, &container).zombies == REMEMBERED;
        assert!(watch.until(told).await, "{} told, {lost} lost", watch.totals(&container).zombies);
        assert_eq!(lost, dead - REMEMBERED);
        let grown = (resident().saturating_sub(before) * 4) >> 10;
        assert!(grown < 100, "{grown} MiB more for {dead} dead");
        let mut flood = flood;
        tokio::task::spawn_blocking(move || flood.finish()).await.unwrap();
        all_is_told(&mut watch, &container, dead + 1).await;
        Ok(())
    });
}

#[test]
fn ten_oom_kills_in_a_flood_that_overflows_the_ring_are_ten() {
    const KILLS: usize = 10;
    run("ten_oom_kills_in_a_flood_that_overflows_the_ring_are_ten", async {
        let tree = Tree::with_memory()?;
        let container = tree.container("app");
        container.set("memory.max", "67108864");
        let tracer = load(TraceConfig { event_ring_bytes: 4096, ..TraceConfig::new(LEVEL) })?;
        tracer.register(container.id, &container.name);
        let floods = floods(&container);
        // The kernel is to choose the one that eats.
        let eat = "echo 1000 > /proc/self/oom_score_adj; exec tail /dev/zero";
        for kill in 0..KILLS {
            let mut eater = container.shell(eat);
            let status = tokio::task::spawn_blocking(move || eater.wait().unwrap()).await.unwrap();
            assert!(!status.success(), "kill {kill}");
        }
        let ended = tokio::task::spawn_blocking(move || floods.into_iter().map(Flood::end).sum::<u64>());
        let ended = ended.await.unwrap() + KILLS as u64;
        // Nobody has read so far.
        assert!(lost(&tracer, Loss::ExitEvent) > 0, "the ring has not overflowed");
        let events = tracer.subscribe();
        tracer.spawn_reader().unwrap();
        let mut watch = Watch { tracer, events };
        let stats = watch.totals(&container).stats;
        assert_eq!((stats.exits_success, stats.exits_signal[9]), (ended - KILLS as u64, KILLS as u64));
        let victims = watch.tracer.oom_victims(container.id);
        assert_eq!(victims.len(), KILLS, "{victims:#?}");
        assert!(victims.iter().all(|victim| victim.command == "tail"), "{victims:#?}");
        let by_role = watch.totals(&container).oom_victims(watch.tracer.oom_watched());
        let role = if watch.tracer.oom_watched() { OomRole::Chosen } else { OomRole::Unknown };
        assert_eq!(by_role[&role], KILLS as u64, "{by_role:?}");
        assert_eq!((sent(&watch.tracer, Kind::Oom), lost(&watch.tracer, Loss::OomEvent)), (KILLS as u64, 0));
        all_is_told(&mut watch, &container, ended).await;
        Ok(())
    });
}

//! What lives for a while and ends, without memory having to do with it.

use super::{Random, Stage, Truth, finish, kill};
use crate::trace::child::{Dead, End, with_id};
use crate::trace::watch::{PATIENCE, totals};
use podbox::api::attribution::{Attribution, OomRole, Witnessed};
use podbox::api::event::{Detail, OomLimit};
use podbox::api::sender::Origin;
use podbox::clock::{boot, instant};
use podbox::trace::{Signal, Tracer};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

/// How often an id is asked for that somebody else may have taken meanwhile.
const TRIES: u32 = 20;
/// The time that user space and the kernel's side agree to.
const EXACT: Duration = Duration::from_millis(1);
/// Dead that lie for less than a second, in a scenario of zombies.
const SHORT: u64 = 4;
/// What is freed after a grace period is freed within so many: whoever frees it is a thread like others.
const GRACES: u32 = 8;

/// Processes that are gone at once, as many as there are.
pub async fn short(stage: &Stage<'_>, random: &mut Random) {
    let container = stage.container("c");
    let (good, bad) = (random.below(20), random.below(20));
    let run = |times: u64, code: u32| {
        format!("i=0; while [ $i -lt {times} ]; do (exit {code}); i=$((i+1)); done; ")
    };
    let shell = container.shell(&format!("{}{}exit 0", run(good, 0), run(bad, 3)));
    assert!(finish(shell).await.success());
    let mut truth = Truth::default().exits(0, good + 1);
    if bad > 0 {
        truth = truth.exits(3, bad);
    }
    stage.agree(&container, truth).await;
}

/// A signal from inside, from outside, from another container, from itself, or from podbox, to a first process.
pub async fn signalled(stage: &Stage<'_>, random: &mut Random) {
    let (container, other) = (stage.container("c"), stage.container("other"));
    let signal = [1, 2, 3, 6, 9, 14, 15][random.below(7) as usize];
    let victim = container.command("sleep", &["1000"]).spawn().unwrap();
    let pid = victim.id();
    let origin = match random.below(4) {
        0 => {
            kill(signal, pid);
            Origin::Host
        }
        1 => {
            finish(other.shell(&format!("kill -{signal} {pid}"))).await;
            Origin::OtherContainer
        }
        2 => {
            nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(pid as i32),
                nix::sys::signal::Signal::try_from(signal as i32).unwrap(),
            )
            .unwrap();
            Origin::Podbox
        }
        _ => {
            finish(container.shell(&format!("kill -{signal} {pid}"))).await;
            Origin::Container
        }
    };
    assert_eq!(finish(victim).await.signal(), Some(signal as i32));
    let end =
        stage.watch.tracer.end(container.id, pid).expect("an end is on record before it can be waited for");
    let sender = end.sender.expect("somebody sent it");
    assert_eq!((sender.origin, u64::from(sender.signal)), (origin, signal));
    let mut truth = Truth::default().signal(signal as u32, origin);
    if origin == Origin::Container {
        truth = truth.exits(0, 1);
    }
    stage.agree(&container, truth).await;
}

/// Two processes, one after the other, have the same id, in the same container or not.
pub async fn reused(stage: &mut Stage<'_>, random: &mut Random) {
    let elsewhere = random.below(2) == 1;
    for attempt in 0..TRIES {
        let container = stage.container(&format!("c{attempt}"));
        let other = elsewhere.then(|| stage.container(&format!("other{attempt}")));
        let first = container.command("sleep", &["1000"]).spawn().unwrap();
        let pid = first.id();
        kill(15, pid);
        finish(first).await;
        let again = with_id(pid, other.as_ref().unwrap_or(&container), 4);
        let is_again = again.is_some();
        let truth = Truth::default().signal(15, Origin::Host);
        if let Some(status) = again {
            assert_eq!(status, 4 << 8);
            let first = stage.watch.tracer.end(container.id, pid).expect("it is on record");
            let second = other.as_ref().and_then(|other| stage.watch.tracer.end(other.id, pid));
            let second = second.unwrap_or_else(|| first.clone());
            assert_eq!((second.status, second.sender), (4 << 8, None), "the end of the other one of this id");
            assert_eq!(first.status, if elsewhere { 15 } else { 4 << 8 });
        }
        match other {
            Some(other) => {
                stage.agree(&other, Truth::default().exits(4, is_again.into())).await;
                stage.agree(&container, truth).await;
            }
            None => stage.agree(&container, truth.exits(4, is_again.into())).await,
        }
        if is_again {
            stage.tally.reused += 1;
            return;
        }
    }
    panic!("{}: in {TRIES} attempts, somebody else had the id each time", stage.name);
}

/// Containers that are gone as soon as their only process is: what was kept of each tells all of it.
pub async fn brief(stage: &mut Stage<'_>, random: &mut Random) {
    let mut gone = Vec::new();
    for number in 0..2 + random.below(5) {
        let begun = instant();
        let container = stage.container(&number.to_string());
        let (pid, status, truth) = match random.below(if stage.memory { 4 } else { 3 }) {
            0 => (Dead::in_container(&container, End::Exit(0)).reap().pid, 0, Truth::default().exits(0, 1)),
            1 => {
                let code = 1 + random.below(99) as u8;
                let dead = Dead::in_container(&container, End::Exit(code));
                (dead.reap().pid, u32::from(code) << 8, Truth::default().exits(1, 1))
            }
            2 => {
                let signal = [1, 9, 15][random.below(3) as usize];
                let dead = Dead::in_container(&container, End::Signal(signal));
                (dead.reap().pid, signal, Truth::default().signal(signal, Origin::Itself))
            }
            _ => {
                container.set("memory.max", "8388608");
                let eater = container.command("tail", &["/dev/zero"]).spawn().unwrap();
                let pid = eater.id();
                assert_eq!(finish(eater).await.signal(), Some(9));
                let chosen = Truth::default().victim(OomRole::Chosen, OomLimit::Container, stage.watched());
                (pid, 9, chosen)
            }
        };
        stage.retire(&container).await;
        stage.tally.lived.push(begun.elapsed());
        gone.push((container, pid, status, truth));
    }
    for (container, pid, status, truth) in gone {
        let end = stage.watch.tracer.end(container.id, pid);
        let Some(Witnessed { status: told, sender, .. }) = end else { panic!("{}: no end", container.name) };
        assert_eq!(
            (told, sender.map(|sender| sender.origin)),
            (status, truth.senders.keys().next().copied())
        );
        stage.agree(&container, truth).await;
        stage.reaped(&container, 1).await;
    }
}

/// The dead whose lifetimes are known from both sides: this process and the dead one have looked at the clock last before and
/// first after each end and each reaping.
pub async fn zombie(stage: &mut Stage<'_>, random: &mut Random) {
    let container = stage.container("c");
    // What came before is of no interest, and may be more than is kept for one who reads so seldom.
    stage.watch.events = stage.watch.tracer.subscribe();
    let exact = stage.watch.tracer.capabilities().get(Signal::Reaping).unwrap().backend
        == Some("fentry release_task");
    let (mut told_before, mut grace) = (0, Duration::ZERO);
    for number in 0..=SHORT {
        let is_long = number == SHORT;
        let lies = if is_long { 1050 + random.below(200) } else { random.below(30) };
        let dead = Dead::in_container(&container, End::Exit(0));
        tokio::time::sleep(Duration::from_millis(lies)).await;
        let reaped = dead.reap();
        if !exact {
            // What holds up the one may hold up the other, so they are measured until it is told.
            let told = |tracer: &Tracer| totals(tracer, &container).stats.reaped > number;
            let begun = instant();
            grace = grace.max(grace_period());
            while !told(&stage.watch.tracer) && begun.elapsed() < PATIENCE {
                grace = grace.max(grace_period());
            }
        }
        stage.reaped(&container, number + 1).await;
        let sum = stage.watch.totals(&container).stats.lifetime_sum_ns;
        let told = Duration::from_nanos(sum - std::mem::replace(&mut told_before, sum));
        let late = told.saturating_sub(reaped.at_most);
        let bound = EXACT + GRACES * grace;
        let known = format!("{:?} to {:?}", reaped.at_least, reaped.at_most);
        assert!(told + EXACT >= reaped.at_least, "{told:?} told, {known}");
        assert!(late <= bound, "{told:?} told, {known}, and {grace:?} for a grace period");
        stage.tally.known.push(reaped.at_most - reaped.at_least);
        stage.tally.late.push((late, grace));
        if is_long {
            let reap = stage
                .watch
                .next(|event| match &event.detail {
                    Detail::Reap(reap) if event.pid == reaped.pid => Some(reap.clone()),
                    _ => None,
                })
                .await;
            assert_eq!(u128::from(reap.lifetime_ms), told.as_millis());
            assert_eq!(reap.reaper_pid, exact.then(std::process::id));
        }
    }
    stage.agree(&container, Truth::default().exits(0, SHORT + 1)).await;
}

/// How long a grace period of the kernel's read-copy-update takes now: this call waits for one.
fn grace_period() -> Duration {
    let begun = boot();
    // SAFETY: a system call without pointers.
    let waited = unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) };
    assert_eq!(waited, 0, "membarrier: {}", std::io::Error::last_os_error());
    boot() - begun
}

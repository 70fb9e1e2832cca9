//! Ground truth: scenarios from a seed, by a generator that knows what it causes, and the tracer's account of them, which must
//! agree to the last victim, exit, sender and zombie. What memory does takes the memory controller of cgroup v2; the
//! others run everywhere.

use super::cgroup::{Container, Tree};
use super::watch::{Watch, run};
use podbox::api::attribution::{Attribution, OomRole};
use podbox::api::event::{Detail, OomLimit};
use podbox::api::sender::Origin;
use podbox::clock::instant;
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command};

/// Takes memory until it is killed.
const EAT: &str = "tail /dev/zero";
/// As in `oom`: a child that shares its parent's memory, and eats.
const SHARE_AND_EAT: &str = "my @a; syscall(58); push @a, 'x' x 1048576 while 1";
/// Scenarios of a usual run.
const SAMPLE: u64 = 50;

/// What the generator caused in one container.
#[derive(Debug, Default, PartialEq, Eq)]
struct Truth {
    /// OOM victims by role and limit.
    victims: BTreeMap<(OomRole, Option<OomLimit>), u64>,
    /// Processes by how they ended: exit code, or 1000 and the signal.
    ends: BTreeMap<u32, u64>,
    /// Signals that ended processes by who sent them.
    senders: BTreeMap<Origin, u64>,
}

impl Truth {
    fn victim(mut self, role: OomRole, limit: OomLimit, watched: bool) -> Truth {
        // Without fentry only that a process was marked is known; who shares memory is seen by the signal.
        let (role, limit) = match (watched, role) {
            (true, _) => (role, Some(limit)),
            (false, OomRole::Sharing) => (role, None),
            (false, _) => (OomRole::Unknown, None),
        };
        *self.victims.entry((role, limit)).or_default() += 1;
        self.signal(9, Origin::Oom)
    }

    fn signal(mut self, signal: u32, origin: Origin) -> Truth {
        *self.ends.entry(1000 + signal).or_default() += 1;
        *self.senders.entry(origin).or_default() += 1;
        self
    }

    fn exits(mut self, code: u32, times: u64) -> Truth {
        *self.ends.entry(if code == 0 { 0 } else { 1 }).or_default() += times;
        self
    }
}

/// Numbers that follow from a seed (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// A scenario at work: its containers have names of their own.
struct Stage<'a> {
    tree: &'a Tree,
    watch: &'a mut Watch,
    name: String,
}

impl Stage<'_> {
    fn container(&self, name: &str) -> Container {
        let container = self.tree.container(&format!("{}-{name}", self.name));
        self.watch.tracer.register(container.id, &container.name);
        container
    }

    fn watched(&self) -> bool {
        self.watch.tracer.oom_watched()
    }

    /// What the tracer says of a container; none while the victims that it counts are not those that it names: one is on its way.
    fn told(&self, container: &Container) -> Option<Truth> {
        let totals = self.watch.totals(container);
        let mut truth = Truth::default();
        for victim in self.watch.tracer.oom_victims(container.id) {
            *truth.victims.entry((victim.oom.role, victim.oom.limit)).or_default() += 1;
        }
        let stats = &totals.stats;
        let codes = [(0, stats.exits_success), (1, stats.exits_error)];
        let signals =
            stats.exits_signal.iter().enumerate().map(|(signal, count)| (1000 + signal as u32, *count));
        truth.ends = codes.into_iter().chain(signals).filter(|(_, count)| *count > 0).collect();
        truth.senders = totals.senders().collect();
        let by_role: u64 = stats.oom_victims.iter().sum();
        let by_limit: u64 = stats.oom_limits.iter().sum();
        let named = truth.victims.values().sum::<u64>();
        ((by_role, by_limit) == (named, named)).then_some(truth)
    }

    /// The tracer's account becomes the truth: ends of processes that nobody waits for come a moment later.
    async fn agree(&self, container: &Container, truth: Truth) {
        let same = self.watch.until(|_| self.told(container).as_ref() == Some(&truth)).await;
        let totals = self.watch.totals(container);
        assert!(same, "{}: told {:?} by {totals:?}, caused {truth:?}", self.name, self.told(container));
    }
}

async fn finish(mut child: Child) -> std::process::ExitStatus {
    tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap()
}

fn kill(signal: u64, pid: u32) {
    let sent = Command::new("kill").args([format!("-{signal}"), pid.to_string()]).status().unwrap();
    assert!(sent.success());
}

/// One process is killed, and it is the container's first.
async fn single(stage: &Stage<'_>, random: &mut Random) {
    let container = stage.container("c");
    container.set("memory.max", &((8 + random.below(8)) << 20).to_string());
    let eater = container.command("tail", &["/dev/zero"]).spawn().unwrap();
    let pid = eater.id();
    assert_eq!(finish(eater).await.signal(), Some(9));
    let end = stage.watch.tracer.end(container.id, pid).and_then(|end| end.sender);
    assert_eq!(end.map(|sender| sender.origin), Some(Origin::Oom));
    let truth = Truth::default().victim(OomRole::Chosen, OomLimit::Container, stage.watched());
    stage.agree(&container, truth).await;
}

/// Children are killed one after the other, and their parent ends by itself.
async fn children(stage: &Stage<'_>, random: &mut Random) {
    let container = stage.container("c");
    container.set("memory.max", "12582912");
    let times = 1 + random.below(2);
    let script = format!("{} exit 5", format!("{EAT};").repeat(times as usize));
    assert_eq!(finish(container.shell(&script)).await.code(), Some(5));
    let mut truth = Truth::default().exits(5, 1);
    for _ in 0..times {
        truth = truth.victim(OomRole::Chosen, OomLimit::Container, stage.watched());
    }
    stage.agree(&container, truth).await;
}

/// All of a container are killed with the chosen one.
async fn group(stage: &Stage<'_>, random: &mut Random) {
    let container = stage.container("c");
    container.set("memory.max", "16777216");
    container.set("memory.oom.group", "1");
    let siblings = random.below(4);
    let shell = container.shell(&format!("{}{EAT}; exit 5", "sleep 1000 & ".repeat(siblings as usize)));
    assert_eq!(finish(shell).await.signal(), Some(9));
    let mut truth = Truth::default().victim(OomRole::Chosen, OomLimit::Container, stage.watched());
    for _ in 0..=siblings {
        truth = truth.victim(OomRole::Group, OomLimit::Container, stage.watched());
    }
    stage.agree(&container, truth).await;
}

/// The kernel chooses a process and kills with it, uncounted, the one that shares its memory.
async fn sharing(stage: &Stage<'_>, _: &mut Random) {
    let container = stage.container("c");
    container.set("memory.max", "25165824");
    let parent = container.command("perl", &["-e", SHARE_AND_EAT]).spawn().unwrap();
    assert_eq!(finish(parent).await.signal(), Some(9));
    let truth = Truth::default().victim(OomRole::Chosen, OomLimit::Container, stage.watched()).victim(
        OomRole::Sharing,
        OomLimit::Container,
        stage.watched(),
    );
    stage.agree(&container, truth).await;
}

/// A cgroup inside the container has a limit of its own.
async fn inner(stage: &Stage<'_>, _: &mut Random) {
    let container = stage.container("c");
    container.set("cgroup.subtree_control", "+memory");
    let leaf = container.dir.join("leaf");
    std::fs::create_dir(&leaf).unwrap();
    std::fs::write(leaf.join("memory.max"), "12582912").unwrap();
    let eater = super::cgroup::command_in(&leaf, "tail", &["/dev/zero"]).spawn().unwrap();
    assert_eq!(finish(eater).await.signal(), Some(9));
    let truth = Truth::default().victim(OomRole::Chosen, OomLimit::Inner, stage.watched());
    stage.agree(&container, truth).await;
}

/// The pod's limit is hit before the container's.
async fn parent(stage: &Stage<'_>, _: &mut Random) {
    let container = stage.container("c");
    stage.tree.set("memory.max", "16777216");
    let eater = container.command("tail", &["/dev/zero"]).spawn().unwrap();
    assert_eq!(finish(eater).await.signal(), Some(9));
    stage.tree.set("memory.max", "max");
    let truth = Truth::default().victim(OomRole::Chosen, OomLimit::Pod, stage.watched());
    stage.agree(&container, truth).await;
}

/// The node itself is out of memory, as far as the kernel can be told; and nobody is to be taken before this one.
async fn node(stage: &Stage<'_>, _: &mut Random) {
    let container = stage.container("c");
    let victim = container.command("sleep", &["1000"]).spawn().unwrap();
    std::fs::write(format!("/proc/{}/oom_score_adj", victim.id()), "1000").unwrap();
    std::fs::write("/proc/sysrq-trigger", "f").unwrap();
    assert_eq!(finish(victim).await.signal(), Some(9));
    let truth = Truth::default().victim(OomRole::Chosen, OomLimit::Node, stage.watched());
    stage.agree(&container, truth).await;
}

/// Processes that are gone at once, as many as there are.
async fn short(stage: &Stage<'_>, random: &mut Random) {
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
async fn signalled(stage: &Stage<'_>, random: &mut Random) {
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

/// Two processes, one after the other, have the same id.
async fn reused(stage: &Stage<'_>, _: &mut Random) {
    let container = stage.container("c");
    let first = container.command("sleep", &["1000"]).spawn().unwrap();
    let pid = first.id();
    kill(15, pid);
    finish(first).await;
    // Where somebody else is faster, or the kernel cannot be told, the next one has another id, which is as well.
    let _ = std::fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string());
    let second = container.command("sh", &["-c", "exit 4"]).spawn().unwrap();
    let again = second.id();
    assert_eq!(finish(second).await.code(), Some(4));
    let end = stage.watch.tracer.end(container.id, again).expect("it is on record");
    assert_eq!((end.status, end.sender), (4 << 8, None), "the end of the other one of this id");
    let truth = Truth::default().signal(15, Origin::Host).exits(4, 1);
    stage.agree(&container, truth).await;
}

/// A zombie whose lifetime this process knows from both sides.
async fn zombie(stage: &mut Stage<'_>, random: &mut Random) {
    let container = stage.container("c");
    // What came before is of no interest, and may be more than is kept for one who reads so seldom.
    stage.watch.events = stage.watch.tracer.subscribe();
    let before = instant();
    let mut child = container.shell("exit 0");
    let pid = child.id();
    let id = nix::sys::wait::Id::Pid(nix::unistd::Pid::from_raw(pid as i32));
    let look = nix::sys::wait::WaitPidFlag::WEXITED | nix::sys::wait::WaitPidFlag::WNOWAIT;
    nix::sys::wait::waitid(id, look).unwrap();
    let dead = instant();
    tokio::time::sleep(std::time::Duration::from_millis(1050 + random.below(200))).await;
    let at_least = dead.elapsed();
    child.wait().unwrap();
    let at_most = before.elapsed();
    let reap = stage
        .watch
        .next(|event| match &event.detail {
            Detail::Reap(reap) if event.pid == pid => Some(reap.clone()),
            _ => None,
        })
        .await;
    // A millisecond for rounding on either side.
    assert!(u128::from(reap.lifetime_ms) + 1 >= at_least.as_millis(), "{reap:?}, dead for {at_least:?}");
    if let Some(reaper) = reap.reaper_pid {
        assert_eq!(reaper, std::process::id());
        assert!(u128::from(reap.lifetime_ms) <= at_most.as_millis() + 1, "{reap:?}, there for {at_most:?}");
    }
    stage.agree(&container, Truth::default().exits(0, 1)).await;
}

#[test]
fn seeded_scenarios_are_told_as_they_were_caused() {
    run("seeded_scenarios_are_told_as_they_were_caused", async {
        let (tree, memory) = match Tree::with_memory() {
            Ok(tree) => (tree, true),
            Err(_) => (Tree::new()?, false),
        };
        let mut watch = Watch::start(&[])?;
        // Nobody's own machine is told that it is out of memory.
        let machine = std::env::var("PODBOX_TEST_LEVEL").is_ok_and(|level| level == "vm");
        let first = number("PODBOX_SEED").unwrap_or(1);
        for seed in first..first + number("PODBOX_ROUNDS").unwrap_or(SAMPLE) {
            println!("seed {seed}");
            let mut random = Random(seed);
            let mut stage = Stage { tree: &tree, watch: &mut watch, name: format!("s{seed}") };
            match random.below(if memory { 10 + u64::from(machine) } else { 4 }) {
                0 => short(&stage, &mut random).await,
                1 => signalled(&stage, &mut random).await,
                2 => reused(&stage, &mut random).await,
                3 => zombie(&mut stage, &mut random).await,
                4 => single(&stage, &mut random).await,
                5 => children(&stage, &mut random).await,
                6 => group(&stage, &mut random).await,
                7 => sharing(&stage, &mut random).await,
                8 => inner(&stage, &mut random).await,
                9 => parent(&stage, &mut random).await,
                _ => node(&stage, &mut random).await,
            }
            let snapshot = watch.tracer.snapshot();
            assert!(snapshot.losses.iter().all(|(_, lost)| *lost == 0), "{:?}", snapshot.losses);
        }
        Ok(())
    });
}

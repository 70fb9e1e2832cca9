//! Ground truth: scenarios from a seed, by a generator that knows what it causes, and the tracer's account of them, which must
//! agree to the last victim, exit, sender and zombie. What memory does takes the memory controller of cgroup v2; the
//! others run everywhere.

mod lives;
mod memory;

use super::cgroup::{Container, LEVEL, Tree};
use super::watch::{Watch, in_machine, run};
use podbox::api::attribution::{Attribution, OomRole};
use podbox::api::event::OomLimit;
use podbox::api::sender::Origin;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::process::{Child, Command};
use std::time::Duration;

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

/// The kind of a seed's scenario, of so many: dealt, so that each comes once before any comes again.
fn kind(seed: u64, kinds: u64) -> u64 {
    let mut random = Random(seed / kinds);
    let mut deal: Vec<u64> = (0..kinds).collect();
    for place in (1..deal.len()).rev() {
        deal.swap(place, random.below(place as u64 + 1) as usize);
    }
    deal[(seed % kinds) as usize]
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// What came about, for people.
#[derive(Debug, Default)]
struct Tally {
    /// Processes that had the id of one before them.
    reused: u64,
    /// How long brief containers were there.
    lived: Vec<Duration>,
    /// How well the dead's lifetimes were known to the generator.
    known: Vec<Duration>,
    /// How much later than the reaping their ends were told, and the longest grace period of that time.
    late: Vec<(Duration, Duration)>,
}

impl Tally {
    fn say(&mut self) {
        let Tally { reused, lived, known, late } = self;
        let middle = |times: &mut Vec<Duration>| {
            times.sort_unstable();
            times.get(times.len() / 2).copied().unwrap_or_default()
        };
        let short = lived.iter().filter(|time| **time < Duration::from_millis(10)).count();
        let well = known.iter().filter(|time| **time <= Duration::from_millis(1)).count();
        println!("{reused} ids were used again");
        println!("{} brief containers, {short} of them less than 10 ms: {:?}", lived.len(), middle(lived));
        println!("{} lifetimes, {well} of them known to 1 ms: {:?}", known.len(), middle(known));
        println!("told too late at most by {:?}, by a grace period of", late.iter().max());
    }
}

/// A scenario at work: its containers have names of their own.
struct Stage<'a> {
    /// Of the pods' class.
    class: &'a Tree,
    /// Of the pod.
    tree: &'a Tree,
    watch: &'a mut Watch,
    tally: &'a mut Tally,
    name: String,
    /// Whether there is a memory controller.
    memory: bool,
    /// Containers that it has made.
    made: RefCell<Vec<Container>>,
}

impl Stage<'_> {
    fn container(&self, name: &str) -> Container {
        self.container_in(self.tree, name)
    }

    fn container_in(&self, tree: &Tree, name: &str) -> Container {
        let container = tree.container(&format!("{}-{name}", self.name));
        self.watch.tracer.register(container.id, &container.name);
        self.made.borrow_mut().push(container.clone());
        container
    }

    /// Its end as its runner has it: nobody is there any more, it is not asked for any more, and its cgroup goes.
    async fn retire(&self, container: &Container) {
        self.watch.tracer.forget(container.id);
        // What was killed leaves its cgroup a moment later.
        let gone = self.watch.until(|_| container.remove()).await;
        assert!(gone, "{} stays", container.dir.display());
    }

    /// That so many of a container's processes were taken away, once it is told.
    async fn reaped(&self, container: &Container, times: u64) {
        let reaped = || self.watch.totals(container).stats.reaped;
        assert!(self.watch.until(|_| reaped() == times).await, "{}: {} of {times}", self.name, reaped());
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

#[test]
fn seeded_scenarios_are_told_as_they_were_caused() {
    run("seeded_scenarios_are_told_as_they_were_caused", async {
        let (class, memory) = match Tree::with_memory() {
            Ok(class) => (class, true),
            Err(_) => (Tree::new()?, false),
        };
        let tree = class.pod("pod");
        let mut watch = Watch::at(LEVEL + 1, &[])?;
        let mut tally = Tally::default();
        // Nobody's own machine is told that it is out of memory.
        let kinds = if memory { 12 + u64::from(in_machine()) } else { 5 };
        let first = number("PODBOX_SEED").unwrap_or(1);
        let rounds = number("PODBOX_SCENARIOS").or(number("PODBOX_ROUNDS")).unwrap_or(SAMPLE);
        for seed in first..first + rounds {
            println!("seed {seed}");
            let mut random = Random(seed);
            let mut stage = Stage {
                class: &class,
                tree: &tree,
                watch: &mut watch,
                tally: &mut tally,
                name: format!("s{seed}"),
                memory,
                made: RefCell::default(),
            };
            match kind(seed, kinds) {
                0 => lives::short(&stage, &mut random).await,
                1 => lives::signalled(&stage, &mut random).await,
                2 => lives::reused(&mut stage, &mut random).await,
                3 => lives::zombie(&mut stage, &mut random).await,
                4 => lives::brief(&mut stage, &mut random).await,
                5 => memory::single(&stage, &mut random).await,
                6 => memory::children(&stage, &mut random).await,
                7 => memory::group(&stage, &mut random).await,
                8 => memory::sharing(&stage, &mut random).await,
                9 => memory::inner(&stage, &mut random).await,
                10 => memory::parent(&stage, &mut random).await,
                11 => memory::class(&stage, &mut random).await,
                _ => memory::node(&stage, &mut random).await,
            }
            for container in stage.made.take() {
                stage.retire(&container).await;
            }
            let snapshot = watch.tracer.snapshot();
            assert!(snapshot.losses.iter().all(|(_, lost)| *lost == 0), "{:?}", snapshot.losses);
        }
        tally.say();
        Ok(())
    });
}

//! A run: what happens next is drawn, done and checked; at the end nothing goes wrong any more, and what was asked for must be there;
//! then all is deleted, and nothing may be left.

use super::checks;
use super::faults::{self, Fault};
use super::sights::{Sight, Tally};
use super::workloads::{Scenario, Workload};
use super::world::World;
use crate::api::kinds::Kinds;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Duration;

/// Looks of the control plane by which a world must have come to rest.
const PATIENCE: usize = 3_000;
/// What nodes do between two of them.
const DEEDS: usize = 4;
/// What is to be looked at later than this after the last change is no part of coming to rest: longer than any pause after failures.
const REST: Duration = Duration::from_secs(1500);
/// For so long nobody but those who look after nodes may have anything to do: longer than a node may be silent.
const CALM: Duration = Duration::from_secs(70);

/// How runs are played.
#[derive(Clone, Debug)]
pub struct Options {
    /// Steps in which things go wrong.
    pub steps: usize,
    /// What may be in the world.
    pub scenarios: Vec<Scenario>,
    /// Whether all of the transcript is kept.
    pub whole: bool,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Played {
    /// Of its transcript.
    pub hash: u64,
    /// The lines of its transcript that were kept.
    pub lines: Vec<String>,
    /// How many lines there were.
    pub told: usize,
    /// How many steps were taken, those in which it came to rest included.
    pub steps: usize,
    /// What was in the world.
    pub scenarios: Vec<&'static str>,
    /// How often what was seen.
    pub tally: Tally,
    /// What did not hold.
    pub failure: Option<String>,
}

/// Plays a seed.
pub fn play(kinds: &Arc<Kinds>, seed: u64, options: &Options) -> Played {
    Play::new(kinds, seed, options).play(options)
}

/// Plays a seed with a bug in all decisions.
#[cfg(test)]
pub fn play_spoiled(kinds: &Arc<Kinds>, seed: u64, options: &Options, bug: super::bugs::Bug) -> Played {
    let mut play = Play::new(kinds, seed, options);
    play.world.bug = Some(bug);
    play.play(options)
}

/// The command that plays a seed again.
pub fn replay(seed: u64, options: &Options) -> String {
    let steps = options.steps;
    let scenarios = match options.scenarios == Scenario::ALL {
        true => String::new(),
        false => {
            let names: Vec<&str> = options.scenarios.iter().map(|one| one.name()).collect();
            format!(" --scenario {}", names.join(","))
        }
    };
    format!("podbox sim --seed {seed} --steps {steps}{scenarios}")
}

struct Play {
    world: World,
    /// What goes wrong in it.
    faults: Vec<Fault>,
    workloads: Vec<Box<dyn Workload>>,
    /// Changes up to which all was checked.
    checked: usize,
    /// What checks saw.
    seen: Tally,
}

impl Play {
    fn new(kinds: &Arc<Kinds>, seed: u64, options: &Options) -> Play {
        let mut world = World::new(kinds, seed, options.whole);
        // Most often one workload, so that what goes wrong is its own; sometimes several, which share nodes.
        let many = if world.random.one_in(10) { 2 + world.random.below(2) } else { 1 };
        let workloads = (0..many).filter_map(|number| {
            let scenario = *world.random.pick(&options.scenarios)?;
            Some(scenario.begin(&mut world, format!("n{number}")))
        });
        let workloads = workloads.collect();
        let faults = faults::some(&mut world.random);
        Play { world, faults, workloads, checked: 0, seen: Tally::default() }
    }

    /// Plays it.
    fn play(mut self, options: &Options) -> Played {
        let run = AssertUnwindSafe(|| self.run(options.steps));
        let failure = match panic::catch_unwind(run) {
            Ok(run) => run.err(),
            Err(_) => Some("the simulation panicked: what it said is on stderr".to_owned()),
        };
        if let Some(failure) = &failure {
            self.world.tell(&format!("FAILED: {failure}"));
        }
        let mut tally = self.seen;
        tally.add(&self.world.tally);
        let transcript = &self.world.transcript;
        Played {
            hash: transcript.hash(),
            lines: transcript.last().map(str::to_owned).collect(),
            told: transcript.lines(),
            steps: self.world.steps,
            scenarios: self.workloads.iter().map(|workload| workload.scenario().name()).collect(),
            tally,
            failure,
        }
    }

    fn run(&mut self, steps: usize) -> Result<(), String> {
        let before = self.inventory();
        for workload in &mut self.workloads {
            workload.create(&mut self.world);
        }
        // In half of the runs things go wrong only once all that was asked for is there.
        if self.world.random.one_in(2) {
            self.warm()?;
        }
        for _ in 0..steps {
            self.step()?;
        }
        self.world.mend();
        self.workloads.iter_mut().for_each(|workload| workload.rest(&mut self.world));
        self.settle()?;
        checks::at_rest(&self.world)?;
        for workload in &self.workloads {
            workload
                .settled(&self.world)
                .map_err(|why| format!("{} at rest: {why}", workload.scenario().name()))?;
        }
        self.end()?;
        match self.inventory() {
            after if after == before => Ok(()),
            after => Err(format!(
                "this is left: {:?}",
                after.iter().filter(|one| !before.contains(one)).collect::<Vec<_>>()
            )),
        }
    }

    /// All objects but nodes and their signs of life.
    fn inventory(&self) -> Vec<String> {
        let mut all = self.world.api.inventory();
        all.retain(|one| !one.starts_with("/nodes ") && !one.starts_with("coordination.k8s.io/leases "));
        all
    }

    fn step(&mut self) -> Result<(), String> {
        let world = &mut self.world;
        world.steps += 1;
        match world.random.below(100) {
            0..=24 if world.weather.nap > 0 => {}
            0..=24 => {
                let most = if world.random.one_in(2) { 1 } else { usize::MAX };
                world.look(most);
            }
            25..=54 => drop(world.write()?),
            55..=74 => drop(world.deed()),
            75..=80 => {
                let which = world.random.below(self.workloads.len());
                if let Some(workload) = self.workloads.get_mut(which) {
                    workload.act(world);
                }
            }
            81..=88 => {
                // Sometimes for so long that somebody loses patience.
                let (least, most) = if world.random.one_in(8) { (40, 100) } else { (1, 20) };
                let seconds = least + world.random.below(most);
                world.pass(Duration::from_secs(seconds as u64));
            }
            _ => self.fault(),
        }
        self.world.weather.nap = self.world.weather.nap.saturating_sub(1);
        self.check()
    }

    fn fault(&mut self) {
        let amid = self.workloads.iter().any(|workload| workload.is_amid(&self.world));
        let fault = self.world.fault(&self.faults);
        self.world.tally.saw_if(amid && fault == Some(Fault::Restart), Sight::RestartAmid);
    }

    /// The control plane does all that it can before it has to wait for a write.
    fn look(&mut self) -> Result<(), String> {
        self.world.look(usize::MAX);
        self.judge()
    }

    /// What was decided, held against the world in which it was.
    fn judge(&mut self) -> Result<(), String> {
        for decision in std::mem::take(&mut self.world.decisions) {
            for workload in &mut self.workloads {
                let judged = workload.decided(&self.world, &decision, &mut self.seen);
                judged.map_err(|why| format!("{}: {why}", workload.scenario().name()))?;
            }
        }
        Ok(())
    }

    fn check(&mut self) -> Result<(), String> {
        self.judge()?;
        if self.checked == self.world.changes {
            return Ok(());
        }
        self.checked = self.world.changes;
        checks::always(&self.world)?;
        for workload in &mut self.workloads {
            let judged = workload.check(&self.world, &mut self.seen);
            judged.map_err(|why| format!("{}: {why}", workload.scenario().name()))?;
        }
        Ok(())
    }

    /// For a minute nothing goes wrong.
    fn warm(&mut self) -> Result<(), String> {
        for _ in 0..60 {
            loop {
                self.look()?;
                if !self.work()? {
                    break;
                }
            }
            self.world.pass(Duration::from_secs(1));
        }
        Ok(())
    }

    /// Until nothing is to be done.
    fn settle(&mut self) -> Result<(), String> {
        let (mut changes, mut quiet) = (self.world.changes, self.world.now().since);
        for _ in 0..PATIENCE {
            self.look()?;
            let busy = self.work()?;
            if self.world.changes != changes {
                (changes, quiet) = (self.world.changes, self.world.now().since);
            }
            if busy {
                continue;
            }
            let now = self.world.now().since;
            let rest = quiet + REST + self.world.set_back;
            match self.world.plane.next_time().filter(|at| *at < rest) {
                Some(at) => self.world.pass(at.saturating_sub(now) + Duration::from_millis(1)),
                None if now.saturating_sub(quiet) < CALM => self.world.pass(CALM),
                None => return Ok(()),
            }
        }
        Err(format!("it does not come to rest: the control plane has looked {PATIENCE} times"))
    }

    /// Everything that is under way is done, and some of what nodes have to do; tells whether there was anything.
    fn work(&mut self) -> Result<bool, String> {
        let mut busy = self.world.plane.has_ends();
        while self.world.write()? {
            busy = true;
            self.world.steps += 1;
            self.check()?;
        }
        for _ in 0..DEEDS {
            if !self.world.deed() {
                break;
            }
            busy = true;
            self.world.steps += 1;
            self.check()?;
        }
        Ok(busy)
    }

    /// Everything that was asked for is deleted.
    fn end(&mut self) -> Result<(), String> {
        let mut again = true;
        while again {
            again = false;
            for workload in &mut self.workloads {
                again |= workload.end(&mut self.world);
            }
            self.settle()?;
            checks::at_rest(&self.world)?;
        }
        Ok(())
    }
}

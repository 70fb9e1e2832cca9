//! What the kernel records while no tracer runs, and how the next one goes on with it.

use super::cgroup::{Container, LEVEL, Tree};
use super::watch::{Watch, load, lost, run, sent, totals};
use podbox::api::attribution::{Attribution, OomRole};
use podbox::trace::{self, Gap, Kind, Loss, TraceConfig, Tracer};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where tracers pin. Nothing of it stays.
pub struct Place(tempfile::TempDir);

impl Place {
    pub fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    /// A tracer as the next podbox has it, once it has said which containers run.
    fn tracer(&self, containers: &[&Container]) -> Result<(Arc<Tracer>, Gap), String> {
        let keep = Some(self.0.path().to_owned());
        let tracer = load(TraceConfig { keep, ..TraceConfig::new(LEVEL) })?;
        containers.iter().for_each(|container| tracer.register(container.id, &container.name));
        let gap = tracer.settle();
        Ok((tracer, gap))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Directories of layouts.
    pub fn layouts(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.0.path().join("bpf")).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let removed = trace::remove(self.0.path());
        let left = fs::read_dir(self.0.path()).unwrap().count();
        assert!(std::thread::panicking() || removed.is_ok() && left == 0, "{removed:?}, {left} left");
    }
}

fn ended(container: &Container, script: &str) -> u32 {
    let mut shell = container.shell(script);
    shell.wait().unwrap();
    shell.id()
}

fn programs_pinned_below(dir: &Path) -> usize {
    fs::read_dir(dir.join("links")).unwrap().count()
}

#[test]
fn what_happens_between_two_tracers_is_counted_and_told_by_the_second() {
    run("what_happens_between_two_tracers_is_counted_and_told_by_the_second", async {
        let (tree, place) = (Tree::new()?, Place::new());
        let (container, other) = (tree.container("app"), tree.container("other"));
        let (first, gap) = place.tracer(&[])?;
        assert_eq!(gap, Gap { away: None, watched: 0, unwatched: 0, replaced: false });
        [&container, &other].iter().for_each(|one| first.register(one.id, &one.name));
        first.forget(other.id);
        ended(&container, "exit 3");
        drop(first);
        let pid = ended(&container, "exit 4");
        ended(&container, "kill -KILL $$");
        ended(&other, "exit 5");

        let (tracer, gap) = place.tracer(&[&container])?;
        assert_eq!((gap.watched, gap.unwatched, gap.away.is_some()), (1, 0, true));
        assert!(tracer.watched(container.id));
        let mut watch = Watch { events: tracer.subscribe(), tracer };
        watch.tracer.spawn_reader().unwrap();
        let (event, exit) = watch.end(pid).await;
        assert_eq!(exit.code, Some(4), "{event:?}");
        let stats = watch.totals(&container).stats;
        assert_eq!((stats.exits_error, stats.exits_signal[9]), (2, 1));
        // A tombstone keeps its counts, too.
        assert_eq!(totals(&watch.tracer, &other).stats.exits_error, 1);
        assert_eq!((sent(&watch.tracer, Kind::Exit), lost(&watch.tracer, Loss::ExitEvent)), (4, 0));
        Ok(())
    });
}

#[test]
fn each_exit_is_counted_once_while_tracers_follow_each_other() {
    const EXITS: u64 = 400;
    run("each_exit_is_counted_once_while_tracers_follow_each_other", async {
        let (tree, place) = (Tree::new()?, Place::new());
        let container = tree.container("app");
        let (first, _) = place.tracer(&[])?;
        first.register(container.id, &container.name);
        drop(first);
        let script = format!("i=0; while [ $i -lt {EXITS} ]; do /bin/false; i=$((i+1)); done");
        let mut shell = container.shell(&script);
        let mut tracers = 0;
        while shell.try_wait().unwrap().is_none() {
            place.tracer(&[&container])?;
            tracers += 1;
        }
        let (tracer, gap) = place.tracer(&[&container])?;
        let stats = totals(&tracer, &container).stats;
        assert_eq!(
            (stats.exits_error, stats.exits_success, gap.unwatched),
            (EXITS, 1, 0),
            "{tracers} tracers"
        );
        assert_eq!(sent(&tracer, Kind::Exit), EXITS + 1);
        Ok(())
    });
}

#[test]
fn maps_of_another_layout_are_given_up_and_the_gap_is_told() {
    run("maps_of_another_layout_are_given_up_and_the_gap_is_told", async {
        let (tree, place) = (Tree::new()?, Place::new());
        let container = tree.container("app");
        let (first, _) = place.tracer(&[])?;
        first.register(container.id, &container.name);
        drop(first);
        ended(&container, "exit 3");
        let layout = place.layouts().pop().expect("something is pinned");
        let programs = programs_pinned_below(&layout);
        assert!(programs >= 3, "{programs}");
        let other = layout.with_file_name("0123456789abcdef");
        fs::rename(&layout, &other).unwrap();
        // And what a podbox left that knew another program.
        let same = other.join("links/an_older_program");
        fs::rename(other.join("links/process_exit"), same).unwrap();

        let (second, gap) = place.tracer(&[&container])?;
        assert_eq!((gap.watched, gap.unwatched, gap.replaced), (0, 1, true), "{gap}");
        assert!(gap.to_string().contains("another layout"), "{gap}");
        assert_eq!(place.layouts(), std::slice::from_ref(&layout), "no pin of the other is left");
        assert_eq!(programs_pinned_below(&layout), programs);
        assert!(!second.watched(container.id));
        assert_eq!(second.snapshot().unwatched, 1);
        ended(&container, "exit 3");
        assert_eq!(totals(&second, &container).stats.exits_error, 1);
        drop(second);

        // It is remembered: what was missed then stays missed.
        fs::rename(layout.join("links/process_exit"), layout.join("links/an_older_program")).unwrap();
        let (third, gap) = place.tracer(&[&container])?;
        assert_eq!((gap.unwatched, gap.replaced), (1, false));
        assert_eq!(programs_pinned_below(&layout), programs, "the older program is detached");
        third.forget(container.id);
        assert_eq!(third.snapshot().unwatched, 0);
        Ok(())
    });
}

#[test]
fn a_container_that_no_journal_knows_is_a_gap_and_one_that_nobody_claims_is_gone() {
    run("a_container_that_no_journal_knows_is_a_gap_and_one_that_nobody_claims_is_gone", async {
        let (tree, place) = (Tree::new()?, Place::new());
        let [known, unknown, gone] = ["known", "unknown", "gone"].map(|name| tree.container(name));
        let (first, _) = place.tracer(&[])?;
        [&known, &gone].iter().for_each(|one| first.register(one.id, &one.name));
        drop(first);
        let (second, gap) = place.tracer(&[&known, &unknown])?;
        assert_eq!((gap.watched, gap.unwatched, gap.replaced), (1, 1, false), "{gap}");
        assert_eq!([&known, &unknown].map(|one| second.watched(one.id)), [true, false]);
        drop(second);
        let (third, gap) = place.tracer(&[&known])?;
        assert_eq!((gap.watched, gap.unwatched), (1, 0), "{gap}");
        assert!(third.watched(known.id));
        Ok(())
    });
}

#[test]
fn a_victim_of_the_time_between_is_known_with_its_role() {
    run("a_victim_of_the_time_between_is_known_with_its_role", async {
        let (tree, place) = (Tree::with_memory()?, Place::new());
        let container = tree.container("app");
        container.set("memory.max", "33554432");
        let (first, _) = place.tracer(&[])?;
        first.register(container.id, &container.name);
        drop(first);
        let pid = ended(&container, "exec tail /dev/zero");
        let (second, _) = place.tracer(&[&container])?;
        let victims = second.oom_victims(container.id);
        let role = if second.oom_watched() { OomRole::Chosen } else { OomRole::Unknown };
        assert_eq!(
            victims.iter().map(|victim| (victim.pid, victim.oom.role)).collect::<Vec<_>>(),
            [(pid, role)]
        );
        Ok(())
    });
}

#[test]
fn where_nothing_can_be_pinned_it_says_so_and_traces_all_the_same() {
    run("where_nothing_can_be_pinned_it_says_so_and_traces_all_the_same", async {
        let tree = Tree::new()?;
        let container = tree.container("app");
        // No directory can be made there.
        let keep = Some("/proc/nowhere".into());
        let loaded = Tracer::load(TraceConfig { keep, ..TraceConfig::new(LEVEL) });
        let (tracer, report) = loaded.map_err(|error| error.to_string())?;
        let survival = report.get(trace::Signal::Survival).unwrap();
        assert!(survival.backend.is_none() && survival.reason.contains("/proc/nowhere"), "{survival}");
        tracer.settle();
        tracer.register(container.id, &container.name);
        assert!(tracer.watched(container.id));
        ended(&container, "exit 3");
        assert_eq!(totals(&tracer, &container).stats.exits_error, 1);
        Ok(())
    });
}

//! A program that costs more than it may is detached, and what containers' states are derived from goes on.

use super::cgroup::{LEVEL, Tree};
use super::survival::Place;
use super::watch::{Watch, load, run, totals};
use podbox::api::attribution::Attribution;
use podbox::trace::{Allowance, Signal, TraceConfig, Tracer};
use std::time::Duration;

#[test]
fn a_program_over_its_budget_is_detached_and_exits_go_on_being_counted() {
    run("a_program_over_its_budget_is_detached_and_exits_go_on_being_counted", async {
        const SENDERS: &str = "signal_sent";
        let (tree, place) = (Tree::new()?, Place::new());
        let container = tree.container("app");
        // Whatever runs at all is over it.
        let allowance = Allowance { share: 0.0, every: Duration::ZERO };
        let keep = Some(place.path().to_owned());
        let tracer = load(TraceConfig { keep, allowance, ..TraceConfig::new(LEVEL) })?;
        let before = tracer.capabilities();
        if !before.has(Signal::ProgramCost) || !before.has(Signal::Senders) {
            return Err("this kernel tells no program's cost, or lets no sender be seen".into());
        }
        tracer.register(container.id, &container.name);
        let pinned = || place.layouts().iter().any(|layout| layout.join("links").join(SENDERS).exists());
        assert!(pinned());
        let watch = Watch { events: tracer.subscribe(), tracer };
        watch.tracer.spawn_reader().unwrap();
        // Each end is a signal to the parent.
        let mut busy = container.shell("while :; do (exit 0); done");
        let given_up = |tracer: &Tracer| tracer.snapshot().detached.iter().any(|name| name == SENDERS);
        assert!(watch.until(given_up).await, "{:#?}", watch.tracer.snapshot());
        busy.kill().unwrap();
        busy.wait().unwrap();
        let after = watch.tracer.capabilities();
        let senders = after.get(Signal::Senders).unwrap();
        assert_eq!(senders.backend, None);
        assert!(senders.reason.contains("more than its 0 %"), "{senders:?}");
        assert!(!pinned(), "who comes after this one would go on with it");
        let cost = |tracer: &Tracer| tracer.costs().into_iter().find(|cost| cost.program == SENDERS);
        assert_eq!(cost(&watch.tracer), None, "it is out of the kernel");

        let other = tree.container("other");
        watch.tracer.register(other.id, &other.name);
        let mut killed = other.shell("(exit 3); kill -KILL $$");
        killed.wait().unwrap();
        let stats = totals(&watch.tracer, &other).stats;
        assert_eq!((stats.exits_error, stats.exits_signal[9]), (1, 1));
        let end = watch.tracer.end(other.id, killed.id()).expect("ends are never given up");
        assert_eq!((end.status, end.sender), (9, None), "nobody sees who sends any more");
        assert!(watch.tracer.capabilities().has(Signal::Exits));
        Ok(())
    });
}

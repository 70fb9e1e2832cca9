//! How containers begin, as the kernel notes it.

use super::cgroup::{LEVEL, Tree, removed};
use super::watch::{Watch, load, run};
use podbox::api::attribution::Attribution;
use podbox::clock;
use podbox::trace::{TraceConfig, Tracer};
use std::process::Command;

#[test]
fn the_first_program_of_a_container_is_noted_and_no_later_one() {
    run("the_first_program_of_a_container_is_noted_and_no_later_one", async {
        let tree = Tree::new()?;
        let (container, earlier) = (tree.container("app"), tree.container("earlier"));
        let tracer = load(TraceConfig::new(LEVEL))?;
        // Who is there before all is settled may have begun before.
        tracer.register(earlier.id, &earlier.name);
        tracer.settle();
        tracer.register(container.id, &container.name);
        assert_eq!(tracer.firsts(container.id), Some(Default::default()));
        let before = clock::boot();
        container.shell("exit 0").wait().unwrap();
        let firsts = tracer.firsts(container.id).unwrap();
        let (cloned, executed) = (firsts.cloned.unwrap(), firsts.executed.unwrap());
        assert!(before <= cloned && cloned <= executed && executed <= clock::boot(), "{firsts:?}");
        assert_eq!((firsts.listened, firsts.connected, firsts.accepted), (None, None, None));
        container.shell("exit 0").wait().unwrap();
        assert_eq!(tracer.firsts(container.id), Some(firsts), "a later program is not the first");

        earlier.shell("exit 0").wait().unwrap();
        let missed = tracer.firsts(earlier.id).unwrap();
        assert!(missed.missed && missed.executed.is_none(), "{missed:?}");
        // A cgroup that is removed under it takes nothing along.
        assert!(removed(&container.dir));
        assert_eq!(tracer.firsts(container.id), Some(firsts));

        // Once nothing is about to begin, whoever executes something pays for nothing; the next container's is seen all the same.
        let later = tree.container("later");
        let events = tracer.subscribe();
        tracer.spawn_reader().unwrap();
        let watch = Watch { tracer, events };
        let unwatched = |tracer: &Tracer| {
            let before = runs(tracer);
            Command::new("true").status().unwrap();
            runs(tracer) == before
        };
        assert!(watch.until(unwatched).await, "executions are watched for nothing");
        watch.tracer.register(later.id, &later.name);
        later.shell("exit 0").wait().unwrap();
        assert!(watch.tracer.firsts(later.id).unwrap().executed.is_some());
        Ok(())
    });
}

/// How often the program ran that sees programs executed.
fn runs(tracer: &Tracer) -> u64 {
    tracer.costs().iter().find(|cost| cost.program == "process_exec").unwrap().runs
}

//! The report on what this kernel can tell, against the kernel.

use super::cgroup::Tree;
use super::watch::run;
use podbox::trace::{Signal, probe};

#[test]
fn the_report_gives_a_reason_for_all_that_is_not_at_its_best() {
    run("the_report_gives_a_reason_for_all_that_is_not_at_its_best", async {
        drop(Tree::new()?);
        let report = probe();
        println!("{report}");
        // These need nothing but BTF: every kernel we support has them.
        for signal in
            [Signal::Exits, Signal::OomVictims, Signal::Reaping, Signal::Listening, Signal::Connections]
        {
            assert!(report.has(signal), "{report}");
        }
        for capability in &report.signals {
            let best = capability.backend.is_some() && capability.lost.is_empty();
            assert_eq!(best, capability.reason.is_empty(), "{capability}");
        }
        // They hang on fentry: a kernel that refuses one refuses the others.
        let fentry = report.get(Signal::Reaping).unwrap().backend == Some("fentry release_task");
        for signal in [Signal::OomDecision, Signal::Accepts] {
            assert_eq!(report.has(signal), fentry, "{report}");
        }
        Ok(())
    });
}

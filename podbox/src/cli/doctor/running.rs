//! What the podbox that runs here has lost since its BPF maps were made, by its own metrics: no trial can show that. Pure.

use super::report::Finding;
use crate::metrics;

/// A number of podbox's that is zero while all is well.
struct Loss {
    metric: &'static str,
    /// Which values of its label, if only some mean this.
    of: fn(&str) -> bool,
    name: &'static str,
    /// What it counts, after the number.
    what: &'static str,
    lost: &'static str,
    mend: &'static str,
}

/// As the kernel's side calls one that had no room among the dead.
const DEAD: &str = "dead-record";

const LOSSES: [Loss; 5] = [
    Loss {
        metric: metrics::BPF_DROPS,
        of: |kind| kind != DEAD,
        name: "running: kernel records",
        what: "lost",
        lost: "single records, not their counts: one event, why one process ended, how long one zombie lay",
        mend: "find what forks, or is killed, faster than podbox reads; `podbox_kernel_events_missed_total` of /metrics has how many events of which kind never came",
    },
    Loss {
        metric: metrics::BPF_DROPS,
        of: |kind| kind == DEAD,
        name: "running: dead processes",
        what: "found no room",
        lost: "zombies beyond those that there is room for, and how long they lay",
        mend: "find who does not reap them: `podbox_zombies` and `podbox_zombie_causes` of /metrics",
    },
    Loss {
        metric: metrics::KERNEL_UNWATCHED,
        of: |_| true,
        name: "running: watched containers",
        what: "not watched for a while",
        lost: "a part of what happened to their processes",
        mend: "start those pods anew where that matters; the log and the Event KernelEventsMissed say which time it was",
    },
    Loss {
        metric: metrics::KERNEL_SKEW,
        of: |_| true,
        name: "running: agreement with the kernel's files",
        what: "apart",
        lost: "counts of containers that are there now",
        mend: "believe the kernel's files; without a program detached or runs left out, report it as a bug of podbox",
    },
    Loss {
        metric: metrics::BPF_SKIPPED,
        of: |_| true,
        name: "running: runs of BPF programs",
        what: "left out by the kernel",
        lost: "what those would have counted",
        mend: "look at what else traces on this host (`bpftool prog`), if they become many",
    },
];

/// One for each loss, by a page of metrics; where there is none, one that says so.
pub fn findings(page: &str) -> Vec<Finding> {
    let found: Vec<Finding> = LOSSES.iter().filter_map(|loss| loss.finding(page)).collect();
    match found.is_empty() {
        true => vec![Finding::ok("running: kernel records", "nothing lost")],
        false => found,
    }
}

impl Loss {
    fn finding(&self, page: &str) -> Option<Finding> {
        let counts = page.lines().filter_map(|line| count(line, self.metric));
        let seen: Vec<String> = counts
            .filter(|(of, count)| *count > 0.0 && (self.of)(of))
            .map(|(of, count)| if of.is_empty() { format!("{count}") } else { format!("{of} {count}") })
            .collect();
        let seen = (!seen.is_empty()).then(|| format!("{} {}", seen.join(", "), self.what))?;
        Some(Finding::degraded(self.name, seen, self.lost, self.mend))
    }
}

/// The value of the only label of a series of this metric, if it has one, and its number.
fn count<'l>(line: &'l str, metric: &str) -> Option<(&'l str, f64)> {
    let (labels, number) = line.strip_prefix(metric)?.rsplit_once(' ')?;
    let of = match labels {
        "" => "",
        _ => labels.strip_prefix('{')?.strip_suffix("\"}")?.split_once("=\"")?.1,
    };
    Some((of, number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_loss_is_told_once_with_what_to_do() {
        let page = "\
# TYPE podbox_bpf_drops_total counter
podbox_bpf_drops_total{kind=\"exit-event\"} 7
podbox_bpf_drops_total{kind=\"oom-event\"} 0
podbox_bpf_drops_total{kind=\"reap-event\"} 2
podbox_bpf_drops_total{kind=\"dead-record\"} 9
podbox_kernel_unwatched_containers 2
podbox_kernel_skew{source=\"memory.events\"} 0
podbox_bpf_program_skipped_total{program=\"process_exit\"} 3
";
        let findings = findings(page);
        let seen: Vec<&str> = findings.iter().map(|finding| &*finding.seen).collect();
        let expected = [
            "exit-event 7, reap-event 2 lost",
            "dead-record 9 found no room",
            "2 not watched for a while",
            "process_exit 3 left out by the kernel",
        ];
        assert_eq!(seen, expected);
        assert!(findings.iter().all(|finding| !finding.lost.is_empty() && !finding.mend.is_empty()));
    }

    #[test]
    fn a_podbox_that_has_lost_nothing_says_so() {
        let findings = findings("podbox_kernel_unwatched_containers 0\npodbox_kernel_unwatched 1\n");
        assert_eq!(findings, [Finding::ok("running: kernel records", "nothing lost")]);
    }
}

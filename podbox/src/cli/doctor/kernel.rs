//! The kernel itself: its release, our rights, and what it can tell about processes.

use super::report::Finding;
use crate::trace::{Capability, CapabilityReport, Signal};
use std::fs;

/// The oldest kernel that podbox is tested on.
const OLDEST: (u32, u32) = (6, 1);

pub fn release() -> Finding {
    let seen = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned();
    if version(&seen).is_some_and(|version| version >= OLDEST) {
        return Finding::ok("kernel", seen);
    }
    Finding::degraded("kernel", seen, "podbox is tested on 6.1 and later only", "run a kernel from 6.1 on")
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

pub fn privilege() -> Finding {
    // From the effective capabilities, not the uid: root of a container has few of them.
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(0);
    const NEEDED: [(u32, &str); 4] = [(12, "net_admin"), (21, "sys_admin"), (27, "mknod"), (7, "setuid")];
    let lacking: Vec<_> =
        NEEDED.iter().filter(|(bit, _)| bits & (1 << bit) == 0).map(|(_, name)| *name).collect();
    if lacking.is_empty() {
        return Finding::ok("privilege", "every capability that is needed");
    }
    let seen = format!("lacks {}", lacking.join(", "));
    Finding::missing(
        "privilege",
        seen,
        "sandboxes",
        "run podbox as root, outside of an unprivileged container",
    )
}

/// Whether processes can be told to be spared when the node's memory runs out.
pub fn sparing() -> Finding {
    const OWN: &str = "/proc/self/oom_score_adj";
    let name = "oom_score_adj";
    let tried = fs::read_to_string(OWN).and_then(|before| {
        fs::write(OWN, "-999")?;
        fs::write(OWN, before.trim())
    });
    match tried {
        Ok(()) => Finding::ok(name, "may be lowered"),
        Err(error) => Finding::degraded(
            name,
            format!("lowering it: {error}"),
            "sparing podbox and Guaranteed pods when the node's memory runs out",
            "give podbox CAP_SYS_RESOURCE",
        ),
    }
}

pub fn btf() -> Finding {
    match fs::metadata("/sys/kernel/btf/vmlinux") {
        Ok(file) => Finding::ok("BTF", format!("{} KiB of kernel types", file.len() >> 10)),
        Err(error) => Finding::degraded(
            "BTF",
            format!("/sys/kernel/btf/vmlinux: {error}"),
            "all that podbox knows from inside the kernel",
            "run a kernel built with CONFIG_DEBUG_INFO_BTF",
        ),
    }
}

/// One line for each thing that the BPF programs tell; a single one where a common cause keeps all of them away.
pub fn signals(report: &CapabilityReport) -> Vec<Finding> {
    let signals = &report.signals;
    if let Some(first) = signals.first()
        && signals.iter().all(|signal| signal.backend.is_none() && signal.reason == first.reason)
    {
        let lost = "all that podbox knows from inside the kernel: exits, OOM kills, zombies";
        return vec![Finding::degraded("BPF programs", told(&first.reason), lost, "")];
    }
    signals.iter().map(signal).collect()
}

fn signal(capability: &Capability) -> Finding {
    let name = format!("BPF: {}", capability.signal.to_string().trim_start_matches("BPF "));
    let reason = told(&capability.reason);
    let mend = match capability.signal {
        Signal::Survival => {
            "let podbox mount a bpffs below its run directory (`--run-dir`), or take another one, and start it again"
        }
        _ => "",
    };
    match capability.backend {
        Some(backend) if reason.is_empty() => Finding::ok(&name, backend),
        Some(backend) => Finding::degraded(&name, format!("{backend} ({reason})"), capability.lost, mend),
        None => Finding::degraded(&name, reason, capability.lost, mend),
    }
}

/// The verifier's output is told where there is any.
fn told(reason: &str) -> &str {
    let reason = reason.trim_end();
    reason.strip_suffix("Verifier output:").unwrap_or(reason).trim_end_matches([' ', '.'])
}

pub fn seccomp() -> Finding {
    match fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail") {
        Ok(actions) if actions.split_whitespace().any(|action| action == "errno") => {
            Finding::ok("seccomp", "filters")
        }
        other => {
            let seen = other.map_or_else(|error| error.to_string(), |actions| actions.trim().to_owned());
            let mend = "run a kernel built with CONFIG_SECCOMP_FILTER";
            Finding::missing("seccomp", seen, "the default confinement of containers", mend)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_told_apart() {
        assert_eq!(version("6.1.0-56-amd64"), Some((6, 1)));
        assert_eq!(version("6.18.44+"), Some((6, 18)));
        assert_eq!(version("nonsense"), None);
        assert!(version("5.15.0") < Some(OLDEST));
    }

    #[test]
    fn a_signal_that_is_lost_says_what_is_lost() {
        let signals = vec![
            Capability::live(Signal::Exits, "tp_btf"),
            Capability::absent(Signal::OomVictims, "refused".into()),
        ];
        let findings = super::signals(&CapabilityReport { signals });
        assert_eq!(findings[0], Finding::ok("BPF: process exits", "tp_btf"));
        assert!(findings[1].seen == "refused" && !findings[1].lost.is_empty() && !findings[1].essential);
    }

    #[test]
    fn a_common_cause_is_told_once() {
        let findings = super::signals(&CapabilityReport::nothing("no rights. Verifier output: "));
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].seen, "no rights");
    }
}

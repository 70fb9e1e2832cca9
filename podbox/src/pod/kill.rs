//! OOM kills in words: one Event for each decision of the kernel's, however many processes died by it. Pure.

use super::notice::Notice;
use crate::api::attribution::{OomRole, OomVictim};
use crate::api::event::{Oom, OomLimit};

/// Processes that one Event names; the others are counted.
const NAMED: usize = 5;
/// As the node problem detector calls it, which people look for.
const REASON: &str = "OOMKilling";

/// What to tell of these victims of a container, the oldest first.
pub fn notices(part: &str, victims: &[OomVictim]) -> Vec<Notice> {
    let told = victims.chunk_by(|one, other| one.kill_ns.is_some() && one.kill_ns == other.kill_ns);
    told.map(|kill| Notice {
        part: Some(part.to_owned()),
        warning: true,
        reason: REASON.into(),
        message: event(kill),
        remark: None,
    })
    .collect()
}

/// Which of these are victims of decisions that are carried out, and whether there are others: from the victims before and after
/// it was asked which decision is under way.
pub fn over(
    before: Vec<OomVictim>,
    under_way: Option<u64>,
    mut after: Vec<OomVictim>,
) -> (Vec<OomVictim>, bool) {
    let all = after.len();
    // What had begun before and was not under way then was over then, and has all its victims after.
    let begun = |kill: u64| before.iter().any(|victim| victim.kill_ns == Some(kill));
    after.retain(|victim| victim.kill_ns.is_none_or(|kill| begun(kill) && under_way != Some(kill)));
    let open = after.len() < all;
    (after, open)
}

/// The victims of one decision.
fn event(kill: &[OomVictim]) -> String {
    let Some(first) = kill.first() else { return String::new() };
    let named: Vec<String> = kill.iter().take(NAMED).map(named).collect();
    let more = match kill.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let what = if kill.iter().any(OomVictim::was_killed) { "killed" } else { "marked" };
    let named = named.join(", ");
    format!("Out of memory: {}. The kernel {what} {named}{more}{}", shortage(&first.oom), trigger(&first.oom))
}

fn named(victim: &OomVictim) -> String {
    let OomVictim { command, pid, oom, .. } = victim;
    let role = role(oom.role);
    let comma = if role.is_empty() { "" } else { "; " };
    format!("{command} ({pid}, {} resident{comma}{role})", bytes(oom.rss_bytes))
}

/// One victim, as who asks for the end of a container is told of it.
pub fn story(victim: &OomVictim) -> String {
    let (named, oom) = (named(victim), &victim.oom);
    format!("the OOM killer took {named}: {}{}", shortage(oom), trigger(oom))
}

fn role(role: OomRole) -> &'static str {
    match role {
        OomRole::Chosen => "chosen",
        OomRole::Group => "with the chosen one's group",
        OomRole::Sharing => "sharing the chosen one's memory",
        OomRole::Exiting => "exiting already",
        OomRole::Unknown => "",
    }
}

/// What there was too little of.
fn shortage(oom: &Oom) -> String {
    let limit = match oom.limit {
        Some(OomLimit::Node) => return "the node had no memory left".to_owned(),
        Some(OomLimit::Inner) => "the limit of a cgroup inside the container",
        Some(OomLimit::Container) => "the container's limit",
        Some(OomLimit::Pod) => "the pod's limit",
        Some(OomLimit::Qos) => "the limit of its quality of service class",
        Some(OomLimit::Above) => "a limit above podbox's own cgroups",
        Some(OomLimit::Elsewhere) => "a limit of another container or pod",
        None => {
            return oom.limit_unknown.clone().unwrap_or_else(|| "whose limit was hit is unknown".to_owned());
        }
    };
    let of = oom.limit_bytes.map(|limit| format!(" of {}", bytes(limit))).unwrap_or_default();
    let used = oom.used_bytes.map(|used| format!(" with {} in use", bytes(used))).unwrap_or_default();
    format!("{limit}{of} was hit{used}")
}

fn trigger(oom: &Oom) -> String {
    let of = oom.trigger_container.as_ref().map(|container| format!(" of {container}")).unwrap_or_default();
    format!("; the allocation was {} ({})'s{of}", oom.trigger_command, oom.trigger_pid)
}

/// `48Mi`, `47.3Mi`, `12Ki`.
fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["Ki", "Mi", "Gi", "Ti"];
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(value.fract() >= 0.05 && value < 100.0);
    format!("{value:.digits$}{}", UNITS[unit])
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::pod) fn victim(pid: u32, role: OomRole, kill_ns: u64) -> OomVictim {
        let oom = Oom {
            role,
            limit: Some(OomLimit::Container),
            limit_unknown: None,
            limit_cgroup: Some(7),
            limit_bytes: Some(48 << 20),
            used_bytes: Some(48 << 20),
            vm_bytes: 100 << 20,
            rss_bytes: (pid as u64 + 1) << 18,
            trigger_pid: 9,
            trigger_command: "eater".into(),
            trigger_container: Some("shop/web/app#0".into()),
        };
        OomVictim {
            pid,
            command: format!("job{pid}"),
            at_ns: kill_ns + u64::from(pid),
            kill_ns: Some(kill_ns),
            oom,
        }
    }

    #[test]
    fn a_decision_is_told_when_it_is_carried_out() {
        let first = || victim(1, OomRole::Chosen, 5);
        let both = || vec![first(), victim(2, OomRole::Group, 5)];
        let nobody: (Vec<OomVictim>, bool) = (Vec::new(), true);
        assert_eq!(over(vec![first()], Some(5), both()), nobody, "there may be a third");
        assert_eq!(over(Vec::new(), None, vec![first()]), nobody, "it began just now");
        assert_eq!(over(vec![first()], None, both()), (both(), false));
        let next = || victim(3, OomRole::Chosen, 6);
        let all = both().into_iter().chain([next()]).collect();
        assert_eq!(over(both(), Some(6), all), (both(), true));
        let unwatched = OomVictim { kill_ns: None, ..first() };
        assert_eq!(over(Vec::new(), None, vec![unwatched.clone()]), (vec![unwatched], false));
    }

    #[test]
    fn each_decision_is_one_event_that_names_its_victims() {
        let victims =
            [victim(1, OomRole::Chosen, 5), victim(2, OomRole::Group, 5), victim(3, OomRole::Chosen, 6)];
        let told = notices("containers{app}", &victims);
        let messages: Vec<&str> = told.iter().map(|notice| notice.message.as_str()).collect();
        let expected = [
            "Out of memory: the container's limit of 48Mi was hit with 48Mi in use. The kernel killed job1 (1, 512Ki resident; \
             chosen), job2 (2, 768Ki resident; with the chosen one's group); the allocation was eater (9)'s of shop/web/app#0",
            "Out of memory: the container's limit of 48Mi was hit with 48Mi in use. The kernel killed job3 (3, 1Mi resident; \
             chosen); the allocation was eater (9)'s of shop/web/app#0",
        ];
        assert_eq!(messages, expected);
        let many: Vec<OomVictim> = (0..20).map(|pid| victim(pid, OomRole::Group, 5)).collect();
        assert!(notices("x", &many)[0].message.contains(" and 15 more; "));
    }

    #[test]
    fn amounts_are_short() {
        assert_eq!(bytes(48 << 20), "48Mi");
        assert_eq!(bytes((47 << 20) + (300 << 10)), "47.3Mi");
        assert_eq!(bytes(0), "0Ki");
        assert_eq!(bytes(3 << 30), "3Gi");
    }
}

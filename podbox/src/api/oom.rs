//! What it means that the kernel kills a process of a container for want of memory which is not the container's first, by the
//! word of the pod's annotation. Pure.
//!
//! ```text
//! podbox.io/oom-kill-of-child: ignore                           whoever waits for that process knows what to do
//! podbox.io/oom-kill-of-child: restart-container                as if its liveness probe had failed
//! podbox.io/oom-kill-of-child: restart-pod after 3 in 10m       the third within ten minutes: the pod has failed
//! podbox.io/oom-kill-of-child: ignore, web=restart-container    the last word that fits a container counts
//! ```
//!
//! Without a word the container is killed as a whole (`memory.oom.group`), as under every kubelet. With one, the kernel kills one
//! process, and podbox does the rest. What cannot be read is as good as not said, and is told to who wrote it.

use k8s_openapi::api::core::v1::Pod;
use std::time::Duration;

/// The annotation.
pub const OF_CHILD: &str = "podbox.io/oom-kill-of-child";
/// The longest time in which kills are counted.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// From how many kills on at most; fewer by far than are remembered of a container.
const MOST: usize = 64;

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consequence {
    /// Nothing.
    Ignore,
    /// The container ends, and runs again by its restart policy.
    RestartContainer,
    /// The pod fails, and who controls it makes another.
    RestartPod,
}

/// What a container's kills mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What follows.
    pub consequence: Consequence,
    /// From which kill on.
    pub after: usize,
    /// Within which time; within one run of the container, if it is not said.
    pub within: Option<Duration>,
}

impl Rule {
    /// Whether kills at these times, oldest first, in nanoseconds, have the consequence.
    pub fn is_due(&self, kills: &[u64]) -> bool {
        let close = |window: &[u64]| match (window, self.within) {
            ([first, .., last], Some(within)) => Duration::from_nanos(last.saturating_sub(*first)) <= within,
            _ => true,
        };
        self.consequence != Consequence::Ignore && kills.windows(self.after.max(1)).any(close)
    }
}

/// What an annotation says, container by container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules(Vec<(Option<String>, Rule)>);

impl Rules {
    /// Reads one; an error says what is wrong with which part.
    pub fn parse(text: &str) -> Result<Rules, String> {
        text.split(',').map(|part| word(part.trim())).collect::<Result<_, _>>().map(Rules)
    }

    /// Those of a pod; none if it has none, or none that can be read.
    pub fn of(pod: &Pod) -> Rules {
        let text = pod.metadata.annotations.as_ref().and_then(|all| all.get(OF_CHILD));
        text.and_then(|text| Rules::parse(text).ok()).unwrap_or_default()
    }

    /// The one that counts for a container.
    pub fn container(&self, name: &str) -> Option<Rule> {
        let fits = |(of, _): &&(Option<String>, Rule)| of.as_deref().is_none_or(|of| of == name);
        self.0.iter().rev().find(fits).map(|(_, rule)| *rule)
    }
}

/// What is wrong with a pod's annotation, for who writes it.
pub fn complaint(pod: &Pod) -> Option<String> {
    let text = pod.metadata.annotations.as_ref()?.get(OF_CHILD)?;
    let why = match Rules::parse(text) {
        Err(why) => why,
        Ok(rules) => {
            let spec = pod.spec.as_ref()?;
            let containers = || spec.init_containers.iter().flatten().chain(&spec.containers);
            let named = rules.0.iter().filter_map(|(name, _)| name.as_ref());
            let mut unknown = named.filter(|name| containers().all(|container| container.name != **name));
            format!("there is no container {:?}", unknown.next()?)
        }
    };
    Some(format!("metadata.annotations[{OF_CHILD}]: {why}"))
}

fn word(text: &str) -> Result<(Option<String>, Rule), String> {
    let (container, rule) =
        text.split_once('=').map_or((None, text), |(name, rule)| (Some(name.trim().to_owned()), rule));
    let mut words = rule.split_whitespace();
    let consequence = match words.next().unwrap_or_default() {
        "ignore" => Consequence::Ignore,
        "restart-container" => Consequence::RestartContainer,
        "restart-pod" => Consequence::RestartPod,
        other => {
            return Err(format!(
                "{other:?} is none of ignore, restart-container, restart-pod; it has no effect"
            ));
        }
    };
    let (mut after, mut within) = (1, None);
    while let Some(word) = words.next() {
        let value = words.next().unwrap_or_default();
        match word {
            "after" => after = count(value)?,
            "in" => within = Some(span(value)?),
            other => {
                return Err(format!(
                    "{other:?} is neither `after NUMBER` nor `in DURATION`; it has no effect"
                ));
            }
        }
    }
    Ok((container, Rule { consequence, after, within }))
}

fn count(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=MOST).contains(number));
    number.ok_or_else(|| format!("{text:?} is no number of kills between 1 and {MOST}; it has no effect"))
}

/// A duration like `30s`, `10m` or `2h`.
fn span(text: &str) -> Result<Duration, String> {
    let read = || {
        let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return None,
        };
        let span = Duration::from_secs(number.parse::<u64>().ok()?.checked_mul(seconds)?);
        (Duration::from_secs(1)..=LONGEST).contains(&span).then_some(span)
    };
    read().ok_or_else(|| {
        format!("{text:?} is no duration between 1s and 24h, like 30s or 10m; it has no effect")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_that_fits_a_container_counts() {
        let rules = Rules::parse("ignore, web=restart-pod after 3 in 10m,db = restart-container").unwrap();
        let rule = |consequence, after, within| Some(Rule { consequence, after, within });
        assert_eq!(rules.container("other"), rule(Consequence::Ignore, 1, None));
        assert_eq!(rules.container("db"), rule(Consequence::RestartContainer, 1, None));
        let ten = Some(Duration::from_secs(600));
        assert_eq!(rules.container("web"), rule(Consequence::RestartPod, 3, ten));
        assert_eq!(Rules::parse("web=ignore").unwrap().container("db"), None);
    }

    #[test]
    fn kills_count_that_are_close_enough_together() {
        let due = |text: &str, seconds: &[u64]| {
            let kills: Vec<u64> = seconds.iter().map(|second| second * 1_000_000_000).collect();
            Rules::parse(text).unwrap().container("c").unwrap().is_due(&kills)
        };
        assert!(!due("restart-pod", &[]) && due("restart-pod", &[5]));
        assert!(!due("ignore", &[1, 2, 3]));
        assert!(!due("restart-pod after 3", &[1, 2]) && due("restart-pod after 3", &[1, 2000, 90_000]));
        assert!(due("restart-container after 2 in 10s", &[1, 50, 60]));
        assert!(!due("restart-container after 2 in 10s", &[1, 50, 61]));
    }

    #[test]
    fn what_cannot_be_read_is_told_and_has_no_effect() {
        let complain = |text: &str| {
            let text = format!(
                "{{metadata: {{annotations: {{{OF_CHILD}: {text:?}}}}}, spec: {{containers: [{{name: c}}]}}}}"
            );
            let pod: Pod = serde_yaml::from_str(&text).unwrap();
            (complaint(&pod), Rules::of(&pod).container("c").is_some())
        };
        for (text, why) in [
            ("", "\"\" is none of"),
            ("reboot", "\"reboot\" is none of"),
            ("restart-pod 3", "\"3\" is neither"),
            ("restart-pod after", "\"\" is no number"),
            ("restart-pod after 0", "\"0\" is no number"),
            ("restart-pod after 99999999999999999999", "\"99999999999999999999\" is no number"),
            ("restart-pod in 3", "\"3\" is no duration"),
            ("restart-pod in", "\"\" is no duration"),
            ("restart-pod in 9é", "\"9é\" is no duration"),
            ("restart-pod in 25h", "\"25h\" is no duration"),
            ("c=ignore,", "\"\" is none of"),
        ] {
            let (said, counts) = complain(text);
            let said = said.unwrap_or_default();
            assert!(
                said.starts_with(&format!("metadata.annotations[{OF_CHILD}]: {why}")) && !counts,
                "{text}: {said}"
            );
        }
        assert_eq!(complain("c=ignore"), (None, true));
        let unknown = complain("web=ignore").0.unwrap();
        assert!(unknown.ends_with("there is no container \"web\""), "{unknown}");
    }
}

//! Options of `podbox node` on how the node looks after itself: named and written as the kubelet's.

use crate::api::allowed::{AllowList, Allowed};
use crate::api::pressure::{self, Threshold};
use crate::api::quantity::Quantity;
use crate::config::{Duties, THRESHOLDS};
use clap::Args;
use std::time::Duration;

/// Where help has what is told as metrics.
const METRICS: &str = "Metrics";

/// When the node makes room, and what it keeps back.
#[derive(Debug, Args)]
#[command(next_help_heading = "When room runs short")]
pub struct DutyArgs {
    /// When pods are evicted at once
    #[arg(long, env = "PODBOX_EVICTION_HARD", value_name = "SIGNAL<AMOUNT,…", default_value = THRESHOLDS, hide_env = true)]
    eviction_hard: String,
    /// When pods are evicted, once it has been so for a while [default: never]
    #[arg(
        long,
        env = "PODBOX_EVICTION_SOFT",
        value_name = "SIGNAL<AMOUNT,…",
        default_value = "",
        hide_env = true,
        hide_default_value = true
    )]
    eviction_soft: String,
    /// For how long it has to be so, by signal
    #[arg(
        long,
        env = "PODBOX_EVICTION_SOFT_GRACE_PERIOD",
        value_name = "SIGNAL=TIME,…",
        default_value = "",
        hide_env = true,
        hide_default_value = true
    )]
    eviction_soft_grace_period: String,
    /// How many seconds a pod gets at most that is evicted so
    #[arg(
        long,
        env = "PODBOX_EVICTION_MAX_POD_GRACE_PERIOD",
        value_name = "SECONDS",
        default_value_t = 0,
        hide_env = true
    )]
    eviction_max_pod_grace_period: u64,
    /// How long a condition of the node stays after its last reason
    #[arg(long, env = "PODBOX_EVICTION_PRESSURE_TRANSITION_PERIOD", value_name = "TIME", default_value = "5m", value_parser = time, hide_env = true)]
    eviction_pressure_transition_period: Duration,
    /// How full the disk may be, in percent, until unused images are removed
    #[arg(long, env = "PODBOX_IMAGE_GC_HIGH_THRESHOLD", value_name = "PERCENT", default_value_t = 85, value_parser = clap::value_parser!(u8).range(0..=100), hide_env = true)]
    image_gc_high_threshold: u8,
    /// How full it may be after that
    #[arg(long, env = "PODBOX_IMAGE_GC_LOW_THRESHOLD", value_name = "PERCENT", default_value_t = 80, value_parser = clap::value_parser!(u8).range(0..=100), hide_env = true)]
    image_gc_low_threshold: u8,
    /// How long an image stays that nobody uses
    #[arg(long, env = "PODBOX_MINIMUM_IMAGE_TTL_DURATION", value_name = "TIME", default_value = "2m", value_parser = time, hide_env = true)]
    minimum_image_ttl_duration: Duration,
    /// What is kept for the host's own programs, of cpu, memory and ephemeral-storage [default: nothing]
    #[arg(
        long,
        env = "PODBOX_SYSTEM_RESERVED",
        value_name = "RESOURCE=AMOUNT,…",
        default_value = "",
        hide_env = true,
        hide_default_value = true
    )]
    system_reserved: String,
    /// Keep for containers what they request of memory, and slow them down before they reach their limit
    #[arg(long, env = "PODBOX_MEMORY_QOS", hide_env = true)]
    memory_qos: bool,
    /// Labels of objects that are told as metrics: pods=[app,tier],nodes=[*]
    #[arg(long, help_heading = METRICS, env = "PODBOX_METRIC_LABELS_ALLOWLIST", value_name = "RESOURCE=[LABEL,…],…", default_value = "", value_parser = AllowList::parse, hide_env = true, hide_default_value = true)]
    metric_labels_allowlist: AllowList,
    /// Annotations of objects that are told as metrics
    #[arg(long, help_heading = METRICS, env = "PODBOX_METRIC_ANNOTATIONS_ALLOWLIST", value_name = "RESOURCE=[KEY,…],…", default_value = "", value_parser = AllowList::parse, hide_env = true, hide_default_value = true)]
    metric_annotations_allowlist: AllowList,
}

impl DutyArgs {
    /// What they say.
    pub fn duties(&self) -> anyhow::Result<Duties> {
        let mut thresholds = pressure::thresholds(&self.eviction_hard)?;
        let graces = pairs(&self.eviction_soft_grace_period)?;
        for soft in pressure::thresholds(&self.eviction_soft)? {
            let word = soft.signal.word();
            let grace = graces.iter().find(|(signal, _)| *signal == word).map(|(_, grace)| time(grace));
            let missing =
                || anyhow::anyhow!("--eviction-soft has {word}, --eviction-soft-grace-period does not");
            let grace = grace.ok_or_else(missing)?.map_err(anyhow::Error::msg)?;
            thresholds.push(Threshold { grace: Some(grace), ..soft });
        }
        if self.image_gc_low_threshold >= self.image_gc_high_threshold {
            anyhow::bail!("--image-gc-low-threshold must be below --image-gc-high-threshold");
        }
        let (mut reserved_cpu_milli, mut reserved_memory, mut reserved_disk) = (0, 0, 0);
        for (resource, amount) in pairs(&self.system_reserved)? {
            let amount = Quantity::parse(amount).map_err(|error| anyhow::anyhow!("{amount:?}: {error}"))?;
            let whole = u64::try_from(amount.value()).unwrap_or(0);
            match resource {
                "cpu" => reserved_cpu_milli = u64::try_from(amount.milli_value()).unwrap_or(0),
                "memory" => reserved_memory = whole,
                "ephemeral-storage" => reserved_disk = whole,
                other => {
                    anyhow::bail!("{other} cannot be reserved: there are cpu, memory and ephemeral-storage")
                }
            }
        }
        Ok(Duties {
            thresholds,
            transition: self.eviction_pressure_transition_period,
            soft_grace: Duration::from_secs(self.eviction_max_pod_grace_period),
            images_high: self.image_gc_high_threshold,
            images_low: self.image_gc_low_threshold,
            image_age: self.minimum_image_ttl_duration,
            reserved_cpu_milli,
            reserved_memory,
            reserved_disk,
            memory_qos: self.memory_qos,
            told: Allowed {
                labels: self.metric_labels_allowlist.clone(),
                annotations: self.metric_annotations_allowlist.clone(),
            },
        })
    }
}

fn pairs(text: &str) -> anyhow::Result<Vec<(&str, &str)>> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            part.split_once('=').ok_or_else(|| anyhow::anyhow!("{part:?} should look like NAME=VALUE"))
        })
        .collect()
}

/// A span as Go writes it: `90s`, `1m30s`, `2h`.
fn time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time: it should look like 90s, 1m30s or 2h");
    let (mut sum, mut number) = (Duration::ZERO, String::new());
    for char in text.chars() {
        let unit = match char {
            '0'..='9' => {
                number.push(char);
                continue;
            }
            's' => 1,
            'm' => 60,
            'h' => 3600,
            _ => return Err(wrong()),
        };
        let seconds: u32 = std::mem::take(&mut number).parse().map_err(|_| wrong())?;
        sum += Duration::from_secs(u64::from(seconds) * unit);
    }
    match number.is_empty() && !text.is_empty() {
        true => Ok(sum),
        false => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        duties: DutyArgs,
    }

    fn read(args: &[&str]) -> Result<Duties, String> {
        let line = Line::try_parse_from([&["podbox"], args].concat()).map_err(|error| error.to_string())?;
        line.duties.duties().map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_the_kubelets() {
        assert_eq!(read(&[]), Ok(Duties::default()));
    }

    #[test]
    fn soft_thresholds_bear_their_time() {
        let found = read(&[
            "--eviction-hard=",
            "--eviction-soft=memory.available<1Gi",
            "--eviction-soft-grace-period=memory.available=1m30s",
            "--system-reserved=cpu=100m,memory=1Gi",
        ]);
        let found = found.unwrap();
        assert_eq!(found.thresholds[0].grace, Some(Duration::from_secs(90)));
        assert_eq!((found.reserved_cpu_milli, found.reserved_memory), (100, 1 << 30));
        assert!(read(&["--eviction-soft=memory.available<1Gi"]).is_err());
        assert!(read(&["--image-gc-high-threshold=50"]).is_err());
        for wrong in ["", "5", "m", "5x", "99999999999h"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}

//! What a cgroup was kept from so far: the processor by its own limit, and its work while it waited for memory. Two
//! readings tell it for the time between them.
//!
//! The kernel counts throttling per processor, and each stretch of it at its end (100 ms at most, by the usual period):
//! two readings may be off by that much, and by more processors than one.

use std::fs;
use std::path::Path;
use std::time::Duration;

/// A reading, since the group was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strain {
    /// It had work, and its limit kept it from the processor.
    pub throttled: Duration,
    /// All of it waited for memory.
    pub stalled: Duration,
}

impl Strain {
    /// What came since an earlier reading.
    pub fn since(self, before: Strain) -> Strain {
        Strain {
            throttled: self.throttled.saturating_sub(before.throttled),
            stalled: self.stalled.saturating_sub(before.stalled),
        }
    }

    /// No more than that: what several processors were kept from adds up.
    pub fn at_most(self, window: Duration) -> Strain {
        Strain { throttled: self.throttled.min(window), stalled: self.stalled.min(window) }
    }
}

/// Reads a group. What the kernel does not count there (no controller, no pressure) is nothing.
pub fn read(group: &Path) -> Strain {
    let text = |file: &str| fs::read_to_string(group.join(file)).unwrap_or_default();
    Strain { throttled: throttled(&text("cpu.stat")), stalled: stalled(&text("memory.pressure")) }
}

fn throttled(stat: &str) -> Duration {
    let line = stat.lines().find_map(|line| line.strip_prefix("throttled_usec "));
    micros(line)
}

/// Of the line `full avg10=… avg60=… avg300=… total=…`.
fn stalled(pressure: &str) -> Duration {
    let line = pressure.lines().find_map(|line| line.strip_prefix("full "));
    micros(line.and_then(|line| line.rsplit_once("total=")).map(|(_, total)| total))
}

fn micros(text: Option<&str>) -> Duration {
    Duration::from_micros(text.and_then(|text| text.trim().parse().ok()).unwrap_or(0))
}

/// How much of a processor a group may have, in thousandths; none where it has no limit.
pub fn limit(group: &Path) -> Option<u64> {
    quota(&fs::read_to_string(group.join("cpu.max")).ok()?)
}

fn quota(max: &str) -> Option<u64> {
    let (quota, period) = max.trim().split_once(' ')?;
    let (quota, period): (u64, u64) = (quota.parse().ok()?, period.parse().ok()?);
    quota.checked_mul(1000)?.checked_div(period)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throttling_and_stalls_are_read_where_they_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!((read(dir.path()), limit(dir.path())), (Strain::default(), None));
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        write("cpu.stat", "usage_usec 7\nnr_throttled 3\nthrottled_usec 250000\n");
        write(
            "memory.pressure",
            "some avg10=0.00 avg60=0.00 avg300=0.00 total=9\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n",
        );
        write("cpu.max", "10000 100000\n");
        let found = read(dir.path());
        assert_eq!((found.throttled.as_millis(), found.stalled.as_micros()), (250, 5));
        assert_eq!(limit(dir.path()), Some(100));
        write("cpu.max", "max 100000\n");
        assert_eq!(limit(dir.path()), None);
        write("cpu.max", "5 0\n");
        assert_eq!(limit(dir.path()), None);
    }

    #[test]
    fn what_came_between_two_readings_is_no_more_than_the_time_between() {
        let ms = Duration::from_millis;
        let (before, after) =
            (Strain { throttled: ms(100), stalled: ms(5) }, Strain { throttled: ms(3100), stalled: ms(5) });
        let between = after.since(before).at_most(ms(1000));
        assert_eq!(between, Strain { throttled: ms(1000), stalled: ms(0) });
        // A group that was made anew counts from nothing.
        assert_eq!(before.since(after), Strain::default());
    }
}

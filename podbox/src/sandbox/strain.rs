//! What a container was kept from so far: the processor by its own limit or its pod's, and its work while it waited for memory.
//! Two readings tell it for the time between them.
//!
//! The kernel counts throttling per processor, and each stretch of it at its end (100 ms at most, by the usual period):
//! two readings may be off by that much, and by more processors than one.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

/// A reading, since the group was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strain {
    /// It had work, and its limit kept it from the processor.
    pub throttled: Duration,
    /// The same of all its pod: the group of one that is throttled by the other's limit counts nothing itself.
    pub throttled_with_pod: Duration,
    /// All of it waited for memory.
    pub stalled: Duration,
}

impl Strain {
    /// What came since an earlier reading.
    pub fn since(self, before: Strain) -> Strain {
        Strain {
            throttled: self.throttled.saturating_sub(before.throttled),
            throttled_with_pod: self.throttled_with_pod.saturating_sub(before.throttled_with_pod),
            stalled: self.stalled.saturating_sub(before.stalled),
        }
    }

    /// No more than that: what several processors were kept from adds up.
    pub fn at_most(self, window: Duration) -> Strain {
        Strain {
            throttled: self.throttled.min(window),
            throttled_with_pod: self.throttled_with_pod.min(window),
            stalled: self.stalled.min(window),
        }
    }

    /// By whichever limit it was for longer: both may hold at the same time, so they do not add up.
    pub fn all_throttled(self) -> Duration {
        self.throttled.max(self.throttled_with_pod)
    }
}

/// Reads a container's group, and the one above it, its pod's. What the kernel does not count there (no controller, no pressure)
/// is nothing.
pub fn read(group: &Path) -> Strain {
    let own = throttled(&text(&group.join("cpu.stat")));
    // Where the one is not counted, neither is the other.
    let pod = group.parent().filter(|_| own.is_some());
    Strain {
        throttled: own.unwrap_or_default(),
        throttled_with_pod: pod.and_then(|pod| throttled(&text(&pod.join("cpu.stat")))).unwrap_or_default(),
        stalled: stalled(&text(&group.join("memory.pressure"))),
    }
}

/// The beginning of one of these files, which is all of it, by one call to the kernel; nothing where it cannot be read. Of a busy
/// host many are read.
fn text(file: &Path) -> String {
    let mut bytes = [0; 2048];
    let read = fs::File::open(file).and_then(|mut file| file.read(&mut bytes)).unwrap_or(0);
    String::from_utf8_lossy(&bytes[..read]).into_owned()
}

fn throttled(stat: &str) -> Option<Duration> {
    stat.lines().find_map(|line| line.strip_prefix("throttled_usec ")).map(|line| micros(Some(line)))
}

/// Of the line `full avg10=… avg60=… avg300=… total=…`.
fn stalled(pressure: &str) -> Duration {
    let line = pressure.lines().find_map(|line| line.strip_prefix("full "));
    micros(line.and_then(|line| line.rsplit_once("total=")).map(|(_, total)| total))
}

fn micros(text: Option<&str>) -> Duration {
    Duration::from_micros(text.and_then(|text| text.trim().parse().ok()).unwrap_or(0))
}

/// How much of a processor the limit that kept a container from it lets it have, in thousandths; none where it has none.
pub fn limit(group: &Path, by: Strain) -> Option<u64> {
    let group = if by.throttled >= by.throttled_with_pod { group } else { group.parent()? };
    quota(&text(&group.join("cpu.max")))
}

fn quota(max: &str) -> Option<u64> {
    let (quota, period) = max.trim().split_once(' ')?;
    let (quota, period): (u64, u64) = (quota.parse().ok()?, period.parse().ok()?);
    quota.checked_mul(1000)?.checked_div(period)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn throttling_and_stalls_are_read_where_they_are_counted() {
        let pod = tempfile::tempdir().unwrap();
        let group = pod.path().join("c-0");
        fs::create_dir(&group).unwrap();
        let own = Strain { throttled: ms(1), ..Strain::default() };
        assert_eq!((read(&group), limit(&group, own)), (Strain::default(), None));
        let write = |name: &str, text: &str| fs::write(group.join(name), text).unwrap();
        write("cpu.stat", "usage_usec 7\nnr_throttled 3\nthrottled_usec 250000\n");
        write(
            "memory.pressure",
            "some avg10=0.00 avg60=0.00 avg300=0.00 total=9\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n",
        );
        write("cpu.max", "10000 100000\n");
        let found = read(&group);
        assert_eq!((found.all_throttled().as_millis(), found.stalled.as_micros()), (250, 5));
        assert_eq!(limit(&group, found), Some(100));
        write("cpu.max", "max 100000\n");
        assert_eq!(limit(&group, found), None);
        write("cpu.max", "5 0\n");
        assert_eq!(limit(&group, found), None);
        fs::write(pod.path().join("cpu.stat"), "throttled_usec 300000\n").unwrap();
        fs::write(pod.path().join("cpu.max"), "20000 100000\n").unwrap();
        let found = read(&group);
        assert_eq!((found.all_throttled(), limit(&group, found)), (ms(300), Some(200)));
    }

    #[test]
    fn what_came_between_two_readings_is_no_more_than_the_time_between() {
        let strain = |throttled, throttled_with_pod, stalled| Strain {
            throttled: ms(throttled),
            throttled_with_pod: ms(throttled_with_pod),
            stalled: ms(stalled),
        };
        let (before, after) = (strain(100, 50, 5), strain(3100, 60, 5));
        let between = after.since(before).at_most(ms(1000));
        assert_eq!(between, strain(1000, 10, 0));
        // A group that was made anew counts from nothing.
        assert_eq!(before.since(after), Strain::default());
    }
}

//! How long something took, as it is shown and as it is read back from a machine's lines.

use std::fmt;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

/// How long a check or test took.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Took {
    /// By the clock.
    pub wall: Duration,
    /// Of the processors: what a test and what it had started and waited for used. A test that took long by the clock and
    /// little of this has waited. Unknown where cargo or many at once did the work.
    pub cpu: Option<Duration>,
}

impl Took {
    /// By the clock only.
    pub fn wall(wall: Duration) -> Took {
        Took { wall, cpu: None }
    }

    /// Reads what [`fmt::Display`] wrote.
    pub fn parse(text: &str) -> Option<Took> {
        let seconds = |text: &str| Duration::try_from_secs_f64(text.strip_suffix(" s")?.parse().ok()?).ok();
        Some(match text.split_once(", cpu ") {
            Some((wall, cpu)) => Took { wall: seconds(wall)?, cpu: Some(seconds(cpu)?) },
            None => Took::wall(seconds(text)?),
        })
    }
}

impl fmt::Display for Took {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} s", self.wall.as_secs_f64())?;
        match self.cpu {
            Some(cpu) => write!(f, ", cpu {:.1} s", cpu.as_secs_f64()),
            None => Ok(()),
        }
    }
}

/// `18 min 4 s`, or `4.2 s`.
pub fn minutes(duration: Duration) -> String {
    match duration.as_secs() {
        0..60 => format!("{:.1} s", duration.as_secs_f64()),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

/// The processor time of a child that has ended and is not reaped yet, with that of the descendants it has waited for.
pub fn cpu_of(pid: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    ticks(&stat).and_then(|ticks| {
        let a_second = u64::try_from(sysconf(SysconfVar::CLK_TCK).ok()??).ok()?;
        Some(Duration::from_millis(ticks * 1000 / a_second))
    })
}

/// utime, stime, cutime and cstime of a line of `/proc/PID/stat`, together.
fn ticks(stat: &str) -> Option<u64> {
    // The program's name, in parentheses, may have blanks and parentheses itself.
    let (_, fields) = stat.rsplit_once(") ")?;
    let numbers = fields.split(' ').skip(11).take(4).map(|field| field.parse::<u64>().ok());
    numbers.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_back_as_it_was_shown() {
        let both = Took { wall: Duration::from_millis(61_200), cpu: Some(Duration::from_millis(400)) };
        for (took, shown) in [(both, "61.2 s, cpu 0.4 s"), (Took::wall(both.wall), "61.2 s")] {
            assert_eq!(took.to_string(), shown);
            assert_eq!(Took::parse(shown), Some(took));
        }
        assert_eq!(Took::parse("soon"), None);
        assert_eq!(minutes(both.wall), "1 min 1 s");
    }

    #[test]
    fn processor_time_is_found_whatever_the_program_is_called() {
        assert_eq!(ticks("7 (a) b) Z 1 7 7 0 -1 4 1 2 3 4 10 20 30 40 20 0"), Some(100));
        assert_eq!(ticks("7 (a"), None);
    }
}

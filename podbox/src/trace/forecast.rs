//! When a container has no process ids left, if it goes on as it did lately. Pure.
//!
//! Zombies hold their ids too, so this is how a first process that does not reap ends: not with a word, but with `fork` that
//! fails for everybody in the container.

use std::collections::VecDeque;
use std::time::Duration;

/// Looks that count.
const LOOKS: usize = 7;

/// What a container had of its ids, look by look.
#[derive(Debug, Default)]
pub struct Trend(VecDeque<(Duration, u64)>);

impl Trend {
    /// It has so many at this time.
    pub fn saw(&mut self, at: Duration, current: u64) {
        if self.0.len() >= LOOKS {
            self.0.pop_front();
        }
        self.0.push_back((at, current));
    }

    /// How long it takes until it has all of them; `None` where they do not grow, or were seen too seldom to say.
    pub fn until(&self, max: u64) -> Option<Duration> {
        let ((first_at, first), (last_at, last)) = (self.0.front()?, self.0.back()?);
        let grown = last.checked_sub(*first).filter(|grown| *grown > 0 && self.0.len() > LOOKS / 2)?;
        let each = last_at.saturating_sub(*first_at).as_secs_f64() / grown as f64;
        Duration::try_from_secs_f64(each * max.saturating_sub(*last) as f64).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn until(looks: &[u64], max: u64) -> Option<u64> {
        let mut trend = Trend::default();
        looks
            .iter()
            .enumerate()
            .for_each(|(at, current)| trend.saw(Duration::from_secs(10 * at as u64), *current));
        trend.until(max).map(|until| until.as_secs())
    }

    #[test]
    fn what_grows_has_an_end_and_what_goes_up_and_down_has_none() {
        assert_eq!(until(&[10, 20, 30, 40], 100), Some(60));
        assert_eq!(until(&[10, 20, 30], 100), None, "too seldom");
        assert_eq!(until(&[40, 30, 45, 40], 100), None);
        assert_eq!(until(&[100, 100, 100, 100], 100), None);
        assert_eq!(until(&[70, 80, 90, 100], 100), Some(0));
        // What was long ago does not count.
        assert_eq!(until(&[90, 10, 10, 10, 10, 10, 10, 10], 100), None);
    }
}

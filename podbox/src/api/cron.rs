//! When a schedule is due. The fields are read by `api::rules::schedule`, in whose words they are refused; the calendar
//! and its time zones are left to `cronexpr`. Pure.

use crate::api::rules::schedule::{Calendar, Schedule};
use cronexpr::Crontab;
use jiff::{SignedDuration, Timestamp};

/// A schedule that can be asked for its times.
#[derive(Debug)]
pub enum Times {
    /// By the calendar of a time zone.
    Calendar(Box<Crontab>),
    /// Each so many seconds.
    Every(SignedDuration),
}

/// More missed starts than these are told: a clock is wrong, or podbox was away for long.
const MANY: i64 = 100;

/// The start that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// When it was, or is, to be.
    pub at: Timestamp,
    /// Whether very many before it were missed.
    pub many_missed: bool,
}

impl Times {
    /// Of a schedule in a time zone.
    pub fn new(schedule: &str, zone: &str) -> Result<Times, String> {
        match Schedule::parse(schedule)? {
            Schedule::Every(seconds) => {
                let seconds = i64::try_from(seconds).map_err(|error| error.to_string())?;
                Ok(Times::Every(SignedDuration::from_secs(seconds)))
            }
            Schedule::Calendar(calendar) => {
                let text = format!("{} {zone}", crontab(&calendar));
                let crontab = cronexpr::parse_crontab(&text).map_err(|error| error.to_string())?;
                Ok(Times::Calendar(Box::new(crontab)))
            }
        }
    }

    /// The first time after another; none, if there is none.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        match self {
            // Whole seconds, as upstream counts them.
            Times::Every(wait) => Timestamp::from_second(after.as_second()).ok()?.checked_add(*wait).ok(),
            Times::Calendar(crontab) => crontab.find_next(after).ok().map(|next| next.timestamp()),
        }
    }

    /// The newest start after `since` whose time has come.
    pub fn due(&self, since: Timestamp, now: Timestamp) -> Option<Due> {
        let first = self.next(since).filter(|first| *first <= now)?;
        let Some(second) = self.next(first).filter(|second| *second <= now) else {
            return Some(Due { at: first, many_missed: false });
        };
        let between = second.duration_since(first).max(SignedDuration::from_secs(1));
        let missed = now.duration_since(first).as_secs() / between.as_secs().max(1) + 1;
        let at = match self {
            Times::Every(_) => {
                let passed = between.saturating_mul(i32::try_from(missed - 1).unwrap_or(i32::MAX));
                first.checked_add(passed).ok().filter(|at| *at <= now).unwrap_or(second)
            }
            Times::Calendar(_) => self.newest(second, between, now),
        };
        Some(Due { at, many_missed: missed > MANY })
    }

    /// The newest time until now, of which `second` is one. Not step by step through what may be years: from further and
    /// further back, as seldom times need it.
    fn newest(&self, second: Timestamp, between: SignedDuration, now: Timestamp) -> Timestamp {
        let mut back = between;
        let mut at = loop {
            let Some(from) = now.checked_sub(back).ok().filter(|from| *from > second) else { break second };
            match self.next(from).filter(|next| *next <= now) {
                Some(next) => break next,
                None => back = back.saturating_mul(2),
            }
        };
        while let Some(next) = self.next(at).filter(|next| *next <= now) {
            at = next;
        }
        at
    }
}

/// The sets, as lists that mean the same to everybody. Where one of the days' fields is a star, both must match.
fn crontab(calendar: &Calendar) -> String {
    let list = |bits: u64, least: u32, most: u32, star: bool| {
        let all: Vec<String> =
            (least..=most).filter(|one| bits >> one & 1 == 1).map(|one| one.to_string()).collect();
        let full = all.len() == (most - least + 1) as usize;
        if star && full { "*".to_owned() } else { all.join(",") }
    };
    let Calendar { minutes, hours, days, months, weekdays, both_days } = *calendar;
    format!(
        "{} {} {} {} {}",
        list(minutes, 0, 59, true),
        list(hours, 0, 23, true),
        list(days, 1, 31, both_days),
        list(months, 1, 12, true),
        list(weekdays, 0, 6, both_days),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[track_caller]
    fn check(schedule: &str, zone: &str, after: &str, expected: &str) {
        let next = Times::new(schedule, zone).unwrap().next(at(after));
        assert_eq!(next.map(|next| next.to_string()).unwrap_or_default(), expected);
    }

    #[test]
    fn schedules_have_their_times() {
        check("*/15 * * * *", "UTC", "2026-03-01T10:15:00Z", "2026-03-01T10:30:00Z");
        check("0 3 * * *", "Europe/Berlin", "2026-06-30T10:00:00Z", "2026-07-01T01:00:00Z");
        check("0 0 * * mon", "UTC", "2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z");
        // Either day, where none is a star.
        check("0 0 13 * fri", "UTC", "2026-03-07T00:00:00Z", "2026-03-13T00:00:00Z");
        check("0 0 14 * fri", "UTC", "2026-03-13T00:00:00Z", "2026-03-14T00:00:00Z");
        check("@monthly", "UTC", "2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z");
        check("@every 90s", "UTC", "2026-03-01T00:00:00Z", "2026-03-01T00:01:30Z");
        check("59 23 31 2 *", "UTC", "2026-03-01T00:00:00Z", "");
    }

    #[track_caller]
    fn due(schedule: &str, since: &str, now: &str, expected: &str, many: bool) {
        let due = Times::new(schedule, "UTC").unwrap().due(at(since), at(now));
        let told = due.map(|due| (due.at.to_string(), due.many_missed)).unwrap_or_default();
        assert_eq!(told, (expected.to_owned(), many));
    }

    #[test]
    fn of_missed_starts_the_newest_is_due() {
        due("0 * * * *", "2026-03-01T10:00:00Z", "2026-03-01T10:59:59Z", "", false);
        due("0 * * * *", "2026-03-01T10:00:00Z", "2026-03-01T11:00:00Z", "2026-03-01T11:00:00Z", false);
        due("0 * * * *", "2026-03-01T10:00:00Z", "2026-03-01T15:30:00Z", "2026-03-01T15:00:00Z", false);
        due("* * * * *", "2020-01-01T00:00:00Z", "2026-03-01T10:00:30Z", "2026-03-01T10:00:00Z", true);
        due(
            "30 6-16/4 * * 1-5",
            "2026-03-01T00:00:00Z",
            "2026-03-08T12:00:00Z",
            "2026-03-06T14:30:00Z",
            false,
        );
        due("@every 1h", "2026-03-01T10:20:00Z", "2026-03-01T15:30:00Z", "2026-03-01T15:20:00Z", false);
    }
}

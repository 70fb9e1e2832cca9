//! Cron schedules: five fields or a word such as `@daily`. Reads them into sets of minutes, hours, days, months and
//! weekdays; what cannot be read is told in upstream's words.

/// When something is to be done, as sets of bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Whenever all five fields match.
    Calendar(Calendar),
    /// Each so many seconds.
    Every(u64),
}

/// Five fields. A bit is set for each number that matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calendar {
    /// 0 to 59.
    pub minutes: u64,
    /// 0 to 23.
    pub hours: u64,
    /// 1 to 31.
    pub days: u64,
    /// 1 to 12.
    pub months: u64,
    /// 0, a Sunday, to 6.
    pub weekdays: u64,
    /// Whether days and weekdays must both match: one of them is a star. Otherwise either does.
    pub both_days: bool,
}

/// What a field may be.
struct Bounds {
    least: u32,
    most: u32,
    names: &'static [&'static str],
}

const MINUTES: Bounds = Bounds { least: 0, most: 59, names: &[] };
const HOURS: Bounds = Bounds { least: 0, most: 23, names: &[] };
const DAYS: Bounds = Bounds { least: 1, most: 31, names: &[] };
const MONTHS: Bounds = Bounds {
    least: 1,
    most: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const WEEKDAYS: Bounds =
    Bounds { least: 0, most: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

impl Schedule {
    /// Reads a schedule.
    pub fn parse(text: &str) -> Result<Schedule, String> {
        if text.is_empty() {
            return Err("empty spec string".to_owned());
        }
        if text.starts_with('@') {
            return word(text);
        }
        let fields: Vec<_> = text.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields.as_slice() else {
            let found = fields.len();
            return Err(format!("expected exactly 5 fields, found {found}: [{}]", fields.join(" ")));
        };
        let (days, every_day) = field(days, &DAYS)?;
        let (weekdays, every_weekday) = field(weekdays, &WEEKDAYS)?;
        Ok(Schedule::Calendar(Calendar {
            minutes: field(minutes, &MINUTES)?.0,
            hours: field(hours, &HOURS)?.0,
            days,
            months: field(months, &MONTHS)?.0,
            weekdays,
            both_days: every_day || every_weekday,
        }))
    }
}

fn word(text: &str) -> Result<Schedule, String> {
    let same = match text {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        _ => {
            let duration = text.strip_prefix("@every ");
            let duration = duration.ok_or_else(|| format!("unrecognized descriptor: {text}"))?;
            let seconds = seconds(duration).ok_or_else(|| {
                format!("failed to parse duration {text}: time: invalid duration {duration:?}")
            })?;
            // Upstream knows no parts of seconds, and none is too short.
            return Ok(Schedule::Every(seconds.max(1)));
        }
    };
    Schedule::parse(same)
}

/// `1h30m` in whole seconds.
fn seconds(text: &str) -> Option<u64> {
    let (mut rest, mut total) = (text, 0_f64);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit_end = rest[digits..].find(|c: char| c.is_ascii_digit() || c == '.');
        let (unit, after) = rest[digits..].split_at(unit_end.unwrap_or(rest.len() - digits));
        total += number
            * match unit {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = after;
    }
    (!text.is_empty() && total.is_finite()).then_some(total as u64)
}

/// A field's set, and whether it is a plain star.
fn field(text: &str, bounds: &Bounds) -> Result<(u64, bool), String> {
    let (mut set, mut star) = (0, false);
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (bits, is_star) = range(part, bounds)?;
        set |= bits;
        star |= is_star;
    }
    Ok((set, star))
}

/// `5`, `1-5`, `*`, each with an optional `/step`.
fn range(text: &str, bounds: &Bounds) -> Result<(u64, bool), String> {
    let (span, step) = match text.split('/').collect::<Vec<_>>().as_slice() {
        [span] => (*span, None),
        [span, step] => (*span, Some(number(step)?)),
        _ => return Err(format!("too many slashes: {text}")),
    };
    let ends: Vec<_> = span.split('-').collect();
    let star = matches!(ends[0], "*" | "?");
    let (start, mut end) = match ends.as_slice() {
        _ if star => (bounds.least, bounds.most),
        [one] => {
            let one = named(one, bounds)?;
            (one, one)
        }
        [start, end] => (named(start, bounds)?, named(end, bounds)?),
        _ => return Err(format!("too many hyphens: {text}")),
    };
    // `5/10` counts from 5 to the end.
    if step.is_some() && ends.len() == 1 {
        end = bounds.most;
    }
    let step = step.unwrap_or(1);
    let (least, most) = (bounds.least, bounds.most);
    if start < least {
        return Err(format!("beginning of range ({start}) below minimum ({least}): {text}"));
    }
    if end > most {
        return Err(format!("end of range ({end}) above maximum ({most}): {text}"));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    let bits = (start..=end).step_by(step as usize).fold(0, |bits, one| bits | 1 << one);
    Ok((bits, star && step == 1))
}

fn named(text: &str, bounds: &Bounds) -> Result<u32, String> {
    let lower = text.to_lowercase();
    match bounds.names.iter().position(|name| *name == lower) {
        Some(place) => Ok(place as u32 + bounds.least),
        None => number(text),
    }
}

fn number(text: &str) -> Result<u32, String> {
    match text.parse::<i64>() {
        Ok(number) if number < 0 => Err(format!("negative number ({number}) not allowed: {text}")),
        Ok(number) => Ok(u32::try_from(number).unwrap_or(u32::MAX)),
        Err(_) => {
            Err(format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Schedule::parse(text).expect_err(text)
    }

    #[test]
    fn schedules_are_read_as_sets() {
        let Ok(Schedule::Calendar(read)) = Schedule::parse("*/15 9-17 1,15 jan-mar MON") else { panic!() };
        assert_eq!(read.minutes, 1 | 1 << 15 | 1 << 30 | 1 << 45);
        assert_eq!(read.hours.count_ones(), 9);
        assert_eq!((read.days, read.months, read.weekdays), (1 << 1 | 1 << 15, 0b1110, 0b10));
        assert!(!read.both_days);
        assert_eq!(Schedule::parse("@daily"), Schedule::parse("0 0 * * *"));
        assert_eq!(Schedule::parse("@every 1h30m"), Ok(Schedule::Every(5400)));
    }

    #[test]
    fn what_is_no_schedule_is_told_why() {
        assert_eq!(refused("* * *"), "expected exactly 5 fields, found 3: [* * *]");
        assert_eq!(refused("61 * * * *"), "end of range (61) above maximum (59): 61");
        assert_eq!(refused("* * 0 * *"), "beginning of range (0) below minimum (1): 0");
        assert_eq!(refused("5-1 * * * *"), "beginning of range (5) beyond end of range (1): 5-1");
        assert_eq!(refused("*/0 * * * *"), "step of range should be a positive number: */0");
        assert_eq!(refused("1/2/3 * * * *"), "too many slashes: 1/2/3");
        assert_eq!(refused("@often"), "unrecognized descriptor: @often");
        assert!(refused("x * * * *").starts_with("failed to parse int from x"));
    }
}

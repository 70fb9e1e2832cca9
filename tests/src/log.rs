//! Container logs in the CRI format: `TIME STREAM TAG TEXT`.

/// One entry of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When, as RFC 3339 with nanoseconds.
    pub time: String,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// `F`, or `P` for a piece of a longer line.
    pub tag: String,
    /// What.
    pub text: String,
}

/// Reads a log.
///
/// # Panics
/// At a line that is not in the format.
#[track_caller]
pub fn parse(text: &str) -> Vec<Entry> {
    text.lines()
        .map(|line| entry(line).unwrap_or_else(|| panic!("not in the CRI format: {line:?}")))
        .collect()
}

fn entry(line: &str) -> Option<Entry> {
    let mut columns = line.splitn(4, ' ').map(str::to_owned);
    let mut next = || columns.next();
    let (time, stream, tag, text) = (next()?, next()?, next()?, next()?);
    let is_time = time.len() > 20 && time.as_bytes()[10] == b'T';
    (is_time && ["stdout", "stderr"].contains(&stream.as_str()) && ["F", "P"].contains(&tag.as_str()))
        .then_some(Entry { time, stream, tag, text })
}

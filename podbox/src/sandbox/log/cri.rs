//! The CRI's log format, `TIME STREAM TAG CONTENT`. Pure: bytes in, entries out.

use crate::limits::LOG_ENTRY_BYTES;

/// Which of a container's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// stdout, or the terminal.
    Stdout,
    /// stderr.
    Stderr,
}

impl Name {
    fn word(self) -> &'static str {
        match self {
            Name::Stdout => "stdout",
            Name::Stderr => "stderr",
        }
    }
}

/// What to do with the start of a line whose end has not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// Leave it: the rest may come.
    Keep,
    /// Make it a partial entry: nothing will come, or there is no room to wait.
    Flush,
}

/// Entries, and how many of the bytes they stand for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entries {
    pub(super) text: Vec<u8>,
    pub(super) consumed: usize,
}

/// The entries of `bytes`, which start where the last entry of this stream ended.
pub(super) fn entries(bytes: &[u8], name: Name, time: &str, tail: Tail) -> Entries {
    let mut text = Vec::new();
    let mut rest = bytes;
    while let Some((tag, content, taken)) = next(rest, tail) {
        text.extend_from_slice(time.as_bytes());
        text.push(b' ');
        text.extend_from_slice(name.word().as_bytes());
        text.extend_from_slice(tag);
        text.extend_from_slice(content);
        text.push(b'\n');
        rest = &rest[taken..];
    }
    Entries { text, consumed: bytes.len() - rest.len() }
}

/// The first entry: its tag, its content, and how many bytes it takes.
fn next(rest: &[u8], tail: Tail) -> Option<(&'static [u8], &[u8], usize)> {
    const FULL: &[u8] = b" F ";
    const PARTIAL: &[u8] = b" P ";
    // One more than an entry's content: a line of just that length is a full one.
    let window = &rest[..rest.len().min(LOG_ENTRY_BYTES + 1)];
    if let Some(end) = window.iter().position(|&byte| byte == b'\n') {
        return Some((FULL, &rest[..end], end + 1));
    }
    if window.len() > LOG_ENTRY_BYTES {
        return Some((PARTIAL, &rest[..LOG_ENTRY_BYTES], LOG_ENTRY_BYTES));
    }
    match tail {
        Tail::Flush if !rest.is_empty() => Some((PARTIAL, rest, rest.len())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &str, tail: Tail, expected: &str, consumed: usize) {
        let got = entries(input.as_bytes(), Name::Stdout, "T", tail);
        assert_eq!(String::from_utf8(got.text).unwrap(), expected, "entries of {input:?}");
        assert_eq!(got.consumed, consumed, "bytes taken of {input:?}");
    }

    #[test]
    fn lines_are_full_entries_and_a_started_line_waits() {
        check("", Tail::Keep, "", 0);
        check("", Tail::Flush, "", 0);
        check("a\n", Tail::Keep, "T stdout F a\n", 2);
        check("\n", Tail::Keep, "T stdout F \n", 1);
        check("a\nb\nc", Tail::Keep, "T stdout F a\nT stdout F b\n", 4);
        check("a\nb", Tail::Flush, "T stdout F a\nT stdout P b\n", 3);
        check("a\r\n", Tail::Keep, "T stdout F a\r\n", 3);
    }

    #[test]
    fn a_long_line_is_cut_into_partial_entries() {
        let max = "x".repeat(LOG_ENTRY_BYTES);
        check(&max, Tail::Keep, "", 0);
        check(&format!("{max}\n"), Tail::Keep, &format!("T stdout F {max}\n"), max.len() + 1);
        check(&format!("{max}y"), Tail::Keep, &format!("T stdout P {max}\n"), max.len());
        let two = format!("{max}y\n");
        check(&two, Tail::Keep, &format!("T stdout P {max}\nT stdout F y\n"), two.len());
    }
}

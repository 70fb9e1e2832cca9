//! A process as `/proc/PID/stat` tells it. Pure: whoever asks has read the file.

/// One line of such a file.
#[derive(Clone, Copy, Debug)]
pub struct Stat<'a> {
    /// From the third field on.
    rest: &'a str,
}

/// The kernel's `PF_EXITING`.
const EXITING: u64 = 0x4;

impl<'a> Stat<'a> {
    /// None if there is no such process: its file is empty then, or could not be read.
    pub fn new(line: &'a str) -> Option<Stat<'a>> {
        // The command name, which may hold anything, ends at the last parenthesis.
        line.rsplit_once(") ").map(|(_, rest)| Stat { rest })
    }

    /// A field by its number in proc(5), from 3 on, if it is a number and not a negative one.
    pub fn number(self, field: usize) -> Option<u64> {
        self.field(field)?.parse().ok()
    }

    /// Its state, as one letter.
    pub fn state(self) -> Option<char> {
        self.field(3)?.chars().next()
    }

    /// When it was started, in units of [`TICK_NS`](podbox_common::TICK_NS) since boot.
    pub fn started(self) -> Option<u64> {
        self.number(22)
    }

    /// Whether its first thread has begun to end.
    pub fn is_exiting(self) -> Option<bool> {
        self.number(9).map(|flags| flags & EXITING != 0)
    }

    fn field(self, number: usize) -> Option<&'a str> {
        self.rest.split_ascii_whitespace().nth(number.checked_sub(3)?)
    }
}

#[cfg(test)]
mod tests {
    use super::Stat;

    #[test]
    fn fields_are_found_behind_any_name() {
        for name in ["sh", "a b", "(a) Z b", ") R 1", ""] {
            let line = format!(
                "7 ({name}) S 1 7 7 0 -1 4194564 1 2 3 4 55 66 7 8 20 0 1 0 1234 4096 10 18446744073709551615\n"
            );
            let stat = Stat::new(&line).expect("it is one");
            assert_eq!((stat.state(), stat.started()), (Some('S'), Some(1234)), "{line}");
            assert_eq!(stat.is_exiting(), Some(true), "{line}");
            assert_eq!([14, 15, 23, 24].map(|field| stat.number(field)), [55, 66, 4096, 10].map(Some));
            // The last one has the line's end behind it.
            assert_eq!(stat.number(25), Some(u64::MAX));
            assert_eq!([8, 2, 0, 26].map(|field| stat.number(field)), [None; 4]);
        }
        let runs = Stat::new("7 (sh) R 1 7 7 0 -1 4194560 0").expect("it is one");
        assert_eq!((runs.is_exiting(), runs.started()), (Some(false), None));
        assert!(Stat::new("").is_none() && Stat::new("7 (sh").is_none());
    }
}

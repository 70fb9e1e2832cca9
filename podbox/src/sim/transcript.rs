//! What happened in a run, line by line: a hash of all of it, by which two runs are compared, and the last lines, for people.

use std::collections::VecDeque;

/// Lines that are kept.
const KEPT: usize = 40;
/// A longer line is cut for people, unless they want all. The hash has all of it.
const SHOWN: usize = 220;

/// A transcript.
#[derive(Clone, Debug)]
pub struct Transcript {
    hash: u64,
    lines: usize,
    last: VecDeque<String>,
    /// Whether all lines are kept, and all of each.
    whole: bool,
}

impl Transcript {
    /// An empty one; `whole` if all of its lines is to be kept.
    pub fn new(whole: bool) -> Transcript {
        // FNV-1a: it guards against chance, not against people.
        Transcript { hash: 0xcbf2_9ce4_8422_2325, lines: 0, last: VecDeque::new(), whole }
    }

    /// Adds a line.
    pub fn tell(&mut self, line: &str) {
        for byte in line.bytes().chain([b'\n']) {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self.lines += 1;
        if self.last.len() == KEPT && !self.whole {
            self.last.pop_front();
        }
        let end = line.char_indices().nth(SHOWN).filter(|_| !self.whole);
        let cut = end.map(|(at, _)| format!("{}…", &line[..at]));
        self.last.push_back(cut.unwrap_or_else(|| line.to_owned()));
    }

    /// Of all that was told.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How many lines that was.
    pub fn lines(&self) -> usize {
        self.lines
    }

    /// The lines that were kept.
    pub fn last(&self) -> impl Iterator<Item = &str> {
        self.last.iter().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_the_last_lines_and_the_hash_of_all() {
        let mut one = Transcript::new(false);
        let mut whole = Transcript::new(true);
        for number in 0..100 {
            one.tell(&format!("line {number}"));
            whole.tell(&format!("line {number}"));
        }
        assert_eq!((one.hash(), one.lines()), (whole.hash(), 100));
        assert_eq!(
            (one.last().next(), one.last().count(), whole.last().count()),
            (Some("line 60"), KEPT, 100)
        );
        let mut other = Transcript::new(false);
        other.tell(&"é".repeat(500));
        assert_eq!(other.last().next().map(|line| line.chars().count()), Some(SHOWN + 1));
        whole.tell(&"é".repeat(500));
        assert_eq!(whole.last().last().map(|line| line.chars().count()), Some(500));
    }
}

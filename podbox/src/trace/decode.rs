//! Bytes of a ring or a map → events. Pure; knows layouts, not names or clocks.
//!
//! Invariant: no bytes make it panic. What is too short or of an unknown kind is `None`, which the reader
//! tells.

use crate::api::event::Exit;
use podbox_common::{Comm, ExitEvent, Head, Kind, ListenEvent, OomEvent, ReapEvent, Wire};

/// An event as the kernel's side wrote it.
#[derive(Clone, Copy, Debug)]
pub enum Raw {
    /// A process ended.
    Exit(ExitEvent),
    /// A victim was marked.
    Oom(OomEvent),
    /// A zombie was reaped.
    Reap(ReapEvent),
    /// A socket began or ended to listen.
    Listen(ListenEvent),
}

impl Raw {
    /// What all kinds have.
    pub fn head(&self) -> &Head {
        match self {
            Raw::Exit(event) => &event.head,
            Raw::Oom(event) => &event.head,
            Raw::Reap(event) => &event.head,
            Raw::Listen(event) => &event.head,
        }
    }
}

/// Decodes one record of a ring.
pub fn decode(bytes: &[u8]) -> Option<Raw> {
    let kind = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?);
    match Kind::ALL.get(kind as usize)? {
        Kind::Exit => read(bytes).map(Raw::Exit),
        Kind::Oom => read(bytes).map(Raw::Oom),
        Kind::Reap => read(bytes).map(Raw::Reap),
        Kind::Listen => read(bytes).map(Raw::Listen),
    }
}

/// Plain data from the beginning of bytes; a ring pads its records, so more may follow.
fn read<T: Wire>(bytes: &[u8]) -> Option<T> {
    if bytes.len() < size_of::<T>() {
        return None;
    }
    // SAFETY: long enough, unaligned reads are asked for, and any bytes are a valid `Wire`.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// A command name as text: up to its first NUL, anything that is not UTF-8 replaced.
pub fn command(comm: &Comm) -> String {
    let end = comm.iter().position(|byte| *byte == 0).unwrap_or(comm.len());
    String::from_utf8_lossy(&comm[..end]).into_owned()
}

/// What a wait status says.
pub fn exit(status: u32) -> Exit {
    match (status & 0x7f) as u8 {
        0 => Exit { code: Some((status >> 8) as u8), signal: None, core_dumped: false, sender: None },
        signal => Exit { code: None, signal: Some(signal), core_dumped: status & 0x80 != 0, sender: None },
    }
}

/// Finds out how many events of a kind never came, by their numbers. Events of two CPUs may swap places,
/// so a gap counts once it has lasted from one look to the next, and then for good.
#[derive(Clone, Copy, Debug)]
pub struct Gaps {
    /// Numbers up to this one were for somebody else; unknown until the first event comes.
    before: Option<u64>,
    highest: u64,
    received: u64,
    /// The gap at the last look.
    seen: u64,
    /// What has lasted.
    lasting: u64,
}

impl Gaps {
    /// From the first number on.
    pub fn from_first() -> Gaps {
        Gaps { before: Some(0), highest: 0, received: 0, seen: 0, lasting: 0 }
    }

    /// From whatever number comes first: an earlier podbox has read those before.
    pub fn from_next() -> Gaps {
        Gaps { before: None, ..Gaps::from_first() }
    }

    /// An event with this number came.
    pub fn saw(&mut self, seq: u64) {
        self.before.get_or_insert(seq.saturating_sub(1));
        self.highest = self.highest.max(seq);
        self.received += 1;
    }

    /// A while has passed in which any event that was on its way has come.
    pub fn look(&mut self) {
        let gap = self.gap();
        self.lasting = self.lasting.max(gap.min(self.seen));
        self.seen = gap;
    }

    /// How many never came. It never falls.
    pub fn missing(&self) -> u64 {
        self.lasting
    }

    fn gap(&self) -> u64 {
        self.highest.saturating_sub(self.before.unwrap_or(0)).saturating_sub(self.received)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_status_is_a_code_or_a_signal() {
        let check = |status, code, signal, core_dumped| {
            assert_eq!(exit(status), Exit { code, signal, core_dumped, sender: None }, "status {status:#x}");
        };
        check(0x0000, Some(0), None, false);
        check(0x0300, Some(3), None, false);
        check(0xff00, Some(255), None, false);
        check(0x0009, None, Some(9), false);
        check(0x008b, None, Some(11), true);
    }

    #[test]
    fn short_and_unknown_records_are_refused() {
        assert!(decode(&[]).is_none());
        assert!(decode(&[0, 0]).is_none());
        assert!(decode(&[0; 8]).is_none());
        assert!(decode(&[0; size_of::<ExitEvent>() - 1]).is_none());
        assert!(matches!(decode(&[0; size_of::<ExitEvent>()]), Some(Raw::Exit(_))));
        let mut unknown = [0; 256];
        unknown[0] = 9;
        assert!(decode(&unknown).is_none());
    }

    #[test]
    fn a_command_ends_at_nul_and_is_text() {
        assert_eq!(command(b"sleep\0garbage\0\0\0"), "sleep");
        assert_eq!(command(b"exactly-16-bytes"), "exactly-16-bytes");
        assert_eq!(command(b"a\xffb\0\0\0\0\0\0\0\0\0\0\0\0\0"), "a\u{fffd}b");
    }

    #[test]
    fn gaps_forgive_events_that_swap_places() {
        let check = |mut gaps: Gaps, seen: &[u64], missing| {
            seen.iter().for_each(|seq| gaps.saw(*seq));
            gaps.look();
            assert_eq!(gaps.missing(), 0, "it may be on its way");
            gaps.look();
            assert_eq!(gaps.missing(), missing, "{seen:?}");
            gaps.saw(1);
            gaps.look();
            assert_eq!(gaps.missing(), missing, "a counter does not fall");
        };
        check(Gaps::from_first(), &[1, 3, 2, 6], 2);
        check(Gaps::from_first(), &[4], 3);
        check(Gaps::from_next(), &[], 0);
        check(Gaps::from_next(), &[4, 5, 8], 2);
        check(Gaps::from_next(), &[5, 4, 6], 0);
    }
}

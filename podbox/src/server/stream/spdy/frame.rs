//! SPDY/3.1's frames. Pure: bytes to words and back.
//!
//! ```text
//!   control  │1│ version (15) │ kind (16) │ flags (8) │ length (24) │ …
//!   data     │0│       stream (31)        │ flags (8) │ length (24) │ …
//! ```

use super::SpdyError;
use crate::limits;
use bytes::{BufMut, BytesMut};

/// Bytes before a frame's content.
pub const HEAD: usize = 8;
/// The flag of a stream's last frame.
const FIN: u8 = 1;
const VERSION: u16 = 3;
/// The status of a stream that the server does not want.
pub const REFUSED: u32 = 3;
/// The status of a stream that is given up.
pub const CANCELLED: u32 = 5;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;

/// A frame's beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// What a stream carries.
    Data {
        /// Which.
        stream: u32,
        /// Nothing follows.
        fin: bool,
        /// So many bytes.
        length: usize,
    },
    /// Something about streams.
    Control {
        /// What.
        kind: u16,
        /// Nothing follows.
        fin: bool,
        /// So many bytes.
        length: usize,
    },
}

/// What a control frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control<'a> {
    /// A new stream, and its headers, packed.
    Open(u32, &'a [u8]),
    /// Headers of a stream that is there; to be unpacked, or later ones could not be.
    More(&'a [u8]),
    /// A stream is given up.
    Reset(u32),
    /// Asks for the same back.
    Ping(u32),
    /// The client opens no more streams.
    GoAway,
    /// Nothing that matters here.
    Other,
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

impl Head {
    /// Reads one.
    pub fn read(bytes: [u8; HEAD]) -> Result<Head, SpdyError> {
        let [a, b, c, d, flags, length @ ..] = bytes;
        let first = u32::from_be_bytes([a, b, c, d]);
        let length = u32::from_be_bytes([0, length[0], length[1], length[2]]) as usize;
        let fin = flags & FIN != 0;
        if first >> 31 == 0 {
            return Ok(Head::Data { stream: first, fin, length });
        }
        let (version, kind) = ((first >> 16) as u16 & 0x7fff, first as u16);
        match version {
            VERSION if length <= limits::SPDY_HEADERS => Ok(Head::Control { kind, fin, length }),
            VERSION => Err(SpdyError::Length { kind, length }),
            other => Err(SpdyError::Version(other)),
        }
    }
}

impl Control<'_> {
    /// Reads a control frame's content.
    pub fn read(kind: u16, content: &[u8]) -> Result<Control<'_>, SpdyError> {
        let short = || SpdyError::Length { kind, length: content.len() };
        let first = || word(content, 0).map(|word| word & 0x7fff_ffff).ok_or_else(short);
        let after = |count: usize| content.get(count..).ok_or_else(short);
        Ok(match kind {
            SYN_STREAM => Control::Open(first()?, after(10)?),
            SYN_REPLY | HEADERS => Control::More(after(4)?),
            RST_STREAM => Control::Reset(first()?),
            PING => Control::Ping(word(content, 0).ok_or_else(short)?),
            GOAWAY => Control::GoAway,
            _ => Control::Other,
        })
    }
}

fn control(kind: u16, words: &[u32], rest: &[u8]) -> BytesMut {
    let length = (words.len() * 4 + rest.len()) as u32;
    let mut frame = BytesMut::with_capacity(HEAD + length as usize);
    frame.put_u16(0x8000 | VERSION);
    frame.put_u16(kind);
    frame.put_u32(length);
    words.iter().for_each(|word| frame.put_u32(*word));
    frame.put_slice(rest);
    frame
}

/// Accepts a stream; `headers` are packed.
pub fn reply(stream: u32, headers: &[u8]) -> BytesMut {
    control(SYN_REPLY, &[stream], headers)
}

/// Gives a stream up.
pub fn reset(stream: u32, status: u32) -> BytesMut {
    control(RST_STREAM, &[stream, status], &[])
}

/// Asks for, or gives, a sign of life.
pub fn ping(id: u32) -> BytesMut {
    control(PING, &[id], &[])
}

/// A chunk of a stream; not longer than 16 MiB, which no chunk is.
pub fn data(stream: u32, fin: bool, bytes: &[u8]) -> BytesMut {
    let mut frame = BytesMut::with_capacity(HEAD + bytes.len());
    frame.put_u32(stream & 0x7fff_ffff);
    frame.put_u32(u32::from(if fin { FIN } else { 0 }) << 24 | bytes.len() as u32 & 0x00ff_ffff);
    frame.put_slice(bytes);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(frame: &[u8]) -> (Head, &[u8]) {
        (Head::read(frame[..HEAD].try_into().unwrap()).unwrap(), &frame[HEAD..])
    }

    #[test]
    fn what_is_written_is_read_alike() {
        let frame = data(7, true, b"abc");
        let (head, rest) = split(&frame);
        assert_eq!(head, Head::Data { stream: 7, fin: true, length: 3 });
        assert_eq!(rest, b"abc");
        let frame = ping(9);
        let (head, rest) = split(&frame);
        assert_eq!(head, Head::Control { kind: PING, fin: false, length: 4 });
        assert_eq!(Control::read(PING, rest), Ok(Control::Ping(9)));
        let frame = reset(5, REFUSED);
        assert_eq!(Control::read(RST_STREAM, split(&frame).1), Ok(Control::Reset(5)));
    }

    #[test]
    fn a_frame_too_long_or_of_another_version_is_refused() {
        assert_eq!(Head::read([0x80, 2, 0, 1, 0, 0, 0, 4]), Err(SpdyError::Version(2)));
        let long = Head::read([0x80, 3, 0, 1, 0, 0xff, 0xff, 0xff]);
        assert_eq!(long, Err(SpdyError::Length { kind: 1, length: 0xff_ffff }));
        assert_eq!(Control::read(SYN_STREAM, b"short"), Err(SpdyError::Length { kind: 1, length: 5 }));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(head in any::<[u8; HEAD]>(), kind in 0u16..12, rest in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = Head::read(head);
            let _ = Control::read(kind, &rest);
        }
    }
}

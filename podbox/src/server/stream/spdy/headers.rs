//! SPDY/3.1's headers: names and values, packed by zlib with a dictionary that both sides know, in one stream per
//! direction for the whole connection.
//!
//! **Invariant:** unpacked, a block is no longer than [`SPDY_HEADERS`](crate::limits::SPDY_HEADERS), however little it
//! was packed to.

use super::SpdyError;
use crate::limits;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use std::collections::BTreeMap;

/// Names, in lower case, and values.
pub type Headers = BTreeMap<String, String>;

/// The dictionary's words, which are in it with their lengths.
const WORDS: &str = "options head post put delete trace accept accept-charset accept-encoding accept-language \
    accept-ranges age allow authorization cache-control connection content-base content-encoding content-language \
    content-length content-location content-md5 content-range content-type date etag expect expires from host \
    if-match if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma \
    proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade \
    user-agent vary via warning www-authenticate method get status 200+OK version HTTP/1.1 url public set-cookie \
    keep-alive origin";
/// And the rest of it, which is there as it is.
const REST: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505\
    203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden\
    404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable\
    Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT\
    chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,\
    publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

/// The dictionary, as the protocol has it.
fn dictionary() -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in WORDS.split(' ') {
        let word = word.replace('+', " ");
        bytes.extend((word.len() as u32).to_be_bytes());
        bytes.extend(word.as_bytes());
    }
    bytes.extend(REST.as_bytes());
    bytes
}

/// Unpacks what a client sends.
#[derive(Debug)]
pub struct Unpacker(Decompress);

impl Default for Unpacker {
    fn default() -> Self {
        Unpacker(Decompress::new(true))
    }
}

impl Unpacker {
    /// The headers of a block.
    pub fn unpack(&mut self, block: &[u8]) -> Result<Headers, SpdyError> {
        parse(&self.inflate(block)?).ok_or(SpdyError::Headers("they do not have the form they should"))
    }

    /// Ends: each turn takes something of the block, adds to the text, which has a bound, or is the last; but for the one
    /// that gives the dictionary, which is asked for once.
    fn inflate(&mut self, mut block: &[u8]) -> Result<Vec<u8>, SpdyError> {
        let mut text = Vec::with_capacity(1024);
        while !block.is_empty() {
            let (before, had) = (self.0.total_in(), text.len());
            match self.0.decompress_vec(block, &mut text, FlushDecompress::Sync) {
                Ok(Status::StreamEnd) => return Err(SpdyError::Headers("there may be no end of them")),
                Ok(_) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    let set = self.0.set_dictionary(&dictionary());
                    set.map_err(|_| SpdyError::Headers("they need another dictionary"))?;
                }
                Err(_) => return Err(SpdyError::Headers("they cannot be unpacked")),
            }
            let took = (self.0.total_in() - before) as usize;
            block = block.get(took..).unwrap_or_default();
            if text.len() == text.capacity() {
                if text.len() >= limits::SPDY_HEADERS {
                    return Err(SpdyError::Headers("they are too long"));
                }
                text.reserve(text.len());
            } else if took == 0 && text.len() == had {
                // Nothing moved, though there was room.
                return Err(SpdyError::Headers("they are cut short"));
            }
        }
        Ok(text)
    }
}

fn parse(text: &[u8]) -> Option<Headers> {
    let mut rest = text;
    let count = number(&mut rest)?;
    let mut headers = Headers::new();
    for _ in 0..count {
        let (name, value) = (string(&mut rest)?, string(&mut rest)?);
        headers.insert(name, value);
    }
    Some(headers)
}

fn number(rest: &mut &[u8]) -> Option<u32> {
    let (number, after) = rest.split_first_chunk::<4>()?;
    *rest = after;
    Some(u32::from_be_bytes(*number))
}

fn string(rest: &mut &[u8]) -> Option<String> {
    let length = number(rest)? as usize;
    let (text, after) = rest.split_at_checked(length)?;
    *rest = after;
    String::from_utf8(text.to_vec()).ok()
}

/// Packs what goes to a client.
#[derive(Debug)]
pub struct Packer(Compress);

impl Packer {
    /// For a new connection.
    pub fn new() -> Result<Packer, SpdyError> {
        let mut compress = Compress::new(Compression::fast(), true);
        let set = compress.set_dictionary(&dictionary());
        set.map_err(|_| SpdyError::Headers("the dictionary was not taken"))?;
        Ok(Packer(compress))
    }

    /// A block of these.
    pub fn pack(&mut self, headers: &Headers) -> Result<Vec<u8>, SpdyError> {
        let mut text = (headers.len() as u32).to_be_bytes().to_vec();
        for part in headers.iter().flat_map(|(name, value)| [name, value]) {
            text.extend((part.len() as u32).to_be_bytes());
            text.extend(part.as_bytes());
        }
        // Room for the worst case: text that does not pack, and the marks around it.
        let mut block = Vec::with_capacity(text.len() + text.len() / 100 + 64);
        let packed = self.0.compress_vec(&text, &mut block, FlushCompress::Sync);
        packed.map_err(|_| SpdyError::Headers("they cannot be packed"))?;
        Ok(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers(pairs: &[(&str, &str)]) -> Headers {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_dictionary_is_the_protocols() {
        let (mut a, mut b) = (1u32, 0u32);
        for byte in dictionary() {
            a = (a + u32::from(byte)) % 65521;
            b = (b + a) % 65521;
        }
        assert_eq!(b << 16 | a, 0xe3c6_a7c2, "its Adler-32, with which every client's first block begins");
    }

    #[test]
    fn blocks_of_one_connection_are_unpacked_in_order() {
        let (mut packer, mut unpacker) = (Packer::new().unwrap(), Unpacker::default());
        for number in 0..50 {
            let port = number.to_string();
            let sent = headers(&[("port", &port), ("requestid", &port), ("streamtype", "data")]);
            let block = packer.pack(&sent).unwrap();
            assert_eq!(unpacker.unpack(&block), Ok(sent));
        }
        let block = packer.pack(&Headers::new()).unwrap();
        assert_eq!(unpacker.unpack(&block), Ok(Headers::new()));
    }

    #[test]
    fn headers_of_any_length_are_unpacked_whole() {
        for length in (0..5000).chain([10_000, 32_768, 60_000]) {
            let sent = headers(&[("a", &"x".repeat(length))]);
            let block = Packer::new().unwrap().pack(&sent).unwrap();
            assert_eq!(Unpacker::default().unpack(&block), Ok(sent), "{length}");
        }
    }

    #[test]
    fn a_small_block_cannot_become_a_large_one() {
        let bomb = headers(&[("a", &"x".repeat(10 << 20))]);
        let block = Packer::new().unwrap().pack(&bomb).unwrap();
        let why = Unpacker::default().unpack(&block).unwrap_err();
        assert_eq!(why, SpdyError::Headers("they are too long"));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(blocks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 1..4)) {
            let mut unpacker = Unpacker::default();
            for block in blocks {
                let _ = parse(&block);
                let _ = unpacker.unpack(&block);
            }
        }

        #[test]
        fn garbage_after_a_good_beginning_comes_to_an_end(
            garbage in proptest::collection::vec(any::<u8>(), 0..300), cut in 0usize..40,
        ) {
            let mut block = Packer::new().unwrap().pack(&headers(&[("streamtype", "error")])).unwrap();
            block.truncate(6 + cut);
            block.extend(garbage);
            let mut unpacker = Unpacker::default();
            for part in block.chunks(97) {
                let _ = unpacker.unpack(part);
            }
        }

        #[test]
        fn a_damaged_block_never_panics(at in 0usize..60, with in any::<u8>()) {
            let sent = headers(&[("streamtype", "error"), ("port", "8080")]);
            let mut block = Packer::new().unwrap().pack(&sent).unwrap();
            let length = block.len();
            block[at % length] ^= with;
            let _ = Unpacker::default().unpack(&block);
        }
    }
}

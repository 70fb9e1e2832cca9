//! Tells how a layer is compressed by its first bytes, not by what its media type claims, and undoes it.

use flate2::bufread::MultiGzDecoder;
use std::io::{self, BufRead, BufReader, Read};

/// zstd's window: 128 MiB, the most its own tool takes without being asked.
const ZSTD_WINDOW_LOG: u32 = 27;

/// The plain bytes of a stream that is gzip, zstd or plain.
pub fn decompress<'a>(stored: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
    let mut stored = BufReader::with_capacity(128 << 10, stored);
    Ok(match stored.fill_buf()? {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(stored)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(stored)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
        _ => Box::new(stored),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[track_caller]
    fn check(stored: Vec<u8>) {
        let mut plain = String::new();
        decompress(stored.as_slice()).unwrap().read_to_string(&mut plain).unwrap();
        assert_eq!(plain, "layer");
    }

    #[test]
    fn each_compression_is_undone() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"layer").unwrap();
        check(gzip.finish().unwrap());
        check(zstd::encode_all(&b"layer"[..], 1).unwrap());
        check(b"layer".to_vec());
    }
}

//! Content digests: `sha256:` and 64 hexadecimal digits, the only algorithm images use in practice.
//!
//! Pure. A [`Digest`] has been checked, so it is safe as a file name; nothing here trusts what a registry says
//! about its own content.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::io::{self, Read};

/// A checked SHA-256 digest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest {
    hex: String,
}

impl Digest {
    /// Checks `sha256:HEX`.
    pub fn parse(text: &str) -> Result<Digest, String> {
        let hex = text.strip_prefix("sha256:").ok_or_else(|| format!("digest {text:?} is not sha256"))?;
        if hex.len() != 64 || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(format!("digest {text:?} is not 64 lower-case hexadecimal digits"));
        }
        Ok(Digest { hex: hex.to_owned() })
    }

    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest::from_hash(Sha256::digest(bytes).as_slice())
    }

    /// The hexadecimal digits alone: a file name.
    pub fn hex(&self) -> &str {
        &self.hex
    }

    fn from_hash(hash: &[u8]) -> Digest {
        use fmt::Write;
        let mut hex = String::with_capacity(64);
        for byte in hash {
            // Writing to a String does not fail.
            let _ = write!(hex, "{byte:02x}");
        }
        Digest { hex }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex)
    }
}

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Digest, String> {
        Digest::parse(&text)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

/// Passes bytes through and digests and counts them.
#[derive(Debug)]
pub struct Hashing<R> {
    inner: R,
    hasher: Sha256,
    bytes: u64,
}

impl<R: Read> Hashing<R> {
    /// Around a reader.
    pub fn new(inner: R) -> Hashing<R> {
        Hashing { inner, hasher: Sha256::new(), bytes: 0 }
    }

    /// Reads what is left, and tells the digest and the number of all bytes.
    pub fn finish(mut self) -> io::Result<(Digest, u64)> {
        io::copy(&mut self, &mut io::sink())?;
        Ok((Digest::from_hash(self.hasher.finalize().as_slice()), self.bytes))
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..n]);
        self.bytes += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn the_digest_of_nothing_is_the_known_one() {
        assert_eq!(Digest::of(b"").to_string(), EMPTY);
        assert_eq!(Digest::parse(EMPTY).unwrap(), Digest::of(b""));
    }

    #[test]
    fn what_is_not_safe_as_a_file_name_is_refused() {
        for bad in ["", "sha256:", "sha256:../../../etc/passwd", "sha512:aa", &EMPTY.to_uppercase()] {
            Digest::parse(bad).unwrap_err();
        }
    }

    #[test]
    fn hashing_counts_what_was_not_read_too() {
        let mut reader = Hashing::new(&b"hello world"[..]);
        let mut some = [0; 3];
        reader.read_exact(&mut some).unwrap();
        assert_eq!(reader.finish().unwrap(), (Digest::of(b"hello world"), 11));
    }
}

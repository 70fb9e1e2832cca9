//! PAX records: what ustar's fixed fields cannot hold. `LENGTH KEY=VALUE\n`, where LENGTH counts itself and the
//! newline, so that a value may hold anything. Pure.

use super::error::EntryError;

/// What one extended header says of the entry that follows.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    /// Its name.
    pub path: Option<Vec<u8>>,
    /// What it links to.
    pub link: Option<Vec<u8>>,
    /// Its size.
    pub size: Option<u64>,
    /// Its owner.
    pub uid: Option<u64>,
    /// Its group.
    pub gid: Option<u64>,
    /// Seconds and nanoseconds.
    pub mtime: Option<(i64, u32)>,
    /// Extended attributes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Its content is a sparse map, which is not supported.
    pub sparse: bool,
}

/// Reads all records; keys that say nothing for a layer (atime, uname, …) are passed over.
pub fn parse(mut bytes: &[u8]) -> Result<Extensions, EntryError> {
    let mut extensions = Extensions::default();
    while !bytes.is_empty() {
        let (key, value, rest) = record(bytes).ok_or(EntryError::Header("malformed PAX record"))?;
        extensions.take(key, value)?;
        bytes = rest;
    }
    Ok(extensions)
}

impl Extensions {
    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), EntryError> {
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(number(value)?),
            b"uid" => self.uid = Some(number(value)?),
            b"gid" => self.gid = Some(number(value)?),
            b"mtime" => self.mtime = Some(time(value)?),
            key if key.starts_with(b"GNU.sparse.") => self.sparse = true,
            key => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                }
            }
        }
        Ok(())
    }
}

fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().position(|b| *b == b' ')?;
    let length: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
    let (record, rest) = bytes.split_at_checked(length)?;
    let pair = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = pair.iter().position(|b| *b == b'=')?;
    Some((&pair[..equals], &pair[equals + 1..], rest))
}

fn number(value: &[u8]) -> Result<u64, EntryError> {
    let text = std::str::from_utf8(value).ok();
    text.and_then(|text| text.parse().ok()).ok_or(EntryError::Header("malformed PAX number"))
}

/// `[-]SECONDS[.FRACTION]`.
fn time(value: &[u8]) -> Result<(i64, u32), EntryError> {
    const BAD: EntryError = EntryError::Header("malformed PAX time");
    let text = std::str::from_utf8(value).map_err(|_| BAD)?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().map_err(|_| BAD)?;
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return Err(BAD);
    }
    let nanos =
        fraction.bytes().chain(std::iter::repeat(b'0')).take(9).fold(0, |n, b| n * 10 + u32::from(b - b'0'));
    // The fraction counts away from zero, the kernel's nanoseconds always forward.
    match (text.starts_with('-'), nanos) {
        (true, 1..) => Ok((seconds.checked_sub(1).ok_or(BAD)?, 1_000_000_000 - nanos)),
        _ => Ok((seconds, nanos)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_value_may_hold_a_newline() {
        let parsed = parse(b"29 SCHILY.xattr.user.a=1\n2\n3\n9 uid=42\n").unwrap();
        assert_eq!(parsed.xattrs, [(b"user.a".to_vec(), b"1\n2\n3".to_vec())]);
        assert_eq!(parsed.uid, Some(42));
    }

    #[test]
    fn times_have_fractions_and_signs() {
        let of = |text: &str| time(text.as_bytes()).ok();
        assert_eq!(of("12"), Some((12, 0)));
        assert_eq!(of("12.5"), Some((12, 500_000_000)));
        assert_eq!(of("-1.25"), Some((-2, 750_000_000)));
        assert_eq!(of("1.x"), None);
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        for bad in ["5 uid=1\n", "999 uid=1\n", "0 uid=1\n", " uid=1\n", "7 uid1\n", "8 uid=1"] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = parse(&bytes);
        }
    }
}

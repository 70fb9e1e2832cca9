//! Where an entry of a layer belongs, by its name alone: the rules of the OCI layer format.
//!
//! Pure: nothing here touches a file system. A [`LayerPath`] never has `..`, `.`, an empty component or a NUL, so
//! it cannot leave the layer by its spelling; links are the tree's concern (`tree`).

use crate::limits;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use thiserror::Error;

/// Why a name is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PathError {
    /// It has a `..`.
    #[error("it leaves the layer by \"..\"")]
    Escapes,
    /// It has a NUL byte.
    #[error("its name has a NUL byte")]
    Nul,
    /// Too long, or too deep.
    #[error("its name is too long ({what} above {limit})")]
    TooLong {
        /// Which measure.
        what: &'static str,
        /// Its limit.
        limit: usize,
    },
    /// A whiteout of nothing, or of `.` or `..`.
    #[error("it is a whiteout that names no file")]
    EmptyWhiteout,
}

/// A path below a layer's root; empty for the root itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LayerPath {
    bytes: Vec<u8>,
}

impl LayerPath {
    /// Checks a name from an archive. A leading `/` or `./` and repeated slashes are dropped, as every
    /// unpacker does.
    pub fn parse(name: &[u8]) -> Result<LayerPath, PathError> {
        if name.contains(&0) {
            return Err(PathError::Nul);
        }
        let parts = name.split(|b| *b == b'/').filter(|part| !part.is_empty() && *part != b".");
        let mut bytes = Vec::with_capacity(name.len());
        for (depth, part) in parts.enumerate() {
            if part == b".." {
                return Err(PathError::Escapes);
            }
            within("bytes in one component", part.len(), limits::ENTRY_NAME_BYTES)?;
            within("components", depth + 1, limits::ENTRY_DEPTH)?;
            if depth > 0 {
                bytes.push(b'/');
            }
            bytes.extend_from_slice(part);
        }
        within("bytes", bytes.len(), limits::ENTRY_PATH_BYTES)?;
        Ok(LayerPath { bytes })
    }

    /// The directory and the name in it; `None` for the root.
    pub fn split(&self) -> Option<(LayerPath, &OsStr)> {
        if self.bytes.is_empty() {
            return None;
        }
        let (parent, name) = match self.bytes.iter().rposition(|b| *b == b'/') {
            Some(slash) => (&self.bytes[..slash], &self.bytes[slash + 1..]),
            None => (&b""[..], &self.bytes[..]),
        };
        Some((LayerPath { bytes: parent.to_vec() }, OsStr::from_bytes(name)))
    }

    /// As a relative path.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.bytes))
    }
}

impl fmt::Display for LayerPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", String::from_utf8_lossy(&self.bytes))
    }
}

fn within(what: &'static str, value: usize, limit: usize) -> Result<(), PathError> {
    if value > limit { Err(PathError::TooLong { what, limit }) } else { Ok(()) }
}

/// What an entry's name means.
#[derive(Debug, PartialEq, Eq)]
pub enum Meaning<'a> {
    /// A file of this name.
    File(&'a OsStr),
    /// `.wh.NAME`: lower layers' NAME is gone.
    Whiteout(&'a OsStr),
    /// `.wh..wh..opq`: everything lower layers have in this directory is gone.
    Opaque,
    /// `.wh..wh.` and something else: bookkeeping of AUFS, not content.
    Ignored,
}

/// Tells whiteouts from files.
pub fn meaning(name: &OsStr) -> Result<Meaning<'_>, PathError> {
    let Some(rest) = name.as_bytes().strip_prefix(b".wh.") else { return Ok(Meaning::File(name)) };
    match rest {
        b".wh..opq" => Ok(Meaning::Opaque),
        b"" | b"." | b".." => Err(PathError::EmptyWhiteout),
        hidden if hidden.starts_with(b".wh.") => Ok(Meaning::Ignored),
        hidden => Ok(Meaning::Whiteout(OsStr::from_bytes(hidden))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::Component;

    #[test]
    fn spellings_of_one_path_are_one_path() {
        for spelling in ["a/b", "./a/b", "/a/b", "a//b/", "././a/./b"] {
            assert_eq!(LayerPath::parse(spelling.as_bytes()).unwrap().to_string(), "a/b");
        }
        for root in ["", ".", "./", "/"] {
            assert_eq!(LayerPath::parse(root.as_bytes()).unwrap().split(), None);
        }
    }

    #[test]
    fn escapes_are_refused_wherever_they_stand() {
        for bad in ["..", "../x", "a/../../x", "/..", "a/.."] {
            assert_eq!(LayerPath::parse(bad.as_bytes()), Err(PathError::Escapes), "{bad}");
        }
        assert_eq!(LayerPath::parse(b"a\0b"), Err(PathError::Nul));
        assert!(LayerPath::parse(&[b'a'; 256]).is_err());
        assert!(LayerPath::parse("a/".repeat(300).as_bytes()).is_err());
    }

    #[test]
    fn whiteouts_are_told_from_files() {
        let of = |name: &'static str| meaning(OsStr::new(name));
        assert_eq!(of("wh.x"), Ok(Meaning::File(OsStr::new("wh.x"))));
        assert_eq!(of(".wh.x"), Ok(Meaning::Whiteout(OsStr::new("x"))));
        assert_eq!(of(".wh..wh..opq"), Ok(Meaning::Opaque));
        assert_eq!(of(".wh..wh.plnk"), Ok(Meaning::Ignored));
        for bad in [".wh.", ".wh..", ".wh..."] {
            assert_eq!(of(bad), Err(PathError::EmptyWhiteout), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_accepted_stays_below_the_root(name in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(path) = LayerPath::parse(&name) {
                prop_assert!(path.as_path().components().all(|c| matches!(c, Component::Normal(_))));
            }
        }

        #[test]
        fn dots_and_slashes_never_escape(name in "[./a]{0,12}") {
            let parsed = LayerPath::parse(name.as_bytes());
            let escapes = name.split('/').any(|part| part == "..");
            prop_assert_eq!(parsed.is_err(), escapes);
        }

        #[test]
        fn a_whiteout_hides_a_single_ordinary_name(name in "\\.wh\\.[.a/wh]{0,8}") {
            let path = LayerPath::parse(name.as_bytes());
            let Ok(path) = path else { return Ok(()) };
            let Some((_, last)) = path.split() else { return Ok(()) };
            if let Ok(Meaning::Whiteout(hidden)) = meaning(last) {
                prop_assert!(hidden != "." && hidden != ".." && !hidden.as_bytes().contains(&b'/'));
            }
        }
    }
}

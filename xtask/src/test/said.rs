//! What a program of many tests says on standard error beside their outcomes, among it which of them it skipped.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// What a test prints before its name if it can't run here; see `tests/src/needs.rs`.
pub const SKIPPED: &str = "SKIPPED ";
/// Who prints it where tests have no thread of their own, after which libtest would name them: there is one at a time then.
const ONLY: &str = "main";

/// The program's standard error: a file, so that what a test has said is in it before libtest tells that the test has ended.
pub struct Said {
    file: File,
    /// Up to where it was read.
    read: u64,
    /// Why tests were skipped, by the names that they gave themselves.
    skipped: BTreeMap<String, String>,
}

impl Said {
    /// Nothing yet.
    pub fn new() -> Result<Said> {
        let file =
            memfd_create(c"said", MFdFlags::MFD_CLOEXEC).context("no memory for a test program's words")?;
        Ok(Said { file: file.into(), read: 0, skipped: BTreeMap::new() })
    }

    /// Where the program is to write.
    pub fn writer(&self) -> Result<File> {
        self.file.try_clone().context("cannot share a file")
    }

    /// Why the test that has just ended says that it was skipped, if it does.
    pub fn why_skipped(&mut self, test: &str) -> Result<Option<String>> {
        self.show()?;
        let same = |name: &str| name == ONLY || name == test || test.ends_with(&format!("::{name}"));
        let name = self.skipped.keys().find(|name| same(name)).cloned();
        Ok(name.and_then(|name| self.skipped.remove(&name)))
    }

    /// Prints what was said since, but for skips, which are kept.
    pub fn show(&mut self) -> Result<()> {
        let mut bytes = Vec::new();
        let mut piece = [0; 4096];
        loop {
            let at = self.read + bytes.len() as u64;
            match self.file.read_at(&mut piece, at).context("cannot read a test program's words")? {
                0 => break,
                length => bytes.extend_from_slice(&piece[..length]),
            }
        }
        // The rest of a line may come yet.
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        self.read += whole as u64;
        for line in String::from_utf8_lossy(&bytes[..whole]).lines() {
            match skip(line) {
                Some((test, why)) => drop(self.skipped.insert(test.to_owned(), why.to_owned())),
                None => eprintln!("{line}"),
            }
        }
        Ok(())
    }
}

/// The test and the reason of a line that tells of a skip.
pub fn skip(line: &str) -> Option<(&str, &str)> {
    line.split_once(SKIPPED)?.1.split_once(": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn skips_are_told_by_the_test_that_ended_and_once() {
        let mut said = Said::new().unwrap();
        let mut writer = said.writer().unwrap();
        writer.write_all(b"SKIPPED api::a: no b: none\nwords\nSKIPPED short: no").unwrap();
        assert_eq!(said.why_skipped("api::other").unwrap(), None);
        assert_eq!(said.why_skipped("api::a").unwrap().as_deref(), Some("no b: none"));
        assert_eq!(said.why_skipped("api::a").unwrap(), None);
        assert_eq!(said.why_skipped("in::short").unwrap(), None, "its line has no end yet");
        writer.write_all(b" root\n").unwrap();
        assert_eq!(said.why_skipped("in::short").unwrap().as_deref(), Some("no root"));
        writer.write_all(b"SKIPPED main: alone\n").unwrap();
        assert_eq!(said.why_skipped("any").unwrap().as_deref(), Some("alone"));
    }
}

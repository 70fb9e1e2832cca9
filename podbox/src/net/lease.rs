//! Which pod has which address, over a crash of the daemon: a journal of lines, one write for each change,
//! written before the address is used.
//!
//! It lies in the run directory, a tmpfs, and nothing is synced: an address matters as long as the pod's network
//! namespace does, and a crash of the host takes both. Against a killed daemon the page cache is enough.
//!
//! A line that a kill cut short was never answered for: reading ends there. Opening writes the journal anew, so
//! that it does not grow over restarts; in between a long-running node rewrites it when it is mostly history.
//!
//! **Invariant**: an address that `acquire` returned is in the journal until `release`.

use super::ipam::{Ipam, IpamError};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// Lines of history a journal may hold beyond one for each lease.
const HISTORY_LINES: usize = 4096;

/// One change, one line.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Entry {
    /// A pod got an address.
    Acquired { uid: String, address: Ipv4Addr },
    /// A pod gave it back.
    Released { uid: String },
    /// Where the rotation is; written when the journal is.
    Last { address: Ipv4Addr },
}

/// Why there is no lease.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The range gives none.
    #[error(transparent)]
    Ipam(#[from] IpamError),
    /// The journal could not be read or written.
    #[error("{action} the address leases in {} failed", .path.display())]
    Journal {
        /// What was tried.
        action: &'static str,
        /// The journal.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A line in the journal is not one of ours.
    #[error("line {line} of the address leases in {} is damaged; with no pod running, remove the file", .path.display())]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// The addresses of this node's pods. One per run directory: the node's lock sees to that.
#[derive(Debug)]
pub struct Leases {
    ipam: Ipam,
    path: PathBuf,
    journal: File,
    /// Lines in the journal.
    lines: usize,
}

impl Leases {
    /// Opens the journal in `run_dir`, or starts one.
    pub fn open(run_dir: &Path, cidr: Ipv4Net) -> Result<Leases, LeaseError> {
        let path = run_dir.join("leases");
        let mut ipam = Ipam::new(cidr)?;
        match fs::read_to_string(&path) {
            Ok(text) => replay(&text, &path, &mut ipam)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(LeaseError::Journal { action: "reading", path, source }),
        }
        let (journal, lines) = rewrite(&path, &ipam)?;
        let leases = Leases { ipam, path, journal, lines };
        leases.measure();
        Ok(leases)
    }

    /// The addresses as they are.
    pub fn ipam(&self) -> &Ipam {
        &self.ipam
    }

    /// Gives the pod an address: the one it has, or the next free one.
    pub fn acquire(&mut self, uid: &str) -> Result<Ipv4Addr, LeaseError> {
        if let Some(address) = self.ipam.get(uid) {
            return Ok(address);
        }
        let address = self.ipam.acquire(uid)?;
        if let Err(error) = self.append(&Entry::Acquired { uid: uid.to_owned(), address }) {
            // Not written, so not given.
            self.ipam.release(uid);
            return Err(error);
        }
        self.measure();
        Ok(address)
    }

    /// Takes a pod's address back: call it when the pod's link is gone. A pod without one is no error.
    pub fn release(&mut self, uid: &str) -> Result<(), LeaseError> {
        if self.ipam.get(uid).is_none() {
            return Ok(());
        }
        // Written first: an address whose return is not written stays taken.
        self.append(&Entry::Released { uid: uid.to_owned() })?;
        self.ipam.release(uid);
        self.measure();
        Ok(())
    }

    /// Takes back every address whose pod is not to keep it: those of an earlier daemon's pods that are gone.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) -> Result<(), LeaseError> {
        let gone: Vec<String> =
            self.ipam.leases().map(|(uid, _)| uid.to_owned()).filter(|uid| !keep(uid)).collect();
        gone.iter().try_for_each(|uid| self.release(uid))
    }

    fn append(&mut self, entry: &Entry) -> Result<(), LeaseError> {
        if self.lines > self.ipam.leased() + HISTORY_LINES {
            (self.journal, self.lines) = rewrite(&self.path, &self.ipam)?;
        }
        let failed = |source| LeaseError::Journal { action: "writing", path: self.path.clone(), source };
        let before = self.journal.metadata().map_err(failed)?.len();
        if let Err(error) = self.journal.write_all(line(entry).as_bytes()) {
            // A full tmpfs may have taken half a line, which would swallow the next one.
            let _ = self.journal.set_len(before);
            return Err(failed(error));
        }
        self.lines += 1;
        Ok(())
    }

    fn measure(&self) {
        ::metrics::gauge!(crate::metrics::POD_ADDRESSES, "state" => "leased").set(self.ipam.leased() as f64);
        ::metrics::gauge!(crate::metrics::POD_ADDRESSES, "state" => "free").set(self.ipam.free() as f64);
    }
}

fn line(entry: &Entry) -> String {
    let mut line = serde_json::to_string(entry).expect("strings and addresses always serialise");
    line.push('\n');
    line
}

fn replay(text: &str, path: &Path, ipam: &mut Ipam) -> Result<(), LeaseError> {
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let Some(line) = line.strip_suffix('\n') else { break };
        match serde_json::from_str(line) {
            Ok(Entry::Acquired { uid, address }) => ipam.hold(&uid, address)?,
            Ok(Entry::Released { uid }) => drop(ipam.release(&uid)),
            Ok(Entry::Last { address }) => ipam.resume(address),
            Err(source) => {
                return Err(LeaseError::Damaged { path: path.to_owned(), line: index + 1, source });
            }
        }
    }
    Ok(())
}

/// Writes the journal anew beside the old one, and puts it in its place in one step.
fn rewrite(path: &Path, ipam: &Ipam) -> Result<(File, usize), LeaseError> {
    let failed = |source| LeaseError::Journal { action: "writing", path: path.to_owned(), source };
    let new = path.with_extension("new");
    let mut text: String =
        ipam.leases().map(|(uid, address)| line(&Entry::Acquired { uid: uid.to_owned(), address })).collect();
    text.push_str(&line(&Entry::Last { address: ipam.last() }));
    fs::write(&new, text).map_err(failed)?;
    fs::rename(&new, path).map_err(failed)?;
    let journal = File::options().append(true).open(path).map_err(failed)?;
    Ok((journal, ipam.leased() + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &Path) -> Leases {
        Leases::open(dir, "10.85.0.0/24".parse().unwrap()).unwrap()
    }

    #[test]
    fn leases_and_the_rotation_outlive_the_daemon() {
        let dir = tempfile::tempdir().unwrap();
        let mut leases = open(dir.path());
        let a = leases.acquire("a").unwrap();
        leases.acquire("b").unwrap();
        leases.release("b").unwrap();
        drop(leases);
        let mut leases = open(dir.path());
        assert_eq!(leases.acquire("a").unwrap(), a);
        assert_eq!(leases.acquire("c").unwrap(), Ipv4Addr::new(10, 85, 0, 4), "b's address rests");
    }

    #[test]
    fn addresses_of_pods_that_are_gone_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut leases = open(dir.path());
        let stays = leases.acquire("stays").unwrap();
        leases.acquire("gone").unwrap();
        leases.retain(|uid| uid == "stays").unwrap();
        drop(leases);
        let leases = open(dir.path());
        assert_eq!(leases.ipam().leases().collect::<Vec<_>>(), [("stays", stays)]);
    }

    #[test]
    fn a_line_cut_short_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path()).acquire("a").unwrap();
        let whole = fs::read_to_string(dir.path().join("leases")).unwrap();
        let start = whole.trim_end().rfind('\n').unwrap() + 1;
        for cut in start..whole.len() {
            fs::write(dir.path().join("leases"), &whole[..cut]).unwrap();
            assert_eq!(open(dir.path()).ipam().leased(), 0, "cut at {cut}");
        }
    }

    #[test]
    fn a_damaged_line_is_told_with_its_number() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("leases"), "{\"released\":{\"uid\":\"a\"}}\nrubbish\n").unwrap();
        let error = Leases::open(dir.path(), "10.85.0.0/24".parse().unwrap()).unwrap_err();
        assert!(matches!(error, LeaseError::Damaged { line: 2, .. }), "{error}");
    }

    #[test]
    fn a_changed_range_is_told_while_a_pod_holds_an_old_address() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path()).acquire("a").unwrap();
        let error = Leases::open(dir.path(), "10.86.0.0/24".parse().unwrap()).unwrap_err();
        assert!(matches!(error, LeaseError::Ipam(IpamError::Outside { .. })), "{error}");
    }

    #[test]
    fn the_journal_does_not_grow_without_end() {
        let dir = tempfile::tempdir().unwrap();
        let mut leases = open(dir.path());
        leases.acquire("stays").unwrap();
        for round in 0..HISTORY_LINES {
            leases.acquire(&round.to_string()).unwrap();
            leases.release(&round.to_string()).unwrap();
        }
        let lines = fs::read_to_string(dir.path().join("leases")).unwrap().lines().count();
        assert!(lines <= HISTORY_LINES + 4, "{lines}");
        drop(leases);
        assert_eq!(open(dir.path()).ipam().leased(), 1);
    }

    #[test]
    fn a_uid_with_a_newline_is_one_line() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path()).acquire("a\nb\"").unwrap();
        assert!(open(dir.path()).ipam().get("a\nb\"").is_some());
    }
}

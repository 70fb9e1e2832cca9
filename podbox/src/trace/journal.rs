//! Which cgroup is whose, and what expired runs had counted, on file: what the kernel's maps do not know and the next podbox
//! must, to go on with their counts.
//!
//! A line for each change, in `RUN_DIR/attribution`, written before the change counts; from time to time all of it is
//! written anew. A line without an end is of a podbox that was killed there, and says nothing, as do lines of another boot,
//! for the run directory may be on a disk. The file's time is when a podbox last was there.
//!
//! It holds no truth about containers: who is not claimed by whoever runs them now ([`Register::unclaimed`]) is gone.

use super::attribute::Register;
use super::snapshot::{Carried, ContainerKey, Ledger};
use crate::api::identity::ContainerRef;
use crate::clock;
use podbox_common::ContainerStats;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Below the run directory.
const FILE: &str = "attribution";
/// Lines that may be there beside those that count, before they are taken out.
const SPARE_LINES: usize = 4096;
const WORDS: usize = size_of::<ContainerStats>() / size_of::<u64>();

#[derive(Debug, Serialize, Deserialize)]
enum Line {
    /// What follows is of this boot: ids of cgroups and times since boot mean nothing in another.
    Boot(String),
    /// The cgroup is this container's.
    Is {
        cgroup: u64,
        container: ContainerRef,
        /// For a while nobody recorded what happened there.
        gap: bool,
    },
    /// The container was removed, at this time since boot.
    Removed { cgroup: u64, at: Duration },
    /// The cgroup is nobody's any more.
    Expired { cgroup: u64 },
    /// What all expired runs of a container together had counted; and that of this cgroup is in it now.
    Carried {
        container: ContainerKey,
        counts: Vec<u64>,
        /// When, since boot.
        #[serde(default)]
        at: Duration,
        cgroup: Option<u64>,
    },
}

/// The file, to be appended to.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    boot: String,
    file: File,
    lines: usize,
    /// A line came into the file in part only, or not at all.
    is_torn: bool,
}

/// What an earlier podbox had written.
#[derive(Debug, Default)]
pub(super) struct Recalled {
    pub register: Register,
    pub ledger: Ledger,
    /// When it was last there.
    pub seen: Option<SystemTime>,
}

impl Journal {
    /// Reads the file in the run directory, and begins it anew.
    pub fn open(run_dir: &Path) -> io::Result<(Journal, Recalled)> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        Journal::open_in(run_dir, boot.trim_end().to_owned())
    }

    fn open_in(run_dir: &Path, boot: String) -> io::Result<(Journal, Recalled)> {
        let path = run_dir.join(FILE);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            text => text?,
        };
        let seen = fs::metadata(&path).and_then(|found| found.modified()).ok();
        let mut recalled = Recalled { seen, ..Recalled::default() };
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        for line in text[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice(line) {
                // The run directory has outlived all that is in it.
                Ok(Line::Boot(of)) if of != boot => {
                    recalled = Recalled::default();
                    break;
                }
                Ok(line) => recalled.apply(line),
                Err(error) => {
                    tracing::warn!(%error, "{} has a line that this podbox does not understand", path.display());
                }
            }
        }
        let (file, lines) = begin(&path, &boot, &recalled.register, &recalled.ledger)?;
        Ok((Journal { path, boot, file, lines, is_torn: false }, recalled))
    }

    /// The cgroup is this container's.
    pub fn is(&mut self, cgroup: u64, container: &ContainerRef, gap: bool) {
        self.append(&Line::Is { cgroup, container: container.clone(), gap });
    }

    /// The container was removed.
    pub fn removed(&mut self, cgroup: u64, at: Duration) {
        self.append(&Line::Removed { cgroup, at });
    }

    /// The cgroup is nobody's any more; what it had counted is in the ledger, if it had counted anything.
    pub fn expired(&mut self, cgroup: u64, carried: Option<(&ContainerKey, &Carried)>) {
        self.append(&match carried {
            Some((container, sum)) => Line::carried(container, sum, Some(cgroup)),
            None => Line::Expired { cgroup },
        });
    }

    /// Says that a podbox is there; and writes the file anew where little of it counts, or something is missing.
    pub fn keep(&mut self, register: &Register, ledger: &Ledger) {
        let counting = register.iter().count() + ledger.expired().len();
        let done = match self.is_torn || self.lines > 2 * counting + SPARE_LINES {
            true => begin(&self.path, &self.boot, register, ledger).map(|(file, lines)| {
                (self.file, self.lines, self.is_torn) = (file, lines, false);
            }),
            false => self.file.set_modified(clock::wall()),
        };
        if let Err(error) = done {
            tracing::debug!(%error, "keeping {} failed", self.path.display());
        }
    }

    fn append(&mut self, line: &Line) {
        self.lines += 1;
        let mut text = bytes(line);
        if self.is_torn {
            text.insert(0, b'\n');
        }
        if let Err(error) = self.file.write_all(&text) {
            self.is_torn = true;
            tracing::warn!(%error, "writing {} failed: the next podbox may not know whose counts are whose",
                self.path.display());
        }
    }
}

/// Takes the file away.
pub(super) fn remove(run_dir: &Path) -> io::Result<()> {
    match fs::remove_file(run_dir.join(FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

impl Recalled {
    fn apply(&mut self, line: Line) {
        match line {
            Line::Boot(_) => {}
            Line::Is { cgroup, container, gap } => self.register.recall(cgroup, container, gap),
            Line::Removed { cgroup, at } => self.register.remove(cgroup, at),
            Line::Expired { cgroup } => self.register.drop(cgroup),
            Line::Carried { container, counts, at, cgroup } => {
                // Of another layout, it counted something else.
                if let Ok(counts) = <[u64; WORDS]>::try_from(counts) {
                    self.ledger.set(container, Carried { stats: stats(counts), last: at });
                }
                cgroup.into_iter().for_each(|cgroup| self.register.drop(cgroup));
            }
        }
    }
}

/// Writes the file anew, in the place of the one that is there.
fn begin(path: &Path, boot: &str, register: &Register, ledger: &Ledger) -> io::Result<(File, usize)> {
    let (mut text, mut lines) = (Vec::new(), 0);
    let mut add = |line: &Line| {
        text.extend(bytes(line));
        lines += 1;
    };
    add(&Line::Boot(boot.to_owned()));
    for (cgroup, entry) in register.entries() {
        add(&Line::Is { cgroup, container: entry.container.clone(), gap: entry.gap });
        entry.removed.into_iter().for_each(|at| add(&Line::Removed { cgroup, at }));
    }
    for (container, sum) in ledger.expired() {
        add(&Line::carried(container, sum, None));
    }
    let next = path.with_extension("next");
    fs::write(&next, text)?;
    let file = File::options().append(true).open(&next)?;
    fs::rename(&next, path)?;
    Ok((file, lines))
}

impl Line {
    fn carried(container: &ContainerKey, sum: &Carried, cgroup: Option<u64>) -> Line {
        Line::Carried { container: container.clone(), counts: words(&sum.stats), at: sum.last, cgroup }
    }
}

fn bytes(line: &Line) -> Vec<u8> {
    let mut text = serde_json::to_vec(line).expect("a line has only string keys");
    text.push(b'\n');
    text
}

fn words(stats: &ContainerStats) -> Vec<u64> {
    // SAFETY: both are plain data of the same size, and `ContainerStats` is made of such words.
    unsafe { std::mem::transmute::<ContainerStats, [u64; WORDS]>(*stats) }.into()
}

fn stats(words: [u64; WORDS]) -> ContainerStats {
    // SAFETY: as above; any words are a valid value.
    unsafe { std::mem::transmute::<[u64; WORDS], ContainerStats>(words) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::identity::PodRef;

    fn run(attempt: u32) -> ContainerRef {
        let pod = PodRef { namespace: "shop".into(), name: "web".into(), uid: "u-1".into() };
        ContainerRef { pod, name: "app".into(), attempt }
    }

    #[test]
    fn what_was_written_is_recalled_up_to_the_line_that_broke_off() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, nothing) = Journal::open(dir.path()).unwrap();
        assert!(nothing.register.iter().next().is_none() && nothing.seen.is_none());
        (0..3).for_each(|attempt| journal.is(u64::from(attempt) + 10, &run(attempt), attempt == 2));
        journal.removed(10, Duration::from_secs(7));
        journal.removed(11, Duration::from_secs(8));
        let mut counted = ContainerStats { exits_error: 3, ..ContainerStats::ZERO };
        counted.lifetime_buckets[12] = 5;
        let counted = Carried { stats: counted, last: Duration::from_secs(9) };
        journal.expired(10, Some((&(&run(0)).into(), &counted)));
        journal.file.write_all(br#"{"Is":{"cgroup":99"#).unwrap();

        for _ in 0..2 {
            let (_, recalled) = Journal::open(dir.path()).unwrap();
            let cgroups: Vec<u64> = recalled.register.iter().map(|(cgroup, _)| cgroup).collect();
            assert_eq!(cgroups, [11, 12]);
            assert_eq!(recalled.register.get(11), Some(&run(1)));
            assert!(recalled.register.gap(12) && !recalled.register.gap(11));
            // That of 11 is a tombstone already.
            assert_eq!(recalled.register.unclaimed(), [12]);
            assert!(recalled.seen.is_some());
            let totals = recalled.ledger.totals(std::iter::empty());
            assert!(totals.is_empty(), "no run of it is given");
            assert_eq!(recalled.ledger.expired().collect::<Vec<_>>(), [(&(&run(0)).into(), &counted)]);
        }
    }

    #[test]
    fn what_is_of_another_boot_is_not_recalled_and_a_line_after_one_that_broke_off_is() {
        let dir = tempfile::tempdir().unwrap();
        let open = |boot: &str| Journal::open_in(dir.path(), boot.to_owned()).unwrap();
        let (mut journal, _) = open("first");
        journal.is(10, &run(0), false);
        // As a full disk leaves it.
        journal.file.write_all(br#"{"Is":{"cgroup":99"#).unwrap();
        journal.is_torn = true;
        journal.is(11, &run(1), false);
        let cgroups =
            |recalled: Recalled| recalled.register.iter().map(|(cgroup, _)| cgroup).collect::<Vec<_>>();
        assert_eq!(cgroups(open("first").1), [10, 11]);
        let (_, recalled) = open("second");
        assert!(recalled.seen.is_none() && cgroups(recalled).is_empty());
        assert!(cgroups(open("first").1).is_empty(), "it was begun anew");
    }

    #[test]
    fn the_file_does_not_grow_with_what_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, Recalled { mut register, ledger, .. }) = Journal::open(dir.path()).unwrap();
        register.insert(1, run(0));
        journal.is(1, &run(0), false);
        for _ in 0..2 * SPARE_LINES {
            journal.is(2, &run(1), false);
            journal.expired(2, None);
            journal.keep(&register, &ledger);
        }
        assert!(journal.lines <= SPARE_LINES + 4, "{} lines", journal.lines);
        let (_, recalled) = Journal::open(dir.path()).unwrap();
        assert_eq!(recalled.register.iter().collect::<Vec<_>>(), [(1, &run(0))]);
    }
}

//! What nobody needs any more on the node's disk: images that no pod uses, logs of runs before the last but one, and logs of
//! pods that are gone.
//!
//! Images go when the disk is too full, those first that were used longest ago; never one that is in use, nor one that has
//! just come. Containers themselves are taken away as they end. Logs are only touched of pods that this daemon has known.

use crate::api::error::chain;
use crate::api::stats::Filesystem;
use crate::config::Config;
use crate::image::{ImageError, Record, Store};
use crate::sandbox::{tree, usage};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirEntry};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// An image's records, by its id.
type References = BTreeMap<String, Vec<Record>>;

/// What is known of an image beside what the store says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    first: Instant,
    used: Option<Instant>,
}

/// An image that might go.
#[derive(Clone, Debug)]
struct Candidate {
    id: String,
    bytes: u64,
    in_use: bool,
    seen: Seen,
}

/// Takes away what nobody needs.
#[derive(Debug)]
pub struct Garbage {
    images: Store,
    /// By the image's id.
    seen: BTreeMap<String, Seen>,
    /// Pods that were here, by uid.
    pods: BTreeSet<String>,
}

impl Garbage {
    /// That of a store of images.
    pub fn new(images: Store) -> Garbage {
        Garbage { images, seen: BTreeMap::new(), pods: BTreeSet::new() }
    }

    /// Removes images until so many bytes are free, or all that nobody uses; how many bytes that were. `wanted` are the
    /// references that pods have.
    pub fn free_images(
        &mut self,
        bytes: u64,
        wanted: &BTreeSet<String>,
        age: Duration,
        now: Instant,
    ) -> Result<u64, ImageError> {
        let (candidates, references) = self.look(wanted, now)?;
        let mounted = usage::mounted();
        let mut freed = 0;
        for id in expendable(candidates, bytes, age, now) {
            for record in references.get(&id).into_iter().flatten() {
                match self.images.remove(&record.reference, |layer| mounted.contains(layer)) {
                    Ok(_) => tracing::info!(image = record.reference, "removed, since the disk is too full"),
                    // Somebody uses it since, or took it away.
                    Err(ImageError::InUse { .. } | ImageError::Unknown { .. }) => continue,
                    Err(error) => return Err(error),
                }
                freed += record.size;
            }
        }
        Ok(freed)
    }

    /// Notes which images are there and in use.
    pub fn note_images(&mut self, wanted: &BTreeSet<String>, now: Instant) -> Result<(), ImageError> {
        self.look(wanted, now).map(drop)
    }

    fn look(
        &mut self,
        wanted: &BTreeSet<String>,
        now: Instant,
    ) -> Result<(Vec<Candidate>, References), ImageError> {
        let mut used = BTreeSet::new();
        for reference in wanted {
            // One that cannot be read is no image's.
            used.extend(self.images.resolve(reference).ok().flatten().map(|image| image.id));
        }
        let mut references = References::new();
        for record in self.images.list()? {
            references.entry(record.id.to_string()).or_default().push(record);
        }
        self.seen.retain(|id, _| references.contains_key(id));
        let candidates = references.iter().map(|(id, records)| {
            let in_use = used.contains(id);
            let seen = self.seen.entry(id.clone()).or_insert(Seen { first: now, used: None });
            if in_use {
                seen.used = Some(now);
            }
            let bytes = records.iter().map(|record| record.size).max().unwrap_or(0);
            Candidate { id: id.clone(), bytes, in_use, seen: *seen }
        });
        Ok((candidates.collect(), references))
    }

    /// Takes away logs of pods that are not there any more, and of runs before the last but one of those that are. A pod
    /// that mounts the directory may have put links there: they are not followed.
    pub fn sweep_logs(&mut self, config: &Config, there: &BTreeSet<String>) {
        for pod in fs::read_dir(&config.log_dir).into_iter().flatten().flatten() {
            let name = pod.file_name().to_string_lossy().into_owned();
            let Some((_, uid)) = name.rsplit_once('_') else { continue };
            if there.contains(uid) {
                in_directory(&pod.path(), |containers| {
                    containers.for_each(|one| in_directory(&one.path(), old_runs));
                });
            } else if self.pods.remove(uid)
                && let Err(error) = tree::remove(&pod.path())
            {
                tracing::warn!("removing the logs {} failed: {}", pod.path().display(), chain(&error));
            }
        }
        self.pods.clone_from(there);
    }
}

/// Does something with what is in a directory, whatever its path leads to meanwhile; nothing, if it is none.
fn in_directory(path: &Path, work: impl FnOnce(&mut dyn Iterator<Item = DirEntry>)) {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let Ok(held) = open(path, flags, Mode::empty()) else { return };
    let entries = fs::read_dir(format!("/proc/self/fd/{}", held.as_raw_fd()));
    work(&mut entries.into_iter().flatten().flatten());
}

/// The images that go so that so many bytes are free.
fn expendable(mut all: Vec<Candidate>, bytes: u64, age: Duration, now: Instant) -> Vec<String> {
    let old = |one: &Candidate| now.saturating_duration_since(one.seen.first) >= age;
    // What was not used since it was first seen, by when that was.
    all.sort_by_key(|one| (one.seen.used, one.seen.first));
    let mut found = 0;
    let mut gone = Vec::new();
    for one in all.into_iter().filter(|one| !one.in_use && old(one)) {
        if found >= bytes {
            break;
        }
        found += one.bytes;
        gone.push(one.id);
    }
    gone
}

/// How many bytes have to go of a disk that is fuller than it may be.
pub fn too_many(disk: &Filesystem, high: u8, low: u8) -> Option<u64> {
    let percent = |of: u64| u128::from(disk.capacity_bytes) * u128::from(of) / 100;
    let used = disk.capacity_bytes.saturating_sub(disk.available_bytes);
    if disk.capacity_bytes == 0 || u128::from(used) < percent(high.into()) {
        return None;
    }
    u64::try_from(u128::from(used).saturating_sub(percent(low.into()))).ok()
}

/// Removes the logs of a container's runs but for the last two. `3.log`, and rotated ones `3.log.TIME`.
fn old_runs(files: &mut dyn Iterator<Item = DirEntry>) {
    let run = |name: &str| name.split('.').next().and_then(|number| number.parse::<u32>().ok());
    let runs: Vec<_> =
        files.filter_map(|file| Some((run(&file.file_name().to_string_lossy())?, file.path()))).collect();
    let Some(last) = runs.iter().map(|(run, _)| *run).max() else { return };
    for (_, path) in runs.iter().filter(|(run, _)| *run + 1 < last) {
        if let Err(error) = fs::remove_file(path) {
            tracing::warn!("removing the log {} failed: {error}", path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn the_image_that_was_used_longest_ago_goes_first() {
        let begin = clock::instant();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let image = |id: &str, first, used: Option<u64>, in_use| Candidate {
            id: id.into(),
            bytes: 10,
            in_use,
            seen: Seen { first: at(first), used: used.map(at) },
        };
        let all = || {
            vec![
                image("new", 295, None, false),
                image("used now", 0, Some(300), true),
                image("used lately", 0, Some(250), false),
                image("used long ago", 0, Some(50), false),
                image("never used", 20, None, false),
            ]
        };
        let gone = |bytes| expendable(all(), bytes, Duration::from_secs(120), at(300));
        assert_eq!(gone(0), Vec::<String>::new());
        assert_eq!(gone(11), ["never used", "used long ago"]);
        assert_eq!(gone(1000), ["never used", "used long ago", "used lately"]);
    }

    #[test]
    fn a_disk_above_the_high_mark_is_brought_below_the_low_one() {
        let check = |available_bytes, expected| {
            let disk = Filesystem {
                capacity_bytes: 1000,
                available_bytes,
                free_bytes: available_bytes,
                inodes: 0,
                inodes_free: 0,
            };
            assert_eq!(too_many(&disk, 85, 80), expected);
        };
        check(151, None);
        check(150, Some(50));
        check(0, Some(200));
    }

    #[test]
    fn logs_of_the_last_two_runs_stay_while_their_pod_does() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { log_dir: dir.path().to_owned(), ..Config::default() };
        let write = |path: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        };
        for file in ["0.log", "1.log", "1.log.20260101-000000", "2.log", "3.log"] {
            write(&format!("n_p_u/c/{file}"));
        }
        write("n_other_v/c/0.log");
        let there = |path: &str| dir.path().join(path).exists();
        let state = tempfile::tempdir().unwrap();
        let mut garbage = Garbage::new(Store::open(state.path()).unwrap());
        garbage.sweep_logs(&config, &BTreeSet::from(["u".to_owned()]));
        let left: Vec<bool> = ["0.log", "1.log", "1.log.20260101-000000", "2.log", "3.log"]
            .map(|f| there(&format!("n_p_u/c/{f}")))
            .into();
        assert_eq!(left, [false, false, false, true, true]);
        garbage.sweep_logs(&config, &BTreeSet::new());
        assert!(!there("n_p_u") && there("n_other_v"), "only what was known is removed");
    }
}

//! What nobody needs any more on the node's disk: images that no pod uses, and logs ([`logs`]).
//!
//! Images go when the disk is too full, those first that were used longest ago; never one that is in use, nor one that has
//! just come. Containers themselves are taken away as they end.

pub mod logs;

use crate::api::stats::Filesystem;
use crate::image::{ImageError, Record, Store};
use crate::sandbox::usage;
use std::collections::{BTreeMap, BTreeSet};
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
}

impl Garbage {
    /// That of a store of images.
    pub fn new(images: Store) -> Garbage {
        Garbage { images, seen: BTreeMap::new() }
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
            let records = references.get(&id).map(Vec::as_slice).unwrap_or_default();
            let mut gone = !records.is_empty();
            for record in records {
                match self.images.remove(&record.reference, |layer| mounted.contains(layer)) {
                    Ok(_) => tracing::info!(image = record.reference, "removed, since the disk is too full"),
                    // Somebody uses it since, or took it away.
                    Err(ImageError::InUse { .. } | ImageError::Unknown { .. }) => gone = false,
                    Err(error) => return Err(error),
                }
            }
            // Its bytes are there once, whatever number of names it has, and until the last one has gone.
            freed += records.iter().map(|record| record.size).max().filter(|_| gone).unwrap_or(0);
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
}

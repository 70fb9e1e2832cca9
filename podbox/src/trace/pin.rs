//! What goes on while no podbox runs: maps, and the links that keep programs attached, pinned in a file system of podbox's own.
//!
//! ```text
//!   RUN_DIR/bpf/LAYOUT/maps/NAME        counts, victims, the dead, and the rings with what nobody has read
//!   RUN_DIR/bpf/LAYOUT/links/PROGRAM    what keeps a program attached
//! ```
//!
//! Each start loads its own programs onto the maps that it finds, attaches them, and puts its links in the place of the
//! older ones. For a moment both are attached, and both count each event only if the other has not (an exit by its entry
//! among the dead, a victim by its mark, a reaping by taking that entry away; a socket that listens is told twice, which
//! is a hint). So nothing stays unseen between the two, and another version of the programs loses nothing either.
//!
//! LAYOUT is a digest of what both sides know of each other's bytes. Maps under another one mean something else, so they
//! are removed with their links: [`Found::Other`], a gap that is told.
//!
//! Pins go with the last pod: whoever takes podbox's own things away calls [`remove`].
//!
//! Invariants: nothing is pinned elsewhere, and the mount is unbindable, so a container that mounts a host directory
//! recursively cannot copy the pins, nor can two podboxes of one machine meet.

use super::load::TraceConfig;
use aya::programs::ProgramError;
use aya::programs::links::FdLink;
use aya_obj::{EbpfSectionKind, Object};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Below the run directory.
const DIRECTORY: &str = "bpf";

/// Maps that mean nothing to the next podbox: of connections of this one's own, and of what it follows.
const OWN: [&str; 4] = ["TIMELINES", "UNACCEPTED", "FOLLOWERS", "AYA_LOGS"];

/// The sources of all that is in the other maps.
const SHARED: [&[u8]; 6] = [
    include_bytes!("../../../podbox-common/src/event.rs"),
    include_bytes!("../../../podbox-common/src/lib.rs"),
    include_bytes!("../../../podbox-common/src/signal.rs"),
    include_bytes!("../../../podbox-common/src/start.rs"),
    include_bytes!("../../../podbox-common/src/stats.rs"),
    include_bytes!("../../../podbox-common/src/wire.rs"),
];

/// Their digest; the sources themselves stay out of the program.
const SHARED_DIGEST: u64 = {
    let (mut digest, mut at) = (FNV_BEGIN, 0);
    while at < SHARED.len() {
        digest = fnv(digest, SHARED[at]);
        at += 1;
    }
    digest
};

const FNV_BEGIN: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a: it tells versions apart, and keeps nobody from anything.
const fn fnv(mut digest: u64, bytes: &[u8]) -> u64 {
    let mut at = 0;
    while at < bytes.len() {
        digest = (digest ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    digest
}

/// What an earlier podbox had pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing.
    Nothing,
    /// Maps that this one goes on with.
    Same,
    /// Maps of another layout, which are gone now.
    Other,
}

/// The maps of the object that outlive a daemon, and a digest of what is in them.
#[derive(Debug)]
pub(super) struct Layout {
    pub maps: Vec<String>,
    pub digest: u64,
}

impl Layout {
    pub fn of(object: &[u8], config: &TraceConfig) -> Result<Layout, aya_obj::ParseError> {
        let object = Object::parse(object)?;
        let kept = |kind| matches!(kind, EbpfSectionKind::Maps | EbpfSectionKind::BtfMaps);
        let maps = object
            .maps
            .iter()
            .filter(|(name, map)| kept(map.section_kind()) && !OWN.contains(&name.as_str()));
        let mut maps: Vec<_> = maps.collect();
        maps.sort_by_key(|(name, _)| *name);
        let mut digest = fnv(SHARED_DIGEST, &config.container_level.to_ne_bytes());
        for ring in [config.event_ring_bytes, config.oom_ring_bytes] {
            digest = fnv(digest, &ring.to_ne_bytes());
        }
        for (name, map) in &maps {
            digest = fnv(digest, name.as_bytes());
            let numbers =
                [map.map_type(), map.key_size(), map.value_size(), map.max_entries(), map.map_flags()];
            digest = numbers.iter().fold(digest, |digest, number| fnv(digest, &number.to_ne_bytes()));
        }
        Ok(Layout { maps: maps.into_iter().map(|(name, _)| name.clone()).collect(), digest })
    }
}

/// Where this podbox pins.
#[derive(Debug)]
pub(super) struct Pins {
    maps: PathBuf,
    links: PathBuf,
    pub found: Found,
}

impl Pins {
    /// Makes the place, and takes away what is not for this podbox.
    pub fn open(run_dir: &Path, layout: &Layout) -> io::Result<Pins> {
        let root = run_dir.join(DIRECTORY);
        mount_own(&root)?;
        let own = root.join(format!("{:016x}", layout.digest));
        let mut found = if own.exists() { Found::Same } else { Found::Nothing };
        for path in layouts(&root)?.into_iter().filter(|path| *path != own) {
            take_away(&path)?;
            // What is there beside its own was only not taken away in time.
            if found == Found::Nothing {
                found = Found::Other;
            }
        }
        let (maps, links) = (own.join("maps"), own.join("links"));
        fs::create_dir_all(&maps)?;
        fs::create_dir_all(&links)?;
        Ok(Pins { maps, links, found })
    }

    /// Where a map is pinned.
    pub fn map(&self, name: &str) -> PathBuf {
        self.maps.join(name)
    }

    /// Puts a program's link in the place of the one that is there.
    pub fn keep(&self, program: &str, link: FdLink) -> Result<(), ProgramError> {
        let (next, path) = (self.links.join(format!("{program}-next")), self.links.join(program));
        // Left by one that was killed here.
        gone(fs::remove_file(&next))?;
        // The pin alone holds it from here on.
        drop(link.pin(&next).map_err(io::Error::other)?);
        Ok(fs::rename(&next, &path)?)
    }

    /// Detaches a program, if it is attached.
    pub fn detach(&self, program: &str) -> io::Result<()> {
        gone(fs::remove_file(self.links.join(program)))
    }

    /// Detaches the programs of an earlier podbox that this one has not.
    pub fn detach_others(&self, programs: &[&str]) -> io::Result<()> {
        for entry in fs::read_dir(&self.links)? {
            let entry = entry?;
            if !programs.iter().any(|program| entry.file_name() == *program) {
                gone(fs::remove_file(entry.path()))?;
            }
        }
        Ok(())
    }
}

/// Takes away whatever is pinned for this run directory, and with it what nobody else holds. What is not there is done.
pub fn remove(run_dir: &Path) -> io::Result<()> {
    let root = run_dir.join(DIRECTORY);
    if !is_own(&root)? {
        return gone(fs::remove_dir(&root));
    }
    layouts(&root)?.iter().try_for_each(|layout| take_away(layout))?;
    match umount2(&root, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    gone(fs::remove_dir(&root))
}

/// A directory that is gone when the calling thread is, with all that is pinned below it.
pub(super) fn scratch() -> io::Result<PathBuf> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    let dir = Path::new("/tmp");
    mount(Some("podbox-try"), dir, Some("tmpfs"), MsFlags::empty(), Some("mode=0700"))?;
    Ok(dir.to_owned())
}

fn mount_own(root: &Path) -> io::Result<()> {
    fs::create_dir_all(root)?;
    if !is_own(root)? {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("podbox-bpf"), root, Some("bpf"), flags, Some("mode=0700"))?;
    }
    // Unbindable is private too. Repeated, for an earlier podbox may have ended between the two.
    Ok(mount(None::<&str>, root, None::<&str>, MsFlags::MS_UNBINDABLE, None::<&str>)?)
}

/// Whether it is a mount of its own, and of the right kind.
fn is_own(root: &Path) -> io::Result<bool> {
    let here = match fs::metadata(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        found => found?.dev(),
    };
    let above = fs::metadata(root.join(".."))?.dev();
    Ok(here != above && statfs(root)?.filesystem_type() == BPF_FS_MAGIC)
}

/// Directories of layouts; some kernels put files of their own beside them.
fn layouts(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Removes a layout's directory. Links first: what writes into maps goes before they do.
fn take_away(layout: &Path) -> io::Result<()> {
    for below in ["links", "maps"] {
        let below = layout.join(below);
        let entries = match fs::read_dir(&below) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            gone(fs::remove_file(entry?.path()))?;
        }
        gone(fs::remove_dir(&below))?;
    }
    gone(fs::remove_dir(layout))
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_is_of_this_level_and_of_these_rings() {
        let of = |config: &TraceConfig| Layout::of(super::super::load::OBJECT, config).unwrap();
        let usual = TraceConfig::new(4);
        let (first, again) = (of(&usual), of(&TraceConfig::new(4)));
        assert_eq!((first.digest, &first.maps), (again.digest, &again.maps));
        assert!(first.maps.iter().any(|name| name == "VICTIMS"), "{:?}", first.maps);
        let own = |name: &String| name.starts_with('.') || OWN.contains(&name.as_str());
        assert!(!first.maps.iter().any(own), "{:?}", first.maps);
        assert_ne!(first.digest, of(&TraceConfig::new(5)).digest);
        assert_ne!(first.digest, of(&TraceConfig { oom_ring_bytes: 4096, ..usual }).digest);
    }
}

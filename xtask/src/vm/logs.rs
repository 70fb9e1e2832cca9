//! The consoles of machines that failed: kept to be read, but not for ever.

use std::path::{Path, PathBuf};

/// How many of them are kept.
const KEPT: usize = 10;

/// Removes all but the newest consoles in `dir`. Those of processes that still run are no failures yet, and stay.
pub fn prune(dir: &Path) {
    let mut ended: Vec<_> = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| owner(path).is_some_and(|pid| !Path::new("/proc").join(pid).exists()))
        .filter_map(|path| Some((std::fs::metadata(&path).ok()?.modified().ok()?, path)))
        .collect();
    ended.sort();
    let surplus = ended.len().saturating_sub(KEPT);
    for (_, path) in ended.drain(..surplus) {
        std::fs::remove_file(path).ok();
    }
}

/// The process whose machine's console this is: `console-PID-NUMBER.log`.
fn owner(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?.strip_prefix("console-")?.strip_suffix(".log")?;
    let pid = name.split_once('-')?.0;
    pid.bytes().all(|byte| byte.is_ascii_digit()).then(|| PathBuf::from(pid))
}

#[cfg(test)]
mod tests {
    use super::{KEPT, prune};
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn the_newest_failures_and_the_running_machines_stay() {
        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str, second: u64| {
            let file = std::fs::File::create(dir.path().join(name)).unwrap();
            file.set_modified(UNIX_EPOCH + Duration::from_secs(second)).unwrap();
        };
        // Above the highest process id that Linux gives.
        let gone = |number: usize| format!("console-{}-0.log", 5_000_000 + number);
        for number in 0..KEPT + 3 {
            make(&gone(number), 100 + number as u64);
        }
        let running = format!("console-{}-0.log", std::process::id());
        make(&running, 1);
        make("results-1", 1);
        prune(dir.path());
        let there = |name: &str| dir.path().join(name).exists();
        assert_eq!((0..KEPT + 3).filter(|number| !there(&gone(*number))).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(there(&running) && there("results-1"));
    }
}

//! The API's store under what hosts do to it: kill -9 at any moment, a full disk, damaged files.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use podbox::store::{DiskError, Expected, Key, Revision, Store, WriteError};
use podbox_tests::needs;
use podbox_tests::rounds::{self, Random};

/// Tells the program, when the test starts itself again, to be the writer that is killed.
const VICTIM: &str = "PODBOX_STORE_VICTIM";
const WRITERS: usize = 8;
const KEYS: u64 = 12;

fn key(writer: usize, number: u64) -> Key {
    Key::new(&format!("writer-{writer}"), &format!("object-{}", number % KEYS))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("threads can be started")
}

/// Writes until it is killed, and tells of each write once it is acknowledged: `writer number revision`.
async fn write_for_ever(dir: PathBuf, first: u64) {
    let store = Store::open(&dir).expect("the store opens after any kill");
    let writer = |writer: usize, store: Store| async move {
        for number in first.. {
            let key = key(writer, number);
            let body = format!("{number} {}", "x".repeat((number * 37 % 4000) as usize));
            let put = store.put("things", &key, Expected::Any, move |_| body.into_bytes().into());
            let revision = put.await.expect("the disk has room").revision;
            writeln!(std::io::stdout(), "ack {writer} {number} {revision}").expect("someone listens");
            if number % 5 == 4 {
                let gone =
                    store.delete("things", &key, Expected::Revision(revision), |_| "gone".into()).await;
                let revision = gone.expect("nobody else writes it").revision;
                writeln!(std::io::stdout(), "ack {writer} {number} {revision} gone")
                    .expect("someone listens");
            }
        }
    };
    let writers: Vec<_> = (0..WRITERS).map(|n| tokio::spawn(writer(n, store.clone()))).collect();
    for writer in writers {
        writer.await.expect("a writer goes on for ever");
    }
}

/// What a writer did last to a key, as it was told.
type Acknowledged = BTreeMap<Key, (u64, Revision, bool)>;

/// Starts the victim, kills it after some acknowledgements and a moment, and adds what it had told.
fn kill_after(dir: &Path, first: u64, acks: u64, spin: u64, told: &mut Acknowledged) -> u64 {
    let this = std::env::current_exe().expect("a running program has a path");
    let mut child = Command::new(this)
        .args(["--exact", "the_victim", "--nocapture", "--test-threads=1"])
        .env(VICTIM, dir)
        .env("PODBOX_STORE_FIRST", first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the test starts itself");
    let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let mut count = 0;
    let mut last = first;
    for line in lines {
        let Ok(line) = line else { break };
        let words: Vec<&str> = line.split(' ').collect();
        let ["ack", writer, number, revision, ref rest @ ..] = words[..] else { continue };
        // A line that the kill cut short was not told.
        let (Ok(writer), Ok(number), Ok(revision)) =
            (writer.parse::<usize>(), number.parse::<u64>(), revision.parse::<Revision>())
        else {
            continue;
        };
        let newest = told.entry(key(writer, number)).or_insert((0, 0, false));
        if revision > newest.1 {
            *newest = (number, revision, *rest == ["gone"]);
        }
        last = last.max(number);
        count += 1;
        if count == acks {
            // Anywhere in the next transactions, not only at the end of one.
            (0..spin).for_each(|_| std::hint::spin_loop());
            child.kill().expect("it is our child");
        }
    }
    child.wait().expect("it is our child");
    assert!(count >= acks, "the victim ended by itself");
    last + 1
}

fn assert_kept(store: &Store, told: &Acknowledged) {
    let page = store.list("things", None, None, 0, None).expect("the newest revision is known");
    for (key, (number, revision, gone)) in told {
        assert!(store.revision() >= *revision, "{key}: revision {revision} was told");
        match store.get("things", key) {
            None => assert!(*gone || number % 5 == 4, "{key}: write {number} was acknowledged, and is lost"),
            Some(entry) => {
                // The last write may have been made durable without being told; an older one means a loss.
                assert!(entry.revision >= *revision, "{key}: it went back behind revision {revision}");
                let text = std::str::from_utf8(&entry.bytes).expect("it was text");
                let (number, body) = text.split_once(' ').expect("a number comes first");
                let number: u64 = number.parse().expect("a number comes first");
                assert_eq!(body.len() as u64, number * 37 % 4000, "{key}: half a write");
            }
        }
    }
    let mut revisions: Vec<Revision> = page.entries.iter().map(|entry| entry.revision).collect();
    revisions.sort_unstable();
    assert!(revisions.windows(2).all(|pair| pair[0] < pair[1]), "no two objects have one revision");
    assert!(revisions.last() <= Some(&store.revision()));
}

/// Not a test by itself: what [`kill_after`] starts and kills.
#[test]
fn the_victim() {
    let Some(dir) = std::env::var_os(VICTIM) else { return };
    let first = std::env::var("PODBOX_STORE_FIRST").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    runtime().block_on(write_for_ever(dir.into(), first));
}

#[test]
fn a_store_killed_at_seeded_moments_has_every_acknowledged_write() {
    let Some(()) = needs::host("a_store_killed_at_seeded_moments_has_every_acknowledged_write") else {
        return;
    };
    let dir = tempfile::tempdir().expect("there is room");
    let mut told = Acknowledged::new();
    let mut first = 0;
    for seed in rounds::seeds(24) {
        let mut random = Random::new(seed);
        first = kill_after(dir.path(), first, 1 + random.below(400), random.below(400_000), &mut told);
        let store = Store::open(dir.path()).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        println!("seed {seed}: revision {}", store.revision());
        assert_kept(&store, &told);
        runtime().block_on(store.close());
    }
}

async fn put(store: &Store, name: &str, size: usize) -> Result<(), WriteError> {
    let body = vec![b'x'; size];
    store.put("things", &Key::new("", name), Expected::Any, move |_| body.into()).await.map(drop)
}

#[test]
fn a_full_disk_refuses_writes_and_nothing_else() {
    let test = "a_full_disk_refuses_writes_and_nothing_else";
    let Some(()) = needs::root(test) else { return };
    let dir = tempfile::tempdir().expect("there is room");
    // This thread's own mounts, and those of the threads that it starts.
    unshare(CloneFlags::CLONE_NEWNS).expect("root may");
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("root may");
    let tmpfs = |flags, size: &str| mount(Some("tmpfs"), dir.path(), Some("tmpfs"), flags, Some(size));
    tmpfs(MsFlags::empty(), "size=6m").expect("root may");
    let data = dir.path().join("store");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("it needs nothing");
    runtime.block_on(async {
        let store = Store::open(&data).expect("there is room yet");
        let mut kept = 0;
        let error = loop {
            match put(&store, &format!("object-{kept}"), 20_000).await {
                Ok(()) => kept += 1,
                Err(error) => break error,
            }
        };
        assert!(kept > 10, "only {kept} objects fit into 6 MB");
        let WriteError::Disk(error) = error else { panic!("{error}") };
        assert!(matches!(*error, DiskError::Full { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("disk is full") && text.contains("objects.redb"), "{text}");
        // Again and again: it neither dies nor forgets.
        for _ in 0..5 {
            assert!(put(&store, "too-much", 400_000).await.is_err());
        }
        let revision = store.revision();
        let page = store.list("things", None, None, 0, None).expect("the newest is known");
        assert_eq!((page.entries.len(), page.revision), (kept, revision));
        // A new process on the full disk.
        store.close().await;
        let store = Store::open(&data).expect("a full disk is no reason not to start");
        assert_eq!((store.counts()[0].1, store.revision()), (kept, revision));
        assert!(put(&store, "too-much", 2_000_000).await.is_err());
        tmpfs(MsFlags::MS_REMOUNT, "size=40m").expect("root may");
        put(&store, "enough", 2_000_000).await.expect("there is room now");
        assert_eq!(store.revision(), revision + 1, "revisions have no gap for what was refused");
        store.close().await;
        let store = Store::open(&data).expect("it was closed");
        assert_eq!(store.counts()[0].1, kept + 1);
        store.close().await;
    });
}

#[test]
fn a_damaged_file_is_one_clear_error_or_no_loss_at_seeded_places() {
    let Some(()) = needs::host("a_damaged_file_is_one_clear_error_or_no_loss_at_seeded_places") else {
        return;
    };
    let dir = tempfile::tempdir().expect("there is room");
    let path = dir.path().join("objects.redb");
    runtime().block_on(async {
        let store = Store::open(dir.path()).expect("there is room");
        for number in 0..200 {
            put(&store, &format!("object-{number}"), 3000).await.expect("there is room");
        }
        store.close().await;
    });
    let whole = fs::read(&path).expect("it was written");
    for seed in rounds::seeds(60) {
        let mut random = Random::new(seed);
        let mut bytes = whole.clone();
        let length = bytes.len() as u64;
        let what = match random.below(3) {
            0 => {
                bytes.truncate(random.below(length) as usize);
                format!("cut to {}", bytes.len())
            }
            1 => {
                let at = random.below(length) as usize;
                bytes[at] ^= 1 << random.below(8);
                format!("a bit at {at}")
            }
            _ => {
                let at = (random.below(length / 4096) * 4096) as usize;
                bytes[at..at + 4096].fill(0);
                format!("a page of zeroes at {at}")
            }
        };
        fs::write(&path, &bytes).expect("there is room");
        match Store::open(dir.path()) {
            // What was hit is not in use, or redb keeps it twice. An empty file is a new store.
            Ok(store) if bytes.is_empty() => drop(store),
            Ok(store) => {
                let page = store.list("things", None, None, 0, None).expect("the newest is known");
                let sound = page.entries.iter().all(|entry| entry.bytes.iter().all(|byte| *byte == b'x'));
                assert!(
                    sound && page.entries.len() == 200,
                    "seed {seed}, {what}: damage was read as if it were right"
                );
                runtime().block_on(store.close());
            }
            Err(error) => {
                let text = error.to_string();
                assert!(text.contains("objects.redb"), "seed {seed}, {what}: {text}");
                assert!(matches!(error, DiskError::Damaged { .. }), "seed {seed}, {what}: {error:?}");
            }
        }
    }
}

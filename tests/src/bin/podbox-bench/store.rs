//! store: the store under the API, without the server: durable creates, reads, a change's way to its watchers, the
//! start, and what is resident. Its file is in the directory for temporary files, which should be a real disk.

use crate::peers;
use crate::stats::{Report, Samples};
use anyhow::{Context, Result};
use podbox::clock;
use podbox::store::{Expected, Key, Store};
use std::fs;
use std::path::Path;
use std::time::Duration;

const COLLECTION: &str = "/configmaps";
const OBJECTS: usize = 35_000;
const BYTES: usize = 1024;

fn key(number: usize) -> Key {
    Key::new("default", &format!("config-{number:06}"))
}

/// Runs all of it.
pub async fn run() -> Result<Report> {
    let dir = tempfile::tempdir()?;
    let mut report = Report::default();
    report.line(format!("store on {}: objects of {BYTES} bytes, every write durable", peers::kernel()));
    let idle = resident()?;
    for (writers, number) in [(1, 2000), (16, 10_000), (64, 10_000)] {
        let store = Store::open(&dir.path().join(format!("creates-{writers}")))?;
        let (rate, samples) = creates(&store, writers, number).await?;
        report.table(&[samples]);
        match writers {
            16 => report.at_least("creates_16_writers", rate, "per s", 15_000.0),
            _ => report.line(format!("{writers} writers: {rate:.0} creates per s")),
        }
        store.close().await;
    }
    let large = dir.path().join("large");
    let store = Store::open(&large)?;
    creates(&store, 16, OBJECTS).await?;
    report.at_most("resident_35000_objects", (resident()? - idle) / 1024.0, "MB more", 90.0);
    reads(&store, &mut report)?;
    fan_out(&store, 100, &mut report).await?;
    fan_out(&store, 10_000, &mut report).await?;
    start(&store, &large, &dir.path().join("killed"), &mut report).await?;
    Ok(report)
}

async fn creates(store: &Store, writers: usize, number: usize) -> Result<(f64, Samples)> {
    let began = clock::instant();
    let writer = |writer: usize, store: Store| async move {
        let mut times = Vec::new();
        for number in (writer..number).step_by(writers) {
            let began = clock::instant();
            let body = vec![b'x'; BYTES];
            store.put(COLLECTION, &key(number), Expected::Absent, |_| body.into()).await?;
            times.push(clock::instant() - began);
        }
        anyhow::Ok(times)
    };
    let tasks: Vec<_> = (0..writers).map(|n| tokio::spawn(writer(n, store.clone()))).collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await??);
    }
    let rate = number as f64 / (clock::instant() - began).as_secs_f64();
    Ok((rate, Samples::new(&format!("create, {writers} writers"), times)))
}

fn reads(store: &Store, report: &mut Report) -> Result<()> {
    let began = clock::instant();
    let found = (0..OBJECTS).filter(|number| store.get(COLLECTION, &key(*number)).is_some()).count();
    let rate = found as f64 / (clock::instant() - began).as_secs_f64();
    report.line(format!("{rate:.0} gets per s on one thread"));
    let mut lists = Vec::new();
    for _ in 0..20 {
        let began = clock::instant();
        store.list(COLLECTION, None, None, 0, None)?;
        lists.push(clock::instant() - began);
    }
    report.table(&[Samples::new("list of 35,000", lists)]);
    Ok(())
}

/// From the call that writes to the change in every watcher's hands.
async fn fan_out(store: &Store, watchers: usize, report: &mut Report) -> Result<()> {
    let (seen, mut receive) = tokio::sync::mpsc::unbounded_channel();
    let mut tasks = Vec::new();
    for _ in 0..watchers {
        let mut watch = store.watch(COLLECTION, None, store.revision())?;
        let seen = seen.clone();
        tasks.push(tokio::spawn(async move {
            while let Ok(batch) = watch.next().await {
                if seen.send((batch.revision, clock::instant())).is_err() {
                    return;
                }
            }
        }));
    }
    let (mut times, mut writes) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        let began = clock::instant();
        let body = vec![b'y'; BYTES];
        store.put(COLLECTION, &key(0), Expected::Any, |_| body.into()).await?;
        writes.push(clock::instant() - began);
        for _ in 0..watchers {
            let (_, at) = receive.recv().await.context("the watchers go on")?;
            times.push(at - began);
        }
    }
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    let times = Samples::new(&format!("write to {watchers} watchers"), times);
    if watchers == 100 {
        report.at_most("fan_out_100_watchers_p99", times.p99_ms(), "ms", 5.0);
    }
    report.table(&[times, Samples::new("the write itself", writes)]);
    Ok(())
}

/// Of 10,000 and of all objects, after a clean end and after a kill: a copy of the open file is what a kill leaves.
async fn start(store: &Store, dir: &Path, copy: &Path, report: &mut Report) -> Result<()> {
    let small = copy.with_file_name("small");
    let ten = Store::open(&small)?;
    creates(&ten, 64, 10_000).await?;
    for (store, dir, number) in [(&ten, small.as_path(), 10_000), (store, dir, OBJECTS)] {
        fs::create_dir_all(copy)?;
        fs::copy(dir.join("objects.redb"), copy.join("objects.redb"))?;
        let (killed, opened) = timed(copy)?;
        report
            .line(format!("start with {number} objects after a kill: {:.1} ms", killed.as_secs_f64() * 1e3));
        opened.close().await;
        let (clean, opened) = timed(copy)?;
        report.line(format!("start with {number} objects: {:.1} ms", clean.as_secs_f64() * 1e3));
        opened.close().await;
        if number == 10_000 {
            report.at_most("start_10000_objects_killed", killed.as_secs_f64() * 1e3, "ms", 200.0);
        }
        store.close().await;
    }
    Ok(())
}

fn timed(dir: &Path) -> Result<(Duration, Store)> {
    let began = clock::instant();
    let store = Store::open(dir)?;
    Ok((clock::instant() - began, store))
}

/// Kilobytes of this process.
fn resident() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("the kernel tells it")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

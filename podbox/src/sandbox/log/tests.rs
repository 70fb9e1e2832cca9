//! A pump that dies between any two of its steps, or inside one, loses nothing and writes nothing twice.

use super::cri::Name;
use super::file::LogFile;
use super::journal::Journal;
use super::transfer::{Channel, Outcome, Transfer};
use super::*;
use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use tempfile::TempDir;

/// What the keeper holds for one container, and the container's ends.
struct Bench {
    dir: TempDir,
    streams: [(OwnedFd, OwnedFd, OwnedFd); 2],
    writers: [Option<File>; 2],
}

impl Bench {
    fn new() -> Bench {
        let pipe = || pipe2(OFlag::O_CLOEXEC).unwrap();
        let [(out, out_write), (err, err_write)] = [pipe(), pipe()];
        let [(a, b), (c, d)] = [pipe(), pipe()];
        Bench {
            dir: TempDir::new().unwrap(),
            streams: [(out, a, b), (err, c, d)],
            writers: [Some(out_write.into()), Some(err_write.into())],
        }
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("pod/c/0.log")
    }

    fn spec(&self) -> LogSpec {
        let stream = |at: usize| {
            let (source, read, write) = &self.streams[at];
            Stream {
                source: source.try_clone().unwrap(),
                staging_read: read.try_clone().unwrap(),
                staging_write: write.try_clone().unwrap(),
            }
        };
        LogSpec {
            path: self.path(),
            stdout: stream(0),
            stderr: stream(1),
            journal: self.dir.path().join("journal"),
            taps: Taps::default(),
        }
    }

    /// A new daemon's pump over the keeper's descriptors.
    fn transfer(&self) -> Transfer {
        let spec = self.spec();
        let channel = |s: Stream| Channel::new(Arc::new(s.source), s.staging_read, s.staging_write);
        Transfer::new(spec.path, spec.journal, [channel(spec.stdout), channel(spec.stderr)], spec.taps)
            .unwrap()
    }

    fn write(&mut self, name: Name, bytes: &[u8]) {
        self.writers[name as usize].as_mut().unwrap().write_all(bytes).unwrap();
    }

    fn end(&mut self) {
        self.writers = [None, None];
    }

    /// Runs a fresh pump over both streams until they give no more.
    fn finish(&self) {
        let mut transfer = self.transfer();
        for name in [Name::Stdout, Name::Stderr] {
            while transfer.chunk(name, false).unwrap() == Outcome::Moved {}
        }
    }

    /// `STREAM TAG CONTENT` of each entry.
    fn log(&self) -> Vec<String> {
        contents(&self.path())
    }
}

fn contents(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let entry = |line: &str| {
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.parse::<jiff::Timestamp>().is_ok() && time.ends_with('Z'), "not a time: {time}");
        rest.to_owned()
    };
    text.lines().map(entry).collect()
}

/// Where a daemon dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Death {
    BeforeAnnounce,
    AfterAnnounce,
    AfterStage,
    InsideWrite,
    AfterWrite,
    AfterSettle,
    InsideDrain,
    AfterDrain,
}

const DEATHS: [Death; 8] = [
    Death::BeforeAnnounce,
    Death::AfterAnnounce,
    Death::AfterStage,
    Death::InsideWrite,
    Death::AfterWrite,
    Death::AfterSettle,
    Death::InsideDrain,
    Death::AfterDrain,
];

/// The steps of `Transfer::chunk`, up to a death.
fn chunk_until(bench: &Bench, name: Name, death: Death) {
    let mut transfer = bench.transfer();
    let (mut file, mut journal): (LogFile, Journal) = transfer.recover().unwrap();
    if death == Death::BeforeAnnounce {
        return;
    }
    transfer.announce(&mut file, &mut journal).unwrap();
    if death == Death::AfterAnnounce {
        return;
    }
    let moved = transfer.stage(name).unwrap();
    if death == Death::AfterStage {
        return;
    }
    let composed = transfer.compose(name, moved).unwrap();
    if composed.consumed == 0 {
        return;
    }
    if death == Death::InsideWrite {
        return file.append(&composed.text[..composed.text.len() / 2]).unwrap();
    }
    file.append(&composed.text).unwrap();
    if death == Death::AfterWrite {
        return;
    }
    transfer.settle(name, composed.kept, &mut journal).unwrap();
    if death == Death::AfterSettle {
        return;
    }
    if death == Death::InsideDrain {
        return transfer.drain(name, composed.kept + composed.consumed as u64 / 2).unwrap();
    }
    transfer.drain(name, composed.kept).unwrap();
}

#[test]
fn a_death_at_any_step_loses_nothing_and_repeats_nothing() {
    for first in DEATHS {
        for second in DEATHS {
            let mut bench = Bench::new();
            bench.write(Name::Stdout, b"one\ntwo\nthr");
            chunk_until(&bench, Name::Stdout, first);
            bench.write(Name::Stderr, b"oops\n");
            bench.write(Name::Stdout, b"ee\nfour");
            chunk_until(&bench, Name::Stdout, second);
            chunk_until(&bench, Name::Stderr, first);
            bench.end();
            bench.finish();
            let log = bench.log();
            let of = |word: &str| -> Vec<String> {
                log.iter().filter_map(|line| line.strip_prefix(word).map(str::to_owned)).collect()
            };
            let deaths = format!("dying {first:?}, then {second:?}: {log:#?}");
            assert_eq!(of("stdout "), ["F one", "F two", "F three", "P four"], "{deaths}");
            assert_eq!(of("stderr "), ["F oops"], "{deaths}");
        }
    }
}

#[test]
fn a_line_in_pieces_is_one_entry() {
    let mut bench = Bench::new();
    let mut transfer = bench.transfer();
    for piece in ["a ", "line ", "in pieces", "\n"] {
        bench.write(Name::Stdout, piece.as_bytes());
        while transfer.chunk(Name::Stdout, false).unwrap() == Outcome::Moved {}
    }
    assert_eq!(bench.log(), ["stdout F a line in pieces"]);
}

#[test]
fn more_pieces_than_a_pipe_has_slots_become_partial_entries() {
    let mut bench = Bench::new();
    let mut transfer = bench.transfer();
    let pieces = limits::LOG_STAGING_BYTES / 4096 * 3;
    for _ in 0..pieces {
        bench.write(Name::Stdout, b".");
        while transfer.chunk(Name::Stdout, false).unwrap() == Outcome::Moved {}
    }
    bench.end();
    while transfer.chunk(Name::Stdout, false).unwrap() == Outcome::Moved {}
    let log = bench.log();
    let joined: String = log.iter().map(|line| line.strip_prefix("stdout P ").unwrap()).collect();
    assert_eq!(joined, ".".repeat(pieces));
}

#[test]
fn a_long_line_is_cut_where_containerd_cuts_it() {
    let mut bench = Bench::new();
    let mut transfer = bench.transfer();
    let long = "x".repeat(limits::LOG_ENTRY_BYTES * 2 + 5);
    for half in [&long[..20_000], &long[20_000..], "\n"] {
        bench.write(Name::Stdout, half.as_bytes());
        while transfer.chunk(Name::Stdout, false).unwrap() == Outcome::Moved {}
    }
    let full = "x".repeat(limits::LOG_ENTRY_BYTES);
    assert_eq!(
        bench.log(),
        [format!("stdout P {full}"), format!("stdout P {full}"), "stdout F xxxxx".to_owned()]
    );
}

#[test]
fn a_full_file_is_rotated_and_the_oldest_goes() {
    let bench = Bench::new();
    let mut file = LogFile::open(&bench.path()).unwrap();
    let now: jiff::Timestamp = "2024-01-01T00:00:00Z".parse().unwrap();
    let page = vec![b'x'; limits::LOG_FILE_BYTES as usize];
    for _ in 0..limits::LOG_FILES + 2 {
        file.append(&page).unwrap();
        file.rotate(now).unwrap();
    }
    let mut names: Vec<_> = fs::read_dir(bench.path().parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "0.log",
            "0.log.20240101-000003",
            "0.log.20240101-000004",
            "0.log.20240101-000005",
            "0.log.20240101-000006"
        ]
    );
}

#[tokio::test]
async fn both_streams_end_up_on_file_in_order() {
    let mut bench = Bench::new();
    let mut pump = spawn(bench.spec()).unwrap();
    let [out, err] = std::mem::take(&mut bench.writers);
    let write = |file: Option<File>, count: usize| {
        move || {
            let mut file = file.unwrap();
            (0..count).for_each(|at| writeln!(file, "line {at}").unwrap());
        }
    };
    let threads = [std::thread::spawn(write(out, 20_000)), std::thread::spawn(write(err, 5_000))];
    pump.done().await;
    pump.done().await;
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let log = bench.log();
    for (word, count) in [("stdout", 20_000), ("stderr", 5_000)] {
        let lines: Vec<_> = log.iter().filter(|line| line.starts_with(word)).collect();
        let expected: Vec<_> = (0..count).map(|at| format!("{word} F line {at}")).collect();
        assert!(lines.into_iter().eq(expected.iter()), "the {word} lines are not those written");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pumps_that_replace_each_other_at_any_moment_write_each_line_once() {
    let mut bench = Bench::new();
    let mut out = bench.writers[Name::Stdout as usize].take().unwrap();
    bench.end();
    let writer = std::thread::spawn(move || (0..50_000).for_each(|at| writeln!(out, "line {at}").unwrap()));
    while !writer.is_finished() {
        drop(spawn(bench.spec()).unwrap());
        tokio::task::yield_now().await;
    }
    writer.join().unwrap();
    spawn(bench.spec()).unwrap().done().await;
    let expected = (0..50_000).map(|at| format!("stdout F line {at}"));
    assert!(bench.log().into_iter().eq(expected), "the lines are not those written");
}

#[tokio::test]
async fn a_pump_that_takes_over_writes_what_was_staged_while_the_container_is_silent() {
    let mut bench = Bench::new();
    bench.write(Name::Stdout, b"said before the daemon died\n");
    chunk_until(&bench, Name::Stdout, Death::AfterStage);
    let mut pump = spawn(bench.spec()).unwrap();
    bench.end();
    pump.done().await;
    assert_eq!(bench.log(), ["stdout F said before the daemon died"]);
}

#[test]
fn a_log_that_could_not_be_written_is_whole_once_it_can() {
    let mut bench = Bench::new();
    // A file where the log's directory should be: every attempt fails until it is gone.
    let obstacle = bench.dir.path().join("pod");
    fs::write(&obstacle, "").unwrap();
    bench.write(Name::Stdout, b"kept\n");
    let mut transfer = bench.transfer();
    transfer.chunk(Name::Stdout, false).unwrap_err();
    transfer.chunk(Name::Stdout, false).unwrap_err();
    fs::remove_file(&obstacle).unwrap();
    assert_eq!(transfer.chunk(Name::Stdout, false).unwrap(), Outcome::Moved);
    assert_eq!(bench.log(), ["stdout F kept"]);
}

#[tokio::test]
async fn the_log_of_a_container_that_said_nothing_yet_can_be_read() {
    let bench = Bench::new();
    // One thread: what the pump does of its own has not begun.
    let pump = spawn(bench.spec()).unwrap();
    assert_eq!(bench.log(), [""; 0]);
    drop(pump);
}

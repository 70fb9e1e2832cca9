//! Reads container logs for people: the entries of the CRI's format as the lines that were written.
//!
//! A reader that follows waits for the file to grow by inotify, and goes on in the next file when the log is
//! rotated. It reads the newest file only: what was rotated away before it began is for whoever collects logs.
//!
//! **Invariant:** a reader holds one chunk of a log, however long the log is and however slow its client.

use crate::api::identity::PodRef;
use crate::api::logs::{LogOptions, Logs};
use crate::api::object;
use crate::api::status::ApiError;
use crate::limits;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

/// The logs below a directory, laid out as the CRI has them.
pub struct NodeLogs {
    dir: PathBuf,
    views: Arc<dyn Fn() -> watch::Receiver<super::view::Rows> + Send + Sync>,
}

impl NodeLogs {
    /// Logs below `dir`; `views` tells when a run is over.
    pub fn new(
        dir: PathBuf,
        views: impl Fn() -> watch::Receiver<super::view::Rows> + Send + Sync + 'static,
    ) -> Self {
        NodeLogs { dir, views: Arc::new(views) }
    }

    /// Where a run's log is.
    fn path(&self, pod: &PodRef, options: &LogOptions) -> PathBuf {
        let name = format!("{}_{}_{}", pod.namespace, pod.name, pod.uid);
        self.dir.join(name).join(&options.container).join(format!("{}.log", options.attempt))
    }
}

impl Logs for NodeLogs {
    fn open(&self, pod: &PodRef, options: LogOptions) -> Result<BoxStream<'static, Bytes>, ApiError> {
        let path = self.path(pod, &options);
        let failed = |error: io::Error| {
            ApiError::internal(format!("reading the log {} failed: {error}", path.display()))
        };
        let mut file = File::open(&path).map_err(failed)?;
        if let Some(lines) = options.tail {
            seek_tail(&mut file, lines).map_err(failed)?;
        }
        let waiter = match options.follow {
            true => Some(Waiter::new(&path).map_err(failed)?),
            false => None,
        };
        let reader = Reader {
            left: options.limit,
            options,
            path,
            pod: pod.clone(),
            file: BufReader::new(file),
            half: Vec::new(),
            starts: true,
            waiter,
            views: (self.views)(),
            over: false,
        };
        let stream = futures_util::stream::unfold(reader, |mut reader| async move {
            let bytes = reader.next().await?;
            Some((bytes, reader))
        });
        Ok(stream.boxed())
    }
}

/// Puts a file's cursor where its last so many entries begin.
fn seek_tail(file: &mut File, lines: usize) -> io::Result<()> {
    use std::io::Read;
    const STEP: u64 = 64 << 10;
    let mut end = file.metadata()?.len();
    let mut found = 0;
    let mut chunk = Vec::new();
    let length = end;
    while end > 0 {
        let start = end.saturating_sub(STEP);
        chunk.resize((end - start) as usize, 0);
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut chunk)?;
        for (index, byte) in chunk.iter().enumerate().rev() {
            let at = start + index as u64;
            // The last byte ends the last line.
            if *byte == b'\n' && at + 1 != length {
                found += 1;
            }
            if found == lines && *byte == b'\n' || lines == 0 {
                return file.seek(SeekFrom::Start(if lines == 0 { length } else { at + 1 })).map(drop);
            }
        }
        end = start;
    }
    file.rewind()
}

/// The content of the last `lines` entries of a log file, of that the last `bytes` bytes.
pub fn tail(path: &Path, lines: usize, bytes: usize) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    seek_tail(&mut file, lines)?;
    let mut text = BytesMut::new();
    for entry in BufReader::new(file).split(b'\n') {
        let entry = entry?;
        let mut parts = entry.splitn(4, |byte| *byte == b' ').skip(2);
        let (Some(tag), Some(content)) = (parts.next(), parts.next()) else { continue };
        text.put_slice(content);
        if tag == b"F" {
            text.put_u8(b'\n');
        }
        let more = text.len().saturating_sub(bytes);
        text.advance(more);
    }
    Ok(text.to_vec())
}

/// Wakes when a file grows or is rotated.
struct Waiter {
    events: AsyncFd<OwnedFd>,
}

impl Waiter {
    fn new(path: &Path) -> io::Result<Waiter> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let flags = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_DELETE_SELF;
        inotify.add_watch(path, flags)?;
        let fd = inotify.as_fd().try_clone_to_owned()?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe for types whose descriptor may change; this does not"
        )]
        let events = AsyncFd::with_interest(fd, Interest::READABLE)?;
        Ok(Waiter { events })
    }

    async fn wait(&self) {
        let Ok(mut ready) = self.events.readable().await else { return };
        // What happened does not matter: the file is looked at again.
        let mut buffer = [0; 4096];
        while nix::unistd::read(self.events.get_ref(), &mut buffer).is_ok_and(|count| count > 0) {}
        ready.clear_ready();
    }
}

struct Reader {
    options: LogOptions,
    path: PathBuf,
    pod: PodRef,
    file: BufReader<File>,
    /// The beginning of an entry whose end is not on file yet.
    half: Vec<u8>,
    /// Whether the next content begins a line.
    starts: bool,
    left: Option<usize>,
    waiter: Option<Waiter>,
    views: watch::Receiver<super::view::Rows>,
    /// The run is over: what is on file is all there will be.
    over: bool,
}

impl Reader {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.left == Some(0) {
                return None;
            }
            let bytes = match self.chunk() {
                Ok(bytes) => bytes,
                Err(error) => {
                    tracing::warn!("reading the log {} failed: {error}", self.path.display());
                    return None;
                }
            };
            if !bytes.is_empty() {
                return Some(bytes);
            }
            if self.rotated() {
                continue;
            }
            match &self.waiter {
                None => return None,
                Some(_) if self.over => return None,
                Some(waiter) => {
                    // Looked at before waiting and after the file: what was written before the end is read.
                    if ended(&self.views.borrow_and_update(), &self.pod, &self.options) {
                        self.over = true;
                        continue;
                    }
                    tokio::select! {
                        () = waiter.wait() => {}
                        changed = self.views.changed() => self.over |= changed.is_err(),
                    }
                }
            }
        }
    }

    /// Goes on in the file that took this one's place, if there is one.
    fn rotated(&mut self) -> bool {
        let here = self.file.get_ref().metadata().map(|metadata| metadata.ino());
        let there = std::fs::metadata(&self.path).map(|metadata| metadata.ino());
        match (here, there) {
            (Ok(here), Ok(there)) if here != there && self.waiter.is_some() => {
                let next = File::open(&self.path).and_then(|file| Ok((file, Waiter::new(&self.path)?)));
                let Ok((file, waiter)) = next else { return false };
                (self.file, self.waiter) = (BufReader::new(file), Some(waiter));
                true
            }
            _ => false,
        }
    }

    /// What is on file, up to a chunk.
    fn chunk(&mut self) -> io::Result<Bytes> {
        let mut out = BytesMut::new();
        while out.len() < limits::LOG_CHUNK && self.left != Some(0) {
            let read = self.file.read_until(b'\n', &mut self.half)?;
            if read == 0 || self.half.last() != Some(&b'\n') {
                break;
            }
            let entry = std::mem::take(&mut self.half);
            self.entry(&entry, &mut out);
        }
        Ok(out.freeze())
    }

    /// Appends what an entry stands for.
    fn entry(&mut self, entry: &[u8], out: &mut BytesMut) {
        let mut parts = entry.splitn(4, |byte| *byte == b' ');
        let (Some(time), Some(_), Some(tag), Some(content)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return;
        };
        let time = String::from_utf8_lossy(time);
        if self.options.since.is_some_and(|since| object::read_time(&time).is_some_and(|at| at < since)) {
            return;
        }
        let whole = tag == b"F";
        let content = content.strip_suffix(b"\n").unwrap_or(content);
        let before = out.len();
        if self.options.timestamps && self.starts {
            out.put_slice(time.as_bytes());
            out.put_u8(b' ');
        }
        out.put_slice(content);
        if whole {
            out.put_u8(b'\n');
        }
        self.starts = whole;
        if let Some(left) = &mut self.left {
            let allowed = (*left).min(out.len() - before);
            out.truncate(before + allowed);
            *left -= allowed;
        }
    }
}

/// Whether nothing more will be written.
fn ended(views: &super::view::Rows, pod: &PodRef, options: &LogOptions) -> bool {
    let Some(view) = views.get(pod) else { return true };
    let status = super::view::containers(&view.status).find(|status| status.name == options.container);
    let Some(status) = status else { return view.gone };
    let running = status.state.as_ref().is_some_and(|state| state.running.is_some());
    let attempt = u32::try_from(status.restart_count).unwrap_or(0);
    view.gone || attempt > options.attempt || !running
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::view::Views;
    use std::io::Write;

    fn read(log: &str, options: LogOptions) -> String {
        let dir = tempfile::tempdir().unwrap();
        let pod = PodRef { namespace: "n".into(), name: "p".into(), uid: "u".into() };
        let path = dir.path().join("n_p_u/c/0.log");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        File::create(&path).unwrap().write_all(log.as_bytes()).unwrap();
        let views = Views::default();
        let logs = NodeLogs::new(dir.path().to_owned(), move || views.watch());
        let options = LogOptions { container: "c".into(), ..options };
        let stream = logs.open(&pod, options).unwrap();
        let chunks: Vec<Bytes> = futures_util::FutureExt::now_or_never(stream.collect()).unwrap();
        String::from_utf8(chunks.concat()).unwrap()
    }

    const LOG: &str = "2024-01-01T00:00:00.1Z stdout F one\n\
                       2024-01-01T00:00:01.1Z stderr P tw\n\
                       2024-01-01T00:00:01.2Z stderr F o\n\
                       2024-01-01T00:00:02.1Z stdout F \n\
                       2024-01-01T00:00:03.1Z stdout F three and more\n";

    #[test]
    fn entries_are_the_lines_that_were_written() {
        assert_eq!(read(LOG, LogOptions::default()), "one\ntwo\n\nthree and more\n");
    }

    #[test]
    fn the_end_of_a_log_is_cut_by_lines_and_then_by_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        File::create(&path).unwrap().write_all(LOG.as_bytes()).unwrap();
        let tail = |lines, bytes| String::from_utf8(tail(&path, lines, bytes).unwrap()).unwrap();
        assert_eq!(tail(80, 2048), "one\ntwo\n\nthree and more\n");
        assert_eq!(tail(2, 2048), "\nthree and more\n");
        assert_eq!(tail(80, 5), "more\n");
    }

    #[test]
    fn a_part_is_what_was_asked_for() {
        let part = |options: LogOptions| read(LOG, options);
        assert_eq!(part(LogOptions { tail: Some(1), ..Default::default() }), "three and more\n");
        assert_eq!(part(LogOptions { tail: Some(0), ..Default::default() }), "");
        assert_eq!(part(LogOptions { tail: Some(99), ..Default::default() }), "one\ntwo\n\nthree and more\n");
        assert_eq!(part(LogOptions { limit: Some(5), ..Default::default() }), "one\nt");
        let since = object::read_time("2024-01-01T00:00:02Z");
        assert_eq!(part(LogOptions { since, ..Default::default() }), "\nthree and more\n");
        let timestamps = LogOptions { timestamps: true, limit: Some(27), ..Default::default() };
        assert_eq!(part(timestamps), "2024-01-01T00:00:00.1Z one\n");
    }
}

//! Reads container logs for people: the entries of the CRI's format as the lines that were written.
//!
//! A reader that follows waits for the file to grow, and goes on in the next file when the log is rotated. It reads the
//! newest file only: what was rotated away before it began is for whoever collects logs. Files are read by threads that
//! may wait for the disk, never by those that everything else shares.
//!
//! **Invariant:** a reader holds one chunk of a log, however long the log is and however slow its client.

mod growth;
mod reader;

use crate::api::identity::PodRef;
use crate::api::logs::{LogOptions, Logs};
use crate::api::status::ApiError;
use crate::limits;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use growth::{Growing, Growth};
pub use reader::tail;
use reader::{Found, Text};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{Semaphore, watch};

/// The logs below a directory, laid out as the CRI has them.
pub struct NodeLogs {
    dir: PathBuf,
    views: Arc<dyn Fn() -> watch::Receiver<super::view::Rows> + Send + Sync>,
    growth: Arc<Growth>,
    /// Turns of those that read files.
    turns: Arc<Semaphore>,
}

impl NodeLogs {
    /// Logs below `dir`; `views` tells when a run is over.
    pub fn new(
        dir: PathBuf,
        views: impl Fn() -> watch::Receiver<super::view::Rows> + Send + Sync + 'static,
    ) -> Self {
        let turns = Arc::new(Semaphore::new(limits::LOG_READERS));
        NodeLogs { dir, views: Arc::new(views), growth: Arc::default(), turns }
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
        // In this order: of a file that is rotated in between, the other one is followed, and found to be another.
        let text = Text::open(path.clone(), options.clone()).map_err(failed)?;
        let growing = options.follow.then(|| self.growth.follow(&path)).transpose().map_err(failed)?;
        let reader = Reader {
            options,
            path,
            pod: pod.clone(),
            text: Some(text),
            growing,
            growth: Arc::clone(&self.growth),
            turns: Arc::clone(&self.turns),
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

/// One client's log.
struct Reader {
    options: LogOptions,
    path: PathBuf,
    pod: PodRef,
    /// None only while a thread reads it.
    text: Option<Text>,
    /// Of one that follows.
    growing: Option<Growing>,
    growth: Arc<Growth>,
    turns: Arc<Semaphore>,
    views: watch::Receiver<super::view::Rows>,
    /// The run is over: what is on file is all there will be.
    over: bool,
}

impl Reader {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            self.growing.iter_mut().for_each(Growing::seen);
            match self.look().await {
                Ok(Found::Bytes(bytes)) => return Some(bytes),
                Ok(Found::Enough) => return None,
                Ok(Found::Rotated) => self.growing = Some(self.growth.follow(&self.path).ok()?),
                Ok(Found::Quiet) if self.over => return None,
                Ok(Found::Quiet) => self.wait().await?,
                Err(error) => {
                    tracing::warn!("reading the log {} failed: {error}", self.path.display());
                    return None;
                }
            }
        }
    }

    /// Has a thread read on.
    async fn look(&mut self) -> io::Result<Found> {
        let _turn = self.turns.acquire().await.map_err(io::Error::other)?;
        let mut text = self.text.take().ok_or_else(|| io::Error::other("it was given up"))?;
        let looking = tokio::task::spawn_blocking(move || (text.read(), text));
        let (found, text) = looking.await.map_err(io::Error::other)?;
        self.text = Some(text);
        found
    }

    /// Waits for more; none, if nothing is to be waited for.
    async fn wait(&mut self) -> Option<()> {
        let growing = self.growing.as_mut()?;
        // Looked at after the file and before waiting: what was written before the end is still read.
        if ended(&self.views.borrow_and_update(), &self.pod, &self.options) {
            self.over = true;
            return Some(());
        }
        tokio::select! {
            () = growing.changed() => {}
            changed = self.views.changed() => self.over |= changed.is_err(),
        }
        Some(())
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
    use crate::api::object;
    use crate::node::view::Views;
    use std::fs::File;
    use std::io::Write;

    async fn read(log: &str, options: LogOptions) -> String {
        let dir = tempfile::tempdir().unwrap();
        let pod = PodRef { namespace: "n".into(), name: "p".into(), uid: "u".into() };
        let path = dir.path().join("n_p_u/c/0.log");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        File::create(&path).unwrap().write_all(log.as_bytes()).unwrap();
        let views = Views::default();
        let logs = NodeLogs::new(dir.path().to_owned(), move || views.watch());
        let options = LogOptions { container: "c".into(), ..options };
        let stream = logs.open(&pod, options).unwrap();
        let chunks: Vec<Bytes> = stream.collect().await;
        String::from_utf8(chunks.concat()).unwrap()
    }

    const LOG: &str = "2024-01-01T00:00:00.1Z stdout F one\n\
                       2024-01-01T00:00:01.1Z stderr P tw\n\
                       2024-01-01T00:00:01.2Z stderr F o\n\
                       2024-01-01T00:00:02.1Z stdout F \n\
                       2024-01-01T00:00:03.1Z stdout F three and more\n";

    #[tokio::test]
    async fn entries_are_the_lines_that_were_written() {
        assert_eq!(read(LOG, LogOptions::default()).await, "one\ntwo\n\nthree and more\n");
    }

    #[tokio::test]
    async fn a_part_is_what_was_asked_for() {
        let part = |options: LogOptions| read(LOG, options);
        assert_eq!(part(LogOptions { tail: Some(1), ..Default::default() }).await, "three and more\n");
        assert_eq!(part(LogOptions { tail: Some(0), ..Default::default() }).await, "");
        assert_eq!(
            part(LogOptions { tail: Some(99), ..Default::default() }).await,
            "one\ntwo\n\nthree and more\n"
        );
        assert_eq!(part(LogOptions { limit: Some(5), ..Default::default() }).await, "one\nt");
        let since = object::read_time("2024-01-01T00:00:02Z");
        assert_eq!(part(LogOptions { since, ..Default::default() }).await, "\nthree and more\n");
        let timestamps = LogOptions { timestamps: true, limit: Some(27), ..Default::default() };
        assert_eq!(part(timestamps).await, "2024-01-01T00:00:00.1Z one\n");
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
}

//! The root-only socket: what `podbox events` and its sisters ask of the podbox that runs on this host.
//!
//! | path | answer |
//! |---|---|
//! | `/events` | kernel events as JSON lines, until the client leaves |
//! | `/capabilities` | which kernel signals are live, by which backend, and why |
//! | `/probes` | the last results of each probe |
//! | `/ends` | how containers ended, and why |
//! | `/starts` | how pods came up, stage by stage |
//! | `/metrics` | the same text as on the metrics port |
//!
//! What a reader was too slow for is told in the stream as `{"missed": N}`. What the kernel found no room for is in no stream: metrics
//! have it (`podbox_kernel_events_missed_total`, `podbox_bpf_drops_total`).

use super::SOCKET;
use super::exposition::Exposition;
use super::http::{Body, Handler, full, text, with_type};
use crate::api::cause::Account;
use crate::api::probed::Row;
use crate::api::startup::Waterfall;
use crate::trace::{CapabilityReport, Tracer};
use crate::{limits, metrics};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use std::convert::Infallible;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::net::UnixListener;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

/// What the socket answers from.
pub struct Admin {
    /// Where kernel events come from; none where no BPF program could be loaded.
    pub tracer: Option<Arc<Tracer>>,
    /// Metrics.
    pub exposition: Arc<Exposition>,
    /// What came of probes of late.
    pub probes: Box<dyn Fn() -> Vec<Row> + Send + Sync>,
    /// How containers ended.
    pub ends: Box<dyn Fn() -> Vec<Account> + Send + Sync>,
    /// How pods came up.
    pub starts: Box<dyn Fn() -> Vec<Waterfall> + Send + Sync>,
    /// The capability report.
    pub capabilities: Box<dyn Fn() -> CapabilityReport + Send + Sync>,
}

/// Listens on the socket; its file is root's alone. The caller holds the host's lock, so a socket that is
/// still there is a dead daemon's.
pub fn listen(run_dir: &Path) -> io::Result<(UnixListener, PathBuf)> {
    let path = run_dir.join(SOCKET);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok((listener, path))
}

impl Handler for Admin {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        if request.method() != Method::GET {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here\n");
        }
        match request.uri().path() {
            "/events" => match &self.tracer {
                Some(tracer) => with_type(StatusCode::OK, "application/x-ndjson", stream(tracer)),
                None => text(StatusCode::SERVICE_UNAVAILABLE, "this host lets podbox load no BPF programs\n"),
            },
            "/capabilities" => {
                with_type(StatusCode::OK, "application/json", full(line(&(self.capabilities)())))
            }
            "/probes" => with_type(StatusCode::OK, "application/json", full(line(&(self.probes)()))),
            "/ends" => with_type(StatusCode::OK, "application/json", full(line(&(self.ends)()))),
            "/starts" => with_type(StatusCode::OK, "application/json", full(line(&(self.starts)()))),
            "/metrics" => text(StatusCode::OK, self.exposition.render(|_| ()).0),
            path => text(StatusCode::NOT_FOUND, format!("{path} is not served here\n")),
        }
    }
}

/// Events as JSON lines. The channel is short: when the client does not read, the broadcast keeps the
/// backlog, and what it must drop is counted and told.
fn stream(tracer: &Tracer) -> Body {
    let (lines, source) = mpsc::channel::<Bytes>(limits::EVENT_LINES);
    let (mut events, followed) = (tracer.subscribe(), tracer.follow_ends());
    tokio::spawn(async move {
        let _followed = followed;
        loop {
            let heard = tokio::select! {
                heard = events.recv() => heard,
                () = lines.closed() => return,
            };
            let line = match heard {
                Ok(event) => line(event.as_ref()),
                Err(RecvError::Lagged(missed)) => {
                    ::metrics::counter!(metrics::EVENT_STREAM_DROPPED).increment(missed);
                    line(&serde_json::json!({ "missed": missed }))
                }
                Err(RecvError::Closed) => return,
            };
            if lines.send(line).await.is_err() {
                return;
            }
        }
    });
    Lines(source).boxed_unsync()
}

fn line(value: &impl Serialize) -> Bytes {
    let mut json = serde_json::to_vec(value).expect("an event has only string keys and finite numbers");
    json.push(b'\n');
    json.into()
}

/// The receiving side of a channel as a body.
struct Lines(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|line| line.map(|bytes| Ok(Frame::data(bytes))))
    }
}

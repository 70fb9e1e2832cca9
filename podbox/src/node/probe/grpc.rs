//! Probes by gRPC's health protocol: `grpc.health.v1.Health/Check` over plain HTTP/2, once.
//!
//! Its two messages are small enough to be written by hand. As with every gRPC client, nobody is connected until the
//! server has said so in HTTP/2: one that only accepts, or speaks something else, counts as not there, and is tried
//! again as long as there is time.

use super::http::AGENT;
use super::{Attempt, TOO_EARLY, seconds};
use crate::clock;
use crate::limits;
use crate::node::http::{First, Sniff, authority, dial};
use crate::pod::probe::Outcome;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper::header::{CONTENT_TYPE, HeaderMap, TE, USER_AGENT};
use hyper::rt::Executor;
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout_at};

/// Between two tries to connect, as gRPC's own clients have it, unless somebody begins to listen meanwhile.
const AGAIN: Duration = Duration::from_secs(1);

/// What became of a call.
#[derive(Debug, PartialEq, Eq)]
enum Called {
    /// The server's answer: a `ServingStatus`.
    Status(u64),
    /// It said otherwise: a gRPC code and why.
    Code(u32, String),
    /// There is no such server, so far.
    Nobody,
}

/// Asks a server how a service of it is; the empty one is the server itself.
pub(super) async fn check(host: &str, port: u16, service: &str, attempt: &Attempt<'_>) -> Outcome {
    let (address, within) = (authority(host, port), seconds(attempt.timeout));
    let connected = Mutex::new(First::default());
    let calls = async {
        let mut pauses = TOO_EARLY.iter();
        loop {
            // Before the try: whoever begins to listen while it fails is tried again.
            let listened = attempt.listened.notified();
            match call(host, port, service, attempt, &connected).await {
                Called::Nobody => {}
                called => return called,
            }
            tokio::select! {
                () = sleep(*pauses.next().unwrap_or(&AGAIN)) => {}
                // It may be a moment until it can be found.
                () = listened => pauses = TOO_EARLY.iter(),
            }
        }
    };
    let late = || Outcome::Failure(format!("timeout: health rpc did not complete within {within}"));
    match timeout_at(attempt.deadline().into(), calls).await {
        // It was told how long it has, and may be the first to see that this is over.
        Ok(Called::Code(DEADLINE_EXCEEDED, _)) => late(),
        Ok(called) => judged(called),
        Err(_) if greets(&connected.lock().unwrap_or_else(PoisonError::into_inner)) => late(),
        Err(_) => Outcome::Failure(format!(
            "timeout: failed to connect service {address:?} within {within}: context deadline exceeded"
        )),
    }
}

fn judged(called: Called) -> Outcome {
    let failed = |why| Outcome::Failure(why);
    match called {
        Called::Status(1) => Outcome::Success,
        Called::Status(status) => {
            let known = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
            let name = usize::try_from(status).ok().and_then(|status| known.get(status));
            let name = name.map_or_else(|| status.to_string(), |name| (*name).to_owned());
            failed(format!("service unhealthy (responded with {name:?})"))
        }
        Called::Code(12, why) => failed(format!(
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {why}"
        )),
        Called::Code(code, why) => {
            let name = usize::try_from(code).ok().and_then(|code| CODES.get(code));
            let name = name.map_or_else(|| format!("Code({code})"), |name| (*name).to_owned());
            failed(format!("error: health rpc probe failed: rpc error: code = {name} desc = {why}"))
        }
        Called::Nobody => failed("error: failed to connect service".to_owned()),
    }
}

/// gRPC's codes, by number.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

const DEADLINE_EXCEEDED: u32 = 4;

/// Whether a server began as one of HTTP/2 does: with its settings.
fn greets(first: &First) -> bool {
    const SETTINGS: u8 = 4;
    let bytes = first.bytes();
    bytes.len() >= 9 && bytes[3] == SETTINGS
}

/// Runs what a connection needs.
#[derive(Clone, Default)]
struct Beside(Arc<Mutex<JoinSet<()>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Beside {
    fn execute(&self, work: F) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).spawn(work);
    }
}

/// Ends it with the call: what runs holds what runs it, and so would never end by itself.
struct Ends(Beside);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

async fn call(
    host: &str,
    port: u16,
    service: &str,
    attempt: &Attempt<'_>,
    connected: &Mutex<First>,
) -> Called {
    let Ok(stream) = dial(host, port, attempt.deadline(), attempt.sockets).await else {
        return Called::Nobody;
    };
    let (stream, first) = Sniff::new(stream);
    *connected.lock().unwrap_or_else(PoisonError::into_inner) = first.clone();
    let broken = |error: hyper::Error| match greets(&first) {
        true => Called::Code(14, crate::api::error::chain(&error)),
        false => Called::Nobody,
    };
    let beside = Beside::default();
    let _ends = Ends(beside.clone());
    let mut builder = http2::Builder::new(beside.clone());
    let window = u32::try_from(limits::ANSWER_HEAD).unwrap_or(u32::MAX);
    builder
        .initial_stream_window_size(window)
        .initial_connection_window_size(window)
        .max_header_list_size(window);
    let (mut sender, connection) = match builder.handshake(TokioIo::new(stream)).await {
        Ok(made) => made,
        Err(error) => return broken(error),
    };
    beside.execute(async move { drop(connection.await) });
    let left = attempt.deadline().saturating_duration_since(clock::instant());
    let called = match request(host, port, service, left) {
        Ok(request) => sender.send_request(request).await,
        Err(error) => return Called::Code(13, error.to_string()),
    };
    let called = match called {
        Ok(answer) => answer,
        Err(error) => return broken(error),
    };
    read(called).await.unwrap_or_else(broken)
}

fn request(
    host: &str,
    port: u16,
    service: &str,
    left: Duration,
) -> hyper::http::Result<Request<Full<Bytes>>> {
    Request::post(format!("http://{}/grpc.health.v1.Health/Check", authority(host, port)))
        .version(Version::HTTP_2)
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .header(USER_AGENT, AGENT)
        .header("grpc-timeout", format!("{}m", left.as_millis()))
        .body(Full::new(Bytes::from(question(service))))
}

/// `HealthCheckRequest`, in gRPC's frame.
fn question(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        varint(service.len(), &mut message);
        message.extend(service.as_bytes());
    }
    let length = u32::try_from(message.len()).unwrap_or_default();
    let mut framed = vec![0];
    framed.extend(length.to_be_bytes());
    framed.extend(message);
    framed
}

fn varint(mut number: usize, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

async fn read(answer: Response<hyper::body::Incoming>) -> Result<Called, hyper::Error> {
    let (head, mut rest) = answer.into_parts();
    if head.status != StatusCode::OK {
        return Ok(not_ok(head.status));
    }
    if let Some(Err(said)) = code(&head.headers) {
        return Ok(said);
    }
    let mut body = Vec::new();
    let mut trailers = HeaderMap::new();
    while let Some(frame) = rest.frame().await {
        match frame?.into_data() {
            Ok(data) if body.len() + data.len() > limits::PROBE_OUTPUT => {
                return Ok(Called::Code(8, "grpc: received message larger than max".to_owned()));
            }
            Ok(data) => body.extend(data),
            Err(frame) => trailers.extend(frame.into_trailers().unwrap_or_default()),
        }
    }
    Ok(match (code(&trailers), status(&body)) {
        (Some(Err(said)), _) => said,
        (Some(Ok(())), Some(status)) => Called::Status(status),
        (Some(Ok(())), None) => Called::Code(13, "the answer is no HealthCheckResponse".to_owned()),
        (None, _) => Called::Code(13, "server closed the stream without sending trailers".to_owned()),
    })
}

/// Whether headers or trailers say that all is well, or what went wrong; none if they say nothing.
fn code(headers: &HeaderMap) -> Option<Result<(), Called>> {
    let code: u32 = headers.get("grpc-status")?.to_str().ok()?.parse().unwrap_or(2);
    let why = headers.get("grpc-message").map(|why| why.as_bytes()).unwrap_or_default();
    let why = percent_encoding::percent_decode(why).decode_utf8_lossy().into_owned();
    Some(if code == 0 { Ok(()) } else { Err(Called::Code(code, why)) })
}

/// As gRPC reads the status of a server that knows HTTP alone.
fn not_ok(status: StatusCode) -> Called {
    let code = match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    };
    let (number, words) = (status.as_u16(), status.canonical_reason().unwrap_or_default());
    Called::Code(code, format!("unexpected HTTP status code received from server: {number} ({words})"))
}

/// `HealthCheckResponse.status`, from gRPC's frame; 0 where it is left out, as proto3 has it.
fn status(framed: &[u8]) -> Option<u64> {
    let (head, message) = framed.split_at_checked(5)?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    if head[0] != 0 || usize::try_from(length).ok()? != message.len() {
        return None;
    }
    let (mut rest, mut status) = (message, 0);
    while !rest.is_empty() {
        let tag = number(&mut rest)?;
        match (tag >> 3, tag & 7) {
            (1, 0) => status = number(&mut rest)?,
            (_, 0) => drop(number(&mut rest)?),
            (_, 1) => rest = rest.get(8..)?,
            (_, 2) => {
                let length = usize::try_from(number(&mut rest)?).ok()?;
                rest = rest.get(length..)?;
            }
            (_, 5) => rest = rest.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests;

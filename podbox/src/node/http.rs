//! A small HTTP client for what a node asks of servers in pods, by hooks and by probes: one request, its answer's status and
//! the beginning of its body.
//!
//! Redirections are followed as the kubelet does: to the same host only, and not on and on; one that leads elsewhere is an
//! answer like any other. What goes wrong is worded as Go words it, since that is what Events have. A server may send
//! what it likes, for as long as it likes: head and body have bounds, and so has the time. The head's, 64 KiB, is narrower
//! than Go's 10 MiB. It speaks HTTP/1.1 alone, also over TLS.

mod dial;
mod redirect;
mod sniff;
#[cfg(test)]
mod tests;

pub use dial::{Sockets, authority, dial};
pub use sniff::{First, Sniff};

use crate::api::quote::quoted;
use crate::auth::unverified;
use crate::clock;
use crate::limits;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper::header::{
    ACCEPT, CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, LOCATION, TRAILER, TRANSFER_ENCODING,
    USER_AGENT,
};
use hyper::{HeaderMap, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use std::collections::HashSet;
use std::fmt;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{timeout, timeout_at};

/// What is asked of whom.
#[derive(Clone, Debug)]
pub struct Request {
    /// Over TLS. Who answers is not verified: it has nothing that a node could know.
    pub secure: bool,
    /// The server's address or name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Path and query.
    pub path: String,
    /// Headers, which go before those that are there by themselves.
    pub headers: Vec<(String, String)>,
}

/// How it is asked.
#[derive(Clone, Copy)]
pub struct Manner<'a> {
    /// Who asks.
    pub agent: &'static str,
    /// When the answer must be there, with all of its body that is wanted. Without it, only connecting has its time.
    pub deadline: Option<Instant>,
    /// Bytes of the body that are wanted.
    pub body: usize,
    /// A server that speaks plain HTTP where HTTPS was asked for is asked once more, plainly, as the kubelet's hooks do;
    /// without the `Authorization` header, since that was meant to be sealed.
    pub falls_back: bool,
    /// Hears of each socket before it connects.
    pub sockets: &'a Sockets<'a>,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status of the answer that counts.
    pub status: StatusCode,
    /// The beginning of its body.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What was asked for last.
    pub url: String,
    /// What happened, in Go's words.
    pub why: String,
    /// Its head was there already.
    pub in_body: bool,
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", authority(&self.host, self.port), escaped(&self.path))
    }
}

/// Requests that one may become by redirections.
const REDIRECTIONS: usize = 10;
/// What no path has in a request.
const UNSAFE: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

const LATE: &str = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
const LATE_BODY: &str =
    "context deadline exceeded (Client.Timeout or context cancellation while reading body)";

/// Sends it, and follows where that leads.
pub async fn get(request: &Request, manner: &Manner<'_>) -> Result<Answer, Failure> {
    let mut next = request.clone();
    let mut asked = 0;
    loop {
        asked += 1;
        let failed = |why| Failure { url: next.to_string(), why, in_body: false };
        let (answer, location) = once(&next, manner).await?;
        match redirect::follow(&next, answer.status, location.as_deref()).map_err(failed)? {
            None => return Ok(answer),
            Some(_) if asked == REDIRECTIONS => {
                let url = location.unwrap_or_default();
                return Err(Failure {
                    url,
                    why: format!("stopped after {REDIRECTIONS} redirects"),
                    in_body: false,
                });
            }
            Some(request) => next = request,
        }
    }
}

/// An answer, and where it leads.
type Led = (Answer, Option<String>);

async fn once(request: &Request, manner: &Manner<'_>) -> Result<Led, Failure> {
    let failed = |why| Failure { url: request.to_string(), why, in_body: false };
    let message = message(request, manner.agent).map_err(failed)?;
    let connect = || async {
        let until = manner.deadline.unwrap_or_else(|| clock::instant() + limits::HOOK_CONNECT);
        dial(&request.host, request.port, until, manner.sockets).await.map_err(|why| match manner.deadline {
            Some(_) if why.ends_with("i/o timeout") => {
                failed(format!("{why} (Client.Timeout exceeded while awaiting headers)"))
            }
            _ => failed(why),
        })
    };
    let stream = connect().await?;
    if !request.secure {
        return exchange(stream, message, request, manner).await;
    }
    let sealing = timeout(limits::TLS_HANDSHAKE, unverified::open(stream, &request.host));
    let sealed = in_time(manner.deadline, sealing).await.ok_or_else(|| failed(LATE.to_owned()))?;
    match sealed.map_err(|_| failed("net/http: TLS handshake timeout".to_owned()))? {
        Ok(stream) => exchange(stream, message, request, manner).await,
        Err(unverified::OpenError::NoTls) if manner.falls_back => {
            let mut message = message;
            message.headers_mut().remove(hyper::header::AUTHORIZATION);
            exchange(connect().await?, message, request, manner).await
        }
        Err(unverified::OpenError::NoTls) => {
            Err(failed("http: server gave HTTP response to HTTPS client".to_owned()))
        }
        Err(unverified::OpenError::Failed(why)) => Err(failed(why)),
    }
}

async fn in_time<T>(deadline: Option<Instant>, work: impl Future<Output = T>) -> Option<T> {
    match deadline {
        Some(deadline) => timeout_at(deadline.into(), work).await.ok(),
        None => Some(work.await),
    }
}

type Message = hyper::Request<Empty<Bytes>>;

fn message(request: &Request, agent: &'static str) -> Result<Message, String> {
    let path = escaped(&request.path);
    let mut message = hyper::Request::new(Empty::new());
    *message.uri_mut() = path.parse::<Uri>().map_err(|error| format!("{path:?} is no path: {error}"))?;
    let headers = message.headers_mut();
    headers.insert(USER_AGENT, HeaderValue::from_static(agent));
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    add(headers, &request.headers)?;
    if !headers.contains_key(HOST) {
        let host = authority(&request.host, request.port);
        headers.insert(HOST, HeaderValue::from_str(&host).map_err(|error| format!("{host:?}: {error}"))?);
    }
    Ok(message)
}

/// Path and query as they are sent.
fn escaped(path: &str) -> String {
    let path = path.split('#').next().unwrap_or_default();
    let path = utf8_percent_encode(path, UNSAFE);
    match path.to_string() {
        path if path.starts_with('/') => path,
        path => format!("/{path}"),
    }
}

/// The first of a name replaces what is there by itself; an empty one of those takes it out. As Go writes requests: what says
/// how long the body is, is not the manifest's to say, and who asks whom is said once.
fn add(headers: &mut HeaderMap, own: &[(String, String)]) -> Result<(), String> {
    let mut seen: HashSet<HeaderName> = HashSet::new();
    for (name, value) in own {
        let name = name.parse::<HeaderName>().map_err(|error| format!("header {name:?}: {error}"))?;
        let value = HeaderValue::from_str(value).map_err(|error| format!("header {name}: {error}"))?;
        if [CONTENT_LENGTH, TRANSFER_ENCODING, TRAILER].contains(&name) {
            continue;
        }
        let first = seen.insert(name.clone());
        if !first && [HOST, USER_AGENT].contains(&name) {
            continue;
        }
        if first && name != CONNECTION {
            headers.remove(&name);
        }
        if !(value.is_empty() && [ACCEPT, USER_AGENT].contains(&name)) {
            headers.try_append(name, value).map_err(|_| "there are too many headers".to_owned())?;
        }
    }
    Ok(())
}

/// A stream to a server, and its two ends.
trait Stream: AsyncRead + AsyncWrite + Unpin {
    fn socket(&self) -> &TcpStream;
}

impl Stream for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Stream for tokio_rustls::client::TlsStream<TcpStream> {
    fn socket(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// What is left of the body stays where it is: the connection ends with it.
async fn exchange(
    stream: impl Stream,
    message: Message,
    request: &Request,
    manner: &Manner<'_>,
) -> Result<Led, Failure> {
    let ends = [stream.socket().local_addr().ok(), stream.socket().peer_addr().ok()];
    let (stream, first) = Sniff::new(stream);
    let failed = |why, in_body| Failure { url: request.to_string(), why, in_body };
    let told = |error: hyper::Error, in_body| failed(told(&error, &first, &ends, in_body), in_body);
    let mut builder = http1::Builder::new();
    builder
        .max_buf_size(limits::ANSWER_HEAD)
        .max_headers(limits::ANSWER_HEADERS)
        .allow_obsolete_multiline_headers_in_responses(true)
        // As Go writes them: servers written by hand may know no others.
        .title_case_headers(true);
    let (mut sender, connection) =
        builder.handshake(TokioIo::new(stream)).await.map_err(|error| told(error, false))?;
    let mut asking = pin!(async {
        let answer = in_time(manner.deadline, sender.send_request(message)).await;
        let answer = answer.ok_or_else(|| failed(LATE.to_owned(), false))?;
        let answer = answer.map_err(|error| told(error, false))?;
        let (head, mut rest) = answer.into_parts();
        let location = head.headers.get(LOCATION);
        let location = location.map(|location| String::from_utf8_lossy(location.as_bytes()).into_owned());
        let mut body = Vec::new();
        while body.len() < manner.body {
            let frame = in_time(manner.deadline, rest.frame()).await;
            let frame = frame.ok_or_else(|| failed(LATE_BODY.to_owned(), true))?;
            let Some(frame) = frame.transpose().map_err(|error| told(error, true))? else { break };
            let room = manner.body - body.len();
            body.extend(frame.into_data().unwrap_or_default().into_iter().take(room));
        }
        Ok((Answer { status: head.status, body }, location))
    });
    tokio::pin!(connection);
    tokio::select! {
        biased;
        led = &mut asking => led,
        // It went on until nobody was there to ask or to answer; what came is there to be read.
        _ = &mut connection => asking.await,
    }
}

/// What went wrong with a connection, as Go says it.
fn told(error: &hyper::Error, first: &First, ends: &[Option<SocketAddr>; 2], in_body: bool) -> String {
    const BROKEN: &str = "net/http: HTTP/1.x transport connection broken:";
    if error.is_parse_too_large() {
        let most = limits::ANSWER_HEAD;
        return format!("net/http: server response headers exceeded {most} bytes; aborted");
    }
    if error.is_parse() && !in_body {
        return format!("{BROKEN} malformed HTTP response {}", quoted(&first.line()));
    }
    if error.is_incomplete_message() {
        return if in_body { "unexpected EOF" } else { "EOF" }.to_owned();
    }
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<std::io::Error>() {
            return match error.kind() {
                std::io::ErrorKind::UnexpectedEof => "unexpected EOF".to_owned(),
                _ => {
                    let [local, peer] =
                        ends.map(|end| end.map_or_else(|| "?".to_owned(), |end| end.to_string()));
                    format!("read tcp {local}->{peer}: read: {}", dial::words(error))
                }
            };
        }
        source = cause.source();
    }
    crate::api::error::chain(error)
}

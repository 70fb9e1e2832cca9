//! A small HTTP client for what a node asks of servers in pods: one request, its answer's status, nothing else kept.
//!
//! Redirections are followed as the kubelet does: to the same host only, and not on and on; one that leads elsewhere is an
//! answer like any other. A server that speaks plain HTTP where HTTPS was asked for is asked once more, plainly, as
//! the kubelet does; without the `Authorization` header, since that was meant to be sealed.

mod redirect;

use super::tls;
use crate::limits;
use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, HOST, HeaderName, HeaderValue, LOCATION, USER_AGENT};
use hyper::rt::{Read, Write};
use hyper::{HeaderMap, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

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

/// Requests that one may become by redirections.
const REDIRECTIONS: usize = 10;

/// Sends it; the status of the answer that counts.
pub async fn get(request: &Request, agent: &'static str) -> Result<StatusCode, String> {
    let mut next = request.clone();
    for _ in 0..REDIRECTIONS {
        let (status, location) = once(&next, agent).await?;
        match redirect::follow(&next, status, location.as_deref())? {
            Some(request) => next = request,
            None => return Ok(status),
        }
    }
    Err(format!("stopped after {REDIRECTIONS} redirects"))
}

/// An answer: its status, and where it leads.
type Answer = (StatusCode, Option<String>);

async fn once(request: &Request, agent: &'static str) -> Result<Answer, String> {
    let message = message(request, agent)?;
    let stream = dial(&request.host, request.port).await?;
    if !request.secure {
        return exchange(TokioIo::new(stream), message).await;
    }
    match tls::open(stream, &request.host).await {
        Ok(stream) => exchange(TokioIo::new(stream), message).await,
        Err(tls::OpenError::NoTls) => {
            let mut message = message;
            message.headers_mut().remove(hyper::header::AUTHORIZATION);
            exchange(TokioIo::new(dial(&request.host, request.port).await?), message).await
        }
        Err(tls::OpenError::Failed(why)) => Err(why),
    }
}

/// Connects.
pub async fn dial(host: &str, port: u16) -> Result<TcpStream, String> {
    match tokio::time::timeout(limits::HOOK_CONNECT, TcpStream::connect((host, port))).await {
        Ok(connected) => connected.map_err(|error| format!("dial tcp {host}:{port}: {error}")),
        Err(_) => Err(format!("dial tcp {host}:{port}: i/o timeout")),
    }
}

type Message = hyper::Request<Empty<Bytes>>;

fn message(request: &Request, agent: &'static str) -> Result<Message, String> {
    let path = match request.path.strip_prefix('/') {
        Some(_) => request.path.clone(),
        None => format!("/{}", request.path),
    };
    let mut message = hyper::Request::new(Empty::new());
    *message.uri_mut() = path.parse::<Uri>().map_err(|error| format!("{path:?} is no path: {error}"))?;
    let headers = message.headers_mut();
    headers.insert(USER_AGENT, HeaderValue::from_static(agent));
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    add(headers, &request.headers)?;
    if !headers.contains_key(HOST) {
        let host = format!("{}:{}", request.host, request.port);
        headers.insert(HOST, HeaderValue::from_str(&host).map_err(|error| format!("{host:?}: {error}"))?);
    }
    Ok(message)
}

/// The first of a name replaces what is there by itself; an empty one of those takes it out.
fn add(headers: &mut HeaderMap, own: &[(String, String)]) -> Result<(), String> {
    let mut seen: Vec<HeaderName> = Vec::new();
    for (name, value) in own {
        let name = name.parse::<HeaderName>().map_err(|error| format!("header {name:?}: {error}"))?;
        let value = HeaderValue::from_str(value).map_err(|error| format!("header {name}: {error}"))?;
        if !seen.contains(&name) {
            headers.remove(&name);
            seen.push(name.clone());
        }
        if !(value.is_empty() && [ACCEPT, USER_AGENT].contains(&name)) {
            headers.append(name, value);
        }
    }
    Ok(())
}

/// The body is left where it is: the connection ends with it.
async fn exchange(stream: impl Read + Write + Unpin, message: Message) -> Result<Answer, String> {
    let failed = |error: hyper::Error| crate::api::error::chain(&error);
    let (mut sender, connection) = http1::handshake(stream).await.map_err(failed)?;
    tokio::pin!(connection);
    let answer = sender.send_request(message);
    tokio::pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        // It went on until nobody was there to ask or to answer.
        ended = &mut connection => match ended {
            Err(error) => Err(error),
            Ok(()) => answer.await,
        },
    }
    .map(|answer| {
        let location = answer.headers().get(LOCATION);
        (answer.status(), location.map(|location| String::from_utf8_lossy(location.as_bytes()).into_owned()))
    })
    .map_err(failed)
}

#[cfg(test)]
mod tests;

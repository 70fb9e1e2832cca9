//! Passes one request on to a server in a pod, and its answer back.
//!
//! Bodies are streamed both ways, but for pages of HTML that say how long they are: up to a bound these are read whole, for their links are
//! led through the proxy and their length changes. A connection that both sides agree to use for another protocol is handed over to them. Where an answer redirects to and what a page links to leads through the proxy, too, if it is the server's own.

mod page;

use super::http::Body;
use super::patience::Unhurried;
use crate::auth::unverified::{self, OpenError};
use crate::limits;
use futures_util::StreamExt;
use http_body_util::{BodyExt, BodyStream, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{
    ACCEPT_ENCODING, CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, UPGRADE,
};
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Headers that are about one connection, not about what it carries.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Where a request goes.
#[derive(Clone, Debug)]
pub struct Target {
    /// The server.
    pub address: SocketAddr,
    /// Whether it speaks TLS. Its certificate is not asked for: pods have none that podbox could know.
    pub sealed: bool,
    /// What it is asked for: a path that begins with a slash, and the query.
    pub path: String,
    /// What the client's path has before that.
    pub prefix: String,
}

/// A request's head, and what its connection may become.
#[derive(Debug)]
pub struct Asked {
    /// Its method.
    pub method: Method,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its connection.
    pub upgrade: Option<OnUpgrade>,
}

/// Passes it on; tells why it could not.
pub async fn pass(target: Target, asked: Asked, body: Incoming) -> Result<Response<Body>, String> {
    let connecting = tokio::time::timeout(limits::PROXY_CONNECT, TcpStream::connect(target.address));
    let stream = match connecting.await {
        Ok(connected) => connected.map_err(|error| format!("dial tcp {}: {error}", target.address))?,
        Err(_) => return Err(format!("dial tcp {}: i/o timeout", target.address)),
    };
    if !target.sealed {
        return exchange(stream, target, asked, body).await;
    }
    let host = target.address.ip().to_string();
    match tokio::time::timeout(limits::PROXY_CONNECT, unverified::open(stream, &host)).await {
        Ok(Ok(stream)) => exchange(stream, target, asked, body).await,
        Ok(Err(OpenError::NoTls)) => Err("http: server gave HTTP response to HTTPS client".to_owned()),
        Ok(Err(OpenError::Failed(why))) => Err(why),
        Err(_) => Err("net/http: TLS handshake timeout".to_owned()),
    }
}

async fn exchange<S>(
    stream: S,
    target: Target,
    asked: Asked,
    body: Incoming,
) -> Result<Response<Body>, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let failed = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    tokio::spawn(connection.with_upgrades());
    let wish = asked.headers.get(UPGRADE).cloned().filter(|_| asked.upgrade.is_some());
    let reads = asked.method == Method::GET;
    let mut request = Request::new(body);
    *request.method_mut() = asked.method;
    *request.uri_mut() = target.path.parse().map_err(|error| format!("{}: {error}", target.path))?;
    *request.headers_mut() = end_to_end(asked.headers);
    // A page that is packed could not be read.
    request.headers_mut().remove(ACCEPT_ENCODING);
    if let Some(wish) = wish {
        request.headers_mut().insert(UPGRADE, wish);
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    }
    if !request.headers().contains_key(HOST) {
        let host = HeaderValue::from_str(&target.address.to_string());
        request.headers_mut().extend(host.ok().map(|host| (HOST, host)));
    }
    if let Ok(uri) = HeaderValue::from_str(&format!("{}{}", target.prefix, target.path)) {
        request.headers_mut().insert(HeaderName::from_static("x-forwarded-uri"), uri);
    }
    let mut response = sender.send_request(request).await.map_err(failed)?;
    match (response.status(), asked.upgrade) {
        (StatusCode::SWITCHING_PROTOCOLS, Some(client)) => hand_over(client, &mut response),
        (StatusCode::SWITCHING_PROTOCOLS, None) => return Err("it changed the protocol unasked".to_owned()),
        _ => *response.headers_mut() = end_to_end(std::mem::take(response.headers_mut())),
    }
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        response.extensions_mut().insert(Unhurried);
    }
    rewrite_location(&target.prefix, response.headers_mut());
    Ok(match reads && page::is_page(response.headers()) {
        true => page::through(response, &target.prefix).await,
        false => response.map(streamed),
    })
}

/// Headers without those of one connection, and without those that `Connection` names.
fn end_to_end(mut headers: HeaderMap) -> HeaderMap {
    let named: Vec<String> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(',').map(|name| name.trim().to_ascii_lowercase()))
        .collect();
    for name in HOP_BY_HOP.iter().copied().chain(named.iter().map(String::as_str)) {
        headers.remove(name);
    }
    headers
}

/// Lets client and server speak to each other alone, once the answer has gone out.
fn hand_over(client: OnUpgrade, response: &mut Response<Incoming>) {
    let server = hyper::upgrade::on(response);
    tokio::spawn(async move {
        let (Ok(client), Ok(server)) = tokio::join!(client, server) else { return };
        let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    });
}

/// A redirection within the server becomes one within the proxy.
fn rewrite_location(prefix: &str, headers: &mut HeaderMap) {
    let Some(to) = headers.get(LOCATION).and_then(|value| value.to_str().ok()) else { return };
    if !to.starts_with('/') || to.starts_with("//") {
        return;
    }
    if let Ok(rewritten) = HeaderValue::from_str(&format!("{prefix}{to}")) {
        headers.insert(LOCATION, rewritten);
    }
}

/// The answer's body. One that breaks off ends short of what its headers promised, which the client sees.
fn streamed(body: Incoming) -> Body {
    let frames = BodyStream::new(body).take_while(|frame| std::future::ready(frame.is_ok()));
    let frames = frames.filter_map(|frame| std::future::ready(frame.ok().map(Ok::<_, Infallible>)));
    StreamBody::new(frames).boxed_unsync()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn what_is_about_the_connection_stays_with_it() {
        let all = headers(&[("connection", "close, X-Mine"), ("x-mine", "1"), ("te", "x"), ("accept", "y")]);
        assert_eq!(end_to_end(all), headers(&[("accept", "y")]));
    }

    #[test]
    fn a_redirection_stays_within_the_proxy() {
        let check = |to: &'static str, expected: &'static str| {
            let mut found = headers(&[("location", to)]);
            rewrite_location("/pods/a/proxy", &mut found);
            assert_eq!(found, headers(&[("location", expected)]));
        };
        check("/login?x=1", "/pods/a/proxy/login?x=1");
        check("next", "next");
        check("//elsewhere/", "//elsewhere/");
        check("https://elsewhere/", "https://elsewhere/");
    }
}

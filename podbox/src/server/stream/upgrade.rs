//! Turning an HTTP/1 connection into one of another protocol.

use super::socket::Socket;
use crate::server::http::{Body, full};
use crate::server::patience::Unhurried;
use hyper::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::future::Future;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// The header in which SPDY's clients offer protocols.
const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");

/// What a client wants its connection to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A WebSocket; its key and the protocols that are offered.
    WebSocket(String, Vec<String>),
    /// SPDY/3.1; the protocols that are offered.
    Spdy(Vec<String>),
}

impl Wish {
    /// What a request's headers ask for, if they ask for something that is known.
    pub fn of(headers: &HeaderMap) -> Option<Wish> {
        let listed = |name: &HeaderName| -> Vec<String> {
            let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
            let words = values.flat_map(|value| value.split(',')).map(|word| word.trim().to_owned());
            words.filter(|word| !word.is_empty()).collect()
        };
        let asks = listed(&CONNECTION).iter().any(|word| word.eq_ignore_ascii_case("upgrade"));
        let to = listed(&UPGRADE);
        let to = to.first().filter(|_| asks)?;
        if to.eq_ignore_ascii_case("websocket") {
            let key = headers.get(SEC_WEBSOCKET_KEY)?.to_str().ok()?;
            return Some(Wish::WebSocket(key.to_owned(), listed(&SEC_WEBSOCKET_PROTOCOL)));
        }
        to.eq_ignore_ascii_case("SPDY/3.1").then(|| Wish::Spdy(listed(&STREAM_PROTOCOL)))
    }
}

/// Agrees to a WebSocket in a protocol, which `serve` then speaks.
pub fn to_websocket<F>(
    key: &str,
    protocol: Option<&str>,
    upgrade: OnUpgrade,
    serve: impl FnOnce(Socket) -> F + Send + 'static,
) -> Response<Body>
where
    F: Future<Output = ()> + Send,
{
    spawn(upgrade, |upgraded| async move { serve(Socket::new(upgraded).await).await });
    let mut response = switching("websocket");
    let accept = derive_accept_key(key.as_bytes());
    set(&mut response, SEC_WEBSOCKET_ACCEPT, &accept);
    if let Some(protocol) = protocol {
        set(&mut response, SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    response
}

/// Agrees to SPDY/3.1 in a protocol, which `serve` then speaks.
pub fn to_spdy<F>(
    protocol: Option<&str>,
    upgrade: OnUpgrade,
    serve: impl FnOnce(TokioIo<Upgraded>) -> F + Send + 'static,
) -> Response<Body>
where
    F: Future<Output = ()> + Send,
{
    spawn(upgrade, serve);
    let mut response = switching("SPDY/3.1");
    if let Some(protocol) = protocol {
        set(&mut response, STREAM_PROTOCOL, protocol);
    }
    response
}

fn spawn<F>(upgrade: OnUpgrade, serve: impl FnOnce(TokioIo<Upgraded>) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send,
{
    tokio::spawn(async move {
        match upgrade.await {
            Ok(upgraded) => serve(TokioIo::new(upgraded)).await,
            Err(error) => tracing::debug!(%error, "a client went away while its connection was upgraded"),
        }
    });
}

fn switching(to: &'static str) -> Response<Body> {
    let mut response = Response::new(full(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static(to));
    // From here on the two sides are in touch by signs of life of their own, and nothing is gathered for the slower one.
    response.extensions_mut().insert(Unhurried);
    response
}

fn set(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_read_from_headers_as_clients_write_them() {
        let wish = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, HeaderValue::from_static(value));
            }
            Wish::of(&headers)
        };
        let socket = [("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")];
        assert_eq!(wish(&socket), None, "without a key");
        let mut all = socket.to_vec();
        all.extend([
            ("sec-websocket-key", "k"),
            ("sec-websocket-protocol", "a, b"),
            ("sec-websocket-protocol", "c"),
        ]);
        let offered = ["a", "b", "c"].map(str::to_owned).to_vec();
        assert_eq!(wish(&all), Some(Wish::WebSocket("k".into(), offered)));
        assert_eq!(wish(&all[1..]), None, "the connection is not to be upgraded");
        let spdy = [("connection", "Upgrade"), ("upgrade", "SPDY/3.1"), ("x-stream-protocol-version", "v4")];
        assert_eq!(wish(&spdy), Some(Wish::Spdy(vec!["v4".into()])));
        assert_eq!(wish(&[("connection", "upgrade"), ("upgrade", "h2c")]), None);
    }
}

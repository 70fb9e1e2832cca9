//! Answers that go on, for those who ask for them over a WebSocket: logs, and watches as browsers do them. Whatever is refused
//! is refused before, in HTTP.

use super::Call;
use super::stream::unknown_protocol;
use crate::api::status::ApiError;
use crate::server::http::Body;
use crate::server::stream::messages::{self, Framing};
use crate::server::stream::upgrade::{self, Wish};
use hyper::Response;
use hyper::upgrade::OnUpgrade;

/// A WebSocket that is wished for: its key, the protocols that are offered, and its connection.
fn wished(call: &Call) -> Option<(String, Vec<String>, OnUpgrade)> {
    let raw = call.head.raw.as_deref()?;
    match Wish::of(&raw.headers)? {
        Wish::WebSocket(key, offered) => Some((key, offered, raw.upgrade.clone()?)),
        Wish::Spdy(_) => None,
    }
}

fn framed(
    answer: Response<Body>,
    key: &str,
    protocol: &str,
    upgrade: OnUpgrade,
    framing: Framing,
) -> Response<Body> {
    let name = Some(protocol).filter(|name| !name.is_empty());
    let body = answer.into_body();
    upgrade::to_websocket(key, name, upgrade, move |socket| messages::serve(socket, body, framing))
}

/// A log: its bytes as they come.
pub(super) fn log(call: &Call, answer: Response<Body>) -> Result<Response<Body>, ApiError> {
    let Some((key, offered, upgrade)) = wished(call) else { return Ok(answer) };
    let (protocol, framing) = Framing::choose(&offered).ok_or_else(|| unknown_protocol(&offered))?;
    Ok(framed(answer, &key, protocol, upgrade, framing))
}

/// A watch: each event a text, in whatever protocol the client calls that.
pub(super) fn watch(call: &Call, answer: Response<Body>) -> Response<Body> {
    let Some((key, offered, upgrade)) = wished(call) else { return answer };
    let protocol = offered.first().map(String::as_str).unwrap_or_default();
    framed(answer, &key, protocol, upgrade, Framing::Lines)
}

//! The subresources that are streams: which container is meant, whether it runs, and then the connection is no longer
//! HTTP's.

use super::log;
use super::write::read;
use super::{Api, Call};
use crate::api::identity::{ContainerRef, PodRef};
use crate::api::object;
use crate::api::status::ApiError;
use crate::api::streams::{End, ExecFailure, Inputs, Output, Outputs, Streams, Wanted};
use crate::limits;
use crate::server::http::{Body, text};
use crate::server::stream::channel::Protocol;
use crate::server::stream::console::{self, Start};
use crate::server::stream::forward::{self, Connect};
use crate::server::stream::upgrade::{self, Wish};
use crate::server::stream::{spdy, tunnel};
use futures_util::{FutureExt, StreamExt, stream};
use hyper::upgrade::OnUpgrade;
use hyper::{Response, StatusCode};
use serde_json::Value;
use std::sync::Arc;

/// A request to stream, found in order so far.
struct Asked {
    pod: Value,
    pod_ref: PodRef,
    wish: Wish,
    upgrade: OnUpgrade,
    streams: Arc<dyn Streams>,
}

impl Api {
    /// Answers a request for `exec` or `attach`.
    pub(super) fn console(&self, call: &Call) -> Result<Response<Body>, ApiError> {
        let asked = self.asked(call)?;
        let (name, _) = log::container(&asked.pod, call.query.text("container"))?;
        let wanted = wanted(call)?;
        let args = call.query.all("command").to_vec();
        if call.info.subresource == "exec" && args.is_empty() {
            return Err(ApiError::bad_request("you must specify at least 1 command"));
        }
        let Some(container) = asked.streams.running(&asked.pod_ref, &name) else {
            return Ok(text(StatusCode::NOT_FOUND, format!("container not found ({name:?})")));
        };
        let streams = Arc::clone(&asked.streams);
        let start: Start = match &*call.info.subresource {
            "exec" => Box::new(move |inputs| exec(&*streams, &container, args, wanted, inputs).boxed()),
            _ => Box::new(move |inputs| {
                let attached = streams.attach(&container, wanted, inputs);
                let outputs = attached.unwrap_or_else(|why| only(vec![Output::End(End::Failed(why))]));
                futures_util::future::ready(outputs).boxed()
            }),
        };
        match asked.wish {
            Wish::WebSocket(key, offered) => {
                let protocol = Protocol::choose(&offered).ok_or_else(|| unknown_protocol(&offered))?;
                let name = Some(protocol.name).filter(|name| !name.is_empty());
                let serve = move |socket| console::serve(socket, protocol, wanted, start);
                Ok(upgrade::to_websocket(&key, name, asked.upgrade, serve))
            }
            Wish::Spdy(offered) => {
                let name = console::choose_spdy(&offered).ok_or_else(|| unknown_protocol(&offered))?;
                let serve = move |io| {
                    spdy::serve(io, move |streams| console::serve_spdy(streams, name, wanted, start))
                };
                Ok(upgrade::to_spdy(Some(name), asked.upgrade, serve))
            }
        }
    }

    /// Answers a request for `portforward`.
    pub(super) fn forward(&self, call: &Call) -> Result<Response<Body>, ApiError> {
        let asked = self.asked(call)?;
        let (pod, streams) = (asked.pod_ref, asked.streams);
        let connect: Connect = Arc::new(move |port| streams.connect(&pod, port));
        match asked.wish {
            Wish::Spdy(offered) => {
                if !offered.is_empty() && !offered.iter().any(|name| name == forward::PROTOCOL) {
                    return Err(unknown_protocol(&offered));
                }
                let serve = move |io| spdy::serve(io, move |streams| forward::serve(streams, connect));
                Ok(upgrade::to_spdy(Some(forward::PROTOCOL), asked.upgrade, serve))
            }
            Wish::WebSocket(key, offered) if offered.iter().any(|name| name == forward::TUNNELLED) => {
                let serve = move |socket| {
                    let inside = |io| spdy::serve(io, move |streams| forward::serve(streams, connect));
                    tunnel::serve(socket, inside)
                };
                Ok(upgrade::to_websocket(&key, Some(forward::TUNNELLED), asked.upgrade, serve))
            }
            Wish::WebSocket(key, offered) => {
                let protocol = Protocol::choose(&offered).ok_or_else(|| unknown_protocol(&offered))?;
                let ports = ports(call.query.all("ports"))?;
                let name = Some(protocol.name).filter(|name| !name.is_empty());
                let serve = move |socket| forward::serve_channels(socket, protocol, ports, connect);
                Ok(upgrade::to_websocket(&key, name, asked.upgrade, serve))
            }
        }
    }

    /// What every request to stream from a pod goes through.
    fn asked(&self, call: &Call) -> Result<Asked, ApiError> {
        let raw = call.head.raw.as_deref();
        let wish = raw.and_then(|raw| Some((Wish::of(&raw.headers)?, raw.upgrade.clone()?)));
        let (wish, upgrade) = wish.ok_or_else(|| ApiError::bad_request("Upgrade request required"))?;
        let pod = read(&*self.find(call)?)?;
        self.is_somewhere(&pod)?;
        let streams = self.streams.get().cloned().ok_or_else(|| {
            ApiError::new(503, "ServiceUnavailable", "this node is still starting; try again")
        })?;
        let word = |field: &str| object::text(&pod, field).to_owned();
        let pod_ref = PodRef { namespace: word("namespace"), name: word("name"), uid: word("uid") };
        Ok(Asked { pod, pod_ref, wish, upgrade, streams })
    }
}

pub(super) fn unknown_protocol(offered: &[String]) -> ApiError {
    ApiError::bad_request(format!("none of the protocols that were offered is known: {}", offered.join(", ")))
}

/// The ports that a request names, each alone or several with commas.
fn ports(named: &[String]) -> Result<Vec<u16>, ApiError> {
    let words: Vec<&str> = named.iter().flat_map(|text| text.split(',')).collect();
    let one = |word: &&str| {
        let port = word.trim().parse::<u16>().ok().filter(|port| *port != 0);
        port.ok_or_else(|| ApiError::bad_request(format!("unable to parse {word:?} as a port")))
    };
    match words.len() {
        0 => Err(ApiError::bad_request("query parameter \"port\" is required")),
        count if count > limits::FORWARDED_PORTS => Err(ApiError::bad_request(format!(
            "{count} ports; at most {} can be forwarded at once",
            limits::FORWARDED_PORTS
        ))),
        _ => words.iter().map(one).collect(),
    }
}

/// stdout and stderr are wanted unless the client says otherwise; a terminal has no stderr.
fn wanted(call: &Call) -> Result<Wanted, ApiError> {
    let query = &call.query;
    let unless = |name: &str| !query.has(name) || query.flag(name);
    let (stdin, tty) = (query.flag("stdin"), query.flag("tty"));
    let wanted = Wanted { stdin, stdout: unless("stdout"), stderr: unless("stderr") && !tty, tty };
    match wanted.stdin || wanted.stdout || wanted.stderr {
        true => Ok(wanted),
        false => Err(ApiError::bad_request("you must specify at least 1 of stdin, stdout, stderr")),
    }
}

/// Runs a command; one that cannot be run says so where its user looks.
fn exec(
    streams: &dyn Streams,
    container: &ContainerRef,
    args: Vec<String>,
    wanted: Wanted,
    inputs: Inputs,
) -> impl Future<Output = Outputs> + Send + use<> {
    let started = streams.exec(container, args, wanted, inputs);
    async move {
        match started.await {
            Ok(outputs) => outputs,
            Err(ExecFailure::Command(code, why)) => {
                let line = format!("{why}\n").into();
                let told = if wanted.stderr { Output::Stderr(line) } else { Output::Stdout(line) };
                only(vec![told, Output::End(End::Code(code))])
            }
            Err(ExecFailure::Other(why)) => only(vec![Output::End(End::Failed(why))]),
        }
    }
}

fn only(outputs: Vec<Output>) -> Outputs {
    stream::iter(outputs).boxed()
}

//! The smallest HTTP/1 server that podbox needs: a listener, a handler, a bound on connections.
//!
//! Deliberately without routing or middleware; a handler matches on method and path itself. Invariant:
//! a slow or silent client costs one task and bounded memory, and is cut off by a time limit, never a thread.

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::guests::{Guest, Guests};
use super::multiplex::{Streams, Times, paced};
use super::patience::{Pace, Patience, Unhurried};
use crate::api::user::{MASTERS, User};
use crate::limits;

/// A response's body: all at once, or streamed.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Who a connection is from, as the connection itself tells. Each request has it among its extensions.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    user: Option<Arc<User>>,
    /// Until when it proves that.
    until: Option<SystemTime>,
    guest: Option<Arc<Guest>>,
}

/// What a connection proved once and does not prove any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over;

impl Peer {
    /// Somebody whom the connection proves, for good or until a time.
    pub fn of(user: Arc<User>, until: Option<SystemTime>) -> Peer {
        Peer { user: Some(user), until, guest: None }
    }

    /// Whom it proves now.
    pub fn user(&self, now: SystemTime) -> Result<Option<&Arc<User>>, Over> {
        match self.until.is_some_and(|until| now > until) {
            true => Err(Over),
            false => Ok(self.user.as_ref()),
        }
    }

    /// How much longer it proves that, if not for good.
    pub fn left(&self, now: SystemTime) -> Option<Duration> {
        self.until?.duration_since(now).ok()
    }

    /// A request on it has shown who sends it.
    pub fn known(&self) {
        self.guest.iter().for_each(|guest| guest.known());
    }
}

/// Answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Connections that are served at the same time; further ones wait in the kernel's backlog.
    const CONNECTIONS: usize = limits::CONNECTIONS;
    /// Of these, connections that have not shown who they are from: from one address, and in all. Where nobody has to,
    /// there is no such bound.
    const GUESTS: (usize, usize) = (usize::MAX, usize::MAX);
    /// Answers one. Failures are responses too.
    fn answer(&self, request: Request<Incoming>) -> impl Future<Output = Response<Body>> + Send;
}

/// What connections come from.
pub trait Listener: Send + 'static {
    /// A connection as it was accepted.
    type Raw: Send + 'static;
    /// A connection that can be served.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// Waits for the next one.
    fn next(&mut self) -> impl Future<Output = std::io::Result<Self::Raw>> + Send;
    /// Makes it ready; may take as long as the other side takes.
    fn open(
        &self,
        raw: Self::Raw,
    ) -> impl Future<Output = std::io::Result<(Self::Stream, Peer)>> + Send + 'static;
    /// The address it is from, if it has one.
    fn address(_raw: &Self::Raw) -> Option<IpAddr> {
        None
    }
    /// Whether the two sides agreed on HTTP/2. Never guessed from what comes: nothing may come.
    fn speaks_http2(_stream: &Self::Stream) -> bool {
        false
    }
}

impl Listener for TcpListener {
    type Raw = TcpStream;
    type Stream = TcpStream;
    async fn next(&mut self) -> std::io::Result<TcpStream> {
        self.accept().await.map(|(stream, _)| stream)
    }
    fn address(raw: &TcpStream) -> Option<IpAddr> {
        raw.peer_addr().ok().map(|address| address.ip())
    }
    fn open(
        &self,
        raw: TcpStream,
    ) -> impl Future<Output = std::io::Result<(TcpStream, Peer)>> + Send + 'static {
        std::future::ready(Ok((raw, Peer::default())))
    }
}

impl Listener for UnixListener {
    type Raw = UnixStream;
    type Stream = UnixStream;
    async fn next(&mut self) -> std::io::Result<UnixStream> {
        self.accept().await.map(|(stream, _)| stream)
    }
    /// Only root can connect to podbox's sockets, and root may do everything.
    fn open(
        &self,
        raw: UnixStream,
    ) -> impl Future<Output = std::io::Result<(UnixStream, Peer)>> + Send + 'static {
        let root = User::authenticated("root", [MASTERS.to_owned()]);
        std::future::ready(Ok((raw, Peer::of(Arc::new(root), None))))
    }
}

/// Serves until it is dropped.
pub async fn serve<L: Listener, H: Handler>(mut listener: L, handler: Arc<H>) {
    let places = Arc::new(Semaphore::new(H::CONNECTIONS));
    let guests = Guests::new(H::GUESTS.0, H::GUESTS.1);
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.next().await {
            Ok(raw) => {
                let guest = guests.enter(L::address(&raw));
                let serving =
                    open::<L, H>(listener.open(raw), Arc::clone(&guest), place, Arc::clone(&handler));
                tokio::spawn(async move {
                    tokio::select! {
                        () = serving => {}
                        () = guest.dismissed() => {
                            tracing::debug!("a connection that did not say who it is from made room for another");
                        }
                    }
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: give the open connections a moment to end.
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(limits::ACCEPT_RETRY).await;
            }
        }
    }
}

/// Makes a connection ready and serves it.
async fn open<L: Listener, H: Handler>(
    opening: impl Future<Output = std::io::Result<(L::Stream, Peer)>>,
    guest: Arc<Guest>,
    place: OwnedSemaphorePermit,
    handler: Arc<H>,
) {
    match opening.await {
        Ok((stream, peer)) => {
            if peer.user.is_some() {
                guest.known();
            }
            let http2 = L::speaks_http2(&stream);
            let peer = Peer { guest: Some(guest), ..peer };
            connection(Patience::holding(stream, place), peer, http2, handler, Times::default()).await;
        }
        Err(error) => tracing::debug!(%error, "a connection could not be opened"),
    }
}

/// Serves one connection to its end.
pub(super) async fn connection<S, H>(
    stream: Patience<S>,
    peer: Peer,
    http2: bool,
    handler: Arc<H>,
    times: Times,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let pace = stream.pace();
    let service = service_fn(|mut request: Request<Incoming>| {
        let (handler, pace) = (Arc::clone(&handler), pace.clone());
        request.extensions_mut().insert(peer.clone());
        async move {
            let answer = match http2 {
                true => on_stream(handler.answer(request).await),
                false => alone(&pace, handler.answer(request)).await,
            };
            Ok::<_, Infallible>(answer)
        }
    });
    let stream = TokioIo::new(stream.waiting(times.stall));
    let served = match http2 {
        true => {
            let streams = Streams::new(times.stall);
            let mut builder = http2::Builder::new(streams.clone());
            builder.timer(TokioTimer::new()).max_concurrent_streams(limits::STREAMS);
            builder.keep_alive_interval(limits::PING).keep_alive_timeout(limits::HEADER_READ);
            builder.max_send_buf_size(limits::STREAM_BUFFER).max_header_list_size(limits::HEADER_BYTES);
            let mut connection = pin!(builder.serve_connection(stream, service));
            tokio::select! {
                served = connection.as_mut() => served,
                () = streams.idle(times.first, times.idle) => {
                    // A request that crosses this on its way is still answered.
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        }
        false => {
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(times.first);
            builder.max_buf_size(limits::HEADER_BYTES as usize);
            builder.serve_connection(stream, service).with_upgrades().await
        }
    };
    if let Err(error) = served {
        tracing::debug!(error = &error as &dyn std::error::Error, "a connection ended early");
    }
}

/// An answer on one of several streams: its client has to take it at some pace, unless it may take its time.
fn on_stream(answer: Response<Body>) -> Response<Body> {
    match answer.extensions().get::<Unhurried>() {
        Some(Unhurried) => answer,
        None => answer.map(paced),
    }
}

/// An answer that has the connection for itself, and so its pace, until the next request.
async fn alone(pace: &Pace, answer: impl Future<Output = Response<Body>>) -> Response<Body> {
    pace.hurry(true);
    let answer = answer.await;
    pace.hurry(answer.extensions().get::<Unhurried>().is_none());
    answer
}

/// A body that is there in full.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed_unsync()
}

/// A response of `status` with a plain text.
pub fn text(status: StatusCode, text: impl Into<String>) -> Response<Body> {
    with_type(status, "text/plain; charset=utf-8", full(text.into()))
}

/// A response of `status` with a body of this media type.
pub fn with_type(status: StatusCode, media_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

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
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::patience::Patience;
use crate::api::user::{MASTERS, User};
use crate::limits;

/// A response's body: all at once, or streamed.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Who a connection is from, as the connection itself tells. Each request has it among its extensions.
#[derive(Clone, Debug, Default)]
pub struct Peer(pub Option<Arc<User>>);

/// Answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Connections that are served at the same time; further ones wait in the kernel's backlog.
    const CONNECTIONS: usize = limits::CONNECTIONS;
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
        std::future::ready(Ok((raw, Peer(Some(Arc::new(root))))))
    }
}

/// Serves until it is dropped.
pub async fn serve<L: Listener, H: Handler>(mut listener: L, handler: Arc<H>) {
    let places = Arc::new(Semaphore::new(H::CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.next().await {
            Ok(raw) => {
                let handler = Arc::clone(&handler);
                let opening = listener.open(raw);
                tokio::spawn(async move {
                    match opening.await {
                        Ok((stream, peer)) => {
                            let http2 = L::speaks_http2(&stream);
                            connection(stream, peer, http2, handler).await;
                        }
                        Err(error) => tracing::debug!(%error, "a connection could not be opened"),
                    }
                    drop(place);
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

/// Serves one connection to its end.
pub(super) async fn connection<S, H>(stream: S, peer: Peer, http2: bool, handler: Arc<H>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let service = service_fn(|mut request: Request<Incoming>| {
        let handler = Arc::clone(&handler);
        request.extensions_mut().insert(peer.clone());
        async move { Ok::<_, Infallible>(handler.answer(request).await) }
    });
    let stream = TokioIo::new(Patience::new(stream, limits::WRITE_STALL));
    let served = match http2 {
        true => {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.timer(TokioTimer::new()).max_concurrent_streams(limits::STREAMS);
            builder.keep_alive_interval(limits::PING).keep_alive_timeout(limits::HEADER_READ);
            builder.max_send_buf_size(limits::STREAM_BUFFER).max_header_list_size(limits::HEADER_BYTES);
            builder.serve_connection(stream, service).await
        }
        false => {
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(limits::HEADER_READ);
            builder.max_buf_size(limits::HEADER_BYTES as usize);
            builder.serve_connection(stream, service).with_upgrades().await
        }
    };
    if let Err(error) = served {
        tracing::debug!(error = &error as &dyn std::error::Error, "a connection ended early");
    }
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

//! A listener whose connections are TLS, each with whom its certificate names.

use super::http::{Listener, Peer};
use crate::auth::authority::Authority;
use crate::auth::certificate::identify;
use crate::auth::tls::{self, Certificate, TlsError};
use crate::{clock, limits};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{KeepAlive, TcpKeepCount, TcpKeepIdle, TcpKeepInterval};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A listener whose connections are TLS.
pub struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Tls {
    /// TLS on a listener, with this certificate.
    pub fn new(
        listener: TcpListener,
        authority: &Authority,
        certificate: Arc<Certificate>,
    ) -> Result<Tls, TlsError> {
        let config = tls::server(authority, certificate)?;
        Ok(Tls { listener, acceptor: TlsAcceptor::from(Arc::new(config)) })
    }
}

impl Listener for Tls {
    type Raw = TcpStream;
    type Stream = TlsStream<TcpStream>;

    async fn next(&mut self) -> io::Result<TcpStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }

    fn open(
        &self,
        raw: TcpStream,
    ) -> impl Future<Output = io::Result<(Self::Stream, Peer)>> + Send + 'static {
        let acceptor = self.acceptor.clone();
        async move {
            // Answers are written whole; waiting for more would only delay them.
            raw.set_nodelay(true)?;
            probe(&raw)?;
            let shaken = tokio::time::timeout(limits::HANDSHAKE, acceptor.accept(raw)).await;
            let stream = shaken.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
            let Some(shown) = shown else { return Ok((stream, Peer::default())) };
            let (user, until) = identify(shown, clock::wall()).ok_or_else(over)?;
            let peer = Peer::of(Arc::new(user), Some(until));
            Ok((stream, peer))
        }
    }

    fn address(raw: &TcpStream) -> Option<IpAddr> {
        raw.peer_addr().ok().map(|address| address.ip())
    }

    fn speaks_http2(stream: &Self::Stream) -> bool {
        stream.get_ref().1.alpn_protocol() == Some(b"h2")
    }
}

/// Lets the kernel find out that the other side has gone without a word, as a watch would never notice.
fn probe(stream: &TcpStream) -> io::Result<()> {
    setsockopt(stream, KeepAlive, &true)?;
    setsockopt(stream, TcpKeepIdle, &limits::KEEPALIVE_SECONDS)?;
    setsockopt(stream, TcpKeepInterval, &(limits::KEEPALIVE_SECONDS / 4))?;
    Ok(setsockopt(stream, TcpKeepCount, &4)?)
}

/// A session may be resumed after its certificate ended.
fn over() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "the client's certificate names nobody, or is over")
}

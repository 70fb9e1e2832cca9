//! TLS for the API: the node's own certificate, and clients' certificates as who they are.
//!
//! A client without a certificate may connect: it may have a token, or ask for what everybody may know.

use super::http::{Listener, Peer};
use crate::api::user::User;
use crate::limits;
use crate::pki::{Authority, PkiError};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The library refuses it.
    #[error("setting up TLS failed")]
    Setup(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A listener whose connections are TLS.
pub struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Tls {
    /// TLS on a listener, under these names and addresses.
    pub fn new(
        listener: TcpListener,
        authority: &Authority,
        names: &[String],
        addresses: &[IpAddr],
    ) -> Result<Tls, TlsError> {
        let (certificate, key) = authority.server(names, addresses)?.der();
        let config = config(authority, certificate, key).map_err(TlsError::Setup)?;
        Ok(Tls { listener, acceptor: TlsAcceptor::from(Arc::new(config)) })
    }
}

fn config(
    authority: &Authority,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, Box<dyn std::error::Error + Send + Sync>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes())?)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let verifier = verifier.allow_unauthenticated().build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate], key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
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
            let shaken = tokio::time::timeout(limits::HEADER_READ, acceptor.accept(raw)).await;
            let stream = shaken.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            let user = stream.get_ref().1.peer_certificates().and_then(|chain| who(chain.first()?));
            Ok((stream, Peer(user)))
        }
    }
}

/// Who a certificate is of: its common name, and its organisations as groups.
fn who(certificate: &CertificateDer<'_>) -> Option<User> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let subject = parsed.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let groups = subject.iter_organization().filter_map(|group| group.as_str().ok().map(str::to_owned));
    Some(User::authenticated(name, groups))
}

//! TLS as the API serves it: the node's own certificate, renewed while it serves; clients' certificates, if they show any.
//!
//! A client without a certificate may connect: it may have a token, or ask for what everybody may know. One whose
//! certificate the authority did not sign, or that is over, is refused in the handshake.
//!
//! Sessions are resumed by tickets, which hold the client's certificate: who takes a user from a connection asks
//! `certificate::identify`, which looks at the clock again.

use super::authority::{Authority, PkiError};
use crate::limits;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

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

/// The server's certificate, which is replaced before it ends.
#[derive(Debug)]
pub struct Certificate {
    names: Vec<String>,
    addresses: Vec<IpAddr>,
    provider: Arc<CryptoProvider>,
    current: RwLock<Current>,
}

#[derive(Debug)]
struct Current {
    key: Arc<CertifiedKey>,
    renewal: SystemTime,
}

fn setup(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> TlsError {
    TlsError::Setup(error.into())
}

impl Certificate {
    /// One under these names and addresses.
    pub fn new(
        authority: &Authority,
        names: Vec<String>,
        addresses: Vec<IpAddr>,
        now: SystemTime,
    ) -> Result<Certificate, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let current = RwLock::new(sign(authority, &names, &addresses, &provider, now)?);
        Ok(Certificate { names, addresses, provider, current })
    }

    /// Replaces it when it is time to. Connections that are open go on with the old one. Says whether it did.
    pub fn renew(&self, authority: &Authority, now: SystemTime) -> Result<bool, TlsError> {
        if now < self.current.read().unwrap_or_else(PoisonError::into_inner).renewal {
            return Ok(false);
        }
        let next = sign(authority, &self.names, &self.addresses, &self.provider, now)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(true)
    }
}

fn sign(
    authority: &Authority,
    names: &[String],
    addresses: &[IpAddr],
    provider: &CryptoProvider,
    now: SystemTime,
) -> Result<Current, TlsError> {
    let identity = authority.server(names, addresses, now)?;
    let (certificate, key) = identity.der();
    let key = CertifiedKey::from_der(vec![certificate], key, provider).map_err(setup)?;
    Ok(Current { key: Arc::new(key), renewal: identity.renewal() })
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).key))
    }
}

/// TLS for a server: HTTP/2 or HTTP/1.1, clients' certificates if they have any.
pub fn server(authority: &Authority, certificate: Arc<Certificate>) -> Result<ServerConfig, TlsError> {
    let provider = Arc::clone(&certificate.provider);
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(authority.pem().as_bytes()).map_err(setup)?;
    roots.add(root).map_err(setup)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let verifier = verifier.allow_unauthenticated().build().map_err(setup)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(setup)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // Tickets cost the server no memory, however many clients it has had.
    config.ticketer = ring::Ticketer::new().map_err(setup)?;
    config.send_tls13_tickets = limits::TLS_TICKETS;
    Ok(config)
}

#[cfg(test)]
mod tests;

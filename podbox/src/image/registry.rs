//! One conversation with one registry, by the distribution protocol: manifests, configurations, layers.
//!
//! TLS always, but for loopback addresses. What arrives is verified against the digest it was asked by; without
//! one (a tag) it is digested here, whatever the registry says.
//!
//! Blobs are never taken beyond the size that their manifest promises. Manifests, tokens and the texts of errors have no
//! such promise, and oci-client reads each whole into memory, without a limit that could be set: what a hostile
//! registry may send of these is bounded only by the time it has, `limits::REGISTRY_DOCUMENT`, and an error's text in
//! place of a layer not even by that.

use super::digest::Digest;
use super::document::Blob;
use super::error::ImageError;
use super::progress::Progress;
use super::reference::{is_loopback, key};
use crate::api::keyring::Login;
use crate::limits;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::manifest::{
    IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE,
    OCI_IMAGE_MEDIA_TYPE, OciDescriptor,
};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Once;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;

const MANIFESTS: [&str; 4] = [
    OCI_IMAGE_INDEX_MEDIA_TYPE,
    IMAGE_MANIFEST_LIST_MEDIA_TYPE,
    OCI_IMAGE_MEDIA_TYPE,
    IMAGE_MANIFEST_MEDIA_TYPE,
];

/// A registry, spoken to for one image.
pub(super) struct Registry {
    client: Client,
    auth: RegistryAuth,
    reference: Reference,
}

impl Registry {
    pub(super) fn new(reference: &Reference, login: Option<&Login>) -> Result<Registry, ImageError> {
        provide_crypto();
        let loopback = is_loopback(reference.resolve_registry());
        let config = ClientConfig {
            protocol: if loopback { ClientProtocol::Http } else { ClientProtocol::Https },
            connect_timeout: Some(limits::REGISTRY_CONNECT),
            read_timeout: Some(limits::REGISTRY_READ),
            user_agent: concat!("podbox/", env!("CARGO_PKG_VERSION")),
            // Naming a proxy, for no host that is asked, keeps one from the environment out of loopback.
            http_proxy: loopback.then(|| "http://127.0.0.1:9".to_owned()),
            no_proxy: loopback.then(|| "127.0.0.0/8,::1,localhost".to_owned()),
            ..ClientConfig::default()
        };
        let client =
            Client::try_from(config).map_err(|source| ImageError::Tls { source: Box::new(source) })?;
        let auth = match login {
            None => RegistryAuth::Anonymous,
            Some(Login { username, password }) => RegistryAuth::Basic(username.clone(), password.clone()),
        };
        Ok(Registry { client, auth, reference: reference.clone() })
    }

    /// A manifest or an index, by the reference's own tag or digest, or by another digest of the repository.
    pub(super) async fn manifest(&self, digest: Option<&Digest>) -> Result<(Vec<u8>, Digest), ImageError> {
        let reference = match digest {
            Some(digest) => self.reference.clone_with_digest(digest.to_string()),
            None => self.reference.clone(),
        };
        let pull = self.client.pull_manifest_raw(&reference, &self.auth, &MANIFESTS);
        let (bytes, _) = in_time(pull).await.map_err(|error| self.error("its manifest", error))?;
        self.check_size("its manifest", bytes.len() as u64)?;
        // Verified against reference and header; digested again as the header is the registry's word.
        let actual = Digest::of(&bytes);
        if let Some(expected) = reference.digest()
            && expected != actual.to_string()
        {
            return Err(self.mismatch("its manifest", expected, &actual.to_string()));
        }
        Ok((bytes.to_vec(), actual))
    }

    /// A small blob whole, verified.
    pub(super) async fn document(&self, what: &str, blob: &Blob) -> Result<Vec<u8>, ImageError> {
        self.check_size(what, blob.size)?;
        let mut bytes = Vec::new();
        let mut sink = Sink { inner: &mut bytes, left: blob.size, arrived: |_| {} };
        self.client.store_auth_if_needed(self.reference.resolve_registry(), &self.auth).await;
        let descriptor = descriptor(blob);
        let pull = self.client.pull_blob(&self.reference, &descriptor, &mut sink);
        in_time(pull).await.map_err(|error| self.error(what, error))?;
        Ok(bytes)
    }

    /// A layer into a file, verified.
    pub(super) async fn layer(
        &self,
        blob: &Blob,
        path: &Path,
        progress: &dyn Progress,
    ) -> Result<(), ImageError> {
        let failed = |error| ImageError::io("writing a layer to", path, error);
        let file = tokio::fs::File::create(path).await.map_err(failed)?;
        let arrived = |n| progress.advance(&blob.digest, n);
        let mut sink = Sink { inner: file, left: blob.size, arrived };
        match self.client.pull_blob(&self.reference, &descriptor(blob), &mut sink).await {
            Ok(()) => Ok(()),
            Err(OciDistributionError::IoError(error)) if super::error::is_full(&error) => Err(failed(error)),
            Err(error) => Err(self.error(&format!("layer {}", blob.digest), error)),
        }
    }

    /// Refuses a document that is too large to be one.
    fn check_size(&self, what: &str, bytes: u64) -> Result<(), ImageError> {
        if bytes <= limits::IMAGE_DOCUMENT_BYTES {
            return Ok(());
        }
        let reason = format!("it has {bytes} bytes, above {}", limits::IMAGE_DOCUMENT_BYTES);
        Err(ImageError::Invalid { image: key(&self.reference), what: what.to_owned(), reason })
    }

    fn error(&self, what: &str, error: OciDistributionError) -> ImageError {
        let (reference, registry) = (key(&self.reference), self.reference.resolve_registry().to_owned());
        match error {
            OciDistributionError::UnauthorizedError { .. }
            | OciDistributionError::AuthenticationFailure(_) => {
                ImageError::Unauthorized { reference, registry }
            }
            OciDistributionError::DigestError(oci_client::errors::DigestError::VerificationError {
                expected,
                actual,
            }) => self.mismatch(what, &expected, &actual),
            OciDistributionError::RegistryError { ref envelope, .. }
                if envelope.errors.iter().any(is_absent) =>
            {
                ImageError::NotFound { reference, registry }
            }
            OciDistributionError::RegistryError { ref envelope, .. }
                if envelope.errors.iter().any(is_denied) =>
            {
                ImageError::Unauthorized { reference, registry }
            }
            OciDistributionError::ServerError { code: 404, .. } => {
                ImageError::NotFound { reference, registry }
            }
            source => {
                let hint = match &source {
                    OciDistributionError::RequestError(error) if error.is_connect() => {
                        "; is the registry's name right, and the network up?"
                    }
                    _ => "",
                };
                let what = what.to_owned();
                ImageError::Registry { reference, registry, what, hint, source: Box::new(source) }
            }
        }
    }

    fn mismatch(&self, what: &str, expected: &str, actual: &str) -> ImageError {
        ImageError::Digest {
            image: key(&self.reference),
            what: what.to_owned(),
            expected: expected.to_owned(),
            actual: actual.to_owned(),
        }
    }
}

/// A document that goes on arriving is none: the whole of it has to be here in time.
async fn in_time<T>(
    fetch: impl Future<Output = Result<T, OciDistributionError>>,
) -> Result<T, OciDistributionError> {
    tokio::time::timeout(limits::REGISTRY_DOCUMENT, fetch).await.unwrap_or_else(|_| {
        let late = format!("it was not whole after {} s", limits::REGISTRY_DOCUMENT.as_secs());
        Err(io::Error::new(io::ErrorKind::TimedOut, late).into())
    })
}

fn is_absent(error: &oci_client::errors::OciError) -> bool {
    matches!(
        error.code,
        OciErrorCode::ManifestUnknown
            | OciErrorCode::NameUnknown
            | OciErrorCode::NotFound
            | OciErrorCode::BlobUnknown
    )
}

fn is_denied(error: &oci_client::errors::OciError) -> bool {
    matches!(error.code, OciErrorCode::Denied | OciErrorCode::Unauthorized)
}

fn descriptor(blob: &Blob) -> OciDescriptor {
    OciDescriptor {
        digest: blob.digest.to_string(),
        size: i64::try_from(blob.size).unwrap_or(i64::MAX),
        ..OciDescriptor::default()
    }
}

/// Takes no more bytes than the manifest promised, and tells of each.
struct Sink<W, F> {
    inner: W,
    left: u64,
    arrived: F,
}

impl<W: AsyncWrite + Unpin, F: FnMut(u64) + Unpin> AsyncWrite for Sink<W, F> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.len() as u64 > self.left {
            return Poll::Ready(Err(io::Error::other("the registry sent more than its manifest says")));
        }
        let n = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes))?;
        self.left -= n as u64;
        (self.arrived)(n as u64);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// rustls has no provider of its own here; the first one installed in a process stays, whoever installs it.
fn provide_crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if rustls::crypto::ring::default_provider().install_default().is_err() {
            tracing::debug!("another TLS provider is installed already");
        }
    });
}

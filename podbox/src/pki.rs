//! The node's own certificate authority, and what it signs: the API server's certificate and the administrator's.
//!
//! On disk is only what cannot be made again: the authority's certificate and key. They come into being
//! together, by one rename, so a start that is interrupted leaves none or both. Leaf certificates are made anew
//! at each start and live in memory; the administrator's goes into the kubeconfig.
//!
//! **Invariant:** private keys are in files that only root can read, and never in a log.

use crate::api::user::MASTERS;
use crate::clock;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);
/// How long the authority is good.
const AUTHORITY: Duration = Duration::from_secs(86_400 * 3650);
/// How long what it signs is good.
const LEAF: Duration = Duration::from_secs(86_400 * 365);

/// A failure of the node's keys.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file.
    #[error("{what} {} failed", .path.display())]
    File {
        /// Reading or writing.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A certificate cannot be made of what there is.
    #[error("the certificate authority in {} cannot be used; without it, a new one is made", .path.display())]
    Authority {
        /// Where.
        path: PathBuf,
        /// Why.
        source: rcgen::Error,
    },
    /// A certificate cannot be made.
    #[error("making a certificate failed")]
    Make(#[from] rcgen::Error),
}

/// A certificate and its key.
pub struct Identity {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity")
    }
}

impl Identity {
    /// For rustls.
    pub fn der(&self) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = PrivatePkcs8KeyDer::from(self.key.serialize_der());
        (self.certificate.der().clone(), key.into())
    }
}

/// The certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority")
    }
}

impl Authority {
    /// The authority in a state directory, made if it is not there.
    pub fn open(state_dir: &Path) -> Result<Authority, PkiError> {
        let dir = state_dir.join("pki");
        if !dir.exists() {
            make(&dir)?;
        }
        let read = |name: &str| {
            let path = dir.join(name);
            fs::read_to_string(&path).map_err(|source| PkiError::File { what: "reading", path, source })
        };
        let (pem, key) = (read("ca.crt")?, read("ca.key")?);
        let issuer = KeyPair::from_pem(&key).and_then(|key| Issuer::from_ca_cert_pem(&pem, key));
        let issuer = issuer.map_err(|source| PkiError::Authority { path: dir, source })?;
        Ok(Authority { issuer, pem })
    }

    /// Its certificate, for clients to trust.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for the API server under its names and addresses.
    pub fn server(&self, names: &[String], addresses: &[IpAddr]) -> Result<Identity, PkiError> {
        let mut params = CertificateParams::new(names.to_vec())?;
        params.subject_alt_names.extend(addresses.iter().map(|address| SanType::IpAddress(*address)));
        params.distinguished_name.push(DnType::CommonName, "podbox");
        self.sign(params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A certificate for a client of this name and these groups.
    pub fn client(&self, name: &str, groups: &[&str]) -> Result<Identity, PkiError> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        for group in groups {
            params.distinguished_name.push(DnType::OrganizationName, *group);
        }
        self.sign(params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<Identity, PkiError> {
        let now = clock::wall();
        // Clocks differ.
        params.not_before = (now - DAY).into();
        params.not_after = (now + LEAF).into();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Identity { certificate, key })
    }

    /// Writes the kubeconfig of an administrator who may do everything, for root alone.
    pub fn write_kubeconfig(&self, path: &Path, server: &str) -> Result<(), PkiError> {
        let admin = self.client("podbox-admin", &[MASTERS])?;
        let base64 = |text: &str| data_encoding::BASE64.encode(text.as_bytes());
        let config = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "podbox", "cluster": {
                "server": server, "certificate-authority-data": base64(&self.pem),
            }}],
            "users": [{"name": "podbox-admin", "user": {
                "client-certificate-data": base64(&admin.certificate.pem()),
                "client-key-data": base64(&admin.key.serialize_pem()),
            }}],
            "contexts": [{"name": "podbox", "context": {"cluster": "podbox", "user": "podbox-admin"}}],
            "current-context": "podbox",
        });
        let text = serde_yaml::to_string(&config).unwrap_or_default();
        let beside = path.with_extension("tmp");
        write(&beside, &text)?;
        let failed = |source| PkiError::File { what: "writing", path: path.to_owned(), source };
        fs::rename(&beside, path).map_err(failed)
    }
}

fn write(path: &Path, text: &str) -> Result<(), PkiError> {
    let written = (|| {
        let _ = fs::remove_file(path);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    })();
    written.map_err(|source| PkiError::File { what: "writing", path: path.to_owned(), source })
}

/// Makes a new authority: beside its place first, then all of it at once.
fn make(dir: &Path) -> Result<(), PkiError> {
    let mut params = CertificateParams::new(Vec::new())?;
    let now = clock::wall();
    params.not_before = (now - DAY).into();
    params.not_after = (now + AUTHORITY).into();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    params.distinguished_name.push(DnType::CommonName, "podbox-ca");
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;

    let beside = dir.with_extension("tmp");
    let failed = |source| PkiError::File { what: "making", path: dir.to_owned(), source };
    match fs::remove_dir_all(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    DirBuilder::new().recursive(true).mode(0o700).create(&beside).map_err(failed)?;
    write(&beside.join("ca.crt"), &certificate.pem())?;
    write(&beside.join("ca.key"), &key.serialize_pem())?;
    let sync = |path: &Path| File::open(path).and_then(|file| file.sync_all()).map_err(failed);
    sync(&beside)?;
    fs::rename(&beside, dir).map_err(failed)?;
    dir.parent().map_or(Ok(()), sync)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_authority_stays_and_is_roots_alone() {
        let dir = tempfile::tempdir().unwrap();
        let first = Authority::open(dir.path()).unwrap().pem().to_owned();
        assert_eq!(Authority::open(dir.path()).unwrap().pem(), first);
        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(dir.path().join("pki")), 0o700);
        assert_eq!(mode(dir.path().join("pki/ca.key")), 0o600);
    }

    #[test]
    fn what_an_interrupted_start_left_is_no_authority() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("pki.tmp")).unwrap();
        fs::write(dir.path().join("pki.tmp/ca.crt"), "half").unwrap();
        Authority::open(dir.path()).unwrap();
        assert!(!dir.path().join("pki.tmp").exists());
    }

    #[test]
    fn a_damaged_authority_is_named() {
        let dir = tempfile::tempdir().unwrap();
        Authority::open(dir.path()).unwrap();
        fs::write(dir.path().join("pki/ca.key"), "nonsense").unwrap();
        assert!(Authority::open(dir.path()).unwrap_err().to_string().contains("pki"));
    }

    #[test]
    fn the_kubeconfig_is_roots_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.kubeconfig");
        let authority = Authority::open(dir.path()).unwrap();
        authority.write_kubeconfig(&path, "https://127.0.0.1:6443").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(fs::read_to_string(&path).unwrap().contains("https://127.0.0.1:6443"));
    }
}

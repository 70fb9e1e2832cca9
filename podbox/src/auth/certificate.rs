//! Certificates: making them, and reading who one is of. Pure; what they are made for is the caller's to say.

use crate::api::user::{CREDENTIAL, User};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};
use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};
use x509_parser::prelude::{FromDer, X509Certificate};

const DAY: Duration = Duration::from_secs(86_400);
/// How long the authority is good.
const AUTHORITY: Duration = Duration::from_secs(86_400 * 3650);
/// How long what it signs is good.
pub const LEAF: Duration = Duration::from_secs(86_400 * 365);
/// With this left, a certificate is made anew.
const RENEWAL: Duration = Duration::from_secs(86_400 * 120);

/// Why an authority cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The key is none.
    #[error("its key cannot be read")]
    Key,
    /// The certificate is none.
    #[error("its certificate cannot be read")]
    Certificate,
    /// They do not belong together.
    #[error("its certificate is another key's")]
    Mismatch,
    /// It is over.
    #[error("its certificate expired")]
    Expired,
    /// Signing failed.
    #[error("a certificate cannot be made: {0}")]
    Make(String),
}

impl From<rcgen::Error> for CertificateError {
    fn from(error: rcgen::Error) -> CertificateError {
        CertificateError::Make(error.to_string())
    }
}

/// A certificate and its key.
pub struct Identity {
    certificate: rcgen::Certificate,
    key: KeyPair,
    until: SystemTime,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("until", &self.until).finish_non_exhaustive()
    }
}

impl Identity {
    /// For rustls.
    pub fn der(&self) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = PrivatePkcs8KeyDer::from(self.key.serialize_der());
        (self.certificate.der().clone(), key.into())
    }

    /// Certificate and key, for files.
    pub fn pem(&self) -> (String, String) {
        (self.certificate.pem(), self.key.serialize_pem())
    }

    /// When to have made its successor.
    pub fn renewal(&self) -> SystemTime {
        self.until - RENEWAL
    }
}

/// A new private key, as PEM.
pub fn key() -> Result<String, CertificateError> {
    Ok(KeyPair::generate()?.serialize_pem())
}

/// The certificate of a new authority that has this key.
pub fn authority(key: &str, now: SystemTime) -> Result<String, CertificateError> {
    let key = KeyPair::from_pem(key).map_err(|_| CertificateError::Key)?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.not_before = (now - DAY).into();
    params.not_after = (now + AUTHORITY).into();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    params.distinguished_name.push(DnType::CommonName, "podbox-ca");
    Ok(params.self_signed(&key)?.pem())
}

/// An authority that can sign.
pub struct Signer {
    issuer: Issuer<'static, KeyPair>,
    until: SystemTime,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("until", &self.until).finish_non_exhaustive()
    }
}

impl Signer {
    /// From an authority's certificate and key. They must belong together and be good now.
    pub fn read(certificate: &str, key: &str, now: SystemTime) -> Result<Signer, CertificateError> {
        let key = KeyPair::from_pem(key).map_err(|_| CertificateError::Key)?;
        let (_, block) = x509_parser::pem::parse_x509_pem(certificate.as_bytes())
            .map_err(|_| CertificateError::Certificate)?;
        let parsed = block.parse_x509().map_err(|_| CertificateError::Certificate)?;
        if parsed.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
            return Err(CertificateError::Mismatch);
        }
        let until = time(parsed.validity().not_after.timestamp());
        if until <= now {
            return Err(CertificateError::Expired);
        }
        let issuer = Issuer::from_ca_cert_pem(certificate, key).map_err(|_| CertificateError::Certificate)?;
        Ok(Signer { issuer, until })
    }

    /// A server's certificate under its names and addresses.
    pub fn server(
        &self,
        names: &[String],
        addresses: &[IpAddr],
        now: SystemTime,
    ) -> Result<Identity, CertificateError> {
        let mut params = CertificateParams::new(names.to_vec())?;
        params.subject_alt_names.extend(addresses.iter().map(|address| SanType::IpAddress(*address)));
        params.distinguished_name.push(DnType::CommonName, "podbox");
        self.sign(params, ExtendedKeyUsagePurpose::ServerAuth, now)
    }

    /// The certificate of a client of this name, in one group or none: `rcgen` writes only one organisation.
    pub fn client(
        &self,
        name: &str,
        group: Option<&str>,
        now: SystemTime,
    ) -> Result<Identity, CertificateError> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        self.sign(params, ExtendedKeyUsagePurpose::ClientAuth, now)
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        usage: ExtendedKeyUsagePurpose,
        now: SystemTime,
    ) -> Result<Identity, CertificateError> {
        // What is signed cannot outlive who signed it.
        let until = (now + LEAF).min(self.until);
        // Clocks differ.
        params.not_before = (now - DAY).into();
        params.not_after = until.into();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Identity { certificate, key, until })
    }
}

/// Who a certificate is of, and until when: its common name, and its organisations as groups. That it was signed by the authority is the
/// handshake's to check; that it is still good is checked again here, since a resumed session has no handshake.
pub fn identify(certificate: &CertificateDer<'_>, now: SystemTime) -> Option<(User, SystemTime)> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let validity = parsed.validity();
    let now = now.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    let now = i64::try_from(now).ok()?;
    if now < validity.not_before.timestamp() || now > validity.not_after.timestamp() {
        return None;
    }
    let subject = parsed.subject();
    let name = subject.iter_common_name().next()?.as_str().ok().filter(|name| !name.is_empty())?;
    let groups = subject.iter_organization().filter_map(|group| group.as_str().ok().map(str::to_owned));
    let mut user = User::authenticated(name, groups);
    let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(certificate.as_ref()));
    user.extra.insert(CREDENTIAL.to_owned(), vec![format!("X509SHA256={digest}")]);
    Some((user, time(validity.not_after.timestamp())))
}

fn time(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::user::MASTERS;
    use std::process::Command;

    fn at(days: u64) -> SystemTime {
        time(1_800_000_000) + DAY * u32::try_from(days).unwrap()
    }

    fn signer() -> Signer {
        let key = key().unwrap();
        Signer::read(&authority(&key, at(0)).unwrap(), &key, at(0)).unwrap()
    }

    #[test]
    fn a_certificate_names_its_user_while_it_is_good() {
        let (certificate, _) = signer().client("jane", Some("dev"), at(0)).unwrap().der();
        let (user, until) = identify(&certificate, at(1)).unwrap();
        assert_eq!(until, at(365));
        assert_eq!((&*user.name, user.groups.join(" ")), ("jane", "dev system:authenticated".to_owned()));
        assert!(user.extra[CREDENTIAL][0].starts_with("X509SHA256="));
        assert_eq!(identify(&certificate, at(366)), None);
        assert_eq!(identify(&CertificateDer::from(vec![1, 2, 3]), at(1)), None);
    }

    #[test]
    fn every_organisation_is_a_group() {
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-days",
                "2",
            ])
            .args(["-keyout", "/dev/null", "-outform", "DER", "-subj", "/O=dev/O=ops/OU=x/CN=jane"])
            .output()
            .unwrap();
        let (user, _) = identify(&CertificateDer::from(made.stdout), crate::clock::wall()).unwrap();
        assert_eq!((&*user.name, user.groups.join(" ")), ("jane", "dev ops system:authenticated".to_owned()));
    }

    #[test]
    fn a_nameless_certificate_is_nobodys() {
        let (certificate, _) = signer().client("", Some(MASTERS), at(0)).unwrap().der();
        assert_eq!(identify(&certificate, at(1)), None);
    }

    #[test]
    fn certificates_are_renewed_early_and_end_with_their_authority() {
        let signer = signer();
        let renewal = signer.client("a", None, at(0)).unwrap().renewal();
        assert!(renewal > at(200) && renewal < at(300));
        let last = signer.client("a", None, at(3600)).unwrap();
        assert!(last.until <= at(3650));
    }

    #[test]
    fn an_unusable_authority_says_why() {
        let (one, other) = (key().unwrap(), key().unwrap());
        let certificate = authority(&one, at(0)).unwrap();
        let why = |certificate: &str, key: &str, day| Signer::read(certificate, key, at(day)).err();
        assert_eq!(why(&certificate, &other, 0), Some(CertificateError::Mismatch));
        assert_eq!(why(&certificate, "x", 0), Some(CertificateError::Key));
        assert_eq!(why("x", &one, 0), Some(CertificateError::Certificate));
        assert_eq!(why(&certificate, &one, 3651), Some(CertificateError::Expired));
        assert_eq!(why(&certificate, &one, 3000), None);
    }

    #[test]
    fn keys_are_not_shown() {
        let signer = signer();
        let identity = signer.client("a", None, at(0)).unwrap();
        let shown = format!("{signer:?} {identity:?}");
        assert!(!shown.contains("PRIVATE") && !shown.contains("key"), "{shown}");
    }
}

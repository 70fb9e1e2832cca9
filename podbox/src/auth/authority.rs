//! The node's own certificate authority and the key that signs service accounts' tokens, as they are on disk.
//!
//! On disk is only what cannot be made again, below `<state>/pki`:
//!
//! ```text
//!   nothing ──▶ ca.key ──▶ ca.key, ca.crt ──▶ ca.key, ca.crt, sa.key
//! ```
//!
//! Each file comes by one rename, in this order, so a start that was interrupted is continued by the next. A certificate
//! without its key is no state that an interruption leaves: that is an error, since a new authority would lock out
//! everyone who trusts the old one. Leaf certificates live in memory; the administrator's goes into the kubeconfig.

use super::certificate::{self, CertificateError, Identity, Signer};
use super::file::{self, Step};
use super::secret::Secret;
use crate::api::user::MASTERS;
use serde_json::json;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The administrator's name.
const ADMIN: &str = "podbox-admin";

/// A failure of the node's keys.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file.
    #[error("{what} failed")]
    File {
        /// What was being done.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// What is there cannot be used.
    #[error("the keys in {} cannot be used; restore them, or move them away to begin with new ones (clients need a new kubeconfig then)", .path.display())]
    Unusable {
        /// Where.
        path: PathBuf,
        /// Why.
        source: CertificateError,
    },
    /// A certificate cannot be made.
    #[error(transparent)]
    Make(#[from] CertificateError),
}

/// The certificate authority.
#[derive(Debug)]
pub struct Authority {
    signer: Signer,
    pem: String,
    tokens: Secret,
}

/// What is on disk.
struct Present {
    certificate: Option<String>,
    key: Option<String>,
    tokens: Option<String>,
}

fn observe(dir: &Path) -> Result<Present, PkiError> {
    let read = |name: &str| {
        let path = dir.join(name);
        file::read(&path)
            .map_err(|source| PkiError::File { what: format!("reading {}", path.display()), source })
    };
    Ok(Present { certificate: read("ca.crt")?, key: read("ca.key")?, tokens: read("sa.key")? })
}

/// What is still to be done until everything is there.
fn plan(dir: &Path, present: &Present, now: SystemTime) -> Result<Vec<Step>, CertificateError> {
    let mut steps = vec![Step::Directory(dir.to_owned())];
    let key = match (&present.key, &present.certificate) {
        (Some(key), _) => key.clone(),
        (None, Some(_)) => return Err(CertificateError::Key),
        (None, None) => {
            let key = certificate::key()?;
            // The directory is new, most likely.
            steps.extend(dir.parent().map(|parent| Step::Sync(parent.to_owned())));
            steps.extend(file::write(&dir.join("ca.key"), key.clone()));
            key
        }
    };
    if present.certificate.is_none() {
        steps.extend(file::write(&dir.join("ca.crt"), certificate::authority(&key, now)?));
    }
    if present.tokens.is_none() {
        steps.extend(file::write(&dir.join("sa.key"), certificate::key()?));
    }
    Ok(steps)
}

fn apply(steps: &[Step]) -> Result<(), PkiError> {
    let each =
        |step: &Step| step.apply().map_err(|source| PkiError::File { what: format!("{step:?}"), source });
    steps.iter().try_for_each(each)
}

impl Authority {
    /// The authority in a state directory, made if it is not there.
    pub fn open(state_dir: &Path, now: SystemTime) -> Result<Authority, PkiError> {
        let dir = state_dir.join("pki");
        let unusable = |source| PkiError::Unusable { path: dir.clone(), source };
        apply(&plan(&dir, &observe(&dir)?, now).map_err(unusable)?)?;
        let present = observe(&dir)?;
        let text = |text: Option<String>| text.unwrap_or_default();
        let (pem, key, tokens) = (text(present.certificate), text(present.key), text(present.tokens));
        let signer = Signer::read(&pem, &key, now).map_err(unusable)?;
        Ok(Authority { signer, pem, tokens: Secret(tokens) })
    }

    /// Its certificate, for clients to trust.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The key that signs service accounts' tokens, as PEM.
    pub fn token_key(&self) -> &str {
        &self.tokens.0
    }

    /// A certificate for the API server under its names and addresses.
    pub fn server(
        &self,
        names: &[String],
        addresses: &[IpAddr],
        now: SystemTime,
    ) -> Result<Identity, PkiError> {
        Ok(self.signer.server(names, addresses, now)?)
    }

    /// A certificate for a client of this name, in one group or none.
    pub fn client(&self, name: &str, group: Option<&str>, now: SystemTime) -> Result<Identity, PkiError> {
        Ok(self.signer.client(name, group, now)?)
    }

    /// Writes the kubeconfig of an administrator who may do everything, for root alone.
    pub fn write_kubeconfig(&self, path: &Path, server: &str, now: SystemTime) -> Result<(), PkiError> {
        apply(&file::write(path, self.kubeconfig(ADMIN, Some(MASTERS), server, now)?))
    }

    /// A kubeconfig with a certificate of its own, by which its bearer is known under this name.
    pub fn kubeconfig(
        &self,
        name: &str,
        group: Option<&str>,
        server: &str,
        now: SystemTime,
    ) -> Result<String, PkiError> {
        Ok(kubeconfig(&self.pem, name, &self.client(name, group, now)?, server))
    }
}

fn kubeconfig(authority: &str, name: &str, user: &Identity, server: &str) -> String {
    let base64 = |text: &str| data_encoding::BASE64.encode(text.as_bytes());
    let (certificate, key) = user.pem();
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "podbox", "cluster": {
            "server": server, "certificate-authority-data": base64(authority),
        }}],
        "users": [{"name": name, "user": {
            "client-certificate-data": base64(&certificate), "client-key-data": base64(&key),
        }}],
        "contexts": [{"name": "podbox", "context": {"cluster": "podbox", "user": name}}],
        "current-context": "podbox",
    });
    // JSON is YAML.
    serde_yaml::to_string(&config).unwrap_or_else(|_| config.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::wall;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use tempfile::tempdir;

    fn mode(path: PathBuf) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_authority_stays_and_is_roots_alone() {
        let dir = tempdir().unwrap();
        let first = Authority::open(dir.path(), wall()).unwrap();
        let again = Authority::open(dir.path(), wall()).unwrap();
        assert_eq!((again.pem(), again.token_key()), (first.pem(), first.token_key()));
        assert_eq!(mode(dir.path().join("pki")), 0o700);
        for name in ["ca.crt", "ca.key", "sa.key"] {
            assert_eq!(mode(dir.path().join("pki").join(name)), 0o600);
        }
    }

    #[test]
    fn files_that_others_could_read_are_so_no_longer() {
        let dir = tempdir().unwrap();
        Authority::open(dir.path(), wall()).unwrap();
        let key = dir.path().join("pki/ca.key");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        fs::set_permissions(dir.path().join("pki"), fs::Permissions::from_mode(0o755)).unwrap();
        Authority::open(dir.path(), wall()).unwrap();
        assert_eq!((mode(key), mode(dir.path().join("pki"))), (0o600, 0o700));
    }

    /// Stops after each step, and within each write; the next start completes what is there and keeps what was done.
    #[test]
    fn a_start_that_was_killed_anywhere_is_continued() {
        let count = {
            let dir = tempdir().unwrap();
            plan(dir.path(), &observe(dir.path()).unwrap(), wall()).unwrap().len()
        };
        for (done, torn) in (0..=count).flat_map(|done| [(done, false), (done, true)]) {
            let dir = tempdir().unwrap();
            let pki = dir.path().join("pki");
            let steps = plan(&pki, &observe(&pki).unwrap(), wall()).unwrap();
            apply(&steps[..done]).unwrap();
            if let (true, Some(Step::Content(path, text))) = (torn, steps.get(done)) {
                fs::write(path, &text[..text.len() / 2]).unwrap();
            }
            let left = observe(&pki).unwrap();
            let authority = Authority::open(dir.path(), wall())
                .unwrap_or_else(|error| panic!("after {done} steps, torn {torn}: {error}"));
            assert!(left.certificate.is_none_or(|text| text == authority.pem()));
            assert!(left.tokens.is_none_or(|text| text == authority.token_key()));
            assert_eq!(left.key.is_some(), done >= 4);
            authority.client("a", None, wall()).unwrap();
            let names = fs::read_dir(&pki).unwrap().count();
            assert_eq!(names, 3, "after {done} steps, torn {torn}");
        }
    }

    #[track_caller]
    fn refused(change: impl Fn(&Path)) {
        let dir = tempdir().unwrap();
        Authority::open(dir.path(), wall()).unwrap();
        change(&dir.path().join("pki"));
        let error = Authority::open(dir.path(), wall()).unwrap_err();
        assert!(error.to_string().contains("pki"), "{error}");
        assert!(matches!(error, PkiError::Unusable { .. }), "{error:?}");
    }

    #[test]
    fn a_damaged_authority_is_named_and_not_replaced() {
        refused(|pki| fs::write(pki.join("ca.key"), "nonsense").unwrap());
        refused(|pki| fs::write(pki.join("ca.crt"), "nonsense").unwrap());
        refused(|pki| fs::remove_file(pki.join("ca.key")).unwrap());
        refused(|pki| fs::copy(pki.join("sa.key"), pki.join("ca.key")).map(drop).unwrap());
    }

    #[test]
    fn the_kubeconfig_is_roots_alone() {
        let dir = tempdir().unwrap();
        let path = dir.path().join("admin.kubeconfig");
        let authority = Authority::open(dir.path(), wall()).unwrap();
        for server in ["https://127.0.0.1:1", "https://127.0.0.1:6443"] {
            authority.write_kubeconfig(&path, server, wall()).unwrap();
        }
        assert_eq!(mode(path.clone()), 0o600);
        assert!(fs::read_to_string(&path).unwrap().contains("https://127.0.0.1:6443"));
    }

    #[test]
    fn keys_are_not_shown() {
        let dir = tempdir().unwrap();
        let authority = Authority::open(dir.path(), wall()).unwrap();
        let steps = file::write(Path::new("/x"), authority.token_key().to_owned());
        assert!(!format!("{authority:?} {steps:?}").contains("PRIVATE"));
    }
}

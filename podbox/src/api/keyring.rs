//! Who podbox is to a registry: the logins of image pull secrets, and which of them an image is for.
//!
//! Pure. A secret names registries, or places in them, as Docker's own configuration does; an image's logins are tried in
//! the order in which they are given here, the most particular place first, as the kubelet has it. Passwords are never
//! shown.

use data_encoding::{BASE64, BASE64_NOPAD};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;

/// Of a Secret: a Docker configuration as `docker login` writes it now.
const CONFIG_JSON: &str = ".dockerconfigjson";
/// The same, as it wrote it once: without anything around the registries.
const CONFIG: &str = ".dockercfg";
/// What Docker's own registry is called in configurations.
const DOCKER_HUB: &str = "index.docker.io";
const PLAIN: &str = "docker.io";

/// A user of a registry.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Login {
    /// Name.
    pub username: String,
    /// Password or token.
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({:?}, …)", self.username)
    }
}

/// Why a secret gives no logins.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// It is of another type.
    #[error("it has neither {CONFIG_JSON} nor {CONFIG}")]
    Neither,
    /// Its JSON. What is wrong with it is not said: the text around it may be a password.
    #[error("its {0} is no Docker configuration")]
    Json(&'static str),
    /// One registry's `auth`.
    #[error("the auth of {0:?} is not base64 of username:password")]
    Auth(String),
}

/// Logins by place.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    /// `host[:port][/path]`; parts of the host may be patterns.
    places: BTreeMap<String, Vec<Login>>,
}

#[derive(Deserialize)]
struct ConfigJson {
    #[serde(default)]
    auths: BTreeMap<String, Auth>,
}

#[derive(Deserialize)]
struct Auth {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    auth: String,
}

impl Keyring {
    /// Adds the logins of a Secret, by what it holds; all or none.
    pub fn add(&mut self, data: &BTreeMap<String, Vec<u8>>) -> Result<(), KeyringError> {
        let auths = match (data.get(CONFIG_JSON), data.get(CONFIG)) {
            (Some(text), _) => {
                let config = serde_json::from_slice::<ConfigJson>(text);
                config.map_err(|_| KeyringError::Json(CONFIG_JSON))?.auths
            }
            (None, Some(text)) => serde_json::from_slice(text).map_err(|_| KeyringError::Json(CONFIG))?,
            (None, None) => return Err(KeyringError::Neither),
        };
        let mut logins = Vec::new();
        for (name, auth) in auths {
            let login = login(auth).ok_or_else(|| KeyringError::Auth(name.clone()))?;
            logins.push((place(&name), login));
        }
        for (place, login) in logins {
            self.places.entry(place).or_default().push(login);
        }
        Ok(())
    }

    /// The logins to try for an image of this `registry/repository`, in this order; without one, it is asked for by nobody
    /// in particular.
    pub fn logins(&self, repository: &str) -> Vec<Login> {
        // Backwards, so that a longer place comes before the one that it is in.
        let places = self.places.iter().rev().filter(|(place, _)| covers(place, repository));
        let mut found: Vec<Login> = places.flat_map(|(_, logins)| logins.clone()).collect();
        if found.is_empty() && repository.split('/').next() == Some(PLAIN) {
            found = self.places.get(DOCKER_HUB).cloned().unwrap_or_default();
        }
        let mut seen = std::collections::HashSet::new();
        found.retain(|login| seen.insert(login.clone()));
        found
    }
}

/// `auth` goes before name and password.
fn login(Auth { username, password, auth }: Auth) -> Option<Login> {
    let auth = auth.trim();
    if auth.is_empty() {
        return Some(Login { username, password });
    }
    let base64 = if auth.ends_with('=') { BASE64 } else { BASE64_NOPAD };
    let text = String::from_utf8(base64.decode(auth.as_bytes()).ok()?).ok()?;
    let (username, password) = text.split_once(':')?;
    Some(Login { username: username.to_owned(), password: password.to_owned() })
}

/// A place without its scheme, and without the API's version that old configurations have.
fn place(name: &str) -> String {
    let bare = name.strip_prefix("https://").or_else(|| name.strip_prefix("http://")).unwrap_or(name);
    let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
    let path = path.strip_prefix("v1/").or_else(|| path.strip_prefix("v2/")).unwrap_or(path);
    match path {
        "" => host.to_owned(),
        path => format!("{host}/{path}"),
    }
}

/// Whether a repository is in a place: the same port, each part of the host as its pattern says, and a path that begins
/// with the place's.
fn covers(place: &str, repository: &str) -> bool {
    let parts = |url: &str| {
        let (host, path) = url.split_once('/').unwrap_or((url, ""));
        let (host, port) = host.rsplit_once(':').unwrap_or((host, ""));
        (host.to_owned(), port.to_owned(), path.to_owned())
    };
    let ((glob, port, prefix), (host, own, path)) = (parts(place), parts(repository));
    let (globs, hosts): (Vec<_>, Vec<_>) = (glob.split('.').collect(), host.split('.').collect());
    port == own
        && globs.len() == hosts.len()
        && path.starts_with(&prefix)
        && globs.iter().zip(&hosts).all(|(glob, host)| fits(glob.as_bytes(), host.as_bytes()))
}

/// Whether a pattern of `*` and `?` stands for a name. Linear but for the last `*`: a pattern of many cannot be made slow.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(byte) if *byte == b'?' || *byte == name[n] => (p, n) = (p + 1, n + 1),
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (p, n) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn keyring(auths: serde_json::Value) -> Keyring {
        let mut keyring = Keyring::default();
        let text = json!({"auths": auths}).to_string().into_bytes();
        keyring.add(&BTreeMap::from([(CONFIG_JSON.to_owned(), text)])).unwrap();
        keyring
    }

    #[track_caller]
    fn check(places: &[&str], repository: &str, expected: &[&str]) {
        let auths =
            places.iter().map(|place| (place.to_string(), json!({"username": place, "password": "x"})));
        let logins = keyring(auths.collect()).logins(repository);
        let names: Vec<_> = logins.iter().map(|login| login.username.as_str()).collect();
        assert_eq!(names, expected, "{places:?} for {repository}");
    }

    #[test]
    fn an_image_is_asked_for_by_the_logins_of_the_places_it_is_in() {
        check(&["registry.example"], "registry.example/a/b", &["registry.example"]);
        check(&["registry.example"], "other.example/a/b", &[]);
        check(&["registry.example:5000"], "registry.example:5000/a", &["registry.example:5000"]);
        check(&["registry.example"], "registry.example:5000/a", &[]);
        check(&["https://registry.example/v2/"], "registry.example/a", &["https://registry.example/v2/"]);
        check(&["registry.example/team"], "registry.example/team/a", &["registry.example/team"]);
        check(&["registry.example/team"], "registry.example/other/a", &[]);
        check(&["*.example"], "registry.example/a", &["*.example"]);
        check(&["*.example"], "a.registry.example/a", &[]);
        check(&["reg*ry.ex?mple"], "registry.example/a", &["reg*ry.ex?mple"]);
    }

    #[test]
    fn the_most_particular_place_is_tried_first_and_a_login_once() {
        let places = ["registry.example", "registry.example/team", "*.example"];
        let expected = ["registry.example/team", "registry.example", "*.example"];
        check(&places, "registry.example/team/a", &expected);
        let same = json!({"username": "me", "password": "x"});
        let keyring = keyring(json!({"registry.example": same, "*.example": same}));
        assert_eq!(keyring.logins("registry.example/a").len(), 1);
    }

    #[test]
    fn dockers_own_registry_has_an_old_name() {
        check(
            &["https://index.docker.io/v1/"],
            "docker.io/library/busybox",
            &["https://index.docker.io/v1/"],
        );
        check(&["docker.io"], "docker.io/library/busybox", &["docker.io"]);
        check(&["https://index.docker.io/v1/"], "quay.io/a/b", &[]);
    }

    #[test]
    fn auth_is_read_with_and_without_padding_and_goes_first() {
        for auth in ["bWU6czpjcmV0", "bWU6czpjcmV0IQ==", "bWU6czpjcmV0IQ"] {
            let auths = json!({"r.example": {"username": "no", "password": "no", "auth": auth}});
            let login = keyring(auths).logins("r.example/a").remove(0);
            assert_eq!(login.username, "me");
            assert_eq!(login.password.trim_end_matches('!'), "s:cret");
            assert!(!format!("{login:?}").contains("cret"));
        }
    }

    #[test]
    fn a_secret_that_says_nothing_is_named_without_its_content() {
        let error = |key: &str, text: &str| {
            let data = BTreeMap::from([(key.to_owned(), text.as_bytes().to_vec())]);
            Keyring::default().add(&data).unwrap_err().to_string()
        };
        assert_eq!(error("token", "s3cret"), "it has neither .dockerconfigjson nor .dockercfg");
        assert_eq!(error(CONFIG_JSON, "s3cret"), "its .dockerconfigjson is no Docker configuration");
        let auth = error(CONFIG, "{\"r.example\": {\"auth\": \"s3cret\"}}");
        assert_eq!(auth, "the auth of \"r.example\" is not base64 of username:password");
        let mut old = Keyring::default();
        let text = br#"{"r.example": {"username": "me", "password": "x"}}"#.to_vec();
        old.add(&BTreeMap::from([(CONFIG.to_owned(), text)])).unwrap();
        assert_eq!(old.logins("r.example/a").len(), 1);
    }
}

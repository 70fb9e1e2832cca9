//! What pods refer to beside themselves: ConfigMaps, Secrets, tokens, claims. Pure: whoever fills it decides when to
//! look, and looks for no more than is [referred to](super::references).

use super::references::ClaimRef;
use crate::api::objects::TokenWanted;
use crate::sandbox::spec::HostKind;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// What a ConfigMap or a Secret holds.
#[derive(Clone, Default)]
pub struct Entries {
    /// Bytes by key.
    pub entries: BTreeMap<String, Vec<u8>>,
    /// A ConfigMap's `binaryData`: volumes have them, variables do not.
    pub binary: BTreeMap<String, Vec<u8>>,
    /// It says that it will never change.
    pub immutable: bool,
}

impl Entries {
    /// Everything, text or not.
    pub fn all(&self) -> impl Iterator<Item = (&String, &Vec<u8>)> {
        self.entries.iter().chain(&self.binary)
    }

    /// What is under a key, text or not.
    pub fn get(&self, key: &str) -> Option<&Vec<u8>> {
        self.entries.get(key).or_else(|| self.binary.get(key))
    }
}

impl std::fmt::Debug for Entries {
    // The bytes may be a secret's.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.all().map(|(key, _)| key)).finish()
    }
}

impl From<&ConfigMap> for Entries {
    fn from(map: &ConfigMap) -> Entries {
        let text = map.data.iter().flatten().map(|(key, text)| (key.clone(), text.clone().into_bytes()));
        let binary = map.binary_data.iter().flatten().map(|(key, bytes)| (key.clone(), bytes.0.clone()));
        Entries { entries: text.collect(), binary: binary.collect(), immutable: map.immutable == Some(true) }
    }
}

impl From<&Secret> for Entries {
    fn from(secret: &Secret) -> Entries {
        let data = secret.data.iter().flatten().map(|(key, bytes)| (key.clone(), bytes.0.clone()));
        let text = secret.string_data.iter().flatten();
        let text = text.map(|(key, text)| (key.clone(), text.clone().into_bytes()));
        Entries {
            entries: data.chain(text).collect(),
            binary: BTreeMap::new(),
            immutable: secret.immutable == Some(true),
        }
    }
}

/// Where on this node a claim's volume is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its path.
    pub path: PathBuf,
    /// What has to be there.
    pub kind: HostKind,
    /// Whether it is given to the pod's fsGroup: a directory of the host's that is only named is not.
    pub owned: bool,
}

/// A token; not to be shown.
#[derive(Clone)]
struct Token(Vec<u8>);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

/// The Service by which pods reach the API, in the namespace of who names none.
pub const API_SERVICE: &str = "kubernetes";

/// What pods refer to, by namespace and name; or what one pod does, as it was at one moment.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    config_maps: BTreeMap<(String, String), Arc<Entries>>,
    secrets: BTreeMap<(String, String), Arc<Entries>>,
    tokens: BTreeMap<TokenWanted, Result<Token, String>>,
    claims: BTreeMap<ClaimRef, Result<Place, String>>,
    /// Services of pods' namespaces, and the one that leads to the API.
    services: BTreeMap<(String, String), Service>,
    /// The handler of each runtime class.
    handlers: BTreeMap<String, String>,
}

/// The namespace of an object that names none.
pub const DEFAULT_NAMESPACE: &str = "default";

type Metadata = k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

fn key(metadata: &Metadata) -> (String, String) {
    let namespace = metadata.namespace.as_deref().filter(|namespace| !namespace.is_empty());
    (namespace.unwrap_or(DEFAULT_NAMESPACE).to_owned(), metadata.name.clone().unwrap_or_default())
}

impl Sources {
    /// Adds a ConfigMap; one of the same name is replaced.
    pub fn add_config_map(&mut self, map: &ConfigMap) {
        self.config_maps.insert(key(&map.metadata), Arc::new(map.into()));
    }

    /// Adds a Secret; one of the same name is replaced.
    pub fn add_secret(&mut self, secret: &Secret) {
        self.secrets.insert(key(&secret.metadata), Arc::new(secret.into()));
    }

    /// Adds what was read of a ConfigMap.
    pub fn set_config_map(&mut self, namespace: &str, name: &str, entries: Arc<Entries>) {
        self.config_maps.insert((namespace.to_owned(), name.to_owned()), entries);
    }

    /// Adds what was read of a Secret.
    pub fn set_secret(&mut self, namespace: &str, name: &str, entries: Arc<Entries>) {
        self.secrets.insert((namespace.to_owned(), name.to_owned()), entries);
    }

    /// Adds a token of the pod's service account, or why there is none.
    pub fn set_token(&mut self, wanted: TokenWanted, token: Result<String, String>) {
        self.tokens.insert(wanted, token.map(|token| Token(token.into_bytes())));
    }

    /// Adds where a claim's volume is, or why it is nowhere.
    pub fn set_claim(&mut self, claim: ClaimRef, place: Result<Place, String>) {
        self.claims.insert(claim, place);
    }

    /// Adds a Service; one of the same name is replaced.
    pub fn add_service(&mut self, service: Service) {
        self.services.insert(key(&service.metadata), service);
    }

    /// Adds a runtime class by its name.
    pub fn add_runtime_class(&mut self, name: String, handler: String) {
        self.handlers.insert(name, handler);
    }
}

/// The sources as a pod sees them: those of its namespace.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    sources: &'a Sources,
    /// The pod's namespace.
    pub namespace: &'a str,
}

impl<'a> Scope<'a> {
    /// What a pod of this namespace sees.
    pub fn new(sources: &'a Sources, namespace: &'a str) -> Scope<'a> {
        Scope { sources, namespace }
    }

    /// A ConfigMap's entries; `None` if it is optional and not there.
    pub fn config_map(&self, name: &str, optional: Option<bool>) -> Result<Option<&'a Entries>, String> {
        found(&self.sources.config_maps, "configmap", self.namespace, name, optional)
    }

    /// The Services that a pod is told of: that of the API, and those of its namespace if it asks for `links`.
    pub fn services(&self, links: bool) -> impl Iterator<Item = &'a Service> {
        let (sources, own) = (self.sources, self.namespace);
        let api =
            |(namespace, name): &(String, String)| namespace == DEFAULT_NAMESPACE && name == API_SERVICE;
        // One of that name in its own namespace goes before it, as upstream has it.
        let shadowed = links && sources.services.contains_key(&(own.to_owned(), API_SERVICE.to_owned()));
        let told = move |at: &(String, String)| (links && at.0 == own) || (!shadowed && api(at));
        sources.services.iter().filter(move |(at, _)| told(at)).map(|(_, service)| service)
    }

    /// The address by which pods reach the API, if there is one.
    pub fn api(&self) -> Option<IpAddr> {
        let at = (DEFAULT_NAMESPACE.to_owned(), API_SERVICE.to_owned());
        self.sources.services.get(&at)?.spec.as_ref()?.cluster_ip.as_deref()?.parse().ok()
    }

    /// A runtime class's handler, if there is such a class.
    pub fn handler(&self, class: &str) -> Option<&'a str> {
        self.sources.handlers.get(class).map(String::as_str)
    }

    /// A Secret's entries; `None` if it is optional and not there.
    pub fn secret(&self, name: &str, optional: Option<bool>) -> Result<Option<&'a Entries>, String> {
        found(&self.sources.secrets, "secret", self.namespace, name, optional)
    }

    /// A token of the pod's service account.
    pub fn token(&self, wanted: &TokenWanted) -> Result<&'a [u8], String> {
        match self.sources.tokens.get(wanted) {
            Some(Ok(Token(bytes))) => Ok(bytes),
            Some(Err(why)) => Err(format!("failed to fetch token: {why}")),
            None => Err("failed to fetch token: there is no API that would issue it".to_owned()),
        }
    }

    /// Where a claim's volume is.
    pub fn claim(&self, claim: &ClaimRef) -> Result<&'a Place, String> {
        match self.sources.claims.get(claim) {
            Some(place) => place.as_ref().map_err(Clone::clone),
            None => Err("failed to fetch PVC from API server: there is no API".to_owned()),
        }
    }
}

fn found<'a>(
    all: &'a BTreeMap<(String, String), Arc<Entries>>,
    kind: &str,
    namespace: &str,
    name: &str,
    optional: Option<bool>,
) -> Result<Option<&'a Entries>, String> {
    match all.get(&(namespace.to_owned(), name.to_owned())) {
        None if optional != Some(true) => Err(format!("{kind} \"{name}\" not found")),
        other => Ok(other.map(AsRef::as_ref)),
    }
}

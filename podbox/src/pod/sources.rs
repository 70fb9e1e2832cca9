//! What pods refer to beside themselves: ConfigMaps, Secrets, tokens. Pure: whoever fills it decides when to look.

use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use std::collections::BTreeMap;

/// What a ConfigMap or a Secret holds.
#[derive(Clone, Default)]
pub struct Entries {
    /// Bytes by key.
    pub entries: BTreeMap<String, Vec<u8>>,
}

impl std::fmt::Debug for Entries {
    // The bytes may be a secret's.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.entries.keys()).finish()
    }
}

/// The ConfigMaps and Secrets that pods may refer to, by namespace and name.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    config_maps: BTreeMap<(String, String), Entries>,
    secrets: BTreeMap<(String, String), Entries>,
    /// The pod's own token, under the key `token`.
    token: Entries,
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
        let text = map.data.iter().flatten().map(|(key, text)| (key.clone(), text.clone().into_bytes()));
        let binary = map.binary_data.iter().flatten().map(|(key, bytes)| (key.clone(), bytes.0.clone()));
        self.config_maps.insert(key(&map.metadata), Entries { entries: text.chain(binary).collect() });
    }

    /// Adds a Secret; one of the same name is replaced.
    pub fn add_secret(&mut self, secret: &Secret) {
        let data = secret.data.iter().flatten().map(|(key, bytes)| (key.clone(), bytes.0.clone()));
        let text = secret.string_data.iter().flatten();
        let text = text.map(|(key, text)| (key.clone(), text.clone().into_bytes()));
        self.secrets.insert(key(&secret.metadata), Entries { entries: data.chain(text).collect() });
    }
}

const TOKEN: &str = "token";

/// The Service by which pods reach the API, in the namespace of who names none.
pub const API_SERVICE: &str = "kubernetes";

impl Sources {
    /// Adds a Service; one of the same name is replaced.
    pub fn add_service(&mut self, service: Service) {
        self.services.insert(key(&service.metadata), service);
    }

    /// Adds a runtime class by its name.
    pub fn add_runtime_class(&mut self, name: String, handler: String) {
        self.handlers.insert(name, handler);
    }
}

impl Sources {
    /// Sets the token of the pod's service account.
    pub fn set_token(&mut self, token: String) {
        self.token.entries.insert(TOKEN.to_owned(), token.into_bytes());
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

    /// The token of the pod's service account.
    pub fn token(&self) -> Result<&'a [u8], String> {
        let token = self.sources.token.entries.get(TOKEN).map(Vec::as_slice);
        token.ok_or_else(|| "failed to fetch token: the API issued none".to_owned())
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

    /// A runtime class's handler, if there is such a class.
    pub fn handler(&self, class: &str) -> Option<&'a str> {
        self.sources.handlers.get(class).map(String::as_str)
    }

    /// A Secret's entries; `None` if it is optional and not there.
    pub fn secret(&self, name: &str, optional: Option<bool>) -> Result<Option<&'a Entries>, String> {
        found(&self.sources.secrets, "secret", self.namespace, name, optional)
    }
}

fn found<'a>(
    all: &'a BTreeMap<(String, String), Entries>,
    kind: &str,
    namespace: &str,
    name: &str,
    optional: Option<bool>,
) -> Result<Option<&'a Entries>, String> {
    match all.get(&(namespace.to_owned(), name.to_owned())) {
        None if optional != Some(true) => Err(format!("{kind} \"{name}\" not found")),
        other => Ok(other),
    }
}

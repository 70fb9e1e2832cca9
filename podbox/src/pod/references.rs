//! Which objects a pod refers to, and for what: its volumes, or one container's variables. Pure.

use crate::api::objects::TokenWanted;
use k8s_openapi::api::core::v1::{Container, Pod, Volume};
use std::collections::BTreeSet;

/// How long a token is good for that a volume asks for without saying.
const TOKEN_SECONDS: i64 = 3600;

/// What has to be looked up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    /// Names of ConfigMaps.
    pub config_maps: BTreeSet<String>,
    /// Names of Secrets.
    pub secrets: BTreeSet<String>,
    /// Claims to volumes.
    pub claims: BTreeSet<ClaimRef>,
    /// Tokens of its service account.
    pub tokens: BTreeSet<TokenWanted>,
    /// The Service that leads to the API and, if so, those of its namespace.
    pub services: Option<bool>,
    /// Its runtime class.
    pub runtime_class: Option<String>,
}

/// A claim that a volume names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClaimRef {
    /// The claim's name.
    pub name: String,
    /// It was made for this pod, whose uid its owner must have.
    pub own: bool,
}

/// What a pod's sandbox and its volumes need.
pub fn of_sandbox(pod: &Pod) -> References {
    let class = pod.spec.as_ref().and_then(|spec| spec.runtime_class_name.clone());
    let mut all = References { runtime_class: class, ..References::default() };
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        all.volume(volume, name);
    }
    all
}

/// What pulling its images needs.
pub fn of_pulls(pod: &Pod) -> References {
    let references = pod.spec.iter().flat_map(|spec| spec.image_pull_secrets.iter().flatten());
    let names = references.map(|reference| reference.name.clone()).filter(|name| !name.is_empty());
    References { secrets: names.collect(), ..References::default() }
}

/// What a container's variables need.
pub fn of_container(pod: &Pod, container: &Container) -> References {
    let links = pod.spec.as_ref().and_then(|spec| spec.enable_service_links) != Some(false);
    let mut all = References { services: Some(links), ..References::default() };
    for source in container.env_from.iter().flatten() {
        all.config_maps.extend(source.config_map_ref.as_ref().map(|reference| reference.name.clone()));
        all.secrets.extend(source.secret_ref.as_ref().map(|reference| reference.name.clone()));
    }
    for source in container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
        all.config_maps.extend(source.config_map_key_ref.as_ref().map(|reference| reference.name.clone()));
        all.secrets.extend(source.secret_key_ref.as_ref().map(|reference| reference.name.clone()));
    }
    all
}

/// The name of the claim that is made for a generic ephemeral volume.
pub fn ephemeral_claim(pod: &str, volume: &str) -> String {
    format!("{pod}-{volume}")
}

impl References {
    fn volume(&mut self, volume: &Volume, pod: &str) {
        self.config_maps.extend(volume.config_map.as_ref().map(|source| source.name.clone()));
        self.secrets.extend(volume.secret.as_ref().and_then(|source| source.secret_name.clone()));
        if let Some(source) = &volume.persistent_volume_claim {
            self.claims.insert(ClaimRef { name: source.claim_name.clone(), own: false });
        }
        if volume.ephemeral.is_some() {
            self.claims.insert(ClaimRef { name: ephemeral_claim(pod, &volume.name), own: true });
        }
        let projected = volume.projected.iter().flat_map(|source| source.sources.iter().flatten());
        for source in projected {
            self.config_maps.extend(source.config_map.as_ref().map(|source| source.name.clone()));
            self.secrets.extend(source.secret.as_ref().map(|source| source.name.clone()));
            self.tokens.extend(
                source
                    .service_account_token
                    .as_ref()
                    .map(|token| wanted(token.audience.as_deref(), token.expiration_seconds)),
            );
        }
    }
}

/// The token that a projection asks for.
pub fn wanted(audience: Option<&str>, seconds: Option<i64>) -> TokenWanted {
    TokenWanted {
        audience: audience.unwrap_or_default().to_owned(),
        seconds: seconds.unwrap_or(TOKEN_SECONDS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_is_referred_to_is_looked_up() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p"},
            "spec": {
                "containers": [{"name": "c", "image": "i",
                    "envFrom": [{"configMapRef": {"name": "all"}}],
                    "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "key", "key": "k"}}}]}],
                "volumes": [
                    {"name": "a", "configMap": {"name": "map"}},
                    {"name": "b", "secret": {"secretName": "secret"}},
                    {"name": "c", "ephemeral": {}},
                    {"name": "d", "projected": {"sources": [
                        {"serviceAccountToken": {"path": "t", "audience": "vault"}},
                        {"downwardAPI": {"items": [{"path": "n", "fieldRef": {"fieldPath": "metadata.name"}}]}},
                    ]}},
                ],
            },
        }))
        .unwrap();
        let volumes = of_sandbox(&pod);
        assert_eq!(volumes.config_maps, BTreeSet::from(["map".to_owned()]));
        assert_eq!(volumes.secrets, BTreeSet::from(["secret".to_owned()]));
        assert_eq!(volumes.claims, BTreeSet::from([ClaimRef { name: "p-c".into(), own: true }]));
        assert_eq!(volumes.tokens, BTreeSet::from([wanted(Some("vault"), None)]));
        let container = of_container(&pod, &pod.spec.as_ref().unwrap().containers[0]);
        assert_eq!(container.config_maps, BTreeSet::from(["all".to_owned()]));
        assert_eq!(container.secrets, BTreeSet::from(["key".to_owned()]));
        assert!(container.claims.is_empty());
    }
}

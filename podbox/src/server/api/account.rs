//! Admission of pods as what they run as: their service account, which has to be there, its token and its pull secrets.
//!
//! A namespace gets its account `default` moments after it was made, by a loop of its own; a pod that comes in between
//! waits for it.

use super::{Api, Call};
use crate::api::admission;
use crate::api::lifecycle;
use crate::api::object;
use crate::api::status::ApiError;
use crate::limits;
use crate::store::Key;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use serde::Deserialize;
use serde_json::Value;

const ACCOUNTS: &str = "/serviceaccounts";
/// The account of whoever names none.
const DEFAULT: &str = "default";

impl Api {
    /// Lets a new pod run as its service account; other objects stay as they are.
    pub(super) async fn account(&self, call: &Call, object: &mut Value) -> Result<(), ApiError> {
        if !call.kind.group.is_empty() || call.kind.kind != "Pod" {
            return Ok(());
        }
        // A pod that is none is refused by its rules.
        let Ok(mut pod) = Pod::deserialize(&*object) else { return Ok(()) };
        let (namespace, name) = (&call.info.namespace, admission::service_account_name(&pod));
        let Some(account) = self.account_of(namespace, name).await? else {
            let why = format!(
                "error looking up service account {namespace}/{name}: serviceaccount {name:?} not found"
            );
            return Err(ApiError::forbidden("", "pods", object::name(object), &why));
        };
        let volume = lifecycle::generated(admission::TOKEN_VOLUME_PREFIX, crate::chance::bytes());
        admission::service_account(&mut pod, &account, &volume);
        if let Ok(value) = serde_json::to_value(pod) {
            *object = value;
        }
        Ok(())
    }

    async fn account_of(&self, namespace: &str, name: &str) -> Result<Option<ServiceAccount>, ApiError> {
        let found = match self.find_account(namespace, name)? {
            None if name == DEFAULT && self.store.get("/namespaces", &Key::new("", namespace)).is_some() => {
                let appears = self.account_appears(namespace, name);
                match tokio::time::timeout(limits::ACCOUNT_WAIT, appears).await {
                    Ok(found) => found?,
                    Err(_) => None,
                }
            }
            found => found,
        };
        Ok(found)
    }

    fn find_account(&self, namespace: &str, name: &str) -> Result<Option<ServiceAccount>, ApiError> {
        let Some(entry) = self.store.get(ACCOUNTS, &Key::new(namespace, name)) else { return Ok(None) };
        let read = serde_json::from_slice(&entry.bytes);
        read.map(Some)
            .map_err(|error| ApiError::internal(format!("{} is no service account: {error}", entry.key)))
    }

    async fn account_appears(&self, namespace: &str, name: &str) -> Result<Option<ServiceAccount>, ApiError> {
        let expired = |error| super::read::expired(0, error);
        let mut watch =
            self.store.watch(ACCOUNTS, Some(namespace), self.store.revision()).map_err(expired)?;
        loop {
            if let Some(found) = self.find_account(namespace, name)? {
                return Ok(Some(found));
            }
            watch.next().await.map_err(expired)?;
        }
    }
}

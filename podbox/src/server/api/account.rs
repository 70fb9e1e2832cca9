//! The service account that a pod is to run as, which has to be there. What it gives the pod, `admit` adds.
//!
//! A namespace gets its account `default` moments after it was made, by a loop of its own; a pod that comes in between
//! waits for it.

use super::{Api, Call};
use crate::api::object;
use crate::api::status::ApiError;
use crate::limits;
use crate::store::Key;
use k8s_openapi::api::core::v1::ServiceAccount;
use serde_json::Value;

const ACCOUNTS: &str = "/serviceaccounts";
/// The account of whoever names none.
const DEFAULT: &str = "default";

impl Api {
    /// The service account that a new pod is to run as, in its defaulted words; none of other objects.
    pub(super) async fn account(
        &self,
        call: &Call,
        object: &Value,
    ) -> Result<Option<ServiceAccount>, ApiError> {
        if !call.kind.group.is_empty() || call.kind.kind != "Pod" {
            return Ok(None);
        }
        let named = object["spec"]["serviceAccountName"].as_str().filter(|name| !name.is_empty());
        let (namespace, name) = (&call.info.namespace, named.unwrap_or(DEFAULT));
        let Some(account) = self.account_of(namespace, name).await? else {
            let why = format!(
                "error looking up service account {namespace}/{name}: serviceaccount {name:?} not found"
            );
            return Err(ApiError::forbidden("", "pods", object::name(object), &why));
        };
        Ok(Some(account))
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

//! Evictions: a pod is asked to go, as far as the budgets for disruptions of those like it allow.
//!
//! How many may go is what a budget's status says: to keep that true is a controller's. An eviction takes one from it
//! before the pod is deleted, in one compare-and-swap, so that two at once never take the same. A pod whose going costs
//! nothing, since it serves nobody, is deleted only as it was judged: one that becomes ready meanwhile is judged again.
//! Before it is deleted its status says why it goes: to whoever counts its end, that is no failure of its own.

use super::delete::{self, DeleteOptions};
use super::query::{Query, WriteOptions};
use super::write::{read, store_error, stored};
use super::{Api, Call, answer};
use crate::api::decode::Target;
use crate::api::eviction::{counts, is_going, made_to_go, may_go_anyway, take};
use crate::api::object;
use crate::api::rules::labels;
use crate::api::status::ApiError;
use crate::clock;
use crate::server::http::Body;
use crate::store::{Entry, Expected, WriteError};
use hyper::Response;
use hyper::body::Incoming;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde_json::{Value, json};
use std::sync::Arc;

const BUDGETS: &str = "policy/poddisruptionbudgets";
/// How often a pod that changes meanwhile is judged again.
const TRIES: usize = 64;

/// What a pod's going costs the budgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cost {
    /// One disruption, which was taken.
    Paid,
    /// Nothing, as the pod is now.
    Nothing,
    /// Nothing, whatever it becomes: no budget is about it.
    Unbudgeted,
}

impl Api {
    /// Answers an eviction of the pod that a call is about.
    pub(super) async fn evict(&self, call: &Call, body: Incoming) -> Result<Response<Body>, ApiError> {
        let write = WriteOptions::read(&call.query, "CreateOptions", &call.head.agent, false)?;
        let target = Target::named("policy", "v1", "Eviction");
        let (eviction, warnings) = self.decode_as(call, &target, body, &write).await?;
        let (named, name) = (object::name(&eviction), &call.info.name);
        if !named.is_empty() && named != name {
            let why = "name in URL does not match name in Eviction object";
            return Err(ApiError::bad_request(why));
        }
        let given = eviction.get("deleteOptions").filter(|given| given.is_object());
        let options = DeleteOptions::read(&Query::default(), given)?;
        let options = if write.dry_run { options.dry() } else { options };
        self.let_go(call, &options, &write).await?;
        let status =
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
        answer::plain(201, &status, call.media, &warnings)
    }

    /// Deletes the pod, once its going is paid for or turned out to cost nothing.
    async fn let_go(
        &self,
        call: &Call,
        options: &DeleteOptions,
        write: &WriteOptions,
    ) -> Result<(), ApiError> {
        let mut left = TRIES;
        let mut options = options.clone();
        loop {
            let pod = read(&*self.find(call)?)?;
            // The same one throughout: its name may be another's by now.
            options = options.only(object::uid(&pod));
            let cost = match counts(&pod) {
                true => self.spend(call, &pod, options.is_dry()).await?,
                false => Cost::Nothing,
            };
            let this = options.clone();
            // Nothing that such a pod becomes makes its going cost anything.
            let judged = cost == Cost::Nothing && !is_going(&pod) && !this.names_version();
            let this = if judged { this.at_version(object::text(&pod, "resourceVersion")) } else { this };
            left -= 1;
            let gone = match self.say_why(call, this, write).await {
                Ok(this) => self.delete(call, &this).await.map(drop),
                Err(error) => Err(error),
            };
            match gone {
                Err(error) if error.code == 409 && judged && left > 0 => {}
                done => return done,
            }
        }
    }

    /// Puts into the pod's status why it is about to go; the options with which it then is deleted.
    async fn say_why(
        &self,
        call: &Call,
        options: DeleteOptions,
        write: &WriteOptions,
    ) -> Result<DeleteOptions, ApiError> {
        if options.is_dry() {
            return Ok(options);
        }
        let change = |old: &Value| {
            delete::check(&call.kind, old, &options)?;
            let mut pod = old.clone();
            made_to_go(&mut pod, &object::time(clock::wall()));
            Ok(pod)
        };
        let written = self.update(call, "status", write, &change).await?.object.value(&call.kind)?;
        // As it is now that this is said.
        Ok(match options.names_version() {
            true => options.at_version(object::text(&written, "resourceVersion")),
            false => options,
        })
    }

    /// Takes a disruption from the budget of a pod, if it has one.
    async fn spend(&self, call: &Call, pod: &Value, dry: bool) -> Result<Cost, ApiError> {
        loop {
            let budgets = self.budgets_of(call, pod)?;
            let (entry, mut budget) = match budgets.len() {
                0 => return Ok(Cost::Unbudgeted),
                1 => budgets.into_iter().next().expect("there is one"),
                _ => {
                    let why = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not \
                               support.";
                    return Err(ApiError::new(
                        500,
                        "InternalError",
                        format!("Internal error occurred: {why}"),
                    ));
                }
            };
            if !object::holds(pod, "Ready") && may_go_anyway(&budget) {
                return Ok(Cost::Nothing);
            }
            take(&mut budget, object::name(pod), &object::time(clock::wall()))?;
            if dry {
                return Ok(Cost::Paid);
            }
            let place = entry.key.clone();
            let make = move |revision| stored(budget, revision);
            match self.store.put(BUDGETS, &place, Expected::Revision(entry.revision), make).await {
                Ok(_) => return Ok(Cost::Paid),
                Err(WriteError::Conflict(_)) => {}
                Err(error) => return Err(store_error(&error)),
            }
        }
    }

    fn budgets_of(&self, call: &Call, pod: &Value) -> Result<Vec<(Arc<Entry>, Value)>, ApiError> {
        let page = self.store.list(BUDGETS, call.namespace(), None, 0, None);
        let page = page.map_err(|error| ApiError::internal(error.to_string()))?;
        let labels = serde_json::from_value(pod["metadata"]["labels"].clone()).unwrap_or_default();
        let mut found = Vec::new();
        for entry in page.entries {
            let Ok(budget) = serde_json::from_slice::<PodDisruptionBudget>(&entry.bytes) else { continue };
            let selector = budget.spec.and_then(|spec| spec.selector);
            if selector.is_some_and(|selector| labels::matches(&selector, Option::as_ref(&labels))) {
                let budget = read(&entry)?;
                found.push((entry, budget));
            }
        }
        Ok(found)
    }
}

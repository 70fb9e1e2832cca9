//! Who gets in: from a request's certificate or token to a user, and from the user's question to what the roles say.
//!
//! Roles and bindings are followed by watching them in the store, and what changed is taken in when the next question is
//! asked. So a binding that was acknowledged counts from the very next request on, a question while nothing changed costs
//! one comparison, and whoever is in `system:masters` costs nothing.
//!
//! **Invariant:** a question is answered by every role and binding that was acknowledged before it was asked.

use super::path::Info;
use super::request::Head;
use super::{Api, Call};
use crate::api::status::ApiError;
use crate::api::user::User;
use crate::auth::attributes::{Attributes, forbidden};
use crate::auth::impersonate::impersonate;
use crate::auth::rbac::{self, Rbac, Rule};
use crate::auth::token::{Alive, Lookup, Tokens};
use crate::server::http::Over;
use crate::store::{Change, Expired, Happened, Key, Store, Watch};
use crate::{clock, metrics as table};
use serde_json::Value;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

/// What is followed: collections of the store, and their resource.
const FOLLOWED: [&str; 4] = ["clusterroles", "clusterrolebindings", "roles", "rolebindings"];

/// Decides who gets in.
pub(super) struct Gate {
    /// Issues and checks service accounts' tokens.
    pub(super) tokens: Tokens,
    store: Store,
    /// What is granted, as of `revision` or later.
    granted: RwLock<Rbac>,
    /// Where reading goes on; empty before the first question.
    watches: Mutex<Vec<(&'static str, Watch)>>,
    /// Up to which revision of the store everything was taken in.
    revision: AtomicU64,
}

impl Gate {
    pub(super) fn new(store: Store, tokens: Tokens) -> Gate {
        Gate {
            tokens,
            store,
            granted: RwLock::default(),
            watches: Mutex::default(),
            revision: AtomicU64::new(0),
        }
    }

    /// Asks what is granted now.
    pub(super) fn granted<R>(&self, ask: impl FnOnce(&Rbac) -> R) -> R {
        self.refresh();
        ask(&self.granted.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes in what changed.
    fn refresh(&self) {
        // Before reading: what comes later is read the next time.
        let newest = self.store.revision();
        if self.revision.load(Ordering::Acquire) >= newest {
            return;
        }
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        // Someone else may have read it all meanwhile.
        if self.revision.load(Ordering::Acquire) >= newest {
            return;
        }
        if watches.is_empty() || self.read(&mut watches).is_err() {
            // Nobody asked for so long that history has moved on.
            self.load(&mut watches);
        }
        self.revision.store(newest, Ordering::Release);
    }

    fn read(&self, watches: &mut [(&'static str, Watch)]) -> Result<(), Expired> {
        for (resource, watch) in watches {
            loop {
                let changes = watch.read()?.changes;
                if changes.is_empty() {
                    break;
                }
                let mut granted = self.granted.write().unwrap_or_else(PoisonError::into_inner);
                changes.iter().for_each(|change| take(&mut granted, resource, change));
            }
        }
        Ok(())
    }

    /// Begins anew from what there is.
    fn load(&self, watches: &mut Vec<(&'static str, Watch)>) {
        let mut rbac = Rbac::default();
        watches.clear();
        for resource in FOLLOWED {
            let (page, watch) = loop {
                // Only a flood of writes between its two steps can make it fail.
                if let Ok(both) = self.store.list_and_watch(&format!("{}/{resource}", rbac::GROUP), None) {
                    break both;
                }
            };
            page.entries.iter().for_each(|entry| put(&mut rbac, resource, &entry.bytes));
            watches.push((resource, watch));
        }
        *self.granted.write().unwrap_or_else(PoisonError::into_inner) = rbac;
    }

    /// Who sends a request. A token that is not good is refused rather than taken for nobody's.
    pub(super) fn authenticate(&self, head: &Head) -> Result<Arc<User>, ApiError> {
        let now = clock::wall();
        let refuse = |why: &dyn std::fmt::Display| {
            tracing::debug!("a credential was refused: {why}");
            ApiError::new(401, "Unauthorized", "Unauthorized")
        };
        // Asked of each request: a connection may outlive its client's certificate.
        let proved = head.peer().user(now).map_err(|Over| refuse(&"the client's certificate is over"))?;
        let user = match (proved, head.token()) {
            (Some(user), _) => {
                let left = head.peer().left(now);
                left.iter().for_each(|left| {
                    ::metrics::histogram!(table::CLIENT_CERTIFICATE_SECONDS).record(*left);
                });
                Arc::clone(user)
            }
            (None, Some(token)) => {
                let known = self.tokens.authenticate(token, &self.objects(), now);
                let user = known.map_err(|refused| refuse(&refused))?;
                head.peer().known();
                user
            }
            (None, None) => anonymous(),
        };
        if head.claims().is_empty() {
            return Ok(user);
        }
        let claims = head.claims().iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let other = self.granted(|rbac| impersonate(&user, claims, rbac))?;
        Ok(other.map_or(user, Arc::new))
    }

    /// Refuses what nothing allows.
    pub(super) fn authorize(&self, asked: &Attributes<'_>) -> Result<(), ApiError> {
        if asked.user.is_master() {
            return Ok(());
        }
        self.granted(|rbac| {
            let decision = rbac.decide(asked);
            if decision.allowed() { Ok(()) } else { Err(forbidden(asked, &decision.reason())) }
        })
    }

    /// The objects that tokens are bound to.
    pub(super) fn objects(&self) -> Objects<'_> {
        Objects(&self.store)
    }
}

fn anonymous() -> Arc<User> {
    static ANONYMOUS: OnceLock<Arc<User>> = OnceLock::new();
    Arc::clone(ANONYMOUS.get_or_init(|| Arc::new(User::anonymous())))
}

fn take(rbac: &mut Rbac, resource: &str, change: &Change) {
    match change.happened {
        Happened::Deleted => rbac.remove(resource, change.entry.key.namespace(), change.entry.key.name()),
        Happened::Added | Happened::Modified => put(rbac, resource, &change.entry.bytes),
    }
}

fn put(rbac: &mut Rbac, resource: &str, bytes: &[u8]) {
    let read = serde_json::from_slice::<Value>(bytes).map_err(|error| error.to_string());
    if let Err(why) = read.and_then(|object| rbac.put(resource, &object)) {
        tracing::warn!("{why}");
    }
}

/// Core objects of the store.
pub(super) struct Objects<'a>(&'a Store);

impl Lookup for Objects<'_> {
    fn object(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        let entry = self.0.get(&format!("/{resource}"), &Key::new(namespace, name))?;
        serde_json::from_slice(&entry.bytes).ok()
    }

    fn alive(&self, resource: &str, namespace: &str, name: &str) -> Option<Alive> {
        Alive::read(&self.0.get(&format!("/{resource}"), &Key::new(namespace, name))?.bytes)
    }
}

/// The question that a request is.
pub(super) fn question<'a>(user: &'a User, info: &'a Info, path: &'a str) -> Attributes<'a> {
    let base = Attributes { verb: info.verb, ..Attributes::of(user) };
    if !info.is_resource {
        return Attributes { path, ..base };
    }
    Attributes {
        group: &info.group,
        version: &info.version,
        resource: &info.resource,
        subresource: &info.subresource,
        namespace: &info.namespace,
        name: &info.name,
        ..base
    }
}

impl Api {
    /// Whether a user may do what a request asks.
    pub(super) fn authorize(&self, user: &User, info: &Info, path: &str) -> Result<(), ApiError> {
        let asked = question(user, info, path);
        self.gate.authorize(&asked)?;
        // A command over a websocket is a GET, but whoever may only read must not run anything.
        let runs = ["attach", "exec", "portforward"].contains(&asked.subresource);
        match asked.verb == "get" && asked.resource == "pods" && asked.group.is_empty() && runs {
            true => self.gate.authorize(&Attributes { verb: "create", ..asked }),
            false => Ok(()),
        }
    }

    /// Whether a call that updates what is not there may create it.
    pub(super) fn may_create(&self, call: &Call) -> Result<(), ApiError> {
        let asked = question(&call.user, &call.info, &call.head.path);
        self.gate.authorize(&Attributes { verb: "create", ..asked })
    }

    /// Cluster roles that aggregate others, but say something else: name, and what they should say.
    pub fn aggregated(&self) -> Vec<(String, Vec<Rule>)> {
        self.gate.granted(Rbac::aggregated)
    }

    /// Refuses a role or binding that gives away more than its writer has.
    pub(super) fn guard(&self, call: &Call, new: &Value, old: Option<&Value>) -> Result<(), ApiError> {
        if call.user.is_master() || !rbac::concerns(&call.kind.group, &call.kind.plural) {
            return Ok(());
        }
        let asked = question(&call.user, &call.info, &call.head.path);
        self.gate.granted(|rbac| rbac.claim(&asked, new, old))?.judge(&asked, new)
    }
}

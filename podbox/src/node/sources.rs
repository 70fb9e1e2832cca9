//! What pods refer to, out of the store: looked up when it is needed, and told to be looked up again when it changed.
//!
//! ```text
//!   store ──change of a ConfigMap, Secret, claim, …──▶ Desk::run ── who refers to it? ──▶ Origin::changes
//!   worker ── Origin::read, before it starts or fills something ──▶ store, and the API for tokens
//! ```
//!
//! A change costs what the pods that refer to it cost, and nothing if there are none. What says that it is immutable is
//! read once per pod. The pod's own labels come with its versions, not from here, and
//! Services are only told of at a start. Invariant: what may change is followed before it is first read.

use super::claims;
use crate::api::identity::PodRef;
use crate::api::objects::{ObjectRef, Objects, Token, TokenWanted};
use crate::pod::references::References;
use crate::pod::sources::{API_SERVICE, DEFAULT_NAMESPACE, Entries, Sources};
use crate::store::{Change, Expired, Key, Store};
use crate::{clock, limits};
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use k8s_openapi::api::node::v1::RuntimeClass;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use tokio::sync::watch;
use tokio::task::JoinSet;

const CONFIG_MAPS: &str = "/configmaps";
const SECRETS: &str = "/secrets";
const CLAIMS: &str = "/persistentvolumeclaims";
const SERVICES: &str = "/services";
const RUNTIME_CLASSES: &str = "node.k8s.io/runtimeclasses";

/// A reading in progress.
pub type Reading<'a> = Pin<Box<dyn Future<Output = Arc<Sources>> + Send + 'a>>;

/// Where one pod's sources come from.
pub trait Origin: fmt::Debug + Send + Sync {
    /// What is referred to, as it is now.
    fn read<'a>(&'a self, references: &'a References) -> Reading<'a>;

    /// Changes when something that was read may have.
    fn changes(&self) -> watch::Receiver<()>;

    /// When some token that was read is to be replaced.
    fn renewal(&self) -> Option<SystemTime>;
}

/// Sources that are given and never change: those of a manifest file.
impl Origin for Arc<Sources> {
    fn read<'a>(&'a self, _: &'a References) -> Reading<'a> {
        Box::pin(std::future::ready(Arc::clone(self)))
    }

    fn changes(&self) -> watch::Receiver<()> {
        watch::channel(()).1
    }

    fn renewal(&self) -> Option<SystemTime> {
        None
    }
}

/// An object that somebody refers to: collection, namespace, name.
type Reference = (&'static str, String, String);

/// Who refers to what.
type Book = Mutex<BTreeMap<Reference, BTreeMap<String, Arc<watch::Sender<()>>>>>;

/// A poisoned lock only says that a thread panicked between two map operations; the map is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives pods their sources.
pub struct Desk<O>(Arc<Inner<O>>);

struct Inner<O> {
    store: Store,
    objects: O,
    book: Book,
}

impl<O: Objects> Desk<O> {
    /// From this store; tokens are asked for in the name of `objects`.
    pub fn new(store: Store, objects: O) -> Desk<O> {
        Desk(Arc::new(Inner { store, objects, book: Book::default() }))
    }

    /// Where a pod's sources come from.
    pub fn of(&self, pod: &PodRef, account: &str) -> Arc<dyn Origin> {
        Arc::new(OfPod {
            desk: Arc::clone(&self.0),
            pod: pod.clone(),
            account: account.to_owned(),
            changes: Arc::default(),
            followed: Mutex::default(),
            tokens: Mutex::default(),
            frozen: Mutex::default(),
        })
    }

    /// Tells pods of changes, for as long as it is polled.
    pub async fn run(self) {
        let mut loops = JoinSet::new();
        for collection in [CONFIG_MAPS, SECRETS, CLAIMS, RUNTIME_CLASSES] {
            let desk = Arc::clone(&self.0);
            loops.spawn(async move { desk.follow(collection).await });
        }
        while loops.join_next().await.is_some() {}
    }

    /// The same desk, for its loop.
    pub fn share(&self) -> Desk<O> {
        Desk(Arc::clone(&self.0))
    }
}

impl<O: Objects> Inner<O> {
    /// Follows a collection; when too much of it was missed, everything in it may have changed.
    async fn follow(&self, collection: &'static str) {
        loop {
            let ended = self.follow_on(collection).await;
            tracing::debug!("following {collection} anew: {ended:?}");
            let book = lock(&self.book);
            let of_it = book.iter().filter(|((of, _, _), _)| *of == collection);
            of_it.flat_map(|(_, followers)| followers.values()).for_each(|changes| changes.send_replace(()));
        }
    }

    async fn follow_on(&self, collection: &'static str) -> Result<(), Expired> {
        let mut watch = self.store.watch(collection, None, self.store.revision())?;
        loop {
            for change in watch.next().await?.changes {
                self.tell(collection, &change);
            }
        }
    }

    fn tell(&self, collection: &'static str, change: &Change) {
        let key = &change.entry.key;
        let reference = (collection, key.namespace().to_owned(), key.name().to_owned());
        let book = lock(&self.book);
        let followers = book.get(&reference).into_iter().flatten();
        followers.for_each(|(_, changes)| changes.send_replace(()));
    }
}

/// A token that is used until it is to be replaced.
struct Held {
    token: String,
    renew: SystemTime,
    expires: SystemTime,
}

/// When a token is to be replaced: after four fifths of its life, and after a day at most.
fn renewal(issued: SystemTime, expires: SystemTime) -> SystemTime {
    let life = expires.duration_since(issued).unwrap_or_default();
    issued + (life * 4 / 5).min(limits::TOKEN_KEPT)
}

/// One pod's sources.
struct OfPod<O> {
    desk: Arc<Inner<O>>,
    pod: PodRef,
    account: String,
    /// Tells the pod of changes.
    changes: Arc<watch::Sender<()>>,
    followed: Mutex<BTreeSet<Reference>>,
    tokens: Mutex<BTreeMap<TokenWanted, Held>>,
    /// What says of itself that it will not change.
    frozen: Mutex<BTreeMap<Reference, Arc<Entries>>>,
}

impl<O> fmt::Debug for OfPod<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sources of {}", self.pod)
    }
}

impl<O: Objects> Origin for OfPod<O> {
    fn read<'a>(&'a self, references: &'a References) -> Reading<'a> {
        Box::pin(async move {
            let mut sources = Sources::default();
            let namespace = &self.pod.namespace;
            for name in &references.config_maps {
                let entries = self.entries::<ConfigMap>(CONFIG_MAPS, name);
                entries.into_iter().for_each(|entries| sources.set_config_map(namespace, name, entries));
            }
            for name in &references.secrets {
                let entries = self.entries::<Secret>(SECRETS, name);
                entries.into_iter().for_each(|entries| sources.set_secret(namespace, name, entries));
            }
            for claim in &references.claims {
                self.followed(CLAIMS, namespace, &claim.name);
                sources.set_claim(claim.clone(), claims::place(&self.desk.store, &self.pod, claim));
            }
            if let Some(links) = references.services {
                self.services(links).into_iter().for_each(|service| sources.add_service(service));
            }
            if let Some(name) = &references.runtime_class {
                self.followed(RUNTIME_CLASSES, "", name);
                let class = self.one::<RuntimeClass>(RUNTIME_CLASSES, &Key::new("", name));
                class.into_iter().for_each(|class| sources.add_runtime_class(name.clone(), class.handler));
            }
            for wanted in &references.tokens {
                sources.set_token(wanted.clone(), self.token(wanted).await);
            }
            Arc::new(sources)
        })
    }

    fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    fn renewal(&self) -> Option<SystemTime> {
        lock(&self.tokens).values().map(|held| held.renew).min()
    }
}

impl<O: Objects> OfPod<O> {
    /// From now on, changes of this object are told.
    fn followed(&self, collection: &'static str, namespace: &str, name: &str) -> Reference {
        let reference = (collection, namespace.to_owned(), name.to_owned());
        if lock(&self.followed).insert(reference.clone()) {
            let mut book = lock(&self.desk.book);
            let followers = book.entry(reference.clone()).or_default();
            followers.insert(self.pod.uid.clone(), Arc::clone(&self.changes));
        }
        reference
    }

    fn one<T: DeserializeOwned>(&self, collection: &str, key: &Key) -> Option<T> {
        serde_json::from_slice(&self.desk.store.get(collection, key)?.bytes).ok()
    }

    /// Those that variables tell of, which do not change while a container runs.
    fn services(&self, links: bool) -> Vec<Service> {
        let api = self.one(SERVICES, &Key::new(DEFAULT_NAMESPACE, API_SERVICE));
        let own = links.then(|| self.desk.store.list(SERVICES, Some(&self.pod.namespace), None, 0, None));
        let own = own.into_iter().flatten().flat_map(|page| page.entries);
        let own = own.filter_map(|entry| serde_json::from_slice(&entry.bytes).ok());
        api.into_iter().chain(own).collect()
    }

    fn entries<T>(&self, collection: &'static str, name: &str) -> Option<Arc<Entries>>
    where
        T: DeserializeOwned,
        Entries: for<'t> From<&'t T>,
    {
        let reference = self.followed(collection, &self.pod.namespace, name);
        if let Some(entries) = lock(&self.frozen).get(&reference) {
            return Some(Arc::clone(entries));
        }
        let entry = self.desk.store.get(collection, &Key::new(&self.pod.namespace, name))?;
        let object: T = serde_json::from_slice(&entry.bytes).ok()?;
        let entries = Arc::new(Entries::from(&object));
        if entries.immutable {
            lock(&self.frozen).insert(reference, Arc::clone(&entries));
        }
        Some(entries)
    }

    /// A token that is good for a while yet; one that is to be replaced, too, as long as there is no other.
    async fn token(&self, wanted: &TokenWanted) -> Result<String, String> {
        let now = clock::wall();
        if let Some(held) = lock(&self.tokens).get(wanted).filter(|held| now < held.renew) {
            return Ok(held.token.clone());
        }
        let pod = ObjectRef::pod(&self.pod.namespace, &self.pod.name);
        match self.desk.objects.token(&pod, &self.pod.uid, &self.account, wanted).await {
            Ok(Token { token, expires }) => {
                let held = Held { token: token.clone(), renew: renewal(now, expires), expires };
                lock(&self.tokens).insert(wanted.clone(), held);
                Ok(token)
            }
            Err(error) => {
                let mut tokens = lock(&self.tokens);
                let held = tokens.get_mut(wanted).filter(|held| now < held.expires);
                let held = held.ok_or_else(|| error.to_string())?;
                tracing::warn!(pod = %self.pod, "renewing a token failed, and is tried again: {error}");
                held.renew = now + limits::REFRESH_RETRY;
                Ok(held.token.clone())
            }
        }
    }
}

impl<O> Drop for OfPod<O> {
    fn drop(&mut self) {
        let mut book = lock(&self.desk.book);
        for reference in lock(&self.followed).iter() {
            if let Some(followers) = book.get_mut(reference) {
                followers.remove(&self.pod.uid);
                if followers.is_empty() {
                    book.remove(reference);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn tokens_are_replaced_after_four_fifths_of_their_life_and_each_day() {
        let issued = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let after = |life: u64| {
            let renew = renewal(issued, issued + Duration::from_secs(life));
            renew.duration_since(issued).unwrap().as_secs()
        };
        assert_eq!(after(600), 480);
        assert_eq!(after(3607), 2885);
        assert_eq!(after(30 * 86_400), 86_400);
    }
}

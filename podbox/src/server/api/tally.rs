//! What the objects of a namespace use of its quotas, kept up with the store rather than counted anew.
//!
//! Most kinds only count: how many of them a namespace has, the store knows. Pods, Services and claims count by what they
//! ask for, and pods only where a quota's scopes mean them: of these a tally remembers what each object came to, and takes
//! in what changed since it was asked last.
//!
//! **Invariant:** an answer is of all that was acknowledged before it was asked for; it costs as much as has changed since
//! the last one.

use crate::api::admission::quota::{self, Usage};
use crate::api::kinds::Kind;
use crate::api::status::ApiError;
use crate::limits;
use crate::store::{Change, Entry, Expired, Happened, Key, Store, Watch};
use k8s_openapi::api::core::v1::ResourceQuota;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// All tallies.
pub(super) struct Tallies {
    store: Store,
    /// By collection.
    followed: Mutex<HashMap<String, Followed>>,
}

/// The tallies of one collection, and where reading goes on.
struct Followed {
    kind: Arc<Kind>,
    watch: Watch,
    tallies: HashMap<Place, Tally>,
    asked: u64,
}

/// A namespace, and the scopes of its quota.
type Place = (String, String);

/// What is used in one place.
struct Tally {
    /// Has the scopes.
    quota: ResourceQuota,
    of: HashMap<Key, Usage>,
    sum: Usage,
    /// When it was asked last, in questions.
    asked: u64,
}

impl Tallies {
    pub(super) fn new(store: Store) -> Tallies {
        Tallies { store, followed: Mutex::default() }
    }

    /// What the objects of a kind use of a quota in its namespace.
    pub(super) fn used(
        &self,
        kind: &Arc<Kind>,
        namespace: &str,
        of: &ResourceQuota,
    ) -> Result<Usage, ApiError> {
        if quota::is_counted_alone(kind) {
            // Scopes mean pods.
            let scoped = quota::scopes(of) != "[]";
            let count = if scoped { 0 } else { self.store.count_in(&kind.collection(), namespace) };
            return Ok(quota::usage_of(kind, count));
        }
        // Only a flood of writes between its steps can make it fail, and then it begins anew.
        loop {
            if let Ok(used) = self.tallied(kind, namespace, of) {
                return used;
            }
        }
    }

    fn tallied(
        &self,
        kind: &Arc<Kind>,
        namespace: &str,
        of: &ResourceQuota,
    ) -> Result<Result<Usage, ApiError>, Expired> {
        let mut all = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        let collection = kind.collection();
        let followed = match all.remove(&collection) {
            Some(followed) => followed,
            None => Followed::new(&self.store, kind)?,
        };
        let followed = all.entry(collection).or_insert(followed);
        let read = followed.used(&self.store, namespace, of);
        if read.is_err() {
            // History moved on: what was tallied is of no use.
            all.remove(&kind.collection());
        }
        read
    }
}

impl Followed {
    fn new(store: &Store, kind: &Arc<Kind>) -> Result<Followed, Expired> {
        let watch = store.watch(&kind.collection(), None, store.revision())?;
        Ok(Followed { kind: Arc::clone(kind), watch, tallies: HashMap::new(), asked: 0 })
    }

    fn used(
        &mut self,
        store: &Store,
        namespace: &str,
        of: &ResourceQuota,
    ) -> Result<Result<Usage, ApiError>, Expired> {
        self.asked += 1;
        let place = (namespace.to_owned(), quota::scopes(of));
        if !self.tallies.contains_key(&place) {
            self.make_room();
            let mut tally = Tally { quota: of.clone(), of: HashMap::new(), sum: Usage::new(), asked: 0 };
            for entry in store.list(&self.kind.collection(), Some(namespace), None, 0, None)?.entries {
                if let Err(error) = tally.put(&self.kind, &entry) {
                    return Ok(Err(error));
                }
            }
            self.tallies.insert(place.clone(), tally);
        }
        // What a new tally has already is only put again.
        loop {
            let changes = self.watch.read()?.changes;
            if changes.is_empty() {
                break;
            }
            for change in changes {
                if let Err(error) = self.take(&change) {
                    self.tallies.clear();
                    return Ok(Err(error));
                }
            }
        }
        let asked = self.asked;
        let tally = self.tallies.get_mut(&place);
        Ok(Ok(tally.map_or_else(Usage::new, |tally| {
            tally.asked = asked;
            tally.sum.clone()
        })))
    }

    /// Forgets the tally that was asked longest ago, if there are too many.
    fn make_room(&mut self) {
        if self.tallies.len() >= limits::TALLIES {
            let oldest = self.tallies.iter().min_by_key(|(_, tally)| tally.asked);
            if let Some(oldest) = oldest.map(|(place, _)| place.clone()) {
                self.tallies.remove(&oldest);
            }
        }
    }

    fn take(&mut self, change: &Change) -> Result<(), ApiError> {
        let entry = &change.entry;
        let there = self.tallies.iter_mut().filter(|((namespace, _), _)| namespace == entry.key.namespace());
        for (_, tally) in there {
            match change.happened {
                Happened::Deleted => tally.remove(&entry.key),
                Happened::Added | Happened::Modified => tally.put(&self.kind, entry)?,
            }
        }
        Ok(())
    }
}

impl Tally {
    fn put(&mut self, kind: &Kind, entry: &Entry) -> Result<(), ApiError> {
        self.remove(&entry.key);
        let object: Value = super::write::read(entry)?;
        if quota::counts(&self.quota, kind, &object) {
            let usage = quota::usage(kind, &object);
            quota::add(&mut self.sum, &usage);
            self.of.insert(entry.key.clone(), usage);
        }
        Ok(())
    }

    fn remove(&mut self, key: &Key) {
        if let Some(usage) = self.of.remove(key) {
            quota::take(&mut self.sum, &usage);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::kinds::Kinds;
    use crate::store::Expected;
    use serde_json::json;

    fn quota(spec: Value) -> ResourceQuota {
        serde_json::from_value(json!({"metadata": {"name": "q"}, "spec": spec})).unwrap()
    }

    /// A pod that asks for so much; one that asks for nothing is of the lowest class.
    fn pod(cpu: u32, phase: &str) -> Vec<u8> {
        let resources = if cpu == 0 { json!({}) } else { json!({"requests": {"cpu": format!("{cpu}m")}}) };
        let spec = json!({"containers": [{"name": "c", "image": "i", "resources": resources}]});
        serde_json::to_vec(&json!({"metadata": {}, "spec": spec, "status": {"phase": phase}})).unwrap()
    }

    /// What is there, counted.
    fn counted(store: &Store, kind: &Kind, namespace: &str, of: &ResourceQuota) -> Usage {
        let mut sum = Usage::new();
        for entry in store.list(&kind.collection(), Some(namespace), None, 0, None).unwrap().entries {
            let object: Value = serde_json::from_slice(&entry.bytes).unwrap();
            if quota::counts(of, kind, &object) {
                quota::add(&mut sum, &quota::usage(kind, &object));
            }
        }
        sum
    }

    fn same(one: &Usage, other: &Usage) -> bool {
        let zero = crate::api::quantity::Quantity::ZERO;
        let of = |usage: &Usage, name: &str| usage.get(name).copied().unwrap_or(zero).minus(zero).to_string();
        one.keys().chain(other.keys()).all(|name| of(one, name) == of(other, name))
    }

    #[tokio::test]
    async fn a_tally_is_what_counting_anew_comes_to() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let (tallies, kinds) = (Tallies::new(store.clone()), Kinds::new());
        let kind = kinds.kind("v1", "Pod").unwrap();
        let all = quota(json!({"hard": {"pods": "9"}}));
        let best = quota(json!({"hard": {"pods": "9"}, "scopes": ["BestEffort"]}));
        for step in 0_u32..300 {
            let key = Key::new(["a", "b"][(step % 2) as usize], &format!("p{}", step * 7 % 13));
            if step % 5 == 4 {
                let _ = store.delete("/pods", &key, Expected::Any, |_| "{}".into()).await;
            } else {
                let bytes = pod(step % 3 * 100, if step % 11 == 0 { "Succeeded" } else { "Running" });
                store.put("/pods", &key, Expected::Any, move |_| bytes.into()).await.unwrap();
            }
            // Not after every one, so that there is something to catch up with.
            if step % 4 == 3 {
                for (namespace, of) in [("a", &all), ("a", &best), ("b", &all), ("c", &all)] {
                    let used = tallies.used(kind, namespace, of).unwrap();
                    let expected = counted(&store, kind, namespace, of);
                    assert!(same(&used, &expected), "step {step}, {namespace}: {used:?}, not {expected:?}");
                }
            }
        }
    }

    #[tokio::test]
    async fn other_kinds_are_counted_by_the_store() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let (tallies, kinds) = (Tallies::new(store.clone()), Kinds::new());
        let kind = kinds.kind("v1", "ConfigMap").unwrap();
        let (all, best) = (quota(json!({"hard": {}})), quota(json!({"hard": {}, "scopes": ["BestEffort"]})));
        for (namespace, name) in [("a", "x"), ("a", "y"), ("a", "y"), ("a-b", "x")] {
            let key = Key::new(namespace, name);
            store.put("/configmaps", &key, Expected::Any, |_| "{}".into()).await.unwrap();
        }
        store.delete("/configmaps", &Key::new("a", "x"), Expected::Any, |_| "{}".into()).await.unwrap();
        let used = |namespace, of| tallies.used(kind, namespace, of).unwrap()["configmaps"].to_string();
        assert_eq!(
            [used("a", &all), used("a-b", &all), used("c", &all), used("a", &best)],
            ["1", "1", "0", "0"]
        );
    }
}

//! The API of a simulated cluster: the production store's state, rules and life of objects, without HTTP, accounts or a disk.
//!
//! Every object goes through the defaults and the validation of its kind, as a request does, so that a controller that writes
//! what the API would refuse is found out. What it leaves out is what other objects decide (quotas, service accounts).

use super::random::Random;
use crate::api::kinds::{Kind, Kinds};
use crate::api::lifecycle::{self, Deleted, Deletion};
use crate::api::object;
use crate::api::objects::{Seen, Target};
use crate::api::rules::Write;
use crate::control::catalog::Catalog;
use crate::control::key::Key;
use crate::store::Op;
use crate::store::memory::Memory;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Why a write was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The object is not as it was seen.
    Conflict,
    /// There is none, or another of its name.
    Gone,
    /// There is one already.
    Exists,
    /// It is not valid: what is wrong with it.
    Invalid(String),
}

/// The API.
pub struct Api {
    kinds: Arc<Kinds>,
    catalog: Catalog,
    store: Memory,
    /// The same objects, read: those who look at all of them at each step would read them each time.
    read: BTreeMap<String, BTreeMap<Key, Value>>,
}

impl Api {
    /// An empty one.
    pub fn new(kinds: &Arc<Kinds>) -> Api {
        let catalog = Catalog::new(kinds);
        Api { kinds: Arc::clone(kinds), catalog, store: Memory::default(), read: BTreeMap::new() }
    }

    /// The kinds that controllers follow.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The store.
    pub fn store(&self) -> &Memory {
        &self.store
    }

    /// Forgets all changes up to now: who has not read them is told to look at everything again.
    pub fn forget_history(&mut self) {
        self.store.age();
        self.store.age();
    }

    /// The objects of a collection, in the order of their keys.
    pub fn list(&self, collection: &str) -> impl Iterator<Item = &Value> {
        self.read.get(collection).into_iter().flat_map(BTreeMap::values)
    }

    /// An object.
    pub fn get(&self, collection: &str, key: &Key) -> Option<&Value> {
        self.read.get(collection)?.get(key)
    }

    /// An object.
    pub fn find(&self, at: &Target) -> Option<&Value> {
        self.get(&self.kind(at)?.collection(), &key(at))
    }

    /// Which objects there are: their collections and keys.
    pub fn inventory(&self) -> Vec<String> {
        let all = self.read.iter().flat_map(|(collection, all)| all.keys().map(move |key| (collection, key)));
        all.map(|(collection, key)| format!("{collection} {key}")).collect()
    }

    fn kind(&self, at: &Target) -> Option<Arc<Kind>> {
        self.kinds.kind(&at.api_version, &at.kind).cloned()
    }

    /// Creates an object; gives back its name.
    pub fn create(
        &mut self,
        mut object: Value,
        now: Timestamp,
        random: &mut Random,
    ) -> Result<String, Refusal> {
        let word = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
        let kind = self.kinds.kind(&word("apiVersion"), &word("kind"));
        let kind = Arc::clone(kind.ok_or_else(|| Refusal::Invalid(format!("no such kind: {object}")))?);
        if object::name(&object).is_empty() {
            let name = lifecycle::generated(object::text(&object, "generateName"), random.bytes());
            object::set(&mut object, "name", name);
        }
        let key = Key::new(object::namespace(&object), object::name(&object));
        if self.get(&kind.collection(), &key).is_some() {
            return Err(Refusal::Exists);
        }
        let uid = format!("uid-{}", self.store.revision());
        lifecycle::born(&mut object, &kind, uid, now.into());
        let object = admit(&kind, object, Write::Create)?;
        self.put(&kind, key.clone(), object);
        Ok(key.name().to_owned())
    }

    /// Changes an object, or the part of it of this name; tells whether anything was different.
    pub fn edit(
        &mut self,
        at: &Target,
        part: &str,
        seen: &Seen,
        change: impl FnOnce(&mut Value),
    ) -> Result<bool, Refusal> {
        let (kind, old) = self.seen(at, seen)?;
        let mut new = old.clone();
        change(&mut new);
        lifecycle::keep(&mut new, &old);
        let write = if part == "status" { Write::Status(&old) } else { Write::Update(&old) };
        let mut new = admit(&kind, new, write)?;
        if part != "status" {
            lifecycle::count(&mut new, &old, &kind);
        }
        if new == old {
            return Ok(false);
        }
        match lifecycle::released(&new, &old, &kind) {
            true => self.remove(&kind, &key(at), &old),
            false => self.put(&kind, key(at), new),
        }
        Ok(true)
    }

    /// Changes what is said of an object, in words that need no judging: those of `pod::pretend`, and leases. Each second write of a run
    /// is one of these.
    pub fn tell(&mut self, at: &Target, change: impl FnOnce(&mut Value)) -> Result<bool, Refusal> {
        let (kind, old) = self.seen(at, &Seen::default())?;
        let mut new = old.clone();
        change(&mut new);
        let differs = new != old;
        if differs {
            self.put(&kind, key(at), new);
        }
        Ok(differs)
    }

    /// Asks an object to go; tells whether anything was different.
    pub fn delete(
        &mut self,
        at: &Target,
        seen: &Seen,
        asked: Deletion,
        now: Timestamp,
    ) -> Result<bool, Refusal> {
        let (kind, old) = match self.seen(at, seen) {
            // A deletion's precondition is refused, where a change of another one finds none.
            Err(Refusal::Gone) if self.find(at).is_some() => return Err(Refusal::Conflict),
            seen => seen?,
        };
        match lifecycle::delete(&old, &kind, asked, now.into()) {
            Deleted::Marked(new) => self.put(&kind, key(at), new),
            Deleted::Unchanged => return Ok(false),
            Deleted::Gone(last) => self.remove(&kind, &key(at), &last.unwrap_or(old)),
        }
        Ok(true)
    }

    /// Gives the pod of this uid to a node, once.
    pub fn bind(&mut self, at: &Target, uid: &str, node: &str, now: Timestamp) -> Result<(), Refusal> {
        let (kind, mut pod) = self.seen(at, &Seen::default())?;
        let taken = !pod["spec"]["nodeName"].is_null() || !pod["spec"]["schedulingGates"].is_null();
        if object::uid(&pod) != uid || object::deleting(&pod) || taken {
            return Err(Refusal::Conflict);
        }
        pod["spec"]["nodeName"] = node.into();
        let mut conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.retain(|condition| condition["type"] != "PodScheduled");
        let since = object::time(now.into());
        conditions.insert(0, json!({"type": "PodScheduled", "status": "True", "lastTransitionTime": since}));
        pod["status"]["conditions"] = conditions.into();
        self.put(&kind, key(at), pod);
        Ok(())
    }

    /// An object, if it is as it was seen.
    fn seen(&self, at: &Target, seen: &Seen) -> Result<(Arc<Kind>, Value), Refusal> {
        let kind = self.kind(at).ok_or(Refusal::Gone)?;
        let object = self.find(at).ok_or(Refusal::Gone)?;
        if !seen.uid.is_empty() && seen.uid != object::uid(object) {
            return Err(Refusal::Gone);
        }
        let revision = object::text(object, "resourceVersion");
        match seen.revision.is_some_and(|seen| seen.to_string() != revision) {
            true => Err(Refusal::Conflict),
            false => Ok((kind, object.clone())),
        }
    }

    fn put(&mut self, kind: &Kind, key: Key, mut object: Value) {
        object::set(&mut object, "resourceVersion", (self.store.revision() + 1).to_string());
        let (collection, bytes) = (kind.collection(), object.to_string());
        self.store.write(&collection, &key, |_, _| Some(Op::Put(bytes.into())));
        self.read.entry(collection).or_default().insert(key, object);
    }

    fn remove(&mut self, kind: &Kind, key: &Key, last: &Value) {
        let (collection, bytes) = (kind.collection(), last.to_string());
        self.store.write(&collection, key, |_, _| Some(Op::Delete(bytes.into())));
        if let Some(all) = self.read.get_mut(&collection) {
            all.remove(key);
        }
    }
}

fn key(at: &Target) -> Key {
    Key::new(&at.namespace, &at.name)
}

/// The object as it is stored, if its kind's rules have nothing against it.
fn admit(kind: &Kind, object: Value, write: Write<'_>) -> Result<Value, Refusal> {
    let shown = |why: String| Refusal::Invalid(format!("{}: {why}", kind.kind));
    let admitted = kind.rules.admit(object, write).map_err(|error| shown(error.to_string()))?;
    match admitted.errors.is_empty() {
        true => Ok(without_names(admitted.object)),
        false => Err(shown(format!("{:?}", admitted.errors))),
    }
}

/// Without what its place tells.
fn without_names(mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.remove("kind");
        fields.remove("apiVersion");
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_refused_and_what_is_silent_is_filled_in() {
        let mut api = Api::new(&Arc::new(Kinds::new()));
        let mut random = Random::new(1);
        let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
        let mut set = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"generateName": "s-", "namespace": "n"},
            "spec": {"selector": {"matchLabels": {"a": "c"}}, "template": template},
        });
        let refused = api.create(set.clone(), Timestamp::UNIX_EPOCH, &mut random);
        assert!(matches!(&refused, Err(Refusal::Invalid(why)) if why.contains("selector")), "{refused:?}");
        set["spec"]["selector"]["matchLabels"]["a"] = "b".into();
        let name = api.create(set, Timestamp::UNIX_EPOCH, &mut random).unwrap();
        let at =
            Target { api_version: "apps/v1".into(), kind: "ReplicaSet".into(), namespace: "n".into(), name };
        assert_eq!(api.find(&at).unwrap()["spec"]["replicas"], 1);
        let seen = Seen { uid: String::new(), revision: Some(1) };
        assert_eq!(api.edit(&at, "", &seen, |_| {}), Err(Refusal::Conflict));
        let scale = |set: &mut Value| set["spec"]["replicas"] = 3.into();
        assert_eq!(api.edit(&at, "", &Seen::default(), scale), Ok(true));
        assert_eq!(api.edit(&at, "", &Seen::default(), scale), Ok(false));
        let other = Seen { uid: "another".into(), revision: None };
        assert_eq!(api.edit(&at, "", &other, scale), Err(Refusal::Gone));
        assert_eq!(
            api.delete(&at, &other, Deletion::default(), Timestamp::UNIX_EPOCH),
            Err(Refusal::Conflict)
        );
        api.delete(&at, &Seen::default(), Deletion::default(), Timestamp::UNIX_EPOCH).unwrap();
        assert!(api.inventory().is_empty());
    }
}

//! The kinds that controllers follow, numbered: what an object's place, and an owner reference, mean. Pure.

use super::key::Key;
use super::key::KindId;
use crate::api::kinds::{Kinds, Name};
use crate::api::objects::Target;
use std::collections::BTreeMap;

/// Kinds of which nobody is an owner that matters, and which would be most of what there is to follow.
const IGNORED: [&str; 1] = ["/events"];

/// A kind.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its apiVersion.
    pub api_version: Name,
    /// Its name.
    pub kind: Name,
    /// Where its objects are.
    pub collection: String,
    /// Whether they lie in namespaces.
    pub namespaced: bool,
    /// Whether they say how many pods they want.
    pub scaled: bool,
}

impl Row {
    /// What its objects are called, with the group: `jobs.batch`.
    pub fn resource(&self) -> String {
        match self.collection.split_once('/') {
            Some(("", plural)) => plural.to_owned(),
            Some((group, plural)) => format!("{plural}.{group}"),
            None => self.collection.clone(),
        }
    }
}

/// All of them.
#[derive(Clone, Debug)]
pub struct Catalog {
    rows: Vec<Row>,
    by_kind: BTreeMap<(Name, Name), KindId>,
    by_collection: BTreeMap<String, KindId>,
}

impl Catalog {
    /// Of the stored ones among these kinds.
    pub fn new(kinds: &Kinds) -> Catalog {
        let mut all = Catalog { rows: Vec::new(), by_kind: BTreeMap::new(), by_collection: BTreeMap::new() };
        for kind in kinds.iter().filter(|kind| kind.stored()) {
            let collection = kind.collection();
            if IGNORED.contains(&collection.as_str()) {
                continue;
            }
            let api_version = Name::from(kind.api_version());
            // Two kinds that spell the same objects are one here; owners may be named by either.
            let id = match all.by_collection.get(&collection) {
                Some(id) => *id,
                None => all.add(Row {
                    api_version: api_version.clone(),
                    kind: kind.kind.clone(),
                    collection,
                    namespaced: kind.namespaced(),
                    scaled: kind.subresource("scale").is_some(),
                }),
            };
            all.by_kind.insert((api_version, kind.kind.clone()), id);
        }
        all
    }

    fn add(&mut self, row: Row) -> KindId {
        let id = KindId(u16::try_from(self.rows.len()).unwrap_or(u16::MAX));
        self.by_collection.insert(row.collection.clone(), id);
        self.rows.push(row);
        id
    }

    /// The kind of this number. Numbers come from here, so there is one.
    pub fn row(&self, id: KindId) -> &Row {
        &self.rows[usize::from(id.0)]
    }

    /// The kind that an owner reference names.
    pub fn find(&self, api_version: &str, kind: &str) -> Option<KindId> {
        self.by_kind.get(&(Name::from(api_version.to_owned()), Name::from(kind.to_owned()))).copied()
    }

    /// The kind of a collection.
    pub fn collection(&self, name: &str) -> Option<KindId> {
        self.by_collection.get(name).copied()
    }

    /// All collections with their kinds' numbers.
    pub fn collections(&self) -> impl Iterator<Item = (KindId, &str)> {
        let ids = (0..).map(KindId);
        ids.zip(self.rows.iter().map(|row| row.collection.as_str()))
    }

    /// An object, in the words in which it is written to.
    pub fn target(&self, id: KindId, key: &Key) -> Target {
        let row = self.row(id);
        Target {
            api_version: row.api_version.clone(),
            kind: row.kind.clone(),
            namespace: key.namespace().to_owned(),
            name: key.name().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_found_by_what_an_owner_reference_says() {
        let all = Catalog::new(&Kinds::new());
        let pod = all.find("v1", "Pod").unwrap();
        assert_eq!((all.row(pod).collection.as_str(), all.row(pod).namespaced), ("/pods", true));
        assert_eq!(all.collection("/pods"), Some(pod));
        assert!(all.find("v1", "Event").is_none() && all.find("apps/v1beta1", "Deployment").is_none());
        let target = all.target(all.find("apps/v1", "Deployment").unwrap(), &Key::new("n", "a"));
        assert_eq!((&*target.api_version, target.namespace.as_str()), ("apps/v1", "n"));
    }
}

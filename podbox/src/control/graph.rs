//! Who is whose dependent: an index by the owners' uids of the objects that have owners. Pure.
//!
//! Objects without owners take no room in it, and whether an owner is there is not its to know: that is read from the
//! store when it matters. Its size and the cost of a change grow with owner references, not with the store.

use super::key::{KindId, Place};
use super::meta::{Meta, Owner};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

/// An owner as a dependent names it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    uid: Arc<str>,
    /// Whether the owner's end waits for the dependent's.
    blocks: bool,
    /// Stands for version, kind and name: who is named otherwise may be somebody else.
    as_what: u64,
}

/// An owner's dependents.
#[derive(Clone, Debug, Default)]
struct Dependents {
    /// Whether each blocks the owner's end.
    all: BTreeMap<Place, bool>,
    blocking: usize,
    /// Whether the owner was there, and is gone.
    gone: bool,
}

/// The index.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// By the owner's uid.
    dependents: BTreeMap<Arc<str>, Dependents>,
    /// Whom each dependent names.
    owners: BTreeMap<Place, Vec<Named>>,
    /// Objects that are to go once something was done about their dependents, by uid.
    going: BTreeMap<Arc<str>, Place>,
}

impl Graph {
    /// An object is like this now. `wake` is told whom to look at. Gives back whether it names other owners than before: then it is to
    /// be looked at, unless all of them surely are there.
    pub fn note(&mut self, place: &Place, meta: &Meta, mut wake: impl FnMut(Place)) -> bool {
        let named: Vec<Named> = meta.owner_references.iter().map(|owner| self.named(owner)).collect();
        let before = self.owners.get(place);
        let differs = before.map_or(!named.is_empty(), |before| *before != named);
        if differs {
            self.unlink(place, &mut wake);
            self.link(place, named);
        }
        if meta.awaits_dependents() || meta.leaves_orphans() {
            let first = self.going.insert(meta.uid.as_str().into(), place.clone()).is_none();
            wake(place.clone());
            if first && meta.awaits_dependents() {
                self.dependents(&meta.uid).for_each(|(place, _)| wake(place.clone()));
            }
        }
        differs
    }

    /// An object of this uid is gone.
    pub fn forget(&mut self, place: &Place, uid: &str, mut wake: impl FnMut(Place)) {
        self.unlink(place, &mut wake);
        self.going.remove(uid);
        self.dependents.get_mut(uid).into_iter().for_each(|dependents| dependents.gone = true);
        self.dependents(uid).for_each(|(place, _)| wake(place.clone()));
    }

    fn named(&self, owner: &Owner) -> Named {
        let known = self.dependents.get_key_value(owner.uid.as_str()).map(|(uid, _)| Arc::clone(uid));
        let mut hasher = DefaultHasher::new();
        (&owner.api_version, &owner.kind, &owner.name).hash(&mut hasher);
        Named {
            uid: known.unwrap_or_else(|| owner.uid.as_str().into()),
            blocks: owner.block_owner_deletion == Some(true),
            as_what: hasher.finish(),
        }
    }

    fn link(&mut self, place: &Place, named: Vec<Named>) {
        for Named { uid, blocks, .. } in &named {
            let dependents = self.dependents.entry(Arc::clone(uid)).or_default();
            dependents.blocking += usize::from(*blocks);
            if dependents.all.insert(place.clone(), *blocks) == Some(true) {
                dependents.blocking -= 1;
            }
        }
        if !named.is_empty() {
            self.owners.insert(place.clone(), named);
        }
    }

    /// It depends on nobody any more; owners that wait for it are woken.
    fn unlink(&mut self, place: &Place, wake: &mut impl FnMut(Place)) {
        for Named { uid, .. } in self.owners.remove(place).unwrap_or_default() {
            if let Some(dependents) = self.dependents.get_mut(&uid) {
                if dependents.all.remove(place) == Some(true) {
                    dependents.blocking -= 1;
                }
                if dependents.all.is_empty() {
                    self.dependents.remove(&uid);
                }
            }
            if let Some(owner) = self.going.get(&uid) {
                wake(owner.clone());
            }
        }
    }

    /// The dependents of the object of this uid, and whether each blocks its end.
    pub fn dependents(&self, uid: &str) -> impl Iterator<Item = (&Place, bool)> {
        self.dependents
            .get(uid)
            .into_iter()
            .flat_map(|found| &found.all)
            .map(|(place, blocks)| (place, *blocks))
    }

    /// Whether the object of this uid, which has dependents, is known to be gone.
    pub fn is_gone(&self, uid: &str) -> bool {
        self.dependents.get(uid).is_some_and(|found| found.gone)
    }

    /// Whether a dependent blocks the end of the object of this uid.
    pub fn is_blocked(&self, uid: &str) -> bool {
        self.dependents.get(uid).is_some_and(|found| found.blocking > 0)
    }

    /// Whether the object there is to go once something was done about its dependents.
    pub fn is_going(&self, place: &Place) -> bool {
        self.going.values().any(|going| going == place)
    }

    /// All objects that have owners.
    pub fn places(&self) -> impl Iterator<Item = &Place> {
        self.owners.keys()
    }

    /// Objects of a kind that have owners: after a gap in what was told, those that are gone.
    pub fn of_kind(&self, kind: KindId) -> impl Iterator<Item = &Place> {
        self.owners.keys().filter(move |place| place.kind == kind)
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::Key;
    use super::*;

    fn place(name: &str) -> Place {
        Place { kind: KindId(0), key: Key::new("n", name) }
    }

    fn owned(uid: &str, owners: &[(&str, bool)]) -> Meta {
        let one = |(uid, blocks): &(&str, bool)| Owner {
            uid: (*uid).to_owned(),
            block_owner_deletion: Some(*blocks),
            ..Owner::default()
        };
        Meta { uid: uid.to_owned(), owner_references: owners.iter().map(one).collect(), ..Meta::default() }
    }

    fn note(graph: &mut Graph, name: &str, meta: &Meta) -> Vec<Place> {
        let mut woken = Vec::new();
        let solid = meta.owner_references.iter().all(|owner| owner.uid == "solid");
        let differs = graph.note(&place(name), meta, |place| woken.push(place));
        if differs && !solid {
            woken.push(place(name));
        }
        woken
    }

    #[test]
    fn dependents_are_looked_at_when_their_owners_change_or_go() {
        let mut graph = Graph::default();
        assert_eq!(note(&mut graph, "a", &owned("1", &[("solid", true)])), []);
        assert_eq!(note(&mut graph, "a", &owned("1", &[("solid", true)])), []);
        assert_eq!(note(&mut graph, "b", &owned("2", &[("0", false)])), [place("b")]);
        assert!(graph.is_blocked("solid") && !graph.is_blocked("0"));
        assert_eq!(graph.dependents("0").count(), 1);
        let mut woken = Vec::new();
        assert!(!graph.is_gone("0"), "it never was there, as far as anybody knows");
        graph.forget(&place("owner"), "0", |place| woken.push(place));
        assert_eq!(woken, [place("b")]);
        assert!(graph.is_gone("0"));
        let mut renamed = owned("2", &[("0", false)]);
        renamed.owner_references[0].name = "other".to_owned();
        assert_eq!(note(&mut graph, "b", &renamed), [place("b")], "it may be nobody's now");
        note(&mut graph, "b", &owned("2", &[]));
        assert_eq!(graph.dependents("0").count(), 0);
        assert!(!graph.is_gone("0"), "nobody asks any more");
    }

    #[test]
    fn an_owner_that_waits_is_looked_at_as_its_dependents_go() {
        let mut graph = Graph::default();
        note(&mut graph, "a", &owned("1", &[("o", true)]));
        let going = Meta {
            deletion_timestamp: Some(jiff::Timestamp::UNIX_EPOCH),
            finalizers: vec![super::super::meta::FOREGROUND.to_owned()],
            ..owned("o", &[])
        };
        assert_eq!(note(&mut graph, "owner", &going), [place("owner"), place("a")]);
        assert!(graph.is_going(&place("owner")) && graph.is_blocked("o"));
        let mut woken = Vec::new();
        graph.forget(&place("a"), "1", |place| woken.push(place));
        assert_eq!(woken, [place("owner")]);
        assert!(!graph.is_blocked("o"));
    }
}

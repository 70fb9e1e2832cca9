//! The garbage collector: what becomes of objects whose owners go. Pure.
//!
//! ```text
//!   an owner is gone ─────────▶ dependents without another owner are deleted (background)
//!   an owner awaits them ─────▶ dependents are deleted, then it goes       (foreground)
//!   an owner leaves orphans ──▶ they forget it, then it goes               (orphan)
//! ```
//!
//! An owner is who has the reference's kind, name and uid, in the dependent's own namespace or in none. Whoever names
//! another uid, or an object of another namespace, names nobody. What cannot be told (a kind that is not served) decides
//! nothing. It never touches what is being deleted already, but for those that await their own dependents.

use super::action::{Actions, Edit, Saying, Subject, Write};
use super::catalog::Catalog;
use super::graph::Graph;
use super::key::{Key, Place};
use super::meta::{FOREGROUND, Head, Meta, ORPHAN, Owner};
use super::source::Source;
use crate::api::lifecycle::Propagation;
use crate::api::objects::Seen;

/// What a reference leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// An owner that stays, or goes without a thought for its dependents.
    Solid,
    /// Nobody.
    Absent,
    /// An owner that goes once its dependents have gone.
    Awaits,
    /// Nobody can tell.
    Unknown,
}

/// An object that may be garbage, or an owner that waits to go.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its metadata.
    pub meta: Meta,
    /// Its revision.
    pub revision: u64,
    /// What its owner references lead to, in their order; nothing of what is to go already.
    pub owners: Vec<State>,
    /// Its dependents.
    pub dependents: Vec<Place>,
    /// Whether one of them blocks its end.
    pub blocked: bool,
    /// Whether one of them itself awaits its dependents: the owners may be in a circle.
    pub circle: bool,
}

/// What is to become of an object.
pub fn reconcile(place: &Place, candidate: &Candidate, catalog: &Catalog) -> Actions {
    let Candidate { meta, .. } = candidate;
    if meta.leaves_orphans() {
        return orphan(place, candidate, catalog);
    }
    if meta.awaits_dependents() {
        // Dependents have been woken, and delete themselves.
        return match candidate.blocked {
            true => Actions::none(),
            false => Actions::of([release(place, meta, FOREGROUND, catalog)]),
        };
    }
    if meta.deleting() || meta.owner_references.is_empty() {
        return Actions::none();
    }
    collect(place, candidate, catalog)
}

fn orphan(place: &Place, candidate: &Candidate, catalog: &Catalog) -> Actions {
    if candidate.dependents.is_empty() {
        return Actions::of([release(place, &candidate.meta, ORPHAN, catalog)]);
    }
    let uid = &candidate.meta.uid;
    Actions::of(candidate.dependents.iter().map(|dependent| {
        let at = catalog.target(dependent.kind, &dependent.key);
        Write::Edit { at, part: "", seen: Seen::default(), edit: Edit::Disown(vec![uid.clone()]) }
    }))
}

fn collect(place: &Place, candidate: &Candidate, catalog: &Catalog) -> Actions {
    let Candidate { meta, owners, .. } = candidate;
    let is = |state: State| owners.contains(&state);
    let seen = Seen { uid: meta.uid.clone(), revision: Some(candidate.revision) };
    let at = || catalog.target(place.kind, &place.key);
    if is(State::Unknown) {
        return Actions::none();
    }
    if is(State::Solid) {
        let leads = meta.owner_references.iter().zip(owners);
        let lost: Vec<String> =
            leads.filter(|(_, state)| **state != State::Solid).map(|(owner, _)| owner.uid.clone()).collect();
        return match lost.is_empty() {
            true => Actions::none(),
            false => Actions::of([Write::Edit { at: at(), part: "", seen, edit: Edit::Disown(lost) }]),
        };
    }
    if is(State::Awaits) && !candidate.dependents.is_empty() {
        let blocks = meta.owner_references.iter().any(|owner| owner.block_owner_deletion == Some(true));
        return match candidate.circle && blocks {
            // First, so that none of a circle waits for the others.
            true => Actions::of([Write::Edit { at: at(), part: "", seen, edit: Edit::Unblock }]),
            false => {
                Actions::of([Write::Delete { at: at(), seen, propagation: Some(Propagation::Foreground) }])
            }
        };
    }
    let propagation = match (meta.held_by(ORPHAN), meta.held_by(FOREGROUND)) {
        (true, _) => Propagation::Orphan,
        (_, true) => Propagation::Foreground,
        _ => Propagation::Background,
    };
    Actions::of([Write::Delete { at: at(), seen, propagation: Some(propagation) }])
}

fn release(place: &Place, meta: &Meta, finalizer: &'static str, catalog: &Catalog) -> Write {
    Write::Edit {
        at: catalog.target(place.kind, &place.key),
        part: "",
        seen: Seen { uid: meta.uid.clone(), revision: None },
        edit: Edit::Release(finalizer),
    }
}

/// Gathers what is to be known of an object and decides.
pub fn look(place: &Place, graph: &Graph, catalog: &Catalog, source: &impl Source) -> Actions {
    let Some(found) = source.get(&catalog.row(place.kind).collection, &place.key) else {
        return Actions::none();
    };
    let meta = Head::read(&found.bytes);
    // An owner of thousands that waits for them is looked at as each of them goes: it counts them only.
    let counted = meta.awaits_dependents();
    let dependents = graph.dependents(&meta.uid).filter(|_| !counted).map(|(place, _)| place.clone());
    let dependents: Vec<Place> = dependents.collect();
    let state = |owner: &Owner| state(owner, place, catalog, source);
    let owners = if meta.deleting() { &[][..] } else { &meta.owner_references[..] };
    let candidate = Candidate {
        owners: owners.iter().map(state).collect(),
        blocked: graph.is_blocked(&meta.uid),
        circle: dependents.iter().any(|dependent| graph.is_going(dependent)),
        revision: found.revision,
        dependents,
        meta,
    };
    let mut actions = reconcile(place, &candidate, catalog);
    let owners = candidate.meta.owner_references.iter().zip(&candidate.owners);
    let lost = owners.filter(|(_, state)| **state == State::Absent).map(|(owner, _)| owner);
    // Of one that was there it is known, and not looked for everywhere for each of its thousands.
    let lost = lost.filter(|owner| !graph.is_gone(&owner.uid) && is_elsewhere(owner, catalog, source));
    actions.said = lost.map(|owner| misplaced(owner, place)).collect();
    actions.about = Some(Subject { at: catalog.target(place.kind, &place.key), uid: candidate.meta.uid });
    actions
}

fn state(owner: &Owner, place: &Place, catalog: &Catalog, source: &impl Source) -> State {
    let Some(kind) = catalog.find(&owner.api_version, &owner.kind) else { return State::Unknown };
    let row = catalog.row(kind);
    let namespace = if row.namespaced { place.key.namespace() } else { "" };
    if row.namespaced && namespace.is_empty() {
        // No object of a namespace can be the owner of one that is in none.
        return State::Unknown;
    }
    let Some(found) = source.get(&row.collection, &Key::new(namespace, &owner.name)) else {
        return State::Absent;
    };
    let meta = Head::read(&found.bytes);
    match (meta.uid == owner.uid, meta.awaits_dependents()) {
        (false, _) => State::Absent,
        (true, true) => State::Awaits,
        (true, false) => State::Solid,
    }
}

/// Whether the owner is there, but in another namespace.
fn is_elsewhere(owner: &Owner, catalog: &Catalog, source: &impl Source) -> bool {
    let Some(row) = catalog.find(&owner.api_version, &owner.kind).map(|kind| catalog.row(kind)) else {
        return false;
    };
    let mut namesakes = source.named(&row.collection, &owner.name).into_iter();
    row.namespaced && namesakes.any(|found| Head::read(&found.bytes).uid == owner.uid)
}

fn misplaced(owner: &Owner, place: &Place) -> Saying {
    let Owner { api_version, kind, name, uid, .. } = owner;
    let namespace = place.key.namespace();
    Saying::warning(
        "OwnerRefInvalidNamespace",
        format!(
            "ownerRef [{api_version}/{kind}, namespace: {namespace}, name: {name}, uid: {uid}] does not exist in namespace {namespace:?}"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::kinds::Kinds;
    use crate::control::source::Found;
    use jiff::Timestamp;
    use serde_json::{Value, json};
    use std::collections::BTreeMap;

    /// A store and the graph of it.
    #[derive(Default)]
    struct World(BTreeMap<(String, Key), Value>);

    impl Source for World {
        fn get(&self, collection: &str, key: &Key) -> Option<Found> {
            let found = self.0.get(&(collection.to_owned(), key.clone()))?;
            Some(Found { bytes: serde_json::to_vec(found).unwrap().into(), revision: 7 })
        }
        fn named(&self, collection: &str, name: &str) -> Vec<Found> {
            let all = self.0.keys().filter(|(of, key)| of == collection && key.name() == name);
            all.filter_map(|(of, key)| self.get(of, key)).collect()
        }
    }

    const MAPS: &str = "/configmaps";

    fn owner(name: &str, uid: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid, "blockOwnerDeletion": true})
    }

    impl World {
        fn put(&mut self, key: &str, uid: &str, owners: &[Value], more: Value) -> &mut World {
            let mut metadata = json!({"uid": uid, "ownerReferences": owners});
            metadata.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            self.0.insert((MAPS.to_owned(), Key::raw(key)), json!({"metadata": metadata}));
            self
        }

        fn look(&self, key: &str) -> (Vec<String>, Vec<String>) {
            let catalog = Catalog::new(&Kinds::new());
            let kind = catalog.collection(MAPS).unwrap();
            let mut graph = Graph::default();
            for ((_, key), value) in &self.0 {
                let meta = Head::read(&serde_json::to_vec(value).unwrap());
                graph.note(&Place { kind, key: key.clone() }, &meta, |_| {});
            }
            let actions = look(&Place { kind, key: Key::raw(key) }, &graph, &catalog, self);
            let said = actions.said.into_iter().map(|said| said.message).collect();
            (actions.actions.into_iter().map(|action| words(&action.write)).collect(), said)
        }
    }

    fn words(write: &Write) -> String {
        match write {
            Write::Create(_) => "create".to_owned(),
            Write::Edit { at, edit, .. } => format!("{} {edit:?}", at.name),
            Write::Remove { at, .. } => format!("remove {}", at.name),
            Write::Delete { at, propagation, .. } => format!("{} {:?}", at.name, propagation.unwrap()),
        }
    }

    #[track_caller]
    fn check(world: &World, key: &str, expected: &[&str]) {
        assert_eq!(world.look(key).0, expected);
    }

    fn going(finalizer: &str) -> Value {
        json!({"deletionTimestamp": Timestamp::UNIX_EPOCH.to_string(), "finalizers": [finalizer]})
    }

    #[test]
    fn who_has_no_owner_left_goes_and_who_has_one_forgets_the_others() {
        let mut world = World::default();
        world.put("n/there", "1", &[], json!({}));
        world.put("n/a", "2", &[owner("there", "1")], json!({}));
        world.put("n/b", "3", &[owner("gone", "0")], json!({}));
        world.put("n/c", "4", &[owner("there", "1"), owner("gone", "0")], json!({}));
        world.put("n/d", "5", &[owner("there", "other")], json!({}));
        check(&world, "n/there", &[]);
        check(&world, "n/a", &[]);
        check(&world, "n/b", &["b Background"]);
        check(&world, "n/c", &["c Disown([\"0\"])"]);
        check(&world, "n/d", &["d Background"]);
    }

    #[test]
    fn an_owner_of_a_kind_that_is_not_served_decides_nothing() {
        let mut world = World::default();
        let strange = json!({"apiVersion": "e.io/v1", "kind": "Thing", "name": "t", "uid": "9"});
        world.put("n/a", "2", &[strange, owner("gone", "0")], json!({}));
        check(&world, "n/a", &[]);
    }

    #[test]
    fn in_the_foreground_dependents_go_first() {
        let mut world = World::default();
        world.put("n/top", "1", &[], going(FOREGROUND));
        world.put("n/middle", "2", &[owner("top", "1")], json!({}));
        world.put("n/leaf", "3", &[owner("middle", "2")], json!({}));
        check(&world, "n/top", &[]);
        check(&world, "n/middle", &["middle Foreground"]);
        world.put("n/middle", "2", &[owner("top", "1")], going(FOREGROUND));
        check(&world, "n/leaf", &["leaf Background"]);
        world.0.remove(&(MAPS.to_owned(), Key::raw("n/leaf")));
        check(&world, "n/middle", &["middle Release(\"foregroundDeletion\")"]);
        world.0.remove(&(MAPS.to_owned(), Key::raw("n/middle")));
        check(&world, "n/top", &["top Release(\"foregroundDeletion\")"]);
    }

    #[test]
    fn who_has_another_owner_survives_a_deletion_in_the_foreground() {
        let mut world = World::default();
        world.put("n/top", "1", &[], going(FOREGROUND)).put("n/other", "2", &[], json!({}));
        world.put("n/a", "3", &[owner("top", "1"), owner("other", "2")], json!({}));
        check(&world, "n/a", &["a Disown([\"1\"])"]);
    }

    #[test]
    fn owners_in_a_circle_do_not_wait_for_each_other_for_ever() {
        let mut world = World::default();
        world.put("n/a", "1", &[owner("b", "2")], going(FOREGROUND));
        world.put("n/b", "2", &[owner("a", "1")], json!({}));
        check(&world, "n/b", &["b Unblock"]);
        let free = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "1"});
        world.put("n/b", "2", &[free], json!({}));
        check(&world, "n/b", &["b Foreground"]);
    }

    #[test]
    fn orphans_forget_their_owner_before_it_goes() {
        let mut world = World::default();
        world.put("n/top", "1", &[], going(ORPHAN));
        world.put("n/a", "2", &[owner("top", "1")], json!({}));
        check(&world, "n/top", &["a Disown([\"1\"])"]);
        check(&world, "n/a", &[]);
        world.put("n/a", "2", &[], json!({}));
        check(&world, "n/top", &["top Release(\"orphan\")"]);
    }

    #[test]
    fn an_owner_in_another_namespace_is_none_and_that_is_said() {
        let mut world = World::default();
        world.put("m/o", "1", &[], json!({})).put("n/a", "2", &[owner("o", "1")], json!({}));
        let (done, said) = world.look("n/a");
        assert_eq!(done, ["a Background"]);
        assert_eq!(
            said,
            ["ownerRef [v1/ConfigMap, namespace: n, name: o, uid: 1] does not exist in namespace \"n\""]
        );
    }
}

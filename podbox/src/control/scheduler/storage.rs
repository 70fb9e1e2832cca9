//! What a pod's claims say of where it can be: beside volumes that it has, and where volumes that it has not can be had. Pure.
//!
//! A claim whose class waits for it is promised to a node when its first pod is, and counts as the node's from that moment: the next
//! pod that has it comes to the same node. Invariant: a volume is promised to one claim.

use super::demand::Demand;
use super::place::{Facts, Place};
use super::verdict::{Cure, Refusal};
use crate::api::objects::Seen;
use crate::control::action::{Edit, Write};
use crate::control::key::Key;
use crate::control::volumes::reserve;
use crate::control::volumes::shelf::{Claim, NONE, SELECTED, Shelf, Volume};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const UNBOUND: &str = "pod has unbound immediate PersistentVolumeClaims";
const NO_VOLUME: &str = "node(s) didn't find available persistent volumes to bind";
const ELSEWHERE: &str = "node(s) didn't match PersistentVolume's node affinity";
const GONE: &str = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";
const CONTENDED: &str =
    "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode";

/// Claims and volumes, and what was promised of them.
#[derive(Clone, Debug, Default)]
pub struct Storage {
    /// As the store shows them.
    pub shelf: Shelf,
    /// How many pods that are on nodes have each claim.
    used: BTreeMap<Key, i64>,
    /// Of claims that do not say so yet: their node, and their volume, if it is there already.
    promised: BTreeMap<Key, (Arc<str>, Option<String>)>,
}

/// What of a pod's claims matters.
#[derive(Debug, Default)]
pub struct Needs<'a> {
    /// Its volumes; none for one that is gone.
    has: Vec<Option<&'a Volume>>,
    /// Claims that get a volume when it is known on which node.
    open: Vec<&'a Claim>,
    /// Claims that have a volume, and do not say so yet: whoever runs the pod looks for that.
    nearly: BTreeSet<Key>,
    /// Another pod has a claim that only one may have.
    contended: bool,
}

impl Storage {
    /// A pod with these claims is on a node.
    pub fn add(&mut self, claims: &[Key]) {
        claims.iter().for_each(|key| *self.used.entry(key.clone()).or_default() += 1);
    }

    /// It is not any more.
    pub fn take(&mut self, claims: &[Key]) {
        for key in claims {
            if let Some(count) = self.used.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    self.used.remove(key);
                }
            }
        }
    }

    /// What a pod needs of a node for its claims; or why it can be nowhere.
    pub fn needs(&self, demand: &Demand) -> Result<Needs<'_>, String> {
        let mut needs = Needs::default();
        for (key, own) in demand.load.claims.iter().zip(&demand.own) {
            let claim = self.usable(demand, key, *own)?;
            needs.contended |= claim.is_for_one_pod() && self.used.contains_key(key);
            if claim.completed && claim.phase != "Bound" {
                needs.nearly.insert(key.clone());
            }
            match (claim.completed, claim.volume.as_str()) {
                (true, name) => needs.has.push(self.shelf.volume(name)),
                (false, "") if self.shelf.delayed(claim) => needs.open.push(claim),
                (false, _) => return Err(UNBOUND.to_owned()),
            }
        }
        Ok(needs)
    }

    /// A claim that its pod may use.
    fn usable(&self, demand: &Demand, key: &Key, own: bool) -> Result<&Claim, String> {
        let name = key.name();
        let claim = self.shelf.claim(key).ok_or_else(|| match own {
            true => format!(
                "waiting for ephemeral volume controller to create the persistentvolumeclaim {name:?}"
            ),
            false => format!("persistentvolumeclaim {name:?} not found"),
        })?;
        if own && claim.controller.as_ref() != Some(&demand.uid) {
            return Err(format!("PVC {key} was not created for the pod (pod is not owner)"));
        }
        if claim.phase == "Lost" {
            let volume = &claim.volume;
            return Err(format!(
                "persistentvolumeclaim {name:?} bound to non-existent persistentvolume {volume:?}"
            ));
        }
        match claim.going {
            true => Err(format!("persistentvolumeclaim {name:?} is being deleted")),
            false => Ok(claim),
        }
    }

    /// The node that a claim is promised to.
    fn node_of<'a>(&'a self, claim: &'a Claim) -> Option<&'a str> {
        self.promised.get(&claim.key).map(|(node, _)| &**node).or(claim.node.as_deref())
    }

    /// Whether a volume is promised to some claim.
    fn is_promised(&self, volume: &Volume) -> bool {
        self.promised.values().any(|(_, promised)| promised.as_ref() == Some(&volume.name))
    }

    /// The claims that a volume is promised to.
    pub fn promised_with(&self, volume: &str) -> Vec<Key> {
        let with = self.promised.iter().filter(|(_, (_, promised))| promised.as_deref() == Some(volume));
        with.map(|(claim, _)| claim.clone()).collect()
    }

    /// A promise is kept, or cannot be.
    pub fn forget_promise(&mut self, claim: &Key) {
        self.promised.remove(claim);
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.used.is_empty() && self.promised.is_empty()
    }
}

impl<'a> Needs<'a> {
    /// Whether a node can give it.
    pub fn check(&self, storage: &Storage, place: &Place, facts: &Facts) -> Result<(), Refusal> {
        if self.contended {
            return Err(Refusal::crowded(CONTENDED, Cure::ROOM.and(Cure::STORAGE)));
        }
        let far = |volume: &&Volume| !is_near(volume, place, facts);
        let reasons = [
            (self.has.iter().flatten().any(far), ELSEWHERE),
            (self.plan(storage, place, facts).is_none(), NO_VOLUME),
            (self.has.iter().any(Option::is_none), GONE),
        ];
        let reasons: Vec<_> =
            reasons.iter().filter(|(holds, _)| *holds).map(|(_, why)| (*why).into()).collect();
        match reasons.is_empty() {
            true => Ok(()),
            false => Err(Refusal { reasons, crowded: false, cure: Cure::NODE.and(Cure::STORAGE) }),
        }
    }

    /// What of its open claims is to be promised to a node: with a volume that is there, or with one that is to be made. None if
    /// the node cannot have it.
    fn plan(
        &self,
        storage: &Storage,
        place: &Place,
        facts: &Facts,
    ) -> Option<Vec<(&'a Claim, Option<String>)>> {
        let (mut plan, mut mine) = (Vec::new(), BTreeSet::new());
        for claim in &self.open {
            match storage.node_of(claim) {
                Some(node) if *node == *place.name => continue,
                Some(_) => return None,
                None => {}
            }
            let free = |volume: &Volume| {
                is_near(volume, place, facts) && !mine.contains(&volume.name) && !storage.is_promised(volume)
            };
            match storage.shelf.best(claim, free) {
                // It was kept for it, and is given to it by itself.
                Some(volume) if volume.claim.is_some() && is_near(volume, place, facts) => {}
                Some(volume) if volume.claim.is_some() => return None,
                Some(volume) => {
                    mine.insert(volume.name.clone());
                    plan.push((*claim, Some(volume.name.clone())));
                }
                None => {
                    let class = storage.shelf.classes.get(&claim.class)?;
                    if class.provisioner == NONE {
                        return None;
                    }
                    plan.push((*claim, None));
                }
            }
        }
        Some(plan)
    }

    /// The claims that it waits for.
    pub fn awaits(&self) -> BTreeSet<Key> {
        self.open.iter().map(|claim| claim.key.clone()).chain(self.nearly.iter().cloned()).collect()
    }

    /// What is to be written so that it gets its volumes on a node.
    pub fn writes(&self, storage: &Storage, place: &Place) -> Vec<(Key, Option<String>, Write)> {
        let plan = place.facts.as_ref().and_then(|facts| self.plan(storage, place, facts));
        let write = |(claim, name): (&Claim, Option<String>)| {
            let volume = name.as_deref().and_then(|name| storage.shelf.volume(name));
            let write = volume.map_or_else(|| select(claim, &place.name), |volume| reserve(volume, claim));
            (claim.key.clone(), name, write)
        };
        plan.unwrap_or_default().into_iter().map(write).collect()
    }
}

impl Storage {
    /// Claims are a node's from now on, with these volumes.
    pub fn promise(&mut self, node: &Arc<str>, writes: &[(Key, Option<String>, Write)]) {
        for (key, volume, _) in writes {
            self.promised.insert(key.clone(), (Arc::clone(node), volume.clone()));
        }
    }
}

fn is_near(volume: &Volume, place: &Place, facts: &Facts) -> bool {
    volume.nodes.as_ref().is_none_or(|nodes| nodes.are_met(&place.name, &facts.labels))
}

/// A claim says on which node its volume is to be made.
fn select(claim: &Claim, node: &str) -> Write {
    let change = json!({"metadata": {"annotations": {SELECTED: node}}});
    let seen = Seen { uid: claim.uid.clone(), revision: None };
    Write::Edit { at: claim.target(), part: "", seen, edit: Edit::Merge(change) }
}

//! Which images this node has: what the store remembers about each.
//!
//! Pure: reading and writing it is the store's.

use super::access::Access;
use super::digest::Digest;
use super::reference;
use crate::api::image::ImageConfig;
use oci_client::Reference;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// One reference and what it leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// In full.
    pub reference: String,
    /// The configuration's digest: the image ID.
    pub id: Digest,
    /// Digests it is known by in its registry: the manifest's, and the index's it was chosen from.
    pub digests: Vec<Digest>,
    /// The layers' diff_ids, the lowest first; none twice, as overlayfs takes each directory once.
    pub layers: Vec<Digest>,
    /// Bytes of its unpacked layers.
    pub size: u64,
    /// When it was built, as it says itself.
    pub created: Option<String>,
    /// When it came here, in seconds since 1970.
    pub pulled_at: u64,
    /// Who may have it.
    #[serde(default)]
    pub access: Access,
    /// How to run it.
    pub config: ImageConfig,
}

impl Record {
    /// What it is known by: its repository with each of its digests, and its reference.
    pub fn names(&self) -> Vec<String> {
        let mut names = vec![self.reference.clone()];
        if let Ok(reference) = reference::parse(&self.reference) {
            let repository = reference::repository(&reference);
            names.extend(self.digests.iter().map(|digest| format!("{repository}@{digest}")));
        }
        names
    }

    /// Its repository with the digest that its reference led to.
    pub fn digest(&self) -> Option<String> {
        let repository = reference::repository(&reference::parse(&self.reference).ok()?);
        // The last one is that of the index, where it was chosen from one.
        self.digests.last().map(|digest| format!("{repository}@{digest}"))
    }
}

/// All images, by reference.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    images: BTreeMap<String, Record>,
    /// Bytes of each unpacked layer.
    layers: BTreeMap<Digest, u64>,
}

impl Index {
    /// What the reference leads to. A digest finds an image of the same repository by any of its digests; an
    /// image ID alone finds it too.
    pub fn find(&self, text: &str) -> Option<&Record> {
        if let Some(record) = self.images.get(text) {
            return Some(record);
        }
        if let Ok(id) = Digest::parse(text) {
            return self.images.values().find(|record| record.id == id);
        }
        let wanted = reference::parse(text).ok()?;
        if let Some(record) = self.images.get(&reference::key(&wanted)) {
            return Some(record);
        }
        let digest = Digest::parse(wanted.digest()?).ok()?;
        self.images
            .values()
            .find(|record| record.digests.contains(&digest) && same_repository(record, &wanted))
    }

    /// All of them, by reference.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.images.values()
    }

    /// Bytes of a layer that some image has.
    pub fn layer_size(&self, layer: &Digest) -> Option<u64> {
        self.layers.get(layer).copied()
    }

    /// Puts an image in the place of what its reference led to before. If that is the same image, whoever could have it
    /// still can.
    pub fn put(&mut self, mut record: Record, sizes: &BTreeMap<Digest, u64>) {
        if let Some(before) = self.images.get(&record.reference).filter(|before| before.id == record.id) {
            record.access = record.access.or(before.access.clone());
        }
        for layer in &record.layers {
            if let Some(size) = sizes.get(layer) {
                self.layers.insert(layer.clone(), *size);
            }
        }
        self.images.insert(record.reference.clone(), record);
        self.forget_unused();
    }

    /// Takes an image out.
    pub fn remove(&mut self, reference: &str) -> Option<Record> {
        let record = self.images.remove(reference)?;
        self.forget_unused();
        Some(record)
    }

    /// Layers that some image uses.
    pub fn used(&self) -> BTreeSet<&Digest> {
        self.images.values().flat_map(|record| &record.layers).collect()
    }

    fn forget_unused(&mut self) {
        let used: BTreeSet<Digest> = self.used().into_iter().cloned().collect();
        self.layers.retain(|layer, _| used.contains(layer));
    }
}

fn same_repository(record: &Record, wanted: &Reference) -> bool {
    reference::parse(&record.reference)
        .is_ok_and(|reference| reference::repository(&reference) == reference::repository(wanted))
}

/// Drops repeated layers, keeping the topmost of each: what is above hides all that the same layer says below.
pub fn distinct(layers: &[Digest]) -> Vec<Digest> {
    let mut seen = BTreeSet::new();
    let mut kept: Vec<Digest> = layers.iter().rev().filter(|layer| seen.insert(*layer)).cloned().collect();
    kept.reverse();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(reference: &str, id: &str, layers: &[&str]) -> Record {
        Record {
            reference: reference.to_owned(),
            id: Digest::of(id.as_bytes()),
            digests: vec![Digest::of(format!("manifest of {id}").as_bytes())],
            layers: layers.iter().map(|l| Digest::of(l.as_bytes())).collect(),
            size: 1,
            created: None,
            pulled_at: 0,
            access: Access::Open,
            config: ImageConfig::default(),
        }
    }

    #[test]
    fn an_image_is_found_by_each_of_its_names() {
        let mut index = Index::default();
        index.put(record("docker.io/library/busybox:latest", "b", &[]), &BTreeMap::new());
        let digest = Digest::of(b"manifest of b");
        let id = Digest::of(b"b");
        for name in ["busybox", "docker.io/busybox:latest", &format!("busybox@{digest}"), &id.to_string()] {
            assert!(index.find(name).is_some(), "{name}");
        }
        for other in ["busybox:1", &format!("other/busybox@{digest}"), &digest.to_string(), "UPPER"] {
            assert!(index.find(other).is_none(), "{other}");
        }
    }

    #[test]
    fn layers_are_remembered_while_an_image_uses_them() {
        let sizes: BTreeMap<_, _> = ["x", "y"].iter().map(|l| (Digest::of(l.as_bytes()), 7)).collect();
        let mut index = Index::default();
        index.put(record("a", "a", &["x", "y"]), &sizes);
        index.put(record("b", "b", &["x"]), &sizes);
        index.remove("a").unwrap();
        assert_eq!(index.layer_size(&Digest::of(b"x")), Some(7));
        assert_eq!(index.layer_size(&Digest::of(b"y")), None);
    }

    #[test]
    fn of_a_repeated_layer_the_topmost_stays() {
        let [a, b, c] = ["a", "b", "c"].map(|l| Digest::of(l.as_bytes()));
        assert_eq!(distinct(&[a.clone(), b.clone(), a.clone(), c.clone()]), [b, a, c]);
    }
}

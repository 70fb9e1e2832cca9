//! `/metrics/state`: the objects of the API as kube-state-metrics tells them, by its names and labels. Written from the store at each
//! scrape; of labels and annotations only those that the node's options name.
//!
//! Not told is what podbox has no such object of, and what kube-state-metrics itself calls experimental and no common dashboard asks for.

mod batch;
mod container;
mod node;
mod pod;
mod policy;
mod volume;
mod workload;

use crate::api::allowed::Allowed;
use crate::api::quantity::Quantity as Amount;
use crate::metrics::Kind;
use crate::metrics::text::{Family, Number, Page, Series, labels};
use crate::store::Store;
use k8s_openapi::Metadata;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};

/// A kind whose objects are told.
struct Subject<T: 'static> {
    /// Its collection in the store; what follows the slash is the resource.
    collection: &'static str,
    /// What its families' names begin with.
    prefix: &'static str,
    /// The label that names an object, and which others say which it is.
    name: Name,
    /// What is told of each.
    families: &'static [Family<T>],
}

/// How an object is named.
#[derive(Clone, Copy)]
enum Name {
    /// By its own name.
    Alone(&'static str),
    /// By namespace and name.
    Spaced(&'static str),
    /// By these and its uid.
    WithUid(&'static str),
}

/// The page, without its end: how many series it has no room for.
pub fn render(store: &Store, allowed: &Allowed) -> (String, usize) {
    let mut page = Page::default();
    pod::write(&mut page, store, allowed);
    node::write(&mut page, store, allowed);
    workload::write(&mut page, store, allowed);
    batch::write(&mut page, store, allowed);
    volume::write(&mut page, store, allowed);
    policy::write(&mut page, store, allowed);
    page.finish()
}

impl<T: DeserializeOwned + Metadata<Ty = ObjectMeta>> Subject<T> {
    /// Writes all families of all objects in the store.
    fn write(&self, page: &mut Page, store: &Store, allowed: &Allowed) {
        let objects = self.objects(store);
        self.write_own(page, &objects);
        self.write_common(page, &objects, allowed);
    }

    /// Writes the families that only this kind has.
    fn write_own(&self, page: &mut Page, objects: &[(String, T)]) {
        for family in self.families {
            page.write(family, objects.iter().map(|(own, object)| (own.as_str(), object)));
        }
    }

    /// Writes the families that every kind has.
    fn write_common(&self, page: &mut Page, objects: &[(String, T)], allowed: &Allowed) {
        let each = || objects.iter().map(|(own, object)| (own.as_str(), object));
        let resource = self.collection.rsplit('/').next().unwrap_or_default();
        let name = format!("{}_created", self.prefix);
        let help = "When it was made, in seconds since the epoch.";
        page.write_named((&name, Kind::Gauge, help), each(), |object, series| {
            at(series, object.metadata().creation_timestamp.as_ref());
        });
        for (what, wanted) in [("label", &allowed.labels), ("annotation", &allowed.annotations)] {
            let Some(wanted) = wanted.of(resource) else { continue };
            let name = format!("{}_{what}s", self.prefix);
            let help = "Those that the node's options name.";
            page.write_named((&name, Kind::Gauge, help), each(), |object, series| {
                let meta = object.metadata();
                let all = if what == "label" { &meta.labels } else { &meta.annotations };
                let told = named(what, all.iter().flatten().filter(|(key, _)| wanted.has(key)));
                let told: Vec<_> = told.iter().map(|(name, value)| (name.as_str(), *value)).collect();
                series.info(&told);
            });
        }
    }

    /// All objects, each with the labels that say which it is. One that is not of its kind cannot be in the store.
    fn objects(&self, store: &Store) -> Vec<(String, T)> {
        let page = store.list(self.collection, None, None, 0, None).map(|page| page.entries);
        let objects = page.into_iter().flatten();
        let objects = objects.filter_map(|entry| serde_json::from_slice(&entry.bytes).ok());
        objects.map(|object: T| (self.name.of(object.metadata()), object)).collect()
    }
}

impl Name {
    fn of(self, meta: &ObjectMeta) -> String {
        let [namespace, name, uid] =
            [&meta.namespace, &meta.name, &meta.uid].map(|text| text.as_deref().unwrap_or_default());
        match self {
            Name::Alone(word) => labels(&[(word, name)]),
            Name::Spaced(word) => labels(&[("namespace", namespace), (word, name)]),
            Name::WithUid(word) => labels(&[("namespace", namespace), (word, name), ("uid", uid)]),
        }
    }
}

/// Labels of Prometheus for labels of Kubernetes: two may become the same name, and then each is numbered, as upstream does.
fn named<'a>(what: &str, all: impl Iterator<Item = (&'a String, &'a String)>) -> Vec<(String, &'a str)> {
    let all: Vec<_> = all.map(|(key, value)| (format!("{what}_{}", snake(key)), value.as_str())).collect();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    all.iter().for_each(|(name, _)| *seen.entry(name.clone()).or_default() += 1);
    let shared: BTreeSet<String> = seen.into_iter().filter(|(_, n)| *n > 1).map(|(name, _)| name).collect();
    let mut number: BTreeMap<String, usize> = BTreeMap::new();
    let told = all.into_iter().map(|(name, value)| match shared.contains(&name) {
        false => (name, value),
        true => {
            let next = number.entry(name.clone()).or_default();
            *next += 1;
            (format!("{name}_conflict{next}"), value)
        }
    });
    told.collect()
}

/// `app.kubernetes.io/partOf` as `app_kubernetes_io_part_of`.
fn snake(key: &str) -> String {
    let mut text = String::new();
    let mut lower = false;
    for char in key.chars() {
        if char.is_ascii_uppercase() && lower {
            text.push('_');
        }
        lower = char.is_ascii_lowercase() || char.is_ascii_digit();
        text.push(if char.is_ascii_alphanumeric() { char.to_ascii_lowercase() } else { '_' });
    }
    text
}

/// A moment, if there is one.
fn at(series: &mut Series<'_>, time: Option<&Time>) {
    some(series, time.map(|time| time.0.as_second()));
}

/// A number, if there is one.
fn some(series: &mut Series<'_>, number: Option<impl Number>) {
    if let Some(number) = number {
        series.one(number);
    }
}

/// A condition: whether it is true, false or unknown.
fn condition(series: &mut Series<'_>, labels: &[(&str, &str)], status: &str) {
    for word in ["true", "false", "unknown"] {
        let with_status: Vec<_> = labels.iter().copied().chain([("status", word)]).collect();
        series.with(&with_status, status.eq_ignore_ascii_case(word));
    }
}

/// The owners of an object; a series that says so if it has none.
fn owners(series: &mut Series<'_>, owners: Option<&Vec<OwnerReference>>) {
    let owners = owners.map(Vec::as_slice).unwrap_or_default();
    for owner in owners {
        let controls = if owner.controller == Some(true) { "true" } else { "false" };
        series.info(&[
            ("owner_kind", &owner.kind),
            ("owner_name", &owner.name),
            ("owner_is_controller", controls),
        ]);
    }
    if owners.is_empty() {
        series.info(&[("owner_kind", ""), ("owner_name", ""), ("owner_is_controller", "")]);
    }
}

/// Amounts of resources: upstream's name and unit of each, and how much.
fn amounts(all: Option<&BTreeMap<String, Quantity>>) -> impl Iterator<Item = (String, &'static str, f64)> {
    all.into_iter().flatten().filter_map(|(resource, amount)| {
        let amount = Amount::parse(&amount.0).ok()?;
        let name: String =
            resource.chars().map(|char| if char.is_ascii_alphanumeric() { char } else { '_' }).collect();
        let (unit, value) = match resource.as_str() {
            "cpu" => ("core", amount.milli_value() as f64 / 1000.0),
            "memory" | "ephemeral-storage" | "storage" => ("byte", amount.value() as f64),
            other if other.starts_with("hugepages-") => ("byte", amount.value() as f64),
            _ => ("integer", amount.value() as f64),
        };
        Some((name, unit, value))
    })
}

/// An amount by itself.
fn amount(of: &Quantity) -> Option<f64> {
    Some(Amount::parse(&of.0).ok()?.milli_value() as f64 / 1000.0)
}

/// The names of every family that can be on the page.
#[cfg(test)]
pub(super) fn names() -> Vec<String> {
    [pod::names(), node::names(), workload::names(), batch::names(), volume::names(), policy::names()]
        .concat()
}

#[cfg(test)]
impl<T> Subject<T> {
    fn names(&self) -> Vec<String> {
        let made = ["created", "labels", "annotations"].map(|end| format!("{}_{end}", self.prefix));
        self.families.iter().map(|family| family.name.to_owned()).chain(made).collect()
    }
}

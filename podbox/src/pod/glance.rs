//! A pod at a glance: what those read of each pod that changes who pass over most of them. Pure.

use crate::api::simulate;
use memchr::memmem;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// What is read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Glance<'a> {
    metadata: Metadata,
    #[serde(borrow)]
    spec: Spec<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    deletion_timestamp: Option<IgnoredAny>,
    annotations: Annotations,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec<'a> {
    #[serde(borrow)]
    node_name: Cow<'a, str>,
}

/// Whether they say how the pod fares on a simulated node.
#[derive(Debug, Default)]
struct Annotations(bool);

impl<'de> Deserialize<'de> for Annotations {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Annotations, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Annotations;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("annotations")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Annotations, A::Error> {
                let mut found = false;
                while let Some((name, _)) = map.next_entry::<Cow<'de, str>, IgnoredAny>()? {
                    found |= name == simulate::ANNOTATION;
                }
                Ok(Annotations(found))
            }
        }
        from.deserialize_map(Names)
    }
}

impl Glance<'_> {
    /// Reads it from a pod's bytes; none if these are no pod.
    pub fn read(bytes: &[u8]) -> Option<Glance<'_>> {
        serde_json::from_slice(bytes).ok()
    }

    /// The node that it has.
    pub fn node(&self) -> Option<&str> {
        Some(&*self.spec.node_name).filter(|name| !name.is_empty())
    }

    /// Whether it is to go.
    pub fn is_going(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    /// Whether it says how it fares on a simulated node.
    pub fn says_how_it_fares(&self) -> bool {
        self.metadata.annotations.0
    }
}

/// Those of these pods, by their bytes, that have this node.
pub fn on_node<'a, E: AsRef<[u8]>>(
    pods: &'a [Arc<E>],
    node: &str,
) -> impl Iterator<Item = &'a E> + use<'a, E> {
    let here = has_node(node);
    pods.iter().map(|pod| &**pod).filter(move |pod| here((*pod).as_ref()))
}

/// Tells the pods that have a node from others, which are not even read: there may be ten thousand of them, and each is looked at every few
/// seconds.
fn has_node(node: &str) -> impl Fn(&[u8]) -> bool + use<> {
    // As the store writes it. Whoever has it elsewhere than in its spec is told apart by reading.
    let words = memmem::Finder::new(&format!("\"nodeName\":{}", Value::from(node))).into_owned();
    let node = node.to_owned();
    move |pod| words.find(pod).is_some() && Glance::read(pod).is_some_and(|pod| pod.node() == Some(&node))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(pod: Value, node: Option<&str>, going: bool, says: bool) {
        let bytes = serde_json::to_vec(&pod).unwrap();
        let glance = Glance::read(&bytes).unwrap();
        assert_eq!((glance.node(), glance.is_going(), glance.says_how_it_fares()), (node, going, says));
    }

    #[test]
    fn a_pod_is_told_apart_at_a_glance() {
        check(
            json!({"metadata": {}, "spec": {"nodeName": ""}, "status": {"phase": "Pending"}}),
            None,
            false,
            false,
        );
        let annotations = json!({"a": "b", simulate::ANNOTATION: "run=1s"});
        let metadata = json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "annotations": annotations});
        check(json!({"metadata": metadata, "spec": {"nodeName": "a\"b"}}), Some("a\"b"), true, true);
        assert!(Glance::read(b"{").is_none());
    }

    #[test]
    fn pods_of_a_node_are_found_among_those_of_others() {
        let check = |named: Value, node: &str, expected| {
            let pod = json!({"metadata": {}, "spec": {"nodeName": named, "z": {"nodeName": "other"}}});
            assert_eq!(has_node(node)(&serde_json::to_vec(&pod).unwrap()), expected, "{pod} on {node}");
        };
        check("this".into(), "this", true);
        check("this".into(), "other", false);
        check("this-too".into(), "this", false);
        check("a\"b".into(), "a\"b", true);
        check(Value::Null, "", false);
        assert!(!has_node("this")(b"{"));
    }
}

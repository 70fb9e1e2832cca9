//! Whether a pod has more on the node's disk than it may. Pure: what it has was measured.

use super::resources::limit;
use crate::api::quantity::Quantity;
use crate::api::stats::{PodDisk, Space};
use k8s_openapi::api::core::v1::{Container, Pod};

const STORAGE: &str = "ephemeral-storage";

/// Whether anything of it is limited, so that it has to be measured at all.
pub fn is_limited(pod: &Pod) -> bool {
    sized_volumes(pod).next().is_some()
        || containers(pod).any(|container| limit(container, STORAGE).is_some())
}

/// What it has too much of, in upstream's words; none if nothing.
pub fn excess(pod: &Pod, disk: &PodDisk) -> Option<(&'static str, String)> {
    let over_volume = sized_volumes(pod).find_map(|(name, size)| {
        let over = exceeds(disk.volumes.get(name), size);
        over.then(|| format!("Usage of EmptyDir volume {name:?} exceeds the limit {:?}. ", size.to_string()))
    });
    let over_pod = || {
        let all = of_pod(pod)?;
        let over = exceeds(Some(&disk.total()), all);
        over.then(|| {
            format!("Pod ephemeral local storage usage exceeds the total limit of containers {all}. ")
        })
    };
    let over_container = || {
        containers(pod).find_map(|container| {
            let (name, most) = (&container.name, limit(container, STORAGE)?);
            let used = disk.containers.get(name).map(|own| own.root.and(own.logs));
            let over = exceeds(used.as_ref(), most);
            over.then(|| {
                format!(
                    "Container {name} exceeded its local ephemeral storage limit {:?}. ",
                    most.to_string()
                )
            })
        })
    };
    let over_volume = over_volume.map(|message| ("emptydirfs.limit", message));
    let over_pod = || over_pod().map(|message| ("ephemeralpodfs.limit", message));
    let over_container = || over_container().map(|message| ("ephemeralcontainerfs.limit", message));
    over_volume.or_else(over_pod).or_else(over_container)
}

fn exceeds(used: Option<&Space>, most: Quantity) -> bool {
    used.is_some_and(|used| Quantity::bytes(used.bytes) > most)
}

/// Volumes on the disk that may have a size.
fn sized_volumes(pod: &Pod) -> impl Iterator<Item = (&str, Quantity)> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| {
        let size = volume.empty_dir.as_ref()?.size_limit.as_ref()?;
        let size = Quantity::parse(&size.0).ok().filter(|size| !size.is_zero())?;
        Some((volume.name.as_str(), size))
    })
}

/// Those that can be evicted for: init containers, sidecars among them, too.
fn containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers))
}

/// The limit of a pod as a whole, as upstream counts it: its containers' and sidecars' together, or one init container's with
/// the sidecars' before it. Who has none adds nothing.
fn of_pod(pod: &Pod) -> Option<Quantity> {
    let add = |sum: Option<Quantity>, container: &Container| match (sum, limit(container, STORAGE)) {
        (Some(sum), Some(own)) => Some(sum.plus(own)),
        (sum, own) => sum.or(own),
    };
    let spec = pod.spec.as_ref()?;
    let (mut sidecars, mut peak) = (None, None);
    for init in spec.init_containers.iter().flatten() {
        let meanwhile = add(sidecars, init);
        peak = peak.max(meanwhile);
        if init.restart_policy.as_deref() == Some("Always") {
            sidecars = meanwhile;
        }
    }
    spec.containers.iter().fold(sidecars, add).max(peak)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::stats::ContainerDisk;
    use serde_json::json;
    use std::collections::BTreeMap;

    /// A pod of two containers, the first limited to 2Mi and the second to 3Mi if `both`, with a volume `v` of 1Mi at most.
    fn pod(both: bool) -> Pod {
        let limits = |amount: &str| json!({"limits": {"ephemeral-storage": amount}});
        let second = if both { limits("3Mi") } else { json!({}) };
        let made = json!({"spec": {
            "containers": [{"name": "a", "resources": limits("2Mi")}, {"name": "b", "resources": second}],
            "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}, {"name": "w", "emptyDir": {}}],
        }});
        serde_json::from_value(made).unwrap()
    }

    /// With so many KiB of: the first container, the second, the volumes.
    #[track_caller]
    fn check(both: bool, used: [u64; 4], expected: Option<&str>) {
        let space = |kib: u64| Space { bytes: kib << 10, inodes: 1 };
        let container = |root, logs| ContainerDisk { root: space(root), logs: space(logs) };
        let [a, b, v, w] = used;
        let disk = PodDisk {
            containers: BTreeMap::from([
                ("a".into(), container(a / 2, a / 2)),
                ("b".into(), container(b, 0)),
            ]),
            volumes: BTreeMap::from([("v".into(), space(v)), ("w".into(), space(w))]),
            own: Space::default(),
        };
        assert_eq!(excess(&pod(both), &disk).map(|(_, message)| message).as_deref(), expected);
    }

    #[test]
    fn a_pod_may_have_what_it_says() {
        check(true, [1024, 1024, 1024, 1024], None);
        check(true, [1024, 0, 1025, 0], Some("Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". "));
        let whole = "Pod ephemeral local storage usage exceeds the total limit of containers 5Mi. ";
        check(true, [1024, 1024, 1024, 2049], Some(whole));
        let first = "Container a exceeded its local ephemeral storage limit \"2Mi\". ";
        check(true, [2050, 0, 0, 0], Some(first));
    }

    #[test]
    fn sidecars_add_to_what_a_pod_may_have_and_are_limited_themselves() {
        let container = |name: &str, limit: &str, policy: Option<&str>| match limit {
            "" => json!({"name": name}),
            limit => json!({"name": name, "restartPolicy": policy,
                "resources": {"limits": {"ephemeral-storage": limit}}}),
        };
        let check = |init: &[serde_json::Value], main: &str, expected: Option<&str>| {
            let main = container("main", main, None);
            let made = json!({"spec": {"initContainers": init, "containers": [main]}});
            let pod: Pod = serde_json::from_value(made).unwrap();
            assert_eq!(of_pod(&pod).map(|all| all.to_string()).as_deref(), expected);
            assert_eq!(is_limited(&pod), expected.is_some());
        };
        let side = |limit| container("side", limit, Some("Always"));
        let init = |limit| container("init", limit, None);
        check(&[side("5Gi")], "1Gi", Some("6Gi"));
        check(&[side("5Gi")], "", Some("5Gi"));
        check(&[init("5Gi")], "1Gi", Some("5Gi"));
        check(&[side("1Gi"), init("5Gi")], "2Gi", Some("6Gi"));
        check(&[init("5Gi"), side("1Gi")], "2Gi", Some("5Gi"));
        check(&[], "", None);
    }

    #[test]
    fn what_has_no_limit_still_counts_for_the_pod() {
        let whole = "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. ";
        check(false, [0, 2049, 0, 0], Some(whole));
        assert!(is_limited(&pod(false)) && !is_limited(&Pod::default()));
    }
}

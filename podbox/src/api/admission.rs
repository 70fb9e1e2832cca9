//! What admission does to objects with the help of others: a pod's service account and its token, tolerations of
//! a node's troubles, priority; a claim's storage class; finalizers against loss. Pure: the server looks up the
//! others and says who is refused. Limit ranges and quotas have files of their own.
//!
//! **Invariant:** what a manifest asks for is never overruled, only added to or refused.

pub mod certificate;
pub mod limits;
pub mod quota;

use super::rules::check::text;
use k8s_openapi::api::core::v1::{
    ConfigMapProjection, Container, DownwardAPIProjection, DownwardAPIVolumeFile, KeyToPath, Node,
    ObjectFieldSelector, PersistentVolumeClaim, Pod, PodSpec, ProjectedVolumeSource, ServiceAccount,
    ServiceAccountTokenProjection, Taint, Toleration, Volume, VolumeMount, VolumeProjection,
};
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Where containers find their pod's token.
pub const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// The start of the name of the volume with the token; the server appends five characters.
pub const TOKEN_VOLUME_PREFIX: &str = "kube-api-access-";
/// Kept out of a node while it is not known to be ready.
pub const NOT_READY: &str = "node.kubernetes.io/not-ready";
/// A node that has not been heard of.
pub const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// Seconds that a pod stays on a node in either trouble.
const TOLERATED_SECONDS: i64 = 300;
/// An hour, and seven seconds by which people recognise tokens that were not asked for in particular.
pub const TOKEN_SECONDS: i64 = 3607;
/// Of a storage class: claims that name none get this one.
pub const DEFAULT_STORAGE_CLASS: &str = "storageclass.kubernetes.io/is-default-class";
/// podbox's own provisioner of volumes.
pub const NODE_LOCAL: &str = "podbox.io/node-local";

/// The service account that a pod runs as, once it is defaulted.
pub fn service_account_name(pod: &Pod) -> &str {
    match pod.spec.as_ref().map(|spec| text(&spec.service_account_name)) {
        None | Some("") => "default",
        Some(name) => name,
    }
}

/// Lets a pod run as `account`: its name, its pull secrets, and a volume with its token in every container that
/// has nothing else there. `volume` is what the volume is called.
pub fn service_account(pod: &mut Pod, account: &ServiceAccount, volume: &str) {
    let name = service_account_name(pod).to_owned();
    let spec = pod.spec.get_or_insert_default();
    spec.service_account_name = Some(name.clone());
    spec.service_account = Some(name);
    let wants = spec.automount_service_account_token.or(account.automount_service_account_token);
    if wants != Some(false) {
        mount_token(spec, volume);
    }
    if spec.image_pull_secrets.as_ref().is_none_or(Vec::is_empty) {
        spec.image_pull_secrets.clone_from(&account.image_pull_secrets);
    }
}

fn mount_token(spec: &mut PodSpec, volume: &str) {
    let existing = spec.volumes.iter().flatten().find(|one| one.name.starts_with(TOKEN_VOLUME_PREFIX));
    let (name, is_new) = match existing {
        Some(existing) => (existing.name.clone(), false),
        None => (volume.to_owned(), true),
    };
    let mut mounted = false;
    for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        mounted |= mount_in(container, &name);
    }
    if is_new && mounted {
        spec.volumes.get_or_insert_default().push(token_volume(name));
    }
}

fn mount_in(container: &mut Container, name: &str) -> bool {
    if container.volume_mounts.iter().flatten().any(|mount| mount.mount_path == TOKEN_PATH) {
        return false;
    }
    container.volume_mounts.get_or_insert_default().push(VolumeMount {
        name: name.to_owned(),
        read_only: Some(true),
        mount_path: TOKEN_PATH.to_owned(),
        ..VolumeMount::default()
    });
    true
}

/// The token, the certificate of who takes it, and the namespace.
fn token_volume(name: String) -> Volume {
    let token = ServiceAccountTokenProjection {
        expiration_seconds: Some(TOKEN_SECONDS),
        path: "token".to_owned(),
        audience: None,
    };
    let certificate = ConfigMapProjection {
        name: "kube-root-ca.crt".to_owned(),
        items: Some(vec![KeyToPath { key: "ca.crt".into(), path: "ca.crt".into(), mode: None }]),
        optional: None,
    };
    let namespace = DownwardAPIVolumeFile {
        path: "namespace".to_owned(),
        field_ref: Some(ObjectFieldSelector {
            api_version: Some("v1".to_owned()),
            field_path: "metadata.namespace".to_owned(),
        }),
        ..DownwardAPIVolumeFile::default()
    };
    let sources = vec![
        VolumeProjection { service_account_token: Some(token), ..VolumeProjection::default() },
        VolumeProjection { config_map: Some(certificate), ..VolumeProjection::default() },
        VolumeProjection {
            downward_api: Some(DownwardAPIProjection { items: Some(vec![namespace]) }),
            ..VolumeProjection::default()
        },
    ];
    let projected = ProjectedVolumeSource { sources: Some(sources), default_mode: Some(0o644) };
    Volume { name, projected: Some(projected), ..Volume::default() }
}

/// Lets a pod stay a while on a node that is not ready or not reachable, unless it says for how long.
pub fn tolerations(pod: &mut Pod) {
    let spec = pod.spec.get_or_insert_default();
    for key in [NOT_READY, UNREACHABLE] {
        let list = spec.tolerations.get_or_insert_default();
        let covers = |toleration: &Toleration| {
            let effect = text(&toleration.effect);
            ["", key].contains(&text(&toleration.key)) && ["", "NoExecute"].contains(&effect)
        };
        if !list.iter().any(covers) {
            list.push(Toleration {
                key: Some(key.to_owned()),
                operator: Some("Exists".to_owned()),
                effect: Some("NoExecute".to_owned()),
                toleration_seconds: Some(TOLERATED_SECONDS),
                value: None,
            });
        }
    }
}

/// Gives a pod the priority of its class, or of the default one. An error says why it is refused.
pub fn priority(pod: &mut Pod, classes: &[PriorityClass]) -> Result<(), String> {
    let spec = pod.spec.get_or_insert_default();
    let name = |class: &PriorityClass| class.metadata.name.clone().unwrap_or_default();
    let asked = text(&spec.priority_class_name);
    let value = |class: &PriorityClass| class.value.unwrap_or(0);
    let (value, policy, class) = if asked.is_empty() {
        let defaults = classes.iter().filter(|class| class.global_default == Some(true));
        match defaults.min_by_key(|class| value(class)) {
            Some(class) => (value(class), class.preemption_policy.clone(), Some(name(class))),
            None => (0, None, None),
        }
    } else {
        match classes.iter().find(|class| class.metadata.name.as_deref() == Some(asked)) {
            Some(class) => (value(class), class.preemption_policy.clone(), Some(asked.to_owned())),
            None => {
                let system = SYSTEM_CLASSES.iter().find(|(name, _)| *name == asked);
                let (_, value) =
                    system.ok_or_else(|| format!("no PriorityClass with name {asked} was found"))?;
                (*value, None, Some(asked.to_owned()))
            }
        }
    };
    if let Some(given) = spec.priority.filter(|given| *given != value) {
        return Err(format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission \
             controller computed {value} from the given PriorityClass name"
        ));
    }
    let policy = policy.unwrap_or_else(|| "PreemptLowerPriority".to_owned());
    if let Some(given) = spec.preemption_policy.as_deref().filter(|given| *given != policy) {
        return Err(format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority \
             admission controller computed {policy} from the given PriorityClass name"
        ));
    }
    spec.priority = Some(value);
    spec.preemption_policy = Some(policy);
    spec.priority_class_name = class;
    Ok(())
}

/// Gives a pod what `class` adds: overhead, and where it can run. An error says why it is refused.
pub fn runtime_class(pod: &mut Pod, class: Option<&RuntimeClass>) -> Result<(), String> {
    let spec = pod.spec.get_or_insert_default();
    if let (Some(name), None) = (&spec.runtime_class_name, class) {
        return Err(format!("pod rejected: RuntimeClass {name:?} not found"));
    }
    let overhead = class.and_then(|class| class.overhead.as_ref()).and_then(|one| one.pod_fixed.as_ref());
    match (&spec.overhead, overhead) {
        (Some(given), None) if !given.is_empty() => {
            let why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
            return Err(why.to_owned());
        }
        (Some(given), Some(defined)) if !given.is_empty() && given != defined => {
            let why = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";
            return Err(why.to_owned());
        }
        (_, defined) => spec.overhead = defined.cloned(),
    }
    let Some(scheduling) = class.and_then(|class| class.scheduling.as_ref()) else { return Ok(()) };
    for (key, value) in scheduling.node_selector.iter().flatten() {
        let selector = spec.node_selector.get_or_insert_default();
        match selector.get(key) {
            Some(given) if given != value => {
                return Err(format!("conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}"));
            }
            _ => drop(selector.insert(key.clone(), value.clone())),
        }
    }
    for toleration in scheduling.tolerations.iter().flatten() {
        let list = spec.tolerations.get_or_insert_default();
        if !list.contains(toleration) {
            list.push(toleration.clone());
        }
    }
    Ok(())
}

/// Priority classes that are always there.
pub const SYSTEM_CLASSES: &[(&str, i32)] =
    &[("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

/// Gives a claim the default storage class, of several the newest.
pub fn storage_class(claim: &mut PersistentVolumeClaim, classes: &[StorageClass]) {
    let spec = claim.spec.get_or_insert_default();
    if spec.storage_class_name.is_some() {
        return;
    }
    let is_default = |class: &&StorageClass| {
        let annotations = class.metadata.annotations.as_ref();
        annotations.and_then(|all| all.get(DEFAULT_STORAGE_CLASS)).is_some_and(|value| value == "true")
    };
    let age = |class: &&StorageClass| {
        (
            class.metadata.creation_timestamp.as_ref().map(|time| time.0),
            std::cmp::Reverse(class.metadata.name.clone()),
        )
    };
    let newest = classes.iter().filter(is_default).max_by_key(age);
    spec.storage_class_name = newest.and_then(|class| class.metadata.name.clone());
}

/// Keeps a claim while a pod uses it.
pub const CLAIM_PROTECTION: &str = "kubernetes.io/pvc-protection";
/// Keeps a volume while a claim is bound to it.
pub const VOLUME_PROTECTION: &str = "kubernetes.io/pv-protection";

/// Adds a finalizer to a new object.
pub fn protect(meta: &mut ObjectMeta, finalizer: &str) {
    let finalizers = meta.finalizers.get_or_insert_default();
    if !finalizers.iter().any(|other| other == finalizer) {
        finalizers.push(finalizer.to_owned());
    }
}

/// Keeps pods off a new node until it is known to be ready.
pub fn taint(node: &mut Node) {
    let taints = node.spec.get_or_insert_default().taints.get_or_insert_default();
    if !taints.iter().any(|taint| taint.key == NOT_READY && taint.effect == "NoSchedule") {
        taints.push(Taint { key: NOT_READY.into(), effect: "NoSchedule".into(), ..Taint::default() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap()
    }

    #[test]
    fn a_token_is_mounted_once_and_only_where_nothing_else_is() {
        let mut given = pod(json!({"containers": [
            {"name": "a"},
            {"name": "b", "volumeMounts": [{"name": "own", "mountPath": TOKEN_PATH}]},
        ]}));
        service_account(&mut given, &ServiceAccount::default(), "kube-api-access-abcde");
        service_account(&mut given, &ServiceAccount::default(), "kube-api-access-fghij");
        let spec = given.spec.unwrap();
        assert_eq!(spec.volumes.unwrap().len(), 1);
        let mounts: Vec<_> = spec.containers.iter().map(|one| one.volume_mounts.as_ref().unwrap()).collect();
        assert_eq!(mounts[0].len(), 1);
        assert_eq!(mounts[1][0].name, "own");
    }

    #[test]
    fn an_account_can_refuse_its_token_and_a_pod_can_insist() {
        let account =
            ServiceAccount { automount_service_account_token: Some(false), ..ServiceAccount::default() };
        let mut silent = pod(json!({"containers": [{"name": "a"}]}));
        service_account(&mut silent, &account, "v");
        assert_eq!(silent.spec.unwrap().volumes, None);
        let mut insists = pod(json!({"containers": [{"name": "a"}], "automountServiceAccountToken": true}));
        service_account(&mut insists, &account, "v");
        assert!(insists.spec.unwrap().volumes.is_some());
    }

    #[test]
    fn tolerations_are_added_unless_there_are_some_of_their_kind() {
        let mut given = pod(json!({"tolerations": [{"key": UNREACHABLE, "operator": "Exists"}]}));
        tolerations(&mut given);
        tolerations(&mut given);
        let keys: Vec<_> =
            given.spec.unwrap().tolerations.unwrap().into_iter().filter_map(|one| one.key).collect();
        assert_eq!(keys, [UNREACHABLE, NOT_READY]);
    }

    #[test]
    fn priority_comes_from_the_class_and_from_nowhere_else() {
        let low = PriorityClass {
            metadata: ObjectMeta { name: Some("low".into()), ..ObjectMeta::default() },
            value: Some(-5),
            global_default: Some(true),
            ..PriorityClass::default()
        };
        let mut silent = pod(json!({"containers": []}));
        assert_eq!(priority(&mut silent, std::slice::from_ref(&low)), Ok(()));
        let spec = silent.spec.unwrap();
        assert_eq!((spec.priority, spec.priority_class_name.as_deref()), (Some(-5), Some("low")));
        let mut unknown = pod(json!({"priorityClassName": "nope"}));
        let why = "no PriorityClass with name nope was found";
        assert_eq!(priority(&mut unknown, &[low]), Err(why.to_owned()));
    }
}

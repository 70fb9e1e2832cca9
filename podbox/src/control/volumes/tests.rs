//! Claims and volumes, step by step: what is written next, over a store that does what is written.

use super::provision::{self, End};
use super::{Storage, Work};
use crate::control::action::{Edit, Write};
use crate::control::key::Key;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// The store, and who follows it.
#[derive(Default)]
struct World {
    storage: Storage,
    objects: BTreeMap<(&'static str, Key), Value>,
    revision: u64,
    /// Reasons of Events.
    said: Vec<String>,
}

const CLAIM: &str = "PersistentVolumeClaim";
const VOLUME: &str = "PersistentVolume";

fn key(kind: &str, name: &str) -> Key {
    Key::new(if [CLAIM, "Pod"].contains(&kind) { "default" } else { "" }, name)
}

fn kind(word: &str) -> &'static str {
    [CLAIM, VOLUME, "StorageClass", "Pod"].into_iter().find(|kind| *kind == word).expect("it is one of these")
}

impl World {
    fn put(&mut self, of: &'static str, name: &str, fields: &str) {
        let mut object: Value =
            serde_yaml::from_str(fields).unwrap_or_else(|error| panic!("{fields}: {error}"));
        object["metadata"]["name"] = name.into();
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = format!("uid-{name}").into();
        }
        self.show(of, key(of, name), object);
    }

    fn show(&mut self, of: &'static str, key: Key, object: Value) {
        self.revision += 1;
        let bytes = serde_json::to_vec(&object).unwrap();
        match of {
            CLAIM => self.storage.note_claim(&key, self.revision, &bytes),
            VOLUME => self.storage.note_volume(&key, self.revision, &bytes),
            "Pod" => self.storage.note_pod(&key, &bytes),
            "Node" => self.storage.note_node(&key),
            _ => self.storage.note_class(&key, &bytes),
        }
        self.objects.insert((of, key), object);
    }

    fn gone(&mut self, of: &'static str, name: &str) {
        let key = key(of, name);
        self.objects.remove(&(of, key.clone()));
        match of {
            CLAIM => self.storage.forget_claim(&key),
            VOLUME => self.storage.forget_volume(&key),
            "Pod" => self.storage.forget_pod(&key),
            "Node" => self.storage.forget_node(&key),
            _ => self.storage.forget_class(&key),
        }
    }

    /// Does all that is to be done.
    fn settle(&mut self) {
        for _ in 0..1000 {
            let now = (Timestamp::UNIX_EPOCH, Duration::ZERO);
            let Some((work, actions)) = self.storage.next(now, 1000) else { return };
            self.said.extend(actions.said.iter().map(|said| said.reason.to_owned()));
            let writes = actions.actions.into_iter().map(|action| action.write).collect::<Vec<_>>();
            writes.into_iter().for_each(|write| self.write(write));
            self.storage.ended(&work, false, Duration::ZERO);
        }
        panic!("it never ends");
    }

    fn write(&mut self, write: Write) {
        match write {
            Write::Edit { at, edit, .. } => {
                let (of, key) = (kind(&at.kind), Key::new(&at.namespace, &at.name));
                let mut object = self.objects[&(of, key.clone())].clone();
                edit.apply(&mut object);
                let free = object["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty);
                match free && !object["metadata"]["deletionTimestamp"].is_null() {
                    true => self.gone(of, key.name()),
                    false => self.show(of, key, object),
                }
            }
            Write::Create(object) => {
                let (of, key) = (
                    kind(object["kind"].as_str().unwrap()),
                    key(CLAIM, object["metadata"]["name"].as_str().unwrap()),
                );
                self.show(of, key, object);
            }
            Write::Delete { .. } | Write::Remove { .. } => panic!("nothing is deleted"),
        }
    }

    /// What an object says: phase, and to what it is bound.
    fn says(&self, of: &'static str, name: &str) -> String {
        let object = &self.objects[&(of, key(of, name))];
        let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let other =
            if of == CLAIM { &object["spec"]["volumeName"] } else { &object["spec"]["claimRef"]["name"] };
        format!("{} {}", word(&object["status"]["phase"]), word(other))
    }

    #[track_caller]
    fn check(&self, of: &'static str, name: &str, expected: &str) {
        assert_eq!(self.says(of, name), expected, "{name}: {}", self.objects[&(of, key(of, name))]);
    }
}

fn claim(spec: &str) -> String {
    format!(
        "{{metadata: {{namespace: default, finalizers: [kubernetes.io/pvc-protection]}}, spec: {{accessModes: [ReadWriteOnce], \
         resources: {{requests: {{storage: 1Gi}}}}, {spec}}}, status: {{phase: Pending}}}}"
    )
}

fn volume(size: &str, spec: &str) -> String {
    format!(
        "{{metadata: {{finalizers: [kubernetes.io/pv-protection]}}, spec: {{capacity: {{storage: {size}}}, \
         accessModes: [ReadWriteOnce, ReadOnlyMany], persistentVolumeReclaimPolicy: Retain, hostPath: {{path: /x}}, {spec}}}, \
         status: {{phase: Pending}}}}"
    )
}

#[test]
fn a_claim_gets_the_smallest_volume_that_suits_it() {
    let mut world = World::default();
    world.put(VOLUME, "large", &volume("5Gi", ""));
    world.put(VOLUME, "fits", &volume("2Gi", ""));
    world.put(VOLUME, "small", &volume("1Mi", ""));
    world.put(VOLUME, "classy", &volume("1Gi", "storageClassName: fast"));
    world.put(VOLUME, "block", &volume("1Gi", "volumeMode: Block"));
    world.put(CLAIM, "c", &claim("volumeMode: Filesystem"));
    world.settle();
    world.check(CLAIM, "c", "Bound fits");
    world.check(VOLUME, "fits", "Bound c");
    world.check(VOLUME, "large", "Available -");
    let bound = &world.objects[&(CLAIM, key(CLAIM, "c"))];
    assert_eq!(bound["status"]["capacity"]["storage"], "2Gi");
    assert_eq!(bound["metadata"]["annotations"]["pv.kubernetes.io/bind-completed"], "yes");
    // Two claims never share one.
    world.put(CLAIM, "d", &claim(""));
    world.put(CLAIM, "e", &claim(""));
    world.settle();
    assert_eq!([world.says(CLAIM, "d"), world.says(CLAIM, "e")], ["Bound large", "Pending -"]);
    assert!(world.said.contains(&"FailedBinding".to_owned()), "{:?}", world.said);
    // One that comes later is taken by who waits.
    world.put(VOLUME, "late", &volume("1Gi", ""));
    world.settle();
    world.check(CLAIM, "e", "Bound late");
}

#[test]
fn selectors_names_and_reservations_are_kept_to() {
    let mut world = World::default();
    world.put(VOLUME, "plain", &volume("1Gi", ""));
    // What class it is of does not matter to the claim that it is kept for.
    world.put(
        VOLUME,
        "kept",
        &volume("9Gi", "storageClassName: fast, claimRef: {namespace: default, name: mine}"),
    );
    world.put(CLAIM, "picky", &claim("selector: {matchLabels: {disk: ssd}}"));
    world.put(CLAIM, "mine", &claim(""));
    world.put(CLAIM, "named", &claim("volumeName: plain"));
    world.put(CLAIM, "wrong", &claim("volumeName: kept"));
    world.put(CLAIM, "early", &claim("volumeName: later"));
    world.settle();
    world.check(CLAIM, "picky", "Pending -");
    world.check(CLAIM, "mine", "Bound kept");
    world.check(CLAIM, "named", "Bound plain");
    world.check(CLAIM, "wrong", "Pending kept");
    world.put(VOLUME, "later", &volume("1Mi", ""));
    world.settle();
    world.check(CLAIM, "early", "Pending later");
    assert!(world.said.contains(&"VolumeMismatch".to_owned()), "{:?}", world.said);
}

#[test]
fn a_volume_without_its_claim_is_released_and_a_claim_without_its_volume_is_lost() {
    let mut world = World::default();
    world.put(VOLUME, "v", &volume("1Gi", ""));
    world.put(VOLUME, "w", &volume("1Gi", "").replace("Retain", "Delete"));
    world.put(CLAIM, "c", &claim("volumeName: v"));
    world.put(CLAIM, "d", &claim("volumeName: w"));
    world.settle();
    world.gone(CLAIM, "c");
    world.gone(CLAIM, "d");
    // Another one of its name is not the same.
    world.put(CLAIM, "c", &claim("").replace("metadata: {", "metadata: {uid: other, "));
    world.settle();
    world.check(VOLUME, "v", "Released c");
    world.check(CLAIM, "c", "Pending -");
    // Nobody knows how to take away what nobody has made.
    world.check(VOLUME, "w", "Failed d");
    assert!(world.said.contains(&"VolumeFailedDelete".to_owned()), "{:?}", world.said);
    world.put(VOLUME, "x", &volume("1Gi", ""));
    world.settle();
    world.check(CLAIM, "c", "Bound x");
    world.gone(VOLUME, "x");
    world.settle();
    world.check(CLAIM, "c", "Lost x");
}

#[test]
fn what_is_used_stays_until_it_is_not() {
    let mut world = World::default();
    world.put(VOLUME, "v", &volume("1Gi", ""));
    world.put(CLAIM, "c", &claim(""));
    let pod = |node: &str| {
        format!(
            "{{metadata: {{namespace: default}}, spec: {{{node} volumes: [{{name: d, persistentVolumeClaim: {{claimName: c}}}}]}}}}"
        )
    };
    world.put("Pod", "p", &pod("nodeName: n,"));
    world.settle();
    for (of, name) in [(CLAIM, "c"), (VOLUME, "v")] {
        let mut object = world.objects[&(of, key(of, name))].clone();
        object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        world.show(of, key(of, name), object);
    }
    world.settle();
    assert_eq!(world.objects.len(), 3, "the pod uses the claim, and the claim the volume");
    // One that is on no node yet uses nothing.
    world.put("Pod", "p", &pod(""));
    world.settle();
    assert_eq!(world.objects.keys().map(|(of, _)| *of).collect::<Vec<_>>(), ["Pod"]);
}

#[test]
fn a_class_that_waits_waits_for_a_node_and_then_for_its_provisioner() {
    let mut world = World::default();
    world.put(CLAIM, "c", &claim("storageClassName: local"));
    world.settle();
    assert_eq!(world.said, ["ProvisioningFailed"], "there is no such class yet");
    world.put(
        "StorageClass",
        "local",
        "{metadata: {}, provisioner: podbox.io/node-local, volumeBindingMode: WaitForFirstConsumer}",
    );
    world.put(VOLUME, "free", &volume("1Gi", "storageClassName: local"));
    world.settle();
    assert_eq!(world.said.last().unwrap(), "WaitForFirstConsumer");
    world.check(CLAIM, "c", "Pending -");
    world.put("Node", "n", "{metadata: {}}");
    let mut chosen = world.objects[&(CLAIM, key(CLAIM, "c"))].clone();
    Edit::Merge(json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "n"}}}))
        .apply(&mut chosen);
    world.show(CLAIM, key(CLAIM, "c"), chosen);
    world.settle();
    assert_eq!(world.said.last().unwrap(), "ExternalProvisioning");
    let (made, class) = made(&world);
    assert!(provision::is_wanted(&made, &class, "n") && !provision::is_wanted(&made, &class, "other"));
    let mut volume = provision::volume(&made, &class, ("n", "/data/x")).unwrap();
    volume["metadata"]["uid"] = "uid-v".into();
    let name = volume["metadata"]["name"].as_str().unwrap().to_owned();
    world.show(VOLUME, Key::new("", &name), volume);
    world.settle();
    world.check(CLAIM, "c", &format!("Bound {name}"));
    world.check(VOLUME, &name, "Bound c");
    let stored = |world: &World| {
        serde_json::from_value(world.objects[&(VOLUME, Key::new("", &name))].clone()).unwrap()
    };
    assert_eq!(provision::end(&stored(&world)), None);
    world.gone(CLAIM, "c");
    world.settle();
    assert_eq!(provision::end(&stored(&world)), Some(End::Remove));
}

fn made(
    world: &World,
) -> (k8s_openapi::api::core::v1::PersistentVolumeClaim, k8s_openapi::api::storage::v1::StorageClass) {
    let read = |of: &'static str, name: &str| world.objects[&(of, key(of, name))].clone();
    (
        serde_json::from_value(read(CLAIM, "c")).unwrap(),
        serde_json::from_value(read("StorageClass", "local")).unwrap(),
    )
}

#[test]
fn what_a_directory_cannot_give_is_refused() {
    let mut world = World::default();
    world.put(
        "StorageClass",
        "local",
        "{metadata: {}, provisioner: podbox.io/node-local, volumeBindingMode: Immediate}",
    );
    let refused = |world: &mut World, spec: &str| {
        world.put(CLAIM, "c", &claim(&format!("storageClassName: local, {spec}")));
        let (claim, class) = made(world);
        provision::volume(&claim, &class, ("n", "/x")).err()
    };
    assert_eq!(refused(&mut world, ""), None);
    let why = |of: Option<String>| of.unwrap_or_default();
    assert!(why(refused(&mut world, "volumeMode: Block")).contains("no block volumes"));
    assert!(
        why(refused(&mut world, "dataSource: {kind: PersistentVolumeClaim, name: d}")).contains("dataSource")
    );
    assert!(why(refused(&mut world, "selector: {}")).contains("selector"));
    world.put(
        "StorageClass",
        "local",
        "{metadata: {}, provisioner: podbox.io/node-local, parameters: {type: ssd}}",
    );
    assert!(why(refused(&mut world, "")).contains("\"type\""));
}

#[test]
fn pods_bring_their_own_claims() {
    let mut world = World::default();
    let pod = "{metadata: {namespace: default}, spec: {volumes: [{name: e, ephemeral: {volumeClaimTemplate: \
               {metadata: {labels: {a: b}}, spec: {accessModes: [ReadWriteOnce]}}}}]}}";
    world.put("Pod", "p", pod);
    world.settle();
    let made = &world.objects[&(CLAIM, key(CLAIM, "p-e"))];
    assert_eq!(made["metadata"]["labels"], json!({"a": "b"}));
    assert_eq!(made["metadata"]["ownerReferences"][0]["uid"], "uid-p");
    // One of that name that is another's is not taken.
    world.put(CLAIM, "q-e", &claim(""));
    world.put("Pod", "q", pod);
    world.said.clear();
    world.settle();
    assert!(world.said.contains(&"FailedBinding".to_owned()), "{:?}", world.said);
    assert_eq!(world.storage.next((Timestamp::UNIX_EPOCH, Duration::ZERO), 10), None::<(Work, _)>);
}

/// Foreground deletion: the pod goes once its claim has, so the claim must not wait for the pod.
#[test]
fn what_a_pod_brought_goes_before_a_pod_that_only_waits_for_it() {
    let mut world = World::default();
    let pod = |going: &str, volume: &str| {
        format!(
            "{{metadata: {{namespace: default, {going}}}, spec: {{nodeName: n, volumes: [{{name: e, {volume}}}]}}}}"
        )
    };
    let (own, shared) =
        ("ephemeral: {volumeClaimTemplate: {spec: {}}}", "persistentVolumeClaim: {claimName: c}");
    let owner = "ownerReferences: [{apiVersion: v1, kind: Pod, name: p, uid: uid-p, controller: true}]";
    world.put(
        CLAIM,
        "p-e",
        &claim("").replace("namespace: default", &format!("namespace: default, {owner}")),
    );
    world.put(CLAIM, "c", &claim(""));
    for name in ["p-e", "c"] {
        let mut object = world.objects[&(CLAIM, key(CLAIM, name))].clone();
        object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        world.show(CLAIM, key(CLAIM, name), object);
    }
    let ends = "deletionTimestamp: '2026-01-01T00:00:00Z', deletionGracePeriodSeconds: 30";
    let over = ends.replace("30", "0");
    world.put("Pod", "p", &pod(ends, own));
    world.put("Pod", "q", &pod(&over, shared));
    world.settle();
    assert_eq!(
        world.objects.len(),
        4,
        "one may run with its claim, and of the other the claim is not its own"
    );
    world.put("Pod", "p", &pod(&over, own));
    world.settle();
    let left: Vec<&str> = world.objects.keys().map(|(_, key)| key.name()).collect();
    assert_eq!(left, ["c", "p", "q"]);
}

#[test]
fn a_claim_that_names_no_class_gets_the_newest_default_one_once_there_is_one() {
    let mut world = World::default();
    world.put(CLAIM, "c", &claim(""));
    world.put(CLAIM, "none", &claim("storageClassName: ''"));
    world.settle();
    let class = |created: &str, default: &str| {
        format!(
            "{{metadata: {{creationTimestamp: '{created}', annotations: {{storageclass.kubernetes.io/is-default-class: \
             '{default}'}}}}, provisioner: x.io/y}}"
        )
    };
    world.put("StorageClass", "other", &class("2026-01-03T00:00:00Z", "false"));
    world.settle();
    let named = |world: &World, name: &str| {
        world.objects[&(CLAIM, key(CLAIM, name))]["spec"]["storageClassName"].as_str().map(str::to_owned)
    };
    assert_eq!(named(&world, "c"), None);
    world.put("StorageClass", "old", &class("2026-01-01T00:00:00Z", "true"));
    world.put("StorageClass", "new", &class("2026-01-02T00:00:00Z", "true"));
    world.settle();
    assert_eq!([named(&world, "c"), named(&world, "none")], ["new", ""].map(|name| Some(name.to_owned())));
}

#[test]
fn what_cannot_be_read_is_not_gone() {
    let mut world = World::default();
    world.put(VOLUME, "v", &volume("1Gi", "").replace("Retain", "Delete"));
    world.put(VOLUME, "w", &volume("1Gi", ""));
    for (name, of) in [("c", "v"), ("d", "w")] {
        world.put(CLAIM, name, &claim(&format!("volumeName: {of}")));
    }
    world.settle();
    // As after a restart: of these two nothing is known before.
    let mut again = Storage::default();
    again.note_claim(&key(CLAIM, "c"), 9, b"{\"spec\": 1}");
    again.note_volume(&key(VOLUME, "w"), 9, b"{\"spec\": 1}");
    world.storage = again;
    for (of, name) in [(VOLUME, "v"), (CLAIM, "d")] {
        let object = world.objects[&(of, key(of, name))].clone();
        world.show(of, key(of, name), object);
    }
    world.settle();
    world.check(VOLUME, "v", "Bound c");
    world.check(CLAIM, "d", "Bound w");
    world.gone(CLAIM, "c");
    world.settle();
    world.check(VOLUME, "v", "Failed c");
}

#[test]
fn a_claim_that_was_to_be_on_a_node_that_is_gone_is_for_any_node_again() {
    let mut world = World::default();
    world.put("Node", "n", "{metadata: {}}");
    let class = "{metadata: {}, provisioner: x.io/y, volumeBindingMode: WaitForFirstConsumer}";
    world.put("StorageClass", "local", class);
    let chosen = claim("storageClassName: local").replace(
        "namespace: default,",
        "namespace: default, annotations: {volume.kubernetes.io/selected-node: n},",
    );
    world.put(CLAIM, "c", &chosen);
    world.settle();
    let selected = |world: &World| {
        world.objects[&(CLAIM, key(CLAIM, "c"))]["metadata"]["annotations"]
            .get(super::shelf::SELECTED)
            .is_some()
    };
    assert!(selected(&world));
    world.gone("Node", "n");
    world.settle();
    assert!(!selected(&world));
    assert_eq!(world.said.last().unwrap(), "WaitForFirstConsumer");
}

//! Pods with claims: where their volumes are, and where they can be made.

use super::*;
use crate::control::action::Write;
use crate::control::scheduler::Decision;

/// Two nodes, and a class that waits.
fn world() -> World {
    let mut world = World::default();
    ["a", "b"].into_iter().for_each(|name| world.node(&node(name, "", "")));
    for (name, provisioner) in [("local", "podbox.io/node-local"), ("hand", "kubernetes.io/no-provisioner")] {
        let class = json!({"metadata": {"name": name}, "provisioner": provisioner, "volumeBindingMode": "WaitForFirstConsumer"});
        world.scheduler.note_class(&Key::new("", name), &bytes(&class));
    }
    world
}

fn claim(world: &mut World, name: &str, fields: Value) {
    let mut claim = json!({"metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}")},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    crate::control::action::Edit::Merge(fields).apply(&mut claim);
    world.scheduler.note_claim(&Key::new("default", name), 1, &bytes(&claim));
}

/// A volume that is on a node only.
fn volume(world: &mut World, name: &str, node: &str, class: &str) {
    let volume = json!({"metadata": {"name": name, "uid": name}, "status": {"phase": "Available"}, "spec": {
        "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": class,
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
            {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]}}}});
    world.scheduler.note_volume(&Key::new("", name), 1, &bytes(&volume));
}

fn bound(volume: &str) -> Value {
    json!({"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}}, "spec": {"volumeName": volume},
        "status": {"phase": "Bound"}})
}

fn with_claim(name: &str, claim: &str) -> Value {
    pod(name, "", &format!("volumes: [{{name: v, persistentVolumeClaim: {{claimName: {claim}}}}}]"))
}

/// What is written next, in words.
fn written(world: &mut World) -> Vec<String> {
    let decided = std::iter::from_fn(|| world.scheduler.next(world.now, 1000)).collect::<Vec<_>>();
    let words = |decision: Decision| match decision {
        Decision::Bind(pod, node) => vec![format!("{} on {node}", pod.key.name())],
        Decision::Tell(_, told) => vec![reasons(&told.message).to_owned()],
        Decision::Again(..) | Decision::Preempt(..) => panic!("{decision:?}"),
        Decision::Provide(_, promises) => {
            let word = |write: &Write| match write {
                Write::Edit { at, .. } => format!("{} {}", at.kind, at.name),
                other => panic!("{other:?}"),
            };
            promises.iter().map(|(claim, _, write)| format!("{}: {}", claim.name(), word(write))).collect()
        }
    };
    decided.into_iter().flat_map(words).collect()
}

#[test]
fn a_pod_goes_where_its_volume_is() {
    let mut world = world();
    volume(&mut world, "v", "b", "");
    claim(&mut world, "c", bound("v"));
    world.pod(&with_claim("p", "c"));
    assert_eq!(written(&mut world), ["p on b"]);
    let mut there = with_claim("q", "c");
    there["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": "a"});
    world.pod(&there);
    let why = "1 node(s) didn't match PersistentVolume's node affinity, 1 node(s) didn't match Pod's node affinity/selector";
    assert_eq!(written(&mut world), [why]);
    claim(&mut world, "lost", bound("gone"));
    world.pod(&with_claim("r", "lost"));
    let why = "2 node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";
    assert_eq!(written(&mut world), [why]);
}

#[test]
fn what_a_pod_lacks_itself_is_told() {
    let mut world = world();
    world.pod(&with_claim("p", "c"));
    assert_eq!(written(&mut world), ["persistentvolumeclaim \"c\" not found"]);
    claim(&mut world, "c", json!({}));
    assert_eq!(written(&mut world), ["pod has unbound immediate PersistentVolumeClaims"]);
    world.now += Duration::from_secs(10);
    claim(&mut world, "c", json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}));
    assert_eq!(written(&mut world), ["persistentvolumeclaim \"c\" is being deleted"]);
    world.pod(&pod("e", "", "volumes: [{name: v, ephemeral: {volumeClaimTemplate: {spec: {}}}}]"));
    let why = "waiting for ephemeral volume controller to create the persistentvolumeclaim \"e-v\"";
    assert_eq!(written(&mut world), [why]);
}

#[test]
fn a_claim_that_waits_gets_its_volume_on_the_node_of_its_first_pod() {
    let mut world = world();
    let class = json!({"spec": {"storageClassName": "local"}});
    claim(&mut world, "c", class.clone());
    world.pod(&with_claim("p", "c"));
    assert_eq!(written(&mut world), ["c: PersistentVolumeClaim c"]);
    // The next one comes to the same node, though nothing is written yet, and the other is emptier.
    world.pod(&with_claim("q", "c"));
    assert_eq!(written(&mut world), Vec::<String>::new());
    volume(&mut world, "v", "a", "local");
    let mut done = bound("v");
    done["spec"]["storageClassName"] = "local".into();
    done["status"]["phase"] = "Pending".into();
    claim(&mut world, "c", done.clone());
    assert_eq!(written(&mut world), Vec::<String>::new(), "the node would not find it bound yet");
    done["status"]["phase"] = "Bound".into();
    claim(&mut world, "c", done);
    assert_eq!(written(&mut world), ["p on a", "q on a"]);
}

#[test]
fn a_volume_that_is_there_is_used_before_one_is_made_and_by_one_claim() {
    let mut world = world();
    let hand = json!({"spec": {"storageClassName": "hand"}});
    ["c", "d"].into_iter().for_each(|name| claim(&mut world, name, hand.clone()));
    volume(&mut world, "v", "b", "hand");
    world.pod(&with_claim("p", "c"));
    assert_eq!(written(&mut world), ["c: PersistentVolume v"]);
    world.pod(&with_claim("q", "d"));
    assert_eq!(written(&mut world), ["2 node(s) didn't find available persistent volumes to bind"]);
    volume(&mut world, "w", "a", "hand");
    assert_eq!(written(&mut world), ["d: PersistentVolume w"]);
}

#[test]
fn what_cannot_be_written_or_made_is_looked_for_again() {
    let mut world = world();
    let class = json!({"spec": {"storageClassName": "local"}});
    claim(&mut world, "c", class.clone());
    world.pod(&with_claim("p", "c"));
    let decision = world.scheduler.next(world.now, 1000).unwrap();
    world.scheduler.ended(&decision, false, world.now);
    assert_eq!(written(&mut world), Vec::<String>::new());
    world.now = world.scheduler.next_time().expect("it is looked at again");
    assert_eq!(written(&mut world), ["c: PersistentVolumeClaim c"]);
    // Its provisioner gives the claim back: it cannot be made there.
    let selected = json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "a"}}, "spec": class["spec"]});
    claim(&mut world, "c", selected);
    claim(&mut world, "c", class);
    assert_eq!(written(&mut world), ["c: PersistentVolumeClaim c"]);
    world.gone("p");
    world.scheduler.forget_claim(&Key::new("default", "c"));
    ["a", "b"].into_iter().for_each(|name| world.scheduler.forget_node(&Key::new("", name)));
    assert!(world.scheduler.is_empty());
}

#[test]
fn a_claim_for_one_pod_has_one() {
    let mut world = world();
    volume(&mut world, "v", "b", "");
    let mut one = bound("v");
    one["spec"]["accessModes"] = json!(["ReadWriteOncePod"]);
    claim(&mut world, "c", one);
    world.pod(&with_claim("p", "c"));
    world.pod(&with_claim("q", "c"));
    let why =
        "2 node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode";
    assert_eq!(written(&mut world), ["p on b", why]);
    world.gone("p");
    assert_eq!(written(&mut world), ["q on b"]);
}

#[test]
fn who_waits_for_volumes_in_vain_says_so_and_looks_for_a_node_again() {
    let mut world = world();
    claim(&mut world, "c", json!({"spec": {"storageClassName": "local"}}));
    for name in ["p", "q"] {
        world.pod(&with_claim(name, "c"));
    }
    assert_eq!(written(&mut world), ["c: PersistentVolumeClaim c"]);
    world.now = world.scheduler.next_time().expect("there is a deadline");
    let overdue = "running PreBind plugin \"VolumeBinding\": binding volumes: context deadline exceeded";
    assert_eq!(written(&mut world), [overdue, overdue]);
    world.now = world.scheduler.next_time().expect("it is tried again");
    assert_eq!(written(&mut world), ["c: PersistentVolumeClaim c"]);
    ["p", "q"].into_iter().for_each(|name| world.gone(name));
    world.scheduler.forget_claim(&Key::new("default", "c"));
    ["a", "b"].into_iter().for_each(|name| world.scheduler.forget_node(&Key::new("", name)));
    assert!(world.scheduler.is_empty());
}

#[test]
fn a_volume_that_goes_before_it_is_bound_is_promised_to_nobody() {
    let mut world = world();
    claim(&mut world, "c", json!({"spec": {"storageClassName": "hand"}}));
    volume(&mut world, "v", "b", "hand");
    world.pod(&with_claim("p", "c"));
    assert_eq!(written(&mut world), ["c: PersistentVolume v"]);
    world.scheduler.forget_volume(&Key::new("", "v"));
    assert_eq!(written(&mut world), ["2 node(s) didn't find available persistent volumes to bind"]);
    volume(&mut world, "w", "a", "hand");
    assert_eq!(written(&mut world), ["c: PersistentVolume w"]);
}

#[test]
fn what_could_not_be_promised_holds_up_nobody_else() {
    let mut world = world();
    claim(&mut world, "c", json!({"spec": {"storageClassName": "local"}}));
    world.pod(&with_claim("p", "c"));
    let decision = world.scheduler.next(world.now, 1000).unwrap();
    world.pod(&with_claim("q", "c"));
    assert_eq!(written(&mut world), Vec::<String>::new());
    world.scheduler.ended(&decision, false, world.now);
    assert_eq!(written(&mut world), ["c: PersistentVolumeClaim c"], "for the other one");
}

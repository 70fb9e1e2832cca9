//! Whatever happens, pods come and go in order, and it comes to rest.

use super::*;
use crate::limits;
use proptest::prelude::*;

proptest! {
    /// Whatever happens: in order, a pod comes only after all before it, at most one is taken from those that are well, and in the end
    /// all are as they should be.
    #[test]
    fn order_is_kept_and_it_comes_to_rest(
        in_order in any::<bool>(),
        steps in prop::collection::vec((0u8..10, 0usize..6), 0..80),
    ) {
        let mut world = if in_order { World::new(json!({})) } else { World::parallel(json!({})) };
        for (what, which) in steps {
            let name = format!("web-{which}");
            match what {
                0..=3 => {
                    let actions = world.look();
                    check_order(&world, &actions, in_order)?;
                    actions.actions.into_iter().for_each(|action| world.apply(action));
                }
                4 | 5 if world.get("Pod", &name).is_some() => {
                    let now = world.now.to_string();
                    world.get_mut("Pod", &name)["status"] = json!({
                        "phase": "Running", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now}],
                    });
                }
                6 => world.sweep(),
                7 => world.set["spec"]["replicas"] = which.into(),
                8 => world.set["spec"]["template"] = template(["one", "two", "three"][which % 3]),
                9 if world.get("Pod", &name).is_some() => world.get_mut("Pod", &name)["status"] = json!({"phase": "Failed"}),
                _ => {}
            }
        }
        world.run();
        let image = &world.set["spec"]["template"]["spec"]["containers"][0]["image"];
        let wanted = 0..world.set["spec"]["replicas"].as_u64().unwrap();
        let wanted: Vec<String> = wanted.map(|ordinal| format!("{ordinal} {}", image.as_str().unwrap())).collect();
        prop_assert_eq!(world.pods(), wanted);
        prop_assert_eq!(&world.set["status"]["currentRevision"], &world.set["status"]["updateRevision"]);
    }
}

#[test]
fn a_number_that_was_mistyped_fills_nothing() {
    let mut world = World::parallel(json!({"replicas": 1_000_000}));
    while world.get("Pod", "web-0").is_none() {
        world.step();
    }
    let pod = world.get("Pod", "web-0").unwrap().clone();
    for ordinal in 0..limits::PODS_WITHOUT_NODE {
        let (name, mut pod) = (format!("web-{ordinal}"), pod.clone());
        for (field, value) in [("name", name.clone()), ("uid", format!("uid {ordinal}"))] {
            object::set(&mut pod, field, value);
        }
        pod["metadata"]["labels"]["statefulset.kubernetes.io/pod-name"] = name.clone().into();
        pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"] = ordinal.to_string().into();
        world.objects.insert(("Pod".to_owned(), name), pod);
    }
    let made = |actions: &Actions| {
        actions.actions.iter().filter(|action| matches!(action.write, Write::Create(_))).count()
    };
    let actions = world.look();
    let said: Vec<_> = actions.said.iter().map(|said| said.reason).collect();
    assert_eq!((made(&actions), said), (0, vec!["FailedCreate"]));
    // Those that have found a node make room.
    for ordinal in 0..7 {
        world.get_mut("Pod", &format!("web-{ordinal}"))["spec"]["nodeName"] = "n".into();
    }
    let actions = world.look();
    assert_eq!((made(&actions), actions.said.len()), (7, 0));
}

fn check_order(world: &World, actions: &Actions, in_order: bool) -> Result<(), TestCaseError> {
    let well = |name: &str| {
        world
            .get("Pod", name)
            .is_some_and(|pod| pod["status"]["phase"] == "Running" && !object::deleting(pod))
    };
    let mut taken = 0;
    for action in &actions.actions {
        match &action.write {
            Write::Create(pod) if pod["kind"] == "Pod" && in_order => {
                let (_, ordinal) = parent(object::name(pod)).unwrap();
                for before in 0..ordinal {
                    prop_assert!(well(&format!("web-{before}")), "{ordinal} comes before {before} is well");
                }
            }
            Write::Delete { at, .. } if &*at.kind == "Pod" => {
                let (_, ordinal) = parent(&at.name).unwrap();
                let kept = ordinal < world.set["spec"]["replicas"].as_i64().unwrap();
                taken += usize::from(well(&at.name) && (kept || in_order));
            }
            _ => {}
        }
    }
    prop_assert!(taken <= 1, "{taken} are taken at once: {actions:?}");
    Ok(())
}

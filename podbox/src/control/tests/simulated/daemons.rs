//! DaemonSets in the same world, over nodes that come, change and go.

use super::nodes::node;
use super::sets::REVISIONS;
use super::*;

const DAEMONS: &str = "apps/daemonsets";

fn daemon_set(surge: u64) -> Value {
    let rolling = json!({"maxSurge": surge, "maxUnavailable": if surge > 0 { 0 } else { 1 }});
    let mut template = template("i0");
    template["spec"]["nodeSelector"] = json!({"role": "x"});
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "web", "namespace": "n"},
        "spec": {
            "revisionHistoryLimit": 2, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
            "selector": {"matchLabels": {"app": "x"}}, "template": template,
        },
        "status": {},
    })
}

/// A node changes: it comes, is for daemons or not, is closed to them or not, goes with its pods.
fn change_node(world: &mut World, which: usize) {
    let (at, object) = node(which);
    match which / 5 % 4 {
        0 => drop(world.create(object)),
        1 => world.edit(&at, "", |node| {
            let role = if node["metadata"]["labels"]["role"] == "x" { "y" } else { "x" };
            node["metadata"]["labels"]["role"] = role.into();
        }),
        2 => world.edit(&at, "", |node| {
            let effect = ["NoSchedule", "NoExecute"][which / 20 % 2];
            let open = node["spec"]["taints"].is_null();
            node["spec"] =
                if open { json!({"taints": [{"key": "closed", "effect": effect}]}) } else { json!({}) };
        }),
        _ => {
            world.delete(&at, None);
            for pod in world.list(PODS).iter().filter(|pod| pod["spec"]["nodeName"] == at.name.as_str()) {
                world.delete(&target("v1", "Pod", object::name(pod)), None);
            }
        }
    }
}

fn play_daemon(surge: u64, steps: &[(u8, usize)]) -> Result<Vec<String>, TestCaseError> {
    let mut world = World::new();
    world.create(daemon_set(surge));
    let web = target("apps/v1", "DaemonSet", "web");
    for which in 0..3 {
        world.create(node(which).1);
        change_node(&mut world, which + 5);
    }
    for (what, which) in steps {
        if !world.happens(&web, (*what, *which)) {
            change_node(&mut world, *which);
        }
    }
    // A node that is closed keeps what it has: none is, in the end.
    for which in 0..5 {
        world.edit(&node(which).0, "", |node| node["spec"] = json!({}));
    }
    world.settle();
    let set = world.list(DAEMONS).remove(0);
    let image = set["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap();
    let nodes = world.list("/nodes");
    let meant = nodes.iter().filter(|node| node["metadata"]["labels"]["role"] == "x");
    let expected: Vec<String> = meant.map(|node| format!("{} {image}", object::name(node))).collect();
    let mut found = world.running(|pod| pod["spec"]["nodeName"].as_str().unwrap().to_owned());
    found.sort();
    prop_assert_eq!(&found, &expected);
    let (status, count) = (&set["status"], Some(expected.len() as u64));
    let told = ["desiredNumberScheduled", "currentNumberScheduled", "numberReady"]
        .map(|field| status[field].as_u64());
    prop_assert_eq!(told, [count; 3]);
    prop_assert_eq!(
        (status["numberMisscheduled"].as_u64(), status["numberUnavailable"].as_u64()),
        (Some(0), None)
    );
    prop_assert!(world.list(REVISIONS).len() <= 3);
    world.end(&web)?;
    Ok(world.told)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn daemon_sets_end_as_they_should_and_each_time_alike(
        surge in 0u64..3,
        steps in prop::collection::vec((0u8..24, 0usize..1000), 0..150),
    ) {
        let told = play_daemon(surge, &steps)?;
        prop_assert_eq!(told, play_daemon(surge, &steps)?);
    }
}

//! Who goes for whom, and where: tables as upstream has them, and what must be so of any choice.

use super::*;
use crate::control::scheduler::preempt::preempt;
use proptest::prelude::*;

/// A pod: its name, priority, processors, and when it started, in seconds.
type Other<'a> = (&'a str, i32, &'a str, u32);

/// A pod of this priority that asks for so many processors.
fn weighty(name: &str, priority: i32, cpu: &str) -> Value {
    pod(name, &format!("app: {name}"), &format!("priority: {priority}, {}", asks(&format!("cpu: {cpu}"))))
}

fn going(pod: &Value) -> Value {
    let mut pod = pod.clone();
    pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    pod["status"]["conditions"] =
        json!([{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]);
    pod
}

impl World {
    /// Pods of a priority on a node, and when they started, in seconds.
    fn others(&mut self, node: &str, pods: &[Other<'_>]) {
        for (name, priority, cpu, started) in pods {
            let mut pod = weighty(name, *priority, cpu);
            pod["status"]["startTime"] = format!("2026-01-01T00:00:{started:02}Z").into();
            self.there(&pod, node);
        }
    }

    fn budget(&mut self, app: &str, allowed: i32) {
        let budget = json!({"metadata": {"name": app, "namespace": "default"},
            "spec": {"selector": {"matchLabels": {"app": app}}},
            "status": {"disruptionsAllowed": allowed, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0}});
        self.scheduler.note_budget(&Key::new("default", app), &bytes(&budget));
    }
}

/// What becomes of a pod of priority 10 that asks for a processor, over nodes of two with these pods on them.
#[track_caller]
fn check(nodes: &[(&str, &[Other<'_>])], budgets: &[(&str, i32)], expected: &str) {
    let mut world = World::default();
    for (name, pods) in nodes {
        world.node(&node(name, "", ""));
        world.others(name, pods);
    }
    budgets.iter().for_each(|(app, allowed)| world.budget(app, *allowed));
    world.pod(&weighty("p", 10, "1"));
    let decided = world.next().expect("it is decided");
    let found = decided.split_once("preemption: ").map_or(&*decided, |(_, found)| found);
    assert_eq!(found, expected, "{nodes:?} {budgets:?}");
}

#[test]
fn who_is_less_important_goes_where_that_costs_least() {
    let vain = "0/1 nodes are available: 1 No preemption victims found for incoming pod.";
    check(&[("n", &[("a", 10, "2", 0)])], &[], vain);
    check(&[("n", &[("a", 9, "2", 0)])], &[], "p instead of [a] on n");
    // Of one node, as many stay as can, the most important first, and then those who are there longest.
    check(&[("n", &[("a", 1, "1", 0), ("b", 2, "1", 0)])], &[], "p instead of [a] on n");
    check(&[("n", &[("a", 1, "1", 9), ("b", 1, "1", 0)])], &[], "p instead of [a] on n");
    check(&[("n", &[("a", 1, "500m", 0), ("b", 9, "1500m", 0)])], &[], "p instead of [b] on n");
    check(
        &[("n", &[("a", 11, "1500m", 0), ("b", 9, "500m", 0)])],
        &[],
        "0/1 nodes are available: 1 Insufficient cpu.",
    );
    // Of nodes: the least important victims, fewer, and those who began last.
    check(&[("m", &[("a", 2, "2", 0)]), ("n", &[("b", 1, "2", 0)])], &[], "p instead of [b] on n");
    let (two, one) = ([("a", 1, "1200m", 0), ("b", 1, "800m", 0)], [("c", 1, "2", 0)]);
    check(&[("m", &two[..1]), ("n", &one)], &[], "p instead of [a] on m");
    check(
        &[
            ("m", &[("a", 1, "600m", 0), ("b", 1, "600m", 0), ("c", 1, "600m", 0)]),
            ("n", &[("d", 1, "2", 0)]),
        ],
        &[],
        "p instead of [d] on n",
    );
    check(&[("m", &[("a", 1, "2", 0)]), ("n", &[("b", 1, "2", 9)])], &[], "p instead of [b] on n");
}

#[test]
fn budgets_are_kept_to_as_far_as_may_be() {
    let nodes: [(&str, &[_]); 2] = [("m", &[("a", 1, "2", 0)]), ("n", &[("b", 2, "2", 0)])];
    check(&nodes, &[], "p instead of [a] on m");
    check(&nodes, &[("a", 0)], "p instead of [b] on n");
    check(&nodes, &[("a", 1)], "p instead of [a] on m");
    check(&nodes, &[("a", 0), ("b", 0)], "p instead of [a] on m");
    // Whom a budget protects stays before who is more important.
    let one: [(&str, &[_]); 1] = [("n", &[("a", 1, "1", 0), ("b", 2, "1", 0)])];
    check(&one, &[("a", 0)], "p instead of [b] on n");
}

#[test]
fn a_node_is_kept_for_whom_others_go() {
    let mut world = World::default();
    world.node(&node("n", "", ""));
    let low = weighty("low", 1, "2");
    world.there(&low, "n");
    world.pod(&weighty("p", 10, "2"));
    let decision = world.scheduler.next(world.now, 1000).unwrap();
    let Decision::Preempt(_, told, _) = &decision else { panic!("{decision:?}") };
    assert_eq!(told.message, "0/1 nodes are available: 1 Insufficient cpu.");
    // Until it is written nobody else goes, whatever happens.
    world.there(&going(&low), "n");
    world.node(&node("n", "new: label", ""));
    assert_eq!(world.all(), Vec::<String>::new());
    world.scheduler.ended(&decision, true, world.now);
    let awaited = "0/1 nodes are available: 1 Insufficient cpu. \
                   preemption: not eligible due to a terminating pod on the nominated node.";
    assert_eq!(world.all(), [awaited]);
    // What is left then is the first one's, as far as others are not more important.
    world.pod(&weighty("less", 9, "1"));
    world.gone("low");
    world.now += Duration::from_secs(10);
    assert_eq!(world.all()[0], "p on n");
    world.gone("p");
    world.now += Duration::from_secs(10);
    assert_eq!(world.all(), ["less on n"]);
}

#[test]
fn room_that_is_kept_for_a_pod_is_taken_by_more_important_ones_only() {
    let world = || {
        let mut world = World::default();
        world.node(&node("n", "", ""));
        world.there(&weighty("low", 1, "2"), "n");
        world.pod(&weighty("p", 10, "2"));
        let decision = world.scheduler.next(world.now, 1000).unwrap();
        world.there(&going(&weighty("low", 1, "2")), "n");
        world.scheduler.ended(&decision, true, world.now);
        // Looked at once more in vain: now it pauses.
        world.node(&node("n", "new: label", ""));
        world.all();
        world.gone("low");
        world
    };
    let mut kept = world();
    kept.pod(&weighty("less", 9, "1"));
    let decided = kept.all();
    assert_eq!((decided.len(), reasons(&decided[0])), (1, "1 Insufficient cpu"));
    kept.now += Duration::from_secs(1);
    assert_eq!(kept.all(), ["p on n"]);
    let mut taken = world();
    taken.pod(&weighty("more", 11, "2"));
    assert_eq!(taken.all(), ["more on n"]);
}

#[test]
fn nobody_goes_for_who_does_not_want_it() {
    let mut world = World::default();
    world.node(&node("n", "", ""));
    world.there(&weighty("low", 1, "2"), "n");
    let mut modest = weighty("p", 10, "2");
    modest["spec"]["preemptionPolicy"] = "Never".into();
    world.pod(&modest);
    let never = "0/1 nodes are available: 1 Insufficient cpu. \
                 preemption: not eligible due to preemptionPolicy=Never.";
    assert_eq!(world.all(), [never]);
}

#[test]
fn a_node_is_kept_over_a_restart_and_given_up_when_it_does_not_help() {
    let mut world = World::default();
    world.node(&node("m", "", ""));
    world.node(&node("n", "", ""));
    let mut kept = weighty("p", 10, "2");
    kept["status"]["nominatedNodeName"] = "n".into();
    world.pod(&kept);
    world.pod(&weighty("q", 9, "1"));
    // The other node is as good, and first by name.
    assert_eq!(world.all(), ["p on n", "q on m"]);
    // Nobody can go for this one, and the node that was kept for it is gone.
    let mut lost = weighty("r", 0, "2");
    lost["status"]["nominatedNodeName"] = "gone".into();
    world.pod(&lost);
    let decision = world.scheduler.next(world.now, 1000);
    assert!(matches!(&decision, Some(Decision::Tell(_, told)) if told.nominated.is_none()), "{decision:?}");
}

#[test]
fn what_could_not_be_written_is_decided_again() {
    let mut world = World::default();
    world.node(&node("n", "", ""));
    world.there(&weighty("low", 1, "2"), "n");
    world.pod(&weighty("p", 10, "2"));
    let decision = world.scheduler.next(world.now, 1000).unwrap();
    world.scheduler.ended(&decision, false, world.now);
    assert_eq!(world.all(), Vec::<String>::new());
    world.now = world.scheduler.next_time().expect("it is looked at again");
    assert_eq!(world.all(), ["p instead of [low] on n"]);
    world.gone("p");
    world.gone("low");
    world.scheduler.forget_node(&Key::new("", "n"));
    assert!(world.scheduler.is_empty());
}

/// Pods on a node: priority, half processors, whether a budget protects it.
type Pods = Vec<(i32, u32, bool)>;

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn victims_are_less_important_no_more_than_need_be_and_budgets_count_first(
        nodes in prop::collection::vec(prop::collection::vec((0..5i32, 0..4u32, any::<bool>()), 0..5), 1..5),
        (priority, cpu) in (0..6i32, 1..5u32),
    ) {
        let mut world = World::default();
        let nodes: Vec<Pods> = nodes;
        for (number, pods) in nodes.iter().enumerate() {
            world.node(&node(&format!("n{number}"), "", ""));
            for (index, (priority, halves, protected)) in pods.iter().enumerate() {
                let mut pod = weighty(&format!("p{number}-{index}"), *priority, &format!("{}m", halves * 500));
                pod["metadata"]["labels"] = json!({"app": if *protected { "held" } else { "free" }});
                world.there(&pod, &format!("n{number}"));
            }
        }
        world.budget("held", 0);
        world.pod(&weighty("p", priority, &format!("{}m", cpu * 500)));
        let of = |name: &str| {
            let (number, index) = name[1..].split_once('-').unwrap();
            nodes[number.parse::<usize>().unwrap()][index.parse::<usize>().unwrap()]
        };
        let violations = |victims: &[Key]| victims.iter().filter(|key| of(key.name()).2).count();
        let before = world.scheduler.held();
        let (key, demand) = world.scheduler.waiting.take(Duration::ZERO).unwrap();
        let scheduler = &mut world.scheduler;
        let all: Vec<_> = scheduler.cluster.nodes().map(|(id, ..)| id).collect();
        let mut look = |among: &[_]| preempt((&key, &demand), &mut scheduler.cluster, among, &scheduler.budgets, &|_| None);
        if let Ok((node, victims)) = look(&all) {
            let used = |pods: &Pods, gone: &[usize]| -> u32 {
                pods.iter().enumerate().filter(|(index, _)| !gone.contains(index)).map(|(_, pod)| pod.1).sum()
            };
            let index = |key: &Key| key.name().split_once('-').unwrap().1.parse::<usize>().unwrap();
            let gone: Vec<usize> = victims.iter().map(index).collect();
            let pods = &nodes[node.0];
            prop_assert!(gone.iter().all(|index| pods[*index].0 < priority));
            prop_assert!(used(pods, &gone) + cpu <= 4);
            for kept in 0..gone.len() {
                let fewer = [&gone[..kept], &gone[kept + 1..]].concat();
                prop_assert!(used(pods, &fewer) + cpu > 4, "{:?} could stay", pods[gone[kept]]);
            }
            for other in &all {
                if let Ok((_, others)) = look(&[*other]) {
                    prop_assert!(violations(&victims) <= violations(&others));
                }
            }
        }
        prop_assert_eq!(world.scheduler.held(), before);
    }
}

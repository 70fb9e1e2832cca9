//! StatefulSets in the same world, and what may happen to any set.

use super::*;

const SETS: &str = "apps/statefulsets";
const CLAIMS: &str = "/persistentvolumeclaims";
pub(super) const REVISIONS: &str = "apps/controllerrevisions";

fn stateful_set(replicas: u64, policy: &str, most: Option<u64>) -> Value {
    let claim = json!({"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}});
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "web", "namespace": "n"},
        "spec": {
            "replicas": replicas, "podManagementPolicy": policy, "revisionHistoryLimit": 2, "serviceName": "web",
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0, "maxUnavailable": most}},
            "selector": {"matchLabels": {"app": "x"}}, "template": template("i0"), "volumeClaimTemplates": [claim],
        },
        "status": {},
    })
}

impl World {
    /// What may happen to any set; tells whether this was that.
    pub(super) fn happens(&mut self, web: &Target, (what, which): (u8, usize)) -> bool {
        match what {
            0..=9 => self.step(which, false),
            10 => self.step(which, true),
            11..=15 => self.node(which, false),
            16 => self.node(which, true),
            17 => self.restart(),
            18 => self.edit(web, "", |web| {
                web["spec"]["template"]["spec"]["containers"][0]["image"] = format!("i{}", which % 4).into();
            }),
            19 => {
                let pods = self.list(PODS);
                if let Some(pod) = pods.get(which % pods.len().max(1)) {
                    self.delete(&target("v1", "Pod", object::name(pod)), None);
                }
            }
            20 => self.seconds += which as u64,
            _ => return false,
        }
        true
    }

    /// The pods that run, and their images.
    pub(super) fn running(&self, by: impl Fn(&Value) -> String) -> Vec<String> {
        let runs = |pod: &Value| pod["status"]["phase"] == "Running" && !object::deleting(pod);
        let all = self.list(PODS).into_iter().filter(runs);
        let image = |pod: &Value| pod["spec"]["containers"][0]["image"].as_str().unwrap().to_owned();
        all.map(|pod| format!("{} {}", by(&pod), image(&pod))).collect()
    }

    /// The set goes, and what it made.
    pub(super) fn end(&mut self, web: &Target) -> Result<(), TestCaseError> {
        self.delete(web, Some(Propagation::Foreground));
        self.settle();
        prop_assert!(self.list(PODS).is_empty() && self.list(REVISIONS).is_empty());
        Ok(())
    }
}

fn play_stateful(
    mut wanted: u64,
    (policy, most): (&str, Option<u64>),
    steps: &[(u8, usize)],
) -> Result<Vec<String>, TestCaseError> {
    let mut world = World::new();
    world.create(stateful_set(wanted, policy, most));
    let web = target("apps/v1", "StatefulSet", "web");
    let mut highest = wanted;
    for (what, which) in steps {
        if !world.happens(&web, (*what, *which)) {
            wanted = (which % 6) as u64;
            world.edit(&web, "", |web| web["spec"]["replicas"] = wanted.into());
            highest = highest.max(wanted);
        }
    }
    world.settle();
    let set = world.list(SETS).remove(0);
    let image = set["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap();
    let expected: Vec<String> = (0..wanted).map(|ordinal| format!("web-{ordinal} {image}")).collect();
    prop_assert_eq!(world.running(|pod| object::name(pod).to_owned()), expected);
    let status = &set["status"];
    prop_assert_eq!(status["availableReplicas"].as_u64(), Some(wanted));
    prop_assert_eq!(&status["currentRevision"], &status["updateRevision"]);
    let claims = world.list(CLAIMS).len() as u64;
    prop_assert!(wanted <= claims && claims <= highest);
    prop_assert!(world.list(REVISIONS).len() <= 3);
    world.end(&web)?;
    // What was kept in them outlives the set.
    prop_assert_eq!(world.list(CLAIMS).len() as u64, claims);
    Ok(world.told)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn stateful_sets_end_as_they_should_and_each_time_alike(
        replicas in 0u64..5,
        policy in prop::sample::select(vec![("OrderedReady", None), ("Parallel", None), ("OrderedReady", Some(2)), ("Parallel", Some(2))]),
        steps in prop::collection::vec((0u8..22, 0usize..1000), 0..150),
    ) {
        let told = play_stateful(replicas, policy, &steps)?;
        prop_assert_eq!(told, play_stateful(replicas, policy, &steps)?);
    }
}

//! One CronJob through its times.

use super::*;

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

struct World {
    cron: Value,
    jobs: Vec<Started>,
    now: Timestamp,
    said: Vec<String>,
    names: usize,
}

impl World {
    fn new(spec: Value) -> World {
        let mut cron = json!({
            "metadata": {"name": "c", "namespace": "n", "uid": "cron", "creationTimestamp": "2026-03-01T10:00:30Z"},
            "spec": {
                "schedule": "* * * * *", "concurrencyPolicy": "Allow", "successfulJobsHistoryLimit": 3,
                "failedJobsHistoryLimit": 1,
                "jobTemplate": {"metadata": {"labels": {"a": "b"}}, "spec": {"completions": 1}},
            },
            "status": {},
        });
        cron["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        World { cron, jobs: Vec::new(), now: time("2026-03-01T10:00:30Z"), said: Vec::new(), names: 0 }
    }

    /// Until nothing is to be done; when to look again.
    fn settle(&mut self) -> Option<Timestamp> {
        for _ in 0..100 {
            let at = Target {
                api_version: "batch/v1".into(),
                kind: "CronJob".into(),
                namespace: "n".into(),
                name: "c".into(),
            };
            let cron = Workload::new(at, self.cron.clone(), 1);
            let actions = reconcile(&cron, &self.jobs, self.now);
            self.said.extend(actions.said.iter().map(|said| said.reason.to_owned()));
            if actions.actions.is_empty() {
                return actions.wake_at;
            }
            for action in actions.actions {
                self.said.extend(action.done.map(|said| said.message));
                match action.write {
                    Write::Create(mut object) => {
                        self.names += 1;
                        object["metadata"]["uid"] = format!("job-{}", self.names).into();
                        object["status"]["startTime"] = written(self.now).into();
                        let at = Target {
                            api_version: "batch/v1".into(),
                            kind: "Job".into(),
                            namespace: "n".into(),
                            name: object::name(&object).to_owned(),
                        };
                        self.jobs.push(Started { at, object, revision: 7 });
                    }
                    Write::Edit { edit, .. } => edit.apply(&mut self.cron),
                    Write::Delete { at, .. } | Write::Remove { at, .. } => {
                        self.jobs.retain(|job| job.at.name != at.name)
                    }
                }
            }
        }
        panic!("it does not come to rest: {:?}", self.said);
    }

    fn at(&mut self, now: &str) -> Option<Timestamp> {
        self.now = time(now);
        self.settle()
    }

    fn end(&mut self, which: usize, how: &str) {
        let status = &mut self.jobs[which].object["status"];
        status["conditions"] = json!([{"type": how, "status": "True"}]);
        status["completionTime"] = written(self.now).into();
        self.settle();
    }

    fn active(&self) -> usize {
        self.cron["status"]["active"].as_array().map_or(0, Vec::len)
    }

    fn told(&self, reason: &str) -> usize {
        self.said.iter().filter(|said| *said == reason).count()
    }
}

#[test]
fn a_job_is_made_at_each_time() {
    let mut world = World::new(json!({}));
    assert_eq!(world.settle(), Some(time("2026-03-01T10:01:00Z")));
    assert_eq!(world.jobs.len(), 0);
    assert_eq!(world.at("2026-03-01T10:01:00Z"), Some(time("2026-03-01T10:02:00Z")));
    let job = &world.jobs[0];
    assert_eq!(job.at.name, format!("c-{}", world.now.as_second() / 60));
    assert_eq!(job.object["metadata"]["annotations"][SCHEDULED], "2026-03-01T10:01:00Z");
    assert_eq!(job.object["metadata"]["ownerReferences"][0]["name"], "c");
    assert_eq!(
        (world.active(), &world.cron["status"]["lastScheduleTime"]),
        (1, &json!("2026-03-01T10:01:00Z"))
    );
    assert_eq!(world.cron["status"]["active"][0]["resourceVersion"], "7");
    assert_eq!(world.told("UnexpectedJob"), 0);
    // It is not made again, even if it goes.
    world.end(0, "Complete");
    assert_eq!(
        (world.active(), &world.cron["status"]["lastSuccessfulTime"]),
        (0, &json!("2026-03-01T10:01:00Z"))
    );
    world.jobs.clear();
    world.at("2026-03-01T10:01:59Z");
    assert_eq!(world.jobs.len(), 0);
    world.at("2026-03-01T10:04:10Z");
    assert_eq!(world.jobs.len(), 1);
    assert_eq!((world.told("SawCompletedJob"), world.told("MissingJob")), (1, 0));
}

#[test]
fn a_job_that_the_status_does_not_know_is_found() {
    let mut world = World::new(json!({}));
    world.at("2026-03-01T10:01:00Z");
    // As if podbox had ended between the two.
    world.cron["status"] = json!({});
    world.at("2026-03-01T10:01:05Z");
    assert_eq!((world.jobs.len(), world.active()), (1, 1));
}

#[test]
fn a_job_that_somebody_else_made_for_it_is_told_of() {
    let mut world = World::new(json!({"concurrencyPolicy": "Forbid"}));
    world.at("2026-03-01T10:01:00Z");
    let Started { at, mut object, revision } = world.jobs[0].clone();
    world.end(0, "Complete");
    // As `kubectl create job --from` makes it.
    object["metadata"]["annotations"] = json!({"cronjob.kubernetes.io/instantiate": "manual"});
    object["metadata"]["uid"] = "by hand".into();
    world.jobs.push(Started { at: Target { name: "by-hand".into(), ..at }, object, revision });
    world.at("2026-03-01T10:01:30Z");
    assert_eq!((world.told("UnexpectedJob"), world.active()), (1, 0));
    // It forbids none.
    world.at("2026-03-01T10:02:00Z");
    assert_eq!(world.active(), 1);
}

#[test]
fn jobs_that_ended_are_kept_as_long_as_they_are_to_be() {
    let mut world = World::new(json!({"successfulJobsHistoryLimit": 1}));
    for minute in 1..4 {
        world.at(&format!("2026-03-01T10:0{minute}:00Z"));
        world.end(world.jobs.len() - 1, if minute == 2 { "Failed" } else { "Complete" });
    }
    assert_eq!(world.jobs.len(), 2);
    assert_eq!(world.jobs[1].object["metadata"]["annotations"][SCHEDULED], "2026-03-01T10:03:00Z");
}

#[test]
fn those_at_work_are_waited_for_or_replaced() {
    let mut world = World::new(json!({"concurrencyPolicy": "Forbid"}));
    world.at("2026-03-01T10:01:00Z");
    world.at("2026-03-01T10:02:00Z");
    assert_eq!((world.jobs.len(), world.told("JobAlreadyActive")), (1, 1));
    // What was held up is made up for.
    world.end(0, "Complete");
    assert_eq!((world.jobs.len(), world.active()), (2, 1));

    let mut world = World::new(json!({"concurrencyPolicy": "Replace"}));
    world.at("2026-03-01T10:01:00Z");
    world.at("2026-03-01T10:02:00Z");
    assert_eq!((world.jobs.len(), world.active(), world.names), (1, 1, 2));
    assert_eq!(world.cron["status"]["active"][0]["uid"], "job-2");

    let mut world = World::new(json!({}));
    world.at("2026-03-01T10:01:00Z");
    world.at("2026-03-01T10:02:00Z");
    assert_eq!((world.jobs.len(), world.active()), (2, 2));
}

#[test]
fn what_is_too_late_is_left_out() {
    let mut world = World::new(json!({"schedule": "0 * * * *", "startingDeadlineSeconds": 600}));
    world.at("2026-03-01T12:10:01Z");
    assert_eq!(world.jobs.len(), 0);
    world.at("2026-03-01T13:09:59Z");
    assert_eq!(world.jobs.len(), 1);
    let mut world = World::new(json!({}));
    world.at("2026-03-01T13:10:00Z");
    assert_eq!((world.jobs.len(), world.told("TooManyMissedTimes")), (1, 1));
    let mut world = World::new(json!({"suspend": true}));
    assert_eq!((world.at("2026-03-01T13:10:00Z"), world.jobs.len()), (None, 0));
}

//! Limits, where the kernel's controllers are at hand; and how long things take.

use crate::host::{ask, isolated};
use podbox::sandbox::runtime::{ExecSpec, ExitStatus, Runtime};
use podbox::sandbox::spec::{CpuMax, Resources};
use std::fs;
use std::time::Duration;

#[test]
fn limits_hold_or_are_named() {
    isolated("limits_hold_or_are_named", |host| async move {
        let engine = host.engine().await;
        let mut pod = host.pod("limited");
        pod.resources.memory_max = Some(64 << 20);
        engine.create_sandbox(&pod).await.unwrap();
        let mut spec = host.script(&pod, "app", "exec sleep 1000");
        spec.resources = Resources {
            memory_min: None,
            cpu_max: Some(CpuMax { quota_us: 50_000, period_us: 100_000 }),
            cpu_weight: Some(50),
            memory_max: Some(16 << 20),
            memory_high: None,
            oom_group: true,
            pids_max: Some(20),
        };
        engine.start(&spec).await.unwrap();
        let missing = engine.unenforced(&spec.resources);
        let enforced = |file: &str| missing.iter().all(|u| u.setting != file);
        let group = host.config.cgroup_root.join("podbox.slice/burstable/poduid-limited/app-0");
        for (file, value) in [
            ("cpu.max", "50000 100000\n"),
            ("cpu.weight", "50\n"),
            ("memory.max", "16777216\n"),
            ("memory.oom.group", "1\n"),
            ("pids.max", "20\n"),
        ] {
            let found = fs::read_to_string(group.join(file)).ok();
            assert_eq!(found.as_deref(), enforced(file).then_some(value), "{file}");
        }
        if enforced("pids.max") {
            let text = ask(
                &engine,
                &spec,
                "for i in 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2; do sleep 9 & done",
            )
            .await;
            assert!(text.contains("can't fork"), "{text}");
        } else {
            eprintln!("SKIPPED limits_hold_or_are_named: no controllers here; checked that they are named");
            assert_eq!(missing.len(), 5);
        }
        engine.remove_sandbox(&pod.pod).await.unwrap();
        assert_eq!(host.left(), Vec::<String>::new());
        engine.close().await.unwrap();
    });
}

/// Prints medians; `--ignored --nocapture` runs it.
#[test]
#[ignore = "a measurement, not a check"]
fn speed() {
    isolated("speed", |host| async move {
        let engine = host.engine().await;
        let mut times: [Vec<Duration>; 5] = Default::default();
        for round in 0..50 {
            let pod = host.pod(&format!("p{round}"));
            let mut at = podbox::clock::instant();
            let mut lap = |index: usize| {
                let now = podbox::clock::instant();
                times[index].push(now - at);
                at = now;
            };
            engine.create_sandbox(&pod).await.unwrap();
            lap(0);
            let spec = host.script(&pod, "app", "exec sleep 1000");
            engine.start(&spec).await.unwrap();
            lap(1);
            let args = vec!["true".to_string()];
            let run = ExecSpec { args, timeout: None, output_limit: 10, alone: false };
            assert_eq!(engine.exec(&spec.container, &run).await.unwrap().status, ExitStatus::Code(0));
            lap(2);
            engine.remove(&spec.container).await.unwrap();
            lap(3);
            engine.remove_sandbox(&pod.pod).await.unwrap();
            lap(4);
        }
        for (name, mut all) in ["create", "start", "exec", "remove", "remove sandbox"].iter().zip(times) {
            all.sort();
            eprintln!("{name:>15}: median {:?}, p99 {:?}", all[all.len() / 2], all[all.len() - 1]);
        }
        engine.close().await.unwrap();
    });
}

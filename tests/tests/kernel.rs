//! What podbox says the kernel did to containers, compared with what the generators caused.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use nix::mount::{MsFlags, mount, umount};
use nix::sys::signal::Signal;
use podbox_tests::events::Events;
use podbox_tests::host::{Host, entries};
use podbox_tests::manifest::{container, pod, script};
use podbox_tests::metrics::{metrics, value};
use podbox_tests::needs;
use podbox_tests::run::limit;
use podbox_tests::wait::wait_until;
use serde_json::Value;

/// A pod whose container starts processes all the time.
fn beacon() -> String {
    pod(
        "beacon",
        &format!("containers: [{}]", script("beacon", "while :; do /bin/testjobs sleep 20; done", "")),
    )
}

/// A volume with the file `go` once the test is ready, for a pod's spec.
fn gate(host: &Host) -> String {
    std::fs::create_dir_all(host.dir.join("gate")).unwrap();
    format!("volumes: [{{name: gate, hostPath: {{path: {:?}}}}}]", host.dir.join("gate"))
}

const GATE: &str = "volumeMounts: [{name: gate, mountPath: /gate}]";
const WAIT: &str = "/bin/testjobs read /gate/go --retry-until 140000; ";

/// The events of a container of this kind.
fn of<'a>(events: &'a [Value], pod: &str, container: &str, kind: &str) -> Vec<&'a Value> {
    let ours =
        |event: &&Value| event["pod"] == pod && event["container"] == container && event["kind"] == kind;
    events.iter().filter(ours).collect()
}

/// The value of a metric with these labels.
#[track_caller]
fn metric(text: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    value(text, name, labels).unwrap_or_else(|| panic!("no {name}{labels:?} in\n{text}"))
}

/// The sum of a metric over all its labels.
fn total(text: &str, name: &str) -> f64 {
    let ours = text.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{')));
    ours.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[test]
fn every_end_and_every_zombie_is_told_as_it_was_and_counted() {
    let test = "every_end_and_every_zombie_is_told_as_it_was_and_counted";
    let Some(()) = needs::file(test, "/sys/kernel/btf/vmlinux") else { return };
    let Some(host) = Host::new(test) else { return };
    // In args, Kubernetes makes one dollar of two.
    let ends = script(
        "ends",
        &format!(
            "{WAIT} /bin/testjobs exit 7; /bin/testjobs abort; /bin/busybox sh -c 'kill -USR1 $$$$'; \
             /bin/busybox sh -c '{exits} exec /bin/testjobs read /gate/told --retry-until 140000'; exit 3",
            exits = ["/bin/testjobs exit 0 &"; 3].join(" "),
        ),
        GATE,
    );
    let again = script(
        "again",
        "[ -e /mark/x ] && exit 0; echo >/mark/x; exit 1",
        "volumeMounts: [{name: m, mountPath: /mark}]",
    );
    let manifest = [
        beacon(),
        pod("a", &format!("restartPolicy: Never, {}, containers: [{ends}]", gate(&host))),
        pod(
            "b",
            &format!(
                "restartPolicy: OnFailure, volumes: [{{name: m, emptyDir: {{}}}}], containers: [{again}]"
            ),
        ),
    ];
    let mut run = host.run(&manifest.concat());
    run.wait_said("default/beacon beacon: Running");
    let mut events = Events::follow(&host, "beacon");
    host.file("gate/go", "");
    // They lie there, for the shell has become a program that takes nobody's end.
    wait_until("its dead are told of", limit(), || of(&events.all(), "a", "ends", "zombie").len() == 3);
    host.file("gate/told", "");
    let first = events.wait("the container's own process ends", |event| {
        event["kind"] == "exit" && event["container"] == "ends" && event["ns_pid"] == 1
    });
    assert_eq!(first["code"], 3, "{first}");
    run.wait_said("default/a ends: Error (3)");
    run.wait_said("default/b again: Completed, restarts: 1");
    // Where their going is seen by what the kernel frees, it is seen a moment after the end.
    let mut text = String::new();
    wait_until("all have gone", limit(), || {
        text = metrics();
        let ours = [("pod", "a"), ("container", "ends")];
        value(&text, "podbox_zombie_lifetime_seconds_count", &ours) == Some(9.0)
    });
    run.signal(Signal::SIGINT);
    run.end().expect(130).says("No record was lost.");
    let events = events.end();
    host.assert_clean();

    let mut ends: Vec<String> = of(&events, "a", "ends", "exit")
        .iter()
        .map(|event| format!("{}/{}", event["code"], event["signal"]))
        .collect();
    ends.sort_unstable();
    let zero = ["0/null"; 5];
    let expected = [&zero[..], &["3/null", "7/null", "null/10", "null/6"]].concat();
    assert_eq!(ends, expected, "{events:#?}");
    assert_eq!(of(&events, "a", "ends", "zombie").len(), 3, "{events:#?}");
    let reaped = of(&events, "a", "ends", "reap");
    assert_eq!(reaped.len(), 3, "{reaped:#?}");
    let lifetimes = reaped.iter().map(|event| event["lifetime_ms"].as_u64().unwrap_or(0));
    // They are told once they are a second old; on a loaded machine the children end late.
    assert!(lifetimes.clone().all(|lifetime| (1000..60_000).contains(&lifetime)), "{reaped:#?}");

    let ours = |key, value| [("pod", "a"), ("container", "ends"), (key, value)];
    let value = |name: &str, key, word| metric(&text, name, &ours(key, word));
    assert_eq!(value("podbox_process_exits_total", "code", "zero"), 5.0);
    assert_eq!(value("podbox_process_exits_total", "code", "nonzero"), 2.0);
    assert_eq!(value("podbox_process_signal_exits_total", "signal", "SIGABRT"), 1.0);
    assert_eq!(value("podbox_process_signal_exits_total", "signal", "SIGUSR1"), 1.0);
    assert_eq!(value("podbox_zombies", "namespace", "default"), 0.0);
    assert_eq!(
        metric(&text, "podbox_container_restarts_total", &[("pod", "b"), ("container", "again")]),
        1.0
    );
    assert_eq!(metric(&text, "podbox_pods", &[("phase", "Running")]), 1.0);
    assert_eq!(metric(&text, "podbox_containers", &[("state", "running")]), 1.0);
    assert_eq!(metric(&text, "podbox_bpf_drops_total", &[("kind", "exit-event")]), 0.0);
    for name in
        ["bpf_program_runs_total", "bpf_program_run_seconds_total", "sandbox_step_duration_seconds_count"]
    {
        assert!(total(&text, &format!("podbox_{name}")) > 0.0, "no {name} in\n{text}");
    }
    assert!(metric(&text, "podbox_pod_start_duration_seconds_count", &[]) >= 3.0);
}

#[test]
fn memory_victims_are_told_with_role_limit_and_trigger() {
    let test = "memory_victims_are_told_with_role_limit_and_trigger";
    let Some(()) = needs::controller(test, "memory") else { return };
    let Some(host) = Host::new(test) else { return };
    let limited = |mib: u32, mounts: &str| {
        format!(
            "resources: {{limits: {{memory: {mib}Mi}}}}, volumeMounts: [{{name: gate, mountPath: /gate}}{mounts}]"
        )
    };
    // The limit is the container's, the victim its child. Beside an idle one: of a lone container, the pod's limit is as
    // low, and the pod's own bookkeeping lets it be hit first.
    let idle = container("idle", "args: [sleep, '3600000'], resources: {limits: {memory: 32Mi}}");
    let own = script(
        "c",
        &format!("{WAIT} exec /bin/testjobs eat 96 --step 4 --every 5 --child"),
        &limited(48, ""),
    );
    // The limit is the pod's: what an ended container left in memory counts there. The largest process is chosen, in
    // another container than the one that wanted more.
    let volumes = gate(&host).replace("volumes: [", "volumes: [{name: m, emptyDir: {medium: Memory}}, ");
    let fill = script(
        "fill",
        "dd if=/dev/zero of=/m/fill bs=1M count=60",
        &limited(80, ", {name: m, mountPath: /m}"),
    );
    let big = script("big", "/bin/testjobs eat 40 --hold 3600000 & wait", &limited(60, ""));
    let small =
        script("small", &format!("{WAIT} /bin/testjobs eat 40 --step 1 --every 5 & wait"), &limited(60, ""));
    let manifest = [
        beacon(),
        pod("own", &format!("restartPolicy: Never, {}, containers: [{own}, {idle}]", gate(&host))),
        pod(
            "shared",
            &format!(
                "restartPolicy: Never, {volumes}, initContainers: [{fill}], containers: [{big}, {small}]"
            ),
        ),
    ];
    let mut run = host.run(&manifest.concat());
    run.wait_for("the big one has eaten", || {
        host.lines("shared", "big", 0).contains(&"ate 40 MiB".to_owned()).then_some(())
    });
    let mut events = Events::follow(&host, "beacon");
    host.file("gate/go", "");
    run.wait_said("default/own c: OOMKilled (137)");
    run.wait_said("default/shared big: OOMKilled (137)");
    run.wait_said("default/shared small: Completed");
    events.wait("an event after all that", |event| event["container"] == "small" && event["ns_pid"] == 1);
    let text = metrics();
    run.signal(Signal::SIGINT);
    run.end().expect(130);
    let events = events.end();
    host.assert_clean();

    for (pod, container, limit, mib, trigger) in
        [("own", "c", "container", 48, "c"), ("shared", "big", "pod", 120, "small")]
    {
        let victims = of(&events, pod, container, "oom");
        assert_eq!(victims.len(), 2, "{victims:#?}");
        let role = |role: &str| *victims.iter().find(|event| event["role"] == role).expect("each role once");
        assert_ne!(role("chosen")["ns_pid"], 1, "the chosen one is not the container's own process");
        assert_eq!(role("group")["ns_pid"], 1);
        let chosen = role("chosen");
        assert_eq!(chosen["limit"], limit, "{chosen}");
        assert_eq!(chosen["limit_bytes"], mib << 20, "{chosen}");
        assert_eq!(chosen["trigger_command"], "testjobs", "{chosen}");
        assert!(chosen["trigger_container"].as_str().unwrap().contains(trigger), "{chosen}");
        for role in ["chosen", "group"] {
            let labels = [("pod", pod), ("container", container), ("role", role)];
            assert_eq!(metric(&text, "podbox_oom_victims_total", &labels), 1.0, "{labels:?}");
        }
        let killed = of(&events, pod, container, "exit");
        assert_eq!(killed.iter().filter(|event| event["signal"] == 9).count(), 2, "{killed:#?}");
    }
    let others = events.iter().filter(|event| event["kind"] == "oom");
    assert_eq!(others.count(), 4, "victims that nobody caused: {events:#?}");
}

#[test]
fn where_the_kernel_describes_no_types_pods_run_and_it_is_said() {
    let test = "where_the_kernel_describes_no_types_pods_run_and_it_is_said";
    let Some(()) = needs::host(test) else { return };
    let Some(()) = needs::file(test, "/sys/kernel/btf/vmlinux") else { return };
    let Some(host) = Host::new(test) else { return };
    // In this test's own mount namespace.
    mount(Some("none"), "/sys/kernel/btf", Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    let doctor = host.podbox().args(["doctor", "-o", "json"]).output().unwrap();
    let report: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    for name in ["BTF", "BPF programs"] {
        let finding = findings.iter().find(|finding| finding["name"] == name).unwrap();
        assert_eq!(finding["state"], "degraded", "{finding}");
    }
    let waits = script("c", &format!("{WAIT} exit 0"), GATE);
    let mut run =
        host.run(&pod("a", &format!("restartPolicy: Never, {}, containers: [{waits}]", gate(&host))));
    run.wait_said("default/a c: Running");
    let text = metrics();
    for signal in ["exits", "oom-victims", "executions"] {
        let state = |state| metric(&text, "podbox_kernel_signal", &[("signal", signal), ("state", state)]);
        assert_eq!((state("absent"), state("live")), (1.0, 0.0), "{signal}");
    }
    host.file("gate/go", "");
    run.end().expect(0);
    umount("/sys/kernel/btf").unwrap();
    host.assert_clean();
}

/// The kernel's description of its types, but that this member of this structure is far behind its end.
fn moved(mut btf: Vec<u8>, structure: &str, member: &str) -> Vec<u8> {
    const STRUCT: u32 = 4;
    const FAR_BITS: u32 = 1 << 20;
    let word = |btf: &[u8], at: usize| u32::from_ne_bytes(btf[at..at + 4].try_into().unwrap());
    let [header, types, length, strings] = [4, 8, 12, 16].map(|at| word(&btf, at) as usize);
    let is = |btf: &[u8], name: u32, text: &str| {
        btf[header + strings + name as usize..].starts_with(format!("{text}\0").as_bytes())
    };
    let (mut at, mut changed) = (header + types, 0);
    while at < header + types + length {
        let (name, info) = (word(&btf, at), word(&btf, at + 4));
        let (kind, count) = ((info >> 24) & 0x1f, (info & 0xffff) as usize);
        let tail = match kind {
            1 | 14 | 17 => 4,
            3 => 12,
            4 | 5 | 15 | 19 => 12 * count,
            6 | 13 => 8 * count,
            _ => 0,
        };
        if kind == STRUCT && is(&btf, name, structure) {
            for found in (at + 12..at + 12 + tail).step_by(12) {
                if is(&btf, word(&btf, found), member) {
                    btf[found + 8..found + 12].copy_from_slice(&FAR_BITS.to_ne_bytes());
                    changed += 1;
                }
            }
        }
        at += 12 + tail;
    }
    assert!(changed > 0, "no {structure}.{member}");
    btf
}

#[test]
fn a_program_that_the_verifier_refuses_takes_only_what_it_tells_and_it_is_said() {
    let test = "a_program_that_the_verifier_refuses_takes_only_what_it_tells_and_it_is_said";
    let Some(()) = needs::host(test) else { return };
    let btf = "/sys/kernel/btf/vmlinux";
    let Some(()) = needs::file(test, btf) else { return };
    let Some(host) = Host::new(test) else { return };
    // The verifier knows this type itself, and what would be read there is none.
    let lying = host.dir.join("vmlinux");
    std::fs::write(&lying, moved(std::fs::read(btf).unwrap(), "css_set", "dfl_cgrp")).unwrap();
    // In this test's own mount namespace.
    mount(Some(&lying), btf, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    let doctor = host.podbox().args(["doctor", "-o", "json"]).output().unwrap();
    let report: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let of = |name: &str| findings.iter().find(|finding| finding["name"] == name).unwrap();
    let refused = of("BPF: senders of signals");
    assert_eq!(refused["state"], "degraded", "{refused}");
    let seen = refused["seen"].as_str().unwrap();
    assert!(seen.contains("refuses tp_btf signal_generate") && seen.contains("css_set"), "{seen}");
    assert_eq!(of("BPF: process exits")["state"], "ok", "{report}");

    let kills = script("c", &format!("{WAIT} /bin/busybox sh -c 'kill -KILL $$$$'; exit 3"), GATE);
    let ends = pod("a", &format!("restartPolicy: Never, {}, containers: [{kills}]", gate(&host)));
    let mut run = host.run(&(beacon() + &ends));
    run.wait_said("default/beacon beacon: Running");
    let mut events = Events::follow(&host, "beacon");
    host.file("gate/go", "");
    let killed = events.wait("a process is killed", |event| event["kind"] == "exit" && event["signal"] == 9);
    assert_eq!((&killed["container"], &killed["sender"]), (&Value::from("c"), &Value::Null), "{killed}");
    run.wait_said("default/a c: Error (3)");
    let text = metrics();
    let state =
        |signal, state| metric(&text, "podbox_kernel_signal", &[("signal", signal), ("state", state)]);
    assert_eq!((state("senders", "absent"), state("senders", "live")), (1.0, 0.0));
    assert_eq!((state("exits", "absent"), state("exits", "live")), (0.0, 1.0));
    run.signal(Signal::SIGINT);
    run.end().expect(130);
    umount(btf).unwrap();
    host.assert_clean();
}

#[test]
fn limits_are_written_as_kubernetes_derives_them() {
    let test = "limits_are_written_as_kubernetes_derives_them";
    let Some(()) = needs::controller(test, "memory") else { return };
    let Some(host) = Host::new(test) else { return };
    let resources = "resources: {requests: {cpu: 250m, memory: 32Mi}, limits: {cpu: 500m, memory: 64Mi}}";
    let containers =
        ["a", "b"].map(|name| container(name, &format!("args: [signals], {resources}"))).join(", ");
    let mut run = host.run(&pod("p", &format!("containers: [{containers}]")));
    run.wait_for("both run", || {
        ["a", "b"].iter().all(|name| !host.lines("p", name, 0).is_empty()).then_some(())
    });
    let of_pod = host.pod_cgroup().expect("the pod has a cgroup");
    assert!(of_pod.display().to_string().contains("/burstable/"), "{of_pod:?}");
    let groups: Vec<_> = entries(&of_pod).into_iter().filter(|path| path.is_dir()).collect();
    assert_eq!(groups.len(), 2, "{groups:?}");
    let read = |dir: &std::path::Path, file: &str| {
        std::fs::read_to_string(dir.join(file))
            .unwrap_or_else(|why| panic!("{file}: {why}"))
            .trim()
            .to_owned()
    };
    for group in &groups {
        assert_eq!(read(group, "cpu.max"), "50000 100000");
        // 250m are 256 shares of cgroup v1, brought to v2's scale as OCI runtimes do since 2025.
        assert_eq!(read(group, "cpu.weight"), "35");
        assert_eq!(read(group, "memory.max"), (64 << 20).to_string());
        assert_eq!(read(group, "memory.oom.group"), "1");
        assert_ne!(read(group, "pids.max"), "max", "a container may not take all process ids");
    }
    assert_eq!(read(&of_pod, "cpu.max"), "100000 100000");
    assert_eq!(read(&of_pod, "cpu.weight"), "59");
    assert_eq!(read(&of_pod, "memory.max"), (128 << 20).to_string());
    assert_eq!(read(&of_pod, "memory.oom.group"), "0");
    run.signal(Signal::SIGINT);
    run.end().expect(130);
    host.assert_clean();
}

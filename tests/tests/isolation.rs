//! What a container sees: its namespaces, its environment, its volumes, its rights, and what it shares with its pod.

use podbox_tests::host::Host;
use podbox_tests::manifest::{container, job, pod, script};
use serde_json::Value;

const SOURCES: &str = "\
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {greeting: hello, place: world}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {password: hunter2}
";

const NAMESPACES: &str = "for n in ipc net uts pid mnt; do echo $n=$(readlink /proc/self/ns/$n); done;";

#[test]
fn containers_share_their_pod_and_nothing_else_and_get_what_the_manifest_says() {
    let test = "containers_share_their_pod_and_nothing_else_and_get_what_the_manifest_says";
    let Some(host) = Host::new(test) else { return };
    let mounts =
        "volumeMounts: [{name: d, mountPath: /d}, {name: c, mountPath: /c}, {name: s, mountPath: /s}]";
    let one = script(
        "one",
        &format!("{NAMESPACES} for d in /d /dev/shm; do echo from-one >$d/y; mv $d/y $d/x; done"),
        mounts,
    );
    let look = "/bin/testjobs read /d/x --retry-until 60000; /bin/testjobs read /dev/shm/x --retry-until 60000; \
        /bin/testjobs fetch http://localhost:8080/ --retry-until 60000; \
        cat /c/greeting /s/password; echo; grep -c '^[^ ]* /s tmpfs' /proc/mounts; \
        echo 1 2>/dev/null >/proc/sys/kernel/sysrq || echo sys-refused; \
        mount -t tmpfs none /d 2>/dev/null || echo mount-refused; cat /proc/timer_list 2>/dev/null | wc -c; ls /proc/acpi 2>/dev/null | wc -l";
    let two = script("two", &format!("{NAMESPACES} {look}"), mounts);
    let env = container(
        "env",
        "args: [env], envFrom: [{configMapRef: {name: settings}}], env: [{name: A, value: one}, \
         {name: B, value: '$(A)-$(greeting)-$$(A)'}, {name: P, valueFrom: {secretKeyRef: {name: keys, key: password}}}, \
         {name: N, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]",
    );
    let report = container("report", "args: [report], workingDir: /made/here");
    let sidecar = job("web", "http 8080").replacen('{', "{restartPolicy: Always, ", 1);
    let spec = format!(
        "restartPolicy: Never, volumes: [{{name: d, emptyDir: {{}}}}, {{name: c, configMap: {{name: settings}}}}, \
         {{name: s, secret: {{secretName: keys}}}}], initContainers: [{sidecar}], containers: [{one}, {two}, {env}, {report}]"
    );
    host.run(&format!("{SOURCES}{}", pod("iso", &spec))).end().expect(0);
    host.assert_clean();

    let (one, two) = (host.lines("iso", "one", 0), host.lines("iso", "two", 0));
    assert_eq!(one[..3], two[..3], "IPC, network and UTS are the pod's");
    assert!(one[3] != two[3] && one[4] != two[4], "PID and mounts are each one's own: {one:?} {two:?}");
    assert_eq!(
        two[5..],
        [
            "from-one",
            "from-one",
            "hello from iso",
            "hellohunter2",
            "1",
            "sys-refused",
            "mount-refused",
            "0",
            "0"
        ]
    );
    let env = host.lines("iso", "env", 0);
    for line in
        ["A=one", "B=one-hello-$(A)", "P=hunter2", "N=iso", "greeting=hello", "place=world", "HOSTNAME=iso"]
    {
        assert!(env.contains(&line.to_owned()), "no {line} in {env:?}");
    }
    let report: Value = serde_json::from_str(&host.lines("iso", "report", 0).concat()).unwrap();
    assert_eq!(report["hostname"], "iso");
    assert_eq!(report["pid"], 1);
    assert_eq!(report["cwd"], "/made/here");
    assert_eq!(report["seccomp"], 2, "the default filter is on");
    assert_eq!(report["cap_eff"], "00000000a80425fb", "the ecosystem's default set");
    assert_eq!(report["cap_bnd"], "00000000a80425fb");
    assert_eq!(report["cap_inh"], "0000000000000000");
}

#[test]
fn what_follows_a_containers_end_is_what_the_restart_policy_says() {
    let test = "what_follows_a_containers_end_is_what_the_restart_policy_says";
    let Some(host) = Host::new(test) else { return };
    let mark = "volumes: [{name: m, emptyDir: {}}]";
    let once =
        script("c", "[ -e /m/x ] && exit 0; echo >/m/x; exit 5", "volumeMounts: [{name: m, mountPath: /m}]");
    let manifest = [
        pod("never", &format!("restartPolicy: Never, containers: [{}]", job("c", "exit 3"))),
        pod("onfailure", &format!("restartPolicy: OnFailure, {mark}, containers: [{once}]")),
        pod(
            "init",
            &format!(
                "restartPolicy: Never, initContainers: [{}, {}], containers: [{}]",
                job("good", "lines 1"),
                job("bad", "exit 4"),
                job("c", "lines 1")
            ),
        ),
    ];
    let ended = host.run(&manifest.concat()).end().expect(1);
    host.assert_clean();
    let ended = ended.says("default/never c: Error (3)").says("default/onfailure c: Completed, restarts: 1");
    ended.says("default/init bad: Error (4)").says("default/init good: Completed");
    assert_eq!(host.lines("init", "good", 0), ["line 1"]);
    assert!(host.log("init", "c", 0).is_empty(), "it ran after a failed init container");

    let mut run = host.run(&pod("always", &format!("containers: [{}]", job("c", "lines 1"))));
    run.wait_for("it ran twice", || (host.lines("always", "c", 1) == ["line 1"]).then_some(()));
    run.signal(nix::sys::signal::Signal::SIGINT);
    run.end().expect(130);
    host.assert_clean();
}

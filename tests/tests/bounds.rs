//! What one container, or one that hangs, can do to the node and to others: nothing that lasts.

use std::fs;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podbox_tests::comeback::{Node, container, phase, script, spec};
use podbox_tests::host::entries;
use podbox_tests::run::limit;
use podbox_tests::wait::wait_until;
use serde_json::{Value, json};

const STEADY: &str = "exec /bin/testjobs lines 1000000 --every 100";

fn named(name: &str, text: &str) -> Value {
    let mut container = script(text);
    container["name"] = name.into();
    container
}

#[test]
fn an_end_is_told_though_another_container_holds_its_output_open() {
    let test = "an_end_is_told_though_another_container_holds_its_output_open";
    let Some(mut node) = Node::start(test) else { return };
    // In args, Kubernetes makes one dollar of two.
    let ends = "echo $$$$ > /v/pid; until [ -e /v/held ]; do sleep 0.05; done; echo last; touch /v/last; printf unfinished; exit 7";
    // Once the end is told nobody reads what it writes: that is not to end it.
    let holds = "trap '' PIPE; until [ -s /v/pid ]; do sleep 0.05; done; read pid < /v/pid; \
                 exec 9>/proc/$pid/fd/1 && touch /v/held; until [ -e /v/last ]; do sleep 0.05; done; while sleep 0.2; do echo foreign >&9; done; sleep 3600";
    let mut pod = spec("Never", "");
    pod["shareProcessNamespace"] = true.into();
    pod["containers"] = json!([named("ends", ends), named("holds", holds)]);
    node.create("shared", pod);
    let pod =
        node.wait("shared", "has told the end", |pod| container(pod)["state"]["terminated"] != Value::Null);
    assert_eq!(container(&pod)["state"]["terminated"]["exitCode"], 7);
    assert_eq!(phase(&pod), "Running", "the other one goes on");
    let lines = node.host.lines("shared", "ends", 0);
    assert_eq!(lines.first().map(String::as_str), Some("last"), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("unfinished")), "{lines:?}");
    node.stop();
}

#[test]
fn what_a_container_writes_into_its_hosts_file_is_on_disk_and_counted() {
    let test = "what_a_container_writes_into_its_hosts_file_is_on_disk_and_counted";
    let Some(mut node) = Node::start(test) else { return };
    let text = "/bin/testjobs lines 1000000 > /etc/hosts; /bin/testjobs lines 100000 > /dev/termination-log; sleep 3600";
    let mut pod = spec("Never", text);
    pod["containers"][0]["resources"] = json!({"limits": {"ephemeral-storage": "4Mi"}});
    let uid = node.create("fills", pod);
    let pod = node.wait("fills", "is evicted", |pod| pod["status"]["reason"] == "Evicted");
    let message = "Pod ephemeral local storage usage exceeds the total limit of containers 4Mi. ";
    assert_eq!(pod["status"]["message"], message);
    let in_memory = node.host.dir.join("run/pods").join(&uid);
    let bytes: u64 =
        files(&in_memory).iter().filter_map(|path| fs::metadata(path).ok()).map(|file| file.len()).sum();
    assert!(bytes < 1 << 20, "{bytes} bytes in {}", in_memory.display());
    node.stop();
}

fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let (dirs, mut files): (Vec<_>, Vec<_>) = entries(dir).into_iter().partition(|path| path.is_dir());
    files.extend(dirs.iter().flat_map(|dir| self::files(dir)));
    files
}

#[test]
fn a_start_that_hangs_keeps_the_next_daemon_from_nothing() {
    let test = "a_start_that_hangs_keeps_the_next_daemon_from_nothing";
    let (Some(()), Some(mut node)) = (podbox_tests::needs::host(test), Node::start(test)) else { return };
    let steady = node.create("steady", spec("Always", STEADY));
    let mut pod = spec("Always", STEADY);
    pod["initContainers"] =
        json!([named("first", "[ -e /v/go ] && exit 0; exec /bin/testjobs sleep 3600000")]);
    let uid = node.create("hangs", pod);
    let first = |pod: &Value| pod["status"]["initContainerStatuses"][0]["state"]["running"] != Value::Null;
    node.wait("hangs", "begins", first);
    node.wait("steady", "is ready", |pod| container(pod)["ready"] == true);
    // What is frozen can be killed, and what is started there does not come to its program.
    let cgroup = node.cgroup(&uid);
    fs::write(cgroup.join("cgroup.freeze"), "1").expect("a pod can be frozen");
    wait_until("it is frozen", limit(), || {
        fs::read_to_string(cgroup.join("cgroup.events")).unwrap_or_default().contains("frozen 1")
    });
    let processes = |run: &str| fs::read_to_string(cgroup.join(run).join("cgroup.procs")).unwrap_or_default();
    let pid = processes("first-0").lines().next().and_then(|pid| pid.parse().ok()).expect("it runs");
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it is there");
    wait_until("the next run is being started", limit(), || !processes("first-1").is_empty());
    let before = node.pid(&steady);
    node.end(Signal::SIGKILL);
    node.serve();
    assert_eq!((node.pid(&steady), processes("first-1").as_str()), (before, ""));
    let said = node.run.as_ref().expect("it runs").complained();
    assert!(said.contains("was starting hangs"), "{said}");
    let pod = node.pod("steady");
    assert_eq!((&container(&pod)["ready"], &container(&pod)["restartCount"]), (&json!(true), &json!(0)));
    fs::write(node.host.dir.join("state/pods").join(&uid).join("volume-v/go"), "")
        .expect("its volume is there");
    fs::write(cgroup.join("cgroup.freeze"), "0").expect("a pod can be thawed");
    node.wait("hangs", "is ready", |pod| container(pod)["ready"] == true);
    node.stop();
}

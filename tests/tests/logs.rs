//! Logs as kubectl asks for them: of the run before, by age and by size, and of a container that writes more than one file.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use podbox_tests::host::{Host, entries};
use podbox_tests::needs;
use podbox_tests::node::Node;
use podbox_tests::pods::{container, pod, script};
use podbox_tests::run::limit;
use podbox_tests::wait::wait_until;
use serde_json::json;

#[test]
fn logs_are_had_of_the_run_before_by_age_and_size_and_whole_while_files_are_rotated() {
    let test = "logs_are_had_of_the_run_before_by_age_and_size_and_whole_while_files_are_rotated";
    let Some(()) = needs::host(test) else { return };
    let Some(()) = needs::program(test, "kubectl") else { return };
    let Some(mut host) = Host::new(test) else { return };
    host.set("PODBOX_RESTART_BACKOFF_MAX", "1");
    let node = Node::on(host);
    // One line per run; the second one goes on after it.
    let text = "touch /v/runs; echo run $(grep -c . /v/runs || true); echo x >>/v/runs; \
                [ $(grep -c . /v/runs) = 2 ] && exec sleep 1000000; exit 1";
    let own = json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]});
    let twice = json!({"containers": [script("c", text, own)], "volumes": [{"name": "v", "emptyDir": {}}]});
    // 16 MiB, where a file has ten at most; it begins when it is told to.
    let text = "echo line 0; until [ -e /go ]; do sleep 0.05; done; exec /bin/testjobs lines 300000";
    let much = json!({"restartPolicy": "Never", "containers": [script("c", text, json!({}))]});
    node.create_all(&[pod("twice", twice), pod("much", much)]);

    let logs = |args: &[&str]| node.kubectl(&[&["logs", "twice"], args].concat());
    node.wait_pod("twice", "runs again", |pod| {
        container(pod, "c")["restartCount"] == 1 && container(pod, "c")["ready"] == true
    });
    wait_until("it has written", limit(), || !logs(&[]).is_empty());
    assert_eq!(logs(&[]), "run 1\n");
    assert_eq!(logs(&["--previous"]).trim_end(), "run 0");
    assert_eq!(logs(&["--limit-bytes=3"]), "run");
    assert_eq!(logs(&["--since=1h"]), "run 1\n");
    assert_eq!(logs(&["--since-time=2200-01-01T00:00:00Z"]), "");
    assert_eq!(logs(&["--tail=0"]), "");
    let stamped = logs(&["--timestamps"]);
    let (stamp, line) = stamped.split_once(' ').unwrap_or_default();
    assert!(stamp.contains('T') && stamp.ends_with('Z') && line == "run 1\n", "{stamped}");
    let missing =
        node.client("kubectl").args(["logs", "much", "--previous"]).output().expect("kubectl starts");
    let said = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(said.contains("previous terminated container \"c\" in pod \"much\" not found"), "{said}");

    node.wait_pod("much", "runs", |pod| container(pod, "c")["ready"] == true);
    let mut following = node.client("kubectl");
    following.args(["logs", "--follow", "much"]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut following = following.spawn().expect("kubectl starts");
    let mut followed = BufReader::new(following.stdout.take().expect("it is piped"));
    let mut lines = String::new();
    followed.read_line(&mut lines).expect("it is text");
    // Whoever comes later is shown the newest file alone.
    node.kubectl(&["exec", "much", "--", "/bin/busybox", "touch", "/go"]);
    followed.read_to_string(&mut lines).expect("it is text");
    assert!(following.wait().expect("it is our child").success());
    let whole: String = (0..=300_000).map(|number| format!("line {number}\n")).collect();
    assert!(lines == whole, "{} lines, the last one {:?}", lines.lines().count(), lines.lines().last());
    let uid = node.kubectl(&["get", "pod", "much", "-o", "jsonpath={.metadata.uid}"]);
    let dir = node.host.dir.join(format!("logs/default_much_{uid}/c"));
    assert!(entries(&dir).len() > 1, "its log was rotated");
}

//! A node whose disk is too full: which images go, which pods, in which order, and what is said of it.

use std::fs;

use nix::sys::signal::Signal;
use nix::sys::statvfs::statvfs;
use podbox_tests::busybox::{self, NAMES};
use podbox_tests::host::IMAGE;
use podbox_tests::needs;
use podbox_tests::node::Node;
use podbox_tests::pods::{STAYS, is_over, is_ready, pod, script};
use podbox_tests::run::limit;
use podbox_tests::wait::{wait_for, wait_until};
use serde_json::json;

#[test]
fn a_full_disk_costs_images_first_and_then_pods_whoever_has_most_first_and_critical_ones_never() {
    let test = "a_full_disk_costs_images_first_and_then_pods_whoever_has_most_first_and_critical_ones_never";
    let Some(()) = needs::host(test) else { return };
    let Some(mut node) = Node::start(test) else { return };
    let Some(()) = busybox::load(test, &node.host) else { return };
    let holds = |kib: u32| {
        let text = format!(
            "/bin/busybox dd if=/dev/zero of=/held bs=1024 count={kib} 2>/dev/null; touch /tmp/up; {STAYS}"
        );
        json!({"containers": [script("c", &text, json!({}))]})
    };
    let used = json!({"name": "c", "image": NAMES[0], "imagePullPolicy": "Never"});
    let critical = json!({"priorityClassName": "system-node-critical", "containers": [used]});
    node.create_all(&[pod("critical", critical), pod("much", holds(8192)), pod("little", holds(1024))]);
    for name in ["critical", "much", "little"] {
        node.wait_pod(name, "runs", is_ready);
    }
    for name in ["much", "little"] {
        wait_until("it has written", limit(), || {
            node.client("kubectl")
                .args(["exec", name, "--", "/bin/busybox", "ls", "/tmp/up"])
                .output()
                .is_ok_and(|o| o.status.success())
        });
    }

    // More than one percent of the disk is in use, which is held to be too much.
    let disk = statvfs(&node.host.dir).expect("it is there");
    let ballast = node.host.dir.join("ballast");
    let bytes = disk.blocks() * disk.fragment_size() / 64;
    fs::write(&ballast, vec![1; usize::try_from(bytes).expect("it fits")])
        .expect("the test's tmpfs has room");
    let has = |node: &Node, image: &str| images(node).iter().any(|one| one == image);
    assert!(has(&node, NAMES[1]), "{:?}", images(&node));
    node.host.set("PODBOX_IMAGE_GC_HIGH_THRESHOLD", "1");
    node.host.set("PODBOX_IMAGE_GC_LOW_THRESHOLD", "0");
    node.host.set("PODBOX_MINIMUM_IMAGE_TTL_DURATION", "0s");
    node.restart(Signal::SIGTERM);
    wait_until("the image that nobody uses goes", limit(), || !has(&node, NAMES[1]));
    assert!(has(&node, NAMES[0]) && has(&node, IMAGE), "{:?}", images(&node));
    let name = node.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"]);
    let words = "FreeDiskSpaceFailed Insufficient free disk space on the node's image filesystem (";
    wait_until("it was not enough", limit(), || node.events(&name).contains(words));
    for name in ["critical", "much", "little"] {
        assert!(is_ready(&node.pod(name)), "{name}: {}", node.complained());
    }

    // All of it is never free.
    node.host.set("PODBOX_EVICTION_HARD", "nodefs.available<100%");
    node.restart(Signal::SIGTERM);
    for name in ["much", "little"] {
        let gone = node.wait_pod(name, "has gone", is_over);
        assert_eq!(gone["status"]["reason"], "Evicted");
        let message = gone["status"]["message"].as_str().unwrap_or_default();
        assert!(
            message.starts_with("The node was low on resource: ephemeral-storage. Threshold quantity: "),
            "{message}"
        );
        assert!(message.contains("Container c was using "), "{message}");
    }
    let form = "jsonpath={range .items[*]}{.metadata.resourceVersion} {.involvedObject.name}{\"\\n\"}{end}";
    let told = wait_for("the Events of both", limit(), || {
        let told = node.kubectl(&["get", "events", "--field-selector", "reason=Evicted", "-o", form]);
        (told.lines().count() == 2).then_some(told)
    });
    let mut told: Vec<(u64, &str)> = told
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(revision, name)| (revision.parse().expect("it is a number"), name))
        .collect();
    told.sort_unstable();
    let order: Vec<&str> = told.into_iter().map(|(_, name)| name).collect();
    assert_eq!(order, ["much", "little"]);
    node.kubectl(&["wait", &format!("node/{name}"), "--for=condition=DiskPressure", "--timeout=300s"]);
    assert!(is_ready(&node.pod("critical")), "{}", node.complained());
}

/// The images on the node, as `name:tag`.
fn images(node: &Node) -> Vec<String> {
    let listed = node.host.podbox().args(["image", "ls"]).output().expect("podbox starts");
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    let name = |line: &str| Some(line.split_whitespace().take(2).collect::<Vec<_>>().join(":"));
    text.lines().skip(1).filter_map(name).collect()
}

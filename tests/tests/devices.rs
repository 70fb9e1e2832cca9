//! What lies in a container's `/dev` and `/etc` that its image does not bring, on the real kernel.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use podbox_tests::host::IMAGE;
use podbox_tests::needs;
use podbox_tests::node::Node;
use podbox_tests::run::limit;
use podbox_tests::wait::wait_for;
use serde_json::{Value, json};

/// The host's devices, but for those that a container has of its own: `path type:mode:owner:group:major:minor`.
fn devices(dir: &Path, found: &mut BTreeSet<String>) {
    const OWN: [&str; 9] = ["pts", "shm", "fd", "mqueue", "console", "ptmx", ".lxc", ".lxd-mounts", ".udev"];
    for entry in fs::read_dir(dir).expect("the host's /dev can be read").flatten() {
        let (name, path) = (entry.file_name(), entry.path());
        let Ok(about) = fs::symlink_metadata(&path) else { continue };
        let kind = about.file_type();
        if OWN.iter().any(|own| name == *own) {
            continue;
        }
        if kind.is_dir() {
            devices(&path, found);
        } else if kind.is_char_device() || kind.is_block_device() {
            let (major, minor) = (nix::sys::stat::major(about.rdev()), nix::sys::stat::minor(about.rdev()));
            let (mode, owner, group) = (about.mode(), about.uid(), about.gid());
            found.insert(format!("{} {mode:x}:{owner}:{group}:{major:x}:{minor:x}", path.display()));
        }
    }
}

#[test]
fn a_privileged_container_has_the_hosts_devices_and_volumes_do_not_hide_the_pods_files() {
    let test = "a_privileged_container_has_the_hosts_devices_and_volumes_do_not_hide_the_pods_files";
    let (Some(()), Some(node)) = (needs::capabilities(test), Node::start(test)) else { return };
    let list = "/bin/busybox find /dev \\( -type c -o -type b \\) ! -path '/dev/pts/*' \
        -exec /bin/busybox stat -c '%n %f:%u:%g:%t:%T' '{}' ';'";
    let files = "/bin/busybox grep -c files /etc/hosts; /bin/busybox cat /etc/hostname";
    let pod = |name: &str, text: &str, privileged: bool| {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {
                "restartPolicy": "Never", "volumes": [{"name": "etc", "emptyDir": {}}],
                "containers": [{
                    "name": "c", "image": IMAGE, "imagePullPolicy": "IfNotPresent",
                    "command": ["/bin/busybox", "sh", "-c", text],
                    "securityContext": {"privileged": privileged},
                    "volumeMounts": [{"name": "etc", "mountPath": "/etc"}],
                }],
            },
        })
    };
    let pods = [("all", list, true), ("few", list, false), ("files", files, false)];
    let items = pods.map(|(name, text, privileged)| pod(name, text, privileged));
    let all = json!({"apiVersion": "v1", "kind": "List", "items": items});
    let file = node.host.file("pods.json", all.to_string());
    node.kubectl(&["create", "-f", file.to_str().expect("a plain path")]);
    let ended = |name: &str| -> Value {
        wait_for(&format!("pod {name} has ended"), limit(), || {
            let text = node.kubectl(&["get", "pod", name, "-o", "json"]);
            let pod: Value = serde_json::from_str(&text).expect("kubectl prints JSON");
            matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed")).then_some(pod)
        })
    };
    let printed = |name: &str| -> BTreeSet<String> {
        ended(name);
        node.kubectl(&["logs", name]).lines().map(str::to_owned).collect()
    };
    let mut expected = BTreeSet::new();
    devices(Path::new("/dev"), &mut expected);
    let usual = ["full", "null", "random", "tty", "urandom", "zero"].map(|name| format!("/dev/{name}"));
    let path = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    // Those that every container has are open to all, whoever the host lets use its own.
    let others = |all: BTreeSet<String>| -> BTreeSet<String> {
        all.into_iter().filter(|line| !usual.contains(&path(line))).collect()
    };
    assert_eq!(others(printed("all")), others(expected), "{}", node.complained());
    let few: Vec<String> = printed("few").iter().map(|line| path(line)).collect();
    assert_eq!(few, usual);
    assert_eq!(printed("files"), BTreeSet::from(["1".to_owned(), "files".to_owned()]));
    let status = &ended("files")["status"]["containerStatuses"][0];
    // The token that every pod gets comes after its own.
    assert_eq!(status["volumeMounts"][0], json!({"name": "etc", "mountPath": "/etc"}));
}

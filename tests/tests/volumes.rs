//! Volumes through the API: what they hold, how they follow what they are made of, and what is told of one that cannot
//! be had.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use podbox_tests::manifest::{pod, script};
use podbox_tests::needs;
use podbox_tests::node::Node;
use podbox_tests::pods::container;
use podbox_tests::run::limit;
use podbox_tests::wait::wait_until;
use serde_json::{Value, json};

const STAY: &str = "trap 'exit 0' TERM; while :; do sleep 0.1; done";

fn start(test: &str) -> Option<Node> {
    needs::host(test)?;
    Node::start(test)
}

#[track_caller]
fn apply(node: &Node, manifest: &str) {
    let file = node.host.file("manifest.yaml", manifest);
    node.kubectl(&["apply", "-f", file.to_str().expect("the path is UTF-8")]);
}

#[track_caller]
fn ready(node: &Node, name: &str) {
    node.kubectl(&["wait", &format!("pod/{name}"), "--for=condition=Ready", "--timeout=300s"]);
}

/// What a script prints in a pod's container.
#[track_caller]
fn sh(node: &Node, pod: &str, script: &str) -> String {
    node.kubectl(&["exec", pod, "-c", "c", "--", "/bin/busybox", "sh", "-c", script]).trim_end().to_owned()
}

#[track_caller]
fn becomes(node: &Node, pod: &str, script: &str, expected: &str) {
    let mut last = String::new();
    let same = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wait_until(script, limit(), || {
            // What is not there yet is no failure.
            last = sh(node, pod, &format!("{script}; true"));
            last == expected
        });
    }));
    assert!(same.is_ok(), "{script}: {last:?} is not {expected:?}\n{}", node.complained());
}

/// A pod of one container, `c`, that stays.
fn staying(name: &str, mounts: &str, more: &str, spec: &str) -> String {
    let fields = format!("volumeMounts: [{mounts}]{more}");
    pod(name, &format!("containers: [{}], {spec}", script("c", STAY, &fields)))
}

fn config_map(name: &str, rest: &str) -> String {
    format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n{rest}\n")
}

fn secret(name: &str, text: &str) -> String {
    format!("---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\nstringData: {text}\n")
}

#[test]
fn volumes_follow_what_they_are_made_of() {
    let Some(mut node) = start("volumes_follow_what_they_are_made_of") else { return };
    let mounts =
        ["map", "keys", "down", "all", "fixed", "maybe"].map(|n| format!("{{name: {n}, mountPath: /{n}}}"));
    let part = "{name: map, mountPath: /part, subPath: one}";
    let spec = "securityContext: {runAsUser: 1000, fsGroup: 2000}, volumes: [\
        {name: map, configMap: {name: m}}, \
        {name: keys, secret: {secretName: s, defaultMode: 0400}}, \
        {name: down, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}, \
        {name: all, projected: {sources: [\
            {configMap: {name: m, items: [{key: one, path: deep/one, mode: 0600}]}}, {secret: {name: s}}, \
            {serviceAccountToken: {path: token, audience: vault, expirationSeconds: 600}}, \
            {downwardAPI: {items: [{path: note, fieldRef: {fieldPath: 'metadata.annotations[''note'']'}}]}}]}}, \
        {name: fixed, configMap: {name: f}}, {name: maybe, configMap: {name: later, optional: true}}]";
    let objects = config_map("m", "data: {one: '1', two: '1'}")
        + &config_map("f", "data: {k: old}\nimmutable: true")
        + &secret("s", "{key: s3cret}");
    apply(&node, &(objects + &staying("live", &format!("{}, {part}", mounts.join(", ")), "", spec)));
    ready(&node, "live");
    node.kubectl(&["label", "pod", "live", "colour=red"]);
    node.kubectl(&["annotate", "pod", "live", "note=first"]);
    becomes(&node, "live", "cat /down/labels /all/note", "colour=\"red\"first");
    let modes = "stat -L -c '%a %u:%g' /map/one /keys/key /all/token /all/deep/one /map/..data; \
                 grep -c -E ' /(keys|down|all) tmpfs ' /proc/mounts";
    let expected = "644 0:2000\n440 0:2000\n640 1000:2000\n640 0:2000\n2755 0:2000\n3";
    assert_eq!(sh(&node, "live", modes), expected);
    assert_eq!(sh(&node, "live", "ls /maybe; (echo x >/map/x) 2>&1 | grep -o Read-only"), "Read-only");
    review(&node, &sh(&node, "live", "cat /all/token"));

    // All of a volume at once: who reads both keys of one moment reads the same twice.
    let look = "for i in $(seq 600); do d=$(readlink /map/..data); a=$(cat /map/$d/one /map/$d/two 2>/dev/null) || continue; \
                case $a in 11|22|33|44|55|66|77|88) ;; *) echo torn $a;; esac; done; echo looked";
    let torn = std::thread::scope(|scope| {
        let looking = scope.spawn(|| sh(&node, "live", look));
        for number in 2..=8 {
            apply(&node, &config_map("m", &format!("data: {{one: '{number}', two: '{number}'}}")));
            becomes(&node, "live", "cat /map/two /all/deep/one", &format!("{number}{number}"));
        }
        looking.join().expect("it looked")
    });
    assert_eq!(torn, "looked");
    assert_eq!(sh(&node, "live", "cat /part"), "1", "a subPath keeps what it was");

    apply(&node, &(secret("s", "{key: other}") + &config_map("later", "data: {k: came}")));
    becomes(&node, "live", "cat /keys/key /all/key; cat /maybe/k", "otherothercame");
    node.kubectl(&["delete", "configmap", "f", "later"]);
    apply(&node, &config_map("f", "data: {k: new}"));
    node.kubectl(&["patch", "configmap", "m", "--type=merge", "-p", r#"{"data":{"one":"9","two":null}}"#]);
    becomes(
        &node,
        "live",
        "cat /map/one; ls /map /maybe /fixed; cat /fixed/k",
        "9/fixed:\nk\n\n/map:\none\n\n/maybe:\nold",
    );

    // A volume that cannot be filled any more keeps what it has, and says so.
    node.kubectl(&["delete", "secret", "s"]);
    let told = || node.kubectl(&["describe", "pod", "live"]);
    let gone = "MountVolume.SetUp failed for volume \"keys\" : secret \"s\" not found";
    wait_until("it is told", limit(), || told().contains(gone));
    assert_eq!(sh(&node, "live", "cat /keys/key"), "other");

    let token = sh(&node, "live", "cat /all/token");
    apply(&node, &secret("s", "{key: again}"));
    becomes(&node, "live", "cat /keys/key", "again");
    node.restart(Signal::SIGKILL);
    apply(&node, &secret("s", "{key: after}"));
    becomes(&node, "live", "cat /keys/key /all/key", "afterafter");
    wait_until("it has a token of its own", limit(), || sh(&node, "live", "cat /all/token") != token);
    assert_eq!(restarts(&node, "live"), "0");
}

fn restarts(node: &Node, pod: &str) -> String {
    node.kubectl(&["get", "pod", pod, "-o", "jsonpath={.status.containerStatuses[*].restartCount}"])
}

/// The API says that this token is the pod's, for the audience that was asked for.
#[track_caller]
fn review(node: &Node, token: &str) {
    let review = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
        "spec": {"token": token, "audiences": ["vault"]},
    });
    let file = node.host.file("review.json", review.to_string());
    let answer = node.kubectl(&["create", "-o", "json", "-f", file.to_str().expect("the path is UTF-8")]);
    let answer: Value = serde_json::from_str(&answer).expect("kubectl prints JSON");
    assert_eq!(answer["status"]["user"]["username"], "system:serviceaccount:default:default", "{answer}");
    assert_eq!(answer["status"]["user"]["extra"]["authentication.kubernetes.io/pod-name"], json!(["live"]));
}

#[test]
fn what_is_missing_is_told_and_can_be_mended_without_deleting_the_pod() {
    let test = "what_is_missing_is_told_and_can_be_mended_without_deleting_the_pod";
    let Some(node) = start(test) else { return };
    let mounts = "{name: v, mountPath: /v}";
    let volumes = [
        ("map", "configMap: {name: x}", "configmap \"x\" not found"),
        (
            "key",
            "configMap: {name: some, items: [{key: k, path: k}]}",
            "configmap references non-existent config key: k",
        ),
        ("secret", "secret: {secretName: x}", "secret \"x\" not found"),
        (
            "field",
            "secret: {secretName: some, items: [{key: k, path: k}]}",
            "references non-existent secret key: k",
        ),
        ("parts", "projected: {sources: [{configMap: {name: x}}]}", "configmap \"x\" not found"),
    ];
    let mut all = config_map("some", "data: {a: b}") + &secret("some", "{a: b}");
    for (name, source, _) in volumes {
        all += &staying(name, mounts, "", &format!("volumes: [{{name: v, {source}}}]"));
    }
    let env = |name: &str, env: &str| script(name, STAY, &format!("env: [{{name: V, valueFrom: {env}}}]"));
    let needy = env("needy", "{configMapKeyRef: {name: x, key: k}}");
    all += &pod("env", &format!("containers: [{needy}, {}]", script("c", STAY, "")));
    apply(&node, &all);
    for (name, _, why) in volumes {
        let expected = format!("MountVolume.SetUp failed for volume \"v\" : {why}");
        let told = || node.kubectl(&["describe", "pod", name]);
        let all = [expected.as_str(), "FailedMount", "ContainerCreating"];
        wait_until(&expected, limit(), || {
            let told = told();
            all.iter().all(|word| told.contains(word))
        });
    }
    let waiting = "jsonpath={.status.containerStatuses[?(@.name=='needy')].state.waiting}";
    let state = || node.kubectl(&["get", "pod", "env", "-o", waiting]);
    wait_until("it says why", limit(), || state().contains("configmap \\\"x\\\" not found"));
    assert!(state().contains("CreateContainerConfigError"), "{}", state());
    node.wait_pod("env", "has one that runs", |pod| container(pod, "c")["ready"] == true);
    assert_eq!(sh(&node, "env", "echo unharmed"), "unharmed");

    apply(&node, &(config_map("x", "data: {k: v}") + &secret("x", "{k: v}")));
    apply(&node, &(config_map("some", "data: {k: v}") + &secret("some", "{k: v}")));
    for (name, _, _) in volumes {
        // Well before the kubelet's wait would be over, which doubles each time.
        node.kubectl(&["wait", &format!("pod/{name}"), "--for=condition=Ready", "--timeout=20s"]);
        assert_eq!(sh(&node, name, "cat /v/k"), "v", "{name}");
    }
    ready(&node, "env");
    let names = "jsonpath={.status.containerStatuses[*].restartCount}";
    assert_eq!(node.kubectl(&["get", "pod", "env", "-o", names]), "0 0");
}

#[test]
fn host_paths_are_what_their_type_says_and_claims_lead_to_their_volumes() {
    let test = "host_paths_are_what_their_type_says_and_claims_lead_to_their_volumes";
    let Some(node) = start(test) else { return };
    let dir = node.host.dir.join("paths");
    let at = |name: &str| dir.join(name).display().to_string();
    fs::create_dir_all(dir.join("disk")).expect("a directory");
    fs::write(dir.join("file"), "content").expect("a file");
    let _socket = UnixListener::bind(dir.join("socket")).expect("a socket");
    mknod(&dir.join("block"), SFlag::S_IFBLK, Mode::S_IRUSR, makedev(7, 0)).expect("root makes devices");
    let names = ["file", "new", "born", "socket", "dev", "block"];
    let mounts = names.map(|n| format!("{{name: {n}, mountPath: /m/{n}}}")).join(", ");
    let host = |name: &str, path: &str, kind: &str| {
        format!("{{name: {name}, hostPath: {{path: {path}, type: {kind}}}}}")
    };
    let good = [
        host("file", &at("file"), "File"),
        host("new", &at("made/dir"), "DirectoryOrCreate"),
        host("born", &at("born"), "FileOrCreate"),
        host("socket", &at("socket"), "Socket"),
        host("dev", "/dev/null", "CharDevice"),
        host("block", &at("block"), "BlockDevice"),
    ];
    let kinds = [
        ("FileOrCreate", "a file"),
        ("Socket", "a socket file"),
        ("CharDevice", "a character device"),
        ("BlockDevice", "a block device"),
    ];
    let name = |kind: &str| format!("no-{}", kind.to_lowercase());
    let others = kinds.map(|(kind, _)| {
        let volumes = format!("volumes: [{}]", host("x", &at("disk"), kind));
        staying(&name(kind), "{name: x, mountPath: /x}", "", &volumes)
    });
    let wrong = staying(
        "wrong",
        "{name: x, mountPath: /x}",
        "",
        &format!("volumes: [{}]", host("x", &at("file"), "Directory")),
    );
    let good = staying("good", &mounts, "", &format!("volumes: [{}]", good.join(", ")));
    apply(&node, &(good + &wrong + &others.concat()));
    ready(&node, "good");
    assert_eq!(sh(&node, "good", "cat /m/file; echo made >/m/new/x; echo too >/m/born"), "content");
    let looks = "for is in c:dev b:block S:socket f:born; do test -${is%:*} /m/${is#*:} || echo $is; done";
    assert_eq!(sh(&node, "good", looks), "");
    assert_eq!(fs::read_to_string(dir.join("born")).expect("it was made"), "too\n");
    assert_eq!(fs::read_to_string(dir.join("made/dir/x")).expect("the container made it"), "made\n");
    let why = format!(
        "MountVolume.SetUp failed for volume \"x\" : hostPath type check failed: {} is not a directory",
        at("file")
    );
    wait_until(&why, limit(), || node.kubectl(&["describe", "pod", "wrong"]).contains(&why));
    for (kind, what) in kinds {
        let why = format!("hostPath type check failed: {} is not {what}", at("disk"));
        wait_until(&why, limit(), || node.kubectl(&["describe", "pod", &name(kind)]).contains(&why));
    }
    fs::remove_file(dir.join("file")).expect("it is there");
    fs::create_dir(dir.join("file")).expect("nothing is there");
    ready(&node, "wrong");

    claims(&node, &dir);
}

/// Claims of disks that somebody has set aside, and one that a pod brings along.
fn claims(node: &Node, dir: &Path) {
    let claims = "{name: v, persistentVolumeClaim: {claimName: data}}, {name: h, persistentVolumeClaim: {claimName: named}}";
    let own = "{name: e, ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], resources: \
        {requests: {storage: 1Mi}}}}}}";
    let volumes = format!("volumes: [{claims}, {own}], securityContext: {{fsGroup: 3000}}");
    let mounts = "{name: v, mountPath: /v}, {name: h, mountPath: /h}, {name: e, mountPath: /e}";
    apply(node, &staying("claims", mounts, "", &volumes));
    let missing = "persistentvolumeclaim \"data\" not found";
    wait_until(missing, limit(), || node.kubectl(&["describe", "pod", "claims"]).contains(missing));
    // Whatever disk of this node: there is only this one.
    let here = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [
        {"key": "kubernetes.io/hostname", "operator": "Exists"}]}]}});
    let local = json!({"local": {"path": dir.join("disk")}, "nodeAffinity": here});
    let named = json!({"hostPath": {"path": dir.join("own"), "type": "DirectoryOrCreate"}});
    for (name, place) in [("data", local), ("named", named)] {
        let spec = json!({
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}},
            "volumeName": format!("pv-{name}"), "storageClassName": "",
        });
        let claim = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec,
        });
        apply(node, &claim.to_string());
        let mut volume = json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": format!("pv-{name}")},
            "spec": {"capacity": {"storage": "1Mi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": ""},
        });
        let spec = volume["spec"].as_object_mut().expect("it is an object");
        spec.extend(place.as_object().cloned().expect("it is an object"));
        apply(node, &volume.to_string());
    }
    ready(node, "claims");
    // A path of the host's that is only named is nobody's to give away.
    assert_eq!(
        sh(node, "claims", "echo kept >/v/x; echo own >/h/x; echo own >/e/x; stat -c '%a %g' /v /h /e"),
        "2775 3000\n755 0\n2777 3000"
    );
    let made = || node.kubectl(&["get", "pv", "-o", "jsonpath={.items[*].metadata.name}"]);
    assert!(made().contains("pvc-"), "{}", made());
    node.kubectl(&["delete", "pod", "claims", "--grace-period=1"]);
    assert_eq!(fs::read_to_string(dir.join("disk/x")).expect("it outlives the pod"), "kept\n");
    wait_until("what the pod brought is gone", limit(), || made() == "pv-data pv-named");
    node.kubectl(&["delete", "pvc", "data", "named"]);
    let phases = || node.kubectl(&["get", "pv", "-o", "jsonpath={.items[*].status.phase}"]);
    wait_until("volumes without claims say so", limit(), || phases() == "Released Released");
    assert_eq!(fs::read_to_string(dir.join("own/x")).expect("it outlives the claim"), "own\n");
}

/// A directory of the host that is mounted, and another mount below it.
fn mounted(dir: &Path) -> PathBuf {
    let shared = dir.join("shared");
    fs::create_dir(&shared).expect("a directory");
    tmpfs(&shared);
    mount(None::<&str>, &shared, None::<&str>, MsFlags::MS_SHARED, None::<&str>).expect("it can be shared");
    fs::create_dir(shared.join("below")).expect("a directory");
    tmpfs(&shared.join("below"));
    shared
}

fn tmpfs(at: &Path) {
    mount(Some("t"), at, Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("a tmpfs");
}

#[test]
fn mounts_have_the_part_the_rights_and_the_propagation_that_was_asked_for() {
    let test = "mounts_have_the_part_the_rights_and_the_propagation_that_was_asked_for";
    let Some(node) = start(test) else { return };
    let shared = mounted(&node.host.dir);
    let mounts = "{name: d, mountPath: /d}, {name: d, mountPath: /part, subPath: a/b}, \
        {name: d, mountPath: /own, subPathExpr: $(POD)/x}, {name: ram, mountPath: /ram}, \
        {name: s, mountPath: /top, readOnly: true}, \
        {name: s, mountPath: /deep, readOnly: true, recursiveReadOnly: Enabled}, \
        {name: s, mountPath: /from, mountPropagation: HostToContainer}";
    let more = ", env: [{name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]";
    let volumes = format!(
        "volumes: [{{name: d, emptyDir: {{}}}}, {{name: ram, emptyDir: {{medium: Memory, sizeLimit: 1Mi}}}}, {{name: s, hostPath: {{path: {}}}}}]",
        shared.display()
    );
    apply(&node, &staying("mounts", mounts, more, &volumes));
    ready(&node, "mounts");
    let check = |script: &str, expected: &str| assert_eq!(sh(&node, "mounts", script), expected, "{script}");
    check("echo 1 >/part/f; echo 2 >/own/f; cat /d/a/b/f /d/mounts/x/f; stat -c %a /d/a", "1\n2\n777");
    check(
        "dd if=/dev/zero of=/ram/f bs=1M count=2 2>&1 | grep -o 'No space'; stat -c %s /ram/f",
        "No space\n1048576",
    );
    let write = |at: &str| format!("(echo x >{at}/f) 2>/dev/null && echo yes || echo no");
    check(&write("/top"), "no");
    check(&write("/top/below"), "yes");
    check(&write("/deep/below"), "no");
    fs::create_dir(shared.join("late")).expect("a directory");
    tmpfs(&shared.join("late"));
    fs::write(shared.join("late/f"), "late").expect("it has room");
    check("cat /from/late/f; ls /top/late", "late");

    // A link in a volume leads nowhere but into it.
    let link = script(
        "link",
        "ln -s /etc /d/out; ln -s a /d/in; mkdir -p /d/a; echo in >/d/a/f",
        "volumeMounts: [{name: d, mountPath: /d}]",
    );
    let of = |name: &str, path: &str| {
        let mounts = format!("{{name: d, mountPath: /m, subPath: {path}}}");
        staying(
            name,
            &mounts,
            "",
            &format!("initContainers: [{link}], volumes: [{{name: d, emptyDir: {{}}}}]"),
        )
    };
    let expands =
        ", env: [{name: NOTE, valueFrom: {fieldRef: {fieldPath: 'metadata.annotations[''note'']'}}}]";
    let noted = "{name: d, mountPath: /m, subPathExpr: $(NOTE)}";
    let noted = staying("noted", noted, expands, "volumes: [{name: d, emptyDir: {}}]");
    apply(&node, &(of("inside", "in") + &of("outside", "out") + &noted));
    ready(&node, "inside");
    assert_eq!(sh(&node, "inside", "cat /m/f"), "in");
    let told = |name: &str, why: &str| {
        wait_until(why, limit(), || node.kubectl(&["describe", "pod", name]).contains(why));
    };
    told("outside", "failed to prepare subPath for volumeMount \"d\" of container");
    told("noted", "missing value for NOTE");
    node.kubectl(&["annotate", "pod", "noted", "note=here"]);
    ready(&node, "noted");
    take_down(&shared, &["below", "late", ""]);
}

fn take_down(shared: &Path, mounts: &[&str]) {
    for name in mounts {
        umount2(&shared.join(name), MntFlags::MNT_DETACH).expect("it is mounted");
    }
}

#[test]
fn mounts_of_a_privileged_container_reach_the_host_where_that_was_asked_for() {
    let test = "mounts_of_a_privileged_container_reach_the_host_where_that_was_asked_for";
    let (Some(()), Some(node)) = (needs::capabilities(test), Node::start(test)) else { return };
    let shared = mounted(&node.host.dir);
    let alone = node.host.dir.join("alone");
    fs::create_dir(&alone).expect("a directory");
    let both = "{name: s, mountPath: /both, mountPropagation: Bidirectional}";
    let volume = |at: &Path| format!("volumes: [{{name: s, hostPath: {{path: {}}}}}]", at.display());
    let privileged = ", securityContext: {privileged: true}";
    let all = staying("peer", both, privileged, &volume(&shared));
    apply(&node, &(all + &staying("alone", both, privileged, &volume(&alone))));
    ready(&node, "peer");
    sh(&node, "peer", "mkdir /both/of && mount -t tmpfs t /both/of && echo told >/both/of/f");
    assert_eq!(fs::read_to_string(shared.join("of/f")).expect("the mount came here"), "told\n");
    let why = "but it is not a shared mount";
    wait_until(why, limit(), || node.kubectl(&["describe", "pod", "alone"]).contains(why));
    take_down(&shared, &["below", "of", ""]);
}

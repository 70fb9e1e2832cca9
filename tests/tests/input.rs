//! Input that cannot be run: one clear error that names the file, the document and the field, and nothing made.

use std::process::Command;

use podbox_tests::host::Host;
use podbox_tests::manifest::{container, job, pod};
use podbox_tests::needs;
use podbox_tests::run::{Ended, Run};

/// A manifest that is refused, with the words that the error must have.
const REFUSED: &[(&str, &str, &[&str])] = &[
    ("malformed YAML", "apiVersion: v1\nkind: Pod\nmetadata: {name: [}\n", &["document 1", "line 3"]),
    (
        "unknown field",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - {name: a, image: b, imagee: c}\n",
        &["document 1", "unknown field \"spec.containers[0].imagee\""],
    ),
    (
        "the second document",
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n---\n{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {}}\n",
        &["document 2", "spec.containers"],
    ),
    (
        "unknown kind",
        "{apiVersion: v1, kind: Pot, metadata: {name: a}}\n",
        &["document 1", "\"Pot\"", "\"v1\""],
    ),
    (
        "duplicate field",
        "{apiVersion: v1, kind: Pod, metadata: {name: a, name: b}, spec: {containers: [{name: a, image: b}]}}\n",
        &["document 1", "duplicate field \"metadata.name\""],
    ),
    (
        "duplicate pod",
        "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: a, image: b}]}}\n---\n\
         {apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: a, image: b}]}}\n",
        &["document 2", "default/a", "document 1"],
    ),
    (
        "a block device",
        "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: a, image: b, volumeDevices: [{name: v, devicePath: /d}]}]}}\n",
        &["document 1", "spec.containers[0].volumeDevices", "not supported"],
    ),
    (
        "a wrong type",
        "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: {name: a}}}\n",
        &["document 1", "spec.containers"],
    ),
    (
        "a wrong quantity",
        "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: a, image: b, resources: {limits: {memory: lots}}}]}}\n",
        &["document 1", "spec.containers[0].resources.limits", "lots"],
    ),
    (
        "a wrong name",
        "{apiVersion: v1, kind: Pod, metadata: {name: a/../b}, spec: {containers: [{name: a, image: b}]}}\n",
        &["document 1", "metadata.name"],
    ),
    ("no pod", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n", &["no Pod"]),
    ("an empty file", "", &["no Pod"]),
    ("something else", "hello\n", &["document 1"]),
];

fn refused(host: &Host, what: &str, content: &[u8], words: &[&str]) {
    let file = host.file("bad.yaml", content);
    let mut command = host.podbox();
    let output = command.arg("run").arg(&file).output().expect("podbox starts");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{what}: {text}");
    assert!(text.contains("bad.yaml"), "{what}: no file name in {text}");
    for word in words {
        assert!(text.contains(word), "{what}: no {word:?} in {text}");
    }
    assert!(output.stdout.is_empty(), "{what}: {}", String::from_utf8_lossy(&output.stdout));
    assert!(!host.dir.join("run").exists(), "{what}: something was made");
}

#[test]
fn a_manifest_that_cannot_be_run_is_one_error_with_file_document_and_field() {
    let test = "a_manifest_that_cannot_be_run_is_one_error_with_file_document_and_field";
    let Some(()) = needs::host(test) else { return };
    let Some(host) = Host::without_image(test) else { return };
    for (what, text, words) in REFUSED {
        refused(&host, what, text.as_bytes(), words);
    }
    let garbage: Vec<u8> = (0..4096_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    refused(&host, "binary garbage", &garbage, &["document 1"]);
    let deep = format!("apiVersion: v1\nkind: Pod\nmetadata: {}\n", "[".repeat(2000));
    refused(&host, "a deep one", deep.as_bytes(), &["document 1"]);

    let ended = run_args(&host, &["no-such-file.yaml"]).expect(1);
    assert!(ended.err.contains("no-such-file.yaml") && ended.err.contains("No such file"), "{}", ended.err);
    host.assert_clean();
}

fn run_args(host: &Host, args: &[&str]) -> Ended {
    let mut command = host.podbox();
    command.arg("run").args(args);
    Run::start(command, &host.dir).end()
}

fn with_image(image: &str, policy: &str) -> String {
    pod("a", &format!("containers: [{{name: c, image: {image:?}, imagePullPolicy: {policy}}}]"))
}

#[test]
fn an_image_that_cannot_be_had_is_one_error_and_nothing_stays() {
    let test = "an_image_that_cannot_be_had_is_one_error_and_nothing_stays";
    let Some(()) = needs::host(test) else { return };
    let Some(host) = Host::new(test) else { return };
    for (image, policy, words) in [
        ("podbox.local/absent:latest", "Never", "podbox.local/absent:latest"),
        // Nobody listens on this port of this host's own loopback.
        ("127.0.0.1:9/absent:latest", "IfNotPresent", "127.0.0.1:9"),
        ("UPPER CASE", "IfNotPresent", "UPPER CASE"),
    ] {
        let ended = host.run(&with_image(image, policy)).end().expect(1).complains(words);
        assert_eq!(ended.err.trim_end().lines().count(), 1, "one error, not:\n{}", ended.err);
        assert!(ended.err.contains("default/a") && ended.err.contains("container c"), "{}", ended.err);
        host.assert_clean();
    }
}

#[test]
fn an_image_whose_digest_does_not_match_is_refused() {
    let test = "an_image_whose_digest_does_not_match_is_refused";
    let Some(()) = needs::host(test) else { return };
    let Some(host) = Host::without_image(test) else { return };
    let layout = host.dir.join("layout");
    let copied = Command::new("cp").arg("-a").arg(podbox_tests::image()).arg(&layout).status();
    assert!(copied.expect("cp is installed").success());
    let blobs = podbox_tests::host::entries(&layout.join("blobs/sha256"));
    let layer =
        blobs.iter().max_by_key(|path| path.metadata().map_or(0, |data| data.len())).expect("a layer");
    let mut bytes = std::fs::read(layer).expect("it was copied");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(layer, bytes).expect("there is room");
    let loaded = host.podbox().args(["image", "load"]).arg(&layout).output().expect("podbox starts");
    let text = String::from_utf8_lossy(&loaded.stderr);
    assert_eq!(loaded.status.code(), Some(1), "{text}");
    let digest = layer.file_name().expect("a blob has a name").to_string_lossy();
    assert!(text.contains(&*digest), "{text}");
    let list = host.podbox().args(["image", "ls"]).output().expect("podbox starts");
    assert!(!String::from_utf8_lossy(&list.stdout).contains("testjobs"), "a broken image is listed");
    host.assert_clean();
}

#[test]
fn a_pod_that_cannot_start_fails_with_the_reason_and_leaves_nothing() {
    let Some(host) = Host::new("a_pod_that_cannot_start_fails_with_the_reason_and_leaves_nothing") else {
        return;
    };
    let pods = [
        pod(
            "nocmd",
            &format!("restartPolicy: Never, containers: [{}]", container("c", "command: [/no/such/program]")),
        ),
        pod(
            "root",
            &format!(
                "restartPolicy: Never, securityContext: {{runAsNonRoot: true}}, containers: [{}]",
                job("c", "exit 0")
            ),
        ),
        pod(
            "noconfig",
            &format!(
                "restartPolicy: Never, containers: [{}]",
                container("c", "args: [env], envFrom: [{configMapRef: {name: absent}}]")
            ),
        ),
    ];
    for (pod, words) in pods.iter().zip(["/no/such/program", "runAsNonRoot", "absent"]) {
        let ended = host.run(pod).end().expect(1);
        assert!(ended.err.contains(words), "no {words:?} in:\n{}\n{}", ended.err, ended.out);
        host.assert_clean();
    }
}

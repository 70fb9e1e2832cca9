//! Pulls: compressions, manifest lists, and what a registry may have wrong.

use super::ground::{Ground, LOOPBACK, count, image, nothing_remains, run, text};
use podbox::image::Digest;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::thread::JoinHandle;

#[test]
fn gzip_and_zstd_layers_are_pulled_and_shared() {
    let Some(ground) = Ground::new("gzip_and_zstd_layers_are_pulled_and_shared") else { return };
    ground.push("gzip:1", &["--dest-compress-format=gzip"]);
    ground.push("zstd:1", &["--format=oci", "--dest-compress-format=zstd"]);
    ground.pulls("gzip:1");
    // Removed between the two, so that each compression is undone here and not only skipped.
    assert!(ground.podbox(&["rm", &ground.name("gzip:1")]).status.success());
    nothing_remains(&ground.path("state"));
    ground.pulls("zstd:1");
    ground.pulls("gzip:1");
    assert_eq!(count(&ground.path("state"), "layers"), 1);
    for name in ["gzip:1", "zstd:1"] {
        assert!(ground.podbox(&["rm", &ground.name(name)]).status.success());
    }
    nothing_remains(&ground.path("state"));
}

#[test]
fn from_a_manifest_list_this_machine_s_image_is_pulled() {
    let Some(ground) = Ground::new("from_a_manifest_list_this_machine_s_image_is_pulled") else { return };
    let layout = ground.path("layout");
    let archive = format!("docker-archive:{}", ground.path("image.tar").display());
    run("skopeo", &["--insecure-policy", "copy", "-q", &archive, &format!("oci:{}:one", layout.display())]);
    let index: serde_json::Value =
        serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    let mut entry = index["manifests"][0].clone();
    entry.as_object_mut().unwrap().remove("annotations");
    let mut foreign = entry.clone();
    entry["platform"] = serde_json::json!({"os": "linux", "architecture": oci_spec::image::Arch::default()});
    foreign["platform"] = serde_json::json!({"os": "windows", "architecture": "amd64"});
    let list = serde_json::json!({"schemaVersion": 2, "manifests": [foreign, entry],
        "mediaType": "application/vnd.oci.image.index.v1+json"});
    fs::write(layout.join("index.json"), list.to_string()).unwrap();
    // Loaded as it lies there, then pushed as a list and pulled.
    let loaded = ground.podbox(&["load", layout.to_str().unwrap(), "--tag", "listed"]);
    assert!(loaded.status.success(), "{}", text(&loaded.stderr));
    let digest = blob(&layout, list.to_string().as_bytes());
    let top = serde_json::json!({"schemaVersion": 2, "manifests": [{"digest": digest, "size": list.to_string().len(),
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "annotations": {"org.opencontainers.image.ref.name": "list"}}]});
    fs::write(layout.join("index.json"), top.to_string()).unwrap();
    ground.skopeo(&format!("oci:{}:list", layout.display()), "list:1", &["--all"]);
    ground.pulls("list:1");
}

/// Puts a blob into an OCI layout; tells its digest.
fn blob(layout: &Path, bytes: &[u8]) -> String {
    let digest = Digest::of(bytes);
    fs::write(layout.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
    digest.to_string()
}

#[test]
fn a_missing_image_is_named() {
    let Some(ground) = Ground::new("a_missing_image_is_named") else { return };
    ground.push("here:1", &[]);
    ground.refuses("absent:1", &["was not found", LOOPBACK]);
    ground.refuses("here:2", &["was not found", LOOPBACK]);
}

/// Changes the largest blob in the registry's storage: the layer.
fn damage(ground: &Ground, how: impl Fn(&Path, u64)) {
    let mut blobs = Vec::new();
    let root = ground.path("storage/docker/registry/v2/blobs/sha256");
    for prefix in fs::read_dir(root).unwrap() {
        for blob in fs::read_dir(prefix.unwrap().path()).unwrap() {
            let data = blob.unwrap().path().join("data");
            blobs.push((fs::metadata(&data).unwrap().len(), data));
        }
    }
    let (size, path) = blobs.into_iter().max().unwrap();
    how(&path, size);
}

#[test]
fn a_corrupted_layer_is_refused() {
    let Some(ground) = Ground::new("a_corrupted_layer_is_refused") else { return };
    ground.push("corrupt:1", &[]);
    damage(&ground, |path, size| {
        let mut file = OpenOptions::new().write(true).open(path).unwrap();
        std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(size / 2)).unwrap();
        file.write_all(b"not what was pushed").unwrap();
    });
    ground.refuses("corrupt:1", &["does not match its digest", "nothing was kept"]);
}

#[test]
fn a_truncated_layer_is_refused() {
    let Some(ground) = Ground::new("a_truncated_layer_is_refused") else { return };
    ground.push("short:1", &[]);
    damage(&ground, |path, size| {
        OpenOptions::new().write(true).open(path).unwrap().set_len(size / 2).unwrap()
    });
    ground.refuses("short:1", &["nothing was kept"]);
}

/// Answers the next requests with these bodies, whatever is asked.
fn answer(bodies: Vec<Vec<u8>>) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answering = std::thread::spawn(move || {
        for body in bodies {
            let (mut caller, _) = listener.accept().unwrap();
            let asked = BufReader::new(&caller).lines().map_while(Result::ok);
            asked.take_while(|line| !line.is_empty()).for_each(drop);
            let head =
                format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            // Who has seen enough may hang up.
            let _ = caller.write_all(head.as_bytes()).and_then(|()| caller.write_all(&body));
        }
    });
    (address, answering)
}

#[test]
fn a_manifest_too_large_to_be_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    // First what the registry speaks, then the manifest.
    let (address, answering) = answer(vec![b"{}".to_vec(), vec![b' '; (8 << 20) + 1]]);
    let output = image(dir.path(), &["pull", &format!("{address}/large:1")]).output().unwrap();
    answering.join().unwrap();
    let error = text(&output.stderr);
    assert!(!output.status.success(), "{error}");
    assert!(error.contains("large:1: its manifest is invalid: it has 8388609 bytes, above"), "{error}");
    nothing_remains(dir.path());
}

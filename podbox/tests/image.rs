//! Images against Debian's own registry, filled by its own skopeo, in a network namespace of their own; and a full disk.
//! Where one of the programs or root is missing, a test says `SKIPPED` and why.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use nix::sched::{CloneFlags, unshare};
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

const REGISTRY: &str = "127.0.0.1:5000";

/// A registry in this thread's own network namespace, an image archive, and an empty store.
struct Ground {
    dir: TempDir,
    registry: Child,
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = self.registry.kill();
        let _ = self.registry.wait();
    }
}

impl Ground {
    /// `None`, loudly, where this machine cannot run it.
    fn new() -> Option<Ground> {
        for program in ["docker-registry", "skopeo", "ip", "busybox"] {
            if Command::new("which")
                .arg(program)
                .stdout(Stdio::null())
                .status()
                .map_or(true, |s| !s.success())
            {
                eprintln!("SKIPPED: {program} is not installed");
                return None;
            }
        }
        // Processes started from this thread are in the namespace with it.
        if let Err(errno) = unshare(CloneFlags::CLONE_NEWNET) {
            eprintln!("SKIPPED: a network namespace of its own needs root ({errno})");
            return None;
        }
        run("ip", &["link", "set", "lo", "up"]);
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("registry.yml");
        let storage = dir.path().join("storage");
        let text = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {REGISTRY}\n",
            storage.display()
        );
        fs::write(&config, text).unwrap();
        let mut registry = Command::new("docker-registry")
            .args(["serve", config.to_str().unwrap()])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(registry.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "the registry ended before it listened");
        }
        // It may not block on a full pipe.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        save(dir.path());
        Some(Ground { dir, registry })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Pushes the archive under this name, with skopeo's options.
    fn push(&self, name: &str, options: &[&str]) {
        let source = format!("docker-archive:{}", self.path("image.tar").display());
        self.skopeo(&source, name, options);
    }

    fn skopeo(&self, source: &str, name: &str, options: &[&str]) {
        let target = format!("docker://{REGISTRY}/{name}");
        let mut args = vec!["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"];
        args.extend(options);
        args.extend([source, &target]);
        run("skopeo", &args);
    }

    fn podbox(&self, args: &[&str]) -> Output {
        podbox(&self.path("state"), args)
    }

    #[track_caller]
    fn pulls(&self, name: &str) {
        let output = self.podbox(&["pull", &format!("{REGISTRY}/{name}")]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let layers = fs::read_dir(self.path("state/images/layers")).unwrap();
        let fs = layers.last().unwrap().unwrap().path().join("fs");
        assert_eq!(fs::read(fs.join("bin/busybox")).unwrap(), fs::read("/bin/busybox").unwrap());
        assert_eq!(fs::read_link(fs.join("bin/sh")).unwrap(), Path::new("/bin/busybox"));
    }

    /// The pull fails with one line that has these words, and nothing of it remains.
    #[track_caller]
    fn refuses(&self, name: &str, words: &[&str]) {
        let output = self.podbox(&["pull", &format!("{REGISTRY}/{name}")]);
        assert!(!output.status.success());
        let error = text(&output.stderr);
        let error = error.lines().find(|line| line.starts_with("podbox: ")).unwrap_or(&error);
        for word in words.iter().chain(&[name]) {
            assert!(error.contains(word), "{word:?} is missing in: {error}");
        }
        nothing_remains(&self.path("state"));
    }

    /// Changes the largest blob in the registry's storage: the layer.
    fn damage(&self, how: impl Fn(&Path, u64)) {
        let mut blobs = Vec::new();
        let root = self.path("storage/docker/registry/v2/blobs/sha256");
        for prefix in fs::read_dir(root).unwrap() {
            for blob in fs::read_dir(prefix.unwrap().path()).unwrap() {
                let data = blob.unwrap().path().join("data");
                blobs.push((fs::metadata(&data).unwrap().len(), data));
            }
        }
        let (size, path) = blobs.into_iter().max().unwrap();
        how(&path, size);
    }
}

fn podbox(state: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_podbox"));
    command.arg("--state-dir").arg(state).arg("image").args(args).output().unwrap()
}

fn nothing_remains(state: &Path) {
    for dir in ["images/layers", "images/tmp"] {
        assert_eq!(fs::read_dir(state.join(dir)).unwrap().count(), 0, "something is left in {dir}");
    }
}

#[track_caller]
fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program}: {}", text(&output.stderr));
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A docker-save archive of one layer with busybox.
fn save(dir: &Path) {
    let mut layer = tar::Builder::new(Vec::new());
    layer.append_path_with_name("/bin/busybox", "bin/busybox").unwrap();
    let mut link = tar::Header::new_gnu();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    link.set_uid(0);
    link.set_gid(0);
    link.set_mode(0o777);
    layer.append_link(&mut link, "bin/sh", "/bin/busybox").unwrap();
    let layer = layer.into_inner().unwrap();
    fs::write(dir.join("layer.tar"), &layer).unwrap();
    let sum = Command::new("sha256sum").arg(dir.join("layer.tar")).output().unwrap();
    let hex = text(&sum.stdout[..64]);
    let arch = oci_spec::image::Arch::default();
    let config = format!(
        r#"{{"architecture":"{arch}","os":"linux","config":{{"Cmd":["/bin/sh"]}},
            "rootfs":{{"type":"layers","diff_ids":["sha256:{hex}"]}}}}"#
    );
    let manifest = r#"[{"Config":"config.json","RepoTags":["busybox:test"],"Layers":["layer.tar"]}]"#;
    let mut archive = tar::Builder::new(fs::File::create(dir.join("image.tar")).unwrap());
    for (name, bytes) in
        [("config.json", config.as_bytes()), ("manifest.json", manifest.as_bytes()), ("layer.tar", &layer)]
    {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, bytes).unwrap();
    }
    archive.finish().unwrap();
}

#[test]
fn gzip_and_zstd_layers_are_pulled_and_shared() {
    let Some(ground) = Ground::new() else { return };
    ground.push("gzip:1", &["--dest-compress-format=gzip"]);
    ground.push("zstd:1", &["--format=oci", "--dest-compress-format=zstd"]);
    ground.pulls("gzip:1");
    // Removed between the two, so that each compression is undone here and not only skipped.
    assert!(ground.podbox(&["rm", &format!("{REGISTRY}/gzip:1")]).status.success());
    nothing_remains(&ground.path("state"));
    ground.pulls("zstd:1");
    ground.pulls("gzip:1");
    assert_eq!(fs::read_dir(ground.path("state/images/layers")).unwrap().count(), 1);
    for name in ["gzip:1", "zstd:1"] {
        assert!(ground.podbox(&["rm", &format!("{REGISTRY}/{name}")]).status.success());
    }
    nothing_remains(&ground.path("state"));
}

#[test]
fn from_a_manifest_list_this_machine_s_image_is_pulled() {
    let Some(ground) = Ground::new() else { return };
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
    let new = layout.join("new");
    fs::write(&new, bytes).unwrap();
    let sum = Command::new("sha256sum").arg(&new).output().unwrap();
    let hex = text(&sum.stdout[..64]);
    fs::rename(&new, layout.join("blobs/sha256").join(&hex)).unwrap();
    format!("sha256:{hex}")
}

#[test]
fn a_missing_image_is_named() {
    let Some(ground) = Ground::new() else { return };
    ground.push("here:1", &[]);
    ground.refuses("absent:1", &["was not found", REGISTRY]);
    ground.refuses("here:2", &["was not found", REGISTRY]);
}

#[test]
fn a_corrupted_layer_is_refused() {
    let Some(ground) = Ground::new() else { return };
    ground.push("corrupt:1", &[]);
    ground.damage(|path, size| {
        let mut file = OpenOptions::new().write(true).open(path).unwrap();
        std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(size / 2)).unwrap();
        file.write_all(b"not what was pushed").unwrap();
    });
    ground.refuses("corrupt:1", &["does not match its digest", "nothing was kept"]);
}

#[test]
fn a_truncated_layer_is_refused() {
    let Some(ground) = Ground::new() else { return };
    ground.push("short:1", &[]);
    ground.damage(|path, size| OpenOptions::new().write(true).open(path).unwrap().set_len(size / 2).unwrap());
    ground.refuses("short:1", &["nothing was kept"]);
}

#[test]
fn a_full_disk_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    save(dir.path());
    let script = r#"mount -t tmpfs -o size=1m none "$1/disk" || exit 77
        "$2" --state-dir "$1/disk" image load "$1/image.tar" && exit 1
        test -z "$(ls "$1/disk/images/tmp" "$1/disk/images/layers" | grep -v :)""#;
    fs::create_dir(dir.path().join("disk")).unwrap();
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .args([dir.path(), Path::new(env!("CARGO_BIN_EXE_podbox"))])
        .output()
        .unwrap();
    if !nix::unistd::getuid().is_root() || output.status.code() == Some(77) {
        eprintln!("SKIPPED: a small disk needs root and mount: {}", text(&output.stderr));
        return;
    }
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("no space left on the disk"), "{}", text(&output.stderr));
}

//! A small image with a shell: busybox under the names of its programs.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use serde_json::{Value, json};

use crate::host::Host;
use crate::needs;

/// What the image is called, in these two versions.
pub const NAMES: [&str; 2] = ["podbox.local/busybox:1", "podbox.local/busybox:2"];

const PROGRAMS: [&str; 12] =
    ["cat", "echo", "grep", "hostname", "id", "kill", "ls", "ps", "sh", "sleep", "stty", "true"];

fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().expect("the program starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Puts the images on a host; none, loudly, where the test `name` cannot run. The file `/version` of each says which it
/// is, and without a command it sleeps.
pub fn load(name: &str, host: &Host) -> Option<()> {
    needs::file(name, "/bin/busybox")?;
    for (number, image) in (1..).zip(NAMES) {
        load_as(host, image, number, &json!({}));
    }
    Some(())
}

/// Puts one image on a host, under this name and with this number in its `/version`; `config` goes before what these
/// images say of how to run them. `/bin/busybox` must be there.
pub fn load_as(host: &Host, image: &str, number: u32, config: &Value) {
    let root = host.dir.join(format!("busybox/{number}/root"));
    fs::create_dir_all(root.join("bin")).expect("the test's tmpfs has room");
    fs::copy("/bin/busybox", root.join("bin/busybox")).expect("the test's tmpfs has room");
    fs::write(root.join("version"), format!("{number}\n")).expect("the test's tmpfs has room");
    for program in PROGRAMS {
        symlink("busybox", root.join("bin").join(program)).expect("the test's tmpfs has room");
    }
    let dir = host.dir.join(format!("busybox/{number}/saved"));
    fs::create_dir_all(&dir).expect("the test's tmpfs has room");
    let tar = dir.join("layer.tar");
    run(Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&tar).arg("."));
    let sum = run(Command::new("sha256sum").arg(&tar));
    let layer = format!("sha256:{}", String::from_utf8_lossy(&sum[..64]));
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let mut own = json!({"Cmd": ["/bin/sleep", "1000000"], "Env": ["PATH=/bin"]});
    let fields = own.as_object_mut().expect("it is an object");
    fields.extend(config.as_object().cloned().unwrap_or_default());
    let config = json!({"os": "linux", "architecture": architecture, "config": own,
        "rootfs": {"type": "layers", "diff_ids": [layer]}});
    fs::write(dir.join("config.json"), config.to_string()).expect("the test's tmpfs has room");
    let manifest = json!([{"Config": "config.json", "RepoTags": [image], "Layers": ["layer.tar"]}]);
    fs::write(dir.join("manifest.json"), manifest.to_string()).expect("the test's tmpfs has room");
    let archive = host.dir.join(format!("busybox/{number}.tar"));
    run(Command::new("tar").arg("-C").arg(&dir).arg("-cf").arg(&archive).arg("."));
    run(host.podbox().args(["image", "load"]).arg(&archive));
}

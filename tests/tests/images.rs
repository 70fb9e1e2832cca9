//! Images beside the containers that run on them.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use nix::sys::signal::Signal;
use podbox_tests::host::Host;
use podbox_tests::needs;
use serde_json::json;

const NAME: &str = "podbox.local/layered:1";

fn run(command: &mut Command) -> Output {
    let output = command.output().expect("the program starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// A docker-save archive with so many layers: busybox, then one file each; layer N replaces `top` by its number.
fn layered(host: &Host, layers: usize) -> PathBuf {
    let dir = host.dir.join("saved");
    let mut diff_ids = Vec::new();
    for number in 0..layers {
        let root = host.dir.join(format!("layer/{number}"));
        fs::create_dir_all(&root).expect("the test's tmpfs has room");
        fs::write(root.join("top"), format!("{number}\n")).expect("the test's tmpfs has room");
        if number == 0 {
            fs::create_dir(root.join("bin")).expect("the test's tmpfs has room");
            fs::copy("/bin/busybox", root.join("bin/busybox")).expect("the test's tmpfs has room");
        }
        fs::create_dir_all(dir.join(number.to_string())).expect("the test's tmpfs has room");
        let tar = dir.join(format!("{number}/layer.tar"));
        run(Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&tar).arg("."));
        let sum = run(Command::new("sha256sum").arg(&tar)).stdout;
        diff_ids.push(format!("sha256:{}", String::from_utf8_lossy(&sum[..64])));
    }
    let config = json!({"os": "linux", "architecture": oci_architecture(),
        "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    host.file("saved/config.json", config.to_string());
    let tars: Vec<_> = (0..layers).map(|number| format!("{number}/layer.tar")).collect();
    let manifest = json!([{"Config": "config.json", "RepoTags": [NAME], "Layers": tars}]);
    host.file("saved/manifest.json", manifest.to_string());
    let archive = host.dir.join("image.tar");
    run(Command::new("tar").arg("-C").arg(&dir).arg("-cf").arg(&archive).arg("."));
    archive
}

fn oci_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// While a container runs, its image stays; then it goes.
fn is_kept_while_it_runs(test: &str, layers: usize, state: &str) {
    let Some(host) = Host::without_image(test) else { return };
    let Some(()) = needs::file(test, "/bin/busybox") else { return };
    let state = host.dir.join(state);
    let podbox = || {
        let mut command = host.podbox();
        command.env("PODBOX_STATE_DIR", &state);
        command
    };
    run(podbox().args(["image", "load"]).arg(layered(&host, layers)));
    let manifest = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: p}}, spec: {{terminationGracePeriodSeconds: 1, containers: [\
         {{name: c, image: {NAME:?}, command: [/bin/busybox, sh, -c, 'busybox cat /top; exec busybox sleep 1000']}}]}}}}\n"
    );
    let mut command = podbox();
    command.arg("run").arg(host.file("manifest.yaml", manifest));
    let mut podbox_run = podbox_tests::run::Run::start(command, &host.dir);
    podbox_run.wait_for("the topmost layer's file", || {
        (host.lines("p", "c", 0) == [(layers - 1).to_string()]).then_some(())
    });

    let refused = podbox().args(["image", "rm", NAME]).output().expect("podbox starts");
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(
        !refused.status.success() && error.contains("in use by a container"),
        "removed under a container: {error}"
    );

    podbox_run.signal(Signal::SIGINT);
    podbox_run.end();
    run(podbox().args(["image", "rm", NAME]));
    assert_eq!(fs::read_dir(state.join("images/layers")).expect("the store stays").count(), 0);
    host.assert_clean();
}

#[test]
fn an_image_of_few_layers_is_kept_while_it_runs() {
    is_kept_while_it_runs("an_image_of_few_layers_is_kept_while_it_runs", 2, "state");
}

#[test]
fn an_image_of_more_layers_than_mount_options_hold_is_kept_while_it_runs() {
    let test = "an_image_of_more_layers_than_mount_options_hold_is_kept_while_it_runs";
    is_kept_while_it_runs(test, 60, "state");
}

#[test]
fn an_image_below_an_odd_state_directory_is_kept_while_it_runs() {
    is_kept_while_it_runs("an_image_below_an_odd_state_directory_is_kept_while_it_runs", 2, "a b,c:d");
}

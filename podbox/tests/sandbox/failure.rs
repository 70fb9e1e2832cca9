//! What is left when something fails: nothing.

use crate::host::isolated;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use podbox::api::error::chain;
use podbox::sandbox::engine::Options;
use podbox::sandbox::runtime::Runtime;
use podbox::sandbox::spec::{EmptyDir, FileVolume, VolumeFile};
use std::fs;

/// More than any plan has.
const STEPS: usize = 64;

#[test]
fn whichever_step_of_a_sandbox_fails_nothing_is_left() {
    isolated("sandbox_steps_fail", |host| async move {
        let mut pod = host.pod("broken");
        pod.empty_dirs = vec![
            EmptyDir { name: "disk".into(), memory: false, size_limit: None },
            EmptyDir { name: "ram".into(), memory: true, size_limit: None },
        ];
        let file = VolumeFile { path: "a/b".into(), bytes: b"x".to_vec(), mode: 0o644, owner: None };
        pod.file_volumes =
            vec![FileVolume { name: "conf".into(), plugin: None, memory: false, files: vec![file] }];
        let mut failed = 0;
        for step in 0..STEPS {
            let engine = host.engine_with(Options { fail_at: Some(step), ..Options::default() }).await;
            match engine.create_sandbox(&pod).await {
                Err(error) => {
                    let text = chain(&error);
                    assert!(text.contains("failed on purpose"), "{text}");
                    failed += 1;
                }
                Ok(_) => {
                    engine.remove_sandbox(&pod.pod).await.unwrap();
                    assert_eq!(host.left(), Vec::<String>::new());
                    engine.close().await.unwrap();
                    break;
                }
            }
            assert_eq!(host.left(), Vec::<String>::new(), "after step {step}");
        }
        assert!((10..STEPS).contains(&failed), "{failed} steps");
    });
}

#[test]
fn what_cannot_be_taken_away_stays_known_and_is_taken_away_later() {
    isolated("sandbox_cannot_go", |host| async move {
        let engine = host.engine().await;
        let mut pod = host.pod("stuck");
        pod.empty_dirs = vec![EmptyDir { name: "disk".into(), memory: false, size_limit: None }];
        engine.create_sandbox(&pod).await.unwrap();
        let held = host.config.state_dir.join("pods/uid-stuck/volume-disk/held");
        fs::create_dir(&held).unwrap();
        mount(Some("tmpfs"), &held, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        for _ in 0..2 {
            let text = chain(&engine.remove_sandbox(&pod.pod).await.unwrap_err());
            assert!(text.contains("uid-stuck"), "{text}");
            assert_eq!(engine.sandboxes(), [pod.pod.clone()]);
        }
        umount2(&held, MntFlags::MNT_DETACH).unwrap();
        engine.remove_sandbox(&pod.pod).await.unwrap();
        assert_eq!(host.left(), Vec::<String>::new());
        engine.create_sandbox(&pod).await.unwrap();
        engine.remove_sandbox(&pod.pod).await.unwrap();
        engine.close().await.unwrap();
    });
}

#[test]
fn whichever_step_of_a_container_fails_nothing_is_left_of_it() {
    isolated("container_steps_fail", |host| async move {
        let engine = host.engine().await;
        let pod = host.pod("half");
        engine.create_sandbox(&pod).await.unwrap();
        let spec = host.script(&pod, "app", "true");
        let with_sandbox = host.left();
        let mut failed = 0;
        for step in 0..STEPS {
            let engine = host.engine_with(Options { fail_at: Some(step), ..Options::default() }).await;
            if engine.start(&spec).await.is_ok() {
                engine.wait(&spec.container).await.unwrap();
                engine.remove(&spec.container).await.unwrap();
                break;
            }
            failed += 1;
            assert_eq!(host.left(), with_sandbox, "after step {step}");
            assert_eq!(engine.list().await.unwrap(), vec![]);
        }
        assert!((6..STEPS).contains(&failed), "{failed} steps");
        engine.remove_sandbox(&pod.pod).await.unwrap();
        assert_eq!(host.left(), Vec::<String>::new());
        engine.close().await.unwrap();
    });
}

#[test]
fn a_container_that_cannot_start_says_why_and_leaves_nothing() {
    isolated("container_cannot_start", |host| async move {
        let engine = host.engine().await;
        let pod = host.pod("unable");
        engine.create_sandbox(&pod).await.unwrap();
        let with_sandbox = host.left();
        let good = host.script(&pod, "web", "true");
        let mut missing = good.clone();
        missing.args = vec!["/nope".into()];
        let mut user = good.clone();
        user.user.image_user = "nobody".into();
        let mut layer = good.clone();
        layer.layers = vec![host.dir.join("absent")];
        let mut root = good.clone();
        root.user.non_root = true;
        for (spec, expected) in [
            (
                missing,
                "cannot start container web: launch \"uid-unable/web-0\": exec \"/nope\": no such file or directory",
            ),
            (user, "user \"nobody\" is not in the image's /etc/passwd"),
            (layer, "no such file or directory"),
            (root, "runAsNonRoot is set"),
        ] {
            let text = chain(&engine.start(&spec).await.unwrap_err());
            assert!(text.contains(expected), "{text}");
            assert_eq!(host.left(), with_sandbox);
        }
        engine.remove_sandbox(&pod.pod).await.unwrap();
        engine.close().await.unwrap();
    });
}

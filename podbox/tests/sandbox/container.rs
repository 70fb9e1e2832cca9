//! What a container sees, and what it may not do.

use crate::host::{ask, exec, isolated};
use podbox::api::error::chain;
use podbox::sandbox::runtime::{ExecSpec, ExitStatus, Runtime};
use podbox::sandbox::spec::{
    ContainerSpec, EmptyDir, FileVolume, Mount, MountSource, PidNamespace, Propagation, ReadOnly, Security,
    User, VolumeFile,
};
use std::time::Duration;

#[test]
fn a_container_runs_and_its_exit_code_and_output_are_had() {
    isolated("a_container_runs", |host| async move {
        let engine = host.engine().await;
        let pod = host.pod("web");
        engine.create_sandbox(&pod).await.unwrap();
        let spec = host.script(&pod, "app", "echo out; echo err >&2; pwd; hostname; exit 7");
        engine.start(&spec).await.unwrap();
        let end = engine.wait(&spec.container).await.unwrap();
        assert_eq!(end.status, ExitStatus::Code(7));
        let log = host.log(&spec);
        for line in ["out\n", "err\n", "/srv/here\n", "web\n"] {
            assert!(log.contains(line), "{line:?} is not in {log:?}");
        }
        engine.remove(&spec.container).await.unwrap();
        engine.remove_sandbox(&pod.pod).await.unwrap();
        assert_eq!(host.left(), Vec::<String>::new());
        engine.close().await.unwrap();
    });
}

#[test]
fn a_container_in_anothers_pid_namespace_sees_its_processes_and_leaves_none_behind() {
    isolated("a_container_in_anothers_pid_namespace", |host| async move {
        let engine = host.engine().await;
        let pod = host.pod("debugged");
        engine.create_sandbox(&pod).await.unwrap();
        let app = host.script(&pod, "app", "trap 'exit 3' USR1; touch /trapped; while :; do sleep 1; done");
        let beside = |name: &str, script: &str| {
            let pid = PidNamespace::OfContainer("app".into());
            ContainerSpec { pid, ..host.script(&pod, name, script) }
        };
        let early = engine.start(&beside("early", "true")).await.unwrap_err();
        let reason = std::error::Error::source(&early).unwrap().to_string();
        assert_eq!(reason, "unable to find target container \"app\": it does not run");
        engine.start(&app).await.unwrap();
        // What it leaves running holds its output open, and ends with it nevertheless.
        let look = beside("look", "tr '\\0' ' ' < /proc/1/cmdline; ls -d /proc/$$; sleep 1000 & exit 5");
        engine.start(&look).await.unwrap();
        assert_eq!(engine.wait(&look.container).await.unwrap().status, ExitStatus::Code(5));
        assert!(host.log(&look).contains("trap 'exit 3'"), "{}", host.log(&look));
        assert!(!ask(&engine, &app, "ps").await.contains("sleep 1000"));
        // To a first process that has no trap, the signal is nothing.
        ask(&engine, &app, "until test -e /trapped; do sleep 0.05; done").await;
        // It ends with the one whose namespace it is in.
        let debugger = beside("debugger", "kill -USR1 1; sleep 1000");
        engine.start(&debugger).await.unwrap();
        assert_eq!(engine.wait(&app.container).await.unwrap().status, ExitStatus::Code(3));
        assert_eq!(engine.wait(&debugger.container).await.unwrap().status, ExitStatus::Signal(9));
        engine.remove_sandbox(&pod.pod).await.unwrap();
        assert_eq!(host.left(), Vec::<String>::new());
        engine.close().await.unwrap();
    });
}

#[test]
fn a_container_is_confined_as_the_ecosystem_expects() {
    isolated("a_container_is_confined", |host| async move {
        let engine = host.engine().await;
        let pod = host.pod("confined");
        engine.create_sandbox(&pod).await.unwrap();
        let spec = host.script(&pod, "app", "exec sleep 1000");
        engine.start(&spec).await.unwrap();
        let wrong = std::sync::Mutex::new(Vec::new());
        let check = async |script: &str, expected: &str| {
            let got = ask(&engine, &spec, script).await;
            if got.trim_end() != expected {
                wrong.lock().unwrap().push((script.to_owned(), got));
            }
        };
        check("hostname", "confined").await;
        check("echo $GREETING", "hello world").await;
        check("pwd", "/srv/here").await;
        check("echo $HOME", "/root").await;
        check("ls -l /proc/1/exe | grep -c /bin/busybox", "1").await;
        let status = ask(&engine, &spec, "cat /proc/1/status").await;
        for line in [
            "CapInh:\t0000000000000000",
            "CapPrm:\t00000000a80425fb",
            "CapEff:\t00000000a80425fb",
            "CapBnd:\t00000000a80425fb",
            "CapAmb:\t0000000000000000",
            "NoNewPrivs:\t0",
            "Seccomp:\t2",
        ] {
            assert!(status.contains(line), "{line:?} is not in {status}");
        }
        check("cat /proc/1/oom_score_adj /proc/self/oom_score_adj", "900\n900").await;
        check("cat /proc/kcore 2>/dev/null | wc -c", "0").await;
        check("cat /proc/timer_list 2>/dev/null | wc -c", "0").await;
        check("ls /sys/firmware 2>/dev/null | wc -l", "0").await;
        check(
            "echo 1 > /proc/sys/kernel/domainname",
            "sh: can't create /proc/sys/kernel/domainname: Read-only file system",
        )
        .await;
        check(
            "mkdir /sys/fs/cgroup/x",
            "mkdir: can't create directory '/sys/fs/cgroup/x': Read-only file system",
        )
        .await;
        check("echo gone > /dev/null && head -c 4 /dev/zero | wc -c", "4").await;
        check("mount -t tmpfs none /tmp 2>&1 | grep -c denied", "1").await;
        // Making any node is allowed, using it is not: 1:1 is the machine's memory.
        check("mknod /tmp/mem c 1 1 && cat /tmp/mem", "cat: can't open '/tmp/mem': Operation not permitted")
            .await;
        check("readlink /dev/fd; readlink /dev/ptmx", "/proc/self/fd\npts/ptmx").await;
        check("cat /proc/self/cgroup | head -n 1 | grep -c podbox", "0").await;
        check("ip -o -4 addr show eth0 | grep -c 10.85.0.9/16", "1").await;
        check("cat /etc/resolv.conf", "nameserver 10.0.0.1").await;
        check("touch /file && stat -c %a /file", "644").await;
        check("ls /proc/self/fd | wc -l", "4").await;
        assert_eq!(*wrong.lock().unwrap(), []);
        engine.remove_sandbox(&pod.pod).await.unwrap();
        assert_eq!(host.left(), Vec::<String>::new());
        engine.close().await.unwrap();
    });
}

#[test]
fn containers_of_a_pod_share_what_pods_share() {
    isolated("containers_share", |host| async move {
        let engine = host.engine().await;
        let mut pod = host.pod("shared");
        pod.empty_dirs = vec![
            EmptyDir { name: "disk".into(), memory: false, size_limit: None },
            EmptyDir { name: "ram".into(), memory: true, size_limit: Some(1 << 20) },
        ];
        let file = VolumeFile { path: "a/key".into(), bytes: b"secret".to_vec(), mode: 0o400, owner: None };
        pod.file_volumes =
            vec![FileVolume { name: "conf".into(), plugin: None, memory: true, files: vec![file] }];
        engine.create_sandbox(&pod).await.unwrap();
        let volume = |name: &str, target: &str, read_only| Mount {
            source: MountSource::Volume(name.into()),
            target: target.into(),
            sub_path: String::new(),
            read_only,
            propagation: Propagation::None,
        };
        let mounts = vec![volume("disk", "/data", ReadOnly::No), volume("ram", "/data/ram", ReadOnly::No)];
        let mut one = host.script(&pod, "one", "exec sleep 1000");
        one.mounts = mounts.clone();
        let mut two = host.script(&pod, "two", "exec sleep 1000");
        two.mounts = mounts;
        two.mounts.push(volume("conf", "/conf", ReadOnly::Top));
        two.user = User { image_user: "web".into(), ..User::default() };
        engine.start(&one).await.unwrap();
        engine.start(&two).await.unwrap();
        exec(&engine, &one, "echo shm > /dev/shm/x; echo disk > /data/x; echo ram > /data/ram/x").await;
        let check = async |script: &str, expected: &str| {
            assert_eq!(ask(&engine, &two, script).await.trim_end(), expected, "{script}");
        };
        check("cat /dev/shm/x /data/x /data/ram/x", "shm\ndisk\nram").await;
        check("id", "uid=33(web) gid=34 groups=34,50(staff)").await;
        check("echo $HOME", "/srv").await;
        check("grep -c 'CapEff:.0000000000000000' /proc/self/status", "1").await;
        check("cat /conf/a/key", "cat: can't open '/conf/a/key': Permission denied").await;
        check(
            "readlink /proc/self/ns/ipc",
            ask(&engine, &one, "readlink /proc/self/ns/ipc").await.trim_end(),
        )
        .await;
        let net = ask(&engine, &one, "readlink /proc/self/ns/net").await;
        check("readlink /proc/self/ns/net", net.trim_end()).await;
        assert_ne!(
            ask(&engine, &one, "readlink /proc/self/ns/pid").await,
            ask(&engine, &two, "readlink /proc/self/ns/pid").await
        );
        engine.remove_sandbox(&pod.pod).await.unwrap();
        assert_eq!(host.left(), Vec::<String>::new());
        engine.close().await.unwrap();
    });
}

#[test]
fn read_only_roots_and_no_new_privs_hold() {
    isolated("read_only_roots", |host| async move {
        let engine = host.engine().await;
        let pod = host.pod("strict");
        engine.create_sandbox(&pod).await.unwrap();
        let mut spec = host.script(&pod, "app", "exec sleep 1000");
        spec.security = Security {
            read_only_root: true,
            no_new_privs: true,
            capabilities_drop: vec!["ALL".into()],
            ..Security::default()
        };
        engine.start(&spec).await.unwrap();
        assert_eq!(ask(&engine, &spec, "touch /x").await, "touch: /x: Read-only file system\n");
        let status = ask(&engine, &spec, "cat /proc/self/status").await;
        for line in
            ["NoNewPrivs:\t1", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "Seccomp:\t2"]
        {
            assert!(status.contains(line), "{line:?} is not in {status}");
        }
        engine.remove_sandbox(&pod.pod).await.unwrap();
        engine.close().await.unwrap();
    });
}

#[test]
fn commands_have_exit_codes_and_a_timeout_ends_their_whole_tree() {
    isolated("commands", |host| async move {
        let engine = host.engine().await;
        let pod = host.pod("exec");
        engine.create_sandbox(&pod).await.unwrap();
        let spec = host.script(&pod, "app", "exec sleep 1000");
        engine.start(&spec).await.unwrap();
        assert_eq!(exec(&engine, &spec, "exit 3").await.status, ExitStatus::Code(3));
        assert_eq!(exec(&engine, &spec, "kill -9 $$").await.status, ExitStatus::Signal(9));
        let big = exec(&engine, &spec, "head -c 3000000 /dev/zero").await;
        assert_eq!((big.status, big.stdout.len()), (ExitStatus::Code(0), 1 << 20));
        let args = ["sh", "-c", "sleep 555 & sleep 555"].map(String::from).to_vec();
        let slow =
            ExecSpec { args, timeout: Some(Duration::from_millis(200)), output_limit: 10, alone: false };
        let result = engine.exec(&spec.container, &slow).await.unwrap();
        assert_eq!((result.timed_out, result.status), (true, ExitStatus::Signal(9)));
        assert_eq!(ask(&engine, &spec, "ps | grep -c '[s]leep 555'").await, "0\n");
        let missing = ExecSpec { args: vec!["/nope".into()], timeout: None, output_limit: 10, alone: false };
        let error = engine.exec(&spec.container, &missing).await.unwrap_err();
        let text = podbox::api::error::chain(&error);
        assert!(text.contains("exec \"/nope\": no such file or directory"), "{text}");
        assert_eq!(engine.list().await.unwrap().len(), 1);
        engine.remove_sandbox(&pod.pod).await.unwrap();
        assert_eq!(host.left(), Vec::<String>::new());
        engine.close().await.unwrap();
    });
}

#[test]
fn no_link_of_an_image_leads_out_of_its_container() {
    isolated("no_link_of_an_image_leads_out", |host| async move {
        let engine = host.engine().await;
        let pod = host.pod("hostile");
        engine.create_sandbox(&pod).await.unwrap();
        // What the keeper has open is none of the container's business, for its start as for commands in it.
        for number in 3..40 {
            let name = format!("fd{number}");
            let cwd = format!("/proc/self/fd/{number}");
            let spec = ContainerSpec { cwd, ..host.script(&pod, &name, "pwd; ls; ls ../../../..") };
            let error = engine.start(&spec).await.expect_err(&format!("it runs in descriptor {number}"));
            let why = chain(&error);
            assert!(why.contains("/proc/self/fd"), "{number}: {why}");
        }
        let beside = host.dir.join("rootfs").with_file_name("linked");
        let image = |links: &str| {
            crate::host::sh(&format!(
                "rm -rf {0}; cp -a {1} {0}; cd {0}; {links}",
                beside.display(),
                host.dir.join("rootfs").display()
            ));
            vec![beside.clone()]
        };
        for (name, links) in [
            ("proc", "mkdir -p dev realproc; ln -s ../realproc dev/p; ln -s dev/p proc"),
            ("sys", "mkdir real; ln -s real sys"),
            ("dev", "mkdir real; ln -s real dev"),
        ] {
            let spec = ContainerSpec { layers: image(links), ..host.script(&pod, name, "true") };
            let error = engine.start(&spec).await.expect_err(name);
            let why = chain(&error);
            assert!(why.contains("a link or a file where a directory must be"), "{name}: {why}");
        }
        // What lies there is not waited for either.
        let pipe = ContainerSpec {
            layers: image("rm etc/passwd; mkfifo etc/passwd"),
            ..host.script(&pod, "pipe", "true")
        };
        let error = engine.start(&pipe).await.unwrap_err();
        assert!(chain(&error).contains("not a regular file"));
        engine.remove_sandbox(&pod.pod).await.unwrap();
        std::fs::remove_dir_all(&beside).unwrap();
        assert_eq!(host.left(), Vec::<String>::new());
        engine.close().await.unwrap();
    });
}

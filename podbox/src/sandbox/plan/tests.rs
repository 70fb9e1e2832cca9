//! Plans as people read them.

use super::*;
use crate::api::plugin::Plugin;
use crate::sandbox::spec::{
    CpuMax, EmptyDir, FileVolume, Forward, Mount, Resources, Security, Sysctl, User, VolumeFile,
};
use std::net::Ipv4Addr;

fn facts(controllers: &[&str]) -> Facts {
    Facts {
        state_dir: "/state".into(),
        run_dir: "/run".into(),
        cgroup_root: "/cg".into(),
        controllers: controllers.iter().map(|name| name.to_string()).collect(),
    }
}

fn pod() -> SandboxSpec {
    SandboxSpec {
        pod: PodRef { namespace: "default".into(), name: "web".into(), uid: "u1".into() },
        hostname: "web".into(),
        qos: QosClass::Burstable,
        network: Network::Pod {
            address: Ipv4Addr::new(10, 85, 0, 2),
            prefix_len: 16,
            gateway: Ipv4Addr::new(10, 85, 0, 1),
        },
        resources: limits(),
        forwards: vec![],
        host_ipc: false,
        shared_pids: false,
        sysctls: vec![],
        hosts: String::new(),
        resolv_conf: String::new(),
        empty_dirs: vec![EmptyDir { name: "data".into(), memory: false, size_limit: None }],
        file_volumes: vec![FileVolume {
            name: "key".into(),
            plugin: Some(Plugin::Secret),
            memory: true,
            files: vec![VolumeFile { path: "a/b".into(), bytes: vec![1], mode: 0o400, owner: None }],
        }],
        host_volumes: vec![],
        fs_group: None,
    }
}

fn limits() -> Resources {
    Resources {
        cpu_max: Some(CpuMax { quota_us: 50_000, period_us: 100_000 }),
        memory_max: Some(1 << 20),
        oom_group: true,
        pids_max: Some(10),
        ..Resources::default()
    }
}

fn app(mounts: Vec<Mount>) -> ContainerSpec {
    ContainerSpec {
        container: ContainerRef { pod: pod().pod, name: "app".into(), attempt: 2 },
        qos: QosClass::Burstable,
        layers: vec!["/layers/top".into(), "/layers/base".into()],
        args: vec!["run".into()],
        env: vec![],
        cwd: String::new(),
        user: User::default(),
        mounts,
        resources: Resources::default(),
        security: Security::default(),
        pid: PidNamespace::Own,
        oom_score_adj: 0,
        stdin: false,
        stdin_once: false,
        tty: false,
        log_path: "/logs/0.log".into(),
        termination_path: String::new(),
    }
}

fn volume(name: &str, target: &str) -> Mount {
    let source = MountSource::Volume(name.into());
    Mount {
        source,
        target: target.into(),
        sub_path: String::new(),
        read_only: ReadOnly::No,
        propagation: Propagation::None,
    }
}

fn words(steps: &[Step]) -> Vec<String> {
    steps.iter().map(|step| format!("{} {}", step.name(), step.subject())).collect()
}

#[test]
fn a_sandbox_is_these_steps() {
    let steps = sandbox(&pod(), &facts(&["cpu", "memory"])).unwrap();
    let link = format!("attach-link {}", pod().pod.link_name());
    let expected = [
        "pin-namespaces /run/ns/u1",
        "make-directory /run/pods/u1",
        "make-directory /state/pods/u1",
        "make-cgroup /cg/podbox.slice/burstable/podu1",
        "mount-tmpfs /run/pods/u1/shm",
        "write-file /state/pods/u1/hosts",
        "write-file /state/pods/u1/resolv.conf",
        "write-file /state/pods/u1/hostname",
        link.as_str(),
        "make-directory /state/pods/u1/volume-data",
        "mount-tmpfs /run/pods/u1/volume-key",
        "fill-volume /run/pods/u1/volume-key",
    ];
    assert_eq!(words(&steps), expected);
    let filled = |step: &&Step| !matches!(step, Step::FillVolume { .. });
    assert!(steps.iter().filter(filled).all(|step| step.inverse().is_some()));
}

#[test]
fn what_a_pod_asks_for_beside_adds_steps_and_what_is_the_hosts_takes_pins_away() {
    let forward = Forward { address: [0; 4].into(), protocol: "TCP".into(), port: 8080, target_port: 80 };
    let sysctl = Sysctl { name: "net.ipv4.tcp_rmem".into(), value: "1".into() };
    let spec = SandboxSpec { shared_pids: true, sysctls: vec![sysctl], forwards: vec![forward], ..pod() };
    let steps = sandbox(&spec, &facts(&[])).unwrap();
    let plain = words(&sandbox(&pod(), &facts(&[])).unwrap());
    let more: Vec<String> = words(&steps).into_iter().filter(|step| !plain.contains(step)).collect();
    let expected = [
        "forward-ports 10.85.0.2",
        "set-sysctls /run/ns/u1",
        "make-cgroup /cg/podbox.slice/burstable/podu1/pids",
        "pause u1/pids",
    ];
    assert_eq!(more, expected);
    let joined = |spec: &SandboxSpec| {
        let joined = pause(spec, &facts(&[])).join;
        joined.iter().map(|pin| pin.file_name().unwrap().to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(joined(&spec), ["net", "ipc", "uts"]);
    assert_eq!(joined(&SandboxSpec { network: Network::Host, host_ipc: true, ..pod() }), ["uts"]);
}

#[test]
fn a_container_is_these_steps_and_its_teardown_their_inverses() {
    let facts = facts(&[]);
    let spec = app(vec![]);
    let steps = container(&spec, &pod(), &facts, String::new(), |_| None).unwrap();
    let expected = [
        "make-directory /state/pods/u1/app-2",
        "make-directory /state/pods/u1/app-2/upper",
        "make-directory /state/pods/u1/app-2/work",
        "make-cgroup /cg/podbox.slice/burstable/podu1/app-2",
        "allow-devices /cg/podbox.slice/burstable/podu1/app-2",
        "register /cg/podbox.slice/burstable/podu1/app-2",
        "launch u1/app-2",
    ];
    assert_eq!(words(&steps), expected);
    let teardown = container_teardown(&spec.container, spec.qos, &facts);
    let below = |undo: &Undo, tree: &Undo| match (undo, tree) {
        (Undo::Remove(path), Undo::Remove(tree)) => path.starts_with(tree),
        _ => undo == tree,
    };
    for undo in steps.iter().filter_map(Step::inverse) {
        assert!(teardown.iter().any(|tree| below(&undo, tree)), "{undo:?} is not in {teardown:?}");
    }
}

#[test]
fn an_init_is_there_before_its_container_and_goes_with_it() {
    let facts = facts(&[]);
    let spec = ContainerSpec { pid: PidNamespace::Attended, ..app(vec![]) };
    let steps = container(&spec, &pod(), &facts, String::new(), |_| None).unwrap();
    let last =
        ["make-cgroup /cg/podbox.slice/burstable/podu1/app-2.init", "pause u1/app-2.init", "launch u1/app-2"];
    assert_eq!(words(&steps)[6..], last);
    let teardown = init_teardown(&spec.container, spec.qos, &facts);
    let inverses: Vec<Undo> = steps[6..8].iter().rev().filter_map(Step::inverse).collect();
    assert_eq!(teardown, inverses);
}

#[test]
fn limits_are_written_where_the_host_can_and_named_where_it_cannot() {
    let written = |controllers: &[&str]| -> Vec<String> {
        let settings = enforced(&limits(), &facts(controllers));
        settings.iter().map(|s| format!("{}={}", s.file, s.value)).collect()
    };
    let missing = |controllers: &[&str]| -> Vec<&str> {
        unenforced(&limits(), &facts(controllers)).iter().map(|u| u.setting).collect()
    };
    let memory = ["memory.max=1048576", "memory.swap.max=0", "memory.oom.group=1"];
    assert_eq!(written(&["cpu", "memory", "pids"])[1..4], memory);
    assert_eq!(missing(&["cpu", "memory", "pids"]), Vec::<&str>::new());
    assert_eq!(written(&["cpu"]), ["cpu.max=50000 100000"]);
    assert_eq!(missing(&["cpu"]), ["memory.max", "memory.oom.group", "pids.max"]);
    assert_eq!(missing(&[]), ["cpu.max", "memory.max", "memory.oom.group", "pids.max"]);
}

#[test]
fn what_another_share_leaves_out_does_not_stay() {
    let written = |controllers: &[&str]| -> Vec<String> {
        let wanted = Resources { memory_max: Some(1 << 20), ..Resources::default() };
        let settings = resized(&wanted, &facts(controllers));
        settings.iter().map(|s| format!("{}={}", s.file, s.value)).collect()
    };
    let all = ["memory.max=1048576", "memory.swap.max=0", "cpu.max=max", "memory.high=max", "memory.min=0"];
    assert_eq!(written(&["cpu", "memory", "pids"]), all);
    assert_eq!(written(&["cpu"]), ["cpu.max=max"]);
}

#[test]
fn of_what_is_built_the_names_of_files_are_kept_and_what_is_in_them_is_not() {
    let kept = pod().without_bytes();
    let file = &kept.file_volumes[0].files[0];
    assert_eq!((file.path.as_str(), file.bytes.len()), ("a/b", 0));
    assert_eq!(kept.empty_dirs, pod().empty_dirs);
}

#[test]
fn mounts_come_outermost_first_and_may_replace_the_pods_own_but_not_hide_them() {
    let at = [
        ("key", "/data/deep/key"),
        ("data", "/data"),
        ("data", "/etc/hosts/"),
        ("data", "/etc"),
        ("data", "/dev"),
    ];
    let mounts = at.map(|(name, target)| volume(name, target)).to_vec();
    let steps = container(&app(mounts), &pod(), &facts(&[]), String::new(), |_| None).unwrap();
    let Some(Step::Launch(launch)) = steps.last() else { panic!("no launch in {steps:?}") };
    let targets: Vec<_> = launch.binds.iter().map(|bind| bind.target.as_str()).collect();
    assert_eq!(
        targets,
        [
            "/data",
            "/etc",
            "/dev",
            "/dev/shm",
            "/etc/resolv.conf",
            "/etc/hostname",
            "/etc/hosts/",
            "/data/deep/key"
        ]
    );
}

#[test]
fn specs_that_would_leave_their_place_are_refused() {
    let refused = |change: &dyn Fn(&mut SandboxSpec)| {
        let mut spec = pod();
        change(&mut spec);
        sandbox(&spec, &facts(&[])).unwrap_err().to_string()
    };
    assert_eq!(refused(&|s| s.pod.uid = "../x".into()), "pod uid \"../x\" cannot be a file name");
    assert_eq!(refused(&|s| s.empty_dirs[0].name = "a/b".into()), "volume \"a/b\" cannot be a file name");
    for path in ["/etc/x", "../x", "a/../../x", ""] {
        let text = refused(&|s| s.file_volumes[0].files[0].path = path.into());
        assert_eq!(text, format!("volume \"key\": {path:?} leads out of the volume"));
    }
    let container_error = |spec: ContainerSpec| {
        container(&spec, &pod(), &facts(&[]), String::new(), |_| None).unwrap_err().to_string()
    };
    assert_eq!(
        container_error(app(vec![volume("none", "/x")])),
        "container \"app\" mounts volume \"none\", which its pod does not have"
    );
    assert_eq!(
        container_error(app(vec![volume("data", "x")])),
        "container \"app\": \"x\" is not an absolute path"
    );
}

#[test]
fn a_container_joins_the_pid_namespace_of_the_run_that_there_is() {
    let pids = |pid: PidNamespace| {
        let spec = ContainerSpec { pid, ..app(vec![]) };
        let run = |name: &str| {
            (name == "web").then(|| ContainerRef { pod: pod().pod, name: name.into(), attempt: 3 })
        };
        let steps = container(&spec, &pod(), &facts(&[]), String::new(), run)?;
        let Some(Step::Launch(launch)) = steps.last() else { panic!("no launch in {steps:?}") };
        Ok::<_, PlanError>(launch.pids.clone())
    };
    assert_eq!(pids(PidNamespace::Own), Ok(Pids::New));
    assert_eq!(pids(PidNamespace::OfContainer("web".into())), Ok(Pids::Of("u1/web-3".into())));
    assert_eq!(pids(PidNamespace::Attended), Ok(Pids::Of("u1/app-2.init".into())));
    assert_eq!(pids(PidNamespace::OfPod), Ok(Pids::Of("u1/pids".into())));
    let error = pids(PidNamespace::OfContainer("gone".into())).unwrap_err().to_string();
    assert_eq!(error, "unable to find target container \"gone\": it does not run");
}

#[test]
fn volumes_are_known_by_what_makes_them() {
    let plugins = plugins(&pod(), &facts(&[])).unwrap();
    let told: Vec<_> = plugins.iter().map(|(path, plugin)| (path.to_str().unwrap(), plugin.name())).collect();
    let data = ("/state/pods/u1/volume-data", "kubernetes.io/empty-dir");
    let key = ("/run/pods/u1/volume-key", "kubernetes.io/secret");
    assert_eq!(told, [key, data]);
    // Each by the directory of one of the steps that make it.
    let steps = sandbox(&pod(), &facts(&[])).unwrap();
    let made = |path: &str| steps.iter().any(|step| step.directory() == Some(Path::new(path)));
    assert!(made(data.0) && made(key.0), "{steps:?}");
}

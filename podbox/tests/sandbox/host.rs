//! A place to run pods in that is taken away afterwards, and what is left is an error.

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use podbox::api::attribution::Untraced;
use podbox::api::identity::{ContainerRef, PodRef, QosClass};
use podbox::config::Config;
use podbox::sandbox::engine::{Engine, Options};
use podbox::sandbox::runtime::{ExecResult, ExecSpec, Runtime};
use podbox::sandbox::spec::{ContainerSpec, Network, PidNamespace, Resources, SandboxSpec, Security, User};
use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Where a test's pods run.
pub struct Host {
    pub dir: PathBuf,
    pub config: Config,
    before: BTreeSet<String>,
}

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Runs a test in namespaces of its own; skips it, loudly, where it cannot run.
pub fn isolated<F: Future<Output = ()>>(name: &str, test: impl FnOnce(Arc<Host>) -> F + Send + 'static) {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED {name}: needs root");
        return;
    }
    let thread = std::thread::spawn(move || {
        // Threads that the runtime starts from here, and the keeper, inherit both.
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).unwrap();
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
        let host = Arc::new(Host::new());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.unwrap().block_on(test(host));
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

impl Drop for Host {
    // Also when the test failed.
    fn drop(&mut self) {
        self.clean_up();
    }
}

impl Host {
    fn new() -> Host {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("podbox-test-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(&name);
        fs::create_dir(&dir).unwrap();
        // overlayfs wants a file system of its own kind below: not another overlay.
        mount(Some("tmpfs"), &dir, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        let unified = Path::new("/sys/fs/cgroup/unified");
        let root = if unified.exists() { unified } else { Path::new("/sys/fs/cgroup") };
        let offered = fs::read_to_string(root.join("cgroup.controllers")).unwrap();
        for controller in offered.split_whitespace() {
            fs::write(root.join("cgroup.subtree_control"), format!("+{controller}")).unwrap();
        }
        let config = Config {
            state_dir: dir.join("state"),
            run_dir: dir.join("run"),
            log_dir: dir.join("logs"),
            cgroup_root: root.join(&name),
            ..Config::default()
        };
        fs::create_dir(&config.cgroup_root).unwrap();
        fs::create_dir(&config.run_dir).unwrap();
        fs::create_dir(&config.state_dir).unwrap();
        sh("ip link set lo up; ip link add podbox0 type bridge; ip addr add 10.85.0.1/16 dev podbox0");
        sh("ip link set podbox0 up");
        make_root(&dir.join("rootfs"));
        let before = Host::traces(&dir);
        Host { dir, config, before }
    }

    /// An engine, and with the first one the keeper.
    pub async fn engine(&self) -> Engine {
        self.engine_with(Options::default()).await
    }

    pub async fn engine_with(&self, options: Options) -> Engine {
        let options = Options { program: env!("CARGO_BIN_EXE_podbox").into(), ..options };
        Engine::open(&self.config, options, Arc::new(Untraced)).await.unwrap()
    }

    /// Links and mounts that exist now.
    fn traces(dir: &Path) -> BTreeSet<String> {
        let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let mounts = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(str::to_owned);
        let links = Command::new("ip").args(["-o", "link"]).output().unwrap().stdout;
        let links = String::from_utf8(links).unwrap();
        let links = links.lines().filter_map(|line| line.split(' ').nth(1)).map(str::to_owned);
        let kept = |path: &String| path.starts_with(dir.to_str().unwrap()) || !path.starts_with('/');
        mounts.chain(links).filter(kept).collect()
    }

    /// Everything a pod could leave: mounts, links, cgroups, files.
    pub fn left(&self) -> Vec<String> {
        let ns = self.config.run_dir.join("ns").display().to_string();
        let mut left: Vec<String> =
            Host::traces(&self.dir).into_iter().filter(|t| !self.before.contains(t) && *t != ns).collect();
        let slice = self.config.cgroup_root.join("podbox.slice");
        for qos in ["guaranteed", "burstable", "besteffort"] {
            left.extend(entries(&slice.join(qos)).into_iter().filter(|path| Path::new(path).is_dir()));
        }
        for dir in ["sandboxes", "pods", "ns", "root", "empty"] {
            left.extend(entries(&self.config.run_dir.join(dir)));
        }
        left.extend(entries(&self.config.state_dir.join("pods")));
        left
    }

    fn clean_up(&self) {
        let _ = fs::write(self.config.cgroup_root.join("cgroup.kill"), "1");
        let procs = self.config.cgroup_root.join("cgroup.events");
        // A test that failed half way leaves processes; the kernel needs a moment to end them.
        while fs::read_to_string(&procs).unwrap().contains("populated 1") {
            std::thread::yield_now();
        }
        remove_groups(&self.config.cgroup_root);
        let _ = umount2(&self.dir, MntFlags::MNT_DETACH);
        let _ = fs::remove_dir(&self.dir);
    }

    pub fn pod(&self, name: &str) -> SandboxSpec {
        let uid = format!("uid-{name}");
        SandboxSpec {
            pod: PodRef { namespace: "default".into(), name: name.into(), uid },
            hostname: name.into(),
            qos: QosClass::Burstable,
            network: Network::Pod {
                address: Ipv4Addr::new(10, 85, 0, 9),
                prefix_len: 16,
                gateway: Ipv4Addr::new(10, 85, 0, 1),
            },
            resources: Resources::default(),
            forwards: vec![],
            host_ipc: false,
            shared_pids: false,
            sysctls: vec![],
            hosts: "127.0.0.1 localhost\n".into(),
            resolv_conf: "nameserver 10.0.0.1\n".into(),
            empty_dirs: vec![],
            file_volumes: vec![],
            host_volumes: vec![],
            fs_group: None,
        }
    }

    /// A container of busybox that runs a shell script.
    pub fn script(&self, pod: &SandboxSpec, name: &str, script: &str) -> ContainerSpec {
        ContainerSpec {
            container: ContainerRef { pod: pod.pod.clone(), name: name.into(), attempt: 0 },
            qos: pod.qos,
            layers: vec![self.dir.join("rootfs")],
            args: ["sh", "-c", script].map(String::from).to_vec(),
            env: vec!["PATH=/bin".into(), "GREETING=hello world".into()],
            cwd: "/srv/here".into(),
            user: User::default(),
            mounts: vec![],
            resources: Resources::default(),
            security: Security::default(),
            pid: PidNamespace::Own,
            oom_score_adj: 900,
            stdin: false,
            stdin_once: false,
            tty: false,
            log_path: self.config.log_dir.join(&pod.pod.uid).join(name).join("0.log"),
            termination_path: String::new(),
        }
    }

    /// What a container wrote, without the log's own columns.
    pub fn log(&self, spec: &ContainerSpec) -> String {
        let text = fs::read_to_string(&spec.log_path).unwrap_or_default();
        text.lines().filter_map(|line| line.splitn(4, ' ').nth(3)).map(|line| format!("{line}\n")).collect()
    }
}

/// Runs a script in a running container.
pub async fn exec(engine: &Engine, spec: &ContainerSpec, script: &str) -> ExecResult {
    let args = ["sh", "-c", script].map(String::from).to_vec();
    let spec_ =
        ExecSpec { args, timeout: Some(Duration::from_secs(120)), output_limit: 1 << 20, alone: false };
    engine.exec(&spec.container, &spec_).await.unwrap()
}

/// The same, for what it prints.
pub async fn ask(engine: &Engine, spec: &ContainerSpec, script: &str) -> String {
    let result = exec(engine, spec, script).await;
    format!("{}{}", String::from_utf8_lossy(&result.stdout), String::from_utf8_lossy(&result.stderr))
}

pub fn sh(script: &str) {
    assert!(Command::new("sh").args(["-c", script]).status().unwrap().success(), "{script}");
}

fn entries(dir: &Path) -> Vec<String> {
    let list = fs::read_dir(dir).into_iter().flatten().flatten();
    list.map(|entry| entry.path().display().to_string()).collect()
}

fn remove_groups(path: &Path) {
    for child in entries(path).iter().map(Path::new).filter(|child| child.is_dir()) {
        remove_groups(child);
    }
    let _ = fs::remove_dir(path);
}

fn make_root(dir: &Path) {
    for name in ["bin", "etc", "tmp", "evil"] {
        fs::create_dir_all(dir.join(name)).unwrap();
    }
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    let busybox = busybox.expect("busybox-static is installed");
    fs::copy(busybox, dir.join("bin/busybox")).unwrap();
    for tool in
        "sh cat ls id hostname sleep echo grep mount ipcs mkdir mknod kill touch stat ps test dd head readlink ip wc true"
            .split(' ')
    {
        std::os::unix::fs::symlink("busybox", dir.join("bin").join(tool)).unwrap();
    }
    fs::write(dir.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/srv:/bin/sh\n")
        .unwrap();
    fs::write(dir.join("etc/group"), "root:x:0:\nstaff:x:50:web\n").unwrap();
}

//! A `podbox node` as a process of its own: started, measured, ended or killed.

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podbox::api::probed::Row;
use podbox::clock;
use podbox_tests::api::Access;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How its first lines say where the kubeconfig is.
const SAYS: &str = "export KUBECONFIG=";

/// Where nodes run: a directory on a real disk, and a cgroup, so that what they leave running is ended in the end.
pub struct Ground {
    dir: tempfile::TempDir,
    cgroup: PathBuf,
}

impl Ground {
    /// Makes both. What is durable in memory proves nothing, so that is refused.
    pub fn new() -> Result<Ground> {
        let program = std::env::current_exe()?;
        let beside = program.parent().context("a program lies in a directory")?;
        let ground = Ground::below(beside)?;
        ensure!(ground.file_system()? != "tmpfs", "{} is in memory; run this on a host", beside.display());
        Ok(ground)
    }

    /// Makes both, the directory below this one.
    pub fn below(place: &Path) -> Result<Ground> {
        let dir = tempfile::Builder::new().prefix("bench-node-").tempdir_in(place)?;
        let root = podbox::cli::config().cgroup_root;
        let ground = Ground { dir, cgroup: root.join(format!("podbox-bench-{}", std::process::id())) };
        let offered = fs::read_to_string(root.join("cgroup.controllers")).context("cgroup v2")?;
        for controller in offered.split_whitespace() {
            // One that cannot be handed on is one that the node does without.
            fs::write(root.join("cgroup.subtree_control"), format!("+{controller}")).ok();
        }
        fs::create_dir(&ground.cgroup).context("a cgroup")?;
        Ok(ground)
    }

    /// Where things can be kept.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Loads the test image into the state of this name.
    pub fn load_image(&self, name: &str) -> Result<()> {
        let image = std::env::var_os("PODBOX_BENCH_IMAGE")
            .context("`cargo xtask bench` says where the test image is")?;
        let mut load = self.podbox(name)?;
        let loaded = load.args(["image", "load"]).arg(image).stdout(Stdio::null()).status();
        ensure!(loaded.context("starting podbox")?.success(), "loading the test image failed");
        Ok(())
    }

    /// Takes away what a podbox that has ended kept under this name.
    pub fn forget(&self, name: &str) -> Result<()> {
        Ok(fs::remove_dir_all(self.path().join(name))?)
    }

    /// podbox with its state under this name.
    fn podbox(&self, name: &str) -> Result<Command> {
        let mut podbox = Command::new(std::env::current_exe()?.with_file_name("podbox"));
        podbox.env("PODBOX_STATE_DIR", self.path().join(name)).env("PODBOX_CGROUP_ROOT", &self.cgroup);
        podbox.stdin(Stdio::null());
        Ok(podbox)
    }

    /// What the podbox that runs on this ground tells of its probes.
    pub fn probes(&self, name: &str) -> Result<Vec<Row>> {
        let told = self.podbox(name)?.args(["probes", "-o", "json"]).output().context("starting podbox")?;
        ensure!(told.status.success(), "podbox probes: {}", String::from_utf8_lossy(&told.stderr));
        Ok(serde_json::from_slice(&told.stdout)?)
    }

    /// Why the containers of a pod ended, as the podbox that runs on this ground tells.
    pub fn why(&self, name: &str, pod: &str) -> Result<Value> {
        let told = self.podbox(name)?.args(["why", pod, "-o", "json"]).output().context("starting podbox")?;
        ensure!(told.status.success(), "podbox why: {}", String::from_utf8_lossy(&told.stderr));
        Ok(serde_json::from_slice(&told.stdout)?)
    }

    /// A process of a pod, by the pod's uid.
    pub fn process_of(&self, uid: &str) -> Result<Pid> {
        let tree = self.cgroup.join("podbox.slice/besteffort").join(format!("pod{uid}"));
        first_process(&tree)?.with_context(|| format!("nothing runs in {}", tree.display()))
    }

    /// What kind of file system that is on.
    pub fn file_system(&self) -> Result<String> {
        let mut find = Command::new("findmnt");
        let found = find.args(["-n", "-o", "FSTYPE", "-T"]).arg(self.path()).output();
        let found = found.context("starting findmnt")?;
        Ok(String::from_utf8_lossy(&found.stdout).trim().to_owned())
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        podbox_tests::host::end_cgroup(&self.cgroup);
    }
}

/// A node that serves.
pub struct Node {
    child: Child,
    /// Its keeper's process.
    pub keeper: Pid,
    /// How to get in.
    pub access: Access,
    /// From the process' start to its first answer.
    pub started_in: Duration,
}

impl Node {
    /// Starts one that keeps its state under this name.
    pub async fn start(ground: &Ground, name: &str) -> Result<Node> {
        Node::start_with(ground, name, &[]).await
    }

    /// The same, with more options.
    pub async fn start_with(ground: &Ground, name: &str, options: &[&str]) -> Result<Node> {
        let began = clock::instant();
        let mut command = ground.podbox(name)?;
        // A disk that others have filled is not what is measured.
        command.args(["node", "--eviction-hard", ""]).args(options);
        let mut child = command.stdout(Stdio::piped()).spawn().context("starting podbox")?;
        let said = BufReader::new(child.stdout.take().context("it has standard output")?);
        let mut lines = said.lines().map_while(Result::ok);
        let Some(path) = lines.find_map(|line| line.split_once(SAYS).map(|(_, path)| path.to_owned())) else {
            bail!("podbox node ended before it served: {}", child.wait()?);
        };
        let access = Access::read(Path::new(path.trim()))?;
        let answer = access.ask("GET", "/api/v1/namespaces/default", None).await?;
        ensure!(answer.code == 200, "the first request was answered with {}", answer.code);
        let started_in = clock::instant() - began;
        let keeper = first_process(&ground.cgroup.join("podbox.slice/keeper"))?.context("it has a keeper")?;
        Ok(Node { child, keeper, access, started_in })
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Time that it has spent on a processor, all threads together.
    pub fn worked(&self) -> Result<Duration> {
        worked(self.pid())
    }

    /// Megabytes that the process holds once it has had a moment.
    pub async fn resident_when_quiet(&self) -> Result<f64> {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("it has VmRSS")?;
        let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kilobytes / 1024.0)
    }

    /// Ends it as an administrator does.
    pub fn end(&mut self) -> Result<()> {
        self.finish(Signal::SIGTERM)
    }

    /// Ends it as a fault does.
    pub fn kill(&mut self) -> Result<()> {
        self.finish(Signal::SIGKILL)
    }

    fn finish(&mut self, signal: Signal) -> Result<()> {
        kill(self.pid(), signal)?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Time that a process has spent on a processor, all threads together.
pub fn worked(pid: Pid) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // What follows the name, which may have anything in it: user and system time are the 14th and 15th of all.
    let rest = stat.rsplit_once(')').context("a process has a name")?.1;
    let ticks = rest.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    Ok(Duration::from_millis(ticks.sum::<Result<u64, _>>()? * 10))
}

/// The same of a process with one thread, to the nanosecond.
pub fn running_for(pid: Pid) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/schedstat"))?;
    let nanos = stat.split_whitespace().next().context("schedstat begins with the time")?;
    Ok(Duration::from_nanos(nanos.parse()?))
}

/// Sets a thread's priority, or that of a process with one thread.
pub fn renice(thread: Pid, nice: i32) -> Result<()> {
    let mut renice = Command::new("renice");
    let done = renice.args(["-n", &nice.to_string(), "-p", &thread.to_string()]).output();
    let done = done.context("starting renice")?;
    ensure!(done.status.success(), "renice of {thread}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

/// Kilobytes of memory that a process has to itself, with its share of what it has in common with others.
pub fn proportional(pid: Pid) -> Result<f64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).context("the kernel tells it")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Some process in a cgroup or below it.
pub fn first_process(cgroup: &Path) -> Result<Option<Pid>> {
    let processes = fs::read_to_string(cgroup.join("cgroup.procs"))?;
    if let Some(first) = processes.lines().next() {
        return Ok(Some(Pid::from_raw(first.parse()?)));
    }
    for entry in fs::read_dir(cgroup)? {
        let entry = entry?;
        if entry.file_type()?.is_dir()
            && let Some(found) = first_process(&entry.path())?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

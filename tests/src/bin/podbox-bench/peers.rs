//! What podbox is measured beside: Debian's crun and runc, the bridge CNI plugin, and a bare spawn.

use anyhow::{Context, Result, bail, ensure};
use podbox::clock;
use podbox::config::Config;
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const PLUGINS: &str = "/usr/lib/cni";
const BUSYBOX: &str = "/bin/busybox";
const SUBNET: &str = "10.99.0.0/16";

/// Runs a command to its end; how long that took. It must succeed.
pub fn timed(command: &mut Command) -> Result<Duration> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let begun = clock::instant();
    let status = command.status().with_context(|| format!("starting {:?}", command.get_program()))?;
    let took = begun.elapsed();
    ensure!(status.success(), "{command:?} failed: {status}");
    Ok(took)
}

/// The least that starting a program costs.
pub fn bare() -> Command {
    Command::new("/bin/true")
}

/// The same with the program that is `true` in containers: busybox, without any library to load.
pub fn bare_busybox() -> Command {
    let mut command = Command::new(BUSYBOX);
    command.arg("true");
    command
}

/// The kernel, for headings.
pub fn kernel() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

/// The runtimes that work here.
pub struct Runtimes {
    /// In a fixed order.
    pub found: Vec<OciRuntime>,
    missing: Vec<String>,
    _dir: tempfile::TempDir,
}

/// One runtime, with a bundle to run.
pub struct OciRuntime {
    /// Its name.
    pub name: &'static str,
    dir: PathBuf,
}

impl Runtimes {
    /// Tries each once.
    pub fn find() -> Result<Runtimes> {
        let dir = tempfile::tempdir().context("a directory for bundles")?;
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for name in ["crun", "runc"] {
            let runtime = OciRuntime { name, dir: dir.path().join(name) };
            let tried = runtime.bundle().and_then(|()| timed(&mut runtime.run("bench-try")).map(drop));
            match tried {
                Ok(()) => found.push(runtime),
                Err(error) => missing.push(format!("{name} cannot run here: {error:#}")),
            }
        }
        Ok(Runtimes { found, missing, _dir: dir })
    }

    /// Those that do not, and why.
    pub fn missing(&self) -> &[String] {
        &self.missing
    }

    /// What was left out, and where podbox worked.
    pub fn note(&self, config: &Config) -> String {
        let mut notes = self.missing.clone();
        notes.push(format!("podbox's directories were in {}", config.state_dir.display()));
        notes.join("\n")
    }
}

impl OciRuntime {
    fn bundle(&self) -> Result<()> {
        for (name, command) in [("true", ["/bin/true"].as_slice()), ("sleep", &["/bin/sleep", "100000"])] {
            let bundle = self.dir.join(name);
            let bin = bundle.join("rootfs/bin");
            for dir in ["bin", "proc", "dev", "sys", "etc"] {
                fs::create_dir_all(bundle.join("rootfs").join(dir))?;
            }
            fs::copy(BUSYBOX, bin.join("busybox")).context("busybox-static is needed")?;
            for applet in ["true", "sleep"] {
                std::os::unix::fs::symlink("busybox", bin.join(applet))?;
            }
            timed(Command::new(self.name).arg("spec").current_dir(&bundle))?;
            let path = bundle.join("config.json");
            let mut config: Value = serde_json::from_slice(&fs::read(&path)?)?;
            config["process"]["args"] = json!(command);
            config["process"]["terminal"] = json!(false);
            fs::write(&path, config.to_string())?;
        }
        Ok(())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.name);
        command.arg("--root").arg(self.dir.join("state"));
        command
    }

    /// `run` of `/bin/true`.
    pub fn run(&self, id: &str) -> Command {
        let mut command = self.command();
        command.arg("run").arg("--bundle").arg(self.dir.join("true")).arg(id);
        command
    }

    /// `exec` of `/bin/true`.
    pub fn exec(&self, id: &str) -> Command {
        let mut command = self.command();
        command.args(["exec", id, "/bin/true"]);
        command
    }

    /// A container that runs until the result is dropped.
    pub fn hold(&self, id: &str) -> Result<Running<'_>> {
        let mut command = self.command();
        command.arg("run").arg("--bundle").arg(self.dir.join("sleep")).arg(id);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().with_context(|| format!("starting {}", self.name))?;
        let running = Running { runtime: self, id: id.to_owned(), child };
        // It has started when a command can be run in it.
        let deadline = clock::instant() + Duration::from_secs(30);
        while timed(&mut self.exec(id)).is_err() {
            ensure!(clock::instant() < deadline, "{} does not run its container", self.name);
        }
        Ok(running)
    }
}

/// A runtime's container.
pub struct Running<'a> {
    runtime: &'a OciRuntime,
    id: String,
    child: Child,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut delete = self.runtime.command();
        let _ = timed(delete.args(["delete", "--force", &self.id]));
        let _ = self.child.wait();
    }
}

/// The bridge plugin with host-local addresses and no masquerade: less than podbox does per pod.
pub struct Cni {
    config: String,
}

impl Cni {
    /// Finds the plugin.
    pub fn new() -> Result<Cni> {
        ensure!(Path::new(PLUGINS).join("bridge").exists(), "containernetworking-plugins is needed");
        let ipam = json!({ "type": "host-local", "subnet": SUBNET, "dataDir": "/run/podbox-bench-cni" });
        let config = json!({
            "cniVersion": "0.4.0", "name": "bench", "type": "bridge", "bridge": "benchcni0",
            "isGateway": true, "ipam": ipam,
        });
        Ok(Cni { config: config.to_string() })
    }

    /// ADD into a new network namespace, which is made before and taken away after, untimed.
    pub fn add(&self, round: usize) -> Result<Duration> {
        let name = format!("bench-{round}");
        timed(Command::new("ip").args(["netns", "add", &name]))?;
        let added = self.call("ADD", &name);
        let removed = self.call("DEL", &name);
        timed(Command::new("ip").args(["netns", "del", &name]))?;
        removed?;
        added
    }

    fn call(&self, verb: &str, name: &str) -> Result<Duration> {
        let mut command = Command::new(Path::new(PLUGINS).join("bridge"));
        command
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", name)
            .env("CNI_NETNS", format!("/run/netns/{name}"))
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", PLUGINS);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let begun = clock::instant();
        let mut child = command.spawn().context("starting the bridge plugin")?;
        child.stdin.take().context("it has standard input")?.write_all(self.config.as_bytes())?;
        let output = child.wait_with_output()?;
        let took = begun.elapsed();
        if !output.status.success() {
            bail!("the bridge plugin's {verb} failed: {}", String::from_utf8_lossy(&output.stdout));
        }
        Ok(took)
    }

    /// Takes its bridge away.
    pub fn clean(&self) {
        let _ = timed(Command::new("ip").args(["link", "del", "benchcni0"]));
        let _ = fs::remove_dir_all("/run/podbox-bench-cni");
    }
}

//! A `podbox node` on a host of the test's own, and the clients that people use against it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::ask::Session;
use crate::host::Host;
use crate::run::Run;
use crate::{needs, program, workspace};

/// A node that serves.
#[derive(Debug)]
pub struct Node {
    /// Where it runs.
    pub host: Host,
    /// The daemon; none only while one follows another.
    run: Option<Run>,
    /// What `podbox node` is asked for.
    options: Vec<String>,
    pub(crate) session: Session,
}

impl Node {
    /// Starts a node, with the test image; none, loudly, where the test `name` cannot run.
    pub fn start(name: &str) -> Option<Node> {
        needs::program(name, "kubectl")?;
        Some(Node::on(Host::new(name)?))
    }

    /// Starts a node on this host.
    pub fn on(host: Host) -> Node {
        Node::with(host, Vec::new())
    }

    /// Starts a node on this host, with these options.
    pub fn with(host: Host, options: Vec<String>) -> Node {
        let run = Some(serve(&host, &options));
        Node { host, run, options, session: Session::default() }
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.host.dir.join("state/admin.kubeconfig")
    }

    /// A client's program: the node's kubeconfig, a home of its own, the programs of this build first in `PATH`.
    pub fn client(&self, name: &str) -> Command {
        let mut client = Command::new(name);
        let built = program("podbox");
        let built = built.parent().expect("a program lies in a directory").to_owned();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(std::iter::once(built).chain(std::env::split_paths(&path)));
        client
            .current_dir(&self.host.dir)
            .env("PATH", path.expect("no directory has a colon in its name"))
            .env("HOME", &self.host.dir)
            .env("KUBECONFIG", self.kubeconfig())
            .env("FILES", workspace().join("tests/transcripts/files"))
            .env("EXAMPLES", workspace().join("examples"))
            .env("LC_ALL", "C.UTF-8")
            .env_remove("KUBERNETES_SERVICE_HOST");
        for (name, value) in self.host.podbox().get_envs() {
            if let Some(value) = value {
                client.env(name, value);
            }
        }
        client
    }

    /// What `kubectl ARGS` prints; panics if it fails.
    #[track_caller]
    pub fn kubectl(&self, args: &[&str]) -> String {
        let output = self.client("kubectl").args(args).output().expect("kubectl starts");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "kubectl {args:?}:\n{out}{err}{}", self.complained());
        out.into_owned()
    }

    /// What the node has said of troubles so far.
    pub fn complained(&self) -> String {
        self.run.as_ref().map(Run::complained).unwrap_or_default()
    }

    /// Megabytes that the daemon has held at most.
    pub fn peak(&self) -> f64 {
        let run = self.run.as_ref().expect("it runs");
        let status = fs::read_to_string(format!("/proc/{}/status", run.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("each process has it");
        line.trim().trim_end_matches(" kB").parse::<f64>().expect("it is a number") / 1024.0
    }

    /// Sends the daemon a signal.
    pub fn signal(&self, signal: Signal) {
        self.run.iter().for_each(|run| run.signal(signal));
    }

    /// Ends the daemon with this signal and starts another one in its place.
    pub fn restart(&mut self, signal: Signal) {
        self.session.end();
        if let Some(run) = self.run.take() {
            run.signal(signal);
            run.end();
        }
        self.run = Some(serve(&self.host, &self.options));
    }

    /// The same, with other options from then on.
    pub fn restart_with(&mut self, signal: Signal, options: Vec<String>) {
        self.options = options;
        self.restart(signal);
    }
}

fn serve(host: &Host, options: &[String]) -> Run {
    let mut command = host.podbox();
    command.arg("node").args(options);
    let mut run = Run::start(command, &host.dir);
    run.wait_said("export KUBECONFIG=");
    run
}

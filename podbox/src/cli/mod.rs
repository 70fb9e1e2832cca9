//! The command line: one file per command. Each prints for people; an error is one line on stderr.

mod doctor;
mod duties;
mod events;
mod image;
mod kubeconfig;
mod live;
pub mod load;
mod node;
mod notify;
mod pods;
mod probes;
mod run;
mod serve;
mod sim;
mod stop;
mod summary;
mod table;
mod trace;
mod why;

use crate::api::probe::TcpProbe;
use crate::config::{Config, SeccompDefault};
use clap::{Args, Parser, Subcommand};
use ipnet::Ipv4Net;
use std::io::IsTerminal;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tracing_subscriber::EnvFilter;

/// What help ends with.
const ENVIRONMENT: &str = "\
Environment:
  PODBOX_…    Each of these options by its name: PODBOX_STATE_DIR=DIR is --state-dir DIR. The command line goes first
  PODBOX_LOG  What is logged on standard error: error, warn (the default), info, debug, or that of single parts,
              as in warn,podbox::node=debug";

/// Runs Kubernetes pods on this node and lets the kernel say what happens to them.
#[derive(Debug, Parser)]
#[command(name = "podbox", version, max_term_width = 100, after_help = ENVIRONMENT)]
struct Cli {
    #[command(flatten)]
    node: NodeArgs,
    #[command(subcommand)]
    command: Command,
}

/// Where help has the options of all commands: below those of the command itself.
const PLACES: &str = "Where this node keeps things";
const ADDRESSES: &str = "Addresses and names";
const PODS: &str = "What holds for all pods";

/// What this node is; the defaults fit a host of its own.
#[derive(Debug, Args)]
struct NodeArgs {
    /// What outlives a reboot: images, container roots [default: /var/lib/podbox]
    #[arg(long, global = true, help_heading = PLACES, env = "PODBOX_STATE_DIR", value_name = "DIR", hide_env = true)]
    state_dir: Option<PathBuf>,
    /// What a reboot may take: namespaces, sockets, the lock [default: /run/podbox]
    #[arg(long, global = true, help_heading = PLACES, env = "PODBOX_RUN_DIR", value_name = "DIR", hide_env = true)]
    run_dir: Option<PathBuf>,
    /// Container logs [default: /var/log/pods]
    #[arg(long, global = true, help_heading = PLACES, env = "PODBOX_LOG_DIR", value_name = "DIR", hide_env = true)]
    log_dir: Option<PathBuf>,
    /// Where cgroup v2 is mounted [default: /sys/fs/cgroup]
    #[arg(long, global = true, help_heading = PLACES, env = "PODBOX_CGROUP_ROOT", value_name = "DIR", hide_env = true)]
    cgroup_root: Option<PathBuf>,
    /// The range pod addresses come from [default: 10.85.0.0/16]
    #[arg(long, global = true, help_heading = ADDRESSES, env = "PODBOX_POD_CIDR", value_name = "CIDR", hide_env = true)]
    pod_cidr: Option<Ipv4Net>,
    /// The bridge pods are attached to [default: podbox0]
    #[arg(long, global = true, help_heading = ADDRESSES, env = "PODBOX_BRIDGE", value_name = "NAME", hide_env = true)]
    bridge: Option<String>,
    /// Where metrics are served, to whoever can reach it: 0.0.0.0:9810 is every address of this host [default: 127.0.0.1:9810]
    #[arg(long, global = true, help_heading = ADDRESSES, env = "PODBOX_METRICS_ADDR", value_name = "ADDRESS", hide_env = true)]
    metrics_addr: Option<SocketAddr>,
    /// Where the Kubernetes API is served [default: 127.0.0.1:6443]
    #[arg(long, global = true, help_heading = ADDRESSES, env = "PODBOX_API_ADDR", value_name = "ADDRESS", hide_env = true)]
    api_addr: Option<SocketAddr>,
    /// The longest wait, in seconds, before a container that keeps ending is started again [default: 300]
    #[arg(long, global = true, help_heading = PODS, env = "PODBOX_RESTART_BACKOFF_MAX", value_name = "SECONDS", hide_env = true)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=300))]
    restart_backoff_max: Option<u64>,
    /// The cluster's name servers, for pods with dnsPolicy ClusterFirst [default: none]
    #[arg(
        long,
        global = true,
        help_heading = ADDRESSES, env = "PODBOX_CLUSTER_DNS",
        value_name = "ADDRESS",
        hide_env = true,
        value_delimiter = ','
    )]
    cluster_dns: Vec<IpAddr>,
    /// What all names in the cluster end with [default: cluster.local]
    #[arg(long, global = true, help_heading = ADDRESSES, env = "PODBOX_CLUSTER_DOMAIN", value_name = "DOMAIN", hide_env = true)]
    cluster_domain: Option<String>,
    /// Kernel settings that pods may ask for beside the safe ones, as net.core.somaxconn or net.ipv4.* [default: none]
    #[arg(
        long,
        global = true,
        help_heading = PODS, env = "PODBOX_ALLOWED_UNSAFE_SYSCTLS",
        value_name = "NAME",
        hide_env = true,
        value_delimiter = ','
    )]
    allowed_unsafe_sysctls: Vec<String>,
    /// The seccomp profile of containers that ask for none, RuntimeDefault or Unconfined [default: RuntimeDefault]
    #[arg(long, global = true, help_heading = PODS, env = "PODBOX_SECCOMP_DEFAULT", value_name = "PROFILE", hide_env = true)]
    #[arg(value_parser = seccomp_default)]
    seccomp_default: Option<SeccompDefault>,
    /// How tcpSocket probes are answered: connect, or socket-state (the kernel's word that the port is listened on, with
    /// room in its accept queue; no packet is sent, so packet filters are not seen) [default: connect]
    #[arg(long, global = true, help_heading = PODS, env = "PODBOX_PROBE_TCP", value_name = "HOW", hide_env = true)]
    #[arg(value_parser = probe_tcp)]
    probe_tcp: Option<TcpProbe>,
}

fn probe_tcp(word: &str) -> Result<TcpProbe, String> {
    TcpProbe::parse(word).ok_or_else(|| "it should be connect or socket-state".to_owned())
}

fn seccomp_default(word: &str) -> Result<SeccompDefault, String> {
    match word {
        "RuntimeDefault" => Ok(SeccompDefault::RuntimeDefault),
        "Unconfined" => Ok(SeccompDefault::Unconfined),
        _ => Err("it should be RuntimeDefault or Unconfined".to_owned()),
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say what this host offers, and what is lost without it; fails where no pod can run
    Doctor(doctor::DoctorArgs),
    /// Print what the kernel does to containers, live
    Events(events::EventsArgs),
    /// Hold this node's containers; podbox starts it by itself
    #[command(hide = true)]
    Keeper {
        /// The run directory it serves
        directory: PathBuf,
        /// The cgroup it moves to
        cgroup: PathBuf,
    },
    /// Pull, load, list and remove images
    Image(image::ImageArgs),
    /// Print a kubeconfig that reaches `podbox node` on this host
    Kubeconfig(kubeconfig::KubeconfigArgs),
    /// Serve the Kubernetes API and run the pods bound to this node
    #[command(after_help = ENVIRONMENT)]
    Node(serve::ServeArgs),
    /// Be the first process of a PID namespace that containers share, or of a container's own; the keeper starts it
    #[command(hide = true)]
    Pause {
        /// Where its root is mounted
        target: PathBuf,
        /// Its root
        empty: PathBuf,
        /// Hand signals on to the second process
        #[arg(long)]
        forward: bool,
    },
    /// Show what came of probes of late, how long they took, and which timeout would have done
    Probes(probes::ProbesArgs),
    /// Run the pods of manifests on this node, in the foreground
    Run(run::RunArgs),
    /// Play a simulated cluster in which everything goes wrong, and say whether all that must hold does
    Sim(sim::SimArgs),
    /// End every pod on this host, while no podbox runs, and take all but images, logs and the API's objects away
    Stop(stop::StopArgs),
    /// Show how a pod came up, stage by stage, with the kernel's times
    Trace(trace::TraceArgs),
    /// Say why the containers of a pod ended: who killed them, or what they exited with
    Why(why::WhyArgs),
}

impl NodeArgs {
    fn config(self) -> Config {
        let default = Config::default();
        Config {
            state_dir: self.state_dir.unwrap_or(default.state_dir),
            run_dir: self.run_dir.unwrap_or(default.run_dir),
            log_dir: self.log_dir.unwrap_or(default.log_dir),
            cgroup_root: self.cgroup_root.unwrap_or(default.cgroup_root),
            pod_cidr: self.pod_cidr.unwrap_or(default.pod_cidr),
            bridge: self.bridge.unwrap_or(default.bridge),
            metrics_addr: self.metrics_addr.unwrap_or(default.metrics_addr),
            api_addr: self.api_addr.unwrap_or(default.api_addr),
            restart_backoff_max: self
                .restart_backoff_max
                .map_or(default.restart_backoff_max, Duration::from_secs),
            cluster_dns: self.cluster_dns,
            cluster_domain: self.cluster_domain.unwrap_or(default.cluster_domain),
            allowed_unsafe_sysctls: self.allowed_unsafe_sysctls,
            seccomp_default: self.seccomp_default.unwrap_or(default.seccomp_default),
            probe_tcp: self.probe_tcp.unwrap_or(default.probe_tcp),
            duties: default.duties,
        }
    }
}

/// The node's configuration where no command line is: the defaults, and what `PODBOX_*` say.
pub fn config() -> Config {
    #[derive(Parser)]
    struct Environment {
        #[command(flatten)]
        node: NodeArgs,
    }
    Environment::parse_from(["podbox"]).node.config()
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Command::Keeper { directory, cgroup } = &cli.command {
        // Before anything that may start a thread or open a file.
        return match crate::sandbox::keeper::main(directory, cgroup) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error.into()),
        };
    }
    if let Command::Pause { target, empty, forward } = &cli.command {
        crate::sandbox::pause::main(target.as_os_str(), empty.as_os_str(), *forward);
    }
    log_to_stderr();
    let config = cli.node.config();
    let done: anyhow::Result<ExitCode> = match cli.command {
        Command::Doctor(args) => doctor::run(&args, &config),
        Command::Image(args) => image::run(args, &config),
        Command::Kubeconfig(args) => kubeconfig::run(&args, &config),
        Command::Node(args) => args.run(config),
        Command::Probes(args) => probes::run(args, &config),
        Command::Run(args) => run::run(args, config),
        Command::Sim(args) => sim::run(&args),
        Command::Stop(args) => stop::run(&args, config),
        Command::Events(args) => events::run(args, &config),
        Command::Trace(args) => trace::run(&args, &config),
        Command::Why(args) => why::run(&args, &config),
        Command::Keeper { .. } | Command::Pause { .. } => unreachable!("handled before"),
    };
    match done {
        Ok(code) => code,
        Err(error) => fail(&error),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("podbox: {error:#}");
    ExitCode::FAILURE
}

/// What is logged unless `PODBOX_LOG` says otherwise. rustls warns of what any client may send it as often as it likes.
const LOGGED: &str = "warn,rustls=error";

fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("PODBOX_LOG").unwrap_or_else(|_| EnvFilter::new(LOGGED));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| live::Above)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}

/// The async runtime of a command that needs one.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    use anyhow::Context;
    let processors = std::thread::available_parallelism().map_or(2, usize::from);
    crate::sandbox::bound_arenas(processors.min(4));
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting the async runtime failed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn every_option_of_a_node_has_its_variable_and_its_place_in_help() {
        let mut cli = Cli::command();
        cli.build();
        let node = cli.find_subcommand("node").unwrap();
        let named = node.get_arguments().filter(|option| option.get_id() != "help");
        let told: Vec<_> = named.map(|option| (option.get_long().unwrap(), option)).collect();
        assert!(told.len() > 25, "{}", told.len());
        for (name, option) in told {
            let variable = format!("PODBOX_{}", name.to_uppercase().replace('-', "_"));
            assert_eq!(option.get_env().and_then(|name| name.to_str()), Some(&*variable), "--{name}");
            assert!(option.get_help_heading().is_some(), "--{name}");
        }
    }
}

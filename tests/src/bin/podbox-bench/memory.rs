//! memory: what `podbox run` and its keeper hold resident, with one pod and with many.

use crate::engine::manifest;
use crate::peers;
use crate::stats::Report;
use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podbox::clock;
use podbox::config::Config;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const FEW: usize = 1;
const MANY: usize = 51;

/// Kilobytes.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    daemon: f64,
    keeper: f64,
}

/// Starts podbox twice.
pub async fn run() -> Result<Report> {
    let config = podbox::cli::config();
    let few = with_pods(FEW, &config)?;
    let many = with_pods(MANY, &config)?;
    let per_pod = |few: f64, many: f64| (many - few) / (MANY - FEW) as f64;
    let (daemon, keeper) = (per_pod(few.daemon, many.daemon), per_pod(few.keeper, many.keeper));
    let mut report = Report::default();
    report.line(format!("memory on {}: resident (VmRSS), kB", peers::kernel()));
    report.line(format!("{:<10} {:>10} {:>10} {:>12}", "", "1 pod", "51 pods", "per pod"));
    report.line(format!("{:<10} {:>10} {:>10} {daemon:>12.1}", "daemon", few.daemon, many.daemon));
    report.line(format!("{:<10} {:>10} {:>10} {keeper:>12.1}", "keeper", few.keeper, many.keeper));
    let idle = few.daemon + few.keeper - (daemon + keeper) * FEW as f64;
    report.at_most("idle_resident", idle / 1024.0, "MB", 30.0);
    report.at_most("resident_per_pod", daemon + keeper, "kB", 200.0);
    Ok(report)
}

fn with_pods(number: usize, config: &Config) -> Result<Held> {
    let manifests: Vec<String> = (0..number).map(|pod| manifest(&format!("memory-{pod}"))).collect();
    let podbox = std::env::current_exe()?.with_file_name("podbox");
    let mut child = Command::new(podbox)
        .args(["run", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .context("starting podbox")?;
    child.stdin.take().context("it has standard input")?.write_all(manifests.join("---\n").as_bytes())?;
    let held = wait_until_running(number, config, &mut child).and_then(|()| resident(&child));
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT)?;
    child.wait()?;
    held
}

fn wait_until_running(number: usize, config: &Config, child: &mut Child) -> Result<()> {
    let wanted = format!("podbox_pods{{phase=\"Running\"}} {number}\n");
    let deadline = clock::instant() + Duration::from_secs(300);
    while !scrape(config).unwrap_or_default().contains(&wanted) {
        ensure!(clock::instant() < deadline, "{number} pods do not run");
        if let Some(status) = child.try_wait()? {
            bail!("podbox ended early: {status}");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn scrape(config: &Config) -> Result<String> {
    let mut stream = TcpStream::connect(config.metrics_addr)?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: podbox\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

fn resident(daemon: &Child) -> Result<Held> {
    let mut keeper = None;
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let Ok(words) = fs::read(path.join("cmdline")) else { continue };
        let mut words = words.split(|byte| *byte == 0);
        if words.nth(1) == Some(b"keeper") {
            keeper = path.file_name().and_then(|name| name.to_str()?.parse().ok());
        }
    }
    let keeper: u32 = keeper.context("there is a keeper")?;
    Ok(Held { daemon: rss_kb(daemon.id())?, keeper: rss_kb(keeper)? })
}

fn rss_kb(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("a process has VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

//! What the programs cost: the difference of the kernel's statistics around many lives, or many connections.

use crate::engine::{Bench, end, record};
use crate::peers;
use crate::stats::Report;
use anyhow::{Context, Result};
use podbox::trace::{ProgramCost, Tracer};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

/// Processes that live and die, and connections, of each kind.
const COUNT: u32 = 5_000;
/// How long a pod may take for its processes.
const PATIENCE: Duration = Duration::from_secs(300);

/// All three.
pub async fn run(report: &mut Report) -> Result<()> {
    let bench = Bench::new().await?;
    let tracer =
        bench.daemon.tracer.clone().context("no BPF program could be loaded; `podbox doctor` says why")?;
    // Warm caches, and what the daemon's start left to be freed.
    lives(500)?;
    let before = tracer.costs();
    lives(COUNT)?;
    tell(report, "process_outside_pods", &before, &settled(&tracer).await, 300.0);
    let before = tracer.costs();
    inside(&bench).await?;
    tell(report, "process_inside_a_pod", &before, &settled(&tracer).await, 2_000.0);
    connections(100)?;
    let before = tracer.costs();
    connections(COUNT)?;
    tell(report, "tcp_connect", &before, &settled(&tracer).await, 1_000.0);
    drop(tracer);
    bench.close().await
}

/// The costs once what runs a grace period after a process' end has run.
async fn settled(tracer: &Tracer) -> Vec<ProgramCost> {
    tokio::time::sleep(Duration::from_millis(500)).await;
    tracer.costs()
}

fn tell(report: &mut Report, what: &str, before: &[ProgramCost], after: &[ProgramCost], target: f64) {
    report.line(format!("{what}: {COUNT} of them"));
    report.line(format!("{:<20} {:>10} {:>14} {:>16}", "program", "runs", "ns per run", "ns for each"));
    let mut total = 0.0;
    for program in after {
        let start = before.iter().find(|cost| cost.program == program.program);
        let (runs, ns) = spent(start, program);
        if runs == 0 {
            continue;
        }
        let (each, per_run) = (ns / f64::from(COUNT), ns / runs as f64);
        total += each;
        report.line(format!("{:<20} {runs:>10} {per_run:>14.1} {each:>16.1}", program.program));
        report.figure(&format!("{what}_{}", program.program), each, "ns");
    }
    report.at_most(&format!("bpf_per_{what}"), total, "ns", target);
}

fn spent(before: Option<&ProgramCost>, after: &ProgramCost) -> (u64, f64) {
    let (runs, time) = before.map_or((0, Duration::ZERO), |cost| (cost.runs, cost.time));
    (after.runs - runs, after.time.saturating_sub(time).as_nanos() as f64)
}

fn lives(number: u32) -> Result<()> {
    for _ in 0..number {
        peers::timed(&mut peers::bare())?;
    }
    Ok(())
}

/// A container's program starts processes one after another, and reaps them.
async fn inside(bench: &Bench) -> Result<()> {
    let manifest = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: bench-lives}}\nspec:\n  restartPolicy: Never\n  \
         terminationGracePeriodSeconds: 1\n  containers:\n  - name: main\n    image: podbox.local/testjobs:latest\n    \
         imagePullPolicy: Never\n    args: [forks, '{COUNT}', --at-once, '1']\n"
    );
    let pod = record(&manifest)?;
    let name = pod.pod.clone();
    let mut views = bench.daemon.node.views.watch();
    let (agent, _) = bench.start_pod(pod).await?;
    let over = views.wait_for(|pods| {
        pods.get(&name).is_some_and(|view| view.status.phase.as_deref() == Some("Succeeded"))
    });
    tokio::time::timeout(PATIENCE, over).await.context("the pod's processes take too long")??;
    end(agent).await;
    Ok(())
}

/// Connections over loopback, each taken and closed before the next.
fn connections(number: u32) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("a port of loopback")?;
    let server = listener.local_addr()?;
    for _ in 0..number {
        let client = TcpStream::connect(server).context("connecting over loopback")?;
        drop(listener.accept().context("taking a connection")?);
        drop(client);
    }
    Ok(())
}

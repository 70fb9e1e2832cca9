//! pod-start and exec, beside crun, runc and the bridge CNI plugin.
//!
//! - `podbox pod-start`: from a manifest accepted to its container's process running, through worker, plan, engine
//!   and keeper. The pod is ended and gone before the next sample.
//! - `podbox exec`: `/bin/true` in a running container, until its exit code is had.
//! - crun and runc: `run` of `/bin/true` in a bundle with the namespaces of their own `spec`; `exec` of it in a
//!   running container. Whole commands, as a runtime's callers start them.

use crate::floor::Floor;
use crate::peers::{self, Cni, Runtimes};
use crate::stats::{Report, Samples};
use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::ContainerStatus;
use podbox::api::identity::{ContainerRef, PodRef};
use podbox::clock;
use podbox::daemon::{Daemon, RealAgent, RealNode, Role};
use podbox::image::Silent;
use podbox::node::agent::Agent;
use podbox::node::record::PodRecord;
use podbox::node::view::{PodView, containers};
use podbox::sandbox::runtime::{ExecSpec, ExitStatus, Runtime};
use std::sync::Arc;
use std::time::Duration;

/// How long a pod may take to run before the benchmark gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// pod-start.
pub async fn start(samples: usize) -> Result<Report> {
    let mut bench = Bench::new().await?;
    let runtimes = Runtimes::find()?;
    let cni = Cni::new()?;
    let floor = Floor::new()?;
    let mut rows: Vec<(&str, Vec<Duration>)> = Vec::new();
    for round in 0..=samples {
        let mut taken = vec![("podbox pod-start", bench.start_and_end().await?)];
        for runtime in &runtimes.found {
            let name = if runtime.name == "crun" { "crun run" } else { "runc run" };
            taken.push((name, peers::timed(&mut runtime.run(&format!("bench-{round}")))?));
        }
        taken.push(("bridge CNI plugin ADD", cni.add(round)?));
        taken.push(("bare spawn of /bin/true", peers::timed(&mut peers::bare())?));
        taken.push(("kernel floor", floor.sample(round).await?));
        add(&mut rows, taken, round);
        progress(round, samples);
    }
    cni.clean();
    let config = bench.daemon.node.config.clone();
    bench.close().await?;
    let rows = rows.into_iter().map(|(name, samples)| Samples::new(name, samples)).collect::<Vec<_>>();
    let median = |name: &str| find(name, &rows);
    let mut report = Report::default();
    report.line(format!("pod-start on {}", peers::kernel()));
    report.table(&rows);
    report.line(runtimes.note(&config));
    let own = median("podbox pod-start").context("podbox was measured")?;
    report.figure("pod_start_p50", own, "ms");
    report.figure("pod_start_p99", rows[0].p99_ms(), "ms");
    if let (Some(crun), Some(cni)) = (median("crun run"), median("bridge CNI plugin ADD")) {
        report.at_most("pod_start_of_crun_and_cni", own / (crun + cni), "ratio", 0.2);
    }
    if let Some(floor) = median("kernel floor") {
        report.at_most("pod_start_of_floor", own / floor, "ratio", 4.0);
    }
    Ok(report)
}

/// exec.
pub async fn exec(samples: usize) -> Result<Report> {
    let mut bench = Bench::new().await?;
    let runtimes = Runtimes::find()?;
    let (pod, agent, _) = bench.start().await?;
    let running: Vec<_> =
        runtimes.found.iter().map(|runtime| runtime.hold("bench-exec")).collect::<Result<_>>()?;
    let mut rows: Vec<(&str, Vec<Duration>)> = Vec::new();
    for round in 0..=samples {
        let mut taken = vec![("podbox exec", bench.exec(&pod).await?)];
        for runtime in &runtimes.found {
            let name = if runtime.name == "crun" { "crun exec" } else { "runc exec" };
            taken.push((name, peers::timed(&mut runtime.exec("bench-exec"))?));
        }
        taken.push(("bare spawn of /bin/true", peers::timed(&mut peers::bare())?));
        add(&mut rows, taken, round);
        progress(round, samples);
    }
    drop(running);
    end(agent).await;
    let config = bench.daemon.node.config.clone();
    bench.close().await?;
    let rows = rows.into_iter().map(|(name, samples)| Samples::new(name, samples)).collect::<Vec<_>>();
    let mut report = Report::default();
    report.line(format!("exec on {}", peers::kernel()));
    report.table(&rows);
    report.line(runtimes.note(&config));
    let own = find("podbox exec", &rows).context("podbox was measured")?;
    report.figure("exec_p50", own, "ms");
    report.figure("exec_p99", rows[0].p99_ms(), "ms");
    if let Some(crun) = find("crun exec", &rows) {
        report.at_most("exec_of_crun", own / crun, "ratio", 0.25);
    }
    Ok(report)
}

/// A row's median.
pub fn find(name: &str, rows: &[Samples]) -> Option<f64> {
    rows.iter().find(|row| row.is(name)).map(Samples::median_ms)
}

/// Adds a round's samples; the first round only warms up.
pub fn add(
    rows: &mut Vec<(&'static str, Vec<Duration>)>,
    taken: Vec<(&'static str, Duration)>,
    round: usize,
) {
    if round == 0 {
        *rows = taken.into_iter().map(|(name, _)| (name, Vec::new())).collect();
        return;
    }
    for ((_, samples), (_, sample)) in rows.iter_mut().zip(taken) {
        samples.push(sample);
    }
}

/// Tells a person every fifth round.
pub fn progress(round: usize, samples: usize) {
    if round.is_multiple_of(5) {
        eprintln!("round {round} of {samples}");
    }
}

/// The daemon, and pods in it.
pub struct Bench {
    /// The whole daemon.
    pub daemon: Daemon,
    count: u32,
}

impl Bench {
    /// Starts the daemon where the environment says.
    pub async fn new() -> Result<Bench> {
        let daemon = Daemon::start(podbox::cli::config(), Role::Run, Arc::new(Silent)).await?;
        Ok(Bench { daemon, count: 0 })
    }

    /// Takes everything away.
    pub async fn close(self) -> Result<()> {
        let problems = self.daemon.stop().await;
        if problems.is_empty() { Ok(()) } else { bail!(problems.join("; ")) }
    }

    async fn start_and_end(&mut self) -> Result<Duration> {
        let (_, agent, took) = self.start().await?;
        end(agent).await;
        Ok(took)
    }

    async fn start(&mut self) -> Result<(PodRef, RealAgent, Duration)> {
        self.count += 1;
        let pod = record(&manifest(&format!("bench-{}", self.count)))?;
        let name = pod.pod.clone();
        let (agent, took) = self.start_pod(pod).await?;
        Ok((name, agent, took))
    }

    /// Starts a pod; how long that took.
    pub async fn start_pod(&self, pod: PodRecord) -> Result<(RealAgent, Duration)> {
        let name = pod.pod.clone();
        let node: Arc<RealNode> = Arc::clone(&self.daemon.node);
        let mut views = node.views.watch();
        let mut agent = Agent::new(node);
        let begun = clock::instant();
        agent.run(pod);
        let running = views.wait_for(|pods| pods.get(&name).is_some_and(runs));
        let ran = tokio::time::timeout(PATIENCE, running).await.context("the pod does not run")?.is_ok();
        let took = begun.elapsed();
        if !ran {
            bail!("the node is gone");
        }
        Ok((agent, took))
    }

    async fn exec(&self, pod: &PodRef) -> Result<Duration> {
        let container = ContainerRef { pod: pod.clone(), name: "main".into(), attempt: 0 };
        let spec =
            ExecSpec { args: vec!["/bin/true".into()], timeout: None, output_limit: 1024, alone: false };
        let begun = clock::instant();
        let result = self.daemon.node.runtime.exec(&container, &spec).await?;
        let took = begun.elapsed();
        match result.status {
            ExitStatus::Code(0) => Ok(took),
            other => bail!("/bin/true ended with {other:?}"),
        }
    }
}

/// The pod of a manifest.
pub fn record(manifest: &str) -> Result<PodRecord> {
    podbox::cli::load::from_bytes("bench.yaml", manifest.as_bytes())?.pop().context("the manifest has a pod")
}

/// A pod that does nothing for long.
pub fn manifest(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  restartPolicy: Never\n  \
         terminationGracePeriodSeconds: 1\n  containers:\n  - name: main\n    image: podbox.local/testjobs:latest\n    \
         imagePullPolicy: Never\n    command: [/bin/sleep, '100000']\n"
    )
}

/// Ends a pod, and waits until nothing is left of it.
pub async fn end(mut agent: RealAgent) {
    agent.terminate(Some(Duration::ZERO));
    agent.finished().await;
}

fn runs(view: &PodView) -> bool {
    let running =
        |container: &ContainerStatus| container.state.as_ref().is_some_and(|state| state.running.is_some());
    let mut all = containers(&view.status).peekable();
    all.peek().is_some() && all.all(running)
}

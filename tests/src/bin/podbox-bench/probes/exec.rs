//! A probe by a command, beside `crun exec` of the same program and its bare spawn, in turn. The whole daemon is in this
//! process, and the probe is run as its worker runs it; so what a probe costs is at hand: the time that this process, the
//! keeper and the container's cgroup spent on a processor meanwhile. Of commands it is this process' and their own.

use crate::engine::{Bench, add, end, find, progress, record};
use crate::node::running_for;
use crate::peers::{self, Runtimes};
use crate::stats::{Report, Samples};
use anyhow::{Context, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::unistd::Pid;
use podbox::api::identity::ContainerRef;
use podbox::api::probe::ProbeType;
use podbox::clock;
use podbox::node::probe::{self, Asked};
use podbox::node::record::PodRecord;
use podbox::pod::probe::{Outcome, ProbeSpecs};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const PROBE: &str = "exec probe";
const CRUN: &str = "crun exec";
const BARE: &str = "bare spawn";

/// Samples it.
pub async fn run(samples: usize, report: &mut Report) -> Result<()> {
    let bench = Bench::new().await?;
    let runtimes = Runtimes::find()?;
    let pod = record(MANIFEST)?;
    let own = pod.next(pod.manifest.clone());
    let (agent, _) = bench.start_pod(pod).await?;
    let asked = asked(&own)?;
    let spent = Spent::new(&own)?;
    let running: Vec<_> =
        runtimes.found.iter().map(|runtime| runtime.hold("bench-probe")).collect::<Result<_>>()?;
    let (mut walls, mut works) = (Vec::new(), Vec::new());
    for round in 0..=samples {
        let (began, before) = (clock::instant(), spent.by_podbox()?);
        let (outcome, _) = probe::run(&bench.daemon.node, &own, &asked).await;
        let took = clock::instant() - began;
        ensure!(outcome == Outcome::Success, "a probe by {COMMAND} came to {outcome:?}");
        let mut wall = vec![(PROBE, took)];
        let mut work = vec![(PROBE, spent.by_podbox()? - before)];
        let mut command = |name, command: &mut std::process::Command| {
            let before = by_commands()?;
            wall.push((name, peers::timed(command)?));
            work.push((name, by_commands()? - before));
            Ok::<_, anyhow::Error>(())
        };
        for runtime in &runtimes.found {
            let name = if runtime.name == "crun" { CRUN } else { "runc exec" };
            command(name, &mut runtime.exec("bench-probe"))?;
        }
        command(BARE, &mut peers::bare_busybox())?;
        add(&mut walls, wall, round);
        add(&mut works, work, round);
        progress(round, samples);
    }
    drop(running);
    end(agent).await;
    bench.close().await?;
    tell(walls, works, &runtimes, report)
}

type Rows = Vec<(&'static str, Vec<Duration>)>;

fn tell(walls: Rows, works: Rows, runtimes: &Runtimes, report: &mut Report) -> Result<()> {
    let samples =
        |rows: Rows| rows.into_iter().map(|(name, all)| Samples::new(name, all)).collect::<Vec<_>>();
    for (what, rows) in [("time", samples(walls)), ("processor", samples(works))] {
        report.line(format!("a probe by {COMMAND}: {what}"));
        report.table(&rows);
        let own = find(PROBE, &rows).context("podbox was measured")?;
        report.figure(&format!("exec_probe_{what}"), own, "ms");
        if let Some(crun) = find(CRUN, &rows) {
            report.at_most(&format!("exec_probe_{what}_of_crun"), own / crun, "ratio", 0.25);
        }
        let bare = find(BARE, &rows).context("it was measured")?;
        report.at_most(&format!("exec_probe_{what}_of_bare"), own / bare, "ratio", 2.0);
    }
    runtimes.missing().iter().for_each(|missing| report.line(missing.clone()));
    Ok(())
}

const COMMAND: &str = "/bin/true";
/// The worker's own first probe is long after this.
const MANIFEST: &str = "
apiVersion: v1
kind: Pod
metadata: {name: bench-probe}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: podbox.local/testjobs:latest
    imagePullPolicy: Never
    args: [sleep, '100000000']
    readinessProbe: {exec: {command: [/bin/true]}, initialDelaySeconds: 100000}
";

fn asked(pod: &PodRecord) -> Result<Asked> {
    let container = pod.container("main").context("the pod has it")?;
    let probe = ProbeType::Readiness;
    let spec = ProbeSpecs::of(container, None).get(probe).cloned().context("it has a probe")?;
    let run = ContainerRef { pod: pod.pod.clone(), name: "main".into(), attempt: 0 };
    // Its cgroup is only for kernels' events.
    Ok(Asked { run, cgroup: 0, probe, counts: true, forgives: true, spec, address: None })
}

/// Where to read what is spent.
struct Spent {
    keeper: Pid,
    pod: PathBuf,
}

impl Spent {
    fn new(pod: &PodRecord) -> Result<Spent> {
        let slice = podbox::cli::config().cgroup_root.join("podbox.slice");
        let keeper = crate::node::first_process(&slice.join("keeper"))?.context("there is a keeper")?;
        Ok(Spent { keeper, pod: slice.join("besteffort").join(format!("pod{}", pod.pod.uid)) })
    }

    fn by_podbox(&self) -> Result<Duration> {
        Ok(used(UsageWho::RUSAGE_SELF)? + running_for(self.keeper)? + by_cgroup(&self.pod)?)
    }
}

fn by_commands() -> Result<Duration> {
    Ok(used(UsageWho::RUSAGE_SELF)? + used(UsageWho::RUSAGE_CHILDREN)?)
}

fn used(who: UsageWho) -> Result<Duration> {
    let usage = getrusage(who)?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(u64::try_from(micros)?))
}

/// Whatever ran in it, and below it, also what is gone.
fn by_cgroup(cgroup: &Path) -> Result<Duration> {
    let stat = fs::read_to_string(cgroup.join("cpu.stat"))?;
    let micros = stat.lines().find_map(|line| line.strip_prefix("usage_usec "));
    Ok(Duration::from_micros(micros.context("cpu.stat has usage_usec")?.parse()?))
}

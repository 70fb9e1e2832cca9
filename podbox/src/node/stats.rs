//! What the host, the pods and their containers use: looked at every few seconds, kept for whoever asks.
//!
//! Two samples make a rate. A container that has just been started had used nothing then, which is as good as a first
//! sample; one of an earlier daemon has to be looked at twice. Nothing is decided here.

mod disk;
pub(super) mod host;

use super::Node;
use crate::api::error::chain;
use crate::api::identity::{ContainerRef, PodRef};
use crate::api::stats::{
    ContainerUsage, Disk, Filesystem, HostUsage, Memory, PodUsage, Sample, Snapshot, Stats, Traffic, Usage,
    rate,
};
use crate::config::Config;
use crate::sandbox::runtime::{ContainerReading, PodReading, Runtime};
use crate::{clock, limits};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{Mutex, Notify, watch};

/// The samples of a moment, before they are compared with those before.
struct Readings {
    host: host::Host,
    network: Option<(String, Traffic)>,
    pods: BTreeMap<PodRef, (PodReading, Option<Traffic>)>,
}

/// The disks, and when they were looked at.
type LastDisk = Option<(Instant, Arc<Disk>)>;

/// The newest numbers, and who is woken by newer ones. Clones share them.
#[derive(Clone, Debug)]
pub struct Gauges {
    latest: watch::Sender<Option<Arc<Snapshot>>>,
    config: Arc<Config>,
    /// Somebody wants a look now.
    wanted: Arc<Notify>,
    /// The disks as they were looked at last. Held while they are: those who ask meanwhile get the same answer.
    disk: Arc<Mutex<LastDisk>>,
}

impl Stats for Gauges {
    fn latest(&self) -> Option<Arc<Snapshot>> {
        self.latest.borrow().clone()
    }

    fn disk(&self) -> BoxFuture<'static, Result<Arc<Disk>, String>> {
        let gauges = self.clone();
        async move { gauges.look_at_disk(limits::DISK_LOOK).await }.boxed()
    }
}

impl Gauges {
    /// Of a node, before the first look.
    pub fn new(config: Config) -> Gauges {
        let (latest, wanted) = (watch::Sender::new(None), Arc::default());
        Gauges { latest, config: Arc::new(config), wanted, disk: Arc::default() }
    }

    /// Has a look taken now.
    pub fn nudge(&self) {
        self.wanted.notify_one();
    }

    /// How full the file systems of pods and of images are; none if they cannot be asked.
    pub fn filesystems(&self) -> Option<(Filesystem, Filesystem)> {
        let node = disk::filesystem(&self.config.state_dir);
        let images = disk::filesystem(&self.config.state_dir.join("images"));
        Some((node.ok()?, images.ok()?))
    }

    /// What is on the disks, by a look that is no older than this.
    pub async fn look_at_disk(&self, oldest: Duration) -> Result<Arc<Disk>, String> {
        let mut last = self.disk.lock().await;
        if let Some((at, disk)) = &*last
            && clock::instant().saturating_duration_since(*at) < oldest
        {
            return Ok(Arc::clone(disk));
        }
        let config = Arc::clone(&self.config);
        let looked = tokio::task::spawn_blocking(move || disk::read(&config, clock::wall())).await;
        let disk = looked.map_err(|error| error.to_string())?;
        let disk = Arc::new(disk.map_err(|error| format!("looking at the node's disks failed: {error}"))?);
        *last = Some((clock::instant(), Arc::clone(&disk)));
        Ok(disk)
    }

    /// Wakes at each new look.
    pub fn watch(&self) -> watch::Receiver<Option<Arc<Snapshot>>> {
        self.latest.subscribe()
    }

    /// Looks again and again, until it is dropped.
    pub async fn run<R: Runtime, I: Send + Sync + 'static>(self, node: Arc<Node<R, I>>) {
        let mut samples = Samples::default();
        let mut pause = limits::STATS_FIRST;
        loop {
            match read(&node).await {
                Ok(readings) => {
                    let snapshot = samples.compare(readings, limits::STATS_PERIOD);
                    self.latest.send_replace(Some(Arc::new(snapshot)));
                }
                Err(error) => tracing::warn!("reading what pods use failed: {error}"),
            }
            let pause = std::mem::replace(&mut pause, limits::STATS_PERIOD);
            // Whether somebody wanted it or it was time is the same.
            let _ = tokio::time::timeout(pause, self.wanted.notified()).await;
        }
    }
}

async fn read<R: Runtime, I>(node: &Node<R, I>) -> Result<Readings, String> {
    let pods = node.runtime.measure().await.map_err(|error| chain(&error))?;
    let host = host::read(clock::wall()).map_err(|error| format!("/proc: {error}"))?;
    let links = host::links();
    let network = host::default_link().and_then(|name| Some((name.clone(), *links.get(&name)?)));
    let with_link = |(pod, reading): (PodRef, PodReading)| {
        // The host's end sees the other direction.
        let traffic = links.get(&pod.link_name()).copied().map(Traffic::from_other_end);
        (pod, (reading, traffic))
    };
    Ok(Readings { host, network, pods: pods.into_iter().map(with_link).collect() })
}

/// The samples before.
#[derive(Default)]
struct Samples {
    host: Option<Sample>,
    pods: BTreeMap<PodRef, Sample>,
    containers: BTreeMap<ContainerRef, Sample>,
}

impl Samples {
    /// What is told of these readings, which are the samples before from then on.
    fn compare(&mut self, readings: Readings, period: Duration) -> Snapshot {
        let before = std::mem::take(self);
        let host = readings.host.sample;
        self.host = Some(host);
        let mut pods = BTreeMap::new();
        for (pod, (reading, traffic)) in readings.pods {
            let mut containers = BTreeMap::new();
            let mut first = None;
            for ContainerReading { container, started, sample } in reading.containers {
                let earlier = before.containers.get(&container).copied();
                let earlier = earlier.or_else(|| at_start(started, &sample, period));
                first = earlier.or(first);
                let usage = Usage { sample, rate: earlier.and_then(|earlier| rate(&earlier, &sample)) };
                self.containers.insert(container.clone(), sample);
                containers.insert(container.name, ContainerUsage { started, usage });
            }
            let sample = reading.sample;
            // A pod is as old as its containers, or older.
            let fresh = || first.filter(|first| first.cpu_nanos == 0);
            let earlier = before.pods.get(&pod).copied().or_else(fresh);
            let usage = Usage { sample, rate: earlier.and_then(|earlier| rate(&earlier, &sample)) };
            self.pods.insert(pod.clone(), sample);
            pods.insert(pod, PodUsage { usage, traffic, containers });
        }
        let usage = Usage { sample: host, rate: before.host.and_then(|earlier| rate(&earlier, &host)) };
        let host::Host { booted, memory_bytes, processes_limit, .. } = readings.host;
        let host = HostUsage { booted, usage, memory_bytes, processes_limit };
        Snapshot { host, network: readings.network, pods }
    }
}

/// What a container had used when it was started, if that was lately enough for a rate since then to be one of now.
fn at_start(started: SystemTime, now: &Sample, period: Duration) -> Option<Sample> {
    let ran = now.at.duration_since(started).ok()?;
    let lately = (limits::STATS_FIRST..=period + limits::STATS_FIRST).contains(&ran);
    lately.then_some(Sample { at: started, cpu_nanos: 0, memory: Memory::default(), processes: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(seconds: u64, cpu_nanos: u64) -> Sample {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        Sample { at, cpu_nanos, memory: Memory::default(), processes: 1 }
    }

    fn pod() -> PodRef {
        PodRef { namespace: "n".into(), name: "p".into(), uid: "u".into() }
    }

    /// One container `c` of one pod.
    fn readings(attempt: u32, started: u64, now: u64, cpu_nanos: u64) -> Readings {
        let (sample, started) =
            (sample(now, cpu_nanos), SystemTime::UNIX_EPOCH + Duration::from_secs(started));
        let container = ContainerRef { pod: pod(), name: "c".into(), attempt };
        let reading =
            PodReading { sample, containers: vec![ContainerReading { container, started, sample }] };
        let host = host::Host { sample, booted: started, memory_bytes: 1, processes_limit: 1 };
        Readings { host, network: None, pods: BTreeMap::from([(pod(), (reading, None))]) }
    }

    /// The rate of the container after these looks.
    #[track_caller]
    fn check(looks: Vec<Readings>, expected: Option<(u64, u64)>) {
        let mut samples = Samples::default();
        let period = Duration::from_secs(10);
        let told = looks.into_iter().map(|look| samples.compare(look, period)).last().unwrap();
        let rate = told.pods[&pod()].containers["c"].usage.rate;
        assert_eq!(rate.map(|rate| (rate.window.as_secs(), rate.nano_cores)), expected);
    }

    #[test]
    fn a_rate_is_of_the_last_two_looks_or_since_a_start_just_now() {
        check(vec![readings(0, 0, 100, 50), readings(0, 0, 110, 10_000_000_050)], Some((10, 1_000_000_000)));
        // It was found running.
        check(vec![readings(0, 0, 100, 50)], None);
        check(vec![readings(0, 95, 100, 5_000_000_000)], Some((5, 1_000_000_000)));
        // Too short a time to say.
        check(vec![readings(0, 100, 100, 1)], None);
        // A run is not compared with the one before it.
        let restarted = vec![readings(0, 0, 100, 50), readings(1, 105, 110, 5_000_000_000)];
        check(restarted, Some((5, 1_000_000_000)));
    }
}

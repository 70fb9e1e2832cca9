//! A worker that breaks is followed by another.

use super::*;
use crate::api::account::PodAccount;
use crate::api::attribution::{Attribution, OomRole, OomVictim, OwnRole, Untraced, Witnessed};
use crate::api::event::{Detail, KernelEvent, Oom};
use crate::api::identity::ContainerRef;
use crate::api::image::Image;
use crate::api::images::{PullFailure, PullPolicy, Pulled};
use crate::api::keyring::Keyring;
use crate::api::startup::{Firsts, Lap};
use crate::api::zombie::{Fault, Unreaped, Zombie, ZombieCause};
use crate::clock;
use crate::config::Config;
use crate::net::lease::Leases;
use crate::node::checkpoint::Checkpoints;
use crate::node::facts;
use crate::node::view::PodView;
use crate::pod::sources::Sources;
use crate::sandbox::runtime::{
    ContainerStatus, ExecResult, ExecSpec, ExitStatus, Exited, Obstacle, PodReading, Started, Unenforced,
};
use crate::sandbox::spec::{ContainerSpec, FileVolume, Resources, SandboxSpec};
use std::net::SocketAddrV4;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;

/// Breaks whoever asks it for the first sandbox; what it starts runs until it is asked to end.
#[derive(Default)]
struct Brittle {
    sandboxes: AtomicUsize,
    /// Its container is asked to end.
    ended: Notify,
}

impl Runtime for Brittle {
    type Error = std::io::Error;

    fn unenforced(&self, _: &Resources) -> Vec<Unenforced> {
        Vec::new()
    }
    async fn create_sandbox(&self, _: &SandboxSpec) -> Result<Vec<Lap>, Self::Error> {
        assert!(self.sandboxes.fetch_add(1, Ordering::Relaxed) > 0, "broken on purpose");
        Ok(Vec::new())
    }
    async fn remove_sandbox(&self, _: &PodRef) -> Result<(), Self::Error> {
        Ok(())
    }
    async fn refill(&self, _: &PodRef, _: Vec<FileVolume>) -> Result<(), Self::Error> {
        Ok(())
    }
    async fn start(&self, _: &ContainerSpec) -> Result<Started, Self::Error> {
        Ok(Started { pid: 1, cgroup_id: 1, at: clock::wall(), user: None, laps: Vec::new() })
    }
    fn obstacle(_: &Self::Error) -> Obstacle {
        Obstacle::Creation
    }
    async fn wait(&self, _: &ContainerRef) -> Result<Exited, Self::Error> {
        self.ended.notified().await;
        Ok(Exited { status: ExitStatus::Signal(15), at: clock::wall() })
    }
    fn group_oom(&self, _: &ContainerRef) -> bool {
        false
    }
    async fn termination_message(&self, _: &ContainerRef, _: usize) -> Result<Vec<u8>, Self::Error> {
        Ok(Vec::new())
    }
    async fn signal(&self, _: &ContainerRef, _: i32) -> Result<(), Self::Error> {
        self.ended.notify_one();
        Ok(())
    }
    async fn kill(&self, _: &ContainerRef) -> Result<(), Self::Error> {
        Ok(())
    }
    async fn resize(&self, _: &ContainerRef, _: &Resources, _: &Resources) -> Result<(), Self::Error> {
        Ok(())
    }
    async fn remove(&self, _: &ContainerRef) -> Result<(), Self::Error> {
        Ok(())
    }
    async fn exec(&self, _: &ContainerRef, _: &ExecSpec) -> Result<ExecResult, Self::Error> {
        unreachable!("nothing is executed")
    }
    async fn listens(&self, _: &PodRef, _: SocketAddrV4) -> Result<bool, Self::Error> {
        Ok(true)
    }
    async fn accounts(&self) -> Result<BTreeMap<PodRef, PodAccount>, Self::Error> {
        Ok(BTreeMap::new())
    }
    async fn measure(&self) -> Result<BTreeMap<PodRef, PodReading>, Self::Error> {
        Ok(BTreeMap::new())
    }
    async fn list(&self) -> Result<Vec<ContainerStatus>, Self::Error> {
        Ok(Vec::new())
    }
}

/// Has every image.
struct Every;

impl Images for Every {
    fn here(&self, _: &str, _: PullPolicy) -> Result<Option<Image>, PullFailure> {
        let config = crate::api::image::ImageConfig { cmd: vec!["run".into()], ..Default::default() };
        let (id, layers) = ("sha256:0".to_owned(), vec!["/layer".into()]);
        Ok(Some(Image { id, digest: None, reference: "x".into(), layers, config }))
    }
    fn admits(&self, _: &str, _: Option<&Keyring>) -> Result<bool, PullFailure> {
        Ok(true)
    }
    async fn pull(&self, _: &str, _: &Keyring) -> Result<Pulled, PullFailure> {
        unreachable!("every image is here")
    }
}

fn node(dir: &Path, runtime: Brittle, attribution: Arc<dyn Attribution>) -> Arc<Node<Brittle, Every>> {
    let config = Config { run_dir: dir.into(), ..Config::default() };
    let checkpoints = Checkpoints::new(dir);
    checkpoints.prepare().unwrap();
    Arc::new(Node {
        leases: Mutex::new(Leases::open(dir, config.pod_cidr).unwrap()),
        facts: facts::of_host(&config),
        config,
        runtime,
        images: Every,
        attribution,
        views: Default::default(),
        checkpoints: Some(checkpoints),
        probing: Default::default(),
        untold: Default::default(),
        notices: Default::default(),
    })
}

/// A pod in the host's network whose container is `a`.
fn record(pod: &PodRef, annotations: &str) -> PodRecord {
    let text = format!(
        "{{metadata: {{name: p, namespace: default, uid: u, annotations: {{{annotations}}}}}, \
         spec: {{hostNetwork: true, containers: [{{name: a, image: x}}]}}}}"
    );
    let manifest = serde_yaml::from_str(&text).unwrap();
    PodRecord::new(pod.clone(), manifest, Arc::new(Arc::new(Sources::default())), clock::wall())
}

#[tokio::test]
async fn a_pod_whose_worker_broke_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let node = node(dir.path(), Brittle::default(), Arc::new(Untraced));
    let mut views = node.views.watch();
    let mut agent = Agent::new(Arc::clone(&node));
    let pod = PodRef { namespace: "default".into(), name: "p".into(), uid: "u".into() };
    agent.run(record(&pod, ""));
    let running = views.wait_for(|views| {
        views.get(&pod).is_some_and(|view| view.status.phase.as_deref() == Some("Running"))
    });
    let came = async {
        tokio::select! {
            _ = running => true,
            _ = agent.next_finished() => false,
        }
    };
    let came = tokio::time::timeout(Duration::from_secs(60), came).await;
    assert_eq!(came, Ok(true), "it runs, by another worker: {:?}", node.views.watch().borrow().get(&pod));
    assert_eq!(node.runtime.sandboxes.load(Ordering::Relaxed), 2);
}

/// Two processes of every container were killed for want of memory, a second apart; neither was its first.
struct Killed;

impl Attribution for Killed {
    fn register(&self, _: u64, _: &ContainerRef) {}
    fn forget(&self, _: u64) {}
    fn oom_under_way(&self) -> Option<u64> {
        None
    }
    fn oom_victims(&self, _: u64) -> Vec<OomVictim> {
        let victim = |pid, role, second: u64| OomVictim {
            pid,
            command: "eater".into(),
            at_ns: second * 1_000_000_000,
            kill_ns: None,
            oom: Oom {
                role,
                limit: None,
                limit_unknown: None,
                limit_cgroup: None,
                limit_bytes: None,
                used_bytes: None,
                vm_bytes: 0,
                rss_bytes: 0,
                trigger_pid: 1,
                trigger_command: "eater".into(),
                trigger_container: None,
            },
        };
        vec![
            victim(1, OomRole::Chosen, 10),
            victim(7, OomRole::Chosen, 20),
            victim(8, OomRole::Exiting, 20),
            victim(9, OomRole::Chosen, 21),
        ]
    }
    fn firsts(&self, _: u64) -> Option<Firsts> {
        None
    }
    fn end(&self, _: u64, _: u32) -> Option<Witnessed> {
        None
    }
    fn own(&self, _: OwnRole, _: u32) {}
    fn watched(&self, _: u64) -> bool {
        true
    }
    fn unreaped(&self, _: u64) -> Unreaped {
        Unreaped { count: 7, fault: Some(fault()) }
    }
}

fn fault() -> Fault {
    Fault { cause: ZombieCause::Parent, parent_pid: Some(7), parent_command: Some("sh".into()) }
}

#[tokio::test]
async fn a_pod_says_that_its_dead_pile_up() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Brittle { sandboxes: AtomicUsize::new(1), ..Brittle::default() };
    let node = node(dir.path(), runtime, Arc::new(Killed));
    let mut views = node.views.watch();
    let mut agent = Agent::new(Arc::clone(&node));
    let pod = PodRef { namespace: "default".into(), name: "p".into(), uid: "u".into() };
    agent.run(record(&pod, ""));
    let runs = |view: &PodView| view.status.phase.as_deref() == Some("Running");
    let running = views.wait_for(|views| views.get(&pod).is_some_and(runs));
    tokio::time::timeout(Duration::from_secs(60), running).await.unwrap().unwrap();
    let container = ContainerRef { pod: pod.clone(), name: "a".into(), attempt: 0 };
    let event = KernelEvent {
        seq: 1,
        time: jiff::Timestamp::UNIX_EPOCH,
        subject: Some((&container).into()),
        cgroup: 1,
        pid: 9,
        ns_pid: None,
        command: "child".into(),
        detail: Detail::Zombie(Zombie { lifetime_ms: 1001, fault: fault() }),
    };
    node.probing.hear(&event);
    let said = |view: &PodView| {
        let all = view.status.conditions.iter().flatten();
        all.into_iter().find(|one| one.type_ == crate::pod::status::PILED)?.message.clone()
    };
    let told = views.wait_for(|views| views.get(&pod).and_then(said).is_some());
    let told = tokio::time::timeout(Duration::from_secs(60), told).await.unwrap().unwrap();
    assert_eq!(
        said(&told[&pod]).unwrap(),
        "Container a has 5 or more processes that have ended and that nobody reaps: sh (7) does not wait for its children"
    );
}

/// Why a pod whose annotation says so comes to this phase; `None` if there is nothing to say.
async fn verdict(rule: &str, phase: &str) -> Option<(String, String)> {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Brittle { sandboxes: AtomicUsize::new(1), ..Brittle::default() };
    let node = node(dir.path(), runtime, Arc::new(Killed));
    let mut views = node.views.watch();
    let mut agent = Agent::new(Arc::clone(&node));
    let pod = PodRef { namespace: "default".into(), name: "p".into(), uid: "u".into() };
    agent.run(record(&pod, &format!("podbox.io/oom-kill-of-child: {rule}")));
    let comes = |view: &PodView| view.status.phase.as_deref() == Some(phase);
    let said = views.wait_for(|views| views.get(&pod).is_some_and(comes));
    let said = tokio::time::timeout(Duration::from_secs(60), said).await.unwrap().unwrap();
    let status = &said[&pod].status;
    Some((status.reason.clone()?, status.message.clone()?))
}

#[tokio::test]
async fn a_pod_fails_for_kills_of_its_processes_if_it_says_so() {
    assert_eq!(verdict("ignore", "Running").await, None);
    assert_eq!(verdict("restart-pod after 3", "Running").await, None);
    let (reason, message) = verdict("restart-pod after 2 in 1s", "Failed").await.unwrap();
    assert_eq!(reason, "OOMKilled");
    assert_eq!(
        message,
        "Container a lost 2 processes to the OOM killer, eater (9) last; the pod asks for another one then, by podbox.io/oom-kill-of-child"
    );
}

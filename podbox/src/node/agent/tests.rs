//! A worker that breaks is followed by another.

use super::*;
use crate::api::attribution::Untraced;
use crate::api::identity::ContainerRef;
use crate::api::image::Image;
use crate::api::images::{PullFailure, PullPolicy, Pulled};
use crate::api::keyring::Keyring;
use crate::clock;
use crate::config::Config;
use crate::net::lease::Leases;
use crate::node::checkpoint::Checkpoints;
use crate::node::facts;
use crate::pod::sources::Sources;
use crate::sandbox::runtime::{
    ContainerStatus, ExecResult, ExecSpec, Exited, Obstacle, PodReading, Started, Unenforced,
};
use crate::sandbox::spec::{ContainerSpec, FileVolume, Resources, SandboxSpec};
use std::net::SocketAddrV4;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Breaks whoever asks it for the first sandbox; what it starts runs until it is killed.
#[derive(Default)]
struct Brittle {
    sandboxes: AtomicUsize,
}

impl Runtime for Brittle {
    type Error = std::io::Error;

    fn unenforced(&self, _: &Resources) -> Vec<Unenforced> {
        Vec::new()
    }
    async fn create_sandbox(&self, _: &SandboxSpec) -> Result<(), Self::Error> {
        assert!(self.sandboxes.fetch_add(1, Ordering::Relaxed) > 0, "broken on purpose");
        Ok(())
    }
    async fn remove_sandbox(&self, _: &PodRef) -> Result<(), Self::Error> {
        Ok(())
    }
    async fn refill(&self, _: &PodRef, _: Vec<FileVolume>) -> Result<(), Self::Error> {
        Ok(())
    }
    async fn start(&self, _: &ContainerSpec) -> Result<Started, Self::Error> {
        Ok(Started { pid: 1, cgroup_id: 1, at: clock::wall(), user: None })
    }
    fn obstacle(_: &Self::Error) -> Obstacle {
        Obstacle::Creation
    }
    async fn wait(&self, _: &ContainerRef) -> Result<Exited, Self::Error> {
        std::future::pending().await
    }
    fn group_oom(&self, _: &ContainerRef) -> bool {
        false
    }
    async fn termination_message(&self, _: &ContainerRef, _: usize) -> Result<Vec<u8>, Self::Error> {
        Ok(Vec::new())
    }
    async fn signal(&self, _: &ContainerRef, _: i32) -> Result<(), Self::Error> {
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

#[tokio::test]
async fn a_pod_whose_worker_broke_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { run_dir: dir.path().into(), ..Config::default() };
    let checkpoints = Checkpoints::new(dir.path());
    checkpoints.prepare().unwrap();
    let node = Arc::new(Node {
        leases: Mutex::new(Leases::open(dir.path(), config.pod_cidr).unwrap()),
        facts: facts::of_host(&config),
        config,
        runtime: Brittle::default(),
        images: Every,
        attribution: Arc::new(Untraced),
        views: Default::default(),
        checkpoints: Some(checkpoints),
        probing: Default::default(),
        notices: Default::default(),
    });
    let mut views = node.views.watch();
    let mut agent = Agent::new(Arc::clone(&node));
    let pod = PodRef { namespace: "default".into(), name: "p".into(), uid: "u".into() };
    let text = "{metadata: {name: p, namespace: default, uid: u}, \
        spec: {hostNetwork: true, containers: [{name: a, image: x}]}}";
    let manifest = serde_yaml::from_str(text).unwrap();
    agent.run(PodRecord::new(pod.clone(), manifest, Arc::new(Arc::new(Sources::default())), clock::wall()));
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

//! What is done about pods, as whoever ends them is told.

use super::*;
use crate::api::objects::{Token, TokenWanted};
use crate::api::status::ApiError;
use crate::image;
use crate::store::{Expected, Key};
use serde_json::json;
use std::fs;

/// Takes whatever is written.
struct Any;

impl Objects for Any {
    async fn ensure(&self, _: Value) -> Result<(), ApiError> {
        Ok(())
    }
    async fn update(&self, _: &ObjectRef, _: impl Fn(&mut Value) + Send + Sync) -> Result<Value, ApiError> {
        Ok(Value::Null)
    }
    async fn update_status(
        &self,
        _: &ObjectRef,
        _: impl Fn(&mut Value) + Send + Sync,
    ) -> Result<Value, ApiError> {
        Ok(Value::Null)
    }
    async fn bind(&self, _: &ObjectRef, _: &str, _: &str) -> Result<(), ApiError> {
        unreachable!("nothing is bound")
    }
    async fn token(&self, _: &ObjectRef, _: &str, _: &str, _: &TokenWanted) -> Result<Token, ApiError> {
        unreachable!("no token is asked for")
    }
    async fn remove(&self, _: &ObjectRef, _: &str) -> Result<(), ApiError> {
        unreachable!("nothing is removed")
    }
}

#[tokio::test]
async fn pods_with_too_much_on_the_disk_go_at_once_and_are_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let config =
        Config { state_dir: dir.path().join("state"), log_dir: dir.path().join("log"), ..Config::default() };
    let images = image::Store::open(&config.state_dir.join("images")).unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    for (name, priority) in [("a", 0), ("b", 0), ("critical", 2_000_000_000)] {
        let volumes = json!([{"name": "v", "emptyDir": {"sizeLimit": "1Ki"}}]);
        let pod = json!({
            "metadata": {"name": name, "namespace": "default", "uid": name},
            "spec": {"nodeName": "n", "priority": priority, "containers": [], "volumes": volumes},
        });
        let bytes = pod.to_string().into();
        store.put("/pods", &Key::new("default", name), Expected::Absent, move |_| bytes).await.unwrap();
        let volume = config.state_dir.join("pods").join(name).join("volume-v");
        fs::create_dir_all(&volume).unwrap();
        fs::write(volume.join("f"), vec![1; 64 << 10]).unwrap();
    }
    let (evictions, mut told) = mpsc::channel(8);
    let row = |name: &str| {
        (PodRef { namespace: "default".into(), name: name.into(), uid: name.into() }, Default::default())
    };
    // They are there for as long as they like.
    let (_rows, views) = watch::channel(Rows::from(["a", "b", "critical"].map(row)));
    let ends = Ends { short: watch::Sender::default(), evictions, views };
    let gauges = Gauges::new(config.clone());
    let mut warden = Warden::new("n".into(), config, gauges, (store, Any), Garbage::new(images), ends);
    for expected in [2, 0] {
        let waits = tokio::time::timeout(limits::EVICTION_WAIT / 2, warden.end_excess());
        waits.await.expect("no pod is waited for");
        let gone = std::iter::from_fn(|| told.try_recv().ok()).map(|eviction| eviction.pod.name);
        let gone: Vec<_> = gone.collect();
        assert_eq!(gone.len(), expected, "{gone:?}");
        assert!(!gone.contains(&"critical".to_owned()));
    }
}

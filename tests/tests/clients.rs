//! Other clients than kubectl against a node: Python's, Rust's, and what finds a Prometheus' targets. Debian builds Prometheus
//! without its Kubernetes discovery; vmagent reads the same configuration and gives the same labels.

use std::process::{Command, Output};

use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{AttachParams, DeleteParams, ListParams, LogParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::{WatchStreamExt, conditions, wait, watcher};
use kube::{Api, Client, Config, Error};
use podbox_tests::host::IMAGE;
use podbox_tests::node::Node;
use podbox_tests::run::{Run, limit};
use podbox_tests::wait::wait_for;
use podbox_tests::{needs, workspace};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

#[track_caller]
fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn pythons_client_lists_watches_patches_and_runs_commands() {
    let test = "pythons_client_lists_watches_patches_and_runs_commands";
    let Some(()) = needs::host(test) else { return };
    let Some(node) = Node::start(test) else { return };
    let script = workspace().join("tests/clients/client.py");
    let output = node.client("python3").arg(script).output().expect("Python is installed");
    assert_eq!(said(&output), "all as it should be\n");
}

/// Prometheus' configuration: everything that it can find through the API, and nothing else.
fn discovery(node: &Node) -> String {
    let roles = ["node", "pod", "service", "endpointslice", "ingress"];
    let job = |role: &str| {
        format!(
            "- job_name: {role}\n  kubernetes_sd_configs:\n  - role: {role}\n    kubeconfig_file: {}\n",
            node.kubeconfig().display()
        )
    };
    format!("scrape_configs:\n{}", roles.map(job).concat())
}

/// The labels that Prometheus found with targets of a job.
fn found(text: &str, job: &str) -> Vec<Value> {
    let answer: Value = serde_json::from_str(text).unwrap_or_default();
    let all = ["activeTargets", "droppedTargets"].map(|kind| answer["data"][kind].as_array().cloned());
    let of_job = |target: &Value| target["discoveredLabels"]["job"] == job;
    let all = all.into_iter().flatten().flatten().filter(of_job);
    all.map(|target| target["discoveredLabels"].clone()).collect()
}

#[test]
fn a_prometheus_finds_nodes_pods_and_services() {
    let test = "a_prometheus_finds_nodes_pods_and_services";
    let (Some(()), Some(())) = (needs::host(test), needs::program(test, "vmagent")) else { return };
    let Some(node) = Node::start(test) else { return };
    let manifests = workspace().join("tests/transcripts/files");
    for file in ["pods.yaml", "web.yaml", "kinds.yaml"] {
        node.kubectl(&["apply", "-f", manifests.join(file).to_str().expect("the path is UTF-8")]);
    }
    node.kubectl(&["wait", "pod/server", "--for=condition=Ready", "--timeout=300s"]);
    let config = node.host.file("prometheus.yaml", discovery(&node));
    let mut agent = Command::new("vmagent");
    agent
        .arg(format!("-promscrape.config={}", config.display()))
        .arg(format!("-remoteWrite.tmpDataPath={}", node.host.dir.join("queue").display()))
        .args([
            "-promscrape.kubernetesSDCheckInterval=1s",
            "-remoteWrite.url=http://127.0.0.1:1/",
            "-httpListenAddr=127.0.0.1:9090",
        ]);
    let _agent = Run::start(agent, &node.host.dir);
    let targets = || {
        let url = "http://127.0.0.1:9090/api/v1/targets";
        let script = format!("import urllib.request as r; print(r.urlopen({url:?}).read().decode())");
        let output = node.client("python3").args(["-c", &script]).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let labels = |job: &'static str, label: &str, value: &str| {
        wait_for(&format!("a {job} with {label}={value}"), limit(), || {
            let text = targets()?;
            found(&text, job).into_iter().find(|labels| labels[label] == value)
        })
    };
    let pod = labels("pod", "__meta_kubernetes_pod_name", "server");
    assert_eq!(pod["__meta_kubernetes_pod_phase"], "Running");
    assert_eq!(pod["__meta_kubernetes_pod_ready"], "true");
    assert_eq!(pod["__meta_kubernetes_pod_container_name"], "web");
    let host = &pod["__meta_kubernetes_pod_node_name"];
    let of_node = labels("node", "__meta_kubernetes_node_name", host.as_str().expect("a name"));
    assert!(of_node["__address__"].as_str().is_some_and(|address| !address.ends_with(":0")), "{of_node}");
    labels("service", "__meta_kubernetes_service_port_name", "http");
    let slice = labels("endpointslice", "__meta_kubernetes_endpointslice_name", "web-1");
    assert_eq!(slice["__address__"], "10.1.2.3:8080");
    // What comes later is found too.
    node.kubectl(&["create", "service", "clusterip", "late", "--tcp=80"]);
    labels("service", "__meta_kubernetes_service_name", "late");
}

#[test]
fn rusts_client_watches_applies_and_runs_commands() {
    let test = "rusts_client_watches_applies_and_runs_commands";
    let Some(()) = needs::host(test) else { return };
    let Some(node) = Node::start(test) else { return };
    // One thread: others would be in the network namespace that the test has left.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("threads can be started").block_on(async {
        let file = Kubeconfig::read_from(node.kubeconfig()).expect("the kubeconfig is readable");
        let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
        let client = Client::try_from(config.expect("the kubeconfig is whole")).expect("a client");
        objects(client.clone()).await;
        pod(client).await;
    });
}

/// Objects: watched while they are made, applied, refused and removed.
async fn objects(client: Client) {
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let config = watcher::Config::default().labels("app=rust");
    let mut events = watcher(maps.clone(), config.clone()).default_backoff().applied_objects().boxed();
    let streamed = watcher(maps.clone(), config.streaming_lists()).default_backoff().applied_objects();
    let mut streamed = streamed.boxed();
    let apply = |data: Value| {
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "rust", "labels": {"app": "rust"}}, "data": data,
        });
        Patch::Apply(map)
    };
    let params = PatchParams::apply("rust");
    for round in ["1", "2"] {
        maps.patch("rust", &params, &apply(json!({"round": round}))).await.expect("it is applied");
        for events in [&mut events, &mut streamed] {
            let seen = events.try_next().await.expect("the watch goes on").expect("it has no end");
            assert_eq!(seen.data.expect("it has data")["round"], round);
        }
    }
    let other = PatchParams::apply("other");
    match maps.patch("rust", &other, &apply(json!({"round": "3"}))).await {
        Err(Error::Api(status)) => assert_eq!((status.code, status.reason.as_str()), (409, "Conflict")),
        applied => panic!("no conflict: {applied:?}"),
    }
    let whole = maps.get("rust").await.expect("it is there");
    match maps.create(&PostParams::default(), &whole).await {
        Err(Error::Api(status)) => assert_eq!(status.code, 500, "a resourceVersion is refused on creation"),
        made => panic!("made: {made:?}"),
    }
    let listed = maps.list(&ListParams::default().labels("app=rust").limit(1)).await.expect("a list");
    assert_eq!(listed.items.len(), 1);
    let partial = maps.get_metadata("rust").await.expect("only its metadata");
    assert_eq!(partial.metadata.uid, whole.metadata.uid);
    maps.delete("rust", &DeleteParams::default()).await.expect("it is removed");
    assert!(maps.get_opt("rust").await.expect("an answer").is_none());
}

/// A pod: awaited, its log followed, a command run in it, and its end awaited.
async fn pod(client: Client) {
    let pods: Api<Pod> = Api::default_namespaced(client);
    let manifest = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "rust"},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "web", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "args": ["http", "8080"],
            }],
        },
    });
    let pod: Pod = serde_json::from_value(manifest).expect("it is a pod");
    let made = pods.create(&PostParams::default(), &pod).await.expect("it is made");
    let running = wait::await_condition(pods.clone(), "rust", conditions::is_pod_running());
    running.await.expect("the watch goes on");
    let follow = LogParams { follow: true, ..LogParams::default() };
    let mut lines = pods.log_stream("rust", &follow).await.expect("it has a log");
    let mut first = [0; 9];
    futures_util::AsyncReadExt::read_exact(&mut lines, &mut first).await.expect("it says something");
    assert_eq!(&first, b"listening");
    let command = ["/bin/busybox", "sh", "-c", "echo inside; exit 4"];
    let mut inside = pods.exec("rust", command, &AttachParams::default()).await.expect("it runs");
    let mut out = String::new();
    let stdout = inside.stdout().expect("it was asked for");
    tokio::pin!(stdout);
    stdout.read_to_string(&mut out).await.expect("it is text");
    assert_eq!(out, "inside\n");
    let status = inside.take_status().expect("it was asked for").await.expect("it ends");
    assert_eq!(status.reason.as_deref(), Some("NonZeroExitCode"));
    inside.join().await.expect("the connection ends well");
    pods.delete("rust", &DeleteParams::default()).await.expect("it is removed");
    let uid = made.metadata.uid.expect("it has a uid");
    let gone = conditions::is_deleted(&uid);
    wait::await_condition(pods, "rust", gone).await.expect("the watch goes on");
}

//! The pages as a scraper reads them: of one object of each kind, and of the books of a small node.

mod mixin;

use super::*;
use crate::api::account::{
    Account, Charge, ContainerAccount, Cpu, DiskTraffic, Known, PodAccount, Pressure, Pressures, Throttling,
};
use crate::api::allowed::AllowList;
use crate::api::identity::{ContainerRef, PodRef};
use crate::api::stats::{HostUsage, Memory, Sample, Traffic, Usage};
use crate::store::{Expected, Key};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

/// The names that dashboards, rules and tests may ask the pages for.
pub fn names() -> BTreeSet<String> {
    [cadvisor::names(), resource::names(), state::names()].concat().into_iter().collect()
}

/// Each line of a page, once it has been held to the format: each family has one head and stands together, no series comes twice.
#[track_caller]
fn lines(text: &str) -> BTreeSet<&str> {
    let (mut families, mut series, mut family) = (BTreeSet::new(), BTreeSet::new(), "");
    for line in text.lines() {
        if let Some(head) = line.strip_prefix("# HELP ") {
            family = head.split(' ').next().unwrap();
            assert!(families.insert(family), "{family} has two heads");
        } else if !line.starts_with('#') {
            let (name, _) = line.rsplit_once(' ').unwrap();
            assert!(name.starts_with(family), "{line} is below {family}");
            assert!(series.insert(name), "{line} comes twice");
        }
    }
    let known = names();
    families.into_iter().for_each(|family| assert!(known.contains(family), "{family}"));
    text.lines().collect()
}

#[track_caller]
fn has(text: &str, expected: &[&str]) {
    let lines = lines(text);
    expected.iter().for_each(|line| assert!(lines.contains(line), "{line} is not in\n{text}"));
}

/// The state page of these objects, by collection.
async fn state_of(objects: &[(&str, Value)], allowed: Allowed) -> (tempfile::TempDir, Store, String) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    for (collection, object) in objects {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
        let bytes = serde_json::to_vec(object).unwrap();
        let key = Key::new(text("namespace"), text("name"));
        store.put(collection, &key, Expected::Absent, move |_| bytes.into()).await.unwrap();
    }
    let (text, left_out) = state::render(&store, &allowed);
    assert_eq!(left_out, 0);
    (dir, store, text)
}

fn pod() -> Value {
    json!({
        "metadata": {
            "namespace": "n", "name": "p", "uid": "u", "creationTimestamp": "1970-01-01T00:01:00Z",
            "labels": {"app.kubernetes.io/partOf": "x\"y", "app": "a"},
            "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": "1", "controller": true},
                {"apiVersion": "v1", "kind": "Node", "name": "a", "uid": "2"},
                {"apiVersion": "v1", "kind": "Node", "name": "a", "uid": "3"},
            ],
        },
        "spec": {
            "nodeName": "node", "hostNetwork": false, "restartPolicy": "Always",
            "containers": [{
                "name": "c", "image": "i",
                "resources": {
                    "requests": {"cpu": "250m", "memory": "1Gi", "example.com/gpu": "2"}, "limits": {"cpu": "1"},
                },
            }],
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}],
        },
        "status": {
            "phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}], "hostIP": "192.0.2.1",
            "qosClass": "Burstable", "startTime": "1970-01-01T00:01:01Z",
            "conditions": [{"type": "Ready", "status": "False"}, {"type": "PodScheduled", "status": "True"}],
            "containerStatuses": [{
                "name": "c", "image": "i:1", "imageID": "i@sha256:0", "containerID": "podbox://u/c-3", "ready": false,
                "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled", "finishedAt": "1970-01-01T00:02:00Z"}},
            }],
        },
    })
}

#[tokio::test]
async fn a_pod_is_told_as_kube_state_metrics_tells_it() {
    let allowed = Allowed { labels: AllowList::parse("pods=[*]").unwrap(), ..Allowed::default() };
    let (_dir, store, text) = state_of(&[("/pods", pod())], allowed.clone()).await;
    let own = "namespace=\"n\",pod=\"p\",uid=\"u\"";
    has(
        &text,
        &[
            &format!(
                "kube_pod_info{{{own},host_ip=\"192.0.2.1\",pod_ip=\"10.0.0.1\",node=\"node\",created_by_kind=\"ReplicaSet\",\
                 created_by_name=\"rs\",priority_class=\"\",host_network=\"false\"}} 1"
            ),
            &format!("kube_pod_created{{{own}}} 60"),
            &format!("kube_pod_labels{{{own},label_app=\"a\",label_app_kubernetes_io_part_of=\"x\\\"y\"}} 1"),
            &format!(
                "kube_pod_owner{{{own},owner_kind=\"ReplicaSet\",owner_name=\"rs\",owner_is_controller=\"true\"}} 1"
            ),
            &format!("kube_pod_status_phase{{{own},phase=\"Running\"}} 1"),
            &format!("kube_pod_status_phase{{{own},phase=\"Failed\"}} 0"),
            &format!("kube_pod_status_ready{{{own},condition=\"false\"}} 1"),
            &format!(
                "kube_pod_container_resource_requests{{{own},container=\"c\",node=\"node\",resource=\"cpu\",unit=\"core\"}} 0.25"
            ),
            &format!(
                "kube_pod_container_resource_requests{{{own},container=\"c\",node=\"node\",resource=\"memory\",unit=\"byte\"}} \
                 1073741824"
            ),
            &format!(
                "kube_pod_container_resource_requests{{{own},container=\"c\",node=\"node\",resource=\"example_com_gpu\",\
                 unit=\"integer\"}} 2"
            ),
            &format!(
                "kube_pod_container_status_waiting_reason{{{own},container=\"c\",reason=\"CrashLoopBackOff\"}} 1"
            ),
            &format!(
                "kube_pod_container_status_last_terminated_reason{{{own},container=\"c\",reason=\"OOMKilled\"}} 1"
            ),
            &format!("kube_pod_container_status_last_terminated_exitcode{{{own},container=\"c\"}} 137"),
            &format!("kube_pod_container_status_restarts_total{{{own},container=\"c\"}} 3"),
        ],
    );
    // Nothing that is not named in the options is told, and what has gone is told no more.
    let (text, _) = state::render(&store, &Allowed::default());
    assert!(!text.contains("kube_pod_labels"), "{text}");
    store.delete("/pods", &Key::new("n", "p"), Expected::Any, |_| Default::default()).await.unwrap();
    assert_eq!(state::render(&store, &allowed).0, "");
}

#[tokio::test]
async fn every_kind_is_told() {
    let meta = |namespace: &str, name: &str| json!({"namespace": namespace, "name": name, "uid": "u", "generation": 2});
    let mut all = Vec::new();
    let mut add = |collection: &'static str, namespace: &str, rest: Value| {
        let mut object = rest;
        object["metadata"] = meta(namespace, "x");
        all.push((collection, object));
    };
    let ready = json!({"type": "Ready", "status": "True"});
    add(
        "/nodes",
        "",
        json!({
            "spec": {"unschedulable": true, "taints": [{"key": "k", "effect": "NoExecute"}]},
            "status": {"allocatable": {"cpu": "1500m", "pods": "110"}, "conditions": [ready]},
        }),
    );
    add("/namespaces", "", json!({"status": {"phase": "Active"}}));
    let rolling =
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}});
    add(
        "apps/deployments",
        "n",
        json!({
            "spec": {"replicas": 3, "selector": {}, "template": {}, "strategy": rolling},
            "status": {"replicas": 3, "conditions": [{"type": "Available", "status": "True", "reason": "R"}]},
        }),
    );
    add("apps/replicasets", "n", json!({"spec": {"replicas": 3, "selector": {}}, "status": {"replicas": 2}}));
    add("/replicationcontrollers", "n", json!({"spec": {"replicas": 1}, "status": {"replicas": 1}}));
    add(
        "apps/statefulsets",
        "n",
        json!({
            "spec": {"replicas": 2, "selector": {}, "template": {}, "serviceName": "s"},
            "status": {"replicas": 2, "currentRevision": "x-1", "updateRevision": "x-2"},
        }),
    );
    let numbers = json!({
        "currentNumberScheduled": 1, "desiredNumberScheduled": 2, "numberMisscheduled": 0, "numberReady": 1,
    });
    add("apps/daemonsets", "n", json!({"spec": {"selector": {}, "template": {}}, "status": numbers}));
    let failed = json!({"type": "Failed", "status": "True", "reason": "DeadlineExceeded"});
    add(
        "batch/jobs",
        "n",
        json!({"spec": {"parallelism": 1, "template": {}}, "status": {"failed": 4, "conditions": [failed]}}),
    );
    let job = json!({"spec": {"template": {}}});
    add(
        "batch/cronjobs",
        "n",
        json!({"spec": {"schedule": "* * * * *", "suspend": true, "jobTemplate": job}}),
    );
    let claim = json!({"namespace": "n", "name": "x"});
    add(
        "/persistentvolumes",
        "",
        json!({
            "spec": {"capacity": {"storage": "1Gi"}, "claimRef": claim, "local": {"path": "/v"}, "storageClassName": "local"},
            "status": {"phase": "Bound"},
        }),
    );
    add(
        "/persistentvolumeclaims",
        "n",
        json!({
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "volumeName": "x"},
            "status": {"phase": "Bound"},
        }),
    );
    add("storage.k8s.io/storageclasses", "", json!({"provisioner": "podbox.io/local"}));
    let used =
        json!({"hard": {"pods": "10", "requests.cpu": "1"}, "used": {"pods": "1", "requests.cpu": "500m"}});
    add("/resourcequotas", "n", json!({"status": used}));
    add("/limitranges", "n", json!({"spec": {"limits": [{"type": "Container", "max": {"memory": "1Gi"}}]}}));
    let budget = json!({
        "currentHealthy": 2, "desiredHealthy": 1, "disruptionsAllowed": 1, "expectedPods": 2, "observedGeneration": 2,
    });
    add("policy/poddisruptionbudgets", "n", json!({"spec": {}, "status": budget}));
    let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}});
    let target = json!({"kind": "Deployment", "name": "x"});
    add(
        "autoscaling/horizontalpodautoscalers",
        "n",
        json!({
            "spec": {"maxReplicas": 5, "scaleTargetRef": target, "metrics": [metric]}, "status": {"desiredReplicas": 2},
        }),
    );
    add("/services", "n", json!({"spec": {"type": "ClusterIP", "clusterIP": "10.96.0.9"}}));
    add("/configmaps", "n", json!({}));
    add("/secrets", "n", json!({"type": "Opaque", "data": {"secret": "c2VjcmV0"}}));
    let (_dir, _store, text) = state_of(&all, Allowed::default()).await;
    has(
        &text,
        &[
            "kube_node_spec_unschedulable{node=\"x\"} 1",
            "kube_node_spec_taint{node=\"x\",key=\"k\",value=\"\",effect=\"NoExecute\"} 1",
            "kube_node_status_allocatable{node=\"x\",resource=\"cpu\",unit=\"core\"} 1.5",
            "kube_node_status_allocatable{node=\"x\",resource=\"pods\",unit=\"integer\"} 110",
            "kube_node_status_condition{node=\"x\",condition=\"Ready\",status=\"true\"} 1",
            "kube_namespace_status_phase{namespace=\"x\",phase=\"Active\"} 1",
            "kube_deployment_spec_replicas{namespace=\"n\",deployment=\"x\"} 3",
            "kube_deployment_spec_strategy_rollingupdate_max_surge{namespace=\"n\",deployment=\"x\"} 1",
            "kube_deployment_spec_strategy_rollingupdate_max_unavailable{namespace=\"n\",deployment=\"x\"} 0",
            "kube_deployment_status_condition{namespace=\"n\",deployment=\"x\",condition=\"Available\",reason=\"R\",status=\"true\"} 1",
            "kube_replicaset_status_replicas{namespace=\"n\",replicaset=\"x\"} 2",
            "kube_replicaset_owner{namespace=\"n\",replicaset=\"x\",owner_kind=\"\",owner_name=\"\",owner_is_controller=\"\"} 1",
            "kube_replicationcontroller_spec_replicas{namespace=\"n\",replicationcontroller=\"x\"} 1",
            "kube_statefulset_replicas{namespace=\"n\",statefulset=\"x\"} 2",
            "kube_statefulset_status_update_revision{namespace=\"n\",statefulset=\"x\",revision=\"x-2\"} 1",
            "kube_daemonset_status_desired_number_scheduled{namespace=\"n\",daemonset=\"x\"} 2",
            "kube_job_status_failed{namespace=\"n\",job_name=\"x\",reason=\"DeadlineExceeded\"} 4",
            "kube_job_failed{namespace=\"n\",job_name=\"x\",condition=\"true\"} 1",
            "kube_cronjob_spec_suspend{namespace=\"n\",cronjob=\"x\"} 1",
            "kube_persistentvolume_capacity_bytes{persistentvolume=\"x\"} 1073741824",
            "kube_persistentvolumeclaim_status_phase{namespace=\"n\",persistentvolumeclaim=\"x\",phase=\"Bound\"} 1",
            "kube_storageclass_info{storageclass=\"x\",provisioner=\"podbox.io/local\",reclaim_policy=\"Delete\",\
             volume_binding_mode=\"Immediate\"} 1",
            "kube_resourcequota{namespace=\"n\",resourcequota=\"x\",resource=\"requests.cpu\",type=\"used\"} 0.5",
            "kube_limitrange{namespace=\"n\",limitrange=\"x\",resource=\"memory\",type=\"Container\",constraint=\"max\"} 1073741824",
            "kube_poddisruptionbudget_status_pod_disruptions_allowed{namespace=\"n\",poddisruptionbudget=\"x\"} 1",
            "kube_horizontalpodautoscaler_spec_target_metric{namespace=\"n\",horizontalpodautoscaler=\"x\",metric_name=\"cpu\",\
             metric_target_type=\"utilization\"} 80",
            "kube_service_spec_type{namespace=\"n\",service=\"x\",uid=\"u\",type=\"ClusterIP\"} 1",
            "kube_secret_type{namespace=\"n\",secret=\"x\",type=\"Opaque\"} 1",
        ],
    );
    assert!(!text.contains("c2VjcmV0"), "what is in a Secret is nobody's to scrape");
}

/// A node with one pod, of which one container runs with every controller.
fn books() -> Books {
    let pod = PodRef { namespace: "n".into(), name: "p".into(), uid: "u".into() };
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
    let sample = Sample { at, cpu_nanos: 5_000_000_000, memory: Memory::default(), processes: 9 };
    let cpu = Cpu {
        usage: Duration::from_millis(1500),
        throttling: Some(Throttling { periods: 10, throttled_periods: 3, time: Duration::from_millis(250) }),
        limit: Some((Duration::from_millis(50), Duration::from_millis(100))),
        weight: Some(100),
        ..Cpu::default()
    };
    let stalled = Pressure { some: Duration::from_millis(20), full: Duration::from_millis(10) };
    let account = Account {
        cpu,
        memory: Memory { usage: 900, working_set: 600, rss: 300, page_faults: 7, major_page_faults: 1 },
        charge: Some(Charge { cache: 500, limit: Some(4096), oom_kills: 1, ..Charge::default() }),
        processes: 2,
        threads: Some(3),
        threads_limit: Some(100),
        disks: BTreeMap::from([("8:0".to_owned(), DiskTraffic { read_bytes: 5, ..DiskTraffic::default() })]),
        pressure: Pressures { memory: Some(stalled), ..Pressures::default() },
    };
    let run = ContainerAccount {
        container: ContainerRef { pod: pod.clone(), name: "c".into(), attempt: 1 },
        started: SystemTime::UNIX_EPOCH + Duration::from_millis(60_500),
        group: "/podbox.slice/burstable/podu/c-1".into(),
        account,
    };
    let of_pod = PodAccount {
        group: "/podbox.slice/burstable/podu".into(),
        account: Account::default(),
        containers: vec![run],
    };
    let traffic = Traffic { rx_bytes: 11, tx_packets: 2, ..Traffic::default() };
    let known = |image: &str, id: &str| Known { image: image.into(), id: id.into() };
    let known = [("c", known("i:1", "u/c-1")), ("gone", known("j", "u/gone-0"))];
    let usage = Usage { sample, rate: None };
    Books {
        host: HostUsage {
            booted: SystemTime::UNIX_EPOCH,
            usage,
            memory_bytes: 1 << 30,
            processes_limit: 100,
        },
        processors: 2,
        links: BTreeMap::from([("eth0".to_owned(), Traffic { rx_bytes: 99, ..Traffic::default() })]),
        pressure: Pressures::default(),
        pods: BTreeMap::from([(pod.clone(), (of_pod, Some(traffic)))]),
        known: BTreeMap::from([(pod, known.map(|(name, known)| (name.to_owned(), known)).into())]),
        oom_kills: Some(BTreeMap::from([(("n".into(), "p".into(), "gone".into()), 4)])),
        devices: BTreeMap::from([("8:0".to_owned(), "/dev/sda".to_owned())]),
    }
}

#[test]
fn a_container_is_told_as_cadvisor_tells_it() {
    let (text, left_out) = cadvisor::render(&books());
    assert_eq!(left_out, 0);
    let pod =
        "container=\"\",id=\"/podbox.slice/burstable/podu\",image=\"\",name=\"\",namespace=\"n\",pod=\"p\"";
    let run = "container=\"c\",id=\"/podbox.slice/burstable/podu/c-1\",image=\"i:1\",name=\"u/c-1\",namespace=\"n\",pod=\"p\"";
    let root = "container=\"\",id=\"/\",image=\"\",name=\"\",namespace=\"\",pod=\"\"";
    has(
        &text,
        &[
            &format!("container_cpu_usage_seconds_total{{{run},cpu=\"total\"}} 1.5"),
            &format!("container_cpu_usage_seconds_total{{{root},cpu=\"total\"}} 5"),
            &format!("container_cpu_cfs_throttled_periods_total{{{run}}} 3"),
            &format!("container_memory_working_set_bytes{{{run}}} 600"),
            &format!("container_memory_cache{{{run}}} 500"),
            &format!(
                "container_memory_failures_total{{{run},failure_type=\"pgmajfault\",scope=\"container\"}} 1"
            ),
            &format!("container_fs_reads_bytes_total{{{run},device=\"/dev/sda\"}} 5"),
            &format!("container_pressure_memory_stalled_seconds_total{{{run}}} 0.01"),
            &format!("container_spec_cpu_quota{{{run}}} 50000"),
            &format!("container_spec_memory_limit_bytes{{{run}}} 4096"),
            &format!("container_start_time_seconds{{{run}}} 60.5"),
            &format!("container_network_receive_bytes_total{{{pod},interface=\"eth0\"}} 11"),
            &format!("container_network_receive_bytes_total{{{root},interface=\"eth0\"}} 99"),
            "machine_cpu_cores 2",
        ],
    );
    // What is not measured is not there, rather than zero.
    assert!(!text.contains("container_pressure_cpu"), "{text}");
}

#[test]
fn oom_kills_are_told_over_all_runs_by_the_kernels_record_or_else_by_the_groups() {
    let of = |container: &str, image: &str| {
        format!(
            "container_oom_events_total{{container=\"{container}\",id=\"/podbox.slice/burstable/podu\",image=\"{image}\",\
             name=\"{container}\",namespace=\"n\",pod=\"p\"}}"
        )
    };
    let (text, _) = cadvisor::render(&books());
    has(&text, &[&(of("gone", "j") + " 4"), &(of("c", "i:1") + " 0")]);
    let (text, _) = cadvisor::render(&Books { oom_kills: None, ..books() });
    has(&text, &[&(of("gone", "j") + " 0"), &(of("c", "i:1") + " 1")]);
}

#[test]
fn autoscalers_are_told_cpu_time_and_memory() {
    let (text, _) = resource::render(&books());
    let own = "container=\"c\",namespace=\"n\",pod=\"p\"";
    has(
        &text,
        &[
            &format!("container_cpu_usage_seconds_total{{{own}}} 1.5"),
            &format!("container_memory_working_set_bytes{{{own}}} 600"),
            "pod_cpu_usage_seconds_total{namespace=\"n\",pod=\"p\"} 0",
            "node_cpu_usage_seconds_total 5",
            "resource_scrape_error 0",
        ],
    );
}

/// The words of the queries in `dashboards/` that look like names of metrics, each with its file.
fn asked() -> Vec<(String, String)> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../dashboards");
    let mut asked = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        if !file.ends_with(".json") && !file.ends_with(".yml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let words = text.split(|char: char| !char.is_ascii_alphanumeric() && !"_:".contains(char));
        let kinds = [
            "podbox",
            "prober",
            "kube",
            "kubelet",
            "container",
            "scheduler",
            "apiserver",
            "process",
            "machine",
            "workqueue",
        ];
        let is_name = |word: &&str| {
            kinds.iter().any(|kind| word.strip_prefix(kind).is_some_and(|rest| rest.starts_with('_')))
        };
        asked.extend(words.filter(is_name).map(|word| (file.clone(), word.to_owned())));
    }
    asked
}

#[test]
fn dashboards_and_alerts_ask_for_metrics_that_exist() {
    let known = mixin::told();
    // Labels that are called like metrics.
    let labels = ["container_name"];
    let asked = asked();
    for (file, name) in &asked {
        assert!(
            known.contains(name) || labels.contains(&name.as_str()),
            "{file} asks for {name}, which does not exist"
        );
    }
    assert!(asked.len() > 100, "the dashboards were read");
}

//! Dashboards and rules against Debian's Prometheus: all that they ask is asked of a busy node, and every alert is told its story.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use podbox_tests::host::Host;
use podbox_tests::metrics::page;
use podbox_tests::node::Node;
use podbox_tests::prometheus::Prometheus;
use podbox_tests::run::limit;
use podbox_tests::wait::wait_until;
use podbox_tests::{needs, workspace};
use serde_json::{Value, json};

/// The pages, each as it is scraped.
const PAGES: [&str; 5] =
    ["/metrics", "/metrics/cadvisor", "/metrics/probes", "/metrics/resource", "/metrics/state"];
/// What kubernetes-mixin asks of kubelets and of the control plane, by the jobs by which it looks for them, beside what our own
/// dashboards ask.
const MIXIN: [&str; 15] = [
    r#"kubelet_node_name{job="kubelet",metrics_path="/metrics"}"#,
    r#"kubelet_pod_worker_duration_seconds_bucket{job="kubelet"}"#,
    r#"volume_manager_total_volumes{job="kubelet",state="actual_state_of_world"}"#,
    r#"container_memory_working_set_bytes{job="kubelet",metrics_path="/metrics/cadvisor",container!=""}"#,
    r#"container_memory_rss{job="kubelet",metrics_path="/metrics/cadvisor",node!="",container!=""}"#,
    r#"sum by (node) (kubelet_running_pods{job="kubelet",metrics_path="/metrics",node!=""})"#,
    r#"kube_pod_info{job="kube-state-metrics",node!=""} * on (node) group_left () kubelet_node_name{job="kubelet"}"#,
    r#"kubelet_cgroup_manager_duration_seconds_bucket{job="kubelet",operation_type="destroy"}"#,
    r#"storage_operation_duration_seconds_bucket{job="kubelet",operation_name="volume_mount",volume_plugin!="",status="success"}"#,
    r#"kube_pod_owner{job="kube-state-metrics",owner_kind="ReplicaSet"}"#,
    r#"apiserver_request_sli_duration_seconds_bucket{job="kube-apiserver",scope="cluster",le=~"30(\\.0)?"}"#,
    r#"apiserver_client_certificate_expiration_seconds_count{job="kube-apiserver"}"#,
    r#"process_resident_memory_bytes{job="kube-apiserver"}"#,
    r#"scheduler_scheduling_attempt_duration_seconds_bucket{job="kube-scheduler"}"#,
    r#"workqueue_depth{job="kube-controller-manager"}"#,
];
/// How often Prometheus looks, by its configuration, in seconds.
const EVERY: u32 = 15;
/// Where the answers go that pictures are drawn from, if somebody wants them; and of how many seconds they are then.
const ANSWERS: (&str, u32) = ("PODBOX_DASHBOARD_ANSWERS", 300);

fn directory() -> PathBuf {
    workspace().join("dashboards")
}

#[test]
fn rules_are_valid_and_every_alert_comes_when_it_should() {
    let test = "rules_are_valid_and_every_alert_comes_when_it_should";
    let (Some(()), Some(())) = (needs::host(test), needs::program(test, "promtool")) else { return };
    for args in [["test", "rules", "rules-test.yml"], ["check", "config", "prometheus.yml"]] {
        let output =
            Command::new("promtool").args(args).current_dir(directory()).output().expect("it starts");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "promtool {args:?}:\n{out}{err}");
    }
}

#[test]
fn all_that_dashboards_and_rules_ask_is_told_by_a_busy_node() {
    let test = "all_that_dashboards_and_rules_ask_is_told_by_a_busy_node";
    let Some(()) = needs::one_kernel(test, &["cpu", "memory", "pids"]) else { return };
    let (Some(()), Some(())) = (needs::program(test, "prometheus"), needs::program(test, "promtool")) else {
        return;
    };
    let Some(()) = needs::program(test, "kubectl") else { return };
    let Some(host) = Host::new(test) else { return };
    let node = Node::with(host, ["--restart-backoff-max", "5"].map(str::to_owned).to_vec());
    let busy = node.host.file("busy.yaml", include_str!("dashboards/busy.yaml"));
    node.kubectl(&["create", "--validate=false", "-f", busy.to_str().expect("the path is UTF-8")]);
    let prometheus = Prometheus::start(&node.host, &directory());
    let name = node.get("/api/v1/nodes")["items"][0]["metadata"]["name"].clone();
    all_is_scraped_and_every_rule_looked_at(&prometheus);
    everything_has_an_answer(&prometheus);
    every_page_is_valid();
    let through = format!("/api/v1/nodes/{}/proxy/metrics/state", name.as_str().expect("it has a name"));
    // So busy a node may let a client wait for too long.
    wait_until("the API has them, too", limit(), || {
        let output =
            node.client("kubectl").args(["get", "--raw", &through]).output().expect("kubectl starts");
        output.stdout.starts_with(b"# HELP ")
    });
    if let Some(file) = std::env::var_os(ANSWERS.0) {
        fs::write(file, answers(&prometheus).to_string()).expect("the answers' file can be written");
    }
}

fn every_page_is_valid() {
    for path in PAGES {
        let text = page(path);
        let (head, body) = text.split_once("\r\n\r\n").expect("an answer has a head");
        let is_text = head.starts_with("HTTP/1.1 200") && head.contains("text/plain; version=0.0.4");
        assert!(is_text, "{path}: {head}");
        let head = podbox_tests::metrics::head(path);
        let is_head = head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n");
        assert!(is_head, "{path}: {head}");
        let mut child = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("promtool starts");
        child.stdin.take().expect("it is piped").write_all(body.as_bytes()).expect("it reads");
        let output = child.wait_with_output().expect("it ends");
        // 3: something is called otherwise than it would be, which is upstream's to change.
        let said = String::from_utf8_lossy(&output.stderr);
        let own = said.lines().find(|line| line.starts_with("podbox_"));
        assert!(matches!(output.status.code(), Some(0 | 3)) && own.is_none(), "{path}: {said}");
    }
}

/// Waits until nothing is left, and tells what was left if that never is so.
#[track_caller]
fn until_none(what: &str, mut left: impl FnMut() -> Vec<String>) {
    let mut last = Vec::new();
    let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wait_until(what, limit(), || {
            last = left();
            // There is nothing new before the next scrape.
            if !last.is_empty() {
                std::thread::sleep(Duration::from_secs(EVERY.into()) / 2);
            }
            last.is_empty()
        });
    }));
    assert!(found.is_ok(), "{what}: not\n{}", last.join("\n"));
}

/// Every page is scraped without a series that comes twice, every rule looked at without an error.
fn all_is_scraped_and_every_rule_looked_at(prometheus: &Prometheus) {
    until_none("all pages are scraped", || {
        let targets = prometheus.api("targets")["activeTargets"].as_array().cloned().unwrap_or_default();
        // It reads its configuration first.
        if targets.len() != 7 {
            return vec![format!("{} of 7 targets are known", targets.len())];
        }
        let down = targets.iter().filter(|target| target["health"] != "up");
        down.map(|target| format!("{} {}", target["labels"], target["lastError"])).collect()
    });
    until_none("all rules are looked at", || {
        let rules = rules(prometheus);
        let wrong: Vec<_> = rules.iter().filter(|rule| rule["health"] == "err").collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
        if rules.len() <= 10 {
            return vec![format!("only {} rules are known", rules.len())];
        }
        let open = rules.iter().filter(|rule| rule["health"] != "ok");
        open.map(|rule| rule["name"].to_string()).collect()
    });
    let own = prometheus.get("/metrics").expect("Prometheus tells of itself");
    for what in ["duplicate_timestamp", "out_of_order", "out_of_bounds"] {
        let line = format!("prometheus_target_scrapes_sample_{what}_total 0");
        assert!(own.lines().any(|found| found == line), "not {line}");
    }
}

fn rules(prometheus: &Prometheus) -> Vec<Value> {
    let groups = prometheus.api("rules")["groups"].as_array().cloned().unwrap_or_default();
    groups.iter().flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()).collect()
}

fn everything_has_an_answer(prometheus: &Prometheus) {
    let boards: Vec<_> = boards().iter().flat_map(|(name, board)| asked(name, board)).collect();
    assert!(boards.len() > 70, "the dashboards were read");
    let rules = rules(prometheus).into_iter().map(|rule| {
        let text = |field: &str| rule[field].as_str().expect("it is a text").to_owned();
        let expr = text("query");
        // Of an alert, what is compared: whether it is due is promtool's to test.
        let is_alert = rule["type"] == "alerting";
        let measured = if is_alert { expr.rsplitn(3, ' ').nth(2) } else { Some(&*expr) };
        (text("name"), measured.expect("an alert compares something with a bound").to_owned())
    });
    let mixin = MIXIN.iter().map(|expr| ("kubernetes-mixin".to_owned(), (*expr).to_owned()));
    let mut open: Vec<_> = boards.into_iter().chain(rules).chain(mixin).collect();
    // One that is due at once, all the way.
    open.push((
        "Alerts".to_owned(),
        "ALERTS{alertname=\"PodboxOomKill\",alertstate=\"firing\",pod=\"hungry\"}".to_owned(),
    ));
    until_none("everything that is asked has an answer", || {
        open.retain(|(_, expr)| prometheus.ask(expr).is_empty());
        open.iter().map(|(place, expr)| format!("{place}: {expr}")).collect()
    });
}

/// The dashboards by name.
fn boards() -> Vec<(String, Value)> {
    let files =
        fs::read_dir(directory()).expect("it is there").map(|entry| entry.expect("it is there").path());
    let boards = files.filter(|path| path.extension().is_some_and(|end| end == "json")).map(|path| {
        let text = fs::read(&path).expect("it is there");
        let name = path.file_stem().expect("it has a name").to_string_lossy().into_owned();
        (name, serde_json::from_slice(&text).expect("it is JSON"))
    });
    boards.collect()
}

/// All that a dashboard asks, with the place where it does: its panels, and the choices of its variables.
fn asked(name: &str, board: &Value) -> Vec<(String, String)> {
    let of_panels = panels(board)
        .flat_map(|(title, queries)| queries.into_iter().map(move |expr| (format!("{name}: {title}"), expr)));
    let variables = board["templating"]["list"].as_array().into_iter().flatten();
    let values = variables.filter_map(|variable| {
        let call = variable["query"].as_str()?.strip_prefix("label_values(")?;
        let (of, label) = call.strip_suffix(')')?.rsplit_once(", ")?;
        Some((format!("{name}: choices of {label}"), format!("count by ({label}) ({})", of_all(of))))
    });
    of_panels.chain(values).collect()
}

/// Each panel's title and queries.
fn panels(board: &Value) -> impl Iterator<Item = (String, Vec<String>)> {
    let panels = board["panels"].as_array().into_iter().flatten().filter(|panel| panel["type"] != "row");
    panels.map(|panel| {
        let title = panel["title"].as_str().expect("it has one").to_owned();
        let targets = panel["targets"].as_array().into_iter().flatten();
        (title, targets.map(|target| of_all(target["expr"].as_str().expect("it asks something"))).collect())
    })
}

/// A query with nothing chosen.
fn of_all(expr: &str) -> String {
    ["$namespace", "$pod", "$probe_type"].iter().fold(expr.to_owned(), |expr, name| expr.replace(name, ".*"))
}

/// Of each panel of each dashboard, what each of its queries gave in the last minutes.
fn answers(prometheus: &Prometheus) -> Value {
    let first = prometheus.now();
    wait_until("minutes have passed", limit() * 4, || {
        std::thread::sleep(Duration::from_secs(1));
        prometheus.now() - first > 1.5 * f64::from(ANSWERS.1)
    });
    let mut all = json!({});
    for (name, board) in boards() {
        for (title, queries) in panels(&board) {
            all[&name][title] =
                queries.iter().map(|expr| prometheus.ask_range(expr, ANSWERS.1, EVERY)).collect();
        }
    }
    all
}

//! Debian's `wrk` as a client. It has no client certificates, so it needs a token: of a service account made here,
//! which may do everything.

use super::load::{Body, COLLECTION, OBJECTS};
use anyhow::{Context, Result, ensure};
use podbox_tests::api::Access;
use serde_json::{Value, json};
use std::fmt;
use std::process::Command;
use std::time::Duration;

/// wrk, and what it needs to get in.
pub struct Wrk {
    server: String,
    token: String,
    dir: tempfile::TempDir,
}

/// What it measured.
pub struct Seen {
    /// Answers a second.
    pub rate: f64,
    p50_ms: f64,
    /// The time that one in a hundred exceeds.
    pub p99_ms: f64,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} per s, median {:.3} ms, p99 {:.3} ms", self.rate, self.p50_ms, self.p99_ms)
    }
}

/// Where its objects are: a namespace of their own.
const CREATED: &str = "/api/v1/namespaces/bench-wrk/configmaps";

impl Wrk {
    /// Gets a token for it.
    pub async fn new(access: &Access) -> Result<Wrk> {
        let token = token(access).await?;
        Ok(Wrk { server: format!("https://{}", access.address), token, dir: tempfile::tempdir()? })
    }

    /// Creates objects for some seconds.
    pub fn creates(&self, connections: usize) -> Result<Seen> {
        let (head, tail) = Body::json("NAME", 'x').split_once("NAME").map(owned).context("it has a name")?;
        let script = format!(
            r#"
local threads = 0
function setup(thread) thread:set("id", threads); threads = threads + 1 end
function init() count = 0 end
function request()
  count = count + 1
  return wrk.format("POST", "{CREATED}", nil, '{head}wrk-' .. id .. '-' .. count .. '{tail}')
end
"#
        );
        self.run(&script, connections, Duration::from_secs(5))
    }

    /// Gets objects.
    pub fn gets(&self, connections: usize, during: Duration) -> Result<Seen> {
        let script = format!(
            r#"
local threads = 0
function setup(thread) thread:set("at", threads * 17); threads = threads + 1 end
function request()
  at = (at + 7919) % {OBJECTS}
  return wrk.format("GET", string.format("{COLLECTION}/config-%06d", at))
end
"#
        );
        self.run(&script, connections, during)
    }

    fn run(&self, script: &str, connections: usize, during: Duration) -> Result<Seen> {
        let file = self.dir.path().join("script.lua");
        let headers = format!(
            "wrk.headers[\"Authorization\"] = \"Bearer {}\"\nwrk.headers[\"Content-Type\"] = \"application/json\"\n",
            self.token
        );
        std::fs::write(&file, headers + script)?;
        let mut wrk = Command::new("wrk");
        wrk.args(["--threads", "2", "--latency", "--connections", &connections.to_string()]);
        wrk.args(["--duration", &during.as_secs().to_string(), "--script"]).arg(&file).arg(&self.server);
        let output = wrk.output().context("starting wrk")?;
        read(&String::from_utf8_lossy(&output.stdout))
    }
}

fn owned((head, tail): (&str, &str)) -> (String, String) {
    (head.to_owned(), tail.to_owned())
}

/// A service account that may do everything, and a token of it.
async fn token(access: &Access) -> Result<String> {
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "bench"}});
    let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "bench-wrk"}});
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "bench"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "bench", "namespace": "default"}],
    });
    let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    post(access, accounts, &account).await?;
    post(access, "/api/v1/namespaces", &space).await?;
    post(access, bindings, &binding).await?;
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let answer = post(access, &format!("{accounts}/bench/token"), &request).await?;
    let token = answer["status"]["token"].as_str().context("the server gives no token")?;
    Ok(token.to_owned())
}

async fn post(access: &Access, path: &str, body: &Value) -> Result<Value> {
    let answer = access.ask("POST", path, Some(body)).await?;
    ensure!(answer.code == 201, "{path} was answered with {}", answer.json()["message"]);
    Ok(answer.json())
}

/// Reads what wrk prints.
fn read(text: &str) -> Result<Seen> {
    let after = |label: &str| {
        let line = text.lines().map(str::trim).find_map(|line| line.strip_prefix(label));
        line.map(str::trim).with_context(|| format!("wrk did not print {label:?}:\n{text}"))
    };
    ensure!(!text.contains("Non-2xx"), "wrk got refusals:\n{text}");
    ensure!(!text.contains("Socket errors"), "wrk lost connections:\n{text}");
    let rate = after("Requests/sec:")?.parse()?;
    Ok(Seen { rate, p50_ms: milliseconds(after("50%")?)?, p99_ms: milliseconds(after("99%")?)? })
}

/// `1.23ms`, `456.00us`, `1.02s`.
fn milliseconds(text: &str) -> Result<f64> {
    let units = [("us", 1e-3), ("ms", 1.0), ("s", 1e3)];
    let found = units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)));
    let (number, factor) = found.with_context(|| format!("{text:?} is no time"))?;
    Ok(number.parse::<f64>()? * factor)
}

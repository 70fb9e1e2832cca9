//! Ten pods of a Deployment are replaced one after another: one goes, one comes and is waited for, as the readiness probe with
//! upstream's default period finds it. Beside it, how long these ten waits would take if the pods were ready when plain
//! probers of the same containers know of it; what else a replacement takes is not counted there.

use super::plain::{RHYTHMS, first_success};
use super::servers::{PORT, probe, running, server};
use crate::pods::client::{Client, Seen, done};
use crate::stats::Report;
use anyhow::Result;
use podbox::clock;
use podbox_tests::api::{Access, request};
use podbox_tests::rounds::Random;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;
use tokio::task::JoinHandle;

const PODS: usize = 10;
const COLLECTION: &str = "/apis/apps/v1/namespaces/default/deployments";
const NAME: &str = "rollout";
/// When a server listens, in milliseconds from its start.
const AFTER: &str = "200";
const VERSION: &str = "bench/version";

/// Runs it once.
pub async fn run(access: &Access, client: &mut Client, report: &mut Report) -> Result<()> {
    eprintln!("rollout: {PODS} pods");
    let created = access.ask("POST", COLLECTION, Some(&deployment())).await?;
    done(&created, 201)?;
    let mut ready = BTreeSet::new();
    let all = client.until(|seen| {
        if is_ready(seen, "1") {
            ready.insert(seen.name().to_owned());
        }
        ready.len() == PODS
    });
    all.await?;
    let began = clock::instant();
    let patch = json!({"spec": {"template": {"metadata": {"annotations": {VERSION: "2"}}}}}).to_string();
    let mut connection = access.connect().await?;
    let one = format!("{COLLECTION}/{NAME}");
    connection.send(&request("PATCH", &one, "application/merge-patch+json", patch.as_bytes())).await?;
    done(&connection.answer().await?, 200)?;
    let (last, waits) = replaced(client).await?;
    let took = (last - began).as_secs_f64();
    report.line(format!("{PODS} pods of a Deployment, replaced one after another: {took:.2} s"));
    report.at_most("ten_replaced", took, "s", 5.0);
    let mut sums = [0.0; RHYTHMS.len()];
    for (came, knew) in waits {
        for (sum, knew) in sums.iter_mut().zip(knew) {
            *sum += knew.await?.saturating_duration_since(came).as_secs_f64();
        }
    }
    for (rhythm, sum) in RHYTHMS.iter().zip(sums) {
        report.line(format!("  the same ten waits by a plain prober, {}: {sum:.2} s", rhythm.name));
    }
    done(&access.ask("DELETE", &one, None).await?, 200)?;
    let mut gone = 0;
    let last = client.until(|seen| {
        gone += usize::from(seen.deleted && version(seen) == "2");
        gone == PODS
    });
    last.await.map(drop)
}

/// When a pod came, and when the plain probers knew that it is ready.
type Wait = (Instant, [JoinHandle<Instant>; RHYTHMS.len()]);

/// Waits for the new pods: when the last one was Ready, and how the plain probers see them.
async fn replaced(client: &mut Client) -> Result<(Instant, Vec<Wait>)> {
    let mut random = Random::new(2);
    let mut came = BTreeMap::<String, Instant>::new();
    let mut asked = BTreeMap::<String, [JoinHandle<Instant>; RHYTHMS.len()]>::new();
    let mut ready = BTreeSet::new();
    let last = client.until(|seen| {
        if seen.deleted || version(seen) != "2" {
            return false;
        }
        let name = seen.name();
        came.entry(name.to_owned()).or_insert(seen.at);
        if let (Some(server), false) = (running(seen), asked.contains_key(name)) {
            let parts = RHYTHMS.map(|rhythm| (rhythm, random.below(1000) as f64 / 1000.0));
            let plain = parts.map(|(rhythm, part)| tokio::spawn(first_success(server, rhythm, part)));
            asked.insert(name.to_owned(), plain);
        }
        if is_ready(seen, "2") {
            ready.insert(name.to_owned());
        }
        ready.len() == PODS
    });
    let last = last.await?.at;
    let waits = asked.into_iter().filter_map(|(name, plain)| Some((came.remove(&name)?, plain)));
    Ok((last, waits.collect()))
}

fn version(seen: &Seen) -> &str {
    seen.pod["metadata"]["annotations"][VERSION].as_str().unwrap_or_default()
}

fn is_ready(seen: &Seen, wanted: &str) -> bool {
    seen.ready() && !seen.deleted && version(seen) == wanted
}

fn deployment() -> Value {
    let container = server(
        PORT,
        &["--after", AFTER],
        json!({"readinessProbe": probe(PORT, json!({"periodSeconds": 10}))}),
    );
    json!({
        "metadata": {"name": NAME},
        "spec": {
            "replicas": PODS,
            "selector": {"matchLabels": {"app": NAME}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
            "template": {
                "metadata": {"labels": {"app": NAME}, "annotations": {VERSION: "1"}},
                "spec": {"containers": [container]},
            },
        },
    })
}

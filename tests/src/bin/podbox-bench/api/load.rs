//! Load: connections that each send the next request as soon as they have the answer to the last.

use crate::stats::Samples;
use anyhow::{Result, ensure};
use podbox::clock;
use podbox_tests::api::{Access, request};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Objects that there are once creating is over.
pub const OBJECTS: usize = 35_000;
/// Where they are.
pub const COLLECTION: &str = "/api/v1/namespaces/default/configmaps";

/// The words of a ConfigMap.
pub struct Body;

impl Body {
    /// Bytes of its values.
    pub const DATA: usize = 1024;

    /// The object's JSON.
    pub fn json(name: &str, filled: char) -> String {
        let value = filled.to_string().repeat(Body::DATA / 4);
        let data = format!(r#"{{"a":"{value}","b":"{value}","c":"{value}","d":"{value}"}}"#);
        format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}"}},"data":{data}}}"#)
    }
}

/// The name of an object.
pub fn name(number: usize) -> String {
    format!("config-{number:06}")
}

/// A number of connections.
pub struct Load {
    access: Access,
    connections: usize,
}

/// Which request a connection sends next; none when it is over.
type Next = Arc<dyn Fn() -> Option<Vec<u8>> + Send + Sync>;

impl Load {
    /// Ready to begin.
    pub fn new(access: &Access, connections: usize) -> Load {
        Load { access: access.clone(), connections }
    }

    /// Creates objects; how many a second, and the time of each.
    pub async fn creates(&self, number: usize) -> Result<(f64, Samples)> {
        let taken = AtomicUsize::new(0);
        let next = move || {
            let number = Some(taken.fetch_add(1, Ordering::Relaxed)).filter(|taken| *taken < number)?;
            let body = Body::json(&name(number), 'x');
            Some(request("POST", COLLECTION, "application/json", body.as_bytes()))
        };
        self.run("create", 201, Arc::new(next)).await
    }

    /// Gets objects, all over the collection.
    pub async fn gets(&self, during: Duration) -> Result<(f64, Samples)> {
        let taken = AtomicUsize::new(0);
        let end = clock::instant() + during;
        let next = move || {
            // A step that shares no factor with their number visits all of them.
            let number = taken.fetch_add(7919, Ordering::Relaxed) % OBJECTS;
            let path = format!("{COLLECTION}/{}", name(number));
            (clock::instant() < end).then(|| request("GET", &path, "", &[]))
        };
        self.run("get", 200, Arc::new(next)).await
    }

    async fn run(&self, what: &str, expected: u16, next: Next) -> Result<(f64, Samples)> {
        let mut connections = Vec::new();
        for _ in 0..self.connections {
            connections.push(self.access.connect().await?);
        }
        let began = clock::instant();
        let mut tasks = Vec::new();
        for mut connection in connections {
            let next = Arc::clone(&next);
            tasks.push(tokio::spawn(async move {
                let mut times = Vec::new();
                while let Some(bytes) = next() {
                    let began = clock::instant();
                    connection.send(&bytes).await?;
                    let answer = connection.answer().await?;
                    times.push(clock::instant() - began);
                    ensure!(answer.code == expected, "{}", String::from_utf8_lossy(&answer.body));
                }
                Ok(times)
            }));
        }
        let mut times = Vec::new();
        for task in tasks {
            times.extend(task.await??);
        }
        let rate = times.len() as f64 / (clock::instant() - began).as_secs_f64();
        Ok((rate, Samples::new(&format!("{what}, {} connections: {rate:.0}/s", self.connections), times)))
    }
}

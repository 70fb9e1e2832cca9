//! Debian's Prometheus beside a node, and what can be asked of it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::host::Host;
use crate::run::{Run, limit};
use crate::wait::wait_until;

const ADDRESS: &str = "127.0.0.1:9091";

/// A Prometheus that runs.
#[derive(Debug)]
pub struct Prometheus(Run);

impl Prometheus {
    /// Starts it with the configuration and the rules of this directory.
    pub fn start(host: &Host, directory: &Path) -> Prometheus {
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", directory.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", host.dir.join("prometheus").display()))
            .arg(format!("--web.listen-address={ADDRESS}"));
        let prometheus = Prometheus(Run::start(command, &host.dir));
        wait_until("Prometheus is ready", limit(), || prometheus.get("/-/ready").is_some());
        prometheus
    }

    /// The body of what it answers to a GET, if all is well.
    pub fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(ADDRESS).ok()?;
        // HTTP/1.0: the answer comes in one piece and ends with the connection.
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1);
        // A query that it cannot answer is explained in the body.
        (status == Some("200") || body.starts_with('{')).then(|| body.to_owned())
    }

    /// What its API answers, which must be a success.
    #[track_caller]
    pub fn api(&self, path: &str) -> Value {
        let body = self.get(&format!("/api/v1/{path}")).unwrap_or_default();
        let answer: Value = serde_json::from_str(&body).unwrap_or_default();
        assert_eq!(answer["status"], "success", "{path}: {body}\n{}", self.0.complained());
        answer["data"].clone()
    }

    /// The series that an expression gives now.
    #[track_caller]
    pub fn ask(&self, expr: &str) -> Vec<Value> {
        let data = self.api(&format!("query?query={}", encoded(expr)));
        data["result"].as_array().cloned().unwrap_or_default()
    }

    /// The series that an expression gave, so many seconds back, every `step` of them.
    #[track_caller]
    pub fn ask_range(&self, expr: &str, seconds: u32, step: u32) -> Value {
        let now = self.now();
        let start = now - f64::from(seconds);
        self.api(&format!("query_range?query={}&start={start}&end={now}&step={step}", encoded(expr)))["result"]
            .clone()
    }

    /// What time it is there.
    #[track_caller]
    pub fn now(&self) -> f64 {
        let data = self.api("query?query=time()");
        data["result"][1].as_str().and_then(|time| time.parse().ok()).expect("it knows the time")
    }
}

fn encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

//! etcd, the store below Kubernetes' own API server: puts of the same bytes, durable on the same disk, by its HTTP
//! gateway without TLS. No API server stands before it, so this is what such a server can at most do, less what the
//! gateway costs.

use super::load::{Body, name};
use crate::stats::{Report, Samples};
use anyhow::{Context, Result, ensure};
use podbox::clock;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

const ADDRESS: &str = "127.0.0.1:23790";
const PUTS: usize = 10_000;

/// Measures it, if it is installed.
pub async fn beside(dir: &Path, report: &mut Report) -> Result<()> {
    let Ok(etcd) = Etcd::start(&dir.join("etcd")) else {
        report.line("etcd is not installed and not measured".to_owned());
        return Ok(());
    };
    etcd.ready().await?;
    let taken = Arc::new(AtomicUsize::new(0));
    let began = clock::instant();
    let tasks: Vec<_> = (0..super::CONNECTIONS).map(|_| tokio::spawn(puts(Arc::clone(&taken)))).collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await??);
    }
    let rate = times.len() as f64 / (clock::instant() - began).as_secs_f64();
    report.table(&[Samples::new(&format!("etcd put, 16 connections: {rate:.0}/s"), times)]);
    report.figure("etcd_puts", rate, "per s");
    Ok(())
}

struct Etcd(Child);

impl Etcd {
    fn start(dir: &Path) -> Result<Etcd> {
        let client = format!("http://{ADDRESS}");
        let mut command = Command::new("etcd");
        command.arg("--data-dir").arg(dir).args(["--listen-client-urls", &client]);
        command.args(["--advertise-client-urls", &client, "--listen-peer-urls", "http://127.0.0.1:23800"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Etcd(command.spawn().context("starting etcd")?))
    }

    /// Waits until it serves.
    async fn ready(&self) -> Result<()> {
        let deadline = clock::instant() + Duration::from_secs(20);
        loop {
            if let Ok(mut client) = Client::connect().await
                && client.put("ready", "yes").await.is_ok()
            {
                return Ok(());
            }
            ensure!(clock::instant() < deadline, "etcd does not serve");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

async fn puts(taken: Arc<AtomicUsize>) -> Result<Vec<Duration>> {
    let mut client = Client::connect().await?;
    let mut times = Vec::new();
    loop {
        let number = taken.fetch_add(1, Ordering::Relaxed);
        if number >= PUTS {
            return Ok(times);
        }
        let key = format!("/registry/configmaps/default/{}", name(number));
        let value = Body::json(&name(number), 'x');
        let began = clock::instant();
        client.put(&key, &value).await?;
        times.push(clock::instant() - began);
    }
}

/// A connection to its gateway.
struct Client {
    stream: BufReader<TcpStream>,
    head: Vec<u8>,
}

impl Client {
    async fn connect() -> Result<Client> {
        let stream = TcpStream::connect(ADDRESS).await?;
        stream.set_nodelay(true)?;
        Ok(Client { stream: BufReader::new(stream), head: Vec::new() })
    }

    async fn put(&mut self, key: &str, value: &str) -> Result<()> {
        let base64 = |text: &str| data_encoding::BASE64.encode(text.as_bytes());
        let body = format!(r#"{{"key":"{}","value":"{}"}}"#, base64(key), base64(value));
        let length = body.len();
        let head = format!("POST /v3/kv/put HTTP/1.1\r\nHost: etcd\r\nContent-Length: {length}\r\n\r\n");
        self.stream.write_all((head + &body).as_bytes()).await?;
        self.head.clear();
        while self.stream.read_until(b'\n', &mut self.head).await? > 2 {}
        let head = String::from_utf8_lossy(&self.head);
        ensure!(head.starts_with("HTTP/1.1 200"), "etcd answered {head:?}");
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let mut body = vec![0; length.context("etcd states lengths")?.trim().parse()?];
        self.stream.read_exact(&mut body).await?;
        Ok(())
    }
}

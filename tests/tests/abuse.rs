//! Clients that mean no good, or mean well and are many: the API's memory stays bounded, others are served meanwhile,
//! and each is told what it did.
//!
//! Bounds are generous, since a build for tests is larger and slower than one for people; what they catch is a server
//! that keeps something per byte or per client.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use podbox::clock;
use podbox_tests::api::{Access, Answer, Connection, request};
use podbox_tests::host::Host;
use podbox_tests::needs;
use podbox_tests::run::Run;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// How long an ordinary request may take while others misbehave.
const SOON: Duration = Duration::from_secs(30);

/// A node, and the way in.
struct Server {
    access: Access,
    run: Run,
    // Dropped last: it takes everything away.
    _host: Host,
}

/// Runs a test against a node of its own.
fn with_server<T: Future<Output = Result<()>>>(name: &str, test: impl FnOnce(Server) -> T) {
    let Some(()) = needs::host(name) else { return };
    let Some(host) = Host::without_image(name) else { return };
    let mut command = host.podbox();
    command.arg("node");
    let mut run = Run::start(command, &host.dir);
    run.wait_said("export KUBECONFIG=");
    let said = run.said();
    let path = said.lines().find_map(|line| line.split_once("KUBECONFIG=")).expect("it was waited for").1;
    let access = Access::read(Path::new(path.trim())).expect("a kubeconfig that can be read");
    // Threads of this one: they live on the test's host.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let done = runtime.block_on(test(Server { access, run, _host: host }));
    done.unwrap_or_else(|error| panic!("{error:?}"));
}

impl Server {
    /// Megabytes that it holds.
    fn resident(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.run.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("it has VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
    }

    /// An ordinary request is answered, and soon.
    async fn serves(&self) -> Result<()> {
        let asked = self.access.ask("GET", "/api/v1/namespaces/default", None);
        let answer = timeout(SOON, asked).await.context("an ordinary request waits")??;
        ensure!(answer.code == 200, "an ordinary request was answered with {}", answer.code);
        Ok(())
    }

    async fn create(&self, name: &str, bytes: usize) -> Result<()> {
        let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
                          "data": {"a": "x".repeat(bytes)}});
        let answer = self.access.ask("POST", CONFIG_MAPS, Some(&body)).await?;
        ensure!(answer.code == 201, "{}", answer.json());
        Ok(())
    }

    /// A watch of what comes from now on.
    async fn watch(&self) -> Result<Connection> {
        let mut connection = self.access.connect().await?;
        let path = format!("{CONFIG_MAPS}?watch=1&sendInitialEvents=false&resourceVersionMatch=NotOlderThan");
        connection.send(&request("GET", &path, "", &[])).await?;
        let (code, head) = connection.head().await?;
        ensure!(code == 200, "{head}");
        Ok(connection)
    }

    /// How many watches the store has, by its metric.
    async fn watchers(&self) -> Result<f64> {
        let mut stream = TcpStream::connect("127.0.0.1:9810").await?;
        tokio::io::AsyncWriteExt::write_all(
            &mut stream,
            b"GET /metrics HTTP/1.1\r\nHost: podbox\r\nConnection: close\r\n\r\n",
        )
        .await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        let line = text.lines().find_map(|line| line.strip_prefix("podbox_store_watchers "));
        line.context("the metric is there")?.trim().parse().context("a number")
    }
}

/// Opens many watches, each on a connection of its own.
async fn open(server: &Server, number: usize) -> Result<Vec<Connection>> {
    use futures_util::{StreamExt, TryStreamExt, stream};
    stream::iter(0..number).map(|_| server.watch()).buffer_unordered(64).try_collect().await
}

#[test]
fn ten_thousand_watchers_come_and_go() {
    let test = "ten_thousand_watchers_come_and_go";
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("every process has limits");
    if most < 12_000 {
        return needs::skip(test, "it needs a limit of 12,000 open files");
    }
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("up to the hard limit anyone may");
    with_server(test, async |server| {
        let quiet = server.watchers().await?;
        server.create("seen", 10).await?;
        let mut watchers = open(&server, 10_000).await?;
        server.serves().await?;
        let before = server.resident()?;
        println!("resident with 10,000 watchers: {before:.0} MB");
        ensure!(before < 1500.0, "{before} MB for 10,000 watchers");
        server.create("change", 1000).await?;
        for watcher in &mut watchers {
            let event = timeout(Duration::from_secs(60), watcher.chunk()).await.context("no event")??;
            let event: Value = serde_json::from_slice(&event.context("the watch goes on")?)?;
            ensure!(event["object"]["metadata"]["name"] == "change", "{event}");
        }
        server.serves().await?;
        drop(watchers);
        let deadline = clock::instant() + Duration::from_secs(60);
        while server.watchers().await? > quiet {
            ensure!(clock::instant() < deadline, "watches outlive their clients");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // What the first left behind is used again.
        drop(open(&server, 2_000).await?);
        let after = server.resident()?;
        ensure!(after < before + 100.0, "{before} MB with the first watchers, {after} MB after the second");
        server.serves().await
    });
}

#[test]
fn connections_that_say_nothing_are_cut_off_and_others_served() {
    with_server("connections_that_say_nothing_are_cut_off_and_others_served", async |server| {
        let limits = fs::read_to_string(format!("/proc/{}/limits", server.run.pid()))?;
        let files =
            limits.lines().find(|line| line.starts_with("Max open files")).context("it has a limit")?;
        let files: Vec<_> = files.split_whitespace().collect();
        ensure!(files.get(3) == files.get(4), "it does not take all descriptors that it may: {files:?}");
        let mut silent = Vec::new();
        for _ in 0..1500 {
            silent.push(TcpStream::connect(server.access.address).await?);
        }
        let mut begun = Vec::new();
        for _ in 0..50 {
            let mut connection = server.access.connect().await?;
            connection.send(b"GET /api/v1/pods HTTP/1.1\r\nHos").await?;
            begun.push(connection);
        }
        server.serves().await?;
        for stream in &mut silent {
            // A handshake that does not begin is over after ten seconds.
            let read = timeout(Duration::from_secs(60), stream.read(&mut [0; 1])).await;
            let read = read.context("a silent connection stays open")?;
            ensure!(read.as_ref().is_ok_and(|read| *read == 0) || read.is_err(), "it was sent something");
        }
        server.serves().await
    });
}

fn told(answer: &Answer, code: u16, reason: &str) -> Result<()> {
    let status = answer.json();
    ensure!(answer.code == code, "{}, not {code}: {status}", answer.code);
    ensure!(status["kind"] == "Status" && status["reason"] == reason, "{status}");
    Ok(())
}

#[test]
fn bodies_that_are_too_large_are_refused_before_they_are_there() {
    with_server("bodies_that_are_too_large_are_refused_before_they_are_there", async |server| {
        let before = server.resident()?;
        let head = |length: &str| {
            format!(
                "POST {CONFIG_MAPS} HTTP/1.1\r\nHost: podbox\r\nContent-Type: application/json\r\n{length}\r\n\r\n"
            )
        };
        // 100 MB are announced and none is sent.
        let mut connection = server.access.connect().await?;
        connection.send(head("Content-Length: 104857600").as_bytes()).await?;
        let answer = timeout(SOON, connection.answer()).await.context("it waits for the body")??;
        told(&answer, 413, "RequestEntityTooLarge")?;
        // Sent all the same, by many.
        for _ in 0..8 {
            let mut connection = server.access.connect().await?;
            connection.send(head("Content-Length: 104857600").as_bytes()).await?;
            // As far as it goes: the server may close any time.
            for _ in 0..64 {
                if connection.send(&[b' '; 16 << 10]).await.is_err() {
                    break;
                }
            }
        }
        // One without an end, in chunks.
        let mut connection = server.access.connect().await?;
        connection.send(head("Transfer-Encoding: chunked").as_bytes()).await?;
        let chunk = [b"10000\r\n", [b' '; 0x10000].as_slice(), b"\r\n"].concat();
        let mut sent = 0;
        while sent < 64 && connection.send(&chunk).await.is_ok() {
            sent += 1;
        }
        let answer = timeout(SOON, connection.answer()).await.context("it reads on")??;
        told(&answer, 413, "RequestEntityTooLarge")?;
        // One that trickles holds up nobody.
        let mut trickling = Vec::new();
        for _ in 0..100 {
            let mut connection = server.access.connect().await?;
            connection.send((head("Content-Length: 1000") + "{").as_bytes()).await?;
            trickling.push(connection);
        }
        server.create("meanwhile", 1000).await?;
        server.serves().await?;
        let after = server.resident()?;
        ensure!(after < before + 100.0, "{before} MB before, {after} MB after");
        Ok(())
    });
}

#[test]
fn bodies_made_to_blow_up_are_one_clear_error_each() {
    with_server("bodies_made_to_blow_up_are_one_clear_error_each", async |server| {
        server.create("bombed", 1000).await?;
        let before = server.resident()?;
        let deep = format!(r#"{{"kind":"ConfigMap","apiVersion":"v1","data":{}"#, "[".repeat(2 << 20));
        let deep_objects = r#"{"a":"#.repeat(100_000);
        let aliases = (1..30).fold("a0: &a0 [x]\n".to_owned(), |text, level| {
            let below = format!("*a{}, ", level - 1).repeat(10);
            text + &format!("a{level}: &a{level} [{below}]\n")
        });
        // Each copy doubles what there is.
        let copies: Vec<_> = (0..60)
            .map(|number| json!({"op": "copy", "from": "/data", "path": format!("/data/b{number}")}))
            .collect();
        let copies = json!(copies).to_string();
        let many: Vec<_> =
            (0..20_000).map(|_| json!({"op": "test", "path": "/kind", "value": "ConfigMap"})).collect();
        let many = json!(many).to_string();
        let object = format!("{CONFIG_MAPS}/bombed");
        let patch = "application/json-patch+json";
        for (what, method, path, content_type, body) in [
            ("deep lists", "POST", CONFIG_MAPS, "application/json", &deep),
            ("deep objects", "POST", CONFIG_MAPS, "application/json", &deep_objects),
            ("aliases", "POST", CONFIG_MAPS, "application/yaml", &aliases),
            ("copies", "PATCH", &object, patch, &copies),
            ("many operations", "PATCH", &object, patch, &many),
        ] {
            let mut connection = server.access.connect().await?;
            connection.send(&request(method, path, content_type, body.as_bytes())).await?;
            let answer = timeout(SOON, connection.answer()).await.with_context(|| what.to_owned())??;
            let status = answer.json();
            println!(
                "{what}: {} {}",
                answer.code,
                status["message"].as_str().unwrap_or_default().get(..200).unwrap_or("")
            );
            ensure!((400..500).contains(&answer.code) && status["kind"] == "Status", "{what}: {status}");
        }
        server.serves().await?;
        let after = server.resident()?;
        ensure!(after < before + 200.0, "{before} MB before, {after} MB after");
        Ok(())
    });
}

#[test]
fn lists_that_nobody_reads_take_no_memory() {
    with_server("lists_that_nobody_reads_take_no_memory", async |server| {
        const OBJECTS: usize = 100;
        for number in 0..OBJECTS {
            server.create(&format!("large-{number:03}"), 400_000).await?;
        }
        let before = server.resident()?;
        let mut readers = Vec::new();
        for _ in 0..64 {
            let mut connection = server.access.connect().await?;
            connection.send(&request("GET", CONFIG_MAPS, "", &[])).await?;
            readers.push(connection);
        }
        // All of them have begun to be answered.
        for reader in &mut readers {
            let (code, head) = timeout(SOON, reader.head()).await.context("a list does not begin")??;
            ensure!(code == 200, "{head}");
        }
        server.serves().await?;
        let after = server.resident()?;
        println!("64 lists of 40 MB: {before:.0} MB before, {after:.0} MB with them");
        ensure!(after < before + 150.0, "{before} MB before, {after} MB with lists that nobody reads");
        // One that is read at last is whole.
        let list = server.access.ask("GET", CONFIG_MAPS, None).await?.json();
        let items = list["items"].as_array().context("a list has items")?;
        let name = |item: &Value| item["metadata"]["name"].as_str().map(str::to_owned).unwrap_or_default();
        let large = items.iter().filter(|item| name(item).starts_with("large-")).count();
        ensure!(large == OBJECTS, "{large} of {OBJECTS} objects are in the list");
        Ok(())
    });
}

#[test]
fn a_watcher_that_does_not_read_is_told_that_it_is_late() {
    with_server("a_watcher_that_does_not_read_is_told_that_it_is_late", async |server| {
        server.create("changing", 10).await?;
        let (mut slow, mut quick) = (server.watch().await?, server.watch().await?);
        let before = server.resident()?;
        let mut writer = server.access.connect().await?;
        let path = format!("{CONFIG_MAPS}/changing");
        for change in 0..600 {
            let value = format!("{change} {}", "x".repeat(100_000));
            let body = json!({"data": {"a": value}}).to_string();
            writer.send(&request("PATCH", &path, "application/merge-patch+json", body.as_bytes())).await?;
            ensure!(writer.answer().await?.code == 200);
            // The other one gets each at once.
            let mut seen = Vec::new();
            while seen.last() != Some(&b'\n') {
                let piece = timeout(SOON, quick.chunk()).await.context("a quick watcher waits")??;
                seen.extend(piece.context("the watch goes on")?);
            }
            let event: Value = serde_json::from_slice(&seen)?;
            ensure!(event["object"]["data"]["a"] == value, "an event was left out");
        }
        let after = server.resident()?;
        ensure!(after < before + 150.0, "{before} MB before, {after} MB after");
        // What it was sent has no gap, and then it is told.
        let mut text = Vec::new();
        while let Some(piece) = timeout(SOON, slow.chunk()).await.context("it is told nothing")?? {
            text.extend(piece);
        }
        let mut events = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let last: Value = serde_json::from_slice(events.next_back().context("it was told something")?)?;
        ensure!(last["type"] == "ERROR" && last["object"]["code"] == 410, "{}", last["object"]["message"]);
        for (change, event) in events.enumerate() {
            let event: Value = serde_json::from_slice(event)?;
            let value = event["object"]["data"]["a"].as_str().unwrap_or_default();
            ensure!(value.starts_with(&format!("{change} ")), "a gap before change {change}");
        }
        Ok(())
    });
}

//! The plain prober: upstream's algorithm, as far as it decides when something is known. Each probe has a worker; it first
//! asks after a random part of some time, then once a period. What is not answered by the deadline, as the prober sees it
//! when it gets to look, has failed.
//!
//! It runs in the benchmark's process, asks by nothing but a socket and keeps nothing, so that its costs are the least
//! that such a prober can have, and it has no status to write: what it knows counts from the moment that it knows it.

use podbox::clock;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep_until, timeout_at};

/// Upstream's default.
pub const TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes of an answer that are looked at.
const HEAD: usize = 1024;

/// When a worker asks.
#[derive(Clone, Copy, Debug)]
pub struct Rhythm {
    /// What a person calls it.
    pub name: &'static str,
    /// The first time comes within so long.
    pub first: Duration,
    /// From one to the next.
    pub period: Duration,
}

/// The rhythms that podbox is compared with. The kubelet's workers have their tickers from when the pod was seen; beyond
/// that they ask once more when the kubelet, which looks each second, has found that the container runs.
pub const RHYTHMS: [Rhythm; 3] = [
    Rhythm { name: "every 10 s", first: Duration::from_secs(10), period: Duration::from_secs(10) },
    Rhythm {
        name: "every 10 s, first within 1 s",
        first: Duration::from_secs(1),
        period: Duration::from_secs(10),
    },
    Rhythm { name: "every 1 s", first: Duration::from_secs(1), period: Duration::from_secs(1) },
];

/// A worker's ticks.
pub struct Ticks {
    next: Instant,
    period: Duration,
}

impl Ticks {
    /// From now on, the first one after this part of the rhythm's first time.
    pub fn new(rhythm: &Rhythm, part: f64) -> Ticks {
        Ticks { next: clock::instant() + rhythm.first.mul_f64(part), period: rhythm.period }
    }

    /// Waits for the next; how late it is. Those that have passed meanwhile are left out.
    pub async fn tick(&mut self) -> Duration {
        sleep_until(self.next.into()).await;
        let now = clock::instant();
        let late = now.saturating_duration_since(self.next);
        while self.next <= now {
            self.next += self.period;
        }
        late
    }
}

/// Asks until it succeeds; when that was.
pub async fn first_success(server: SocketAddr, rhythm: Rhythm, part: f64) -> Instant {
    let mut ticks = Ticks::new(&rhythm, part);
    loop {
        ticks.tick().await;
        if asked(server).await {
            return clock::instant();
        }
    }
}

/// Asks once; whether the server answered well, and in time.
pub async fn asked(server: SocketAddr) -> bool {
    let deadline = clock::instant() + TIMEOUT;
    let answer = timeout_at(deadline.into(), get(server, "/")).await;
    let well = matches!(&answer, Ok(Ok(answer)) if is_well(answer));
    // What came in time but was looked at too late is lost on it: Go runs timers before it looks at sockets.
    well && clock::instant() <= deadline
}

/// The beginning of what a server answers.
pub async fn get(server: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(server).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(HEAD as u64).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn is_well(answer: &str) -> bool {
    let code = answer.split(' ').nth(1).and_then(|code| code.parse::<u16>().ok());
    code.is_some_and(|code| (200..400).contains(&code))
}

//! Jobs that talk over the network: servers that may listen late or answer slowly, and a client.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::Done;
use crate::options::Options;

/// How long the client waits for an answer.
const ANSWER: Duration = Duration::from_secs(30);

/// Listens on the port that is the job's first argument, after a while if it is to be so.
pub fn listen(options: &Options) -> Result<TcpListener, String> {
    thread::sleep(options.duration("after", 0)?);
    listen_now(options)
}

fn listen_now(options: &Options) -> Result<TcpListener, String> {
    let port: u16 = options.number(0)?;
    let listener =
        TcpListener::bind(("0.0.0.0", port)).map_err(|error| format!("cannot listen on {port}: {error}"))?;
    println!("listening on {port}");
    Ok(listener)
}

/// How the HTTP server is.
#[derive(Clone, Copy)]
struct Server {
    delay: Duration,
    quiet: bool,
    /// When it was about to listen, as time since boot.
    began: Duration,
}

/// Serves HTTP, a thread per connection, a request per connection.
pub fn http(options: &Options) -> Done {
    let (delay, quiet) = (options.duration("delay", 0)?, options.has("quiet"));
    thread::sleep(options.duration("after", 0)?);
    let began = clock_gettime(ClockId::CLOCK_BOOTTIME).map_err(|error| error.to_string())?.into();
    let server = Server { delay, quiet, began };
    let listener = listen_now(options)?;
    for stream in listener.incoming().flatten() {
        thread::spawn(move || answer(stream, server));
    }
    Ok(0)
}

fn answer(mut stream: TcpStream, server: Server) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    let request = lines.next()?.ok()?;
    // The headers are read to their end: closing with unread bytes would reset the connection.
    lines.by_ref().map_while(Result::ok).find(String::is_empty);
    let path = request.split(' ').nth(1)?.to_owned();
    thread::sleep(server.delay);
    let (code, body) = match &*path {
        "/since" => (200, server.began.as_nanos().to_string()),
        path => respond(path),
    };
    if !server.quiet {
        println!("{request} -> {code}");
    }
    let length = body.len();
    write!(stream, "HTTP/1.1 {code} .\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}").ok()
}

/// Status and body for `path`.
fn respond(path: &str) -> (u16, String) {
    let (verb, argument) = path.trim_start_matches('/').split_once('/').unwrap_or((path, ""));
    match (verb, argument.parse::<u64>()) {
        ("delay", Ok(delay_ms)) => {
            thread::sleep(Duration::from_millis(delay_ms));
            (200, format!("waited {delay_ms} ms\n"))
        }
        ("status", Ok(code)) => (u16::try_from(code).unwrap_or(500), format!("status {code}\n")),
        _ => (200, format!("hello from {}\n", crate::report::hostname())),
    }
}

/// Accepts connections and sends back what they send.
pub fn tcp(options: &Options) -> Done {
    let listener = listen(options)?;
    for mut stream in listener.incoming().flatten() {
        thread::spawn(move || {
            let mut copy = stream.try_clone()?;
            std::io::copy(&mut stream, &mut copy)
        });
    }
    Ok(0)
}

/// Gets a URL, again after a failure as long as `--retry-until` allows, `--count` times, `--every` so often.
pub fn fetch(options: &Options) -> Done {
    let url = options.word(0)?;
    let count: u32 = options.named("count")?.unwrap_or(1);
    let every = options.duration("every", 1000)?;
    let patience = options.duration("retry-until", 0)?;
    for round in 0..count {
        if round > 0 {
            thread::sleep(every);
        }
        let body = crate::files::retry(patience, || get(url))?;
        print!("{body}");
        std::io::stdout().flush().map_err(|error| error.to_string())?;
    }
    Ok(0)
}

fn get(url: &str) -> Result<String, String> {
    let rest = url.strip_prefix("http://").ok_or_else(|| format!("{url:?} is no http:// URL"))?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let address = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let failed = |error: std::io::Error| format!("cannot fetch {url}: {error}");
    let mut stream = TcpStream::connect(&address).map_err(failed)?;
    stream.set_read_timeout(Some(ANSWER)).map_err(failed)?;
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").map_err(failed)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(failed)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| format!("{url} gave no HTTP answer"))?;
    match head.split(' ').nth(1) {
        Some(code) if code.starts_with('2') => Ok(body.to_owned()),
        code => Err(format!("{url} answered {}", code.unwrap_or("nothing"))),
    }
}

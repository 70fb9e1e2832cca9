//! What podbox says at its own port for Prometheus, read without a client.

use std::io::{Read, Write};
use std::net::TcpStream;

/// Everything at `/metrics`, with its head.
pub fn metrics() -> String {
    page("/metrics")
}

/// A page, with its head.
pub fn page(path: &str) -> String {
    ask("GET", path)
}

/// What is answered to one who asks for a page's head.
pub fn head(path: &str) -> String {
    ask("HEAD", path)
}

fn ask(method: &str, path: &str) -> String {
    let mut stream = TcpStream::connect("127.0.0.1:9810").expect("podbox serves metrics");
    let request = format!("{method} {path} HTTP/1.1\r\nHost: podbox\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it listens");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it answers");
    text
}

/// The value of a page's first series of this name that has these labels.
pub fn value(page: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let is = |line: &&str| {
        let rest = line.strip_prefix(name).unwrap_or_default();
        rest.starts_with(['{', ' '])
            && labels.iter().all(|(key, value)| rest.contains(&format!("{key}=\"{value}\"")))
    };
    page.lines().find(is)?.rsplit(' ').next()?.parse().ok()
}

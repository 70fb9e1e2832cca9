//! What podbox says at its own port for Prometheus, read without a client.

use std::io::{Read, Write};
use std::net::TcpStream;

/// The whole answer, its headers included.
pub fn metrics() -> String {
    let mut stream = TcpStream::connect("127.0.0.1:9810").expect("podbox serves metrics");
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: podbox\r\nConnection: close\r\n\r\n").expect("it listens");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it answers");
    text
}

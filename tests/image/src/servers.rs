//! Servers that a node's probes may meet: one that speaks gRPC's health protocol, and those that do not behave.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use crate::Done;
use crate::net::listen;
use crate::options::Options;

/// Between two drops of an answer that drips.
const DROP: Duration = Duration::from_millis(100);

/// Serves in a way that no server should, a thread per connection.
pub fn bad(options: &Options) -> Done {
    let how: fn(&mut TcpStream) -> std::io::Result<()> = match options.word(1)? {
        "silent" => silent,
        "drip" => drip,
        "garbage" => |stream| stream.write_all(b"SSH-2.0-sorry\r\n"),
        "headers" => headers,
        "endless" => endless,
        "loop" => {
            |stream| stream.write_all(b"HTTP/1.1 302 .\r\nLocation: /loop\r\nContent-Length: 0\r\n\r\n")
        }
        "elsewhere" => |stream| {
            stream
                .write_all(b"HTTP/1.1 302 .\r\nLocation: http://192.0.2.1/\r\nContent-Length: 4\r\n\r\nmore")
        },
        how => return Err(format!("{how:?} is no way to be bad")),
    };
    for mut stream in listen(options)?.incoming().flatten() {
        thread::spawn(move || {
            if stream.read(&mut [0; 4096])? == 0 {
                return Ok(());
            }
            how(&mut stream)?;
            silent(&mut stream)
        });
    }
    Ok(0)
}

/// Takes what comes, for as long as it comes.
fn silent(stream: &mut TcpStream) -> std::io::Result<()> {
    std::io::copy(stream, &mut std::io::sink()).map(drop)
}

fn drip(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 .\r\nContent-Length: 1000000\r\n\r\n")?;
    loop {
        stream.write_all(b"x")?;
        thread::sleep(DROP);
    }
}

fn headers(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 .\r\n")?;
    loop {
        stream
            .write_all(b"x: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n")?;
    }
}

fn endless(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 .\r\n\r\n")?;
    loop {
        stream.write_all(&[b'x'; 4096])?;
    }
}

/// Answers every call of gRPC with a `HealthCheckResponse` of this status: 1 is well.
pub fn grpc(options: &Options) -> Done {
    let status: u8 = options.number(1)?;
    for mut stream in listen(options)?.incoming().flatten() {
        thread::spawn(move || call(&mut stream, status));
    }
    Ok(0)
}

// Frames of HTTP/2 and their flags.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn call(stream: &mut TcpStream, status: u8) -> std::io::Result<()> {
    stream.read_exact(&mut [0; 24])?;
    frame(stream, SETTINGS, 0, 0, &[])?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head)?;
        let [a, b, c, kind, flags, rest @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut payload)?;
        match kind {
            SETTINGS if flags & ACK == 0 => frame(stream, SETTINGS, ACK, 0, &[])?,
            DATA | HEADERS if flags & END_STREAM != 0 => {
                let number = u32::from_be_bytes(rest);
                // `:status 200` is in HPACK's table; the others are literal.
                let head = [&[0x88][..], &literal("content-type", "application/grpc")].concat();
                frame(stream, HEADERS, END_HEADERS, number, &head)?;
                frame(stream, DATA, 0, number, &[0, 0, 0, 0, 2, 0x08, status])?;
                frame(stream, HEADERS, END_HEADERS | END_STREAM, number, &literal("grpc-status", "0"))?;
            }
            _ => {}
        }
    }
}

fn frame(stream: &mut TcpStream, kind: u8, flags: u8, number: u32, payload: &[u8]) -> std::io::Result<()> {
    let length = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &number.to_be_bytes()].concat();
    stream.write_all(&[&head, payload].concat())
}

fn literal(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    [vec![0], text(name), text(value)].concat()
}

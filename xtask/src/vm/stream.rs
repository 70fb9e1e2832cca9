//! What the guest's ports say, turned into events. A port is a Unix socket to which qemu connects.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::Sender;
use std::thread;

use anyhow::{Context, Result};

/// What happens while a machine runs.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The control port is connected; the stream takes words to the guest.
    Connected(Connection),
    /// The guest's root is in place and the command about to start.
    Ready,
    /// The guest lives.
    Beat,
    /// The command has ended with this status.
    Exit(i32),
    /// One of the two output ports is complete, to its mark.
    Complete,
    /// A signal was sent to the tools: pass it on.
    Signal(nix::sys::signal::Signal),
}

/// The host's end of the control port.
#[derive(Debug)]
pub struct Connection(UnixStream);

impl PartialEq for Connection {
    fn eq(&self, _: &Self) -> bool {
        true // there is one per machine
    }
}
impl Eq for Connection {}

impl Connection {
    /// Sends `signal` to the command. A guest that is gone is noticed elsewhere.
    pub fn signal(&mut self, signal: nix::sys::signal::Signal) {
        let name = signal.as_str().trim_start_matches("SIG");
        writeln!(self.0, "signal {name}").ok();
    }
}

/// Listens at `path` and reports what the control port says.
pub fn control(path: &Path, events: Sender<Event>) -> Result<()> {
    let listener = listen(path)?;
    thread::spawn(move || -> Option<()> {
        let (stream, _) = listener.accept().ok()?;
        events.send(Event::Connected(Connection(stream.try_clone().ok()?))).ok()?;
        for line in BufReader::new(stream).lines() {
            let line = line.ok()?;
            let event = match line.split_once(' ').unwrap_or((&line, "")) {
                ("ready", _) => Event::Ready,
                ("exit", status) => Event::Exit(status.parse().unwrap_or(255)),
                _ => Event::Beat,
            };
            events.send(event).ok()?;
        }
        None
    });
    Ok(())
}

/// Listens at `path` and copies what comes to `to`, live, until `mark`.
pub fn copy(
    path: &Path,
    mark: &str,
    mut to: impl Write + Send + 'static,
    events: Sender<Event>,
) -> Result<()> {
    let listener = listen(path)?;
    let mark = format!("{mark}\n").into_bytes();
    thread::spawn(move || -> Option<()> {
        let (mut stream, _) = listener.accept().ok()?;
        let mut held = Held::new(mark);
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
            let complete = held.push(&buffer[..count], &mut to);
            to.flush().ok();
            if complete {
                events.send(Event::Complete).ok()?;
                return None;
            }
        }
    });
    Ok(())
}

fn listen(path: &Path) -> Result<UnixListener> {
    UnixListener::bind(path).with_context(|| format!("cannot listen at {}", path.display()))
}

/// Bytes that may be the beginning of the mark, kept back until it is known.
struct Held {
    mark: Vec<u8>,
    bytes: Vec<u8>,
}

impl Held {
    fn new(mark: Vec<u8>) -> Held {
        Held { mark, bytes: Vec::new() }
    }

    /// Passes on what can't be part of the mark; true once the mark has come.
    ///
    /// Output that can't be written, say into a closed pipe, is dropped: the command's status still counts.
    fn push(&mut self, bytes: &[u8], to: &mut impl Write) -> bool {
        self.bytes.extend_from_slice(bytes);
        if let Some(end) = self.bytes.windows(self.mark.len()).position(|window| window == self.mark) {
            to.write_all(&self.bytes[..end]).ok();
            return true;
        }
        let kept =
            (1..self.mark.len()).rev().find(|count| self.bytes.ends_with(&self.mark[..*count])).unwrap_or(0);
        let passed = self.bytes.len() - kept;
        to.write_all(&self.bytes[..passed]).ok();
        self.bytes.drain(..passed);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::Held;

    fn check(pieces: &[&str], expected: &str, complete: bool) {
        let mut held = Held::new(b"MARK\n".to_vec());
        let mut out = Vec::new();
        let ended = pieces.iter().any(|piece| held.push(piece.as_bytes(), &mut out));
        assert_eq!((String::from_utf8_lossy(&out).as_ref(), ended), (expected, complete), "{pieces:?}");
    }

    #[test]
    fn the_mark_ends_the_output_wherever_it_is_split() {
        check(&["one\nMARK\n"], "one\n", true);
        check(&["one\nMA", "RK", "\nlater"], "one\n", true);
        check(&["MMA", "MARK\n"], "MMA", true);
        check(&["MARK", "ET\n"], "MARKET\n", false);
        check(&["no end"], "no end", false);
    }
}

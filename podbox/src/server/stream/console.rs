//! A command or an attachment, over a WebSocket's channels or over SPDY's streams.
//!
//! ```text
//!   client ─▶ reader ─queue─▶ Inputs ─▶ the container ─▶ Outputs ─▶ writer ─▶ client
//! ```
//!
//! Over SPDY the streams are the client's own, named by their headers; the rest is the same.
//!
//! The client's going ends both ways; the command's end is told, and then the client gets a moment to close.

use super::channel::{self, Protocol};
use super::room;
use super::socket::{self, Reader, Socket, Writer};
use super::spdy::{Incoming, Outgoing, Stream};
use crate::api::streams::{Input, Inputs, Output, Outputs, Wanted};
use crate::limits;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Error;

/// What is to run once the client's streams are there.
pub type Start = Box<dyn FnOnce(Inputs) -> BoxFuture<'static, Outputs> + Send>;

/// Serves one.
pub async fn serve(socket: Socket, protocol: Protocol, wanted: Wanted, start: Start) {
    let (mut writer, mut reader) = socket.split();
    let (queue, inputs) = queue();
    let writing = async {
        // Upstream's servers say something at once, and there are clients that wait for it.
        let first = if wanted.stdout { channel::STDOUT } else { channel::ERROR };
        writer.send(protocol.encode(first, b"")).await?;
        write(&mut writer, protocol, start(inputs)).await
    };
    let written = tokio::select! {
        written = writing => written,
        () = read(&mut reader, protocol, wanted, &queue) => return,
    };
    drop(queue);
    if written.is_ok() {
        socket::end(writer, reader).await;
    }
}

/// Where a client's words go, and where they are taken from.
pub fn queue() -> (mpsc::Sender<Input>, Inputs) {
    let (sender, receiver) = mpsc::channel(limits::SOCKET_QUEUE);
    let inputs = stream::unfold(receiver, |mut receiver| async move {
        let input = receiver.recv().await?;
        Some((input, receiver))
    });
    (sender, inputs.boxed())
}

/// Reads until the client is gone.
async fn read(reader: &mut Reader, protocol: Protocol, wanted: Wanted, queue: &mpsc::Sender<Input>) {
    while let Some(message) = reader.next().await {
        let wants = |input: &Input| wanted.stdin || matches!(input, Input::Resize { .. });
        // Nobody takes it any more when the command has ended; what the client still says is read and dropped.
        match protocol.input(message).filter(wants) {
            Some(Input::Stdin(bytes)) => {
                for piece in room::pieces(bytes) {
                    let _ = queue.send(Input::Stdin(piece)).await;
                }
            }
            Some(input) => drop(queue.send(input).await),
            None => {}
        }
    }
}

async fn write(
    writer: &mut Writer,
    protocol: Protocol,
    outputs: impl Future<Output = Outputs>,
) -> Result<(), Error> {
    let mut outputs = outputs.await;
    let mut ping = tokio::time::interval(limits::SOCKET_PING);
    ping.reset();
    loop {
        tokio::select! {
            output = outputs.next() => match output {
                Some(Output::Stdout(bytes)) => writer.send(protocol.encode(channel::STDOUT, &bytes)).await?,
                Some(Output::Stderr(bytes)) => writer.send(protocol.encode(channel::STDERR, &bytes)).await?,
                Some(Output::End(end)) => {
                    if let Some(told) = protocol.end(&end) {
                        writer.send(protocol.encode(channel::ERROR, &told)).await?;
                    }
                }
                None => return Ok(()),
            },
            _ = ping.tick() => writer.ping().await?,
        }
    }
}

/// Protocols over SPDY, the best first.
const SPDY_PROTOCOLS: [&str; 4] =
    ["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];

/// The first of those offered that is known; if none is offered, the oldest.
pub fn choose_spdy(offered: &[String]) -> Option<&'static str> {
    if offered.is_empty() {
        return SPDY_PROTOCOLS.last().copied();
    }
    offered.iter().find_map(|name| SPDY_PROTOCOLS.iter().find(|known| *known == name)).copied()
}

/// The streams of one client.
#[derive(Default)]
struct Streams {
    error: Option<Outgoing>,
    stdin: Option<Incoming>,
    stdout: Option<Outgoing>,
    stderr: Option<Outgoing>,
    resize: Option<Incoming>,
    /// Halves that nothing comes or goes by, kept so that they are not given up.
    idle: Vec<(Option<Incoming>, Option<Outgoing>)>,
}

impl Streams {
    /// Takes a stream for what its headers say it is.
    fn take(&mut self, stream: Stream) {
        let Stream { headers, incoming, outgoing } = stream;
        let kind = headers.get("streamtype").map(String::as_str);
        let (write, read) = match kind {
            Some("error") => (Some(&mut self.error), None),
            Some("stdout") => (Some(&mut self.stdout), None),
            Some("stderr") => (Some(&mut self.stderr), None),
            Some("stdin") => (None, Some(&mut self.stdin)),
            Some("resize") => (None, Some(&mut self.resize)),
            _ => return,
        };
        match (write, read) {
            (Some(place), _) => {
                *place = Some(outgoing);
                self.idle.push((Some(incoming), None));
            }
            (None, Some(place)) => {
                *place = Some(incoming);
                self.idle.push((None, Some(outgoing)));
            }
            (None, None) => {}
        }
    }

    fn complete(&self, wanted: Wanted, resizes: bool) -> bool {
        self.error.is_some()
            && self.stdin.is_some() >= wanted.stdin
            && self.stdout.is_some() >= wanted.stdout
            && self.stderr.is_some() >= wanted.stderr
            && self.resize.is_some() >= (wanted.tty && resizes)
    }
}

/// Serves one over SPDY's streams.
pub async fn serve_spdy(
    mut streams: mpsc::Receiver<Stream>,
    protocol: &'static str,
    wanted: Wanted,
    start: Start,
) {
    let resizes = matches!(protocol, "v3.channel.k8s.io" | "v4.channel.k8s.io");
    let mut mine = Streams::default();
    let gathering = async {
        while !mine.complete(wanted, resizes) {
            match streams.recv().await {
                Some(stream) => mine.take(stream),
                None => return false,
            }
        }
        true
    };
    // A client that does not open them in time is let go.
    if !matches!(tokio::time::timeout(limits::STREAMS_OPEN, gathering).await, Ok(true)) {
        return;
    }
    let (queue, inputs) = queue();
    let Streams { error, stdin, stdout, stderr, resize, idle } = mine;
    let reading = async {
        tokio::join!(read_stdin(stdin, &queue), read_sizes(resize, &queue));
        // What ends the session is the connection's end, or the command's.
        std::future::pending::<()>().await;
    };
    let status = protocol == "v4.channel.k8s.io";
    tokio::select! {
        () = write_spdy(start(inputs), [error, stdout, stderr], status) => {}
        () = reading => {}
    }
    for (_, outgoing) in idle {
        if let Some(outgoing) = outgoing {
            outgoing.end().await;
        }
    }
}

async fn read_stdin(stdin: Option<Incoming>, queue: &mpsc::Sender<Input>) {
    let Some(mut stdin) = stdin else { return };
    while let Some(bytes) = stdin.next().await {
        let _ = queue.send(Input::Stdin(bytes)).await;
    }
    let _ = queue.send(Input::StdinEnd).await;
}

/// Sizes come as one JSON value after the other, each as a rule in a chunk of its own.
async fn read_sizes(sizes: Option<Incoming>, queue: &mpsc::Sender<Input>) {
    let Some(mut sizes) = sizes else { return };
    while let Some(bytes) = sizes.next().await {
        for line in bytes.split(|byte| *byte == b'\n') {
            if let Some(input) = channel::resize(line) {
                let _ = queue.send(input).await;
            }
        }
    }
}

async fn write_spdy(outputs: impl Future<Output = Outputs>, streams: [Option<Outgoing>; 3], status: bool) {
    let mut outputs = outputs.await;
    let [error, stdout, stderr] = streams;
    while let Some(output) = outputs.next().await {
        let (stream, bytes) = match output {
            Output::Stdout(bytes) => (&stdout, bytes),
            Output::Stderr(bytes) => (&stderr, bytes),
            Output::End(end) => match channel::told(&end, status) {
                Some(told) => (&error, told.into()),
                None => continue,
            },
        };
        let Some(stream) = stream else { continue };
        if stream.send(bytes).await.is_err() {
            return;
        }
    }
    for stream in [stdout, stderr, error].into_iter().flatten() {
        stream.end().await;
    }
}

//! Commands in this node's containers, attachments to them, and connections into its pods, for the API.
//!
//! What a client sends is fed to the container by a task of its own, which ends with what goes back to the client.

use crate::api::error::chain;
use crate::api::identity::{ContainerRef, PodRef};
use crate::api::streams::{End, ExecFailure, Input, Inputs, Output, Outputs, Streams, Wanted};
use crate::limits;
use crate::sandbox::engine::{Engine, EngineError};
use crate::sandbox::line::Line;
use crate::sandbox::log::{Name, Shown, Taps};
use crate::sandbox::session::{Attached, Event, Session, SessionOutput};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use std::net::TcpStream;
use std::ops::Deref;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// The containers of an engine.
#[derive(Debug)]
pub struct NodeStreams {
    engine: Engine,
}

impl NodeStreams {
    /// Of this one.
    pub fn new(engine: Engine) -> NodeStreams {
        NodeStreams { engine }
    }
}

impl Streams for NodeStreams {
    fn running(&self, pod: &PodRef, container: &str) -> Option<ContainerRef> {
        self.engine.running(pod, container)
    }

    fn exec(
        &self,
        container: &ContainerRef,
        args: Vec<String>,
        wanted: Wanted,
        input: Inputs,
    ) -> BoxFuture<'static, Result<Outputs, ExecFailure>> {
        let (engine, container) = (self.engine.clone(), container.clone());
        let run = async move {
            let name = args.first().cloned().unwrap_or_default();
            let session = engine.session(&container, args, wanted).await;
            let session = session.map_err(|error| failure(&name, &error))?;
            Ok(Command::new(session, wanted, input).into_stream())
        };
        run.boxed()
    }

    fn attach(&self, container: &ContainerRef, wanted: Wanted, input: Inputs) -> Result<Outputs, String> {
        let attached = self.engine.attach(container).map_err(|error| chain(&error))?;
        Ok(Attachment::new(self.engine.clone(), container, attached, wanted, input).into_stream())
    }

    fn connect(&self, pod: &PodRef, port: u16) -> BoxFuture<'static, Result<TcpStream, String>> {
        let (engine, pod) = (self.engine.clone(), pod.clone());
        async move { engine.connect(&pod, port).await.map_err(|error| chain(&error)) }.boxed()
    }
}

/// Why a command did not start, as people know it from other runtimes.
fn failure(name: &str, error: &EngineError) -> ExecFailure {
    let code = match error {
        EngineError::Exec { source, .. } => source.exit_code(),
        _ => None,
    };
    match code {
        Some(127) if !name.contains('/') => {
            ExecFailure::Command(127, format!("exec: {name:?}: executable file not found in $PATH"))
        }
        Some(127) => ExecFailure::Command(127, format!("exec: {name:?}: no such file or directory")),
        Some(code) => {
            let why = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
            ExecFailure::Command(code, why)
        }
        None => ExecFailure::Other(format!("error executing command in container: {}", chain(error))),
    }
}

/// Writes what a client sends, until the client is gone.
async fn feed(mut stdin: Option<impl Deref<Target = Line>>, tty: bool, mut input: Inputs) {
    while let Some(input) = input.next().await {
        match (input, &stdin) {
            (Input::Stdin(bytes), Some(line)) => {
                // Whoever closed its stdin reads no more; what comes is thrown away.
                let written = line.write_all(&bytes).await;
                if written.is_err() {
                    stdin = None;
                }
            }
            // A terminal is not at its end because its user's input is.
            (Input::StdinEnd, Some(_)) if !tty => stdin = None,
            (Input::Resize { width, height }, Some(line)) if tty => {
                if let Err(error) = line.resize(width, height) {
                    tracing::debug!(%error, "a terminal could not be resized");
                }
            }
            _ => {}
        }
    }
}

/// What a client gets of what was written.
fn output(name: Name, bytes: Bytes, wanted: Wanted) -> Option<Output> {
    match name {
        Name::Stdout => wanted.stdout.then_some(Output::Stdout(bytes)),
        Name::Stderr => wanted.stderr.then_some(Output::Stderr(bytes)),
    }
}

/// A command with a client at its ends.
struct Command {
    output: SessionOutput,
    wanted: Wanted,
    feeding: JoinSet<()>,
    over: bool,
}

impl Command {
    fn new(session: Session, wanted: Wanted, input: Inputs) -> Command {
        let Session { stdin, output } = session;
        let mut feeding = JoinSet::new();
        feeding.spawn(feed(stdin.map(Box::new), wanted.tty, input));
        Command { output, wanted, feeding, over: false }
    }

    fn into_stream(self) -> Outputs {
        stream::unfold(self, |mut command| async move {
            let output = command.next().await?;
            Some((output, command))
        })
        .boxed()
    }

    async fn next(&mut self) -> Option<Output> {
        while !self.over {
            tokio::select! {
                biased;
                event = self.output.next() => {
                    let output = match event {
                        Ok(Event::Stdout(bytes)) => output(Name::Stdout, bytes, self.wanted),
                        Ok(Event::Stderr(bytes)) => output(Name::Stderr, bytes, self.wanted),
                        Ok(Event::Ended(status)) => Some(Output::End(ended(status.code()))),
                        Err(error) => Some(Output::End(End::Failed(chain(&error)))),
                    };
                    self.over = matches!(output, Some(Output::End(_)));
                    if output.is_some() {
                        return output;
                    }
                }
                _ = self.feeding.join_next() => self.over = true,
            }
        }
        None
    }
}

fn ended(code: i32) -> End {
    match code {
        0 => End::Done,
        code => End::Code(code),
    }
}

/// A container with a client attached to it.
struct Attachment {
    output: mpsc::Receiver<Shown>,
    taps: Taps,
    wanted: Wanted,
    feeding: JoinSet<()>,
    over: bool,
}

impl Attachment {
    fn new(
        engine: Engine,
        container: &ContainerRef,
        attached: Attached,
        wanted: Wanted,
        input: Inputs,
    ) -> Attachment {
        let Attached { stdin, output, taps, tty, once } = attached;
        let mut feeding = JoinSet::new();
        let stdin = stdin.filter(|_| wanted.stdin || tty);
        let container = container.clone();
        let close =
            (once && wanted.stdin && !tty && stdin.is_some()).then_some(CloseStdin { engine, container });
        feeding.spawn(async move {
            let (kept, input) = until_end(close, input);
            feed(stdin, tty, input).await;
            drop(kept);
        });
        Attachment { output, taps, wanted, feeding, over: false }
    }

    fn into_stream(self) -> Outputs {
        stream::unfold(self, |mut attachment| async move {
            let output = attachment.next().await?;
            Some((output, attachment))
        })
        .boxed()
    }

    async fn next(&mut self) -> Option<Output> {
        while !self.over {
            tokio::select! {
                biased;
                shown = self.output.recv() => match shown {
                    Some((name, bytes)) => {
                        if let Some(output) = output(name, bytes, self.wanted) {
                            return Some(output);
                        }
                    }
                    None => {
                        self.over = true;
                        return Some(Output::End(self.end()));
                    }
                },
                _ = self.feeding.join_next() => self.over = true,
            }
        }
        None
    }

    /// Why nothing more comes: the container ended, or this client was too slow for it.
    fn end(&self) -> End {
        match self.taps.over() {
            true => End::Done,
            false => End::Failed(format!(
                "the container's output was not taken for {} seconds",
                limits::ATTACH_STALL.as_secs()
            )),
        }
    }
}

/// Closes a container's stdin when its first client is gone.
struct CloseStdin {
    engine: Engine,
    container: ContainerRef,
}

impl Drop for CloseStdin {
    fn drop(&mut self) {
        let (engine, container) = (self.engine.clone(), self.container.clone());
        // Without a runtime the daemon is ending, and the next one attaches to the container as it is.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            if let Err(error) = engine.close_stdin(&container).await {
                tracing::debug!(%container, "closing its stdin failed: {}", chain(&error));
            }
        });
    }
}

type Shared = std::sync::Arc<std::sync::Mutex<Option<CloseStdin>>>;

/// The same input; what is to be dropped at the end of stdin is dropped then, or with the first of the pair.
fn until_end(close: Option<CloseStdin>, input: Inputs) -> (Shared, Inputs) {
    let kept = Shared::new(std::sync::Mutex::new(close));
    let closing = Shared::clone(&kept);
    let input = input.inspect(move |input| {
        if *input == Input::StdinEnd {
            closing.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        }
    });
    (kept, input.boxed())
}

//! Streams into and out of containers for the API: commands, attachments, connections. What is asked for, and the
//! seam to the node that has the containers.
//!
//! Both directions are streams that are polled: whoever reads slowly holds up whoever writes, and nothing is
//! gathered in between.

use super::identity::{ContainerRef, PodRef};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

/// Which streams a client wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// To write.
    pub stdin: bool,
    /// To read.
    pub stdout: bool,
    /// To read. A terminal has none.
    pub stderr: bool,
    /// A terminal in place of pipes.
    pub tty: bool,
}

/// From a client. The end of its stream means that the client is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// For the command to read.
    Stdin(Bytes),
    /// There will be no more to read.
    StdinEnd,
    /// The client's window has another size.
    Resize {
        /// Columns.
        width: u16,
        /// Lines.
        height: u16,
    },
}

/// To a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Written on stdout, or on the terminal.
    Stdout(Bytes),
    /// Written on stderr.
    Stderr(Bytes),
    /// The last one.
    End(End),
}

/// How a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// As it should: a command with code 0, or the container that was attached to.
    Done,
    /// The command's exit code.
    Code(i32),
    /// It could not go on.
    Failed(String),
}

/// Why a command did not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecFailure {
    /// There is no such program, or none that may be executed: what shells exit with, and why.
    Command(i32, String),
    /// Anything else.
    Other(String),
}

/// What comes from a client.
pub type Inputs = BoxStream<'static, Input>;
/// What goes to a client. Dropped, it closes the streams; a command that runs is not ended by it.
pub type Outputs = BoxStream<'static, Output>;

/// Has the containers of a node.
pub trait Streams: Send + Sync {
    /// The run of a container that runs now.
    fn running(&self, pod: &PodRef, container: &str) -> Option<ContainerRef>;
    /// Runs a command in a container.
    fn exec(
        &self,
        container: &ContainerRef,
        args: Vec<String>,
        wanted: Wanted,
        input: Inputs,
    ) -> BoxFuture<'static, Result<Outputs, ExecFailure>>;
    /// Follows what a container writes from now on, and writes to its stdin if that was kept open.
    fn attach(&self, container: &ContainerRef, wanted: Wanted, input: Inputs) -> Result<Outputs, String>;
    /// Connects to a port of the pod, from inside of it. The connection does not block.
    fn connect(&self, pod: &PodRef, port: u16) -> BoxFuture<'static, Result<std::net::TcpStream, String>>;
}

//! Probes by a command in the container.
//!
//! It ends with the command's first process, or with its time; whatever else the command started ends with it. What it
//! wrote is told if it failed, the beginning of it.

use super::{of_runtime, seconds};
use crate::api::identity::ContainerRef;
use crate::api::quote::quoted;
use crate::limits;
use crate::node::Node;
use crate::pod::probe::Outcome;
use crate::sandbox::runtime::{ExecResult, ExecSpec, ExitStatus, Runtime};
use std::time::Duration;

pub(super) async fn run<R: Runtime, I>(
    node: &Node<R, I>,
    run: &ContainerRef,
    args: Vec<String>,
    timeout: Duration,
) -> Outcome {
    let command = args.join(" ");
    let spec = ExecSpec { args, timeout: Some(timeout), output_limit: limits::PROBE_OUTPUT, alone: true };
    match node.runtime.exec(run, &spec).await {
        Ok(result) if result.timed_out => {
            let (command, timeout) = (quoted(command.as_bytes()), seconds(timeout));
            Outcome::Failure(format!("command timed out: {command} timed out after {timeout}"))
        }
        Ok(ExecResult { status: ExitStatus::Code(0), .. }) => Outcome::Success,
        Ok(ExecResult { mut stdout, stderr, .. }) => {
            stdout.extend(stderr);
            stdout.truncate(limits::PROBE_OUTPUT);
            Outcome::Failure(String::from_utf8_lossy(&stdout).into_owned())
        }
        Err(error) => of_runtime(&error),
    }
}

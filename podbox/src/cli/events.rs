//! `podbox events`: kernel events of containers, live, from whichever podbox runs on this host.

use crate::api::event::KernelEvent;
use crate::config::Config;
use crate::server::client::{self, Answer};
use anyhow::Context;
use serde_json::Value;
use std::io::{self, Write};
use std::process::ExitCode;

/// Arguments of `podbox events`.
#[derive(Debug, clap::Args)]
pub struct EventsArgs {
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// One line for people per event
    Text,
    /// One JSON object per line
    Json,
}

/// Prints events until the running podbox ends or the reader goes away.
pub fn run(args: EventsArgs, config: &Config) -> anyhow::Result<ExitCode> {
    super::runtime()?.block_on(async {
        let answer = client::get(&config.run_dir, "/events").await?;
        match copy(answer, args.output).await {
            Err(error) if is_closed_pipe(&error) => Ok(ExitCode::SUCCESS),
            Err(error) => Err(error),
            Ok(()) => Ok(ExitCode::SUCCESS),
        }
    })
}

/// `podbox events | head` is no failure.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

async fn copy(mut answer: Answer, format: Format) -> anyhow::Result<()> {
    let mut pending = Vec::new();
    let mut out = io::stdout().lock();
    // The stream has no end of its own: podbox ends, and the connection with it.
    while let Ok(Some(piece)) = answer.next().await {
        pending.extend_from_slice(&piece);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            match format {
                Format::Json => out.write_all(&line)?,
                Format::Text => writeln!(out, "{}", for_people(&line)?)?,
            }
        }
        out.flush()?;
    }
    Ok(())
}

fn for_people(line: &[u8]) -> anyhow::Result<String> {
    let value: Value =
        serde_json::from_slice(line).context("the running podbox sent a line that is not JSON")?;
    if let Some(missed) = value.get("missed") {
        return Ok(format!("… {missed} events missed: this reader was too slow"));
    }
    let event: KernelEvent = serde_json::from_value(value)
        .context("the running podbox sent an event of another version; use the same binary for both")?;
    let subject = event.subject.as_ref().map_or_else(|| "(a removed container)".into(), ToString::to_string);
    let time = event.time.strftime("%FT%T%.3fZ");
    Ok(format!("{time} {subject} {}", event.text()))
}

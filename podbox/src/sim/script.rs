//! Scripts: what somebody does to a simulated cluster, line by line, and what comes of it, put below each line. Where nothing goes wrong
//! but what the script says, a transcript shows what a controller does, in the order in which it does it.
//!
//! ```text
//!   # prose              > command     | what the command takes: YAML             anything else: what came of it
//! ```
//!
//! A transcript is a script again: playing it gives the same text, or a controller does something else than it did. What is in
//! `scripts` are such texts, and a test plays them.

mod command;
mod drain;
mod parse;
mod stage;
mod table;

#[cfg(test)]
mod tests;

use crate::api::kinds::Kinds;
use parse::Block;
use stage::Stage;
use std::sync::Arc;

/// The scripts that come with podbox: their names and texts.
pub const SCRIPTS: &[(&str, &str)] = &[
    ("cronjob", include_str!("scripts/cronjob.txt")),
    ("daemonset", include_str!("scripts/daemonset.txt")),
    ("deployment", include_str!("scripts/deployment.txt")),
    ("disruption", include_str!("scripts/disruption.txt")),
    ("endpoints", include_str!("scripts/endpoints.txt")),
    ("garbage", include_str!("scripts/garbage.txt")),
    ("job", include_str!("scripts/job.txt")),
    ("node-loss", include_str!("scripts/node-loss.txt")),
    ("replicaset", include_str!("scripts/replicaset.txt")),
    ("scaling", include_str!("scripts/scaling.txt")),
    ("scheduling", include_str!("scripts/scheduling.txt")),
    ("statefulset", include_str!("scripts/statefulset.txt")),
    ("storage", include_str!("scripts/storage.txt")),
];

/// Plays a script; gives back its transcript, and why it goes no further, if so.
pub fn run(kinds: &Arc<Kinds>, text: &str) -> (String, Option<String>) {
    let mut told = String::new();
    let failed = play(kinds, text, &mut told).err();
    (told, failed)
}

fn play(kinds: &Arc<Kinds>, text: &str, told: &mut String) -> Result<(), String> {
    let mut stage = Stage::new(kinds);
    for block in parse::blocks(text)? {
        match block {
            Block::Prose(line) => told.push_str(&format!("{line}\n")),
            Block::Command { number, command, input } => {
                told.push_str(&format!("> {command}\n"));
                for line in &input {
                    told.push_str(&format!("{}\n", format!("| {line}").trim_end()));
                }
                let played = stage.play(&command, &input.join("\n"));
                stage.told().iter().for_each(|line| told.push_str(&format!("{line}\n")));
                let shown = played.map_err(|why| format!("line {number}: {command}: {why}"))?;
                shown.iter().for_each(|line| told.push_str(&format!("  {line}\n")));
            }
        }
    }
    Ok(())
}

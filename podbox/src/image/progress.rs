//! Tells people how far a pull is: bars on a terminal, a line per layer elsewhere, nothing in the daemon.

use super::digest::Digest;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

/// Hears how a pull goes; called from several tasks at once.
pub trait Progress: Send + Sync {
    /// A layer of so many bytes begins to arrive.
    fn begin(&self, layer: &Digest, bytes: u64);
    /// More of it arrived.
    fn advance(&self, layer: &Digest, bytes: u64);
    /// It is whole, and unpacked.
    fn done(&self, layer: &Digest);
}

/// Says nothing.
#[derive(Debug)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _layer: &Digest, _bytes: u64) {}
    fn advance(&self, _layer: &Digest, _bytes: u64) {}
    fn done(&self, _layer: &Digest) {}
}

/// For a person at stderr: bars where that is a terminal, lines where it is not.
pub fn for_people() -> Box<dyn Progress> {
    if std::io::stderr().is_terminal() { Box::new(Bars::default()) } else { Box::new(Lines) }
}

#[derive(Debug)]
struct Lines;

impl Progress for Lines {
    fn begin(&self, layer: &Digest, bytes: u64) {
        say(format_args!("layer {}: pulling {bytes} bytes", short(layer)));
    }
    fn advance(&self, _layer: &Digest, _bytes: u64) {}
    fn done(&self, layer: &Digest) {
        say(format_args!("layer {}: done", short(layer)));
    }
}

#[derive(Debug, Default)]
struct Bars {
    all: MultiProgress,
    by_layer: Mutex<HashMap<Digest, ProgressBar>>,
}

impl Bars {
    fn with(&self, layer: &Digest, act: impl FnOnce(&ProgressBar)) {
        if let Some(bar) = self.by_layer.lock().unwrap_or_else(PoisonError::into_inner).get(layer) {
            act(bar);
        }
    }
}

impl Progress for Bars {
    fn begin(&self, layer: &Digest, bytes: u64) {
        let style = ProgressStyle::with_template("{prefix} [{bar:30}] {bytes:>10} of {total_bytes:10} {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> ");
        let bar = self.all.add(ProgressBar::new(bytes).with_style(style).with_prefix(short(layer)));
        self.by_layer.lock().unwrap_or_else(PoisonError::into_inner).insert(layer.clone(), bar);
    }

    fn advance(&self, layer: &Digest, bytes: u64) {
        self.with(layer, |bar| bar.inc(bytes));
    }

    fn done(&self, layer: &Digest) {
        self.with(layer, |bar| bar.finish_with_message("done"));
    }
}

fn short(layer: &Digest) -> String {
    layer.hex()[..12].to_owned()
}

/// A closed stderr is no reason to end a pull.
fn say(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

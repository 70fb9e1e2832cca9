//! What the commands that tell of pods have in common: asking the podbox that runs here, choosing by name, and printing.

use crate::config::Config;
use crate::server::client;
use anyhow::Context;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

/// What the running podbox answers on a path of its socket.
pub fn ask<T: DeserializeOwned>(config: &Config, path: &'static str) -> anyhow::Result<T> {
    let bytes =
        super::runtime()?.block_on(async { client::get(&config.run_dir, path).await?.all().await })?;
    serde_json::from_slice(&bytes)
        .context("the running podbox answered as another version does; use the same binary for both")
}

/// Whether `wanted`, as NAME or NAMESPACE/NAME, is this pod.
pub fn is(wanted: &str, namespace: &str, name: &str) -> bool {
    match wanted.split_once('/') {
        Some(wanted) => wanted == (namespace, name),
        None => wanted == name,
    }
}

/// As JSON for programs.
pub fn json(value: &impl Serialize) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

/// Prints to whoever reads.
pub fn print(text: &str) -> anyhow::Result<ExitCode> {
    match io::stdout().write_all(text.as_bytes()) {
        // `podbox why | head` is no failure.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Three digits or so: 850µs, 1.2ms, 35ms, 1s.
pub fn short(time: Duration) -> String {
    let round = |value: f64, unit: &str| {
        let digits = usize::from(value < 10.0 && value.fract() >= 0.05);
        format!("{value:.digits$}{unit}")
    };
    let micros = time.as_micros() as f64;
    match micros {
        ..1e3 => round(micros, "µs"),
        ..1e6 => round(micros / 1e3, "ms"),
        _ => round(micros / 1e6, "s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        let check = |micros, expected| assert_eq!(short(Duration::from_micros(micros)), expected);
        check(850, "850µs");
        check(1_200, "1.2ms");
        check(35_400, "35ms");
        check(1_000_000, "1s");
        check(1_500_000, "1.5s");
        check(0, "0µs");
    }

    #[test]
    fn a_pod_is_named_with_or_without_its_namespace() {
        assert!(is("web", "shop", "web") && is("shop/web", "shop", "web"));
        assert!(!is("we", "shop", "web") && !is("default/web", "shop", "web"));
    }
}

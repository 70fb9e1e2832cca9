//! `podbox image`: works on the store's files directly, beside a podbox that runs or without one.

use super::table;
use crate::api::keyring::Login;
use crate::config::Config;
use crate::image::{Record, Store, for_people};
use crate::sandbox::usage;
use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use std::cell::LazyCell;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The longest password: tokens may be long, an endless file is none.
const PASSWORD_BYTES: u64 = 64 << 10;

/// Images of this node.
#[derive(Debug, Args)]
pub struct ImageArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Pull an image from its registry
    Pull {
        /// As a manifest names it: busybox:1.36, registry.example/app@sha256:…
        reference: String,
        /// Who asks, where the registry wants to know
        #[arg(long, value_name = "NAME", requires = "password_stdin")]
        username: Option<String>,
        /// Read the password, or a token, from standard input
        #[arg(long, requires = "username")]
        password_stdin: bool,
    },
    /// Load images from an OCI layout directory, an OCI archive or a docker-save archive
    Load {
        /// The directory or the archive
        path: PathBuf,
        /// The image's name, instead of those it has in the archive
        #[arg(long, value_name = "NAME")]
        tag: Option<String>,
    },
    /// List the images on this node
    Ls {
        /// How to print them
        #[arg(short, long, value_enum, default_value = "table")]
        output: Output,
    },
    /// Remove images, and the layers that no other image has
    Rm {
        /// Names or image IDs
        #[arg(required = true)]
        references: Vec<String>,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    Table,
    Json,
}

/// Runs `podbox image`.
pub fn run(args: ImageArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let store = Store::open(&config.state_dir)?;
    match args.command {
        Command::Pull { reference, username, .. } => {
            let credentials = credentials(username)?;
            let pull = store.pull(&reference, credentials.as_ref(), for_people().into());
            let image = super::runtime()?.block_on(pull)?;
            say(&format!("{}  {}\n", image.reference, image.id))?;
        }
        Command::Load { path, tag } => {
            for image in store.load(&path, tag.as_deref())? {
                say(&format!("{}  {}\n", image.reference, image.id))?;
            }
        }
        Command::Ls { output } => list(&store, output)?,
        Command::Rm { references } => {
            for reference in references {
                // Looked at for each, and only once the store is locked: what starts meanwhile counts.
                let mounted = LazyCell::new(usage::mounted);
                let removed = store.remove(&reference, |layer| mounted.contains(layer))?;
                say(&format!("{}  removed\n", removed.reference))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A password comes by standard input: arguments are for all to see.
fn credentials(username: Option<String>) -> anyhow::Result<Option<Login>> {
    let Some(username) = username else { return Ok(None) };
    let mut password = String::new();
    let read = io::stdin().lock().take(PASSWORD_BYTES).read_to_string(&mut password);
    read.context("reading the password from standard input failed")?;
    let password = password.trim_end_matches(['\r', '\n']);
    anyhow::ensure!(!password.is_empty(), "--password-stdin: there is no password on standard input");
    Ok(Some(Login { username, password: password.to_owned() }))
}

/// Prints; a reader that went away (`| head`) is none of our failures.
fn say(text: &str) -> anyhow::Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("printing failed"),
        _ => Ok(()),
    }
}

fn list(store: &Store, output: Output) -> anyhow::Result<()> {
    let records = store.list()?;
    match output {
        Output::Json => {
            let text = serde_json::to_string_pretty(&records).context("writing the images as JSON failed")?;
            say(&(text + "\n"))?;
        }
        Output::Table => {
            let now = crate::clock::wall();
            let rows: Vec<_> = records.iter().map(|record| row(record, now)).collect();
            say(&table::render(&["IMAGE", "TAG", "IMAGE ID", "SIZE", "CREATED", "PULLED"], &rows))?;
        }
    }
    Ok(())
}

fn row(record: &Record, now: SystemTime) -> Vec<String> {
    let (name, tag) = match record.reference.split_once('@') {
        Some((name, _)) => (name, "<none>"),
        None => record.reference.rsplit_once(':').unwrap_or((&record.reference, "<none>")),
    };
    let pulled = UNIX_EPOCH + Duration::from_secs(record.pulled_at);
    let created = record.created.as_deref().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    vec![
        name.to_owned(),
        tag.to_owned(),
        record.id.hex()[..13].to_owned(),
        size(record.size),
        created.map_or_else(|| "-".to_owned(), |at| age(now, at.into())),
        age(now, pulled),
    ]
}

fn size(bytes: u64) -> String {
    let units = ["kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = "B";
    for larger in units {
        if value < 1000.0 {
            break;
        }
        value /= 1000.0;
        unit = larger;
    }
    if unit == "B" { format!("{bytes}B") } else { format!("{value:.1}{unit}") }
}

fn age(now: SystemTime, then: SystemTime) -> String {
    let seconds = now.duration_since(then).map_or(0, |age| age.as_secs());
    match seconds {
        0..120 => format!("{seconds}s ago"),
        120..7200 => format!("{}m ago", seconds / 60),
        7200..172_800 => format!("{}h ago", seconds / 3600),
        _ => format!("{}d ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_are_short() {
        assert_eq!([size(0), size(999), size(1500), size(2_340_000)], ["0B", "999B", "1.5kB", "2.3MB"]);
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(
            [age(at(9), at(0)), age(at(86_400 * 3), at(0)), age(at(0), at(9))],
            ["9s ago", "3d ago", "0s ago"]
        );
    }
}

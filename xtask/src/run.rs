//! `cargo xtask run`: podbox on real manifests, where it can run with all that it does: on this host, or else in a virtual
//! machine. Says which, and why.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::setup::{self, Need};
use crate::{image, vm, workspace};

/// What runs without a FILE.
const HELLO: &str = "examples/hello.yaml";
/// The controllers that limits need.
const CONTROLLERS: &[&str] = &["cpu", "memory", "pids"];
/// A day: an example may run until Ctrl-C.
const LIMIT: Duration = Duration::from_secs(24 * 3600);

/// `cargo xtask run`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Run in a virtual machine.
    #[arg(long, conflicts_with = "host")]
    vm: bool,
    /// Run on this host.
    #[arg(long)]
    host: bool,
    /// Manifests [default: examples/hello.yaml]
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Runs the verb; returns podbox's exit status.
pub fn main(args: &Args) -> Result<i32> {
    let files = if args.files.is_empty() { vec![workspace::root().join(HELLO)] } else { args.files.clone() };
    for file in &files {
        ensure!(file.exists(), "there is no file {}", file.display());
    }
    let place = place(args);
    setup::ensure(&[Need::Build])?;
    eprintln!("run: building podbox");
    workspace::run(workspace::cargo().args(["build", "--release", "--quiet", "--package", "podbox"]))?;
    let image = image::ensure()?;
    let bin = workspace::target().join("release");
    match place {
        Place::Host(why) => {
            eprintln!("run: on this host: {why}");
            // In our place: the terminal, Ctrl-C and the exit status are podbox's own.
            let error = Command::new("sh")
                .args(words(&image, &files))
                .env("PATH", workspace::search_path(&bin)?)
                .exec();
            Err(error).context("cannot start sh")
        }
        Place::Vm(why) => {
            let series = vm::SERIES.last().context("no kernel to boot")?;
            eprintln!("run: in a virtual machine with kernel {series}: {why}");
            let mut command = vec!["sh".to_owned()];
            command.extend(words(&image, &files));
            if let Some(columns) = columns() {
                command = through_a_port(columns, command);
            }
            let (series, memory) = ((*series).to_owned(), "4G".to_owned());
            vm::run(&vm::Request { series, memory, timeout: LIMIT, bin, command })
        }
    }
}

/// Where podbox runs, and why there.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Host(String),
    Vm(String),
}

fn place(args: &Args) -> Place {
    if args.vm {
        return Place::Vm("--vm".to_owned());
    }
    if args.host {
        return Place::Host("--host".to_owned());
    }
    let controllers = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").ok();
    choose(workspace::is_root(), controllers.as_deref())
}

/// The place for a host with these cgroup v2 controllers, if it has cgroup v2 where it belongs.
fn choose(root: bool, controllers: Option<&str>) -> Place {
    let Some(controllers) = controllers else {
        return Place::Vm("this host has no cgroup v2 at /sys/fs/cgroup".to_owned());
    };
    let missing: Vec<&str> = CONTROLLERS
        .iter()
        .copied()
        .filter(|wanted| !controllers.split_whitespace().any(|there| there == *wanted))
        .collect();
    if !missing.is_empty() {
        return Place::Vm(format!("this host's cgroup v2 lacks {}", missing.join(", ")));
    }
    if !root {
        return Place::Vm("podbox needs root, which this is not".to_owned());
    }
    Place::Host(format!("it has cgroup v2 with {}", CONTROLLERS.join(", ")))
}

/// The shell's arguments: load the examples' image, then run the files.
fn words(image: &Path, files: &[PathBuf]) -> Vec<String> {
    let script = r#"podbox image load "$1" >&2 && shift && exec podbox run "$@""#;
    let mut words = vec!["-c".to_owned(), script.to_owned(), "sh".to_owned(), image.display().to_string()];
    words.extend(files.iter().map(|file| file.display().to_string()));
    words
}

/// How wide the terminal is, if all that podbox says goes to one.
fn columns() -> Option<u16> {
    let (out, err) = (console::Term::stdout(), console::Term::stderr());
    let size = (out.is_term() && err.is_term()).then(|| out.size_checked()).flatten();
    size.map(|(_, columns)| columns)
}

/// Makes `command` draw its live table though a machine's port is no terminal: what it draws arrives at ours. Standard
/// error goes the same way, since the machine keeps no order between its two ports.
fn through_a_port(columns: u16, command: Vec<String>) -> Vec<String> {
    let script = r#"export PODBOX_COLUMNS="$1"; shift; exec "$@" 2>&1"#;
    let mut words = ["sh", "-c", script, "sh"].map(str::to_owned).to_vec();
    words.push(columns.to_string());
    words.extend(command);
    words
}

#[cfg(test)]
mod tests {
    use super::{Place, choose, through_a_port};

    #[test]
    fn a_command_behind_a_port_is_told_the_width_and_keeps_its_words() {
        let command = ["sh", "-c", r#"echo "$PODBOX_COLUMNS" "$@"; echo said >&2"#, "sh", "a  b", "it's"];
        let words = through_a_port(132, command.map(str::to_owned).to_vec());
        let output = std::process::Command::new(&words[0]).args(&words[1..]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "132 a  b it's\nsaid\n");
    }

    #[test]
    fn a_host_that_lacks_something_is_told_what() {
        let check = |root, controllers, expected: Place| assert_eq!(choose(root, controllers), expected);
        let all = Some("cpuset cpu io memory pids");
        check(true, all, Place::Host("it has cgroup v2 with cpu, memory, pids".to_owned()));
        check(true, Some("cpu pids"), Place::Vm("this host's cgroup v2 lacks memory".to_owned()));
        check(false, all, Place::Vm("podbox needs root, which this is not".to_owned()));
        check(true, None, Place::Vm("this host has no cgroup v2 at /sys/fs/cgroup".to_owned()));
    }
}

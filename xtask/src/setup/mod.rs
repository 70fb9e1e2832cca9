//! `cargo xtask setup`: installs what building, testing and the virtual machines need. Idempotent; a host that has
//! everything is told so in milliseconds, which is why the other verbs can ask each time.
//!
//! It starts no service and changes nothing but installed packages, `~/.cargo/bin/bpf-linker` and the target directory.

mod apt;
mod kernel;
mod linker;
mod peers;

use std::path::PathBuf;

use anyhow::Result;

use crate::{vm, workspace};

/// Something a verb can't do without.
#[derive(Debug, Clone, Copy)]
pub enum Need<'a> {
    /// Compiling the workspace, BPF programs included.
    Build,
    /// Virtual machines with a kernel of this series.
    Vm(&'a str),
    /// The test image.
    Image,
    /// What tests and benchmarks run beside podbox.
    Peers,
}

/// Runs the verb.
pub fn main() -> Result<()> {
    let mut needs = vec![Need::Build, Need::Image, Need::Peers];
    needs.extend(vm::SERIES.iter().map(|series| Need::Vm(series)));
    ensure(&needs)?;
    eprintln!("setup: everything is here");
    Ok(())
}

/// Installs what is missing of `needs`.
pub fn ensure(needs: &[Need<'_>]) -> Result<()> {
    let missing: Vec<&apt::Package> = apt::PACKAGES
        .iter()
        .filter(|package| needs.iter().any(|need| package.serves(*need)))
        .filter(|package| !package.is_here())
        .collect();
    if !missing.is_empty() {
        apt::install(&missing)?;
    }
    for need in needs {
        match need {
            Need::Build => linker::ensure()?,
            Need::Vm(series) => kernel::ensure(series, &kernel_dir(series))?,
            Need::Peers => peers::ensure(&workspace::peers())?,
            Need::Image => {}
        }
    }
    Ok(())
}

/// Where the kernel of a series is unpacked.
fn kernel_dir(series: &str) -> PathBuf {
    workspace::vm().join(series)
}

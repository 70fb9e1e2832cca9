//! bpf-linker, which turns rustc's LLVM bitcode into a BPF object. Its LLVM must be at least rustc's: both are Debian's.

use anyhow::{Context, Result};

use crate::workspace;

/// The version that is known to work with Debian's rustc and LLVM 22.
const VERSION: &str = "0.13.0";

/// Installs it by cargo, if there is none.
pub fn ensure() -> Result<()> {
    let installed = std::env::home_dir().is_some_and(|home| home.join(".cargo/bin/bpf-linker").exists());
    if installed || workspace::which("bpf-linker").is_some() {
        return Ok(());
    }
    eprintln!("setup: building bpf-linker {VERSION}; this takes about two minutes");
    let mut cargo = workspace::cargo();
    cargo.env("LLVM_PREFIX", "/usr/lib/llvm-22").args([
        "install",
        "bpf-linker",
        "--version",
        VERSION,
        "--locked",
    ]);
    cargo.args(["--no-default-features", "--features", "llvm-22"]);
    workspace::run(&mut cargo).context(
        "setup: bpf-linker can't be built; it needs the packages llvm-22-dev, zlib1g-dev and libzstd-dev, and the network",
    )
}

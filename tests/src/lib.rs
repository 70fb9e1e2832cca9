//! What the end-to-end tests share: where the built programs are, waiting for a condition, what a host must offer,
//! and the proof that nothing was left behind.
//!
//! `cargo xtask test` runs every test of this package, and every integration test of `podbox`, as root in a network
//! and mount namespace of its own, on this host's kernel and on two others in virtual machines. A test that can't run
//! where it is prints `SKIPPED name: why` on standard error and returns; the tool counts it by that line.

pub mod api;
pub mod ask;
pub mod busybox;
pub mod comeback;
pub mod events;
pub mod host;
pub mod log;
pub mod manifest;
pub mod metrics;
pub mod needs;
pub mod node;
pub mod pods;
pub mod prometheus;
pub mod registry;
pub mod remains;
pub mod rounds;
pub mod run;
pub mod terminal;
pub mod transcript;
pub mod wait;

use std::path::PathBuf;
use std::process::Command;

/// The workspace's root directory.
pub fn workspace() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The program `name` of this build.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running program has a path");
    // target/PROFILE/deps/TEST: the programs are two levels up.
    let profile = test.ancestors().nth(2).expect("cargo puts tests into target/PROFILE/deps");
    let program = profile.join(name);
    assert!(program.exists(), "{} isn't built; `cargo build --bins` does", program.display());
    program
}

/// podbox, ready for arguments.
pub fn podbox() -> Command {
    Command::new(program("podbox"))
}

/// The project's test image, an OCI layout that `cargo xtask image` has built.
pub fn image() -> PathBuf {
    let layout = program("podbox").with_file_name("..").join("images/testjobs");
    assert!(layout.exists(), "there is no {}; `cargo xtask image` builds it", layout.display());
    layout
}

//! `cargo xtask image`: builds the project's test image as an OCI layout, the same bits each time.
//!
//! Two layers, so that tests of layers have something to do: busybox with its applets and a minimal `/etc` below, the
//! project's own program above. Nothing in it depends on the clock, the user or the checkout's path.

mod layer;
mod layout;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::setup::{self, Need};
use crate::workspace;
use layer::Layer;

/// The name by which manifests know the image.
pub const REFERENCE: &str = "podbox.local/testjobs:latest";

/// What is linked statically, with a target directory of its own: the flags differ from all else.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// A static busybox, from Debian's `busybox-static`.
const BUSYBOX: &str = "/bin/busybox";

/// Runs the verb: builds the image and says where it is.
pub fn main() -> Result<()> {
    let dir = ensure()?;
    println!("{REFERENCE} is the OCI layout {}", dir.display());
    Ok(())
}

/// Builds the image, which takes a moment if nothing has changed; returns the layout's directory.
pub fn ensure() -> Result<PathBuf> {
    setup::ensure(&[Need::Build, Need::Image])?;
    let program = build_program()?;
    let dir = workspace::target().join("images/testjobs");
    write(&program, &dir)?;
    Ok(dir)
}

/// Writes the layout with `program` to `dir`.
fn write(program: &Path, dir: &Path) -> Result<()> {
    let layers = [base()?, jobs(program)?];
    let config =
        layout::Config { entrypoint: &["/bin/testjobs"], env: &["PATH=/usr/sbin:/usr/bin:/sbin:/bin"] };
    layout::write(dir, REFERENCE, &config, &layers.map(Layer::finish))
}

/// The static program; cargo decides whether there is anything to do.
fn build_program() -> Result<PathBuf> {
    let target_dir = workspace::target().join("image-build");
    // Paths end up in panic messages, and the image must not depend on where it was built.
    let home = std::env::var("CARGO_HOME").or_else(|_| std::env::var("HOME").map(|home| home + "/.cargo"))?;
    let flags = [
        "-Ctarget-feature=+crt-static".to_owned(),
        format!("--remap-path-prefix={}=podbox", workspace::root().display()),
        format!("--remap-path-prefix={home}=cargo"),
    ];
    let mut cargo = workspace::cargo();
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}")).env_remove("RUSTFLAGS");
    cargo.args([
        "build",
        "--quiet",
        "--package",
        "podbox-testjobs",
        "--profile",
        "testjobs",
        "--target",
        TARGET,
    ]);
    cargo.arg("--target-dir").arg(&target_dir);
    workspace::run(&mut cargo)?;
    Ok(target_dir.join(TARGET).join("testjobs/testjobs"))
}

/// The lower layer: busybox and what programs expect in `/etc`.
fn base() -> Result<Layer> {
    let mut layer = Layer::default();
    for dir in ["bin", "dev", "etc", "home", "proc", "root", "sys", "usr", "var"] {
        layer.dir(dir, 0o755);
    }
    layer.dir("tmp", 0o1777);
    layer.file(
        "bin/busybox",
        0o755,
        std::fs::read(BUSYBOX).with_context(|| format!("cannot read {BUSYBOX}"))?,
    );
    let applets = workspace::output(Command::new(BUSYBOX).arg("--list"))?;
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        layer.link(&format!("bin/{applet}"), "busybox");
    }
    layer.file("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\njobs:x:1000:1000:jobs:/home:/bin/sh\n");
    layer.file("etc/group", 0o644, "root:x:0:\nnogroup:x:65534:\njobs:x:1000:\nextra:x:2000:jobs\n");
    Ok(layer)
}

/// The upper layer: the program.
fn jobs(program: &Path) -> Result<Layer> {
    let mut layer = Layer::default();
    layer.dir("bin", 0o755);
    let bytes = std::fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    layer.file("bin/testjobs", 0o755, bytes);
    Ok(layer)
}

#[cfg(test)]
mod tests;

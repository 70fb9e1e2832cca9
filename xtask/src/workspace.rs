//! Where things are in the workspace, and how the tools start other programs. Knows no verb.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The workspace's root directory: of the package that cargo runs, or the one around the present directory, or the one
/// whose target directory the tools lie in. Nothing of it is compiled in, so a checkout may be moved.
pub fn root() -> PathBuf {
    let starts = [
        std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from),
        std::env::current_dir().ok(),
        std::env::current_exe().ok(),
    ];
    let found = starts.iter().flatten().find_map(|start| root_around(start));
    found.unwrap_or_else(|| PathBuf::from("."))
}

/// The nearest directory at or above `start` that is a workspace with these tools in it.
fn root_around(start: &Path) -> Option<PathBuf> {
    let is_root = |dir: &&Path| dir.join("Cargo.lock").exists() && dir.join("xtask/Cargo.toml").exists();
    start.ancestors().find(is_root).map(Path::to_path_buf)
}

/// Cargo's target directory.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Where virtual machines' kernels, logs and results live.
pub fn vm() -> PathBuf {
    let dir = target().join("vm");
    // Several checkouts may share one by a symbolic link, which the guest would follow from another root.
    dir.canonicalize().unwrap_or(dir)
}

/// Where the programs are that tests run beside podbox and Debian doesn't have.
pub fn peers() -> PathBuf {
    let dir = target().join("peers");
    dir.canonicalize().unwrap_or(dir)
}

/// `PATH` for tests, benchmarks and machines: `bin`, those programs, and what the caller has.
pub fn search_path(bin: &Path) -> Result<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = [bin.to_owned(), peers().join("bin")].into_iter().chain(std::env::split_paths(&path));
    std::env::join_paths(dirs).context("the target directory's path can't be in PATH")
}

/// The tools' own program, to start again. Building the tests may have linked it anew under the running one; the new one
/// serves as well.
pub fn this_program() -> Result<PathBuf> {
    let path = std::env::current_exe().context("a running program has a path")?;
    Ok(path.to_str().and_then(|path| path.strip_suffix(" (deleted)")).map_or(path.clone(), PathBuf::from))
}

/// Whether the tools run as root.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// The first directory of `PATH`, or of the system's own program directories, that has `program`.
pub fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// A command that runs `program` in the workspace's root.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// Cargo, the one that started the tools if there is one.
pub fn cargo() -> Command {
    command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs `command` with all it says on our standard error, which leaves standard output to results; an unsuccessful end is an error that names the command.
pub fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    let status =
        command.stdout(std::io::stderr()).status().with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed: {status}");
    }
    Ok(())
}

/// Runs `command` and returns its standard output; its standard error is part of the error, if it fails.
pub fn output(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{shown}`"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{shown}` failed: {}\n{}", output.status, said.trim_end());
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{shown}` printed something that is not UTF-8"))
}

/// The command as a person would type it.
fn show(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|arg| arg.to_string_lossy().into_owned()));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::root_around;

    #[test]
    fn the_root_is_found_from_anywhere_below_it_and_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("checkout");
        for package in ["xtask", "podbox/src/deep"] {
            std::fs::create_dir_all(root.join(package)).unwrap();
        }
        std::fs::write(root.join("Cargo.lock"), "").unwrap();
        std::fs::write(root.join("xtask/Cargo.toml"), "").unwrap();
        for start in ["", "xtask", "podbox/src/deep", "target/debug/xtask"] {
            assert_eq!(root_around(&root.join(start)).unwrap(), root, "{start}");
        }
        assert_eq!(root_around(dir.path()), None);
    }
}

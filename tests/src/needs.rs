//! What a test needs of its host. `let Some(()) = needs::root("test") else { return }` reads as it works.

use std::io::Write;
use std::path::Path;

/// Tells that `test` is skipped, in the form that the tool counts.
pub fn skip(test: &str, why: &str) {
    // Not eprintln: libtest would keep that for itself when the test passes.
    writeln!(std::io::stderr(), "SKIPPED {test}: {why}").ok();
}

/// Root.
pub fn root(test: &str) -> Option<()> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().nth(1));
    when(effective == Some("0"), test, "it needs root")
}

/// Every capability that the kernel has, as a privileged container gets them: a container without some cannot start one.
pub fn capabilities(test: &str) -> Option<()> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let last: u32 = read("/proc/sys/kernel/cap_last_cap").trim().parse().unwrap_or(63);
    let status = read("/proc/self/status");
    let bound = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    let bound = bound.and_then(|bound| u64::from_str_radix(bound.trim(), 16).ok()).unwrap_or(0);
    when(bound == u64::MAX >> (63 - last.min(63)), test, "it needs every capability")
}

/// cgroup v2 with the controller `name`.
pub fn controller(test: &str, name: &str) -> Option<()> {
    let why = format!("it needs cgroup v2's {name} controller at /sys/fs/cgroup");
    when(has_controller(name), test, &why)
}

/// Whether cgroup v2 has the controller `name`.
pub fn has_controller(name: &str) -> bool {
    let controllers = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    controllers.split_whitespace().any(|controller| controller == name)
}

/// A file: a program, say, or a kernel's interface.
pub fn file(test: &str, path: impl AsRef<Path>) -> Option<()> {
    let path = path.as_ref();
    when(path.exists(), test, &format!("it needs {}", path.display()))
}

/// A program on the `PATH`; `cargo xtask setup` installs those that tests run.
pub fn program(test: &str, name: &str) -> Option<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = std::env::split_paths(&path).any(|dir| dir.join(name).exists());
    when(there, test, &format!("it needs {name}; cargo xtask setup installs it"))
}

/// The host itself, for tests of what no kernel changes: a virtual machine without hardware support takes many times
/// as long for them. The tool learns it on the host, by a line, and does not start them in a machine at all.
pub fn host(test: &str) -> Option<()> {
    if !in_machine() {
        writeln!(std::io::stderr(), "HOST ONLY {test}").ok();
    }
    when(!in_machine(), test, "asks nothing of the kernel, and ran on the host")
}

/// One kernel with these controllers, for a long test of what kernels do alike: the host where it has them, else the machine of
/// the newest.
pub fn one_kernel(test: &str, controllers: &[&str]) -> Option<()> {
    if !in_machine() {
        controllers.iter().try_for_each(|name| controller(test, name))?;
        return host(test);
    }
    newest(test)
}

/// The host or the machine of the newest kernel, for what users walk through: a whole system, but the same on every kernel.
pub fn newest(test: &str) -> Option<()> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    when(!(in_machine() && release.starts_with("6.1.")), test, "it is long, and the other machine shows it")
}

/// A clock that nobody else lives by: a virtual machine's, in which one test runs at a time.
pub fn clock(test: &str) -> Option<()> {
    when(in_machine(), test, "it sets the clock, and runs in a machine")
}

/// Whether this is a virtual machine of the tool's.
pub fn in_machine() -> bool {
    std::env::var("PODBOX_TEST_LEVEL").is_ok_and(|level| level == "vm")
}

fn when(there: bool, test: &str, why: &str) -> Option<()> {
    if !there {
        skip(test, why);
    }
    there.then_some(())
}

//! The virtual machines' kernels: Debian's own packages, unpacked into the target directory and never installed.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::workspace;

/// Puts a kernel of `series` into `dir`, unless there is one: `boot/vmlinuz-*` and `lib/modules/*`.
pub fn ensure(series: &str, dir: &Path) -> Result<()> {
    if dir.exists() {
        return Ok(());
    }
    let name = match newest(series)? {
        Some(name) => name,
        None => bail!(
            "setup: apt knows no kernel package of {series}; is this Debian 12, and its list of packages fresh? Try apt-get update"
        ),
    };
    eprintln!("setup: fetching {name} (about 100 MB)");
    let work = dir.with_file_name(format!("{series}-{}.tmp", std::process::id()));
    std::fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
    let result = unpack(&name, &work).and_then(|()| {
        std::fs::rename(&work, dir)
            .with_context(|| format!("cannot rename {} to {}", work.display(), dir.display()))
    });
    std::fs::remove_dir_all(&work).ok();
    // Another of us may have been quicker.
    if dir.exists() { Ok(()) } else { result }
}

/// The newest ordinary kernel package of `series`: not the cloud's, which lack 9p, nor the real-time ones.
fn newest(series: &str) -> Result<Option<String>> {
    let names =
        workspace::output(Command::new("apt-cache").args(["pkgnames", &format!("linux-image-{series}.")]))?;
    Ok(pick(series, names.lines()))
}

fn pick<'a>(series: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    names
        .filter_map(|name| {
            let version = name.strip_prefix("linux-image-")?.strip_suffix("-amd64")?;
            let ordinary = !version.contains("cloud") && !version.contains("rt") && !version.contains("bpo");
            let rest = version.strip_prefix(series)?.strip_prefix('.')?;
            ordinary.then(|| (numbers(rest), name))
        })
        .max()
        .map(|(_, name)| name.to_owned())
}

/// The numbers in `version`, for comparing.
fn numbers(version: &str) -> Vec<u32> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

/// Fetches the package `name` and keeps of it in `dir` what a machine needs.
fn unpack(name: &str, dir: &Path) -> Result<()> {
    let whole = dir.join("package");
    std::fs::create_dir_all(&whole).with_context(|| format!("cannot make {}", whole.display()))?;
    // apt fetches as a user of its own where it may write, and says so loudly where it may not: here it may not.
    workspace::run(Command::new("apt-get").args(["download", "--quiet", "-o", "APT::Sandbox::User=root", name]).current_dir(dir))
        .with_context(|| format!("setup: {name} can't be fetched; is there network, and the list of packages fresh? Try apt-get update"))?;
    let package = std::fs::read_dir(dir)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .with_context(|| format!("setup: apt-get fetched no file for {name}"))?;
    workspace::run(Command::new("dpkg").arg("--extract").arg(&package).arg(&whole))?;
    for part in ["boot", "lib"] {
        std::fs::rename(whole.join(part), dir.join(part))
            .with_context(|| format!("{name} has no /{part}"))?;
    }
    std::fs::remove_dir_all(&whole).ok();
    std::fs::remove_file(&package).ok();
    let release = std::fs::read_dir(dir.join("lib/modules"))?
        .find_map(|entry| entry.ok()?.file_name().into_string().ok())
        .with_context(|| format!("{name} has no modules"))?;
    let depmod = workspace::which("depmod").context("setup: no depmod; install kmod")?;
    workspace::run(Command::new(depmod).arg("--basedir").arg(dir).arg(release))
}

#[cfg(test)]
mod tests {
    use super::pick;

    #[test]
    fn the_newest_ordinary_kernel_is_picked_by_number() {
        let names = [
            "linux-image-6.1.0-9-amd64",
            "linux-image-6.1.0-50-amd64",
            "linux-image-6.1.0-51-cloud-amd64",
            "linux-image-6.1.0-52-rt-amd64",
            "linux-image-6.1.0-53-amd64-unsigned",
            "linux-image-6.12.117+deb12-amd64",
            "linux-image-6.12.99+deb12-amd64",
        ];
        let check =
            |series, expected: Option<&str>| assert_eq!(pick(series, names.into_iter()).as_deref(), expected);
        check("6.1", Some("linux-image-6.1.0-50-amd64"));
        check("6.12", Some("linux-image-6.12.117+deb12-amd64"));
        check("6.18", None);
    }
}

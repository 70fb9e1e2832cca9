//! Whether mounts can pass between the host and a container at some path: a field that cannot be honoured is an error,
//! in the words that container runtimes have for it.

use super::launch::Bind;
use super::message::Failure;
use super::spec::Propagation;
use std::fs;
use std::path::{Path, PathBuf};

/// Looks at the mount that a bind's source lies on, if the bind is to pass mounts on. To be asked before mounts are
/// cut off from the host's.
pub fn check(bind: &Bind) -> Result<(), Failure> {
    if bind.propagation == Propagation::None {
        return Ok(());
    }
    let failed = |why: String| Failure::text("propagate mounts of", bind.source.display().to_string(), why);
    let source = fs::canonicalize(&bind.source).map_err(|error| failed(error.to_string()))?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").map_err(|error| failed(error.to_string()))?;
    judge(&mounts, &source, bind.propagation).map_or(Ok(()), |why| Err(failed(why)))
}

/// What is wrong with the mount that `source` lies on, if anything is.
fn judge(mounts: &str, source: &Path, wanted: Propagation) -> Option<String> {
    // Of several at the same place, the last one lies on top.
    let holds = mounts.lines().filter_map(read).filter(|(at, _)| source.starts_with(at));
    let (at, fields) = holds.max_by_key(|(at, _)| at.components().count())?;
    let shared = fields.iter().any(|field| field.starts_with("shared:"));
    let slave = fields.iter().any(|field| field.starts_with("master:"));
    let missing = match wanted {
        Propagation::Bidirectional if !shared => "shared",
        Propagation::HostToContainer if !shared && !slave => "shared or slave",
        _ => return None,
    };
    let (source, at) = (source.display().to_string(), at.display().to_string());
    Some(format!("path {source:?} is mounted on {at:?} but it is not a {missing} mount"))
}

/// A line's mount point and its optional fields.
fn read(line: &str) -> Option<(PathBuf, Vec<&str>)> {
    let (before, _) = line.split_once(" - ")?;
    let mut words = before.split(' ').skip(4);
    let at = unescape(words.next()?);
    Some((PathBuf::from(at), words.skip(1).collect()))
}

/// The kernel writes spaces, tabs, line ends and backslashes as octal numbers.
fn unescape(text: &str) -> String {
    ["\\040", "\\011", "\\012", "\\134"]
        .iter()
        .zip([" ", "\t", "\n", "\\"])
        .fold(text.to_owned(), |text, (escaped, plain)| text.replace(escaped, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mounts_that_pass_others_on_will_do() {
        let mounts = "20 1 8:1 / / rw,relatime - ext4 /dev/sda rw\n\
                      21 20 0:1 / /s\\040t rw shared:4 - tmpfs t rw\n\
                      22 20 0:2 / /m rw master:4 - tmpfs t rw\n";
        let check = |source: &str, wanted| judge(mounts, Path::new(source), wanted);
        assert_eq!(check("/s t/x", Propagation::Bidirectional), None);
        assert_eq!(check("/m/x", Propagation::HostToContainer), None);
        let why = "path \"/m/x\" is mounted on \"/m\" but it is not a shared mount";
        assert_eq!(check("/m/x", Propagation::Bidirectional).as_deref(), Some(why));
        let why = "path \"/x\" is mounted on \"/\" but it is not a shared or slave mount";
        assert_eq!(check("/x", Propagation::HostToContainer).as_deref(), Some(why));
    }
}

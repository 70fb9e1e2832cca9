//! `cargo xtask tidy`: what the compiler and clippy don't check. The import ranks are the architecture; the rest keeps files
//! small, explained, and `unsafe` where it is expected.
//!
//! Works on text, not on syntax trees: quick, and exact enough for code that rustfmt has formatted.

mod imports;
mod ranks;
mod rules;
mod source;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::workspace;
use source::Source;

/// Where Rust files are looked for.
const DIRS: &[&str] =
    &["podbox/src", "podbox/tests", "podbox-common/src", "podbox-ebpf/src", "xtask/src", "tests"];

/// Something to put right.
#[derive(Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The file, relative to the workspace.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong and what to do.
    pub what: String,
}

/// Runs the verb.
pub fn main() -> Result<()> {
    let complaints = check(&workspace::root())?;
    for complaint in &complaints {
        println!("{}:{}: {}", complaint.file.display(), complaint.line, complaint.what);
    }
    if !complaints.is_empty() {
        bail!("tidy: {} to put right", complaints.len());
    }
    Ok(())
}

/// Everything to put right below `root`.
fn check(root: &Path) -> Result<Vec<Complaint>> {
    let mut files = Vec::new();
    for dir in DIRS {
        find(&root.join(dir), &mut files)?;
    }
    files.sort();
    let mut complaints = Vec::new();
    for path in files {
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let source = Source::new(path.strip_prefix(root).unwrap_or(&path), &text);
        complaints.extend(rules::check(&source));
        complaints.extend(imports::check(&source));
    }
    let manifest = root.join("Cargo.toml");
    let text =
        std::fs::read_to_string(&manifest).with_context(|| format!("cannot read {}", manifest.display()))?;
    complaints.extend(rules::dependencies(&text));
    Ok(complaints)
}

fn find(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    for entry in std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::workspace;

    #[test]
    fn the_workspace_is_tidy() {
        let complaints = super::check(&workspace::root()).unwrap();
        assert!(complaints.is_empty(), "{complaints:#?}");
    }
}

//! `cargo xtask schema`: writes the shape of Kubernetes' kinds, `podbox/src/api/schema/v1_36.schema`, from the
//! source of the `k8s-openapi` crate that the workspace is locked to.
//!
//! The crate has every field's type and description in its `JsonSchema` impls and how lists merge in its
//! `DeepMerge` impls; [`wire`] adds what upstream's Go types say and [`corrections`] what neither does. The format is
//! told in `podbox/src/api/schema.rs`.

mod corrections;
mod definition;
mod go;
mod literal;
mod merge;
mod wire;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::workspace;
use definition::Definition;

/// The generated file.
const FILE: &str = "podbox/src/api/schema/v1_36.schema";
/// What upstream's Go types say.
const WIRE: &str = "xtask/src/schema/wire.txt";
/// The version of Kubernetes, as the crate names it.
const VERSION: &str = "v1_36";
/// What is served, or may be: directories of the crate. Whatever these refer to comes along.
const PACKAGES: &[&str] = &[
    "api/admissionregistration/v1",
    "api/apps/v1",
    "api/authentication/v1",
    "api/authorization/v1",
    "api/autoscaling/v1",
    "api/autoscaling/v2",
    "api/batch/v1",
    "api/certificates/v1",
    "api/coordination/v1",
    "api/core/v1",
    "api/discovery/v1",
    "api/events/v1",
    "api/flowcontrol/v1",
    "api/networking/v1",
    "api/node/v1",
    "api/policy/v1",
    "api/rbac/v1",
    "api/resource/v1",
    "api/scheduling/v1",
    "api/storage/v1",
    "apimachinery/pkg/apis/meta/v1",
];

/// The verb's arguments.
#[derive(clap::Args)]
pub struct Args {
    /// Compare with the committed file instead of writing it.
    #[arg(long)]
    check: bool,
    /// Read upstream's Go types anew, from this kubectl; `cargo xtask setup` fetches one.
    #[arg(long, value_name = "PROGRAM", conflicts_with = "check")]
    kubectl: Option<PathBuf>,
}

/// Runs the verb.
pub fn main(args: &Args) -> Result<()> {
    if args.check {
        return check();
    }
    if let Some(program) = &args.kubectl {
        let path = workspace::root().join(WIRE);
        let text = wire::read(program, &reachable(&sources()?)?)?;
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let path = workspace::root().join(FILE);
    std::fs::write(&path, generate()?).with_context(|| format!("cannot write {}", path.display()))
}

/// An error unless the committed file is what would be generated.
fn check() -> Result<()> {
    let path = workspace::root().join(FILE);
    let committed =
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    if committed != generate()? {
        bail!("{FILE} is not what its sources say: run `cargo xtask schema` and look at the difference");
    }
    Ok(())
}

/// The file's text.
fn generate() -> Result<String> {
    let mut wanted = reachable(&sources()?)?;
    let path = workspace::root().join(WIRE);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    wire::apply(&text, &mut wanted)?;
    corrections::apply(&mut wanted)?;
    Ok(definition::write(wanted.values()))
}

/// The crate's definitions, by the Rust path of their types.
fn sources() -> Result<BTreeMap<String, Definition>> {
    let source = crate_source()?;
    let mut all = BTreeMap::new();
    for tree in ["api", "apimachinery"] {
        collect(&source, Path::new(tree), &mut all)?;
    }
    Ok(all)
}

/// Where the crate's source lies: `cargo metadata` knows.
fn crate_source() -> Result<PathBuf> {
    let text = workspace::output(workspace::cargo().args(["metadata", "--format-version", "1", "--locked"]))?;
    let metadata: Value = serde_json::from_str(&text).context("cargo metadata is not JSON")?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    let package = packages.iter().find(|package| package["name"] == "k8s-openapi");
    let manifest = package.and_then(|package| package["manifest_path"].as_str());
    let manifest = manifest.context("the workspace does not depend on k8s-openapi")?;
    let dir =
        Path::new(manifest).parent().context("a manifest lies in a directory")?.join("src").join(VERSION);
    ensure!(dir.is_dir(), "{} does not exist: k8s-openapi no longer has {VERSION}", dir.display());
    Ok(dir)
}

/// Reads the definitions below `dir`, by the Rust path of their types.
fn collect(source: &Path, dir: &Path, into: &mut BTreeMap<String, Definition>) -> Result<()> {
    let full = source.join(dir);
    for entry in std::fs::read_dir(&full).with_context(|| format!("cannot read {}", full.display()))? {
        let entry = entry?;
        let path = dir.join(entry.file_name());
        if entry.path().is_dir() {
            collect(source, &path, into)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(entry.path())
                .with_context(|| format!("cannot read {}", entry.path().display()))?;
            let module = format!("crate::{}", dir.to_string_lossy().replace('/', "::"));
            if let Some(definition) = Definition::read(&module, &text)
                .with_context(|| format!("{} is not as expected", entry.path().display()))?
            {
                into.insert(definition.path.clone(), definition);
            }
        }
    }
    Ok(())
}

/// The definitions of [`PACKAGES`] and all they refer to, by name, with references by name too.
fn reachable(all: &BTreeMap<String, Definition>) -> Result<BTreeMap<String, Definition>> {
    let prefixes: Vec<_> =
        PACKAGES.iter().map(|package| format!("crate::{}::", package.replace('/', "::"))).collect();
    let mut todo: Vec<&str> = all.keys().map(String::as_str).collect();
    todo.retain(|path| prefixes.iter().any(|prefix| path.starts_with(prefix.as_str())));
    let mut found = BTreeMap::new();
    while let Some(path) = todo.pop() {
        let definition = all.get(path).with_context(|| format!("{path} is referred to and not there"))?;
        if found.contains_key(&definition.name) {
            continue;
        }
        let mut named = definition.clone();
        merge::name_keys(&mut named, all)?;
        for field in named.fields.values_mut() {
            if let Some(path) = field.kind.reference_mut() {
                let (rust, target) =
                    all.get_key_value(path.as_str()).with_context(|| format!("{path} is not there"))?;
                todo.push(rust);
                path.clone_from(&target.name);
            }
        }
        found.insert(named.name.clone(), named);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_committed_schema_is_what_its_sources_say() {
        super::check().unwrap();
    }
}

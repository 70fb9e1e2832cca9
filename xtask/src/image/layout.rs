//! An OCI image layout: blobs by digest, and an index that names the image.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::layer::Archive;

/// What the image's configuration says besides its layers.
pub struct Config<'a> {
    /// What runs.
    pub entrypoint: &'a [&'a str],
    /// `NAME=VALUE` each.
    pub env: &'a [&'a str],
}

/// Writes the layout to `dir`, in place of what is there, only once it is complete.
pub fn write(dir: &Path, reference: &str, config: &Config<'_>, layers: &[Result<Archive>]) -> Result<()> {
    let new = dir.with_extension(format!("{}.tmp", std::process::id()));
    std::fs::create_dir_all(new.join("blobs/sha256"))
        .with_context(|| format!("cannot make {}", new.display()))?;
    let mut descriptors = Vec::new();
    let mut diff_ids = Vec::new();
    for layer in layers {
        let layer = layer.as_ref().map_err(|error| anyhow::anyhow!("cannot make a layer: {error:#}"))?;
        diff_ids.push(digest(&layer.plain));
        descriptors.push(blob(&new, "application/vnd.oci.image.layer.v1.tar+gzip", &layer.compressed)?);
    }
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": { "Entrypoint": config.entrypoint, "Env": config.env, "WorkingDir": "/" },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config = document(&new, "application/vnd.oci.image.config.v1+json", &config)?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": descriptors,
    });
    let mut manifest = document(&new, "application/vnd.oci.image.manifest.v1+json", &manifest)?;
    manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": reference });
    manifest["platform"] = json!({ "architecture": "amd64", "os": "linux" });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [manifest],
    });
    file(&new.join("index.json"), &serde_json::to_vec(&index)?)?;
    file(&new.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    if dir.exists() {
        std::fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    std::fs::rename(&new, dir)
        .with_context(|| format!("cannot rename {} to {}", new.display(), dir.display()))
}

/// Stores a JSON document; `serde_json` keeps keys sorted, so equal documents are equal bytes.
fn document(layout: &Path, media_type: &str, value: &Value) -> Result<Value> {
    blob(layout, media_type, &serde_json::to_vec(value)?)
}

/// Stores a blob; returns its descriptor.
fn blob(layout: &Path, media_type: &str, content: &[u8]) -> Result<Value> {
    let digest = digest(content);
    file(&layout.join("blobs").join(digest.replace(':', "/")), content)?;
    Ok(json!({ "mediaType": media_type, "digest": digest, "size": content.len() }))
}

fn digest(content: &[u8]) -> String {
    Sha256::digest(content).iter().fold("sha256:".to_owned(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes every write");
        text
    })
}

fn file(path: &Path, content: &[u8]) -> Result<()> {
    std::fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}

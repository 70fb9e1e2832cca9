//! Manifests, indexes and image configurations: parsed, checked, and the part that podbox needs taken out.
//!
//! Pure. Bytes come in with their digest already verified by whoever fetched them.

use super::digest::Digest;
use super::error::ImageError;
use crate::api::image::ImageConfig;
use crate::limits;
use oci_spec::image::{Arch, Descriptor, ImageConfiguration, ImageIndex, ImageManifest, Os};
use serde::Deserialize;

/// A blob as a manifest names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Of the bytes as they are stored.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
}

/// What a reference or an index entry leads to.
#[derive(Debug)]
pub enum Document {
    /// One image: its configuration and its layers, the lowest first.
    Manifest(Manifest),
    /// Several, from which one is chosen.
    Index(Box<ImageIndex>),
}

/// One image's parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The configuration.
    pub config: Blob,
    /// The layers, the lowest first.
    pub layers: Vec<Blob>,
}

/// What an image configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// How to run it.
    pub config: ImageConfig,
    /// Digests of the unpacked layers' archives, the lowest first.
    pub diff_ids: Vec<Digest>,
    /// When it was built, as it says itself.
    pub created: Option<String>,
}

/// Parses a manifest or an index, told apart by what they have in them.
pub fn parse(image: &str, bytes: &[u8]) -> Result<Document, ImageError> {
    #[derive(Deserialize)]
    struct Probe {
        manifests: Option<serde::de::IgnoredAny>,
    }
    let invalid = |error: serde_json::Error| invalid(image, "its manifest", error.to_string());
    let probe: Probe = serde_json::from_slice(bytes).map_err(invalid)?;
    if probe.manifests.is_some() {
        return Ok(Document::Index(Box::new(serde_json::from_slice(bytes).map_err(invalid)?)));
    }
    let manifest: ImageManifest = serde_json::from_slice(bytes).map_err(invalid)?;
    let layers: Vec<Blob> = manifest.layers().iter().map(|d| blob(image, d)).collect::<Result<_, _>>()?;
    count(image, layers.len())?;
    Ok(Document::Manifest(Manifest { config: blob(image, manifest.config())?, layers }))
}

/// The descriptor's digest and size.
pub fn blob(image: &str, descriptor: &Descriptor) -> Result<Blob, ImageError> {
    let digest = Digest::parse(descriptor.digest().as_ref())
        .map_err(|reason| invalid(image, "a digest in its manifest", reason))?;
    Ok(Blob { digest, size: descriptor.size() })
}

/// The entry for Linux on this machine's architecture.
pub fn choose<'a>(image: &str, index: &'a ImageIndex) -> Result<&'a Descriptor, ImageError> {
    let here = |d: &&Descriptor| {
        d.platform().as_ref().is_some_and(|p| *p.os() == Os::Linux && *p.architecture() == Arch::default())
    };
    if let Some(descriptor) = index.manifests().iter().find(here) {
        return Ok(descriptor);
    }
    // An index of one entry that says no platform, as OCI layouts of a single image have it.
    if let [only] = index.manifests().as_slice()
        && only.platform().is_none()
    {
        return Ok(only);
    }
    let platforms = index.manifests().iter().filter_map(|d| d.platform().as_ref());
    let found: Vec<_> = platforms.map(|p| format!("{}/{}", p.os(), p.architecture())).collect();
    Err(platform(image, if found.is_empty() { "no platform".to_owned() } else { found.join(", ") }))
}

/// Parses an image configuration and checks that it fits this machine.
pub fn describe(image: &str, bytes: &[u8]) -> Result<Described, ImageError> {
    let parsed: ImageConfiguration = serde_json::from_slice(bytes)
        .map_err(|error| invalid(image, "its configuration", error.to_string()))?;
    if *parsed.os() != Os::Linux || *parsed.architecture() != Arch::default() {
        return Err(platform(image, format!("{}/{}", parsed.os(), parsed.architecture())));
    }
    let diff_ids: Vec<Digest> = parsed
        .rootfs()
        .diff_ids()
        .iter()
        .map(|id| {
            Digest::parse(id).map_err(|reason| invalid(image, "a diff_id in its configuration", reason))
        })
        .collect::<Result<_, _>>()?;
    count(image, diff_ids.len())?;
    let run = parsed.config().clone().unwrap_or_default();
    let config = ImageConfig {
        entrypoint: run.entrypoint().clone().unwrap_or_default(),
        cmd: run.cmd().clone().unwrap_or_default(),
        env: run.env().clone().unwrap_or_default(),
        working_dir: run.working_dir().clone().unwrap_or_default(),
        user: run.user().clone().unwrap_or_default(),
        stop_signal: run.stop_signal().clone().filter(|signal| !signal.is_empty()),
    };
    Ok(Described { config, diff_ids, created: parsed.created().clone() })
}

/// Checks that a manifest has as many layers as its configuration says.
pub fn agree(image: &str, layers: usize, described: &Described) -> Result<(), ImageError> {
    if layers == described.diff_ids.len() {
        return Ok(());
    }
    let reason = format!("{layers} layers, but its configuration lists {}", described.diff_ids.len());
    Err(invalid(image, "its manifest", reason))
}

fn count(image: &str, layers: usize) -> Result<(), ImageError> {
    match layers {
        0 => {
            Err(invalid(image, "its manifest", "it has no layers, so it is not a container image".to_owned()))
        }
        n if n > limits::IMAGE_LAYERS => {
            Err(invalid(image, "its manifest", format!("{n} layers, above {}", limits::IMAGE_LAYERS)))
        }
        _ => Ok(()),
    }
}

fn platform(image: &str, found: String) -> ImageError {
    ImageError::Platform { image: image.to_owned(), wanted: format!("linux/{}", Arch::default()), found }
}

fn invalid(image: &str, what: &str, reason: String) -> ImageError {
    ImageError::Invalid { image: image.to_owned(), what: what.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(letter: &str) -> String {
        format!("sha256:{}", letter.repeat(64))
    }

    #[test]
    fn the_entry_of_this_machine_is_chosen() {
        let entry = |os: &str, arch: &str, letter: &str| {
            format!(
                r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{}","size":1,
                    "platform":{{"os":"{os}","architecture":"{arch}"}}}}"#,
                digest(letter)
            )
        };
        let here = Arch::default().to_string();
        let text =
            |entries: &[String]| format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(","));
        let both =
            text(&[entry("windows", &here, "a"), entry("linux", "s390x", "b"), entry("linux", &here, "c")]);
        let Document::Index(index) = parse("i", both.as_bytes()).unwrap() else { panic!("not an index") };
        assert_eq!(choose("i", &index).unwrap().digest().to_string(), digest("c"));

        let other = text(&[entry("linux", "s390x", "b")]);
        let Document::Index(index) = parse("i", other.as_bytes()).unwrap() else { panic!("not an index") };
        let error = choose("i", &index).unwrap_err().to_string();
        assert!(error.contains("it has linux/s390x"), "{error}");
    }

    #[test]
    fn an_image_without_layers_is_refused() {
        let text = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"x","digest":"{}","size":1}},"layers":[]}}"#,
            digest("a")
        );
        assert!(parse("i", text.as_bytes()).unwrap_err().to_string().contains("no layers"));
    }

    #[test]
    fn a_configuration_with_nulls_is_understood() {
        let text = format!(
            r#"{{"os":"linux","architecture":"{}","config":{{"Env":null,"Cmd":["sh"],"Entrypoint":null}},
                "rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
            Arch::default(),
            digest("a")
        );
        let described = describe("i", text.as_bytes()).unwrap();
        assert_eq!(described.config.cmd, ["sh"]);
        assert!(described.config.entrypoint.is_empty());
    }
}

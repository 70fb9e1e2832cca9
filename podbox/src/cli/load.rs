//! From manifest files to pods that can be run, or every reason why not.

use crate::api::identity::PodRef;
use crate::api::manifest::{self, Document, Object, Position};
use crate::api::rules::{Rules, meta, names};
use crate::api::{field, support};
use crate::clock;
use crate::node::record::PodRecord;
use crate::pod::sources::Sources;
use anyhow::{Context, anyhow, bail};
use k8s_openapi::api::core::v1::Pod;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The pods of all files. Their ConfigMaps and Secrets may lie in any of them.
pub fn load(files: &[PathBuf]) -> anyhow::Result<Vec<PodRecord>> {
    let mut loader = Loader::default();
    for file in files {
        match read(file) {
            Ok(bytes) => loader.decode(&file.display().to_string(), &bytes),
            Err(error) => loader.problems.push(format!("{error:#}")),
        }
    }
    loader.finish()
}

/// The pods of one manifest that is at hand; `name` is what errors call it.
pub fn from_bytes(name: &str, bytes: &[u8]) -> anyhow::Result<Vec<PodRecord>> {
    let mut loader = Loader::default();
    loader.decode(name, bytes);
    loader.finish()
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    if file == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes).context("reading standard input failed")?;
        return Ok(bytes);
    }
    fs::read(file).with_context(|| format!("reading {} failed", file.display()))
}

/// What was found so far, good and bad.
#[derive(Default)]
struct Loader {
    names: Vec<String>,
    sources: Sources,
    pods: BTreeMap<Name, (Position, Pod)>,
    problems: Vec<String>,
}

impl Loader {
    fn decode(&mut self, name: &str, bytes: &[u8]) {
        self.names.push(name.to_owned());
        match manifest::decode(name, bytes) {
            Ok(documents) => documents.into_iter().for_each(|document| self.add(document)),
            Err(error) => self.problems.extend(error.problems.iter().map(ToString::to_string)),
        }
    }

    fn add(&mut self, Document { position, object }: Document) {
        match object {
            Object::ConfigMap(map) => self.sources.add_config_map(&map),
            Object::Secret(mut secret) => {
                Rules::default(&mut *secret);
                self.sources.add_secret(&secret);
            }
            Object::Pod(pod) => match accept(*pod) {
                Ok((name, pod)) => self.add_pod(name, position, pod),
                Err(causes) => {
                    self.problems.extend(causes.iter().map(|cause| format!("{position}: {cause}")));
                }
            },
        }
    }

    fn add_pod(&mut self, name: Name, position: Position, pod: Pod) {
        if let Some((first, _)) = self.pods.get(&name) {
            let (namespace, name) = name;
            self.problems.push(format!("{position}: pod {namespace}/{name} is already in {first}"));
        } else {
            self.pods.insert(name, (position, pod));
        }
    }

    fn finish(self) -> anyhow::Result<Vec<PodRecord>> {
        if !self.problems.is_empty() {
            bail!("{}", self.problems.join("\npodbox: "));
        }
        if self.pods.is_empty() {
            bail!("there is no Pod in {}", self.names.join(", "));
        }
        let sources = Arc::new(self.sources);
        self.pods.into_iter().map(|(name, (_, pod))| record(name, pod, &sources)).collect()
    }
}

type Name = (String, String);

/// Defaulted and valid, and without a field that podbox does not honour; or every reason why not.
fn accept(mut pod: Pod) -> Result<(Name, Pod), Vec<String>> {
    Rules::default(&mut pod);
    let namespace = pod.metadata.namespace.get_or_insert_with(|| "default".into()).clone();
    let mut errors = meta::named(&pod.metadata, true, names::subdomain);
    pod.validate(&mut errors, &field::Path::ROOT);
    pod.validate_create(&mut errors, &field::Path::ROOT);
    let mut causes: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
    causes.extend(support::unsupported(&pod, support::Tokens::None).iter().map(ToString::to_string));
    if !causes.is_empty() {
        return Err(causes);
    }
    let name = pod.metadata.name.clone().unwrap_or_default();
    Ok(((namespace, name), pod))
}

fn record((namespace, name): Name, mut pod: Pod, sources: &Arc<Sources>) -> anyhow::Result<PodRecord> {
    let uid = uid().with_context(|| format!("giving pod {namespace}/{name} a uid failed"))?;
    pod.metadata.namespace = Some(namespace.clone());
    pod.metadata.uid = Some(uid.clone());
    let pod_ref = PodRef { namespace, name, uid };
    Ok(PodRecord::new(pod_ref, pod, Arc::new(Arc::clone(sources)), clock::wall()))
}

/// A random UUID, from the kernel.
fn uid() -> anyhow::Result<String> {
    const SOURCE: &str = "/proc/sys/kernel/random/uuid";
    let uid = fs::read_to_string(SOURCE).map_err(|error| anyhow!("reading {SOURCE}: {error}"))?;
    Ok(uid.trim().to_owned())
}

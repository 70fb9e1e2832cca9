//! A pod's volumes: emptyDirs, and the files of configMap, secret, downwardAPI and projected volumes with
//! their bytes. Pure; which volumes podbox has at all is `api::support`'s to say.

use super::compose::Context;
use super::environ;
use super::sources::Entries;
use crate::api::quantity::Quantity;
use crate::sandbox::spec::{EmptyDir, FileVolume, VolumeFile};
use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, Volume, VolumeProjection};

/// Permission bits of a volume's files where nothing says otherwise.
const MODE: i32 = 0o644;

/// The pod's emptyDir volumes; a volume that names no source is one.
pub fn empty_dirs(volumes: &[Volume]) -> Vec<EmptyDir> {
    let empty = volumes.iter().filter_map(|volume| {
        let source = volume.empty_dir.as_ref()?;
        let limit = source.size_limit.as_ref().and_then(|limit| Quantity::parse(&limit.0).ok());
        Some(EmptyDir {
            name: volume.name.clone(),
            memory: source.medium.as_deref() == Some("Memory"),
            size_limit: limit.and_then(|limit| u64::try_from(limit.value()).ok()).filter(|bytes| *bytes > 0),
        })
    });
    empty.collect()
}

/// The pod's volumes of files.
pub fn file_volumes(volumes: &[Volume], context: &Context<'_>) -> Result<Vec<FileVolume>, String> {
    let mut found = Vec::new();
    for volume in volumes {
        if let Some(files) = files(volume, context).map_err(|error| failed(volume, &error))? {
            let mut files = files;
            // Upstream lets a later source of the same path win.
            files.reverse();
            let mut seen = std::collections::BTreeSet::new();
            files.retain(|file: &VolumeFile| seen.insert(file.path.clone()));
            files.reverse();
            let memory = volume.config_map.is_none();
            found.push(FileVolume { name: volume.name.clone(), memory, files });
        }
    }
    Ok(found)
}

fn failed(volume: &Volume, error: &str) -> String {
    format!("MountVolume.SetUp failed for volume \"{}\" : {error}", volume.name)
}

fn files(volume: &Volume, context: &Context<'_>) -> Result<Option<Vec<VolumeFile>>, String> {
    if let Some(source) = &volume.config_map {
        let found = context.scope.config_map(&source.name, source.optional)?;
        let mode = source.default_mode.unwrap_or(MODE);
        return project(found, source.items.as_deref(), mode, source.optional).map(Some);
    }
    if let Some(source) = &volume.secret {
        let name = source.secret_name.as_deref().unwrap_or_default();
        let found = context.scope.secret(name, source.optional)?;
        let mode = source.default_mode.unwrap_or(MODE);
        return project(found, source.items.as_deref(), mode, source.optional).map(Some);
    }
    if let Some(source) = &volume.downward_api {
        let mode = source.default_mode.unwrap_or(MODE);
        return downward(source.items.as_deref().unwrap_or_default(), mode, context).map(Some);
    }
    if let Some(source) = &volume.projected {
        let mode = source.default_mode.unwrap_or(MODE);
        let mut files = Vec::new();
        for source in source.sources.iter().flatten() {
            files.extend(projection(source, mode, context)?);
        }
        return Ok(Some(files));
    }
    Ok(None)
}

fn projection(
    source: &VolumeProjection,
    mode: i32,
    context: &Context<'_>,
) -> Result<Vec<VolumeFile>, String> {
    if let Some(source) = &source.config_map {
        let found = context.scope.config_map(&source.name, source.optional)?;
        return project(found, source.items.as_deref(), mode, source.optional);
    }
    if let Some(source) = &source.secret {
        let found = context.scope.secret(&source.name, source.optional)?;
        return project(found, source.items.as_deref(), mode, source.optional);
    }
    if let Some(source) = &source.service_account_token {
        return Ok(vec![file(&source.path, context.scope.token()?.to_vec(), mode)]);
    }
    match &source.downward_api {
        Some(source) => downward(source.items.as_deref().unwrap_or_default(), mode, context),
        None => Ok(Vec::new()),
    }
}

/// Every entry under its key, or those that `items` names under its path.
fn project(
    found: Option<&Entries>,
    items: Option<&[KeyToPath]>,
    mode: i32,
    optional: Option<bool>,
) -> Result<Vec<VolumeFile>, String> {
    let Some(found) = found else { return Ok(Vec::new()) };
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        let all = found.entries.iter();
        return Ok(all.map(|(key, bytes)| file(key, bytes.clone(), mode)).collect());
    };
    let mut files = Vec::new();
    for item in items {
        match found.entries.get(&item.key) {
            Some(bytes) => files.push(file(&item.path, bytes.clone(), item.mode.unwrap_or(mode))),
            None if optional == Some(true) => {}
            None => return Err(format!("references non-existent config key: {}", item.key)),
        }
    }
    Ok(files)
}

fn downward(
    items: &[DownwardAPIVolumeFile],
    mode: i32,
    context: &Context<'_>,
) -> Result<Vec<VolumeFile>, String> {
    let mut files = Vec::new();
    for item in items {
        let text = match (&item.field_ref, &item.resource_field_ref) {
            (Some(reference), _) => environ::field(reference, context)?,
            (None, Some(reference)) => environ::resource(reference, None, context)?,
            (None, None) => return Err(format!("the item {} names no field", item.path)),
        };
        files.push(file(&item.path, text.into_bytes(), item.mode.unwrap_or(mode)));
    }
    Ok(files)
}

fn file(path: &str, bytes: Vec<u8>, mode: i32) -> VolumeFile {
    VolumeFile { path: path.to_owned(), bytes, mode: mode as u32 & 0o777 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::admission;
    use crate::pod::compose::{NodeFacts, sandbox};
    use crate::pod::sources::Sources;
    use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
    use serde_json::json;

    fn facts() -> NodeFacts {
        NodeFacts {
            node_name: "n".into(),
            host_ip: [192, 0, 2, 1].into(),
            pod_cidr: "10.0.0.1/24".parse().unwrap(),
            resolver: Default::default(),
            cluster_dns: Default::default(),
            hosts: String::new(),
            log_dir: "/logs".into(),
            cpu_milli: 1000,
            memory_bytes: 1 << 30,
        }
    }

    #[test]
    fn the_volume_that_every_pod_gets_has_token_certificate_and_namespace() {
        let mut pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "a", "uid": "u"},
            "spec": {"containers": [{"name": "c", "image": "i"}]},
        }))
        .unwrap();
        admission::service_account(&mut pod, &ServiceAccount::default(), "kube-api-access-abcde");
        let mut sources = Sources::default();
        let map =
            json!({"metadata": {"name": "kube-root-ca.crt", "namespace": "a"}, "data": {"ca.crt": "C"}});
        sources.add_config_map(&serde_json::from_value(map).unwrap());
        let error = sandbox(&pod, &sources, &facts(), None).unwrap_err();
        assert!(
            error.message.contains("kube-api-access-abcde") && error.message.contains("token"),
            "{error:?}"
        );

        sources.set_token("s3cret".into());
        assert!(!format!("{sources:?}").contains("s3cret"));
        let volume = sandbox(&pod, &sources, &facts(), None).unwrap().file_volumes.remove(0);
        let told = |file: &VolumeFile| (file.path.clone(), String::from_utf8_lossy(&file.bytes).into_owned());
        let files: Vec<_> = volume.files.iter().map(told).collect();
        let expected = [("token", "s3cret"), ("ca.crt", "C"), ("namespace", "a")];
        assert_eq!(files, expected.map(|(path, text)| (path.to_owned(), text.to_owned())));
        assert!(volume.memory && volume.files.iter().all(|file| file.mode == 0o644));
    }
}

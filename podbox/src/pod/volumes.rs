//! A pod's volumes: emptyDirs, the host's files and directories, and the files of configMap, secret, downwardAPI and
//! projected volumes with their bytes. Pure; which volumes podbox has at all is `api::support`'s to say.

use super::compose::Context;
use super::environ;
use super::references::{self, ClaimRef};
use super::sources::{Entries, Place};
use crate::api::plugin::Plugin;
use crate::api::quantity::Quantity;
use crate::limits;
use crate::sandbox::spec::{EmptyDir, FileVolume, FsGroup, HostKind, HostVolume, VolumeFile};
use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, PodSpec, Volume, VolumeProjection};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Permission bits of a volume's files where nothing says otherwise.
const MODE: i32 = 0o644;
/// Those of a token that is for one user or group.
const TOKEN_MODE: i32 = 0o600;

/// The pod's emptyDir volumes. One in memory has at most what the pod may have: `memory` bytes.
pub fn empty_dirs(volumes: &[Volume], memory: u64) -> Vec<EmptyDir> {
    let empty = volumes.iter().filter_map(|volume| {
        let source = volume.empty_dir.as_ref()?;
        let limit = source.size_limit.as_ref().and_then(|limit| Quantity::parse(&limit.0).ok());
        let limit = limit.and_then(|limit| u64::try_from(limit.value()).ok()).filter(|bytes| *bytes > 0);
        let in_memory = source.medium.as_deref() == Some("Memory");
        let size_limit =
            if in_memory { Some(limit.map_or(memory, |limit| limit.min(memory))) } else { limit };
        Some(EmptyDir { name: volume.name.clone(), memory: in_memory, size_limit })
    });
    empty.collect()
}

/// What the pod's volumes are of the host; the first failure, in the kubelet's words.
pub fn host_volumes(volumes: &[Volume], context: &Context<'_>) -> Result<Vec<HostVolume>, String> {
    let mut all = Vec::new();
    for volume in volumes {
        let name = volume.name.clone();
        if let Some(source) = &volume.host_path {
            let kind = host_kind(source.type_.as_deref().unwrap_or_default());
            all.push(HostVolume { name, path: PathBuf::from(&source.path), kind, owned: false });
        } else if let Some(claim) = claim_of(volume, context) {
            let place =
                context.scope.claim(&claim).map_err(|why| unclaimed(volume, &claim, context, &why))?;
            let Place { path, kind, owned } = place.clone();
            all.push(HostVolume { name, path, kind, owned });
        }
    }
    Ok(all)
}

/// The claim behind a volume.
fn claim_of(volume: &Volume, context: &Context<'_>) -> Option<ClaimRef> {
    if let Some(source) = &volume.persistent_volume_claim {
        return Some(ClaimRef { name: source.claim_name.clone(), own: false });
    }
    volume.ephemeral.as_ref()?;
    let pod = context.pod.metadata.name.as_deref().unwrap_or_default();
    Some(ClaimRef { name: references::ephemeral_claim(pod, &volume.name), own: true })
}

fn unclaimed(volume: &Volume, claim: &ClaimRef, context: &Context<'_>, why: &str) -> String {
    let (volume, namespace) = (&volume.name, context.scope.namespace);
    format!(
        "Unable to attach or mount volumes: unmounted volumes=[{volume}], unattached volumes=[], failed to process \
         volumes=[{volume}]: error processing PVC {namespace}/{}: {why}",
        claim.name
    )
}

/// What hostPath.type asks for; validation let no other words in.
pub fn host_kind(word: &str) -> HostKind {
    match word {
        "DirectoryOrCreate" => HostKind::DirectoryOrCreate,
        "Directory" => HostKind::Directory,
        "FileOrCreate" => HostKind::FileOrCreate,
        "File" => HostKind::File,
        "Socket" => HostKind::Socket,
        "CharDevice" => HostKind::CharDevice,
        "BlockDevice" => HostKind::BlockDevice,
        _ => HostKind::Any,
    }
}

/// securityContext.fsGroup and its policy.
pub fn fs_group(spec: &PodSpec) -> Option<FsGroup> {
    let security = spec.security_context.as_ref()?;
    let gid = u32::try_from(security.fs_group?).ok()?;
    let trust_root = security.fs_group_change_policy.as_deref() == Some("OnRootMismatch");
    Some(FsGroup { gid, trust_root })
}

/// The one user that all containers run as, if the manifest says so of each.
fn only_user(context: &Context<'_>) -> Option<u32> {
    let spec = context.pod.spec.as_ref()?;
    let of_pod = spec.security_context.as_ref().and_then(|security| security.run_as_user);
    let users: Option<BTreeSet<i64>> = context
        .containers()
        .map(|container| {
            container.security_context.as_ref().and_then(|security| security.run_as_user).or(of_pod)
        })
        .collect();
    let users = users?;
    if users.len() == 1 { u32::try_from(*users.first()?).ok() } else { None }
}

/// Each of the pod's volumes of files; for one that cannot be filled the reason, in the kubelet's words.
pub fn file_volumes(volumes: &[Volume], context: &Context<'_>) -> Vec<Result<FileVolume, String>> {
    let mut room = Room(limits::POD_FILES);
    let one = |volume: &Volume| match files(volume, context, &mut room) {
        Ok(files) => files.map(|files| Ok(file_volume(volume, files))),
        Err(error) => Some(Err(format!("MountVolume.SetUp failed for volume \"{}\" : {error}", volume.name))),
    };
    volumes.iter().filter_map(one).collect()
}

/// What a pod's files may still take. A manifest can name one object's bytes a hundred thousand times, and what is made of
/// that lies in the node's memory, which no pod is charged for.
struct Room(usize);

impl Room {
    fn take(&mut self, bytes: usize) -> Result<(), String> {
        let left = self.0.checked_sub(bytes.saturating_add(limits::POD_FILE));
        self.0 = left.ok_or_else(|| {
            format!("the files of the pod's volumes take more than {} bytes", limits::POD_FILES)
        })?;
        Ok(())
    }
}

fn file_volume(volume: &Volume, mut files: Vec<VolumeFile>) -> FileVolume {
    // Upstream lets a later source of the same path win.
    files.reverse();
    let mut seen = BTreeSet::new();
    files.retain(|file: &VolumeFile| seen.insert(file.path.clone()));
    files.reverse();
    let plugin = match volume {
        Volume { config_map: Some(_), .. } => Plugin::ConfigMap,
        Volume { downward_api: Some(_), .. } => Plugin::DownwardApi,
        Volume { secret: Some(_), .. } => Plugin::Secret,
        _ => Plugin::Projected,
    };
    let memory = plugin != Plugin::ConfigMap;
    FileVolume { name: volume.name.clone(), plugin: Some(plugin), memory, files }
}

/// Whether a volume is made of files, which containers cannot write.
pub fn is_files(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.downward_api.is_some()
        || volume.projected.is_some()
}

fn files(volume: &Volume, context: &Context<'_>, room: &mut Room) -> Result<Option<Vec<VolumeFile>>, String> {
    if let Some(source) = &volume.config_map {
        let found = context.scope.config_map(&source.name, source.optional)?;
        let mode = source.default_mode.unwrap_or(MODE);
        let from = (found, source.items.as_deref());
        return project(from, mode, source.optional, NO_KEY, room).map(Some);
    }
    if let Some(source) = &volume.secret {
        let name = source.secret_name.as_deref().unwrap_or_default();
        let found = context.scope.secret(name, source.optional)?;
        let mode = source.default_mode.unwrap_or(MODE);
        let from = (found, source.items.as_deref());
        return project(from, mode, source.optional, NO_SECRET_KEY, room).map(Some);
    }
    if let Some(source) = &volume.downward_api {
        let mode = source.default_mode.unwrap_or(MODE);
        return downward(source.items.as_deref().unwrap_or_default(), mode, context, room).map(Some);
    }
    if let Some(source) = &volume.projected {
        let mode = source.default_mode.unwrap_or(MODE);
        let mut files = Vec::new();
        for source in source.sources.iter().flatten() {
            files.extend(projection(source, mode, context, room)?);
        }
        return Ok(Some(files));
    }
    Ok(None)
}

/// How a key that is not there is told.
const NO_KEY: &str = "configmap references non-existent config key";
/// The same of a Secret.
const NO_SECRET_KEY: &str = "references non-existent secret key";

fn projection(
    source: &VolumeProjection,
    mode: i32,
    context: &Context<'_>,
    room: &mut Room,
) -> Result<Vec<VolumeFile>, String> {
    if let Some(source) = &source.config_map {
        let found = context.scope.config_map(&source.name, source.optional)?;
        let from = (found, source.items.as_deref());
        return project(from, mode, source.optional, NO_KEY, room);
    }
    if let Some(source) = &source.secret {
        let found = context.scope.secret(&source.name, source.optional)?;
        let from = (found, source.items.as_deref());
        return project(from, mode, source.optional, NO_SECRET_KEY, room);
    }
    if let Some(source) = &source.service_account_token {
        let wanted = references::wanted(source.audience.as_deref(), source.expiration_seconds);
        let owner = only_user(context);
        let grouped = context.pod.spec.as_ref().and_then(fs_group).is_some();
        let mode = if owner.is_some() || grouped { TOKEN_MODE } else { mode };
        let bytes = context.scope.token(&wanted)?.to_vec();
        room.take(bytes.len())?;
        return Ok(vec![VolumeFile { owner, ..file(&source.path, bytes, mode) }]);
    }
    match &source.downward_api {
        Some(source) => downward(source.items.as_deref().unwrap_or_default(), mode, context, room),
        None => Ok(Vec::new()),
    }
}

/// Every entry under its key, or those that `items` names under its path.
fn project(
    (found, items): (Option<&Entries>, Option<&[KeyToPath]>),
    mode: i32,
    optional: Option<bool>,
    missing: &str,
    room: &mut Room,
) -> Result<Vec<VolumeFile>, String> {
    let Some(found) = found else { return Ok(Vec::new()) };
    let mut files = Vec::new();
    let mut add = |path: &str, bytes: &Vec<u8>, mode: i32| -> Result<(), String> {
        room.take(bytes.len())?;
        files.push(file(path, bytes.clone(), mode));
        Ok(())
    };
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        found.all().try_for_each(|(key, bytes)| add(key, bytes, mode))?;
        return Ok(files);
    };
    for item in items {
        match found.get(&item.key) {
            Some(bytes) => add(&item.path, bytes, item.mode.unwrap_or(mode))?,
            None if optional == Some(true) => {}
            None => return Err(format!("{missing}: {}", item.key)),
        }
    }
    Ok(files)
}

fn downward(
    items: &[DownwardAPIVolumeFile],
    mode: i32,
    context: &Context<'_>,
    room: &mut Room,
) -> Result<Vec<VolumeFile>, String> {
    let mut files = Vec::new();
    for item in items {
        let text = match (&item.field_ref, &item.resource_field_ref) {
            (Some(reference), _) => environ::field(reference, context)?,
            (None, Some(reference)) => environ::resource(reference, None, context)?,
            (None, None) => return Err(format!("the item {} names no field", item.path)),
        };
        room.take(text.len())?;
        files.push(file(&item.path, text.into_bytes(), item.mode.unwrap_or(mode)));
    }
    Ok(files)
}

fn file(path: &str, bytes: Vec<u8>, mode: i32) -> VolumeFile {
    VolumeFile { path: path.to_owned(), bytes, mode: mode as u32 & 0o777, owner: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::admission;
    use crate::pod::compose::{HostNames, NodeFacts, sandbox};
    use crate::pod::sources::Sources;
    use crate::sandbox::spec::Seccomp;
    use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
    use serde_json::json;

    fn facts() -> NodeFacts {
        NodeFacts {
            node_name: "n".into(),
            host_ip: [192, 0, 2, 1].into(),
            pod_cidr: "10.0.0.1/24".parse().unwrap(),
            cluster_dns: Default::default(),
            log_dir: "/logs".into(),
            cpu_milli: 1000,
            memory_bytes: 1 << 30,
            allocatable: Default::default(),
            seccomp_default: Seccomp::RuntimeDefault,
            memory_qos: false,
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
        let error = sandbox(&pod, &sources, &facts(), &HostNames::default(), None).unwrap_err();
        assert!(
            error.message.contains("kube-api-access-abcde") && error.message.contains("token"),
            "{error:?}"
        );

        sources.set_token(references::wanted(None, Some(3607)), Ok("s3cret".into()));
        assert!(!format!("{sources:?}").contains("s3cret"));
        let volume =
            sandbox(&pod, &sources, &facts(), &HostNames::default(), None).unwrap().file_volumes.remove(0);
        let told = |file: &VolumeFile| (file.path.clone(), String::from_utf8_lossy(&file.bytes).into_owned());
        let files: Vec<_> = volume.files.iter().map(told).collect();
        let expected = [("token", "s3cret"), ("ca.crt", "C"), ("namespace", "a")];
        assert_eq!(files, expected.map(|(path, text)| (path.to_owned(), text.to_owned())));
        assert!(volume.memory && volume.files.iter().all(|file| file.mode == 0o644));
    }
}

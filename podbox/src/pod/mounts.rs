//! Which volume is mounted where in a container. Pure.

use super::compose::config_error;
use super::environ;
use super::observed::StartFailure;
use crate::sandbox::spec::{Mount, MountSource};
use k8s_openapi::api::core::v1::{Container, PodSpec, VolumeMount};
use std::path::PathBuf;

/// The mounts of a container; `own` are its variables.
pub fn of_container(
    spec: &PodSpec,
    container: &Container,
    own: &environ::Environment,
) -> Result<Vec<Mount>, StartFailure> {
    container.volume_mounts.iter().flatten().map(|mount| one_mount(spec, mount, own)).collect()
}

fn one_mount(spec: &PodSpec, mount: &VolumeMount, own: &environ::Environment) -> Result<Mount, StartFailure> {
    let volume = spec.volumes.iter().flatten().find(|volume| volume.name == mount.name);
    let volume = volume.ok_or_else(|| config_error(format!("volume {} not found", mount.name)))?;
    let sub_path = match mount.sub_path_expr.as_deref().filter(|expr| !expr.is_empty()) {
        Some(expr) => own.expand(expr),
        None => mount.sub_path.clone().unwrap_or_default(),
    };
    // What a variable expands to was not seen by validation.
    if sub_path.starts_with('/') || sub_path.split('/').any(|part| part == "..") {
        return Err(config_error(format!("subPath {sub_path:?} of volume {} leaves it", mount.name)));
    }
    let source = match &volume.host_path {
        Some(host) => MountSource::Host(PathBuf::from(&host.path)),
        None => MountSource::Volume(volume.name.clone()),
    };
    let is_files = volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.downward_api.is_some()
        || volume.projected.is_some();
    Ok(Mount {
        source,
        target: mount.mount_path.clone(),
        sub_path,
        // Upstream mounts volumes of files read-only, whatever the manifest says.
        read_only: is_files || mount.read_only.unwrap_or(false),
    })
}

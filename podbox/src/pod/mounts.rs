//! Which volume is mounted where in a container. Pure.

use super::compose::config_error;
use super::environ::Environment;
use super::observed::StartFailure;
use super::volumes;
use crate::sandbox::spec::{Mount, MountSource, Propagation, ReadOnly};
use k8s_openapi::api::core::v1::{Container, PodSpec, Volume, VolumeMount};

/// The mounts of a container; `own` are its variables.
pub fn of_container(
    spec: &PodSpec,
    container: &Container,
    own: &Environment,
) -> Result<Vec<Mount>, StartFailure> {
    container.volume_mounts.iter().flatten().map(|mount| one(spec, mount, own)).collect()
}

fn one(spec: &PodSpec, mount: &VolumeMount, own: &Environment) -> Result<Mount, StartFailure> {
    let volume = spec.volumes.iter().flatten().find(|volume| volume.name == mount.name);
    let volume = volume.ok_or_else(|| config_error(format!("volume {} not found", mount.name)))?;
    Ok(Mount {
        source: MountSource::Volume(volume.name.clone()),
        target: mount.mount_path.clone(),
        sub_path: sub_path(mount, own).map_err(config_error)?,
        read_only: read_only(volume, mount),
        propagation: match mount.mount_propagation.as_deref() {
            Some("HostToContainer") => Propagation::HostToContainer,
            Some("Bidirectional") => Propagation::Bidirectional,
            _ => Propagation::None,
        },
    })
}

fn read_only(volume: &Volume, mount: &VolumeMount) -> ReadOnly {
    let claim = volume.persistent_volume_claim.as_ref().and_then(|claim| claim.read_only) == Some(true);
    // Upstream mounts volumes of files read-only, whatever the manifest says.
    match volumes::is_files(volume) || claim || mount.read_only == Some(true) {
        false => ReadOnly::No,
        // Every kernel that podbox runs on can do it, so what is only wished for is done.
        true if matches!(mount.recursive_read_only.as_deref(), Some("Enabled" | "IfPossible")) => {
            ReadOnly::Recursive
        }
        true => ReadOnly::Top,
    }
}

/// What variables expand to was not seen by validation, so it is judged here, in the kubelet's words.
fn sub_path(mount: &VolumeMount, own: &Environment) -> Result<String, String> {
    let path = match mount.sub_path_expr.as_deref().filter(|expr| !expr.is_empty()) {
        Some(expr) => own.expand_all(expr)?,
        None => mount.sub_path.clone().unwrap_or_default(),
    };
    if path.starts_with('/') {
        return Err(format!("error SubPath `{path}` must not be an absolute path"));
    }
    if path.split('/').any(|part| part == "..") {
        return Err(format!("unable to provision SubPath `{path}`: must not contain '..'"));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn mount(fields: serde_json::Value) -> Result<Mount, String> {
        let mut all = json!({"name": "v", "mountPath": "/v"});
        all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let spec = json!({"containers": [], "volumes": [{"name": "v", "emptyDir": {}}]});
        let mut own = Environment::default();
        own.set("NAME", "a".into());
        own.set("EMPTY", String::new());
        own.set("UP", "..".into());
        let (spec, all) = (serde_json::from_value(spec).unwrap(), serde_json::from_value(all).unwrap());
        one(&spec, &all, &own).map_err(|failure| format!("{}: {}", failure.reason, failure.message))
    }

    #[test]
    fn sub_paths_expand_or_say_in_upstreams_words_why_not() {
        let path = |expr: &str| mount(json!({"subPathExpr": expr})).map(|mount| mount.sub_path);
        assert_eq!(path("x/$(NAME)"), Ok("x/a".into()));
        let config = |why: &str| Err(format!("CreateContainerConfigError: {why}"));
        assert_eq!(path("$(NAME)/$(EMPTY)$(NOT)"), config("missing value for EMPTY, NOT"));
        assert_eq!(path("/$(NAME)"), config("error SubPath `/a` must not be an absolute path"));
        assert_eq!(path("$(UP)/b"), config("unable to provision SubPath `../b`: must not contain '..'"));
    }

    #[test]
    fn read_only_is_of_the_top_unless_more_is_asked_for() {
        let got = |fields| mount(fields).unwrap().read_only;
        assert_eq!(got(json!({})), ReadOnly::No);
        assert_eq!(got(json!({"readOnly": true})), ReadOnly::Top);
        assert_eq!(got(json!({"readOnly": true, "recursiveReadOnly": "Disabled"})), ReadOnly::Top);
        assert_eq!(got(json!({"readOnly": true, "recursiveReadOnly": "IfPossible"})), ReadOnly::Recursive);
    }
}

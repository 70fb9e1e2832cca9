//! Where a pod's volumes are, and the steps that make them.
//!
//! A volume of files is filled in one step, which an update of its files repeats: see [`refill`].

use super::{Facts, PlanError, check_name};
use crate::api::plugin::Plugin;
use crate::sandbox::spec::{FileVolume, SandboxSpec};
use crate::sandbox::step::Step;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// A volume: where it is, and the steps that make it.
pub(super) struct Volume<'a> {
    pub(super) name: &'a str,
    plugin: Option<Plugin>,
    pub(super) path: PathBuf,
    pub(super) steps: Vec<Step>,
}

/// All volumes of a pod.
pub(super) fn volumes<'a>(spec: &'a SandboxSpec, facts: &Facts) -> Result<Vec<Volume<'a>>, PlanError> {
    let (run, state) = (facts.pod_run(&spec.pod), facts.pod_state(&spec.pod));
    let mut all = Vec::new();
    let own = |path: &PathBuf| spec.fs_group.map(|group| Step::GiveGroup { path: path.clone(), group });
    for dir in &spec.empty_dirs {
        check_name("volume", &dir.name)?;
        // Every user of the pod may write there.
        let (base, mode) = (if dir.memory { &run } else { &state }, 0o777);
        let path = directory(base, &dir.name);
        let made = match dir.memory {
            true => {
                let (target, size) = (path.clone(), dir.size_limit);
                Step::MountTmpfs { target, size, mode, exec: true, swap: true }
            }
            false => Step::MakeDirectory { path: path.clone(), mode },
        };
        let steps = std::iter::once(made).chain(own(&path)).collect();
        all.push(Volume { name: &dir.name, plugin: Some(Plugin::EmptyDir), path, steps });
    }
    for volume in &spec.file_volumes {
        check_name("volume", &volume.name)?;
        let (path, mode) = (directory(&run, &volume.name), 0o777);
        let made = match volume.memory {
            // What is only to be in memory is not to reach a disk by way of swap.
            true => Step::MountTmpfs { target: path.clone(), size: None, mode, exec: true, swap: false },
            false => Step::MakeDirectory { path: path.clone(), mode },
        };
        let steps = vec![made, fill(volume, spec, path.clone())?];
        all.push(Volume { name: &volume.name, plugin: volume.plugin, path, steps });
    }
    for volume in &spec.host_volumes {
        check_name("volume", &volume.name)?;
        let path = volume.path.clone();
        let steps = own(&path).filter(|_| volume.owned).into_iter().collect();
        let plugin = Some(if volume.owned { Plugin::Local } else { Plugin::HostPath });
        all.push(Volume { name: &volume.name, plugin, path, steps });
    }
    Ok(all)
}

/// What makes each of a pod's volumes, by where it is.
pub fn plugins(spec: &SandboxSpec, facts: &Facts) -> Result<BTreeMap<PathBuf, Plugin>, PlanError> {
    let volumes = volumes(spec, facts)?.into_iter();
    Ok(volumes.filter_map(|volume| Some((volume.path, volume.plugin?))).collect())
}

fn directory(base: &Path, name: &str) -> PathBuf {
    base.join(format!("volume-{name}"))
}

fn fill(volume: &FileVolume, spec: &SandboxSpec, path: PathBuf) -> Result<Step, PlanError> {
    volume.files.iter().try_for_each(|file| check_inside(&volume.name, &file.path))?;
    let group = spec.fs_group.map(|group| group.gid);
    Ok(Step::FillVolume { path, files: volume.files.clone(), memory: volume.memory, group })
}

/// The step that gives a volume of a sandbox other files.
pub fn refill(volume: &FileVolume, spec: &SandboxSpec, facts: &Facts) -> Result<Step, PlanError> {
    check_name("volume", &volume.name)?;
    let path = directory(&facts.pod_run(&spec.pod), &volume.name);
    fill(volume, spec, path)
}

/// A file's path lies in its volume, and is none of the names by which files are swapped.
fn check_inside(volume: &str, path: &str) -> Result<(), PlanError> {
    let normal = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    if path.is_empty() || !normal || path.starts_with("..") {
        return Err(PlanError::Path { volume: volume.into(), path: path.into() });
    }
    Ok(())
}

//! How long work on cgroups and volumes took, by the names by which a kubelet tells it. A kubelet leaves containers' cgroups to its
//! runtime; here those of pods and of containers are told alike.

use crate::api::plugin::Plugin;
use crate::{clock, metrics};
use std::time::Duration;

/// What is done to a cgroup.
#[derive(Clone, Copy, Debug)]
pub enum OnCgroup {
    Create,
    Update,
    Destroy,
}

/// What is done to a volume.
#[derive(Clone, Copy, Debug)]
pub enum OnVolume {
    Mount,
    Unmount,
    /// As a part of mounting it.
    GiveGroup,
}

/// Does it to a cgroup, well or not.
pub fn cgroup<T>(what: OnCgroup, work: impl FnOnce() -> T) -> T {
    let word = match what {
        OnCgroup::Create => "create",
        OnCgroup::Update => "update",
        OnCgroup::Destroy => "destroy",
    };
    let began = clock::boot();
    let done = work();
    let took = clock::boot().saturating_sub(began);
    ::metrics::histogram!(metrics::CGROUP_SECONDS, "operation_type" => word).record(took);
    done
}

/// It was done to a volume, or could not be.
pub fn volume(what: OnVolume, plugin: Plugin, well: bool, took: Duration) {
    let word = match what {
        OnVolume::Mount => "volume_mount",
        OnVolume::Unmount => "volume_unmount",
        OnVolume::GiveGroup => "volume_fsgroup_recursive_apply",
    };
    let status = if well { "success" } else { "fail-unknown" };
    let labels = [
        ("volume_plugin", plugin.name()),
        ("operation_name", word),
        ("status", status),
        ("migrated", "false"),
    ];
    ::metrics::histogram!(metrics::STORAGE_SECONDS, &labels).record(took);
}

//! What a kubelet tells of itself at `/metrics`: its node and version, the process that it is, and how full its pods' claims are.
//!
//! What it has started and how long that took is counted where it happens; what runs is told by the pods' views.

use super::super::api::version;
use crate::api::object;
use crate::api::plugin::Plugin;
use crate::api::process::Stat;
use crate::metrics;
use crate::metrics::text::{Page, Series, labels};
use crate::pod::glance;
use crate::store::{Key, Store};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::{Statvfs, statvfs};
use nix::unistd::{SysconfVar, sysconf};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

/// What upstream calls what makes a volume, by its field.
const PLUGINS: [(&str, Plugin); 7] = [
    ("configMap", Plugin::ConfigMap),
    ("downwardAPI", Plugin::DownwardApi),
    ("emptyDir", Plugin::EmptyDir),
    ("hostPath", Plugin::HostPath),
    ("persistentVolumeClaim", Plugin::Local),
    ("projected", Plugin::Projected),
    ("secret", Plugin::Secret),
];

/// Writes all of it.
pub fn write(page: &mut Page, store: &Store, node: &str) {
    page.row(metrics::NODE_NAME).info(&[("node", node)]);
    let (git_version, major, minor) = version();
    let of = [("git_version", &*git_version), ("major", major), ("minor", minor), ("platform", "linux")];
    page.row(metrics::BUILD_INFO).info(&of);
    let pods = store.list("/pods", None, None, 0, None).map(|found| found.entries).unwrap_or_default();
    let own = glance::on_node(&pods, node);
    let mut pods: Vec<Value> = own.filter_map(|entry| serde_json::from_slice(&entry.bytes).ok()).collect();
    pods.retain(|pod| matches!(pod["status"]["phase"].as_str(), Some("Running" | "Pending")));
    mounted(page, &pods);
    claimed(page, &pods, store);
}

/// How many volumes these pods have, and should have, by what upstream calls their plugins.
fn mounted(page: &mut Page, pods: &[Value]) {
    // Of each plugin, those that there are, and those that there should be.
    let mut volumes: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for pod in pods {
        let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        let made =
            conditions.any(|one| one["type"] == "PodReadyToStartContainers" && one["status"] == "True");
        for volume in pod["spec"]["volumes"].as_array().into_iter().flatten() {
            if let Some((_, plugin)) = PLUGINS.iter().find(|(kind, _)| !volume[kind].is_null()) {
                let (actual, desired) = volumes.entry(plugin.name()).or_default();
                *actual += u64::from(made);
                *desired += 1;
            }
        }
    }
    let mut series = page.row(metrics::VOLUMES);
    for (plugin, (actual, desired)) in volumes {
        series.with(&[("plugin_name", plugin), ("state", "actual_state_of_world")], actual);
        series.with(&[("plugin_name", plugin), ("state", "desired_state_of_world")], desired);
    }
}

/// How full the claims are that these pods have: as full as the file systems that they lie in, as of a kubelet's local volumes.
fn claimed(page: &mut Page, pods: &[Value], store: &Store) {
    let mut claims = BTreeSet::new();
    for pod in pods {
        for volume in pod["spec"]["volumes"].as_array().into_iter().flatten() {
            if let Some(claim) = volume["persistentVolumeClaim"]["claimName"].as_str() {
                claims.insert((object::namespace(pod).to_owned(), claim.to_owned()));
            }
        }
    }
    let found = |(namespace, claim): &(String, String)| {
        let read =
            |collection, key: Key| serde_json::from_slice::<Value>(&store.get(collection, &key)?.bytes).ok();
        let bound = read("/persistentvolumeclaims", Key::new(namespace, claim))?;
        let volume = read("/persistentvolumes", Key::new("", bound["spec"]["volumeName"].as_str()?))?;
        let path = ["local", "hostPath"].iter().find_map(|kind| volume["spec"][kind]["path"].as_str())?;
        let room = statvfs(path).ok()?;
        Some((labels(&[("namespace", namespace), ("persistentvolumeclaim", claim)]), room))
    };
    let rooms: Vec<(String, Statvfs)> = claims.iter().filter_map(found).collect();
    let mut tell = |name, of: fn(&Statvfs) -> u64| {
        let each = rooms.iter().map(|(own, room)| (own.as_str(), room));
        page.rows(name, each, |room: &Statvfs, series: &mut Series<'_>| series.one(of(room)));
    };
    tell(metrics::VOLUME_CAPACITY, |room| room.blocks() * room.fragment_size());
    tell(metrics::VOLUME_AVAILABLE, |room| room.blocks_available() * room.fragment_size());
    tell(metrics::VOLUME_USED, |room| (room.blocks() - room.blocks_free()) * room.fragment_size());
    tell(metrics::VOLUME_INODES, |room| room.files());
    tell(metrics::VOLUME_INODES_FREE, |room| room.files_free());
    tell(metrics::VOLUME_INODES_USED, |room| room.files().saturating_sub(room.files_free()));
}

/// This process, by the names that Prometheus' clients give.
pub fn process(page: &mut Page) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let stat = Stat::new(&stat);
    let field = |number| stat.and_then(|stat| stat.number(number)).unwrap_or(0);
    let of = |name| sysconf(name).ok().flatten().and_then(|value| u64::try_from(value).ok());
    let tick = Duration::from_secs(1) / u32::try_from(of(SysconfVar::CLK_TCK).unwrap_or(100)).unwrap_or(100);
    let time = |ticks: u64| tick * u32::try_from(ticks).unwrap_or(u32::MAX);
    page.row(metrics::PROCESS_CPU).one(time(field(14) + field(15)));
    page.row(metrics::PROCESS_VIRTUAL).one(field(23));
    page.row(metrics::PROCESS_RESIDENT).one(field(24) * of(SysconfVar::PAGE_SIZE).unwrap_or(4096));
    let booted = fs::read_to_string("/proc/stat").unwrap_or_default();
    let booted = booted.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<u64>().ok());
    if let Some(booted) = booted {
        page.row(metrics::PROCESS_START).one(Duration::from_secs(booted) + time(field(22)));
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        page.row(metrics::PROCESS_FILES).one(open.count());
    }
    if let Ok((most, _)) = getrlimit(Resource::RLIMIT_NOFILE) {
        page.row(metrics::PROCESS_FILES_MOST).one(most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn volumes_are_there_once_their_pod_is_made_ready() {
        let volumes = json!([{"name": "a", "emptyDir": {}}, {"name": "b", "emptyDir": {}}, {"name": "c", "secret": {}}]);
        let conditions = json!([{"type": "PodReadyToStartContainers", "status": "True"}]);
        let made = json!({"spec": {"volumes": volumes}, "status": {"conditions": conditions}});
        let coming =
            json!({"spec": {"volumes": [{"name": "a", "emptyDir": {}}, {"name": "b", "unheard": {}}]}});
        let mut page = Page::default();
        mounted(&mut page, &[made, coming]);
        let text = page.finish().0;
        let of = |plugin: &str, state: &str| {
            format!("{{plugin_name=\"kubernetes.io/{plugin}\",state=\"{state}_state_of_world\"}}")
        };
        for (plugin, state, count) in
            [("empty-dir", "actual", 2), ("empty-dir", "desired", 3), ("secret", "actual", 1)]
        {
            let line = format!("volume_manager_total_volumes{} {count}", of(plugin, state));
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}

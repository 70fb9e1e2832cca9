//! The Summary API: what a node and its pods use, in the shape that clients of kubelets read. Pure.
//!
//! What podbox does not measure is left out, as the kubelet does: every field of that API is optional.

use crate::api::identity::PodRef;
use crate::api::object;
use crate::api::stats::{
    ContainerDisk, ContainerUsage, Disk, Filesystem, PodDisk, PodUsage, Snapshot, Space, Traffic, Usage,
};
use serde_json::{Value, json};
use std::time::SystemTime;

/// The summary of a node. `started` tells since when a pod is there; `disk` is left out by whoever asks for CPU and memory only.
pub fn summary(
    name: &str,
    all: &Snapshot,
    disk: Option<&Disk>,
    started: impl Fn(&PodRef) -> Option<Value>,
) -> Value {
    let host = &all.host;
    let at = object::time(host.usage.sample.at);
    let mut node = json!({
        "nodeName": name,
        "startTime": object::time(host.booted),
        "cpu": cpu(&host.usage),
        "memory": memory(&host.usage, Some(host.memory_available())),
    });
    if let Some(disk) = disk {
        let images = Space { bytes: disk.image_bytes, inodes: 0 };
        node["fs"] = filesystem(&disk.node, disk.at, &disk.node.used());
        node["runtime"] = json!({
            "imageFs": filesystem(&disk.images, disk.at, &images),
            "containerFs": filesystem(&disk.node, disk.at, &disk.node.used()),
        });
        node["rlimit"] =
            json!({"time": at, "maxpid": host.processes_limit, "curproc": host.usage.sample.processes});
        if let Some((link, traffic)) = &all.network {
            node["network"] = network(link, traffic, &at);
        }
    }
    let pods = all.pods.iter().map(|(of, usage)| {
        let disk = disk.map(|disk| (disk, disk.pods.get(&of.uid)));
        pod(of, usage, disk, started(of))
    });
    json!({"node": node, "pods": pods.collect::<Vec<_>>()})
}

fn pod(
    of: &PodRef,
    usage: &PodUsage,
    disk: Option<(&Disk, Option<&PodDisk>)>,
    started: Option<Value>,
) -> Value {
    let sample = &usage.usage.sample;
    let nothing = PodDisk::default();
    let of_container = |(name, one): (&String, &ContainerUsage)| {
        let disk = disk.map(|(disk, pod)| {
            (disk, pod.and_then(|pod| pod.containers.get(name)).copied().unwrap_or_default())
        });
        container(name, one, disk)
    };
    let mut made = json!({
        "podRef": {"name": of.name, "namespace": of.namespace, "uid": of.uid},
        "startTime": started,
        "containers": usage.containers.iter().map(of_container).collect::<Vec<_>>(),
        "cpu": cpu(&usage.usage),
        "memory": memory(&usage.usage, None),
    });
    if let Some((disk, own)) = disk {
        let own = own.unwrap_or(&nothing);
        let volume = |(name, space): (&String, &Space)| {
            let mut volume = filesystem(&disk.node, disk.at, space);
            volume["name"] = name.as_str().into();
            volume
        };
        made["volume"] = own.volumes.iter().map(volume).collect();
        made["ephemeral-storage"] = filesystem(&disk.node, disk.at, &own.total());
        made["process_stats"] = json!({"process_count": sample.processes});
        if let Some(traffic) = &usage.traffic {
            made["network"] = network("eth0", traffic, &object::time(sample.at));
        }
    }
    made
}

fn container(name: &str, one: &ContainerUsage, disk: Option<(&Disk, ContainerDisk)>) -> Value {
    let mut made = json!({
        "name": name,
        "startTime": object::time(one.started),
        "cpu": cpu(&one.usage),
        "memory": memory(&one.usage, None),
    });
    if let Some((disk, own)) = disk {
        made["rootfs"] = filesystem(&disk.node, disk.at, &own.root);
        made["logs"] = filesystem(&disk.node, disk.at, &own.logs);
    }
    made
}

fn cpu(usage: &Usage) -> Value {
    let mut made = json!({
        "time": object::time(usage.sample.at),
        "usageCoreNanoSeconds": usage.sample.cpu_nanos,
    });
    if let Some(rate) = usage.rate {
        made["usageNanoCores"] = rate.nano_cores.into();
    }
    made
}

fn memory(usage: &Usage, available: Option<u64>) -> Value {
    let memory = &usage.sample.memory;
    let mut made = json!({
        "time": object::time(usage.sample.at),
        "usageBytes": memory.usage,
        "workingSetBytes": memory.working_set,
        "rssBytes": memory.rss,
        "pageFaults": memory.page_faults,
        "majorPageFaults": memory.major_page_faults,
    });
    if let Some(available) = available {
        made["availableBytes"] = available.into();
    }
    made
}

fn filesystem(of: &Filesystem, at: SystemTime, used: &Space) -> Value {
    json!({
        "time": object::time(at),
        "availableBytes": of.available_bytes,
        "capacityBytes": of.capacity_bytes,
        "usedBytes": used.bytes,
        "inodesFree": of.inodes_free,
        "inodes": of.inodes,
        "inodesUsed": used.inodes,
    })
}

fn network(link: &str, traffic: &Traffic, at: &str) -> Value {
    let own = json!({
        "name": link,
        "rxBytes": traffic.rx_bytes,
        "rxErrors": traffic.rx_errors,
        "txBytes": traffic.tx_bytes,
        "txErrors": traffic.tx_errors,
    });
    let mut made = own.clone();
    made["time"] = at.into();
    made["interfaces"] = json!([own]);
    made
}

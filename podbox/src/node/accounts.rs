//! Opens the node's books: what the kernel has counted for the host, its pods and their containers, read when somebody asks.
//!
//! Nothing is kept from one look to the next, so what has gone is told no more.

use super::Node;
use super::stats::host;
use super::view::containers;
use crate::api::account::{Accounts, Books, Known, PodAccount};
use crate::api::error::chain;
use crate::api::identity::{LINK_PREFIX, PodRef};
use crate::api::stats::{HostUsage, Traffic, Usage};
use crate::clock;
use crate::sandbox::account::Reader;
use crate::sandbox::runtime::Runtime;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::thread;

/// Asks how many processes were killed for want of memory, by namespace, pod and container; none where nobody watches.
pub type OomKills = Arc<dyn Fn() -> Option<BTreeMap<(String, String, String), u64>> + Send + Sync>;

/// The books of a node.
pub struct NodeAccounts<R, I> {
    node: Arc<Node<R, I>>,
    oom_kills: OomKills,
}

impl<R, I> NodeAccounts<R, I> {
    /// Of this node; `oom_kills` asks the kernel's own record.
    pub fn new(node: Arc<Node<R, I>>, oom_kills: OomKills) -> NodeAccounts<R, I> {
        NodeAccounts { node, oom_kills }
    }
}

impl<R: Runtime, I: Send + Sync + 'static> Accounts for NodeAccounts<R, I> {
    fn open(&self) -> BoxFuture<'static, Result<Books, String>> {
        let (node, oom_kills) = (Arc::clone(&self.node), Arc::clone(&self.oom_kills));
        async move {
            let pods = node.runtime.accounts().await.map_err(|error| chain(&error))?;
            let read = move || open(&node, pods, oom_kills());
            tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())?
        }
        .boxed()
    }
}

fn open<R, I>(
    node: &Node<R, I>,
    pods: BTreeMap<PodRef, PodAccount>,
    oom_kills: Option<BTreeMap<(String, String, String), u64>>,
) -> Result<Books, String> {
    let mut links = host::links();
    let with_link = |(pod, account): (PodRef, _)| {
        // The host's end sees the other direction.
        let traffic = links.get(&pod.link_name()).copied().map(Traffic::from_other_end);
        (pod, (account, traffic))
    };
    let pods = pods.into_iter().map(with_link).collect();
    links.retain(|name, _| !name.starts_with(LINK_PREFIX));
    let host = host::read(clock::wall()).map_err(|error| format!("/proc: {error}"))?;
    let host::Host { sample, booted, memory_bytes, processes_limit } = host;
    let host = HostUsage { booted, usage: Usage { sample, rate: None }, memory_bytes, processes_limit };
    Ok(Books {
        host,
        processors: thread::available_parallelism().map_or(1, usize::from),
        links,
        pressure: Reader::default().host(),
        pods,
        known: known(node),
        oom_kills,
        devices: devices(&fs::read_to_string("/proc/partitions").unwrap_or_default()),
    })
}

/// What pods' statuses say of their containers.
fn known<R, I>(node: &Node<R, I>) -> BTreeMap<PodRef, BTreeMap<String, Known>> {
    let rows = node.views.watch();
    let rows = rows.borrow();
    let of_pod = |status| {
        let each = containers(status).map(|own| {
            let id = own.container_id.as_deref().unwrap_or_default();
            let id = id.split_once("://").map_or(id, |(_, id)| id).to_owned();
            (own.name.clone(), Known { image: own.image.clone(), id })
        });
        each.collect()
    };
    rows.iter().map(|(pod, view)| (pod.clone(), of_pod(&view.status))).collect()
}

/// Names of disks, of `/proc/partitions`.
fn devices(partitions: &str) -> BTreeMap<String, String> {
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let (major, minor, name) = (words.next()?, words.next()?, words.nth(1)?);
        major.parse::<u32>().ok()?;
        Some((format!("{major}:{minor}"), format!("/dev/{name}")))
    };
    partitions.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_have_names() {
        let text = "major minor  #blocks  name\n\n   8        0  268435456 sda\n 259        1  1 nvme0n1p1\n";
        let expected = [("8:0", "/dev/sda"), ("259:1", "/dev/nvme0n1p1")];
        let expected = expected.map(|(number, name)| (number.to_owned(), name.to_owned()));
        assert_eq!(devices(text), BTreeMap::from(expected));
    }
}

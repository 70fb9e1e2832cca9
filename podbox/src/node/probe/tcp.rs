//! Probes by a connection; or, where that is asked for, by the kernel's word that one could be made.
//!
//! The word can only be a success: a port that nobody listens on, a full queue or a kernel that does not say are left to
//! a connection. So such a probe fails when, and as, upstream's does.

use super::{Asked, Attempt};
use crate::api::probe::{self, TcpProbe};
use crate::node::Node;
use crate::node::http::dial;
use crate::node::record::PodRecord;
use crate::pod::probe::Outcome;
use crate::sandbox::runtime::Runtime;
use std::net::{IpAddr, SocketAddrV4};

/// Asks a port of the pod, or of the host that the probe names.
pub(super) async fn connect<R: Runtime, I>(
    node: &Node<R, I>,
    pod: &PodRecord,
    asked: &Asked,
    (named, port): (Option<String>, u16),
    attempt: &Attempt<'_>,
) -> Outcome {
    let own = asked.address.map_or(node.facts.host_ip, IpAddr::V4);
    if named.is_none() && by_state(node, pod) && listens(node, asked, own, port).await {
        return Outcome::Success;
    }
    let host = named.unwrap_or_else(|| own.to_string());
    let dialled = dial(&host, port, attempt.deadline(), attempt.sockets).await;
    dialled.map_or_else(Outcome::Failure, |_stream| Outcome::Success)
}

fn by_state<R, I>(node: &Node<R, I>, pod: &PodRecord) -> bool {
    let own = pod.manifest.metadata.annotations.as_ref().and_then(|all| all.get(probe::TCP));
    // One that cannot be read was refused with its pod, or came later and changes nothing.
    let own = own.and_then(|word| TcpProbe::parse(word));
    own.unwrap_or(node.config.probe_tcp) == TcpProbe::SocketState
}

async fn listens<R: Runtime, I>(node: &Node<R, I>, asked: &Asked, own: IpAddr, port: u16) -> bool {
    let IpAddr::V4(own) = own else { return false };
    node.runtime.listens(&asked.run.pod, SocketAddrV4::new(own, port)).await.unwrap_or(false)
}

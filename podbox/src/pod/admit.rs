//! What no room on a node helps against: kernel settings that are not allowed; and ports of the node, which one pod has at a
//! time. Pure; the words are the kubelet's.

use crate::sandbox::spec::Forward;
use crate::sandbox::sysctl;
use k8s_openapi::api::core::v1::{ContainerPort, Pod};
use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};

/// Why a pod is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Upstream's reason, for the pod's status and for an Event.
    pub reason: Cow<'static, str>,
    /// In words.
    pub message: String,
}

fn forward(port: &ContainerPort) -> Option<Forward> {
    let number = |given: i32| u16::try_from(given).ok().filter(|number| *number > 0);
    // Pods have IPv4 addresses: a port of another kind of address leads to none.
    let address = match port.host_ip.as_deref().filter(|ip| !ip.is_empty()).map(str::parse::<IpAddr>) {
        None => Ipv4Addr::UNSPECIFIED,
        Some(Ok(IpAddr::V4(address))) => address,
        Some(Ok(IpAddr::V6(address))) if address.is_unspecified() => Ipv4Addr::UNSPECIFIED,
        Some(_) => return None,
    };
    Some(Forward {
        address,
        protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
        port: number(port.host_port?)?,
        target_port: number(port.container_port)?,
    })
}

fn meet(one: &Forward, other: &Forward) -> bool {
    let any = [one, other].iter().any(|port| port.address.is_unspecified());
    (one.port, &one.protocol) == (other.port, &other.protocol) && (any || one.address == other.address)
}

/// The node's ports that a pod's containers ask for, those that stay.
pub fn host_ports(pod: &Pod) -> Vec<Forward> {
    let spec = pod.spec.iter();
    let sidecars =
        |init: &&k8s_openapi::api::core::v1::Container| init.restart_policy.as_deref() == Some("Always");
    let containers =
        spec.flat_map(|spec| spec.init_containers.iter().flatten().filter(sidecars).chain(&spec.containers));
    containers.flat_map(|container| container.ports.iter().flatten()).filter_map(forward).collect()
}

/// Whether a pod can have the node's ports that it asks for, where these are taken.
pub fn ports_are_free(pod: &Pod, taken: &[Forward]) -> bool {
    !host_ports(pod).iter().any(|port| taken.iter().any(|other| meet(port, other)))
}

/// Whether a pod may have its kernel settings; `allowed` is what the node allows of unsafe ones.
pub fn sysctls(pod: &Pod, allowed: &[String]) -> Result<(), Rejection> {
    let Some(spec) = &pod.spec else { return Ok(()) };
    let given = spec.security_context.iter().flat_map(|context| context.sysctls.iter().flatten());
    let (network, ipc) = (spec.host_network == Some(true), spec.host_ipc == Some(true));
    for setting in given {
        if let Some(why) = sysctl::forbidden(&setting.name, allowed, network, ipc) {
            let message = format!("forbidden sysctl: {why}");
            return Err(Rejection { reason: "SysctlForbidden".into(), message });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(ports: &str) -> Pod {
        serde_yaml::from_str(&format!("{{spec: {{containers: [{{name: c, ports: [{ports}]}}]}}}}")).unwrap()
    }

    #[track_caller]
    fn check(one: &str, other: &str, fits: bool) {
        for (one, other) in [(one, other), (other, one)] {
            assert_eq!(ports_are_free(&pod(one), &host_ports(&pod(other))), fits, "{one} beside {other}");
        }
    }

    #[test]
    fn a_port_of_the_node_has_one_pod() {
        let all = "{containerPort: 80, hostPort: 8080}";
        check(all, "{containerPort: 81, hostPort: 8080}", false);
        check(all, "{containerPort: 80, hostPort: 8081}", true);
        check(all, "{containerPort: 80}", true);
        check(all, "{containerPort: 80, hostPort: 8080, protocol: UDP}", true);
        check(all, "{containerPort: 80, hostPort: 8080, hostIP: 127.0.0.1}", false);
        let own = "{containerPort: 80, hostPort: 8080, hostIP: 192.0.2.1}";
        check(own, "{containerPort: 80, hostPort: 8080, hostIP: 127.0.0.1}", true);
        check(own, own, false);
    }

    #[test]
    fn kernel_settings_are_refused_by_name() {
        let pod: Pod = serde_yaml::from_str(
            "{spec: {containers: [], securityContext: {sysctls: [{name: kernel.panic, value: '1'}]}}}",
        )
        .unwrap();
        let rejected = sysctls(&pod, &[]).unwrap_err();
        assert_eq!(rejected.reason, "SysctlForbidden");
        assert_eq!(rejected.message, "forbidden sysctl: \"kernel.panic\" not allowlisted");
    }
}

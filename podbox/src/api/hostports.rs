//! Ports of the node that pods ask for: one pod has each at a time. Pure.

use crate::sandbox::spec::Forward;
use k8s_openapi::api::core::v1::{Container, ContainerPort, Pod};
use std::net::{IpAddr, Ipv4Addr};

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
pub fn of_pod(pod: &Pod) -> Vec<Forward> {
    let spec = pod.spec.iter();
    let sidecars = |init: &&Container| init.restart_policy.as_deref() == Some("Always");
    let containers =
        spec.flat_map(|spec| spec.init_containers.iter().flatten().filter(sidecars).chain(&spec.containers));
    containers.flat_map(|container| container.ports.iter().flatten()).filter_map(forward).collect()
}

/// Whether these ports can be had where those are taken.
pub fn are_free(ports: &[Forward], taken: &[Forward]) -> bool {
    !ports.iter().any(|port| taken.iter().any(|other| meet(port, other)))
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
            assert_eq!(are_free(&of_pod(&pod(one)), &of_pod(&pod(other))), fits, "{one} beside {other}");
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
}

//! Variables by which a container finds the Services of its namespace, in the two forms that Kubernetes has: names
//! with `SERVICE_HOST`, and those of Docker's links. Pure.

use k8s_openapi::api::core::v1::Service;
use std::net::IpAddr;

/// The variables of these services, in order of their names.
pub fn variables<'a>(services: impl Iterator<Item = &'a Service>) -> Vec<(String, String)> {
    let mut services: Vec<_> = services.collect();
    services.sort_by_key(|service| service.metadata.name.as_deref());
    services.into_iter().flat_map(of).collect()
}

/// Those of one; none if it has no address of its own.
fn of(service: &Service) -> Vec<(String, String)> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let address = spec.cluster_ip.as_deref().and_then(|address| address.parse::<IpAddr>().ok());
    let (Some(address), Some(ports)) = (address, spec.ports.as_ref().filter(|ports| !ports.is_empty()))
    else {
        return Vec::new();
    };
    let name = variable(service.metadata.name.as_deref().unwrap_or_default());
    let mut all = vec![
        (format!("{name}_SERVICE_HOST"), address.to_string()),
        (format!("{name}_SERVICE_PORT"), ports[0].port.to_string()),
    ];
    for port in ports {
        if let Some(own) = port.name.as_deref().filter(|own| !own.is_empty()) {
            all.push((format!("{name}_SERVICE_PORT_{}", variable(own)), port.port.to_string()));
        }
    }
    let at = match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    for (index, port) in ports.iter().enumerate() {
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let (lower, number) = (protocol.to_lowercase(), port.port);
        let url = format!("{lower}://{at}:{number}");
        if index == 0 {
            all.push((format!("{name}_PORT"), url.clone()));
        }
        let prefix = format!("{name}_PORT_{number}_{}", protocol.to_uppercase());
        all.push((prefix.clone(), url));
        all.push((format!("{prefix}_PROTO"), lower));
        all.push((format!("{prefix}_PORT"), number.to_string()));
        all.push((format!("{prefix}_ADDR"), address.to_string()));
    }
    all
}

fn variable(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_told_in_both_forms_and_headless_ones_not() {
        let parse = |text: &str| serde_yaml::from_str::<Service>(text).unwrap();
        let services = [
            parse("{metadata: {name: none}, spec: {clusterIP: None, ports: [{port: 1}]}}"),
            parse(
                "{metadata: {name: my-db}, spec: {clusterIP: 10.96.0.7, ports: [{port: 53, protocol: UDP, name: dns-q}, {port: 80}]}}",
            ),
        ];
        let told: Vec<_> = variables(services.iter()).iter().map(|(k, v)| format!("{k}={v}")).collect();
        let expected = [
            "MY_DB_SERVICE_HOST=10.96.0.7",
            "MY_DB_SERVICE_PORT=53",
            "MY_DB_SERVICE_PORT_DNS_Q=53",
            "MY_DB_PORT=udp://10.96.0.7:53",
            "MY_DB_PORT_53_UDP=udp://10.96.0.7:53",
            "MY_DB_PORT_53_UDP_PROTO=udp",
            "MY_DB_PORT_53_UDP_PORT=53",
            "MY_DB_PORT_53_UDP_ADDR=10.96.0.7",
            "MY_DB_PORT_80_TCP=tcp://10.96.0.7:80",
            "MY_DB_PORT_80_TCP_PROTO=tcp",
            "MY_DB_PORT_80_TCP_PORT=80",
            "MY_DB_PORT_80_TCP_ADDR=10.96.0.7",
        ];
        assert_eq!(told, expected);
    }
}

//! Rows of services, their endpoints, and what leads to them.

use super::cell::{self, NONE, UNSET};
use super::{AGE, NAME, Printer};
use crate::api::object;
use serde_json::Value;
use std::time::SystemTime;

pub(super) static SERVICE: Printer = Printer {
    columns: &[
        NAME,
        ("Type", "string", "", false),
        ("Cluster-IP", "string", "", false),
        ("External-IP", "string", "", false),
        ("Port(s)", "string", "", false),
        AGE,
        ("Selector", "string", "", true),
    ],
    cells: service,
};

fn service(service: &Value, now: SystemTime) -> Vec<Value> {
    let ports = cell::list(service, "/spec/ports").map(|port| {
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        match port["nodePort"].as_i64().unwrap_or(0) {
            0 => format!("{}/{protocol}", port["port"]),
            node => format!("{}:{node}/{protocol}", port["port"]),
        }
    });
    vec![
        object::name(service).into(),
        cell::text(service, "/spec/type", ""),
        cell::text(service, "/spec/clusterIP", NONE),
        external(service),
        cell::joined(ports, NONE),
        cell::age(service, now),
        cell::labels(service, "/spec/selector", NONE),
    ]
}

fn external(service: &Value) -> Value {
    let given = cell::list(service, "/spec/externalIPs").filter_map(Value::as_str).map(str::to_owned);
    let balancer = cell::list(service, "/status/loadBalancer/ingress").filter_map(|ingress| {
        let address = ingress["ip"].as_str().filter(|ip| !ip.is_empty());
        address.or_else(|| ingress["hostname"].as_str()).map(str::to_owned)
    });
    match service["spec"]["type"].as_str() {
        Some("ExternalName") => cell::text(service, "/spec/externalName", NONE),
        Some("LoadBalancer") => {
            let mut balancer: Vec<_> = balancer.collect();
            balancer.extend(given);
            cell::joined(balancer, "<pending>")
        }
        _ => cell::joined(given, NONE),
    }
}

pub(super) static ENDPOINTS: Printer = Printer {
    columns: &[NAME, ("Endpoints", "string", "", false), AGE],
    cells: |object, now| {
        let mut all = Vec::new();
        for subset in cell::list(object, "/subsets") {
            let ports: Vec<_> = cell::list(subset, "/ports").map(|port| port["port"].to_string()).collect();
            for address in cell::list(subset, "/addresses").filter_map(|address| address["ip"].as_str()) {
                match ports.is_empty() {
                    true => all.push(address.to_owned()),
                    false => all.extend(ports.iter().map(|port| format!("{address}:{port}"))),
                }
            }
        }
        vec![object::name(object).into(), cell::few(all, NONE), cell::age(object, now)]
    },
};

pub(super) static ENDPOINT_SLICE: Printer = Printer {
    columns: &[
        NAME,
        ("AddressType", "string", "", false),
        ("Ports", "string", "", false),
        ("Endpoints", "string", "", false),
        AGE,
    ],
    cells: |object, now| {
        let ports = cell::list(object, "/ports").map(|port| match port["port"].as_i64() {
            Some(number) => number.to_string(),
            None => "*".to_owned(),
        });
        let addresses =
            cell::list(object, "/endpoints").flat_map(|endpoint| cell::list(endpoint, "/addresses"));
        let addresses = addresses.filter_map(Value::as_str).map(str::to_owned);
        vec![
            object::name(object).into(),
            cell::text(object, "/addressType", ""),
            cell::few(ports, UNSET),
            cell::few(addresses, UNSET),
            cell::age(object, now),
        ]
    },
};

pub(super) static INGRESS: Printer = Printer {
    columns: &[
        NAME,
        ("Class", "string", "", false),
        ("Hosts", "string", "", false),
        ("Address", "string", "", false),
        ("Ports", "string", "", false),
        AGE,
    ],
    cells: |object, now| {
        let hosts = cell::list(object, "/spec/rules").filter_map(|rule| rule["host"].as_str());
        let hosts = hosts.filter(|host| !host.is_empty()).map(str::to_owned);
        let addresses = cell::list(object, "/status/loadBalancer/ingress").filter_map(|ingress| {
            ingress["ip"].as_str().or_else(|| ingress["hostname"].as_str()).map(str::to_owned)
        });
        let secure = cell::list(object, "/spec/tls").next().is_some();
        vec![
            object::name(object).into(),
            cell::text(object, "/spec/ingressClassName", NONE),
            cell::few(hosts, "*"),
            cell::joined(addresses, ""),
            if secure { "80, 443" } else { "80" }.into(),
            cell::age(object, now),
        ]
    },
};

pub(super) static INGRESS_CLASS: Printer = Printer {
    columns: &[NAME, ("Controller", "string", "", false), ("Parameters", "string", "", false), AGE],
    cells: |object, now| {
        let parameters = &object["spec"]["parameters"];
        let word = |field: &str| parameters[field].as_str().unwrap_or_default();
        let told = match (parameters.is_object(), word("apiGroup")) {
            (false, _) => NONE.to_owned(),
            (true, "") => format!("{}/{}", word("kind"), word("name")),
            (true, group) => format!("{}.{group}/{}", word("kind"), word("name")),
        };
        let controller = cell::text(object, "/spec/controller", "");
        vec![object::name(object).into(), controller, told.into(), cell::age(object, now)]
    },
};

pub(super) static NETWORK_POLICY: Printer = Printer {
    columns: &[NAME, ("Pod-Selector", "string", "", false), AGE],
    cells: |object, now| {
        let selector = cell::selector(object, "/spec/podSelector");
        vec![object::name(object).into(), selector, cell::age(object, now)]
    },
};

pub(super) static ADDRESS: Printer = Printer {
    columns: &[NAME, ("ParentRef", "string", "", false), AGE],
    cells: |object, now| {
        let parent = &object["spec"]["parentRef"];
        let word = |field: &str| parent[field].as_str().filter(|word| !word.is_empty());
        let group = word("group").map(|group| format!(".{group}")).unwrap_or_default();
        let of = format!("{}{group}", word("resource").unwrap_or_default()).to_lowercase();
        let path = [Some(of.as_str()), word("namespace"), word("name")];
        let path: Vec<_> = path.into_iter().flatten().collect();
        vec![object::name(object).into(), path.join("/").into(), cell::age(object, now)]
    },
};

pub(super) static SERVICE_RANGE: Printer = Printer {
    columns: &[NAME, ("CIDRs", "string", "", false), AGE],
    cells: |object, now| {
        let ranges = cell::list(object, "/spec/cidrs").filter_map(Value::as_str).map(str::to_owned);
        vec![object::name(object).into(), cell::joined(ranges, ""), cell::age(object, now)]
    },
};

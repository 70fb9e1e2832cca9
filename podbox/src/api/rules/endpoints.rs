//! Endpoints and EndpointSlices: defaults, validation, what may not change.

use super::check::{self, all, immutable, named, required_word, text};
use super::pod::default::set;
use super::{Rules, names};
use crate::api::field::{Errors, Path, Reason};
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, Endpoints};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use serde_json::Value;
use std::collections::BTreeSet;

const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
/// Endpoints in one slice; ports of one slice; addresses of one endpoint.
const MOST: (usize, usize, usize) = (1000, 20_000, 100);

impl Rules for Endpoints {
    fn default(&mut self) {
        for port in self.subsets.iter_mut().flatten().flat_map(|subset| subset.ports.iter_mut().flatten()) {
            set(&mut port.protocol, "TCP");
        }
    }

    fn validate(&self, errors: &mut Errors, path: &Path) {
        for (index, subset) in self.subsets.iter().flatten().enumerate() {
            let list = path.child("subsets");
            let at = list.index(index);
            let ready = subset.addresses.as_deref().unwrap_or_default();
            let other = subset.not_ready_addresses.as_deref().unwrap_or_default();
            if ready.is_empty() && other.is_empty() {
                errors.required(&at, "must specify `addresses` or `notReadyAddresses`");
            }
            for (field, addresses) in [("addresses", ready), ("notReadyAddresses", other)] {
                for (number, one) in addresses.iter().enumerate() {
                    let list = at.child(field);
                    address(errors, &list.index(number), one);
                }
            }
            let ports = subset.ports.as_deref().unwrap_or_default();
            for (number, port) in ports.iter().enumerate() {
                let list = at.child("ports");
                self::port(errors, &list.index(number), port, ports.len() > 1);
            }
        }
    }
}

fn address(errors: &mut Errors, path: &Path, address: &EndpointAddress) {
    let at = path.child("ip");
    all(errors, &at, &address.ip, names::ip(&address.ip));
    check::maybe(errors, &path.child("hostname"), &address.hostname, names::label);
    check::maybe(errors, &path.child("nodeName"), &address.node_name, names::subdomain);
    all(errors, &at, &address.ip, names::endpoint(&address.ip));
}

fn port(errors: &mut Errors, path: &Path, port: &EndpointPort, several: bool) {
    match text(&port.name) {
        "" if several => errors.required(&path.child("name"), ""),
        "" => {}
        name => all(errors, &path.child("name"), name, names::label(name)),
    }
    check::port(errors, &path.child("port"), port.port);
    required_word(errors, &path.child("protocol"), text(&port.protocol), PROTOCOLS);
}

impl Rules for EndpointSlice {
    fn default(&mut self) {
        for port in self.ports.iter_mut().flatten() {
            port.name.get_or_insert_default();
            set(&mut port.protocol, "TCP");
        }
        for endpoint in self.endpoints.iter_mut().flatten() {
            endpoint.conditions.get_or_insert_default();
        }
    }

    fn validate(&self, errors: &mut Errors, path: &Path) {
        required_word(errors, &path.child("addressType"), &self.address_type, &["FQDN", "IPv4", "IPv6"]);
        let at = path.child("endpoints");
        let endpoints = self.endpoints.as_deref().unwrap_or_default();
        at_most(errors, &at, endpoints.len(), MOST.0);
        for (index, one) in endpoints.iter().enumerate().take(MOST.0) {
            endpoint(errors, &at.index(index), one, &self.address_type);
        }
        let (at, mut seen) = (path.child("ports"), BTreeSet::new());
        let ports = self.ports.as_deref().unwrap_or_default();
        at_most(errors, &at, ports.len(), MOST.1);
        for (index, port) in ports.iter().enumerate().take(MOST.1) {
            let at = at.index(index);
            let name = text(&port.name);
            if !name.is_empty() {
                all(errors, &at.child("name"), name, names::label(name));
            }
            if !seen.insert(name) {
                errors.duplicate(&at.child("name"), name);
            }
            required_word(errors, &at.child("protocol"), text(&port.protocol), PROTOCOLS);
        }
    }

    fn validate_update(&self, old: &EndpointSlice, errors: &mut Errors, path: &Path) {
        immutable(errors, &path.child("addressType"), &self.address_type, &old.address_type);
    }
}

fn at_most(errors: &mut Errors, path: &Path, count: usize, most: usize) {
    if count > most {
        errors.add(Reason::TooMany, path, Value::Null, format!("must have at most {most} items"));
    }
}

fn endpoint(errors: &mut Errors, path: &Path, endpoint: &Endpoint, family: &str) {
    let at = path.child("addresses");
    if endpoint.addresses.is_empty() {
        errors.required(&at, "must contain at least 1 address");
    }
    at_most(errors, &at, endpoint.addresses.len(), MOST.2);
    for (index, address) in endpoint.addresses.iter().enumerate().take(MOST.2) {
        // Upstream names the list where the family is wrong.
        match (family, names::address(address)) {
            ("IPv4", Some(ip)) if ip.is_ipv4() => {}
            ("IPv6", Some(ip)) if ip.is_ipv6() => {}
            ("IPv4", _) => errors.invalid(&at, address.as_str(), "must be an IPv4 address"),
            ("IPv6", _) => errors.invalid(&at, address.as_str(), "must be an IPv6 address"),
            _ => named(errors, &at, address, names::subdomain),
        }
        if family != "FQDN" {
            all(errors, &at.index(index), address, names::endpoint(address));
        }
    }
    check::maybe(errors, &path.child("nodeName"), &endpoint.node_name, names::subdomain);
    check::maybe(errors, &path.child("hostname"), &endpoint.hostname, names::label);
}

//! Ingresses, their classes and network policies: defaults, validation. They are judged though nothing acts on them.

use super::check::{self, all, immutable, one_of, present, text};
use super::pod::default::set;
use super::{Rules, labels, names};
use crate::api::field::{Errors, Path};
use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, Ingress, IngressBackend, IngressClass, IngressLoadBalancerStatus, IngressSpec,
    IngressStatus, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

impl Rules for Ingress {
    fn prepare_create(&mut self) {
        let load_balancer = Some(IngressLoadBalancerStatus::default());
        self.status = Some(IngressStatus { load_balancer });
    }

    fn prepare_update(&mut self, old: &Ingress) {
        self.status.clone_from(&old.status);
    }

    fn prepare_status(&mut self, old: &Ingress) {
        self.spec.clone_from(&old.spec);
    }

    fn validate(&self, errors: &mut Errors, path: &Path) {
        let (none, path) = (IngressSpec::default(), path.child("spec"));
        let spec = self.spec.as_ref().unwrap_or(&none);
        let rules = spec.rules.as_deref().unwrap_or_default();
        if let Some(backend) = &spec.default_backend {
            self::backend(errors, &path.child("defaultBackend"), backend);
        } else if rules.is_empty() {
            errors.invalid(&path, check::json(spec), "either `defaultBackend` or `rules` must be specified");
        }
        for (index, rule) in rules.iter().enumerate() {
            let list = path.child("rules");
            let at = list.index(index);
            host(errors, &at.child("host"), text(&rule.host));
            let Some(http) = &rule.http else { continue };
            let http_path = at.child("http");
            let at = http_path.child("paths");
            if http.paths.is_empty() {
                errors.required(&at, "");
            }
            for (number, one) in http.paths.iter().enumerate() {
                self::path(errors, &at.index(number), one);
            }
        }
        check::maybe(errors, &path.child("ingressClassName"), &spec.ingress_class_name, names::subdomain);
    }
}

fn host(errors: &mut Errors, path: &Path, host: &str) {
    match host {
        "" => {}
        host if names::address(host).is_some() => {
            errors.invalid(path, host, "must be a DNS name, not an IP address");
        }
        host if host.contains('*') => all(errors, path, host, names::wildcard(host)),
        host => all(errors, path, host, names::subdomain(host)),
    }
}

fn path(errors: &mut Errors, path: &Path, one: &HTTPIngressPath) {
    let (at, given) = (path.child("path"), text(&one.path));
    match one.path_type.as_str() {
        "" => errors.required(&path.child("pathType"), "pathType must be specified"),
        "Exact" | "Prefix" if !given.starts_with('/') => {
            errors.invalid(&at, given, "must be an absolute path");
        }
        "Exact" | "Prefix" => {
            for bad in ["//", "/./", "/../", "%2f", "%2F"] {
                if given.contains(bad) {
                    errors.invalid(&at, given, format!("must not contain '{bad}'"));
                }
            }
        }
        "ImplementationSpecific" if !given.is_empty() && !given.starts_with('/') => {
            errors.invalid(&at, given, "must be an absolute path");
        }
        word => {
            let words = ["Exact", "ImplementationSpecific", "Prefix"];
            one_of(errors, &path.child("pathType"), word, &words);
        }
    }
    backend(errors, &path.child("backend"), &one.backend);
}

fn backend(errors: &mut Errors, path: &Path, backend: &IngressBackend) {
    match (&backend.service, &backend.resource) {
        (Some(_), Some(_)) => errors.invalid(path, "", "cannot set both resource and service backends"),
        (None, None) => errors.required(path, "exactly one of resource or service backend must be set"),
        (None, Some(resource)) => {
            present(errors, &path.child("resource").child("kind"), &resource.kind);
            present(errors, &path.child("resource").child("name"), &resource.name);
        }
        (Some(service), None) => {
            let at = path.child("service");
            check::named(errors, &at.child("name"), &service.name, names::label);
            let port = service.port.as_ref();
            let name = port.map(|port| text(&port.name)).unwrap_or_default();
            let number = port.and_then(|port| port.number).unwrap_or(0);
            match (name, number) {
                ("", 0) => errors.required(&at, "port name or number is required"),
                ("", number) => check::port(errors, &at.child("port").child("number"), number),
                (name, 0) => all(errors, &at.child("port").child("name"), name, names::port_name(name)),
                _ => errors.invalid(path, "", "cannot set both port name & port number"),
            }
        }
    }
}

impl Rules for IngressClass {
    fn validate(&self, errors: &mut Errors, path: &Path) {
        let controller = self.spec.as_ref().map(|spec| text(&spec.controller)).unwrap_or_default();
        let (spec, judge) = (path.child("spec"), names::domain_path);
        check::named(errors, &spec.child("controller"), controller, judge);
    }

    fn validate_update(&self, old: &IngressClass, errors: &mut Errors, path: &Path) {
        let controller = |class: &IngressClass| class.spec.as_ref().and_then(|spec| spec.controller.clone());
        let at = path.child("spec");
        immutable(errors, &at.child("controller"), &controller(self), &controller(old));
    }
}

impl Rules for NetworkPolicy {
    fn default(&mut self) {
        let Some(spec) = &mut self.spec else { return };
        let incoming = spec.ingress.iter_mut().flatten().flat_map(|rule| rule.ports.iter_mut().flatten());
        let outgoing = spec.egress.iter_mut().flatten().flat_map(|rule| rule.ports.iter_mut().flatten());
        incoming.chain(outgoing).for_each(|port| set(&mut port.protocol, "TCP"));
        if spec.policy_types.as_ref().is_none_or(Vec::is_empty) {
            let types = spec.policy_types.insert(vec!["Ingress".to_owned()]);
            if spec.egress.as_ref().is_some_and(|egress| !egress.is_empty()) {
                types.push("Egress".to_owned());
            }
        }
    }

    fn validate(&self, errors: &mut Errors, path: &Path) {
        let (none, path) = (NetworkPolicySpec::default(), path.child("spec"));
        let spec = self.spec.as_ref().unwrap_or(&none);
        labels::maybe_selector(errors, &path.child("podSelector"), &spec.pod_selector);
        for (index, rule) in spec.ingress.iter().flatten().enumerate() {
            let list = path.child("ingress");
            let at = list.index(index);
            ports(errors, &at.child("ports"), rule.ports.as_deref().unwrap_or_default());
            peers(errors, &at.child("from"), rule.from.as_deref().unwrap_or_default());
        }
        for (index, rule) in spec.egress.iter().flatten().enumerate() {
            let list = path.child("egress");
            let at = list.index(index);
            ports(errors, &at.child("ports"), rule.ports.as_deref().unwrap_or_default());
            peers(errors, &at.child("to"), rule.to.as_deref().unwrap_or_default());
        }
        let (types, at) = (spec.policy_types.as_deref().unwrap_or_default(), path.child("policyTypes"));
        if types.len() > 2 {
            return errors.invalid(&at, types.to_vec(), "may not specify more than two policyTypes");
        }
        for (index, word) in types.iter().enumerate() {
            one_of(errors, &at.index(index), word, &["Egress", "Ingress"]);
        }
    }
}

fn ports(errors: &mut Errors, path: &Path, ports: &[NetworkPolicyPort]) {
    for (index, port) in ports.iter().enumerate() {
        let at = path.index(index);
        one_of(errors, &at.child("protocol"), text(&port.protocol), &["SCTP", "TCP", "UDP"]);
        if let Some(number) = &port.port {
            check::port_or_name(errors, &at.child("port"), number);
        }
        match (port.end_port, &port.port) {
            (Some(end), Some(IntOrString::Int(start))) if end < *start => {
                errors.invalid(&at.child("endPort"), end, "must be greater than or equal to `port`");
            }
            (Some(end), Some(IntOrString::String(_))) => {
                errors.invalid(&at.child("endPort"), end, "may not be specified when `port` is non-numeric");
            }
            (Some(end), None) => {
                errors.invalid(
                    &at.child("endPort"),
                    end,
                    "may not be specified when `port` is not specified",
                );
            }
            (Some(end), _) => check::port(errors, &at.child("endPort"), end),
            _ => {}
        }
    }
}

fn peers(errors: &mut Errors, path: &Path, peers: &[NetworkPolicyPeer]) {
    for (index, peer) in peers.iter().enumerate() {
        let at = path.index(index);
        let selects = peer.pod_selector.is_some() || peer.namespace_selector.is_some();
        labels::maybe_selector(errors, &at.child("podSelector"), &peer.pod_selector);
        labels::maybe_selector(errors, &at.child("namespaceSelector"), &peer.namespace_selector);
        let Some(block) = &peer.ip_block else {
            if !selects {
                errors.required(&at, "must specify a peer");
            }
            continue;
        };
        if selects {
            errors.forbidden(&at, "may not specify both ipBlock and another peer");
        }
        let at = at.child("ipBlock");
        check::named(errors, &at.child("cidr"), &block.cidr, names::cidr);
        for (number, except) in block.except.iter().flatten().enumerate() {
            let list = at.child("except");
            all(errors, &list.index(number), except, names::cidr(except));
        }
    }
}

//! What makes a pod invalid, with Kubernetes' field paths and wording. Pure; expects a defaulted pod. Covers
//! the fields that podbox acts on; what it does not act on is `api::support`'s to refuse.

use super::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Volume};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The field's path.
    pub field: String,
    /// What is wrong with it, in upstream's words.
    pub message: String,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// Everything that is wrong with a pod, in upstream's order.
pub fn pod(pod: &Pod) -> Vec<Invalid> {
    let mut found = Causes(Vec::new());
    match pod.metadata.name.as_deref().unwrap_or_default() {
        "" => found.add("metadata.name", "Required value: name or generateName is required".into()),
        name => found.subdomain("metadata.name", name),
    }
    let empty = PodSpec::default();
    found.spec(pod.spec.as_ref().unwrap_or(&empty));
    found.0
}

struct Causes(Vec<Invalid>);

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
    start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or \
    '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

fn is_label(name: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(inner)
}

impl Causes {
    fn add(&mut self, field: impl Into<String>, message: String) {
        self.0.push(Invalid { field: field.into(), message });
    }

    fn required(&mut self, field: String) {
        self.add(field, "Required value".to_owned());
    }

    fn invalid(&mut self, field: String, value: impl fmt::Debug, why: &str) {
        self.add(field, format!("Invalid value: {value:?}: {why}"));
    }

    fn duplicate(&mut self, field: String, value: &str) {
        self.add(field, format!("Duplicate value: {value:?}"));
    }

    fn one_of(&mut self, field: String, value: Option<&str>, supported: &[&str]) {
        let value = value.unwrap_or_default();
        if !supported.contains(&value) {
            let list: Vec<_> = supported.iter().map(|word| format!("{word:?}")).collect();
            self.add(field, format!("Unsupported value: {value:?}: supported values: {}", list.join(", ")));
        }
    }

    fn subdomain(&mut self, field: &str, name: &str) {
        if name.len() > 253 {
            self.invalid(field.to_owned(), name, "must be no more than 253 characters");
        } else if !name.split('.').all(is_label) {
            self.invalid(field.to_owned(), name, SUBDOMAIN);
        }
    }

    fn label(&mut self, field: String, name: &str) {
        if name.len() > 63 {
            self.invalid(field, name, "must be no more than 63 characters");
        } else if name.is_empty() {
            self.required(field);
        } else if !is_label(name) {
            self.invalid(field, name, LABEL);
        }
    }

    fn spec(&mut self, spec: &PodSpec) {
        let mut volumes = BTreeSet::new();
        for (index, volume) in spec.volumes.iter().flatten().enumerate() {
            self.volume(volume, &format!("spec.volumes[{index}]"));
            if !volumes.insert(volume.name.as_str()) {
                self.duplicate(format!("spec.volumes[{index}].name"), &volume.name);
            }
        }
        if spec.containers.is_empty() {
            self.required("spec.containers".to_owned());
        }
        let mut names = BTreeSet::new();
        let init = spec.init_containers.iter().flatten();
        for (list, containers) in
            [("containers", spec.containers.iter().collect::<Vec<_>>()), ("initContainers", init.collect())]
        {
            for (index, container) in containers.into_iter().enumerate() {
                let path = format!("spec.{list}[{index}]");
                self.container(container, &path, &volumes);
                if !container.name.is_empty() && !names.insert(container.name.as_str()) {
                    self.duplicate(format!("{path}.name"), &container.name);
                }
            }
        }
        self.one_of(
            "spec.restartPolicy".to_owned(),
            spec.restart_policy.as_deref(),
            &["Always", "OnFailure", "Never"],
        );
        self.one_of(
            "spec.dnsPolicy".to_owned(),
            spec.dns_policy.as_deref(),
            &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
        );
        if let Some(hostname) = spec.hostname.as_deref().filter(|hostname| !hostname.is_empty()) {
            self.label("spec.hostname".to_owned(), hostname);
        }
        for (index, alias) in spec.host_aliases.iter().flatten().enumerate() {
            if alias.ip.parse::<std::net::IpAddr>().is_err() {
                let why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
                self.invalid(format!("spec.hostAliases[{index}].ip"), &alias.ip, why);
            }
        }
    }

    fn volume(&mut self, volume: &Volume, path: &str) {
        self.label(format!("{path}.name"), &volume.name);
        if let Some(host) = &volume.host_path {
            let field = format!("{path}.hostPath.path");
            if host.path.is_empty() {
                self.required(field);
            } else if host.path.split('/').any(|part| part == "..") {
                self.invalid(field, &host.path, "must not contain '..'");
            }
        }
        let sources = serde_json::to_value(volume).unwrap_or_default();
        let sources = sources.as_object().into_iter().flat_map(|fields| fields.keys());
        for extra in sources.filter(|field| *field != "name").skip(1) {
            self.add(format!("{path}.{extra}"), "Forbidden: may not specify more than 1 volume type".into());
        }
    }

    fn container(&mut self, container: &Container, path: &str, volumes: &BTreeSet<&str>) {
        self.label(format!("{path}.name"), &container.name);
        match container.image.as_deref().unwrap_or_default() {
            "" => self.required(format!("{path}.image")),
            image if image.trim() != image => {
                self.invalid(format!("{path}.image"), image, "must not have leading or trailing whitespace");
            }
            _ => {}
        }
        self.one_of(
            format!("{path}.imagePullPolicy"),
            container.image_pull_policy.as_deref(),
            &["Always", "IfNotPresent", "Never"],
        );
        for (index, port) in container.ports.iter().flatten().enumerate() {
            let path = format!("{path}.ports[{index}]");
            match port.container_port {
                0 => self.required(format!("{path}.containerPort")),
                1..=65535 => {}
                other => self.invalid(
                    format!("{path}.containerPort"),
                    other,
                    "must be between 1 and 65535, inclusive",
                ),
            }
            self.one_of(format!("{path}.protocol"), port.protocol.as_deref(), &["SCTP", "TCP", "UDP"]);
        }
        for (index, variable) in container.env.iter().flatten().enumerate() {
            if variable.name.is_empty() {
                self.required(format!("{path}.env[{index}].name"));
            }
        }
        self.mounts(container, path, volumes);
        self.resources(container, path);
    }

    fn mounts(&mut self, container: &Container, path: &str, volumes: &BTreeSet<&str>) {
        let mut targets = BTreeSet::new();
        for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
            let at = format!("{path}.volumeMounts[{index}]");
            if mount.name.is_empty() {
                self.required(format!("{at}.name"));
            } else if !volumes.contains(mount.name.as_str()) {
                self.add(format!("{at}.name"), format!("Not found: {:?}", mount.name));
            }
            if mount.mount_path.is_empty() {
                self.required(format!("{at}.mountPath"));
            } else if !targets.insert(mount.mount_path.as_str()) {
                self.invalid(format!("{at}.mountPath"), &mount.mount_path, "must be unique");
            }
            let sub_path = mount.sub_path.as_deref().unwrap_or_default();
            // Upstream names this field without the index.
            let field = format!("{path}.volumeMounts.subPath");
            if sub_path.starts_with('/') {
                self.invalid(field, sub_path, "must be a relative path");
            } else if sub_path.split('/').any(|part| part == "..") {
                self.invalid(field, sub_path, "must not contain '..'");
            }
        }
    }

    fn resources(&mut self, container: &Container, path: &str) {
        let Some(resources) = &container.resources else { return };
        let none = BTreeMap::new();
        let limits = resources.limits.as_ref().unwrap_or(&none);
        let requests = resources.requests.as_ref().unwrap_or(&none);
        self.quantities(limits, &format!("{path}.resources.limits"));
        self.quantities(requests, &format!("{path}.resources.requests"));
        for (name, request) in requests {
            let Some(limit) = limits.get(name) else { continue };
            if let (Ok(asked), Ok(most)) = (Quantity::parse(&request.0), Quantity::parse(&limit.0))
                && asked > most
            {
                let why = format!("must be less than or equal to {name} limit of {most}");
                self.invalid(format!("{path}.resources.requests"), asked.to_string(), &why);
            }
        }
    }

    fn quantities(&mut self, list: &BTreeMap<String, Text>, path: &str) {
        for (name, text) in list {
            let field = format!("{path}[{name}]");
            match Quantity::parse(&text.0) {
                Err(error) => self.invalid(field, &text.0, &error.to_string()),
                Ok(quantity) if quantity.is_negative() => {
                    self.invalid(field, quantity.to_string(), "must be greater than or equal to 0");
                }
                Ok(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::path::Path;

    /// Recorded refusals that this module gives too, word for word.
    const COVERED: &[&str] = &[
        "pod: missing name",
        "pod: bad name uppercase",
        "pod: name too long",
        "pod: no spec",
        "pod: empty containers",
        "pod: null containers",
        "pod: container no name",
        "pod: container bad name",
        "pod: container name 64 chars",
        "pod: container no image",
        "pod: image leading space",
        "pod: duplicate container names",
        "pod: init and container same name",
        "pod: bad imagePullPolicy",
        "pod: bad restartPolicy",
        "pod: bad dnsPolicy",
        "pod: port 0",
        "pod: port 70000",
        "pod: port bad protocol",
        "pod: limits < requests",
        "pod: negative quantity",
        "pod: unknown volume in mount",
        "pod: mount no path",
        "pod: duplicate mount paths",
        "pod: subPath with ..",
        "pod: duplicate volume names",
        "pod: volume two sources",
        "pod: volume bad name",
        "pod: hostPath ..",
        "pod: env no name",
        "pod: bad hostname",
        "pod: hostAliases bad ip",
    ];

    #[test]
    fn recorded_refusals_are_given_word_for_word() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/recordings/validation.jsonl");
        let Ok(lines) = std::fs::read_to_string(&path) else {
            return eprintln!("SKIPPED: no recordings at {}", path.display());
        };
        let (mut compared, mut wrong) = (0, Vec::new());
        for line in lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
            let name = line["name"].as_str().unwrap();
            if !COVERED.contains(&name) {
                continue;
            }
            compared += 1;
            let mut object: Pod = serde_json::from_value(line["request"]["body"].clone()).unwrap();
            crate::api::default::pod(&mut object);
            let got: Vec<String> = pod(&object).iter().map(Invalid::to_string).collect();
            let causes = line["response"]["details"]["causes"].as_array().unwrap();
            let expected: Vec<String> = causes
                .iter()
                .map(|cause| {
                    format!("{}: {}", cause["field"].as_str().unwrap(), cause["message"].as_str().unwrap())
                })
                .collect();
            if got != expected {
                wrong.push(format!("{name}:\n  got      {got:?}\n  expected {expected:?}"));
            }
        }
        assert_eq!(compared, COVERED.len(), "some of the names are not recorded");
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

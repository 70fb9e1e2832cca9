//! What the API server fills in where a manifest is silent. Pure and idempotent. Only what every server does
//! by the types themselves: what admission adds (service account volumes, tolerations, priority) is not here.

use super::quantity::Quantity;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{
    Container, EmptyDirVolumeSource, HTTPGetAction, LifecycleHandler, Pod, PodSpec, Probe,
    ResourceRequirements, Secret, Volume,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use std::collections::BTreeMap;

/// Permission bits of the files of a volume.
const FILE_MODE: i32 = 0o644;

/// Defaults a pod.
pub fn pod(pod: &mut Pod) {
    let spec = pod.spec.get_or_insert_default();
    text(&mut spec.restart_policy, "Always");
    text(&mut spec.dns_policy, "ClusterFirst");
    text(&mut spec.scheduler_name, "default-scheduler");
    spec.termination_grace_period_seconds.get_or_insert(30);
    spec.enable_service_links.get_or_insert(true);
    spec.security_context.get_or_insert_default();
    let host_network = spec.host_network == Some(true);
    spec.volumes.iter_mut().flatten().for_each(volume);
    for one in containers(spec) {
        container(one, host_network);
    }
}

/// Defaults a Secret: `stringData` goes into `data`.
pub fn secret(secret: &mut Secret) {
    text(&mut secret.type_, "Opaque");
    if let Some(strings) = secret.string_data.take() {
        let data = secret.data.get_or_insert_default();
        data.extend(strings.into_iter().map(|(key, value)| (key, ByteString(value.into_bytes()))));
    }
}

fn containers(spec: &mut PodSpec) -> impl Iterator<Item = &mut Container> {
    spec.init_containers.iter_mut().flatten().chain(&mut spec.containers)
}

fn text(field: &mut Option<String>, default: &str) {
    if field.as_deref().unwrap_or_default().is_empty() {
        *field = Some(default.to_owned());
    }
}

fn container(container: &mut Container, host_network: bool) {
    let policy = match tag(container.image.as_deref().unwrap_or_default()) {
        Some("latest") | None => "Always",
        Some(_) => "IfNotPresent",
    };
    text(&mut container.image_pull_policy, policy);
    text(&mut container.termination_message_path, "/dev/termination-log");
    text(&mut container.termination_message_policy, "File");
    for port in container.ports.iter_mut().flatten() {
        text(&mut port.protocol, "TCP");
        if host_network {
            port.host_port.get_or_insert(port.container_port);
        }
    }
    resources(container.resources.get_or_insert_default());
    let probes =
        [&mut container.liveness_probe, &mut container.readiness_probe, &mut container.startup_probe];
    probes.into_iter().flatten().for_each(probe);
    if let Some(lifecycle) = &mut container.lifecycle {
        [&mut lifecycle.post_start, &mut lifecycle.pre_stop].into_iter().flatten().for_each(handler);
    }
    for variable in container.env.iter_mut().flatten() {
        let Some(source) = &mut variable.value_from else { continue };
        if let Some(reference) = &mut source.field_ref {
            text(&mut reference.api_version, "v1");
        }
        if let Some(reference) = &mut source.resource_field_ref {
            reference.divisor.get_or_insert_with(|| Text("0".to_owned()));
        }
    }
}

/// An image's tag; a digest counts as one that never moves, and no tag is `latest`.
fn tag(image: &str) -> Option<&str> {
    if image.contains('@') {
        return Some("@");
    }
    // A colon before a slash is a registry's port.
    let name = image.rsplit('/').next().unwrap_or_default();
    name.split_once(':').map(|(_, tag)| tag)
}

/// A limit is a request where there is none; quantities are written canonically.
fn resources(resources: &mut ResourceRequirements) {
    if let Some(limits) = &resources.limits {
        let requests = resources.requests.get_or_insert_default();
        for (name, limit) in limits {
            requests.entry(name.clone()).or_insert_with(|| limit.clone());
        }
    }
    [&mut resources.limits, &mut resources.requests].into_iter().flatten().for_each(canonical);
}

fn canonical(list: &mut BTreeMap<String, Text>) {
    for text in list.values_mut() {
        // What is no quantity is left for validation to name. Less than a thousandth rounds up to one.
        if let Ok(quantity) = Quantity::parse(&text.0) {
            text.0 = quantity.at_least_milli().to_string();
        }
    }
}

fn probe(probe: &mut Probe) {
    let fields = [
        (&mut probe.timeout_seconds, 1),
        (&mut probe.period_seconds, 10),
        (&mut probe.success_threshold, 1),
        (&mut probe.failure_threshold, 3),
    ];
    for (field, default) in fields {
        // Zero is not a choice but an absence, as in Go.
        if field.unwrap_or(0) == 0 {
            *field = Some(default);
        }
    }
    if let Some(get) = &mut probe.http_get {
        http_get(get);
    }
    if let Some(grpc) = &mut probe.grpc {
        grpc.service.get_or_insert_default();
    }
}

fn handler(handler: &mut LifecycleHandler) {
    if let Some(get) = &mut handler.http_get {
        http_get(get);
    }
}

fn http_get(get: &mut HTTPGetAction) {
    text(&mut get.path, "/");
    text(&mut get.scheme, "HTTP");
}

fn volume(volume: &mut Volume) {
    if is_bare(volume) {
        volume.empty_dir = Some(EmptyDirVolumeSource::default());
    }
    if let Some(host) = &mut volume.host_path {
        host.type_.get_or_insert_default();
    }
    if let Some(source) = &mut volume.config_map {
        source.default_mode.get_or_insert(FILE_MODE);
    }
    if let Some(source) = &mut volume.secret {
        source.default_mode.get_or_insert(FILE_MODE);
    }
    if let Some(source) = &mut volume.downward_api {
        source.default_mode.get_or_insert(FILE_MODE);
        downward(source.items.iter_mut().flatten());
    }
    if let Some(projected) = &mut volume.projected {
        projected.default_mode.get_or_insert(FILE_MODE);
        for source in projected.sources.iter_mut().flatten() {
            if let Some(token) = &mut source.service_account_token {
                token.expiration_seconds.get_or_insert(3600);
            }
            downward(source.downward_api.iter_mut().flat_map(|source| source.items.iter_mut().flatten()));
        }
    }
}

fn downward<'a>(items: impl Iterator<Item = &'a mut k8s_openapi::api::core::v1::DownwardAPIVolumeFile>) {
    for item in items {
        if let Some(reference) = &mut item.field_ref {
            text(&mut reference.api_version, "v1");
        }
        if let Some(reference) = &mut item.resource_field_ref {
            reference.divisor.get_or_insert_with(|| Text("0".to_owned()));
        }
    }
}

/// A volume that names no source at all.
fn is_bare(volume: &Volume) -> bool {
    *volume == Volume { name: volume.name.clone(), ..Volume::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::path::Path;

    #[test]
    fn the_pull_policy_follows_the_tag() {
        for (image, policy) in [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1.25", "IfNotPresent"),
            ("reg.example:5000/x/y", "Always"),
            ("reg.example:5000/x/y:1", "IfNotPresent"),
            ("nginx@sha256:aa", "IfNotPresent"),
        ] {
            let mut one = Container { image: Some(image.into()), ..Container::default() };
            container(&mut one, false);
            assert_eq!(one.image_pull_policy.as_deref(), Some(policy), "{image}");
        }
    }

    /// What admission plugins add to a recorded pod, which are no part of this module.
    fn without_admission(mut spec: Value, asked: &Value) -> Value {
        let token =
            |item: &Value| item["name"].as_str().is_some_and(|name| name.starts_with("kube-api-access-"));
        let fields = spec.as_object_mut().unwrap();
        for field in ["serviceAccountName", "serviceAccount", "tolerations", "priority", "preemptionPolicy"] {
            match asked.get(field) {
                Some(value) => fields.insert(field.into(), value.clone()),
                None => fields.remove(field),
            };
        }
        let strip = |holder: &mut Value, field: &str| {
            if let Some(items) = holder.get_mut(field).and_then(Value::as_array_mut) {
                items.retain(|item| !token(item));
                if items.is_empty() {
                    holder.as_object_mut().unwrap().remove(field);
                }
            }
        };
        strip(&mut spec, "volumes");
        for list in ["containers", "initContainers"] {
            for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                strip(container, "volumeMounts");
            }
        }
        spec
    }

    /// Recorded answers of a real API server that are not this module's to give.
    const ELSEWHERE: &[(&str, &str)] = &[
        ("create pod under limitrange", "a LimitRange's defaults come from admission"),
        ("create pod volumes", "volume types that podbox does not have keep their own defaults"),
        ("create pod pod-level resources", "pod-level resources are refused by api::support"),
    ];

    #[test]
    fn recorded_pods_are_defaulted_as_an_api_server_does() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/recordings/defaulting.jsonl");
        let Ok(lines) = std::fs::read_to_string(&path) else {
            return eprintln!("SKIPPED: no recordings at {}", path.display());
        };
        let (mut compared, mut wrong) = (0, Vec::new());
        for line in lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
            let (asked, answer) = (&line["request"]["body"], &line["response"]);
            let name = line["name"].as_str().unwrap();
            if line["status"] != json!(201) || ELSEWHERE.iter().any(|(other, _)| *other == name) {
                continue;
            }
            let (got, expected) = match answer["kind"].as_str() {
                Some("Pod") => {
                    let spec = serde_json::from_value(asked["spec"].clone()).unwrap();
                    let mut object = Pod { spec, ..Pod::default() };
                    pod(&mut object);
                    let expected = without_admission(answer["spec"].clone(), &asked["spec"]);
                    // Through the same types, so that both are written alike.
                    let expected: PodSpec = serde_json::from_value(expected).unwrap();
                    (json!(object.spec), json!(expected))
                }
                Some("Secret") => {
                    // The recorder's placeholders for times are none.
                    let bare = |object: &Value| -> Secret {
                        let mut object = object.clone();
                        object["metadata"] = json!({});
                        serde_json::from_value(object).unwrap()
                    };
                    let (mut object, expected) = (bare(asked), bare(answer));
                    secret(&mut object);
                    (json!([object.data, object.type_]), json!([expected.data, expected.type_]))
                }
                _ => continue,
            };
            compared += 1;
            if got != expected {
                wrong.push(format!("{name}:\n  got      {got}\n  expected {expected}"));
            }
        }
        assert!(compared > 15, "only {compared} recorded objects were compared");
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

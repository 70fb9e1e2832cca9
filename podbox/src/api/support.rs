//! What podbox does not honour yet. A pod that asks for it is refused with each field's path and the reason:
//! a field is honoured or named, never silently dropped.

use super::ephemeral;
use super::init;
use super::probe::{self, Periods, TcpProbe};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Volume};
use serde_json::Value;
use std::fmt;

/// A field that is not honoured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// Its path: `spec.containers[0].volumeDevices`.
    pub path: String,
    /// What is missing, and what would happen if it were ignored.
    pub why: &'static str,
    /// It asks for what cannot be, rather than for what is not there yet.
    pub invalid: bool,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.invalid { "invalid" } else { "not supported yet" };
        write!(f, "{}: {what}: {}", self.path, self.why)
    }
}

/// Whether pods can have tokens of their service accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokens {
    /// There is no API that would issue them.
    None,
    /// The API issues and renews them; it knows claims, too.
    ForApi,
}

/// Every field of a pod that podbox does not honour.
pub fn unsupported(pod: &Pod, tokens: Tokens) -> Vec<Unsupported> {
    let mut found = Found { tokens, all: Vec::new() };
    if let Some(spec) = &pod.spec {
        found.pod(spec);
    }
    if let Some(why) = init::complaint(pod) {
        found.annotation(true, init::ANNOTATION, why);
    }
    for (key, text) in pod.metadata.annotations.iter().flatten() {
        let periods = [probe::PERIOD, probe::PERIOD_UNTIL_READY].contains(&key.as_str());
        let unread = periods && Periods::parse(text).is_err();
        let why = "it is no list of [CONTAINER[/PROBE]=]DURATION, like `500ms, web=2s, web/liveness=30s`";
        found.annotation(unread, key, why);
        let unread = key == probe::TCP && TcpProbe::parse(text).is_none();
        found.annotation(unread, key, "it is neither `connect` nor `socket-state`");
    }
    found.all
}

struct Found {
    tokens: Tokens,
    all: Vec<Unsupported>,
}

impl Found {
    fn add(&mut self, is_set: bool, path: impl Into<String>, why: &'static str) {
        if is_set {
            self.all.push(Unsupported { path: path.into(), why, invalid: false });
        }
    }

    fn annotation(&mut self, is_wrong: bool, key: &str, why: &'static str) {
        if is_wrong {
            self.all.push(Unsupported { path: format!("metadata.annotations[{key}]"), why, invalid: true });
        }
    }

    fn pod(&mut self, spec: &PodSpec) {
        self.add(spec.host_users == Some(false), "spec.hostUsers", "there are no user namespaces yet");
        // With an API, the node refuses it, in the kubelet's words.
        let foreign = spec.os.as_ref().is_some_and(|os| os.name != "linux");
        self.add(foreign && self.tokens == Tokens::None, "spec.os.name", "this is Linux");
        self.add(any(&spec.resource_claims), "spec.resourceClaims", "no devices are allocated");
        let classes = self.tokens == Tokens::ForApi;
        self.add(
            spec.runtime_class_name.is_some() && !classes,
            "spec.runtimeClassName",
            "there is no API that would know the class",
        );
        self.add(
            any(&spec.scheduling_gates) && self.tokens == Tokens::None,
            "spec.schedulingGates",
            "there is no API in which somebody would open them",
        );
        self.add(
            any(&spec.readiness_gates) && self.tokens == Tokens::None,
            "spec.readinessGates",
            "there is no API in which somebody would set their conditions",
        );
        if let Some(security) = &spec.security_context {
            let given = serde_json::to_value(security).unwrap_or_default();
            const HONOURED: &[&str] = &[
                "fsGroup",
                "fsGroupChangePolicy",
                "seLinuxChangePolicy",
                "seLinuxOptions",
                "windowsOptions",
                "runAsUser",
                "runAsGroup",
                "runAsNonRoot",
                "supplementalGroups",
                "supplementalGroupsPolicy",
                "seccompProfile",
                "sysctls",
            ];
            self.security(given, HONOURED, "spec.securityContext");
        }
        for (index, volume) in spec.volumes.iter().flatten().enumerate() {
            self.volume(volume, &format!("spec.volumes[{index}]"));
        }
        for (index, container) in spec.init_containers.iter().flatten().enumerate() {
            let path = format!("spec.initContainers[{index}]");
            self.container(container, &path);
        }
        for (index, container) in spec.containers.iter().enumerate() {
            let path = format!("spec.containers[{index}]");
            self.container(container, &path);
        }
        for (index, one) in spec.ephemeral_containers.iter().flatten().enumerate() {
            self.container(&ephemeral::as_container(one), &format!("spec.ephemeralContainers[{index}]"));
        }
    }

    fn container(&mut self, container: &Container, path: &str) {
        let mut add = |is_set: bool, field: &str, why| self.add(is_set, format!("{path}.{field}"), why);
        add(any(&container.volume_devices), "volumeDevices", "there are no block volumes");
        add(
            container.resources.as_ref().is_some_and(|resources| any(&resources.claims)),
            "resources.claims",
            "no devices are allocated",
        );
        for (field, list) in [
            ("limits", container.resources.as_ref().and_then(|resources| resources.limits.as_ref())),
            ("requests", container.resources.as_ref().and_then(|resources| resources.requests.as_ref())),
        ] {
            for name in list.into_iter().flatten().map(|(name, _)| name) {
                if let Some(why) = unknown_resource(name, self.tokens) {
                    self.add(true, format!("{path}.resources.{field}[{name}]"), why);
                }
            }
        }
        for (index, variable) in container.env.iter().flatten().enumerate() {
            let source = variable.value_from.as_ref().and_then(|source| source.file_key_ref.as_ref());
            let path = format!("{path}.env[{index}].valueFrom.fileKeyRef");
            self.add(source.is_some(), path, "files of containers are not read for variables");
        }
        if let Some(security) = &container.security_context {
            let given = serde_json::to_value(security).unwrap_or_default();
            const HONOURED: &[&str] = &[
                "allowPrivilegeEscalation",
                "capabilities",
                "privileged",
                "readOnlyRootFilesystem",
                "runAsGroup",
                "runAsNonRoot",
                "runAsUser",
                "seLinuxOptions",
                "seccompProfile",
                "windowsOptions",
            ];
            let path = format!("{path}.securityContext");
            self.security(given, HONOURED, &path);
        }
    }

    fn volume(&mut self, volume: &Volume, path: &str) {
        let given = serde_json::to_value(volume).unwrap_or_default();
        const HONOURED: &[&str] = &[
            "name",
            "configMap",
            "downwardAPI",
            "emptyDir",
            "ephemeral",
            "hostPath",
            "persistentVolumeClaim",
            "projected",
            "secret",
        ];
        self.others(&given, HONOURED, path, "podbox has no volumes of this type");
        let medium = volume.empty_dir.as_ref().and_then(|source| source.medium.as_deref());
        self.add(
            medium.is_some_and(|medium| !["", "Memory"].contains(&medium)),
            format!("{path}.emptyDir.medium"),
            "only the default medium and Memory",
        );
        let sized = volume.empty_dir.as_ref().is_some_and(|dir| {
            dir.size_limit.is_some() && dir.medium.as_deref().unwrap_or_default().is_empty()
        });
        self.add(sized && self.tokens == Tokens::None, format!("{path}.emptyDir.sizeLimit"), UNMEASURED);
        let claims = volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some();
        self.add(
            claims && self.tokens == Tokens::None,
            path,
            "there is no API that would know what the claim is bound to",
        );
        let sources = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
        for (index, source) in sources.enumerate() {
            let given = serde_json::to_value(source).unwrap_or_default();
            let path = format!("{path}.projected.sources[{index}]");
            let honoured = ["configMap", "downwardAPI", "secret", "serviceAccountToken"];
            self.others(&given, &honoured, &path, "nothing would issue it");
            let token = source.service_account_token.is_some() && self.tokens == Tokens::None;
            self.add(token, format!("{path}.serviceAccountToken"), "there is no API that would issue it");
        }
    }

    /// A security context, of which some fields are honoured whatever they say, and others as long as they ask for nothing.
    /// `seLinuxOptions` and `seLinuxChangePolicy` are without effect, as under every kubelet on a host without SELinux:
    /// podbox labels nothing. So are `windowsOptions` on Linux.
    fn security(&mut self, mut given: Value, honoured: &[&str], path: &str) {
        let mut take = |field: &str| given.as_object_mut().and_then(|fields| fields.remove(field));
        let confined = take("appArmorProfile").is_some_and(|profile| profile["type"] != "Unconfined");
        let unmasked = take("procMount").is_some_and(|mount| mount != "Default");
        // With an API the node refuses such a pod itself, in the kubelet's words (`pod::admit`).
        let confined = confined && self.tokens == Tokens::None;
        self.add(confined, format!("{path}.appArmorProfile"), "it would not be applied");
        self.add(
            unmasked,
            format!("{path}.procMount"),
            "Unmasked waits for user namespaces (hostUsers: false)",
        );
        self.others(&given, honoured, path, "it would not be applied");
    }

    /// Fields that are set and not among those honoured.
    fn others(&mut self, given: &Value, honoured: &[&str], path: &str, why: &'static str) {
        for field in given.as_object().into_iter().flat_map(|fields| fields.keys()) {
            self.add(!honoured.contains(&field.as_str()), format!("{path}.{field}"), why);
        }
    }
}

/// Why limits of what is on disk are for nodes with an API: pods that exceed them are evicted.
const UNMEASURED: &str = "what pods write is measured by `podbox node` only";

/// An empty list asks for nothing.
fn any<T>(list: &Option<Vec<T>>) -> bool {
    list.as_ref().is_some_and(|list| !list.is_empty())
}

/// Why a resource cannot be had.
fn unknown_resource(name: &str, tokens: Tokens) -> Option<&'static str> {
    match name {
        "cpu" | "memory" => None,
        "ephemeral-storage" if tokens == Tokens::ForApi => None,
        "ephemeral-storage" => Some(UNMEASURED),
        // Whoever brought it has put it on the node, or no node has it and the pod waits.
        _ if name.contains('/') && tokens == Tokens::ForApi => None,
        _ if name.starts_with("hugepages-") && tokens == Tokens::ForApi => None,
        _ if name.starts_with("hugepages-") => Some("this node reserves no huge pages"),
        _ => Some("this node has no such resource"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(spec: &str, paths: &[&str]) {
        check_with(Tokens::ForApi, spec, paths);
    }

    #[track_caller]
    fn check_with(tokens: Tokens, spec: &str, paths: &[&str]) {
        let text = format!("{{apiVersion: v1, kind: Pod, metadata: {{name: a}}, spec: {spec}}}");
        let mut pod: Pod = serde_yaml::from_str(&text).unwrap();
        crate::api::rules::Rules::default(&mut pod);
        let found: Vec<_> = unsupported(&pod, tokens).into_iter().map(|field| field.path).collect();
        assert_eq!(found, paths, "{spec}");
    }

    #[test]
    fn an_ordinary_pod_is_honoured_in_full() {
        check(
            "{initContainers: [{name: s, image: i, restartPolicy: Always}], volumes: [{name: v}, {name: h, hostPath: {path: /x}}], \
             containers: [{name: c, image: i, resources: {limits: {cpu: 1, memory: 1Gi}}, lifecycle: {stopSignal: SIGINT}, \
             securityContext: {runAsUser: 3, capabilities: {add: [NET_ADMIN]}}, ports: [{containerPort: 80}]}]}",
            &[],
        );
    }

    #[test]
    fn what_asks_for_nothing_that_this_host_has_is_no_obstacle() {
        check(
            "{resourceClaims: [], securityContext: {seLinuxOptions: {level: s0}, seLinuxChangePolicy: Recursive}, \
             containers: [{name: c, image: i, volumeDevices: [], resources: {claims: []}, \
             securityContext: {seLinuxOptions: {type: spc_t}, windowsOptions: {runAsUserName: x}}}]}",
            &[],
        );
    }

    #[test]
    fn what_only_an_api_can_give_is_refused_without_one() {
        let spec = |volume: &str| {
            format!("{{volumes: [{{name: v, {volume}}}], containers: [{{name: c, image: i}}]}}")
        };
        let token = spec("projected: {sources: [{serviceAccountToken: {path: t, audience: vault}}]}");
        let at = "spec.volumes[0].projected.sources[0].serviceAccountToken";
        check_with(Tokens::ForApi, &token, &[]);
        check_with(Tokens::None, &token, &[at]);
        let claim = spec("persistentVolumeClaim: {claimName: c}");
        check_with(Tokens::ForApi, &claim, &[]);
        check_with(Tokens::None, &claim, &["spec.volumes[0]"]);
        let sized = spec("emptyDir: {sizeLimit: 1Gi}");
        check_with(Tokens::ForApi, &sized, &[]);
        check_with(Tokens::None, &sized, &["spec.volumes[0].emptyDir.sizeLimit"]);
        let in_memory = spec("emptyDir: {sizeLimit: 1Gi, medium: Memory}");
        check_with(Tokens::None, &in_memory, &[]);
        let limited = "{containers: [{name: c, image: i, resources: {limits: {ephemeral-storage: 1Gi}}}]}";
        check_with(Tokens::ForApi, limited, &[]);
        let at = |what| format!("spec.containers[0].resources.{what}[ephemeral-storage]");
        check_with(Tokens::None, limited, &[&at("limits"), &at("requests")]);
        let gated = "{schedulingGates: [{name: g}], containers: [{name: c, image: i}]}";
        check_with(Tokens::ForApi, gated, &[]);
        check_with(Tokens::None, gated, &["spec.schedulingGates"]);
        let empty = "{schedulingGates: [], readinessGates: [], resourceClaims: [], containers: [{name: c, image: i, volumeDevices: []}]}";
        check_with(Tokens::None, empty, &[]);
        let dongle = "{containers: [{name: c, image: i, resources: {limits: {example.com/dongle: 1}}}]}";
        check_with(Tokens::ForApi, dongle, &[]);
        let at = |what| format!("spec.containers[0].resources.{what}[example.com/dongle]");
        check_with(Tokens::None, dongle, &[&at("limits"), &at("requests")]);
        let pages = "{containers: [{name: c, image: i, resources: {limits: {hugepages-2Mi: 4Mi, cpu: 1}}}]}";
        check_with(Tokens::ForApi, pages, &[]);
        let at = |what| format!("spec.containers[0].resources.{what}[hugepages-2Mi]");
        check_with(Tokens::None, pages, &[&at("limits"), &at("requests")]);
        let confined =
            "{securityContext: {appArmorProfile: {type: RuntimeDefault}}, containers: [{name: c, image: i}]}";
        check_with(Tokens::ForApi, confined, &[]);
        check_with(Tokens::None, confined, &["spec.securityContext.appArmorProfile"]);
    }

    #[test]
    fn a_period_that_cannot_be_read_is_named() {
        let text = "{metadata: {name: a, annotations: {podbox.io/probe-period: soon, other: soon}}, \
            spec: {containers: [{name: c, image: i}]}}";
        let found = unsupported(&serde_yaml::from_str(text).unwrap(), Tokens::ForApi);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, "metadata.annotations[podbox.io/probe-period]");
    }

    #[test]
    fn what_is_not_honoured_is_named() {
        check(
            "{hostUsers: false, securityContext: {fsGroup: 5, appArmorProfile: {type: Unconfined}}, \
             volumes: [{name: v, nfs: {server: s, path: /p}}], \
             containers: [{name: c, image: i, volumeDevices: [{name: v, devicePath: /d}], \
             securityContext: {procMount: Unmasked}}]}",
            &[
                "spec.hostUsers",
                "spec.volumes[0].nfs",
                "spec.containers[0].volumeDevices",
                "spec.containers[0].securityContext.procMount",
            ],
        );
    }
}

//! What no room on a node helps against: another system, kernel settings that are not allowed, profiles that cannot be
//! enforced. Pure; the words are the kubelet's.

use crate::sandbox::sysctl;
use k8s_openapi::api::core::v1::Pod;
use std::borrow::Cow;

/// Why a pod is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Upstream's reason, for the pod's status and for an Event.
    pub reason: Cow<'static, str>,
    /// In words.
    pub message: String,
}

/// What this system is called.
const SYSTEM: &str = "linux";
/// The label by which pods say what they are for.
const SYSTEM_LABEL: &str = "kubernetes.io/os";

/// Whether a pod is for this system. Like the kubelet, it looks at the pod's label, and not at its selector of nodes: that is
/// one as any other.
pub fn system(pod: &Pod) -> Result<(), Rejection> {
    let refuse = |reason: &'static str, what: &str, node: &str| {
        let message = format!("Failed to admit pod as the {what} doesn't match node {node}");
        Err(Rejection { reason: reason.into(), message })
    };
    let label = pod.metadata.labels.as_ref().and_then(|labels| labels.get(SYSTEM_LABEL));
    if label.is_some_and(|label| label != SYSTEM) {
        return refuse("PodOSSelectorNodeLabelDoesNotMatch", "`kubernetes.io/os` label", "label");
    }
    let os = pod.spec.as_ref().and_then(|spec| spec.os.as_ref());
    if os.is_some_and(|os| os.name != SYSTEM) {
        return refuse("PodOSNotSupported", "OS field", "OS");
    }
    Ok(())
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

/// Whether a pod asks for no AppArmor profile, since podbox applies none; `enabled` says whether the host has AppArmor at all.
pub fn app_armor(pod: &Pod, enabled: bool) -> Result<(), Rejection> {
    let Some(spec) = &pod.spec else { return Ok(()) };
    let of_pod = spec.security_context.iter().flat_map(|context| &context.app_armor_profile);
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let contexts = containers.filter_map(|container| container.security_context.as_ref());
    let of_containers = contexts.flat_map(|context| &context.app_armor_profile);
    if !of_pod.chain(of_containers).any(|profile| profile.type_ != "Unconfined") {
        return Ok(());
    }
    let why = match enabled {
        true => "podbox does not apply its profiles",
        false => "AppArmor is not enabled on the host",
    };
    Err(Rejection { reason: "AppArmor".into(), message: format!("Cannot enforce AppArmor: {why}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_that_nobody_enforces_are_refused() {
        let check = |spec: &str, enabled: bool, expected: Option<&str>| {
            let pod: Pod = serde_yaml::from_str(&format!("{{spec: {spec}}}")).unwrap();
            let message = app_armor(&pod, enabled).err().map(|rejection| rejection.message);
            assert_eq!(message.as_deref(), expected, "{spec}");
        };
        let profile = |kind: &str| format!("securityContext: {{appArmorProfile: {{type: {kind}}}}}");
        let none = Some("Cannot enforce AppArmor: AppArmor is not enabled on the host");
        check(&format!("{{{}, containers: []}}", profile("RuntimeDefault")), false, none);
        check(&format!("{{containers: [{{name: c, {}}}]}}", profile("Localhost")), false, none);
        let init =
            format!("{{containers: [], initContainers: [{{name: c, {}}}]}}", profile("RuntimeDefault"));
        check(&init, true, Some("Cannot enforce AppArmor: podbox does not apply its profiles"));
        check(&format!("{{{}, containers: [{{name: c}}]}}", profile("Unconfined")), false, None);
        check("{containers: [{name: c}]}", false, None);
    }

    #[test]
    fn a_pod_that_is_labelled_for_another_system_is_refused() {
        let check = |labels: &str, expected: Option<&str>| {
            let pod: Pod = serde_yaml::from_str(&format!("{{metadata: {{labels: {{{labels}}}}}}}")).unwrap();
            let rejected = system(&pod).err();
            assert_eq!(rejected.as_ref().map(|rejected| &*rejected.reason), expected);
            let said = "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label";
            assert!(rejected.is_none_or(|rejected| rejected.message == said));
        };
        check("", None);
        check("kubernetes.io/os: linux", None);
        check("kubernetes.io/os: windows", Some("PodOSSelectorNodeLabelDoesNotMatch"));
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

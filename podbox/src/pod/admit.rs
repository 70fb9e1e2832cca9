//! What no room on a node helps against: kernel settings that are not allowed. Pure; the words are the kubelet's.

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

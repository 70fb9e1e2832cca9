//! Security contexts of pods and containers: what is wrong with them.

use crate::api::field::{Errors, Path, Reason};
use crate::api::rules::check::{self, id, json, one_of, required_word, text};
use k8s_openapi::api::core::v1::{
    AppArmorProfile, PodSecurityContext, PodSpec, SeccompProfile, SecurityContext, Sysctl,
};
use std::collections::BTreeSet;

/// What upstream shows where a pod's security context is at fault: the flags lie beside it in the API, but in it
/// internally, and so do the paths.
pub fn pod(errors: &mut Errors, path: &Path, spec: &PodSpec) {
    let at = path.child("securityContext");
    let none = PodSecurityContext::default();
    let context = spec.security_context.as_ref().unwrap_or(&none);
    if spec.host_network == Some(true) {
        host_network(errors, path, spec);
    }
    id(errors, &at.child("fsGroup"), context.fs_group);
    id(errors, &at.child("runAsUser"), context.run_as_user);
    id(errors, &at.child("runAsGroup"), context.run_as_group);
    for (index, group) in context.supplemental_groups.iter().flatten().enumerate() {
        let list = at.child("supplementalGroups");
        id(errors, &list.index(index), Some(*group));
    }
    if spec.share_process_namespace == Some(true) && spec.host_pid == Some(true) {
        let why = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.invalid(&at.child("shareProcessNamespace"), true, why);
    }
    sysctls(errors, &at.child("sysctls"), context.sysctls.as_deref().unwrap_or_default());
    if let Some(policy) = &context.fs_group_change_policy {
        one_of(errors, &at.child("fsGroupChangePolicy"), policy, &["Always", "OnRootMismatch"]);
    }
    seccomp(errors, &at.child("seccompProfile"), context.seccomp_profile.as_ref());
    if let Some(policy) = &context.supplemental_groups_policy {
        one_of(errors, &at.child("supplementalGroupsPolicy"), policy, &["Merge", "Strict"]);
    }
    app_armor(errors, &at.child("appArmorProfile"), context.app_armor_profile.as_ref());
    if let Some(policy) = &context.se_linux_change_policy {
        one_of(errors, &at.child("seLinuxChangePolicy"), policy, &["MountOption", "Recursive"]);
    }
}

/// On the host's network a container's port is the host's.
fn host_network(errors: &mut Errors, path: &Path, spec: &PodSpec) {
    let init = spec.init_containers.iter().flatten();
    for (list, containers) in
        [("containers", spec.containers.iter().collect::<Vec<_>>()), ("initContainers", init.collect())]
    {
        for (index, container) in containers.into_iter().enumerate() {
            for (number, port) in container.ports.iter().flatten().enumerate() {
                let host = port.host_port.unwrap_or(0);
                if host != port.container_port && host != 0 {
                    let (list, at) = (path.child(list), "ports");
                    let container = list.index(index);
                    errors.invalid(
                        &container.child(at).index(number).child("hostPort"),
                        host,
                        "must match `containerPort` when `hostNetwork` is true",
                    );
                }
            }
        }
    }
}

fn sysctls(errors: &mut Errors, path: &Path, sysctls: &[Sysctl]) {
    let mut seen = BTreeSet::new();
    for (index, sysctl) in sysctls.iter().enumerate() {
        let list = path.index(index);
        let at = list.child("name");
        if sysctl.name.is_empty() {
            errors.required(&at, "");
        } else if sysctl.name.len() > 253 || !is_sysctl(&sysctl.name) {
            let why = "must have at most 253 characters and match regex \
                       ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
            errors.invalid(&at, sysctl.name.as_str(), why);
        } else if !seen.insert(sysctl.name.replace('/', ".")) {
            errors.duplicate(&at, sysctl.name.as_str());
        }
    }
}

fn is_sysctl(name: &str) -> bool {
    name.split(['.', '/']).all(|part| {
        let edge =
            |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let inner =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
        edge(part.as_bytes().first()) && edge(part.as_bytes().last()) && part.bytes().all(inner)
    })
}

fn seccomp(errors: &mut Errors, path: &Path, profile: Option<&SeccompProfile>) {
    let Some(profile) = profile else { return };
    let (at, local) = (path.child("localhostProfile"), text(&profile.localhost_profile));
    required_word(
        errors,
        &path.child("type"),
        &profile.type_,
        &["Localhost", "RuntimeDefault", "Unconfined"],
    );
    match profile.type_.as_str() {
        "Localhost" if local.is_empty() => {
            errors.required(&at, "must be set when seccomp type is Localhost");
        }
        "Localhost" => check::local_path(errors, &at, local),
        _ if profile.localhost_profile.is_some() => {
            errors.invalid(&at, local, "can only be set when seccomp type is Localhost");
        }
        _ => {}
    }
}

fn app_armor(errors: &mut Errors, path: &Path, profile: Option<&AppArmorProfile>) {
    let Some(profile) = profile else { return };
    let (at, local) = (path.child("localhostProfile"), text(&profile.localhost_profile));
    required_word(
        errors,
        &path.child("type"),
        &profile.type_,
        &["Localhost", "RuntimeDefault", "Unconfined"],
    );
    match profile.type_.as_str() {
        "Localhost" if local.trim().is_empty() => {
            errors.required(&at, "must be set when AppArmor type is Localhost");
        }
        "Localhost" if local.trim() != local => {
            errors.invalid(&at, local, "must not be padded with whitespace");
        }
        "Localhost" => {}
        _ if profile.localhost_profile.is_some() => {
            errors.invalid(&at, local, "can only be set when AppArmor type is Localhost");
        }
        _ => {}
    }
}

/// A container's security context.
pub fn container(errors: &mut Errors, path: &Path, context: &SecurityContext, host_users: Option<bool>) {
    id(errors, &path.child("runAsUser"), context.run_as_user);
    id(errors, &path.child("runAsGroup"), context.run_as_group);
    if let Some(mount) = &context.proc_mount {
        let at = path.child("procMount");
        one_of(errors, &at, mount, &["Default", "Unmasked"]);
        if mount == "Unmasked" && host_users != Some(false) {
            let why = "`hostUsers` must be false to use `Unmasked`";
            errors.invalid(&at, mount.as_str(), why);
        }
    }
    seccomp(errors, &path.child("seccompProfile"), context.seccomp_profile.as_ref());
    if context.allow_privilege_escalation == Some(false) {
        let why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
        if context.privileged == Some(true) {
            errors.add_shown(Reason::Invalid, path, shown(context), why);
        }
        let added = context.capabilities.iter().flat_map(|capabilities| capabilities.add.iter().flatten());
        if added.into_iter().any(|name| name == "CAP_SYS_ADMIN") {
            let why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.add_shown(Reason::Invalid, path, shown(context), why);
        }
    }
    app_armor(errors, &path.child("appArmorProfile"), context.app_armor_profile.as_ref());
}

/// A security context as upstream shows it: by the names of Go's fields.
fn shown(context: &SecurityContext) -> String {
    let capabilities = context.capabilities.as_ref().map(|capabilities| {
        format!("{{\"Add\":{},\"Drop\":{}}}", json(&capabilities.add), json(&capabilities.drop))
    });
    let fields = [
        ("Capabilities", capabilities.unwrap_or_else(|| "null".to_owned())),
        ("Privileged", json(context.privileged).to_string()),
        ("SELinuxOptions", json(&context.se_linux_options).to_string()),
        ("WindowsOptions", json(&context.windows_options).to_string()),
        ("RunAsUser", json(context.run_as_user).to_string()),
        ("RunAsGroup", json(context.run_as_group).to_string()),
        ("RunAsNonRoot", json(context.run_as_non_root).to_string()),
        ("ReadOnlyRootFilesystem", json(context.read_only_root_filesystem).to_string()),
        ("AllowPrivilegeEscalation", json(context.allow_privilege_escalation).to_string()),
        ("ProcMount", json(&context.proc_mount).to_string()),
        ("SeccompProfile", json(&context.seccomp_profile).to_string()),
        ("AppArmorProfile", json(&context.app_armor_profile).to_string()),
    ];
    let fields: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

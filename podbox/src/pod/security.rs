//! What a container may do and as whom, out of its own and its pod's security context: the container's word goes
//! first. Pure; what cannot be is said in the kubelet's words.

use super::compose::{Context, config_error};
use super::observed::StartFailure;
use crate::api::image::ImageConfig;
use crate::sandbox::spec::{Seccomp, Security, User};
use k8s_openapi::api::core::v1::{Container, PodSecurityContext, PodSpec, SeccompProfile, SecurityContext};

/// Who a container runs as.
pub fn user(
    context: &Context<'_>,
    spec: &PodSpec,
    container: &Container,
    image: &ImageConfig,
) -> Result<User, StartFailure> {
    let of_pod = spec.security_context.clone().unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    let non_root = own.run_as_non_root.or(of_pod.run_as_non_root).unwrap_or(false);
    let uid = own.run_as_user.or(of_pod.run_as_user);
    if non_root && let Some(why) = may_be_root(uid, &image.user) {
        let meta = &context.pod.metadata;
        let (name, uid) = (meta.name.as_deref().unwrap_or_default(), context.uid);
        let pod = format!("{name}_{}({uid})", context.scope.namespace);
        return Err(config_error(format!("{why} (pod: {pod:?}, container: {})", container.name)));
    }
    Ok(User {
        image_user: image.user.clone(),
        uid: id(uid)?,
        gid: id(own.run_as_group.or(of_pod.run_as_group))?,
        groups: groups(&of_pod)?,
        strict_groups: of_pod.supplemental_groups_policy.as_deref() == Some("Strict"),
        non_root,
    })
}

/// No profile of AppArmor's is applied. A pod that asks for one is not taken; this is for containers that come to it later.
pub fn app_armor(spec: &PodSpec, container: &Container) -> Result<(), StartFailure> {
    let own = container.security_context.clone().unwrap_or_default();
    let of_pod = spec.security_context.iter().find_map(|context| context.app_armor_profile.as_ref());
    let profile = own.app_armor_profile.as_ref().or(of_pod).filter(|_| own.privileged != Some(true));
    match profile.filter(|profile| profile.type_ != "Unconfined") {
        None => Ok(()),
        Some(_) => Err(StartFailure {
            reason: "CreateContainerError".to_owned(),
            message: "failed to generate apparmor spec opts: apparmor is not supported".to_owned(),
        }),
    }
}

fn groups(of_pod: &PodSecurityContext) -> Result<Vec<u32>, StartFailure> {
    let mut groups = Vec::new();
    for group in of_pod.supplemental_groups.iter().flatten().copied().chain(of_pod.fs_group) {
        groups.extend(id(Some(group))?);
    }
    Ok(groups)
}

fn id(id: Option<i64>) -> Result<Option<u32>, StartFailure> {
    let id = id.map(u32::try_from).transpose();
    id.map_err(|_| config_error("a user or group id is out of range".to_owned()))
}

/// Why a container that must not be root might be.
fn may_be_root(uid: Option<i64>, image_user: &str) -> Option<String> {
    if let Some(uid) = uid {
        return (uid == 0).then(|| "container's runAsUser breaks non-root policy".to_owned());
    }
    let name = image_user.split(':').next().unwrap_or_default();
    match name.parse::<i64>() {
        Ok(0) => {}
        Ok(_) => return None,
        Err(_) if name.is_empty() => {}
        Err(_) => {
            return Some(format!(
                "container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root"
            ));
        }
    }
    Some("container has runAsNonRoot and image will run as root".to_owned())
}

/// What it may do; `default` is the seccomp profile of who asks for none.
pub fn of_container(spec: &PodSpec, container: &Container, default: &Seccomp) -> Security {
    let own = container.security_context.clone().unwrap_or_default();
    let privileged = own.privileged.unwrap_or(false);
    let capabilities = own.capabilities.clone().unwrap_or_default();
    Security {
        privileged,
        capabilities_add: names(capabilities.add),
        capabilities_drop: names(capabilities.drop),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        read_only_root: own.read_only_root_filesystem.unwrap_or(false),
        seccomp: seccomp(spec, &own, privileged, default),
    }
}

/// Manifests may write them with or without the prefix.
fn names(list: Option<Vec<String>>) -> Vec<String> {
    let names = list.into_iter().flatten();
    names.map(|name| name.strip_prefix("CAP_").map(str::to_owned).unwrap_or(name)).collect()
}

fn seccomp(spec: &PodSpec, own: &SecurityContext, privileged: bool, default: &Seccomp) -> Seccomp {
    let of_pod = spec.security_context.as_ref().and_then(|context| context.seccomp_profile.as_ref());
    let profile = own.seccomp_profile.as_ref().or(of_pod);
    match profile {
        // A privileged container has none, whatever is asked for.
        _ if privileged => Seccomp::Unconfined,
        Some(SeccompProfile { type_, .. }) if type_ == "Unconfined" => Seccomp::Unconfined,
        Some(SeccompProfile { type_, localhost_profile }) if type_ == "Localhost" => {
            Seccomp::Localhost(localhost_profile.clone().unwrap_or_default())
        }
        Some(_) => Seccomp::RuntimeDefault,
        None => default.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_no_profile_gets_the_nodes_default_and_who_does_gets_it() {
        let of = |pod: &str, own: &str, default: &Seccomp| {
            let spec: PodSpec =
                serde_yaml::from_str(&format!("{{containers: [], securityContext: {pod}}}")).unwrap();
            let container = serde_yaml::from_str(&format!("{{name: c, securityContext: {own}}}")).unwrap();
            of_container(&spec, &container, default).seccomp
        };
        let (standard, open) = (Seccomp::RuntimeDefault, Seccomp::Unconfined);
        let asks = "{seccompProfile: {type: RuntimeDefault}}";
        assert_eq!([of("{}", "{}", &standard), of("{}", "{}", &open)], [standard.clone(), open.clone()]);
        assert_eq!([of(asks, "{}", &open), of("{}", asks, &open)], [standard.clone(), standard.clone()]);
        assert_eq!(of(asks, "{privileged: true}", &standard), open);
    }

    #[test]
    fn who_must_not_be_root_is_known_not_to_be() {
        let none = None::<&str>;
        let root = Some("container has runAsNonRoot and image will run as root");
        let unknown =
            "container has runAsNonRoot and image has non-numeric user (web), cannot verify user is non-root";
        for (uid, image, expected) in [
            (None, "", root),
            (None, "0", root),
            (None, "0:5", root),
            (None, "1000:0", none),
            (None, "web", Some(unknown)),
            (Some(5), "0", none),
            (Some(0), "5", Some("container's runAsUser breaks non-root policy")),
        ] {
            assert_eq!(may_be_root(uid, image).as_deref(), expected, "{uid:?} {image:?}");
        }
    }
}

//! Ephemeral containers as the containers that they are. They differ in what a manifest may say of them, which the rules
//! judge, and in the container that they look at.

use k8s_openapi::api::core::v1::{Container, EphemeralContainer, Pod};

/// The same, as any other container.
pub fn as_container(one: &EphemeralContainer) -> Container {
    // Every field: one that is new in the API must not be lost here in silence.
    let EphemeralContainer {
        args,
        command,
        env,
        env_from,
        image,
        image_pull_policy,
        lifecycle,
        liveness_probe,
        name,
        ports,
        readiness_probe,
        resize_policy,
        resources,
        restart_policy,
        restart_policy_rules,
        security_context,
        startup_probe,
        stdin,
        stdin_once,
        target_container_name: _,
        termination_message_path,
        termination_message_policy,
        tty,
        volume_devices,
        volume_mounts,
        working_dir,
    } = one.clone();
    Container {
        args,
        command,
        env,
        env_from,
        image,
        image_pull_policy,
        lifecycle,
        liveness_probe,
        name,
        ports,
        readiness_probe,
        resize_policy,
        resources,
        restart_policy,
        restart_policy_rules,
        security_context,
        startup_probe,
        stdin,
        stdin_once,
        termination_message_path,
        termination_message_policy,
        tty,
        volume_devices,
        volume_mounts,
        working_dir,
    }
}

/// A pod's ephemeral containers.
pub fn of(pod: &Pod) -> impl Iterator<Item = &EphemeralContainer> {
    pod.spec.iter().flat_map(|spec| spec.ephemeral_containers.iter().flatten())
}

/// The container whose processes an ephemeral container is to see.
pub fn target(one: &EphemeralContainer) -> Option<&str> {
    one.target_container_name.as_deref().filter(|name| !name.is_empty())
}

//! Which containers of a pod have podbox's own process for the first of their PID namespace, by the word of an annotation. Pure.
//!
//! ```text
//! podbox.io/init: web, worker
//! ```
//!
//! It reaps what loses its parent, and hands signals that are sent to PID 1 from inside to the container's program, which is
//! PID 2. For everybody outside the program stays the container's first process: it is what ends with a code, is stopped, probed,
//! and killed for memory.

use k8s_openapi::api::core::v1::Pod;

/// The annotation.
pub const ANNOTATION: &str = "podbox.io/init";

/// Whether a container has one.
pub fn attends(pod: &Pod, container: &str) -> bool {
    names(pod).any(|name| name == container)
}

/// What is wrong with what a pod asks for.
pub fn complaint(pod: &Pod) -> Option<&'static str> {
    let spec = pod.spec.as_ref()?;
    let containers = || spec.init_containers.iter().flatten().chain(&spec.containers);
    let known = |name: &str| containers().any(|container| container.name == name);
    let mut names = names(pod).peekable();
    names.peek()?;
    if names.any(|name| !known(name)) {
        return Some("it is no list of containers of the pod, like `web, worker`");
    }
    match (spec.host_pid, spec.share_process_namespace) {
        (Some(true), _) => Some("in the host's PID namespace the host's own first process reaps"),
        (_, Some(true)) => {
            Some("in a PID namespace that containers share podbox's own process reaps already")
        }
        _ => None,
    }
}

fn names(pod: &Pod) -> impl Iterator<Item = &str> {
    let text = pod.metadata.annotations.as_ref().and_then(|all| all.get(ANNOTATION));
    text.into_iter().flat_map(|text| text.split(',').map(str::trim))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(annotation: &str, spec: &str) -> Pod {
        let text = format!(
            "{{metadata: {{name: p, annotations: {{podbox.io/init: '{annotation}'}}}}, \
             spec: {{initContainers: [{{name: first}}], containers: [{{name: web}}, {{name: worker}}]{spec}}}}}"
        );
        serde_yaml::from_str(&text).unwrap()
    }

    #[test]
    fn the_containers_that_are_named_have_one() {
        let asked = pod("web,first", "");
        assert!(attends(&asked, "web") && attends(&asked, "first") && !attends(&asked, "worker"));
        assert_eq!(complaint(&asked), None);
        assert_eq!(complaint(&pod(" worker , web ", "")), None);
        assert_eq!(complaint(&Pod::default()), None);
    }

    #[test]
    fn what_cannot_be_is_complained_of() {
        let check = |annotation: &str, spec: &str, word: &str| {
            let complaint = complaint(&pod(annotation, spec)).unwrap_or_default();
            assert!(complaint.contains(word), "{annotation}, {spec}: {complaint:?}");
        };
        check("wbe", "", "no list of containers");
        check("", "", "no list of containers");
        check("web,", "", "no list of containers");
        check("web", ", hostPID: true", "the host's PID namespace");
        check("web", ", shareProcessNamespace: true", "reaps already");
    }
}

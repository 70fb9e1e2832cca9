//! Gives a running container another share of the node, where the node has it and can keep it to that.

use super::Node;
use super::record::PodRecord;
use crate::api::error::chain;
use crate::api::identity::ContainerRef;
use crate::pod::resize::{self, Refusal};
use crate::pod::resources;
use crate::sandbox::runtime::Runtime;

/// Gives a container's run what its pod's manifest asks for now.
pub(super) async fn container<R: Runtime, I>(
    node: &Node<R, I>,
    pod: &PodRecord,
    run: &ContainerRef,
) -> Result<(), Refusal> {
    let refused = |infeasible: bool, message: String| Err(Refusal { infeasible, message });
    let Some(container) = pod.container(&run.name) else {
        return refused(true, format!("the pod has no container {}", run.name));
    };
    let (facts, manifest) = (&node.facts, &pod.manifest);
    if let Some(why) = resize::exceeds(manifest, facts.cpu_milli, facts.memory_bytes) {
        return refused(true, why);
    }
    let own = resources::of_container(container);
    let limits = node.runtime.unenforced(&own);
    if let Some(limit) = limits.iter().find(|limit| matches!(limit.setting, "cpu.max" | "memory.max")) {
        let (setting, controller) = (limit.setting, limit.controller);
        return refused(
            true,
            format!("{setting} needs the cgroup v2 controller {controller}, which this host lacks"),
        );
    }
    let resized = node.runtime.resize(run, &own, &resources::of_pod(manifest)).await;
    resized.or_else(|error| refused(false, chain(&error)))
}

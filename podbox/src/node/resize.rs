//! Gives a running container another share of the node, where the node has it and can keep it to that.

use super::Node;
use super::record::PodRecord;
use super::view::PodView;
use crate::api::error::chain;
use crate::api::identity::{ContainerRef, PodRef};
use crate::api::quantity::Quantity;
use crate::pod::resize::{self, Refusal, RefusalKind};
use crate::sandbox::runtime::Runtime;
use k8s_openapi::api::core::v1::ContainerStatus;

/// Gives a container's run what its pod's manifest asks for now.
pub(super) async fn container<R: Runtime, I>(
    node: &Node<R, I>,
    pod: &PodRecord,
    run: &ContainerRef,
) -> Result<(), Refusal> {
    let refused = |kind: RefusalKind, message: String| Err(Refusal { kind, message });
    let Some(container) = pod.container(&run.name) else {
        return refused(RefusalKind::Infeasible, format!("the pod has no container {}", run.name));
    };
    let (facts, manifest) = (&node.facts, &pod.manifest);
    let (cpu, memory) = (facts.allocatable.cpu_milli, facts.allocatable.memory);
    if let Some(why) = resize::exceeds(manifest, cpu, memory) {
        return refused(RefusalKind::Infeasible, why);
    }
    let own = facts.container_resources(manifest, container);
    let limits = node.runtime.unenforced(&own);
    if let Some(limit) = limits.iter().find(|limit| matches!(limit.setting, "cpu.max" | "memory.max")) {
        let (setting, controller) = (limit.setting, limit.controller);
        return refused(
            RefusalKind::Infeasible,
            format!("{setting} needs the cgroup v2 controller {controller}, which this host lacks"),
        );
    }
    if let Some(why) = resize::lacks(manifest, taken(node, &pod.pod), cpu, memory) {
        return refused(RefusalKind::Deferred, why);
    }
    let resized = node.runtime.resize(run, &own, &facts.pod_resources(manifest)).await;
    resized.or_else(|error| refused(RefusalKind::Error, chain(&error)))
}

/// What the other pods here have been given, which may be less than they ask for by now: thousandths of processors, and bytes.
fn taken<R, I>(node: &Node<R, I>, but: &PodRef) -> (u64, u64) {
    let rows = node.views.watch();
    let rows = rows.borrow();
    let over =
        |view: &PodView| view.gone || matches!(view.status.phase.as_deref(), Some("Succeeded" | "Failed"));
    let amount = |status: &ContainerStatus, name: &str| {
        let given = status.allocated_resources.as_ref().and_then(|given| given.get(name));
        given.and_then(|given| Quantity::parse(&given.0).ok()).unwrap_or(Quantity::ZERO)
    };
    let number = |value: i64| u64::try_from(value).unwrap_or(0);
    let of_pod = |view: &PodView| {
        let main = view.status.container_statuses.iter().flatten();
        let init = view.status.init_container_statuses.iter().flatten();
        let runs = |one: &&ContainerStatus| one.state.as_ref().is_some_and(|state| state.running.is_some());
        let given = main.chain(init.filter(runs)).fold((0, 0), |(cpu, memory), status| {
            let (more_cpu, more_memory) =
                (amount(status, "cpu").milli_value(), amount(status, "memory").value());
            (cpu + number(more_cpu), memory + number(more_memory))
        });
        view.pledge.with(given)
    };
    let others = rows.iter().filter(|(pod, view)| *pod != but && !over(view));
    others.map(|(_, view)| of_pod(view)).fold((0, 0), |(cpu, memory), (more_cpu, more_memory)| {
        (cpu.saturating_add(more_cpu), memory.saturating_add(more_memory))
    })
}

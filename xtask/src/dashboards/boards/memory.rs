//! Who holds memory, who is near a limit, and who was killed for want of it.

use super::super::described::{Board, Panel, Row, Unit, query};
use super::PODS;

pub const BOARD: Board = Board {
    name: "memory",
    title: "podbox / OOM and memory",
    about: "Who holds memory, who is near a limit, who waits for memory, and whom the kernel killed for want of it.",
    variables: PODS,
    rows: &[
        Row {
            title: "Killed for want of memory",
            panels: &[
                Panel {
                    title: "Victims",
                    about: "Each process that the kernel marked, once, in the last ten minutes.",
                    unit: Unit::Count,
                    queries: &[query(
                        r#"namespace_pod_container:podbox_oom_victims:increase10m{namespace=~"$namespace",pod=~"$pod"} > 0"#,
                        "{{namespace}}/{{pod}} {{container}}",
                    )],
                },
                Panel {
                    title: "Victims by role",
                    about: "Chosen by the killer, killed with their group, or on their way out already.",
                    unit: Unit::Count,
                    queries: &[query(
                        r#"sum by (role) (increase(podbox_oom_victims_total{namespace=~"$namespace",pod=~"$pod"}[10m]))"#,
                        "{{role}}",
                    )],
                },
                Panel {
                    title: "Victims by limit",
                    about: "Whose limit was hit: their container's, their pod's, that of all pods or of a class of them, the node's memory.",
                    unit: Unit::Count,
                    queries: &[query(
                        r#"sum by (limit) (increase(podbox_oom_limits_total{namespace=~"$namespace",pod=~"$pod"}[10m]))"#,
                        "{{limit}}",
                    )],
                },
            ],
        },
        Row {
            title: "Held",
            panels: &[
                Panel {
                    title: "Working set, by container",
                    about: "What it cannot easily give back. A slope is a leak, a step is a load.",
                    unit: Unit::Bytes,
                    queries: &[query(
                        r#"topk(10, sum by (namespace, pod, container) (container_memory_working_set_bytes{container!="",namespace=~"$namespace",pod=~"$pod"}))"#,
                        "{{namespace}}/{{pod}} {{container}}",
                    )],
                },
                Panel {
                    title: "Share of its limit",
                    about: "At 1 the kernel reclaims what it can, and then kills.",
                    unit: Unit::Share,
                    queries: &[query(
                        r#"topk(10, max by (namespace, pod, container) (container_memory_working_set_bytes{container!="",namespace=~"$namespace",pod=~"$pod"}) / max by (namespace, pod, container) (container_spec_memory_limit_bytes{container!=""} > 0))"#,
                        "{{namespace}}/{{pod}} {{container}}",
                    )],
                },
                Panel {
                    title: "Requested, in use, there",
                    about: "Of the whole node.",
                    unit: Unit::Bytes,
                    queries: &[
                        query(r#"sum(kube_pod_container_resource_requests{resource="memory"})"#, "requested"),
                        query(
                            r#"sum(container_memory_working_set_bytes{container!=""})"#,
                            "pods' working set",
                        ),
                        query(r#"sum(container_memory_working_set_bytes{id="/"})"#, "node's working set"),
                        query(r#"sum(kube_node_status_allocatable{resource="memory"})"#, "allocatable"),
                    ],
                },
            ],
        },
        Row {
            title: "Waiting for it, and ended for it",
            panels: &[
                Panel {
                    title: "Waits for memory",
                    about: "The share of time in which some process of the container waited for memory.",
                    unit: Unit::Share,
                    queries: &[query(
                        r#"topk(10, sum by (namespace, pod, container) (rate(container_pressure_memory_waiting_seconds_total{container!="",namespace=~"$namespace",pod=~"$pod"}[5m])))"#,
                        "{{namespace}}/{{pod}} {{container}}",
                    )],
                },
                Panel {
                    title: "Major page faults",
                    about: "Pages that came from a disk: many of them say that it works on what it has no room for.",
                    unit: Unit::PerSecond,
                    queries: &[query(
                        r#"topk(10, sum by (namespace, pod, container) (rate(container_memory_failures_total{failure_type="pgmajfault",scope="container",container!="",namespace=~"$namespace",pod=~"$pod"}[5m])))"#,
                        "{{namespace}}/{{pod}} {{container}}",
                    )],
                },
                Panel {
                    title: "Containers whose last end was for memory",
                    about: "As their pods' statuses say it.",
                    unit: Unit::Count,
                    queries: &[query(
                        r#"sum by (namespace, pod, container) (kube_pod_container_status_last_terminated_reason{reason="OOMKilled",namespace=~"$namespace",pod=~"$pod"})"#,
                        "{{namespace}}/{{pod}} {{container}}",
                    )],
                },
            ],
        },
    ],
};

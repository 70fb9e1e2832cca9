//! How long pods take to start, and where the time goes.

use super::super::described::{Board, Panel, Row, Unit, query};

pub const BOARD: Board = Board {
    name: "startup",
    title: "podbox / Startup",
    about: "How long pods take from being accepted to their first process, and which part of it takes the time.",
    variables: &[],
    rows: &[
        Row {
            title: "Pods",
            panels: &[
                Panel {
                    title: "From accepted to running",
                    about: "Images included.",
                    unit: Unit::Seconds,
                    queries: &[
                        query(
                            "histogram_quantile(0.5, sum by (le) (rate(podbox_pod_start_duration_seconds_bucket[5m])))",
                            "p50",
                        ),
                        query(
                            "histogram_quantile(0.99, sum by (le) (rate(podbox_pod_start_duration_seconds_bucket[5m])))",
                            "p99",
                        ),
                    ],
                },
                Panel {
                    title: "Pods started",
                    about: "Per second.",
                    unit: Unit::PerSecond,
                    queries: &[query("sum(rate(podbox_pod_start_duration_seconds_count[5m]))", "pods")],
                },
                Panel {
                    title: "Waiting to start",
                    about: "Containers that wait, by the reason that their status gives.",
                    unit: Unit::Count,
                    queries: &[query(
                        "sum by (reason) (kube_pod_container_status_waiting_reason)",
                        "{{reason}}",
                    )],
                },
            ],
        },
        Row {
            title: "Stages, by the kernel's clock",
            panels: &[
                Panel {
                    title: "p50 of each stage",
                    about: "Image, cgroup, network, mounts, exec, first listen, first connect and accept; ready is the whole way.",
                    unit: Unit::Seconds,
                    queries: &[query(
                        "histogram_quantile(0.5, sum by (le, stage) (rate(podbox_startup_stage_seconds_bucket[5m])))",
                        "{{stage}}",
                    )],
                },
                Panel {
                    title: "p99 of each stage",
                    about: "`podbox trace POD` tells the same of one pod.",
                    unit: Unit::Seconds,
                    queries: &[query(
                        "histogram_quantile(0.99, sum by (le, stage) (rate(podbox_startup_stage_seconds_bucket[5m])))",
                        "{{stage}}",
                    )],
                },
            ],
        },
        Row {
            title: "Sandboxes and containers",
            panels: &[
                Panel {
                    title: "p99 of each step",
                    about: "Namespaces, network, cgroups, mounts, processes.",
                    unit: Unit::Seconds,
                    queries: &[query(
                        "topk(10, step:podbox_sandbox_step_duration_seconds:p99_rate5m)",
                        "{{step}}",
                    )],
                },
                Panel {
                    title: "Time in each step",
                    about: "Seconds of steps per second: what the node is busy with when it starts pods.",
                    unit: Unit::Seconds,
                    queries: &[query(
                        "topk(10, sum by (step) (rate(podbox_sandbox_step_duration_seconds_sum[5m])))",
                        "{{step}}",
                    )],
                },
                Panel {
                    title: "p99 of pieces of pods' work",
                    about: "Images, sandboxes, containers, hooks: until a pod's first process runs, afterwards, and to end it.",
                    unit: Unit::Seconds,
                    queries: &[query(
                        "histogram_quantile(0.99, sum by (le, operation_type) (rate(kubelet_pod_worker_duration_seconds_bucket[5m])))",
                        "{{operation_type}}",
                    )],
                },
            ],
        },
        Row {
            title: "What the node does",
            panels: &[
                Panel {
                    title: "Operations",
                    about: "By the kubelet's names.",
                    unit: Unit::PerSecond,
                    queries: &[query(
                        "sum by (operation_type) (rate(kubelet_runtime_operations_total[5m]))",
                        "{{operation_type}}",
                    )],
                },
                Panel {
                    title: "p99 of operations",
                    about: "By the kubelet's names.",
                    unit: Unit::Seconds,
                    queries: &[query(
                        "histogram_quantile(0.99, sum by (le, operation_type) (rate(kubelet_runtime_operations_duration_seconds_bucket[5m])))",
                        "{{operation_type}}",
                    )],
                },
                Panel {
                    title: "Pulls of images, by result",
                    about: "What is not `pulled` is the reason of a failure.",
                    unit: Unit::PerSecond,
                    queries: &[query("sum by (result) (rate(podbox_image_pulls_total[5m]))", "{{result}}")],
                },
            ],
        },
    ],
};

//! What runs here, how it is, and what of the node it takes.

use super::super::described::{Board, Panel, Row, Unit, query};
use super::PODS;

pub const BOARD: Board = Board {
    name: "overview",
    title: "podbox / Overview",
    about: "What runs on this node, how it is, and what of the node it takes.",
    variables: PODS,
    rows: &[
        Row {
            title: "Pods and containers",
            panels: &[
                Panel {
                    title: "Pods by phase",
                    about: "Failed and Unknown should be empty; Pending should not stay.",
                    unit: Unit::Count,
                    queries: &[query(
                        r#"sum by (phase) (kube_pod_status_phase{namespace=~"$namespace",pod=~"$pod"} == 1)"#,
                        "{{phase}}",
                    )],
                },
                Panel {
                    title: "Containers by state",
                    about: "As the node has them.",
                    unit: Unit::Count,
                    queries: &[query("sum by (state) (podbox_containers)", "{{state}}")],
                },
                Panel {
                    title: "Restarts",
                    about: "Containers that were started again in the last five minutes.",
                    unit: Unit::Count,
                    queries: &[query(
                        r#"sum by (namespace, pod, container) (increase(kube_pod_container_status_restarts_total{namespace=~"$namespace",pod=~"$pod"}[5m])) > 0"#,
                        "{{namespace}}/{{pod}} {{container}}",
                    )],
                },
            ],
        },
        Row {
            title: "Processors",
            panels: &[
                Panel {
                    title: "Processors in use, by pod",
                    about: "In cores.",
                    unit: Unit::Cores,
                    queries: &[query(
                        r#"topk(10, sum by (namespace, pod) (rate(container_cpu_usage_seconds_total{container!="",namespace=~"$namespace",pod=~"$pod"}[5m])))"#,
                        "{{namespace}}/{{pod}}",
                    )],
                },
                Panel {
                    title: "Requested, limited, there",
                    about: "Requests are what the scheduler counts; limits may add up to more than there is.",
                    unit: Unit::Cores,
                    queries: &[
                        query(r#"sum(kube_pod_container_resource_requests{resource="cpu"})"#, "requested"),
                        query(r#"sum(kube_pod_container_resource_limits{resource="cpu"})"#, "limits"),
                        query(r#"sum(kube_node_status_allocatable{resource="cpu"})"#, "allocatable"),
                    ],
                },
                Panel {
                    title: "Held up by their own limit",
                    about: "The share of its periods in which a container had more work than its limit allows.",
                    unit: Unit::Share,
                    queries: &[query(
                        r#"sum by (namespace, pod, container) (rate(container_cpu_cfs_throttled_periods_total{container!="",namespace=~"$namespace",pod=~"$pod"}[5m])) / sum by (namespace, pod, container) (rate(container_cpu_cfs_periods_total{container!="",namespace=~"$namespace",pod=~"$pod"}[5m]) > 0)"#,
                        "{{namespace}}/{{pod}} {{container}}",
                    )],
                },
            ],
        },
        Row {
            title: "Network and pressure",
            panels: &[
                Panel {
                    title: "Received, by pod",
                    about: "Bytes that came in.",
                    unit: Unit::BytesPerSecond,
                    queries: &[query(
                        r#"topk(10, sum by (namespace, pod) (rate(container_network_receive_bytes_total{namespace=~"$namespace",pod=~"$pod",pod!=""}[5m])))"#,
                        "{{namespace}}/{{pod}}",
                    )],
                },
                Panel {
                    title: "Sent, by pod",
                    about: "Bytes that went out.",
                    unit: Unit::BytesPerSecond,
                    queries: &[query(
                        r#"topk(10, sum by (namespace, pod) (rate(container_network_transmit_bytes_total{namespace=~"$namespace",pod=~"$pod",pod!=""}[5m])))"#,
                        "{{namespace}}/{{pod}}",
                    )],
                },
                Panel {
                    title: "The host waits for processors, memory, disks",
                    about: "The share of time in which some process of the host waited.",
                    unit: Unit::Share,
                    queries: &[
                        query(
                            r#"sum(rate(container_pressure_cpu_waiting_seconds_total{id="/"}[5m]))"#,
                            "processors",
                        ),
                        query(
                            r#"sum(rate(container_pressure_memory_waiting_seconds_total{id="/"}[5m]))"#,
                            "memory",
                        ),
                        query(
                            r#"sum(rate(container_pressure_io_waiting_seconds_total{id="/"}[5m]))"#,
                            "disks",
                        ),
                    ],
                },
            ],
        },
    ],
};

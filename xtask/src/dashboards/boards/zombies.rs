//! The dead that nobody reaps, and how near the limit of processes somebody is.

use super::super::described::{Board, Panel, Row, Unit, query};
use super::PODS;

pub const BOARD: Board = Board {
    name: "zombies",
    title: "podbox / Zombies and pids",
    about: "The dead that nobody reaps, how processes end, and how near the limit of processes a container is.",
    variables: PODS,
    rows: &[
        Row {
            title: "Zombies",
            panels: &[
                Panel {
                    title: "Not reaped for over a second",
                    about: "What grows is a parent that doesn't wait for its children.",
                    unit: Unit::Count,
                    queries: &[query(
                        r#"topk(10, sum by (namespace, pod, container) (podbox_zombies{namespace=~"$namespace",pod=~"$pod"}))"#,
                        "{{namespace}}/{{pod}} {{container}}",
                    )],
                },
                Panel {
                    title: "Who should have reaped them",
                    about: "A parent that does not wait; or the container's first process, to which they were left (init), by a probe or exec, too.",
                    unit: Unit::Count,
                    queries: &[query(
                        r#"sum by (cause) (podbox_zombie_causes{namespace=~"$namespace",pod=~"$pod"})"#,
                        "{{cause}}",
                    )],
                },
            ],
        },
        Row {
            title: "Reaping",
            panels: &[
                Panel {
                    title: "From death to reaping",
                    about: "Every process is a zombie for a moment; this is how long.",
                    unit: Unit::Seconds,
                    queries: &[
                        query(
                            r#"histogram_quantile(0.5, sum by (le) (rate(podbox_zombie_lifetime_seconds_bucket{namespace=~"$namespace",pod=~"$pod"}[5m])))"#,
                            "p50",
                        ),
                        query(
                            r#"histogram_quantile(0.99, sum by (le) (rate(podbox_zombie_lifetime_seconds_bucket{namespace=~"$namespace",pod=~"$pod"}[5m])))"#,
                            "p99",
                        ),
                    ],
                },
                Panel {
                    title: "Reaped",
                    about: "Processes whose end was taken, by container.",
                    unit: Unit::PerSecond,
                    queries: &[query(
                        r#"topk(10, sum by (namespace, pod, container) (rate(podbox_zombie_lifetime_seconds_count{namespace=~"$namespace",pod=~"$pod"}[5m])))"#,
                        "{{namespace}}/{{pod}} {{container}}",
                    )],
                },
            ],
        },
        Row {
            title: "Processes",
            panels: &[
                Panel {
                    title: "Processes and threads, by container",
                    about: "As the kernel counts them against the limit.",
                    unit: Unit::Count,
                    queries: &[query(
                        r#"topk(10, max by (namespace, pod, container) (container_processes{container!="",namespace=~"$namespace",pod=~"$pod"}))"#,
                        "{{namespace}}/{{pod}} {{container}}",
                    )],
                },
                Panel {
                    title: "Share of the limit of processes",
                    about: "At 1 nothing can be started any more, not even a probe's command.",
                    unit: Unit::Share,
                    queries: &[query(
                        r#"topk(10, max by (namespace, pod, container) (container_threads{container!="",namespace=~"$namespace",pod=~"$pod"}) / max by (namespace, pod, container) (container_threads_max{container!=""} > 0))"#,
                        "{{namespace}}/{{pod}} {{container}}",
                    )],
                },
                Panel {
                    title: "Time until process ids run out",
                    about: "Of containers that take more and more of them, if they go on so. Zombies hold theirs, too.",
                    unit: Unit::Seconds,
                    queries: &[query(
                        r#"bottomk(10, podbox_pids_exhausted_in_seconds{namespace=~"$namespace",pod=~"$pod"})"#,
                        "{{namespace}}/{{pod}} {{container}}",
                    )],
                },
            ],
        },
        Row {
            title: "Ends",
            panels: &[
                Panel {
                    title: "Ends, by code",
                    about: "Processes that ended by themselves.",
                    unit: Unit::PerSecond,
                    queries: &[query(
                        r#"sum by (code) (rate(podbox_process_exits_total{namespace=~"$namespace",pod=~"$pod"}[5m]))"#,
                        "{{code}}",
                    )],
                },
                Panel {
                    title: "Ends by a signal",
                    about: "Processes that something ended.",
                    unit: Unit::PerSecond,
                    queries: &[query(
                        r#"sum by (signal) (rate(podbox_process_signal_exits_total{namespace=~"$namespace",pod=~"$pod"}[5m]))"#,
                        "{{signal}}",
                    )],
                },
                Panel {
                    title: "Who sent those signals",
                    about: "The process itself, one of its container, podbox, the OOM killer, another process of the host, the kernel for a fault.",
                    unit: Unit::PerSecond,
                    queries: &[query(
                        r#"sum by (sender) (rate(podbox_signal_senders_total{namespace=~"$namespace",pod=~"$pod"}[5m]))"#,
                        "{{sender}}",
                    )],
                },
            ],
        },
    ],
};

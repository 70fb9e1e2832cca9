//! Verdicts of probes, how long they take, and in which phase.

use super::super::described::{Board, Panel, Row, Unit, Variable, query};

pub const BOARD: Board = Board {
    name: "probes",
    title: "podbox / Probes",
    about: "Verdicts of probes, how long containers take to answer, and in which phase the time goes.",
    variables: &[
        Variable { label: "namespace", of: "prober_probe_total" },
        Variable { label: "pod", of: "prober_probe_total{namespace=~\"$namespace\"}" },
        Variable { label: "probe_type", of: "prober_probe_total" },
    ],
    rows: &[
        Row {
            title: "Verdicts",
            panels: &[
                Panel {
                    title: "Probes by result",
                    about: "Unknown are those that podbox itself could not run in time.",
                    unit: Unit::PerSecond,
                    queries: &[query(
                        r#"sum by (probe_type, result) (rate(prober_probe_total{namespace=~"$namespace",pod=~"$pod",probe_type=~"$probe_type"}[5m]))"#,
                        "{{probe_type}} {{result}}",
                    )],
                },
                Panel {
                    title: "Failed probes, by container",
                    about: "In the last five minutes.",
                    unit: Unit::Count,
                    queries: &[query(
                        r#"topk(10, sum by (namespace, pod, container, probe_type) (increase(prober_probe_total{namespace=~"$namespace",pod=~"$pod",probe_type=~"$probe_type",result="failed"}[5m])) > 0)"#,
                        "{{namespace}}/{{pod}} {{container}} {{probe_type}}",
                    )],
                },
            ],
        },
        Row {
            title: "How long they take",
            panels: &[
                Panel {
                    title: "Time of probes",
                    about: "Of those that succeed.",
                    unit: Unit::Seconds,
                    queries: &[
                        query(
                            r#"histogram_quantile(0.5, sum by (le, probe_type) (rate(prober_probe_duration_seconds_bucket{namespace=~"$namespace",pod=~"$pod",probe_type=~"$probe_type"}[5m])))"#,
                            "{{probe_type}} p50",
                        ),
                        query(
                            r#"probe_type:prober_probe_duration_seconds:p99_rate5m{probe_type=~"$probe_type"}"#,
                            "{{probe_type}} p99, of all",
                        ),
                    ],
                },
                Panel {
                    title: "Slowest containers",
                    about: "p99, the ten slowest.",
                    unit: Unit::Seconds,
                    queries: &[query(
                        r#"topk(10, histogram_quantile(0.99, sum by (le, namespace, pod, container) (rate(prober_probe_duration_seconds_bucket{namespace=~"$namespace",pod=~"$pod",probe_type=~"$probe_type"}[5m]))))"#,
                        "{{namespace}}/{{pod}} {{container}}",
                    )],
                },
            ],
        },
        Row {
            title: "Where the time goes, by the kernel",
            panels: &[
                Panel {
                    title: "Time in each phase",
                    about: "Seconds of probes per second: connecting, waiting to be accepted, the application, the answer's way.",
                    unit: Unit::Seconds,
                    queries: &[query(
                        r#"sum by (phase) (rate(podbox_probe_phase_seconds_sum{probe_type=~"$probe_type"}[5m]))"#,
                        "{{phase}}",
                    )],
                },
                Panel {
                    title: "p99 of each phase",
                    about: "A long accept queue is an overloaded server, a long connect a network.",
                    unit: Unit::Seconds,
                    queries: &[query(
                        r#"histogram_quantile(0.99, sum by (le, phase) (rate(podbox_probe_phase_seconds_bucket{probe_type=~"$probe_type"}[5m])))"#,
                        "{{phase}}",
                    )],
                },
                Panel {
                    title: "Sockets that began or ended to listen",
                    about: "What makes probes run at once, beside their periods.",
                    unit: Unit::PerSecond,
                    queries: &[query(
                        r#"sum(rate(podbox_kernel_events_total{kind="listen"}[5m]))"#,
                        "events",
                    )],
                },
            ],
        },
    ],
};

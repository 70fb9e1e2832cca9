//! Whether the kernel's record is whole, and what it costs.

use super::super::described::{Board, Panel, Row, Unit, query};

pub const BOARD: Board = Board {
    name: "bpf",
    title: "podbox / BPF health",
    about: "Whether the kernel's record is whole, and what keeping it costs; and what scrapes cost.",
    variables: &[],
    rows: &[
        Row {
            title: "The record",
            panels: &[
                Panel {
                    title: "Events in containers",
                    about: "Told by the programs, received or not. Exits with code 0 only where somebody follows them.",
                    unit: Unit::PerSecond,
                    queries: &[query("sum by (kind) (rate(podbox_kernel_events_total[5m]))", "{{kind}}")],
                },
                Panel {
                    title: "Lost records",
                    about: "Counters stay exact; these are single events. Should be nothing.",
                    unit: Unit::PerSecond,
                    queries: &[
                        query("sum by (kind) (rate(podbox_bpf_drops_total[5m]))", "{{kind}}"),
                        query(
                            "sum by (kind) (rate(podbox_kernel_events_missed_total[5m]))",
                            "{{kind}} missed",
                        ),
                    ],
                },
                Panel {
                    title: "Containers that were not watched",
                    about: "For a while, and so their record is not whole.",
                    unit: Unit::Count,
                    queries: &[query("sum(podbox_kernel_unwatched_containers)", "containers")],
                },
            ],
        },
        Row {
            title: "What may be wrong with it",
            panels: &[
                Panel {
                    title: "Differs from the kernel's files",
                    about: "Counts here against memory.events, pids.current, cgroup.events, where it lasts. Should be nothing.",
                    unit: Unit::Count,
                    queries: &[query("max by (source) (podbox_kernel_skew)", "{{source}}")],
                },
                Panel {
                    title: "Runs that the kernel left out",
                    about: "The program was at work on that processor already: its counts are short of so many.",
                    unit: Unit::PerSecond,
                    queries: &[query(
                        "topk(10, sum by (program) (rate(podbox_bpf_program_skipped_total[5m])))",
                        "{{program}}",
                    )],
                },
                Panel {
                    title: "Detached programs",
                    about: "1 for what took more of the processors than its share, and is gone.",
                    unit: Unit::Count,
                    queries: &[query(
                        "topk(10, max by (program) (podbox_bpf_program_detached))",
                        "{{program}}",
                    )],
                },
            ],
        },
        Row {
            title: "What it costs",
            panels: &[
                Panel {
                    title: "Runs of programs",
                    about: "By the kernel's count.",
                    unit: Unit::PerSecond,
                    queries: &[query(
                        "sum by (program) (rate(podbox_bpf_program_runs_total[5m]))",
                        "{{program}}",
                    )],
                },
                Panel {
                    title: "Mean time of a run",
                    about: "By the kernel's measure.",
                    unit: Unit::Seconds,
                    queries: &[query("program:podbox_bpf_program_run_seconds:mean5m", "{{program}}")],
                },
                Panel {
                    title: "Processors that programs take",
                    about: "All of them together should be far below a hundredth.",
                    unit: Unit::Cores,
                    queries: &[query("sum(rate(podbox_bpf_program_run_seconds_total[5m]))", "cores")],
                },
            ],
        },
        Row {
            title: "Scrapes, and what there is to scrape",
            panels: &[
                Panel {
                    title: "Time of writing a page",
                    about: "p99, by page.",
                    unit: Unit::Seconds,
                    queries: &[query(
                        "histogram_quantile(0.99, sum by (le, page) (rate(podbox_metrics_page_duration_seconds_bucket[5m])))",
                        "{{page}}",
                    )],
                },
                Panel {
                    title: "Series that were left out",
                    about: "A page has a bounded number of them.",
                    unit: Unit::Count,
                    queries: &[query("max by (page) (podbox_metrics_left_out_series)", "{{page}}")],
                },
                Panel {
                    title: "What this kernel tells",
                    about: "Things that podbox would know, by how much of them it does: all (live), less (reduced), nothing (absent).",
                    unit: Unit::Count,
                    queries: &[query("sum by (state) (podbox_kernel_signal)", "{{state}}")],
                },
            ],
        },
    ],
};

//! Whether what is asked for is brought about: controllers, scheduler, API and store.

use super::super::described::{Board, Panel, Row, Unit, query};

pub const BOARD: Board = Board {
    name: "control",
    title: "podbox / Control loops",
    about: "Whether what is asked for is brought about, and how quickly: controllers, scheduler, API and store.",
    variables: &[],
    rows: &[
        Row {
            title: "Controllers",
            panels: &[
                Panel {
                    title: "Reconciliations that did something",
                    about: "By controller and outcome; a conflict is looked at again at once.",
                    unit: Unit::PerSecond,
                    queries: &[query(
                        "controller_outcome:podbox_reconciles:rate5m",
                        "{{controller}} {{outcome}}",
                    )],
                },
                Panel {
                    title: "Waiting to be reconciled",
                    about: "A queue that doesn't empty is a loop that can't keep up.",
                    unit: Unit::Count,
                    queries: &[query("sum(podbox_reconciles_waiting)", "objects")],
                },
                Panel {
                    title: "Replicas that are missing",
                    about: "What Deployments, StatefulSets and DaemonSets lack of what is asked for.",
                    unit: Unit::Count,
                    queries: &[
                        query(
                            "sum by (namespace, deployment) (kube_deployment_spec_replicas - kube_deployment_status_replicas_available) > 0",
                            "{{namespace}}/{{deployment}}",
                        ),
                        query(
                            "sum by (namespace, statefulset) (kube_statefulset_replicas - kube_statefulset_status_replicas_ready) > 0",
                            "{{namespace}}/{{statefulset}}",
                        ),
                        query(
                            "sum by (namespace, daemonset) (kube_daemonset_status_desired_number_scheduled - kube_daemonset_status_number_ready) > 0",
                            "{{namespace}}/{{daemonset}}",
                        ),
                    ],
                },
            ],
        },
        Row {
            title: "Scheduler",
            panels: &[
                Panel {
                    title: "Attempts, by result",
                    about: "Pods that were looked at.",
                    unit: Unit::PerSecond,
                    queries: &[query(
                        "sum by (result) (rate(scheduler_schedule_attempts_total[5m]))",
                        "{{result}}",
                    )],
                },
                Panel {
                    title: "Without a node",
                    about: "To be looked at, in their pause, or waiting for something that may help.",
                    unit: Unit::Count,
                    queries: &[query("sum by (queue) (scheduler_pending_pods)", "{{queue}}")],
                },
                Panel {
                    title: "p99 of waiting, deciding, writing",
                    about: "Of what controllers have to look at, in their queue; of a pod that is to be given a node.",
                    unit: Unit::Seconds,
                    queries: &[
                        query(
                            "histogram_quantile(0.99, sum by (le) (rate(workqueue_queue_duration_seconds_bucket[5m])))",
                            "in the controllers' queue",
                        ),
                        query(
                            "histogram_quantile(0.99, sum by (le) (rate(scheduler_scheduling_algorithm_duration_seconds_bucket[5m])))",
                            "deciding about a pod",
                        ),
                        query(
                            "histogram_quantile(0.99, sum by (le) (rate(scheduler_scheduling_attempt_duration_seconds_bucket[5m])))",
                            "and writing that",
                        ),
                    ],
                },
            ],
        },
        Row {
            title: "API and store",
            panels: &[
                Panel {
                    title: "Requests, by code",
                    about: "429 is podbox asking clients to come again.",
                    unit: Unit::PerSecond,
                    queries: &[query("sum by (code) (rate(apiserver_request_total[5m]))", "{{code}}")],
                },
                Panel {
                    title: "p99 of requests, by verb",
                    about: "To the beginning of the answer; without those that last.",
                    unit: Unit::Seconds,
                    queries: &[query(
                        "histogram_quantile(0.99, sum by (le, verb) (rate(apiserver_request_duration_seconds_bucket[5m])))",
                        "{{verb}}",
                    )],
                },
                Panel {
                    title: "Commits to disk",
                    about: "How long one takes, of one write or many.",
                    unit: Unit::Seconds,
                    queries: &[
                        query(
                            "histogram_quantile(0.5, sum by (le) (rate(podbox_store_commit_duration_seconds_bucket[5m])))",
                            "p50",
                        ),
                        query(
                            "histogram_quantile(0.99, sum by (le) (rate(podbox_store_commit_duration_seconds_bucket[5m])))",
                            "p99",
                        ),
                    ],
                },
            ],
        },
    ],
};

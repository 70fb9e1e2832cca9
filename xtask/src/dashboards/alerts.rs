//! The alerts, and what is computed once for dashboards and alerts.

use super::described::{Alert, Proof, Record, Severity};

const N_P_C: &[(&str, &str)] = &[("namespace", "n"), ("pod", "p"), ("container", "c")];

/// Recording rules.
pub const RECORDS: &[Record] = &[
    Record {
        name: "namespace_pod_container:podbox_oom_victims:increase10m",
        // What is killed in its first seconds is first told with its kill, where the node was asked all the while.
        expr: "sum by (namespace, pod, container) (increase(podbox_oom_victims_total[10m]) > 0 or \
               (podbox_oom_victims_total unless podbox_oom_victims_total offset 10m) and on (job, instance) up offset 10m == 1)",
    },
    Record {
        name: "probe_type:prober_probe_duration_seconds:p99_rate5m",
        expr: "histogram_quantile(0.99, sum by (le, probe_type) (rate(prober_probe_duration_seconds_bucket[5m])))",
    },
    Record {
        name: "step:podbox_sandbox_step_duration_seconds:p99_rate5m",
        expr: "histogram_quantile(0.99, sum by (le, step) (rate(podbox_sandbox_step_duration_seconds_bucket[5m])))",
    },
    Record {
        name: "program:podbox_bpf_program_run_seconds:mean5m",
        expr: "sum by (program) (rate(podbox_bpf_program_run_seconds_total[5m])) / sum by (program) (rate(podbox_bpf_program_runs_total[5m]) > 0)",
    },
    Record {
        name: "controller_outcome:podbox_reconciles:rate5m",
        expr: "sum by (controller, outcome) (rate(podbox_reconciles_total[5m]))",
    },
    Record {
        name: "namespace_pod_container:container_cpu_usage_seconds:rate5m",
        expr: "sum by (namespace, pod, container) (rate(container_cpu_usage_seconds_total{container!=\"\"}[5m]))",
    },
];

/// The alerts, the worst of each subject first.
pub const ALERTS: &[Alert] = &[
    Alert {
        name: "PodboxOomKill",
        expr: "namespace_pod_container:podbox_oom_victims:increase10m > 0",
        lasts: "",
        severity: Severity::Warning,
        summary: "{namespace}/{pod}, container {container}: processes were killed for want of memory",
        means: "The kernel killed processes of this container because a limit on memory was hit, its own, its pod's or the node's. Podbox counts each victim once.",
        steps: &[
            "`kubectl describe pod` (its Events) and `podbox why NAMESPACE/POD` name the victim, its role, the limit that was hit and who triggered it.",
            "Is the limit the node's? Then the node is over-committed: lower what others may use, or request memory where it is needed.",
            "Is it the container's or the pod's? Look at its working set on the dashboard of memory: a slope is a leak, a step is a load that the limit does not fit.",
            "Raise the limit, or mend the leak. What such a kill means to a pod can be said by its annotation (README).",
        ],
        proof: Proof {
            series: &[
                ("up", "1x40"),
                (
                    "podbox_oom_victims_total{namespace=\"n\",pod=\"p\",container=\"c\",role=\"chosen\"}",
                    "_x15 1x20",
                ),
                (
                    "podbox_oom_victims_total{namespace=\"n\",pod=\"p\",container=\"old\",role=\"chosen\"}",
                    "7x40",
                ),
            ],
            quiet: "14m",
            due: "18m",
            labels: N_P_C,
        },
    },
    Alert {
        name: "PodboxMemoryAlmostFull",
        expr: "max by (namespace, pod, container) (container_memory_working_set_bytes{container!=\"\"}) / max by (namespace, pod, container) (container_spec_memory_limit_bytes{container!=\"\"} > 0) > 0.95",
        lasts: "5m",
        severity: Severity::Warning,
        summary: "{namespace}/{pod}, container {container}: its working set is near its limit of memory",
        means: "More than 95 % of what the container may hold is memory that it cannot easily give back. The next allocation may be its last.",
        steps: &[
            "Is the working set still growing? Then an OOM kill comes: raise the limit now (`kubectl patch pod … --subresource resize` does it without a restart).",
            "Does it stay there? Look at the pressure of memory of the container: if it waits, the limit costs time already.",
        ],
        proof: Proof {
            series: &[
                (
                    "container_memory_working_set_bytes{namespace=\"n\",pod=\"p\",container=\"c\"}",
                    "50x5 99x20",
                ),
                ("container_spec_memory_limit_bytes{namespace=\"n\",pod=\"p\",container=\"c\"}", "100x30"),
            ],
            quiet: "9m",
            due: "15m",
            labels: N_P_C,
        },
    },
    Alert {
        name: "PodboxZombies",
        expr: "sum by (namespace, pod, container) (podbox_zombies) > 10",
        lasts: "5m",
        severity: Severity::Warning,
        summary: "{namespace}/{pod}, container {container}: dead processes are not reaped",
        means: "A process in the container does not wait for those that have ended and are its to reap. Each of them keeps its process id until its parent ends; at the limit of processes the container can start nothing any more.",
        steps: &[
            "`kubectl describe pod` says whose fault it is: the Event and the condition ZombiesPileUp name the process that should reap them.",
            "Is it the container's first process, and not made for it (a shell, a server)? The annotation `podbox.io/init` gives the container an init that reaps (README).",
            "Is it another one? It has a bug: it must wait for what it starts.",
        ],
        proof: Proof {
            series: &[("podbox_zombies{namespace=\"n\",pod=\"p\",container=\"c\"}", "0x5 30x20")],
            quiet: "8m",
            due: "15m",
            labels: N_P_C,
        },
    },
    Alert {
        name: "PodboxProcessesAlmostFull",
        expr: "max by (namespace, pod, container) (container_threads{container!=\"\"}) / max by (namespace, pod, container) (container_threads_max{container!=\"\"} > 0) > 0.9",
        lasts: "2m",
        severity: Severity::Warning,
        summary: "{namespace}/{pod}, container {container}: it has nearly as many processes and threads as it may",
        means: "At the limit of processes every fork and every new thread fails, a probe's command too.",
        steps: &[
            "Are most of them zombies (dashboard of zombies and pids)? See PodboxZombies.",
            "Else look what starts them: `kubectl exec POD -- ps`, as long as that still works.",
        ],
        proof: Proof {
            series: &[
                ("container_threads{namespace=\"n\",pod=\"p\",container=\"c\"}", "5x5 95x20"),
                ("container_threads_max{namespace=\"n\",pod=\"p\",container=\"c\"}", "100x30"),
            ],
            quiet: "5m",
            due: "10m",
            labels: N_P_C,
        },
    },
    Alert {
        name: "PodboxProcessIdsRunOut",
        expr: "min by (namespace, pod, container) (podbox_pids_exhausted_in_seconds) < 600",
        lasts: "2m",
        severity: Severity::Warning,
        summary: "{namespace}/{pod}, container {container}: at this rate it has no process ids left in ten minutes",
        means: "The container takes more and more process ids, and frees none. When it has all that its pids.max allows, every fork and every new thread fails.",
        steps: &[
            "The Event ProcessIdsRunningOut says how many it has, and how many of these are zombies and whose fault that is. See PodboxZombies then.",
            "Else they live: `kubectl exec POD -- ps` shows of what there is ever more.",
            "To gain time, delete the pod: its controller makes another, which begins with none.",
        ],
        proof: Proof {
            series: &[(
                "podbox_pids_exhausted_in_seconds{namespace=\"n\",pod=\"p\",container=\"c\"}",
                "900x5 900-60x20",
            )],
            quiet: "8m",
            due: "16m",
            labels: N_P_C,
        },
    },
    Alert {
        name: "PodboxRestarts",
        expr: "sum by (namespace, pod, container) (increase(podbox_container_restarts_total[10m])) > 3",
        lasts: "",
        severity: Severity::Warning,
        summary: "{namespace}/{pod}, container {container} keeps restarting",
        means: "It was started again more than three times in ten minutes.",
        steps: &[
            "`kubectl describe pod` says how its last run ended; `kubectl logs --previous` what it said.",
            "Did a probe end it? The Event says which, and the dashboard of probes in which phase the time went.",
            "Was it killed? podbox_process_signal_exits_total has the signal, podbox_oom_victims_total whether it was for memory.",
        ],
        proof: Proof {
            series: &[(
                "podbox_container_restarts_total{namespace=\"n\",pod=\"p\",container=\"c\"}",
                "0+1x20",
            )],
            quiet: "2m",
            due: "10m",
            labels: N_P_C,
        },
    },
    Alert {
        name: "PodboxProbeFails",
        expr: "sum by (namespace, pod, container, probe_type) (increase(prober_probe_total{result=\"failed\"}[5m])) / sum by (namespace, pod, container, probe_type) (increase(prober_probe_total[5m])) > 0.5",
        lasts: "5m",
        severity: Severity::Warning,
        summary: "{namespace}/{pod}, container {container}: its {probe_type} probe fails more often than not",
        means: "The container is told that it does not work, or does not serve, and mostly so.",
        steps: &[
            "`podbox probes` has the last results, each with the phase in which its time went.",
            "In connect or in the accept queue: the server does not accept; it is overloaded or not there.",
            "In the application: it accepts and does not answer in time. The Event says what a limit kept it from.",
        ],
        proof: Proof {
            series: &[
                (
                    "prober_probe_total{namespace=\"n\",pod=\"p\",container=\"c\",probe_type=\"Liveness\",result=\"successful\"}",
                    "0+6x5 30x20",
                ),
                (
                    "prober_probe_total{namespace=\"n\",pod=\"p\",container=\"c\",probe_type=\"Liveness\",result=\"failed\"}",
                    "0x5 0+6x20",
                ),
            ],
            quiet: "4m",
            due: "16m",
            labels: &[("namespace", "n"), ("pod", "p"), ("container", "c"), ("probe_type", "Liveness")],
        },
    },
    Alert {
        name: "PodboxSlowStarts",
        expr: "histogram_quantile(0.9, sum by (le) (rate(podbox_pod_start_duration_seconds_bucket[10m]))) > 5",
        lasts: "5m",
        severity: Severity::Warning,
        summary: "of the pods that start here, one in ten takes more than five seconds",
        means: "From a pod's acceptance to its first process, images included.",
        steps: &[
            "Look at the dashboard of startup: are images being pulled, and how long does a pull take?",
            "Which step of a sandbox takes the time? Many at once wait for the disk (mounts) or for the kernel's lock on links (network).",
        ],
        proof: Proof {
            series: &[
                ("podbox_pod_start_duration_seconds_bucket{le=\"5\"}", "0x30"),
                ("podbox_pod_start_duration_seconds_bucket{le=\"10\"}", "0x5 0+2x25"),
                ("podbox_pod_start_duration_seconds_bucket{le=\"+Inf\"}", "0x5 0+2x25"),
            ],
            quiet: "5m",
            due: "20m",
            labels: &[],
        },
    },
    Alert {
        name: "PodboxStoreRefusesWrites",
        expr: "increase(podbox_store_commit_failures_total[5m]) > 0",
        lasts: "",
        severity: Severity::Critical,
        summary: "the disk refuses what the API is to keep",
        means: "Writes to the API fail and are told so; nothing that was acknowledged is lost.",
        steps: &[
            "Is the disk below the state directory full? `df`, and the node's condition DiskPressure.",
            "Does it fail? The kernel's log says so. The store goes on by itself once the disk does.",
        ],
        proof: Proof {
            series: &[("podbox_store_commit_failures_total{job=\"podbox\"}", "0x5 1x20")],
            quiet: "5m",
            due: "7m",
            labels: &[("job", "podbox")],
        },
    },
    Alert {
        name: "PodboxControllersFail",
        expr: "sum by (controller) (rate(podbox_reconciles_total{outcome=\"failed\"}[5m])) > 0.1",
        lasts: "10m",
        severity: Severity::Warning,
        summary: "the controller {controller} keeps failing to write what it wants",
        means: "Reconciliations that wanted something done were refused, again and again. What is asked for is not brought about meanwhile.",
        steps: &[
            "`kubectl get events -A` tells the reason: a quota, an invalid template, a name that is taken.",
            "podbox's log has the error with the object's name.",
        ],
        proof: Proof {
            series: &[(
                "podbox_reconciles_total{controller=\"deployment\",outcome=\"failed\"}",
                "0x5 0+30x30",
            )],
            quiet: "10m",
            due: "25m",
            labels: &[("controller", "deployment")],
        },
    },
    Alert {
        name: "PodboxPodsWaitForANode",
        expr: "sum(scheduler_pending_pods{queue=\"unschedulable\"}) > 0",
        lasts: "15m",
        severity: Severity::Warning,
        summary: "pods have been waiting for a node for a quarter of an hour",
        means: "No node takes them as they are.",
        steps: &[
            "`kubectl describe pod` says what each node lacks, in the scheduler's words.",
            "Free what is missing, or change what the pod asks for.",
        ],
        proof: Proof {
            series: &[("scheduler_pending_pods{queue=\"unschedulable\"}", "0x5 2x40")],
            quiet: "15m",
            due: "25m",
            labels: &[],
        },
    },
    Alert {
        name: "PodboxKernelUnwatched",
        expr: "podbox_kernel_unwatched_containers > 0",
        lasts: "5m",
        severity: Severity::Warning,
        summary: "of some containers the kernel's record is not whole",
        means: "For a while nobody recorded their kernel events: BPF programs could not be kept while podbox was away, or were of another version. Why they ended is then asked of their cgroups.",
        steps: &[
            "podbox's log says what was not recorded, and the Event KernelEventsMissed of the node.",
            "`podbox doctor` says whether programs can be pinned. The alert ends with those containers.",
        ],
        proof: Proof {
            series: &[("podbox_kernel_unwatched_containers{job=\"podbox\"}", "0x5 2x20")],
            quiet: "8m",
            due: "15m",
            labels: &[("job", "podbox")],
        },
    },
    Alert {
        name: "PodboxBpfDrops",
        expr: "sum by (kind) (increase(podbox_bpf_drops_total[10m])) > 0",
        lasts: "",
        severity: Severity::Info,
        summary: "kernel records of kind {kind} were lost",
        means: "Counters stay exact, single records are missing: something forks, or is killed, faster than podbox reads. Of kind reaping are dead processes that somebody reaped unseen: how long they lay is not told.",
        steps: &[
            "The dashboard of BPF shows which kind and since when.",
            "`podbox_kernel_events_missed_total` has how many events of which kind never came; `podbox events` has no mark for them. `podbox doctor` says what is lost with each.",
        ],
        proof: Proof {
            series: &[("podbox_bpf_drops_total{kind=\"exit-event\"}", "0x5 7x20")],
            quiet: "5m",
            due: "8m",
            labels: &[("kind", "exit-event")],
        },
    },
    Alert {
        name: "PodboxBpfDetached",
        expr: "max by (program) (podbox_bpf_program_detached) > 0",
        lasts: "",
        severity: Severity::Warning,
        summary: "the BPF program {program} was detached: it cost too much",
        means: "A program took more of the processors than its share, and podbox took it away. What it told is not told any more; `podbox doctor` says what that is. The rest goes on.",
        steps: &[
            "The dashboard of BPF shows how often it ran: something on this host forks, or signals, or connects far more than usual.",
            "Find it (`podbox events`, or who uses the processors) and mend it.",
            "Start podbox again: it attaches the program anew. Containers do not notice.",
        ],
        proof: Proof {
            series: &[("podbox_bpf_program_detached{program=\"signal_sent\"}", "0x5 1x20")],
            quiet: "5m",
            due: "7m",
            labels: &[("program", "signal_sent")],
        },
    },
    Alert {
        name: "PodboxBpfRunsSkipped",
        expr: "sum by (program) (increase(podbox_bpf_program_skipped_total[10m])) > 0",
        lasts: "",
        severity: Severity::Info,
        summary: "the kernel left out runs of the BPF program {program}",
        means: "A program was needed on a processor on which it was at work already, and the kernel does not run it twice. Counts of what it sees are short of so many.",
        steps: &[
            "Some is nothing to do about: an interrupt came at a bad time. Take the counts of that time as lower bounds.",
            "Is it a lot, and going on? Look at what else traces on this host (`bpftool prog`); report it as a bug of podbox with the program's name.",
        ],
        proof: Proof {
            series: &[("podbox_bpf_program_skipped_total{program=\"signal_sent\"}", "0x5 3x20")],
            quiet: "5m",
            due: "8m",
            labels: &[("program", "signal_sent")],
        },
    },
    Alert {
        name: "PodboxKernelSilent",
        expr: "max by (signal) (podbox_kernel_signal{state=\"absent\"}) > 0",
        lasts: "5m",
        severity: Severity::Info,
        summary: "the kernel tells podbox nothing of {signal}",
        means: "What podbox would know from the kernel it does not know on this host: this kernel has no such hook, or refused it, or its program was detached. Metrics of it are not there or stand still. What is told by a lesser hook (state reduced) is no alert; the dashboard of BPF has it.",
        steps: &[
            "`podbox doctor` says why, what cannot be said therefore, and how to mend it.",
            "Was its program detached? PodboxBpfDetached says so, too.",
            "Is nothing to be done on this host? Silence the alert for it.",
        ],
        proof: Proof {
            series: &[("podbox_kernel_signal{signal=\"reaping\",state=\"absent\"}", "0x5 1x20")],
            quiet: "8m",
            due: "12m",
            labels: &[("signal", "reaping")],
        },
    },
    Alert {
        name: "PodboxKernelSkew",
        expr: "max by (source) (podbox_kernel_skew) > 0",
        lasts: "5m",
        severity: Severity::Warning,
        summary: "podbox's counts differ from the kernel's own in {source}",
        means: "What podbox counted in the kernel and what the kernel's files say is compared all the time, and does not agree for containers that are there now.",
        steps: &[
            "memory.events: OOM kills without a victim here, or victims that it does not know. pids.current: dead processes here that are none. cgroup.events: a container is empty, and no exit was counted.",
            "Was a program detached, or were runs left out (PodboxBpfDetached, PodboxBpfRunsSkipped)? Then that is why.",
            "Else believe the kernel's files, and report it as a bug of podbox. The alert ends with those containers.",
        ],
        proof: Proof {
            series: &[("podbox_kernel_skew{source=\"memory.events\"}", "0x5 2x20")],
            quiet: "8m",
            due: "12m",
            labels: &[("source", "memory.events")],
        },
    },
    Alert {
        name: "PodboxMetricsLeftOut",
        expr: "max by (page) (podbox_metrics_left_out_series) > 0",
        lasts: "10m",
        severity: Severity::Info,
        summary: "the page {page} has no room for all series",
        means: "A page has a bounded number of series; what comes last on it is left out.",
        steps: &[
            "Are there labels or annotations that need not be told? Shorten the lists of --metric-labels-allowlist and --metric-annotations-allowlist.",
            "Are there objects that nobody needs: ended Jobs, old ReplicaSets? Let them be removed.",
        ],
        proof: Proof {
            series: &[("podbox_metrics_left_out_series{page=\"state\"}", "0x5 7x20")],
            quiet: "10m",
            due: "20m",
            labels: &[("page", "state")],
        },
    },
];

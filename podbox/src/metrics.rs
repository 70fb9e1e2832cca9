//! One table of every metric of podbox's own: name, kind, labels, help. Modules record through the
//! constants, so that a name is written once; a test proves that each row is used.

pub mod text;

/// What a metric measures with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Observations in buckets.
    Histogram,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name in the exposition.
    pub name: &'static str,
    /// What it measures with.
    pub kind: Kind,
    /// Its labels, in the order they are documented.
    pub labels: &'static [&'static str],
    /// What it says, for people.
    pub help: &'static str,
}

macro_rules! table {
    ($($id:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(#[doc = $help] pub const $id: &str = $name;)*
        /// Every metric.
        pub const TABLE: &[Metric] = &[
            $(Metric { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help },)*
        ];
    };
}

table! {
    PODS = Gauge "podbox_pods" ["phase"] "Pods on this node by phase.";
    EVENTS_DROPPED = Counter "podbox_events_dropped_total" [] "Events of pods that were not written to the API.";
    CONTAINERS = Gauge "podbox_containers" ["state"] "Containers on this node by state.";
    CONTAINER_RESTARTS = Counter "podbox_container_restarts_total" ["namespace", "pod", "container"] "Restarts of a container.";
    SANDBOX_STEP_SECONDS = Histogram "podbox_sandbox_step_duration_seconds" ["step"] "Time of one step of building a sandbox or a container.";
    CGROUP_SECONDS = Histogram "kubelet_cgroup_manager_duration_seconds" ["operation_type"] "Time of making (create), changing (update) or removing (destroy) one cgroup of a pod or a container.";
    STORAGE_SECONDS = Histogram "storage_operation_duration_seconds" ["volume_plugin", "operation_name", "status", "migrated"] "Time of making or filling one volume of a pod (volume_mount), of giving it to a group in that (volume_fsgroup_recursive_apply), and of taking it away (volume_unmount).";
    POD_ADDRESSES = Gauge "podbox_pod_addresses" ["state"] "Addresses of the pod range, leased and free.";
    NODE_NAME = Gauge "kubelet_node_name" ["node"] "Which node this is.";
    BUILD_INFO = Gauge "kubernetes_build_info" ["git_version", "major", "minor", "platform"] "The version of Kubernetes whose API this is.";
    RUNNING_PODS = Gauge "kubelet_running_pods" [] "Pods of which a container runs.";
    RUNNING_CONTAINERS = Gauge "kubelet_running_containers" ["container_state"] "Containers that run, and that have ended.";
    STARTED_PODS = Counter "kubelet_started_pods_total" [] "Pods of which a container was started.";
    STARTED_CONTAINERS = Counter "kubelet_started_containers_total" [] "Containers that were started.";
    KUBELET_POD_START_SECONDS = Histogram "kubelet_pod_start_duration_seconds" [] "From a pod accepted to its first container's process running, by the kubelet's name.";
    OPERATIONS = Counter "kubelet_runtime_operations_total" ["operation_type"] "What was asked of the sandbox engine, by the kubelet's names.";
    OPERATIONS_FAILED = Counter "kubelet_runtime_operations_errors_total" ["operation_type"] "Those that failed.";
    OPERATION_SECONDS = Histogram "kubelet_runtime_operations_duration_seconds" ["operation_type"] "Time of one of them.";
    POD_WORKER_SECONDS = Histogram "kubelet_pod_worker_duration_seconds" ["operation_type"] "Time of one piece of a pod's worker's work: until its first process runs (create), afterwards (sync), or to end it (kill).";
    EVICTIONS = Counter "kubelet_evictions" ["eviction_signal"] "Pods that were told to go because the node was short of something, or for what they had on the disk.";
    VOLUMES = Gauge "volume_manager_total_volumes" ["plugin_name", "state"] "Volumes of pods: those that pods here have (actual_state_of_world), those that they should have (desired_state_of_world).";
    VOLUME_CAPACITY = Gauge "kubelet_volume_stats_capacity_bytes" ["namespace", "persistentvolumeclaim"] "Room in the file system of a claim that a pod here has.";
    VOLUME_AVAILABLE = Gauge "kubelet_volume_stats_available_bytes" ["namespace", "persistentvolumeclaim"] "What of it is left.";
    VOLUME_USED = Gauge "kubelet_volume_stats_used_bytes" ["namespace", "persistentvolumeclaim"] "What of it is taken.";
    VOLUME_INODES = Gauge "kubelet_volume_stats_inodes" ["namespace", "persistentvolumeclaim"] "Files that it has room for.";
    VOLUME_INODES_FREE = Gauge "kubelet_volume_stats_inodes_free" ["namespace", "persistentvolumeclaim"] "Files that can still be made.";
    VOLUME_INODES_USED = Gauge "kubelet_volume_stats_inodes_used" ["namespace", "persistentvolumeclaim"] "Files that there are.";
    PROCESS_CPU = Counter "process_cpu_seconds_total" [] "Time that podbox used of the processors.";
    PROCESS_RESIDENT = Gauge "process_resident_memory_bytes" [] "Memory that podbox has resident.";
    PROCESS_VIRTUAL = Gauge "process_virtual_memory_bytes" [] "Memory that podbox has addresses for.";
    PROCESS_START = Gauge "process_start_time_seconds" [] "When podbox was started, since the epoch.";
    PROCESS_FILES = Gauge "process_open_fds" [] "Descriptors that podbox has open.";
    PROCESS_FILES_MOST = Gauge "process_max_fds" [] "Descriptors that it may have.";
    POD_START_SECONDS = Histogram "podbox_pod_start_duration_seconds" [] "From a pod accepted to its first container's process running.";
    STARTUP_STAGE_SECONDS = Histogram "podbox_startup_stage_seconds" ["stage"] "Time of one stage of a pod's or a container's beginning: image, cgroup, network, mounts, exec (from its first process to its program), listen, connect, accept, ready (from accepted, the whole way).";
    LOG_RETRIES = Counter "podbox_log_write_retries_total" [] "Failed attempts to write a container's log; what was to be written is kept and tried again.";
    EXITS = Counter "podbox_process_exits_total" ["namespace", "pod", "container", "code"] "Processes of a container that exited, with code zero or another one.";
    SIGNAL_EXITS = Counter "podbox_process_signal_exits_total" ["namespace", "pod", "container", "signal"] "Processes of a container that a signal ended.";
    OOM_VICTIMS = Counter "podbox_oom_victims_total" ["namespace", "pod", "container", "role"] "Processes the OOM killer took, each once: chosen, group, sharing (memory with another victim), exiting already, or unknown.";
    OOM_LIMITS = Counter "podbox_oom_limits_total" ["namespace", "pod", "container", "limit"] "The same processes by whose limit was hit: container, pod, qos, node, inner, above, elsewhere or unknown.";
    SIGNAL_SENDERS = Counter "podbox_signal_senders_total" ["namespace", "pod", "container", "sender"] "Processes that a signal ended, by who sent it: itself, container, other-container, host, podbox, kernel, oom, namespace or unknown. Since Linux 6.16 the OOM killer may mark a victim after its end was counted, as the kernel's then; podbox_oom_victims_total has it in any case, and status names the OOM killer.";
    ZOMBIES = Gauge "podbox_zombies" ["namespace", "pod", "container"] "Processes dead for over a second and not reaped.";
    ZOMBIE_CAUSES = Gauge "podbox_zombie_causes" ["namespace", "pod", "container", "cause"] "The same by who should have reaped them: their parent, the first process of their PID namespace (init), that one for what a command left that podbox ran, a hook or kubectl exec (command), or unknown.";
    ZOMBIE_LIFETIME_SECONDS = Histogram "podbox_zombie_lifetime_seconds" ["namespace", "pod", "container"] "Time from a process' death to its being reaped.";
    KERNEL_SIGNAL = Gauge "podbox_kernel_signal" ["signal", "state"] "1 for how much of one thing that the kernel may tell is told on this host: all of it (live), less (reduced), or none (absent); podbox doctor says why, and what is lost.";
    KERNEL_EVENTS = Counter "podbox_kernel_events_total" ["kind"] "Events the BPF programs had to tell of containers, received or not. Exits with code 0 only where somebody follows them; podbox_process_exits_total has all.";
    KERNEL_EVENTS_MISSED = Counter "podbox_kernel_events_missed_total" ["kind"] "Events whose numbers the reader found missing.";
    BPF_DROPS = Counter "podbox_bpf_drops_total" ["kind"] "Records the BPF programs could not deliver or keep.";
    BPF_RUNS = Counter "podbox_bpf_program_runs_total" ["program"] "Runs of a BPF program, by the kernel's count.";
    BPF_SKIPPED = Counter "podbox_bpf_program_skipped_total" ["program"] "Runs of a BPF program that the kernel left out because it was at work on that processor already: what it counts is short of so many.";
    BPF_DETACHED = Gauge "podbox_bpf_program_detached" ["program"] "1 for a BPF program that was detached because it took more of the processors than its share, 0 for one that was not.";
    BPF_RUN_SECONDS = Counter "podbox_bpf_program_run_seconds_total" ["program"] "Time a BPF program ran, by the kernel's measure.";
    KERNEL_GAP_SECONDS = Gauge "podbox_kernel_gap_seconds" [] "Time without podbox before this one began; what happened in it was recorded, but for containers that were not watched.";
    KERNEL_UNWATCHED = Gauge "podbox_kernel_unwatched_containers" [] "Containers of which, for a while, nobody recorded kernel events: their counts are not whole.";
    KERNEL_SKEW = Gauge "podbox_kernel_skew" ["source"] "How far the counts differ, look after look, from the kernel's own files: OOM kills of memory.events without a victim here (a group kill's double count left out) and victims here that it does not know, dead processes here that pids.current does not know, empty cgroups (cgroup.events) without an exit here.";
    KERNEL_COMPARED = Gauge "podbox_kernel_compared_containers" ["source"] "Containers whose counts could be compared with this one of the kernel's own files; where it is 0, podbox_kernel_skew says nothing of that file.";
    PIDS_UNTIL = Gauge "podbox_pids_exhausted_in_seconds" ["namespace", "pod", "container"] "Time until a container has no process ids left under its pids.max, if it goes on as in the last minute; there only while their number grows.";
    KERNEL_EVENTS_UNHEARD = Counter "podbox_kernel_events_unheard_total" [] "Kernel events that podbox received faster than it could tell pods of them; it looks for OOM kills and zombies in the kernel's maps then, and only views, triggers of probes and, until process ids were not short for ten minutes, Events of that lack something.";
    EVENT_STREAM_DROPPED = Counter "podbox_event_stream_dropped_total" [] "Kernel events that a slow reader of the event stream did not get.";
    IMAGE_PULLS = Counter "podbox_image_pulls_total" ["result"] "Pulls that ended, by result: pulled, or the reason of the failure.";
    IMAGE_PULL_SECONDS = Histogram "podbox_image_pull_duration_seconds" [] "Time of one pull, failed ones too.";
    PAGE_LEFT_OUT = Gauge "podbox_metrics_left_out_series" ["page"] "Series that the last scrape of a page had no room for.";
    PAGE_SECONDS = Histogram "podbox_metrics_page_duration_seconds" ["page"] "Time of writing one page for a scrape.";
    STORE_COMMIT_SECONDS = Histogram "podbox_store_commit_duration_seconds" [] "Time of one durable commit of the API's store, of one write or many.";
    STORE_COMMIT_FAILURES = Counter "podbox_store_commit_failures_total" [] "Commits of the API's store that the disk refused.";
    STORE_REVISION = Gauge "podbox_store_revision" [] "The newest revision of the API's store.";
    STORE_OBJECTS = Gauge "podbox_store_objects" ["collection"] "Objects in the API's store.";
    STORE_WATCHERS = Gauge "podbox_store_watchers" [] "Watches of the API's store that are open.";
    STORE_WATCHES_EXPIRED = Counter "podbox_store_watches_expired_total" [] "Watches that fell behind what the store remembers and were ended.";
    RECONCILES = Counter "podbox_reconciles_total" ["controller", "outcome"] "Reconciliations that wanted something done: done, a conflict, or failed.";
    RECONCILES_WAITING = Gauge "podbox_reconciles_waiting" [] "Objects that wait to be reconciled.";
    QUEUE_ADDS = Counter "workqueue_adds_total" ["name"] "What was added to the queue of what controllers have to look at; they have one queue.";
    QUEUE_DEPTH = Gauge "workqueue_depth" ["name"] "What waits in it.";
    QUEUE_SECONDS = Histogram "workqueue_queue_duration_seconds" ["name"] "How long something waited in it.";
    QUEUE_WORK_SECONDS = Histogram "workqueue_work_duration_seconds" ["name"] "How long it took to do what was wanted then.";
    SCHEDULE_ATTEMPTS = Counter "scheduler_schedule_attempts_total" ["profile", "result"] "Pods that the scheduler looked at with a result that was written: scheduled, unschedulable, or an error in writing it.";
    PREEMPTION_ATTEMPTS = Counter "scheduler_preemption_attempts_total" [] "Pods for which others were made to go.";
    ALGORITHM_SECONDS = Histogram "scheduler_scheduling_algorithm_duration_seconds" [] "Time of deciding about a pod.";
    ATTEMPT_SECONDS = Histogram "scheduler_scheduling_attempt_duration_seconds" ["profile", "result"] "Time of deciding about a pod and of writing that.";
    PENDING_PODS = Gauge "scheduler_pending_pods" ["queue"] "Pods without a node: to be looked at, in their pause, or waiting for something that may help.";
    PROBER_PROBES = Counter "prober_probe_total" ["probe_type", "result", "container", "pod", "namespace", "pod_uid"] "Probes of a container by result: successful, failed or unknown.";
    PROBER_PROBE_DURATION_SECONDS = Histogram "prober_probe_duration_seconds" ["probe_type", "container", "pod", "namespace"] "Time that a container took to answer a probe.";
    PROBE_PHASE_SECONDS = Histogram "podbox_probe_phase_seconds" ["probe_type", "phase"] "Time of one part of a probe: connect, accept_queue, application, transfer; failed ones too.";
    REQUESTS = Counter "apiserver_request_total" ["verb", "group", "version", "resource", "subresource", "scope", "code"] "Requests to the API that were answered.";
    REQUEST_SECONDS = Histogram "apiserver_request_duration_seconds" ["verb", "group", "version", "resource", "subresource", "scope"] "From a request's headers to the beginning of its answer; without requests that last.";
    REQUEST_SLI_SECONDS = Histogram "apiserver_request_sli_duration_seconds" ["verb", "group", "version", "resource", "subresource", "scope"] "The same, in buckets as objectives are set.";
    CLIENT_CERTIFICATE_SECONDS = Histogram "apiserver_client_certificate_expiration_seconds" [] "How much longer a client's certificate is good, request by request.";
    REQUESTS_IN_FLIGHT = Gauge "apiserver_current_inflight_requests" ["request_kind"] "Requests to the API that are being answered, without those that last.";
    REQUESTS_LASTING = Gauge "apiserver_longrunning_requests" ["verb", "group", "version", "resource", "subresource", "scope"] "Watches, logs that are followed and commands that are open.";
}

/// The head of a metric of the table, for what is written as text.
pub fn family(name: &str) -> String {
    let (kind, help) = row(name);
    text::head(name, kind, help)
}

/// What a metric of the table measures with, and what it says.
fn row(name: &str) -> (Kind, &'static str) {
    let row = TABLE.iter().find(|row| row.name == name).expect("the constants are the table's");
    (row.kind, row.help)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::{Path, PathBuf};

    fn files(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { files(&path, found) } else { found.push(path) }
        }
    }

    fn code() -> String {
        let mut found = Vec::new();
        files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
        let kept = found.into_iter().filter(|path| !path.ends_with("metrics.rs"));
        kept.map(|path| fs::read_to_string(path).unwrap()).collect()
    }

    #[test]
    fn every_row_is_recorded_somewhere() {
        let code = code();
        let table = include_str!("metrics.rs");
        for row in TABLE {
            let constant = table.lines().find(|line| line.contains(&format!("\"{}\"", row.name)));
            let constant = constant.and_then(|line| line.split_whitespace().next()).unwrap();
            let used = code.match_indices(constant).any(|(at, _)| code[..at].ends_with("::"));
            assert!(used, "{constant} ({}) is in the table and nowhere recorded", row.name);
        }
    }

    #[test]
    fn names_follow_prometheus() {
        for row in TABLE {
            // What upstream measures too has upstream's name.
            let prefixes = [
                "podbox_",
                "apiserver_",
                "kubelet_",
                "kubernetes_",
                "process_",
                "prober_",
                "scheduler_",
                "storage_",
                "volume_manager_",
                "workqueue_",
            ];
            assert!(prefixes.iter().any(|prefix| row.name.starts_with(prefix)), "{}", row.name);
            // Upstream's exceptions.
            let is_total = match row.name {
                "kubelet_evictions" => true,
                "volume_manager_total_volumes" => false,
                name => name.ends_with("_total"),
            };
            assert_eq!(is_total, row.kind == Kind::Counter, "{}", row.name);
            assert!(row.kind != Kind::Histogram || row.name.ends_with("_seconds"), "{}", row.name);
            assert!(row.help.ends_with('.'), "{}", row.name);
        }
    }
}

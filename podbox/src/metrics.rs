//! One table of every metric of podbox's own: name, kind, labels, help. Modules record through the
//! constants, so that a name is written once; a test proves that each row is used.

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
    CONTAINERS = Gauge "podbox_containers" ["state"] "Containers on this node by state.";
    CONTAINER_RESTARTS = Counter "podbox_container_restarts_total" ["namespace", "pod", "container"] "Restarts of a container.";
    SANDBOX_STEP_SECONDS = Histogram "podbox_sandbox_step_duration_seconds" ["step"] "Time of one step of building a sandbox or a container.";
    POD_ADDRESSES = Gauge "podbox_pod_addresses" ["state"] "Addresses of the pod range, leased and free.";
    POD_START_SECONDS = Histogram "podbox_pod_start_duration_seconds" [] "From a pod accepted to its first container's process running.";
    LOG_RETRIES = Counter "podbox_log_write_retries_total" [] "Failed attempts to write a container's log; what was to be written is kept and tried again.";
    EXITS = Counter "podbox_process_exits_total" ["namespace", "pod", "container", "code"] "Processes of a container that exited, with code zero or another one.";
    SIGNAL_EXITS = Counter "podbox_process_signal_exits_total" ["namespace", "pod", "container", "signal"] "Processes of a container that a signal ended.";
    OOM_VICTIMS = Counter "podbox_oom_victims_total" ["namespace", "pod", "container", "role"] "Processes the OOM killer marked, each once: chosen, group, exiting or unknown.";
    ZOMBIES = Gauge "podbox_zombies" ["namespace", "pod", "container"] "Processes dead for over a second and not reaped.";
    ZOMBIE_LIFETIME_SECONDS = Histogram "podbox_zombie_lifetime_seconds" ["namespace", "pod", "container"] "Time from a process' death to its being reaped.";
    KERNEL_EVENTS = Counter "podbox_kernel_events_total" ["kind"] "Events the BPF programs saw in containers, received or not.";
    KERNEL_EVENTS_MISSED = Counter "podbox_kernel_events_missed_total" ["kind"] "Events whose numbers the reader found missing.";
    BPF_DROPS = Counter "podbox_bpf_drops_total" ["kind"] "Records the BPF programs could not deliver or keep.";
    BPF_RUNS = Counter "podbox_bpf_program_runs_total" ["program"] "Runs of a BPF program, by the kernel's count.";
    BPF_RUN_SECONDS = Counter "podbox_bpf_program_run_seconds_total" ["program"] "Time a BPF program ran, by the kernel's measure.";
    EVENT_STREAM_DROPPED = Counter "podbox_event_stream_dropped_total" [] "Kernel events that a slow reader of the event stream did not get.";
    IMAGE_PULLS = Counter "podbox_image_pulls_total" ["result"] "Pulls that ended, by result: pulled, or the reason of the failure.";
    IMAGE_PULL_SECONDS = Histogram "podbox_image_pull_duration_seconds" [] "Time of one pull, failed ones too.";
    BUS_DROPPED = Counter "podbox_bus_dropped_events_total" [] "Kernel events a slow listener inside the daemon did not get.";
}

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
    BUS_DROPPED = Counter "podbox_bus_dropped_events_total" [] "Kernel events a slow listener inside the daemon did not get.";
}

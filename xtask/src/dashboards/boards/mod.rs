//! The dashboards: a file each, and each answers one question.

mod bpf;
mod control;
mod memory;
mod overview;
mod probes;
mod startup;
mod zombies;

use super::described::{Board, Variable};

/// All of them, in the order in which somebody looks at them.
pub const BOARDS: &[Board] = &[
    overview::BOARD,
    memory::BOARD,
    zombies::BOARD,
    probes::BOARD,
    startup::BOARD,
    control::BOARD,
    bpf::BOARD,
];

/// Pods, by namespace and name.
const PODS: &[Variable] = &[
    Variable { label: "namespace", of: "kube_pod_info" },
    Variable { label: "pod", of: "kube_pod_info{namespace=~\"$namespace\"}" },
];

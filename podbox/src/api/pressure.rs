//! What a node runs short of: signals, the thresholds below which they are too low, and how both are written. Pure.

use super::quantity::Quantity;
use std::fmt;
use std::time::Duration;

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Signal {
    /// Memory that could be had.
    Memory,
    /// Room where pods are.
    NodeFs,
    /// Files that can still be made there.
    NodeFsInodes,
    /// Room where images are.
    ImageFs,
    /// Files that can still be made there.
    ImageFsInodes,
    /// Processes that can still be started.
    Pids,
}

const SIGNALS: [Signal; 6] = [
    Signal::Memory,
    Signal::NodeFs,
    Signal::NodeFsInodes,
    Signal::ImageFs,
    Signal::ImageFsInodes,
    Signal::Pids,
];

impl Signal {
    /// As the kubelet's configuration names it.
    pub fn word(self) -> &'static str {
        match self {
            Signal::Memory => "memory.available",
            Signal::NodeFs => "nodefs.available",
            Signal::NodeFsInodes => "nodefs.inodesFree",
            Signal::ImageFs => "imagefs.available",
            Signal::ImageFsInodes => "imagefs.inodesFree",
            Signal::Pids => "pid.available",
        }
    }

    /// The resource that is short then, as messages name it.
    pub fn resource(self) -> &'static str {
        match self {
            Signal::Memory => "memory",
            Signal::NodeFs | Signal::ImageFs => "ephemeral-storage",
            Signal::NodeFsInodes | Signal::ImageFsInodes => "inodes",
            Signal::Pids => "pids",
        }
    }

    /// The condition that a node has then.
    pub fn condition(self) -> Condition {
        match self {
            Signal::Memory => Condition::Memory,
            Signal::Pids => Condition::Pid,
            _ => Condition::Disk,
        }
    }

    fn parse(text: &str) -> Option<Signal> {
        SIGNALS.into_iter().find(|signal| signal.word() == text)
    }
}

/// A node's condition that is true while it is short of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Condition {
    /// Of memory.
    Memory,
    /// Of room on a disk.
    Disk,
    /// Of processes.
    Pid,
}

impl Condition {
    /// All of them, in the order in which nodes have them.
    pub const ALL: [Condition; 3] = [Condition::Memory, Condition::Disk, Condition::Pid];

    /// Its type.
    pub fn word(self) -> &'static str {
        match self {
            Condition::Memory => "MemoryPressure",
            Condition::Disk => "DiskPressure",
            Condition::Pid => "PIDPressure",
        }
    }

    /// The key of the taint that keeps pods away then.
    pub fn taint(self) -> &'static str {
        match self {
            Condition::Memory => "node.kubernetes.io/memory-pressure",
            Condition::Disk => "node.kubernetes.io/disk-pressure",
            Condition::Pid => "node.kubernetes.io/pid-pressure",
        }
    }

    /// The reason and message while it is true, or is not.
    pub fn told(self, holds: bool) -> (&'static str, &'static str) {
        match (self, holds) {
            (Condition::Memory, true) => {
                ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available")
            }
            (Condition::Memory, false) => {
                ("KubeletHasSufficientMemory", "kubelet has sufficient memory available")
            }
            (Condition::Disk, true) => ("KubeletHasDiskPressure", "kubelet has disk pressure"),
            (Condition::Disk, false) => ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            (Condition::Pid, true) => ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
            (Condition::Pid, false) => ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        }
    }

    /// What an Event says when it begins or ends.
    pub fn event(self, holds: bool) -> &'static str {
        match (self, holds) {
            (Condition::Memory, true) => "NodeHasInsufficientMemory",
            (Condition::Memory, false) => "NodeHasSufficientMemory",
            (Condition::Disk, true) => "NodeHasDiskPressure",
            (Condition::Disk, false) => "NodeHasNoDiskPressure",
            (Condition::Pid, true) => "NodeHasInsufficientPID",
            (Condition::Pid, false) => "NodeHasSufficientPID",
        }
    }
}

/// How much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// So much.
    Of(Quantity),
    /// So many hundredths of all there is.
    Percent(f64),
}

impl Amount {
    fn parse(text: &str) -> Option<Amount> {
        match text.strip_suffix('%') {
            Some(number) => {
                let percent: f64 = number.parse().ok()?;
                (0.0..=100.0).contains(&percent).then_some(Amount::Percent(percent))
            }
            None => Quantity::parse(text).ok().filter(|it| !it.is_negative()).map(Amount::Of),
        }
    }

    /// In the unit of what there is all in all.
    pub fn of(self, capacity: u64) -> u64 {
        match self {
            Amount::Of(quantity) => u64::try_from(quantity.value()).unwrap_or(0),
            Amount::Percent(percent) => (capacity as f64 * percent / 100.0) as u64,
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Amount::Of(quantity) => quantity.fmt(f),
            Amount::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// Below which a signal is too low.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold {
    /// Of what.
    pub signal: Signal,
    /// How much there should be.
    pub below: Amount,
    /// How long it may be so before something is done, if it is soft; a hard one bears no delay.
    pub grace: Option<Duration>,
}

/// A text that says no thresholds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PressureError {
    /// Not two things with the right sign between.
    #[error("{0:?} is no threshold: it should look like memory.available<100Mi or nodefs.available<10%")]
    Threshold(String),
    /// No signal of this name.
    #[error(
        "there is no signal {0:?}: there are memory.available, nodefs.available, nodefs.inodesFree, imagefs.available, imagefs.inodesFree and pid.available"
    )]
    Signal(String),
    /// Neither quantity nor percentage.
    #[error("{0:?} is neither a quantity nor a percentage")]
    Amount(String),
    /// Two of one signal.
    #[error("{0} is given twice")]
    Twice(&'static str),
}

/// Reads `memory.available<100Mi,nodefs.available<10%`: hard ones. An amount of 0 says that a signal does not matter.
pub fn thresholds(text: &str) -> Result<Vec<Threshold>, PressureError> {
    let mut all: Vec<Threshold> = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, amount) = part.split_once('<').ok_or_else(|| PressureError::Threshold(part.to_owned()))?;
        let signal = Signal::parse(name).ok_or_else(|| PressureError::Signal(name.to_owned()))?;
        let below = Amount::parse(amount).ok_or_else(|| PressureError::Amount(amount.to_owned()))?;
        if all.iter().any(|other| other.signal == signal) {
            return Err(PressureError::Twice(signal.word()));
        }
        all.push(Threshold { signal, below, grace: None });
    }
    all.retain(|threshold| threshold.below.of(u64::MAX) > 0);
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> Result<String, String> {
        let all = thresholds(text).map_err(|error| error.to_string())?;
        let all = all.iter().map(|one| format!("{}<{}", one.signal.word(), one.below));
        Ok(all.collect::<Vec<_>>().join(","))
    }

    #[test]
    fn thresholds_are_read_as_the_kubelets_flags_have_them() {
        let all = "memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%,pid.available<1k";
        assert_eq!(written(all).as_deref(), Ok(all));
        assert_eq!(written("").as_deref(), Ok(""));
        assert_eq!(
            written("nodefs.available<0%, imagefs.available<1Gi").as_deref(),
            Ok("imagefs.available<1Gi")
        );
        for wrong in [
            "memory.available",
            "memory<1Mi",
            "memory.available<lots",
            "memory.available<101%",
            "memory.available<-1Mi",
            "memory.available<1Mi,memory.available<2Mi",
        ] {
            assert!(written(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_percentage_is_of_all_there_is() {
        let of = |text: &str, capacity| thresholds(text).unwrap()[0].below.of(capacity);
        assert_eq!(of("nodefs.available<10%", 1000), 100);
        assert_eq!(of("memory.available<1Ki", 1000), 1024);
    }
}

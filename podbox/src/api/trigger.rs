//! What makes a probe worth running now rather than when its period is over: the seam between whoever hears the kernel
//! (`trace`) and whoever probes (`node::probe`).
//!
//! A trigger is a hint. It changes *when* a probe runs, never what it decides: a triggered probe may bring success
//! forward, its failure counts for nothing. So triggers may be lost, doubled, late, or of a run that is over.

use super::identity::ContainerRef;

/// Something happened in a container that its probes may want to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// In which run.
    pub container: ContainerRef,
    /// In which cgroup, by inode number: the run's own, or one below it.
    pub cgroup: u64,
    /// What.
    pub cause: Cause,
}

/// What of it is of interest to a pod: a kernel has far more to tell than probes can make use of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Interest {
    /// Nothing: it has no probes.
    Nothing,
    /// Kills for want of memory.
    Kills,
    /// Servers that come and go. All of its probes have succeeded.
    Servers,
    /// Ends of processes, too: somebody may be waiting for one.
    Ends,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A socket listens on this port from now on.
    Listening {
        /// The TCP port.
        port: u16,
    },
    /// Nobody listens on this port any more.
    Gone {
        /// The TCP port.
        port: u16,
    },
    /// A process of it ended; those that probes run do so all the time, and have cgroups of their own.
    Exited,
    /// The kernel killed a process of it for want of memory.
    OomKilled,
    /// A process of it that has ended lies unreaped, or was reaped late.
    Zombie,
}

/// Somebody follows, until this is dropped.
pub type Following = Box<dyn Send + Sync>;

/// Has ends of processes told that are not told otherwise: those of ordinary processes that end well.
pub trait Ends: Send + Sync {
    /// In this cgroup of a container.
    fn follow(&self, cgroup: u64) -> Following;
}

impl Cause {
    /// Who cares at least.
    pub fn interest(self) -> Interest {
        match self {
            Cause::Listening { .. } | Cause::Gone { .. } => Interest::Servers,
            Cause::OomKilled => Interest::Kills,
            Cause::Exited => Interest::Ends,
            // No probe does, but its pod says so.
            Cause::Zombie => Interest::Nothing,
        }
    }

    /// Whether a probe of this port is meant; `None`: a probe without a port, as a command is.
    pub fn concerns(self, probed: Option<u16>) -> bool {
        match (self, probed) {
            (Cause::Listening { port } | Cause::Gone { port }, Some(probed)) => port == probed,
            // A command may well ask a server.
            (Cause::Zombie, _) => false,
            (Cause::Listening { .. } | Cause::Gone { .. }, None) | (Cause::Exited | Cause::OomKilled, _) => {
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_concerns_its_own_probe_and_those_without_one() {
        for cause in [Cause::Listening { port: 80 }, Cause::Gone { port: 80 }] {
            assert_eq!([Some(80), Some(81), None].map(|port| cause.concerns(port)), [true, false, true]);
        }
        assert!(Cause::Exited.concerns(Some(80)) && Cause::OomKilled.concerns(None));
    }
}

//! What the kernel knows of one attempt of a probe, which the prober's own clock cannot tell: the seam between whoever
//! keeps that record (`trace`) and whoever probes (`node::probe`).
//!
//! ```text
//!   begin(run) ──▶ socket(..), before it connects ──▶ (look(), if it takes a while) ──▶ end() ──▶ Account
//! ```
//!
//! The record explains a verdict and never makes one. A witness that is dropped without its end was of an attempt that
//! was given up.

use super::identity::ContainerRef;
use super::timeline::{Answer, Phase};
use std::fmt;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::time::Duration;

/// Watches attempts.
pub trait Witness: Send + Sync {
    /// An attempt at this run begins; `cgroup` is the run's cgroup, by inode number.
    fn begin(&self, run: &ContainerRef, cgroup: u64) -> Box<dyn Watching>;
}

/// A look at what holds an attempt up.
pub type Looking = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Watches one attempt.
pub trait Watching: Send {
    /// It uses this socket, which is not connected to the server yet, for an answer like this. A redirection needs another
    /// one.
    fn socket(&mut self, socket: BorrowedFd<'_>, server: SocketAddr, answer: Answer);

    /// It takes a while: what is to be looked at then, beside it.
    fn look(&self) -> Looking;

    /// It is over; `whole`: it came to its own end, which a timeout is not.
    fn end(self: Box<Self>, whole: bool) -> Account;
}

/// What became of an attempt's time. What is not known, or did not happen, is absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Account {
    /// Its parts, in their order.
    pub phases: Vec<(Phase, Duration)>,
    /// In the attempt's time, the container had work and was kept from the processor by its limit.
    pub throttled: Option<Duration>,
    /// In the attempt's time, all of the container waited for memory.
    pub stalled: Option<Duration>,
    /// What the Event of a failure adds after the upstream message: "0.94s of it CPU-throttled at limit 100m".
    pub remark: Option<String>,
}

/// Nobody watches.
#[derive(Clone, Copy, Debug)]
pub struct Unwitnessed;

impl Witness for Unwitnessed {
    fn begin(&self, _run: &ContainerRef, _cgroup: u64) -> Box<dyn Watching> {
        Box::new(Unwitnessed)
    }
}

impl Watching for Unwitnessed {
    fn socket(&mut self, _socket: BorrowedFd<'_>, _server: SocketAddr, _answer: Answer) {}

    fn look(&self) -> Looking {
        Box::pin(std::future::ready(()))
    }

    fn end(self: Box<Self>, _whole: bool) -> Account {
        Account::default()
    }
}

impl fmt::Debug for dyn Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Witness")
    }
}

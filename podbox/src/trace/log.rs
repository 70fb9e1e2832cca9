//! What the programs of a debug build say about rare moments, brought into the daemon's own log.
//!
//! A release build has no such lines: they cost stack and instructions.

use aya::Ebpf;

/// Moves what has been said since the last call into the log.
pub(super) type Flush = Box<dyn FnMut() + Send>;

/// `None` where the programs were built without log lines.
#[cfg(bpf_log)]
pub(super) fn open(ebpf: &mut Ebpf) -> Option<Flush> {
    match aya_log::EbpfLogger::init(ebpf) {
        Ok(mut logger) => Some(Box::new(move || logger.flush())),
        Err(error) => {
            tracing::debug!(%error, "the BPF programs' log lines stay unread");
            None
        }
    }
}

/// `None` where the programs were built without log lines.
#[cfg(not(bpf_log))]
pub(super) fn open(_ebpf: &mut Ebpf) -> Option<Flush> {
    None
}

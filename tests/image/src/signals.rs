//! The signal reporter.

use nix::sys::signal::{SigSet, Signal};

use crate::Done;
use crate::options::Options;

/// Prints each signal it gets; TERM and INT end it with `--code`, unless `--ignore`.
///
/// The signals are blocked and waited for, which also works for PID 1: the kernel keeps blocked signals for it that it
/// would otherwise throw away.
pub fn tell(options: &Options) -> Done {
    let code: u8 = options.named("code")?.unwrap_or(0);
    let mut set = SigSet::all();
    for fault in [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGFPE, Signal::SIGILL] {
        set.remove(fault);
    }
    set.thread_block().map_err(|errno| format!("cannot block signals: {errno}"))?;
    println!("waiting for signals");
    loop {
        let signal = set.wait().map_err(|errno| format!("cannot wait for signals: {errno}"))?;
        println!("got {}", signal.as_str());
        if matches!(signal, Signal::SIGTERM | Signal::SIGINT) && !options.has("ignore") {
            return Ok(code);
        }
    }
}

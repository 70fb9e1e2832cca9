//! The signal reporter, and the end of every other job when it is asked to end.

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

/// From now on TERM and INT end the program: with `code`, or as a shell words it, 128 and the signal's number.
///
/// As PID 1 of a container it would otherwise not hear them: the kernel drops a signal for PID 1 that it has no handler for.
pub fn end_when_asked(code: Option<i32>) -> Result<(), String> {
    let set: SigSet = [Signal::SIGTERM, Signal::SIGINT].into_iter().collect();
    // Of this thread and so of those it starts; a child process gets an empty mask.
    set.thread_block().map_err(|errno| format!("cannot block signals: {errno}"))?;
    let wait = move || {
        if let Ok(signal) = set.wait() {
            std::process::exit(code.unwrap_or(128 + signal as i32));
        }
    };
    std::thread::Builder::new().spawn(wait).map_err(|error| format!("cannot start a thread: {error}"))?;
    Ok(())
}

//! Ctrl-C and a polite kill are for the commands in the machines: they are passed on, not died of.

use std::sync::mpsc::Sender;
use std::sync::{Mutex, Once, PoisonError};
use std::thread;

use anyhow::{Context as _, Result};
use nix::sys::signal::{SigSet, Signal};

use super::stream::Event;

/// The machines that run. One that has ended no longer receives, and is taken out then.
static LISTENERS: Mutex<Vec<Sender<Event>>> = Mutex::new(Vec::new());

/// Keeps the signals for [`forward`]; to be called on the main thread before it starts others.
pub fn block() -> Result<()> {
    set().thread_block().context("cannot block SIGINT and SIGTERM")
}

/// From now on, interrupt and terminate signals of this process are events of the machine that `events` belongs to, and
/// of the others that run.
pub fn forward(events: Sender<Event>) {
    static START: Once = Once::new();
    LISTENERS.lock().unwrap_or_else(PoisonError::into_inner).push(events);
    START.call_once(|| {
        thread::spawn(|| {
            while let Ok(signal) = set().wait() {
                if !tell(signal) {
                    std::process::exit(128 + signal as i32);
                }
            }
        });
    });
}

/// Tells every machine that runs; false if there is none, and the signal ends this process as usual.
fn tell(signal: Signal) -> bool {
    let mut listeners = LISTENERS.lock().unwrap_or_else(PoisonError::into_inner);
    listeners.retain(|events| events.send(Event::Signal(signal)).is_ok());
    !listeners.is_empty()
}

fn set() -> SigSet {
    SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM])
}

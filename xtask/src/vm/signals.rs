//! Ctrl-C and a polite kill are for the command in the machine: they are passed on, not died of.

use std::sync::mpsc::Sender;
use std::sync::{Mutex, Once, PoisonError};
use std::thread;

use anyhow::{Context as _, Result};
use nix::sys::signal::{SigSet, Signal};

use super::stream::Event;

/// Who is told; the machine that was started last.
static LISTENER: Mutex<Option<Sender<Event>>> = Mutex::new(None);

/// Keeps the signals for [`forward`]; to be called on the main thread before it starts others.
pub fn block() -> Result<()> {
    set().thread_block().context("cannot block SIGINT and SIGTERM")
}

/// From now on, interrupt and terminate signals of this process are events of the machine that `events` belongs to.
pub fn forward(events: Sender<Event>) {
    static START: Once = Once::new();
    listen(Some(events));
    START.call_once(|| {
        thread::spawn(|| {
            while let Ok(signal) = set().wait() {
                match &*LISTENER.lock().unwrap_or_else(PoisonError::into_inner) {
                    Some(events) => drop(events.send(Event::Signal(signal))),
                    None => std::process::exit(128 + signal as i32),
                }
            }
        });
    });
}

/// The machine has ended: the signals end this process again.
pub fn stop() {
    listen(None);
}

fn listen(events: Option<Sender<Event>>) {
    *LISTENER.lock().unwrap_or_else(PoisonError::into_inner) = events;
}

fn set() -> SigSet {
    SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM])
}

//! Why a container ended, from all who know something of it: the kernel's record of the end, its OOM victims, and what podbox
//! itself had wanted. Pure.
//!
//! Invariant: an OOM kill is the kernel's word, and so is who sent a signal; exit code 137 alone says nothing here.

use super::kill;
use super::observed::{ContainerSeen, Observed};
use crate::api::attribution::{OomVictim, Witnessed};
use crate::api::cause::{By, Cause};
use crate::api::event::signal_name;
use crate::api::sender::{Origin, Sender};
use crate::sandbox::runtime::ExitStatus;
use std::time::Duration;

const SIGKILL: i32 = 9;
/// Above it are the exit codes by which a shell tells of a child that a signal ended.
const SHELLS: i32 = 128;

/// podbox's own part in an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Why it was to end.
    pub why: String,
    /// How long it had for it.
    pub grace: Duration,
    /// Nobody was to be asked.
    pub at_once: bool,
}

/// What is known of an end.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// How the first process ended.
    pub status: ExitStatus,
    /// What the kernel saw of that.
    pub witnessed: Option<&'a Witnessed>,
    /// The kernel's victims in the container, the first process or others.
    pub victims: &'a [OomVictim],
    /// The first process.
    pub pid: u32,
    /// The kernel killed all of it for want of memory, by the cgroup's own count: nobody watched.
    pub group_oom: bool,
    /// What podbox wanted.
    pub asked: Option<&'a Asked>,
}

impl Evidence<'_> {
    /// The victim that the first process was.
    pub fn victim(&self) -> Option<&OomVictim> {
        self.victims.iter().find(|victim| victim.pid == self.pid && victim.was_killed())
    }

    /// Why it ended.
    pub fn cause(&self) -> Cause {
        let sender = self.witnessed.and_then(|end| end.sender.clone());
        let (by, message) = match (self.status, self.victim()) {
            (ExitStatus::Code(code), _) => (By::Exit, self.exit(code)),
            (ExitStatus::Signal(_), Some(victim)) => (By::Oom, kill::story(victim)),
            (ExitStatus::Signal(_), None) if self.group_oom => {
                let words =
                    "the kernel killed all of its processes for want of memory; nobody watched it do so";
                (By::Oom, words.to_owned())
            }
            (ExitStatus::Signal(signal), None) => self.signal(signal, sender.as_ref()),
        };
        let looks_like_a_signal =
            matches!(self.status, ExitStatus::Code(code) if code > SHELLS && self.asked.is_none());
        let telling = by == By::Exit && (looks_like_a_signal || self.lost().is_some());
        Cause { by, message, sender, telling }
    }

    fn exit(&self, code: i32) -> String {
        let mut text = format!("exited with {code}");
        match self.asked {
            Some(asked) => text += &format!(" when podbox had asked it to end: {}", asked.why),
            // What a shell says of its children looks like a signal of its own.
            None if code > SHELLS => text += " by itself: no signal ended this process",
            None => {}
        }
        if let Some(victim) = self.lost() {
            text += &format!("; before that {}", kill::story(victim));
        }
        text
    }

    /// The last process but the first that was killed for memory.
    fn lost(&self) -> Option<&OomVictim> {
        self.victims.iter().rev().find(|victim| victim.pid != self.pid && victim.was_killed())
    }

    fn signal(&self, signal: i32, sender: Option<&Sender>) -> (By, String) {
        let name = signal_name(u8::try_from(signal).unwrap_or(0));
        let Some(sender) = sender else {
            let who = match (self.asked, self.witnessed) {
                (Some(asked), _) => format!("podbox had asked it to end: {}", asked.why),
                (None, Some(_)) => "nobody saw who sent it".to_owned(),
                (None, None) => "the kernel was not watched, so who sent it is unknown".to_owned(),
            };
            return (By::Unknown, format!("{name}; {who}"));
        };
        let by = match sender.origin {
            Origin::Podbox => By::Podbox,
            Origin::Itself => By::Itself,
            Origin::Kernel | Origin::Namespace => By::Kernel,
            Origin::Oom => By::Oom,
            Origin::Container | Origin::OtherContainer | Origin::Host => By::Process,
            Origin::Unknown => By::Unknown,
        };
        let mut text = format!("{name}, sent {sender}");
        if let (By::Podbox, Some(Asked { why, grace, at_once })) = (by, self.asked) {
            if signal == SIGKILL && !at_once && !grace.is_zero() {
                text += &format!(", for it had not ended within {} s", grace.as_secs());
            }
            text += &format!(": {why}");
        }
        (by, text)
    }
}

/// What podbox wanted of a container, if anything.
pub fn asked(seen: &Observed, container: &ContainerSeen, has_api: bool) -> Option<Asked> {
    if let Some(order) = &container.order {
        let end = order.end;
        return Some(Asked { why: order.why.clone(), grace: end.grace, at_once: end.at_once });
    }
    let why = match (&seen.verdict, has_api) {
        (Some(verdict), _) if verdict.reason.is_empty() => "its status was set to be over".to_owned(),
        (Some(verdict), _) => format!("{}: {}", verdict.reason, verdict.message),
        (None, true) => "the pod was deleted".to_owned(),
        (None, false) => "podbox run was asked to end".to_owned(),
    };
    if let Some(end) = &seen.termination {
        return Some(Asked { why, grace: end.grace, at_once: end.at_once });
    }
    // As sidecars are.
    let stopped = container.run().is_some_and(|run| run.is_stopping());
    let why = "the pod's other containers had ended".to_owned();
    stopped.then_some(Asked { why, grace: Duration::ZERO, at_once: false })
}

#[cfg(test)]
#[path = "cause_tests.rs"]
mod tests;

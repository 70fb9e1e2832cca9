//! A dead process that nobody reaps, and whose fault that is.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Why it lies there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ZombieCause {
    /// Its parent lives and does not wait for it.
    Parent,
    /// It was left to the first process of its PID namespace, or is that one's own child, and that does not wait.
    Init,
    /// The same, of what a command left that podbox ran in the container: a hook, or `kubectl exec`, whose processes stay. What a
    /// probe's command leaves is ended and taken by who attends to it (`sandbox::reap`), unless the kernel does not let it die in
    /// time, or the container has killed who attends.
    Command,
    /// It was gone before it could be looked at.
    Unknown,
}

impl ZombieCause {
    /// As metrics have it.
    pub fn word(self) -> &'static str {
        match self {
            ZombieCause::Parent => "parent",
            ZombieCause::Init => "init",
            ZombieCause::Command => "command",
            ZombieCause::Unknown => "unknown",
        }
    }
}

/// Whose fault it is that a dead process lies there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fault {
    /// Why nobody reaps it.
    pub cause: ZombieCause,
    /// Who should: its parent by now.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub parent_pid: Option<u32>,
    /// That one's command name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub parent_command: Option<String>,
}

impl Fault {
    /// Nobody knows.
    pub const UNKNOWN: Fault = Fault { cause: ZombieCause::Unknown, parent_pid: None, parent_command: None };

    /// Who should reap it and does not, in words that are the same for all that this one leaves.
    pub fn culprit(&self) -> Option<String> {
        let (pid, command) = (self.parent_pid?, self.parent_command.as_deref()?);
        let who = format!("{command} ({pid})");
        Some(match self.cause {
            ZombieCause::Parent => format!("{who} does not wait for its children"),
            ZombieCause::Init => format!("the first process, {who}, does not reap what is left to it"),
            ZombieCause::Command => {
                format!(
                    "commands that podbox runs leave processes, and the first one, {who}, does not reap them"
                )
            }
            ZombieCause::Unknown => return None,
        })
    }

    /// Whether an init in the first process' place would reap it.
    pub fn init_helps(&self) -> bool {
        matches!(self.cause, ZombieCause::Init | ZombieCause::Command)
    }
}

/// A zombie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zombie {
    /// How long it has been dead.
    pub lifetime_ms: u64,
    /// Whose fault that is.
    #[serde(flatten)]
    pub fault: Fault,
}

impl fmt::Display for Zombie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "zombie since {} ms", self.lifetime_ms)?;
        self.fault.culprit().map_or(Ok(()), |culprit| write!(f, ": {culprit}"))
    }
}

/// All the dead of a container that lie unreaped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unreaped {
    /// How many they are.
    pub count: usize,
    /// Whose fault most of them are, of those of whom that is known.
    pub fault: Option<Fault>,
}

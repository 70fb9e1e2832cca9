//! What daemon and keeper say to each other. Data only; `wire` carries it.
//!
//! Each request carries a serial number, and its answer the same one. Ends of processes are pushed to every
//! daemon that is connected; one that was away learns of them from [`Answer::List`].

use super::launch::{ExecLaunch, Launch, Pause};
use super::runtime::{ExitStatus, ProcessUser};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::SystemTime;

/// Of this protocol. A daemon talks only to a keeper of its own version.
pub const VERSION: u32 = 6;

/// Steps of a start by which the daemon tells failures apart: executing the program,
pub const EXEC: &str = "exec";
/// going to where it is to work,
pub const CHDIR: &str = "chdir";
/// and opening part of a volume, for the mount on the path that is the failure's subject.
pub const SUB_PATH: &str = "open the subPath mounted on";

/// From the daemon.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the daemon, unique on its connection.
    pub serial: u64,
    /// What it wants.
    pub body: Body,
}

/// What a daemon can want.
#[derive(Debug, Serialize, Deserialize)]
pub enum Body {
    /// The first message of a connection.
    Hello {
        /// The daemon's.
        version: u32,
    },
    /// Starts a container; answered once its program runs.
    Start(Box<Launch>),
    /// Sees to it that a pod's pause process runs; answered once it does, and has given up all that it must not have.
    Pause(Box<Pause>),
    /// Starts a command in a container; its streams come along as descriptors, as [`ExecLaunch`] says.
    Exec(ExecLaunch),
    /// Signals the first process of a container or an exec.
    Signal {
        /// Whose.
        id: String,
        /// Its number.
        signal: i32,
    },
    /// Asks for nothing; answered once every start that was asked for before has come to its end.
    Settle,
    /// Asks for every container that the keeper holds, or for those of one pod.
    List {
        /// The pod's uid.
        pod: Option<String>,
    },
    /// Asks for the descriptors of a container's log.
    Streams {
        /// Whose.
        id: String,
    },
    /// Closes a container's stdin for good.
    CloseStdin {
        /// Whose.
        id: String,
    },
    /// Lets an ended container go.
    Forget {
        /// Which.
        id: String,
    },
    /// Ends the keeper, if it holds nothing.
    Shutdown,
}

/// From the keeper.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromKeeper {
    /// To a request.
    Answer {
        /// The request's.
        serial: u64,
        /// What came of it.
        answer: Answer,
    },
    /// A process ended.
    Exited {
        /// Of which container or exec.
        id: String,
        /// How and when.
        end: End,
    },
}

/// What came of a request.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// To a hello.
    Hello {
        /// The keeper's.
        version: u32,
        /// Its process.
        pid: u32,
    },
    /// The program runs. For a container with its streams: source, staging read end, staging write end
    /// of stdout, then of stderr; then what writes to its stdin, if it is open.
    Started {
        /// Its first process, in the host's pid namespace.
        pid: u32,
        /// When exec succeeded.
        at: SystemTime,
        /// As whom, of a container.
        user: Option<ProcessUser>,
    },
    /// It is done. For `Streams`, the descriptors come along as with `Started`.
    Done,
    /// The containers that were asked for.
    List(Vec<Held>),
    /// It failed, and nothing is left of it.
    Failed(Failure),
}

/// A container as the keeper holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// Its key.
    pub id: String,
    /// What the launch said.
    pub label: String,
    /// Its first process.
    pub pid: u32,
    /// When exec succeeded.
    pub started: SystemTime,
    /// As whom it was executed.
    pub user: Option<ProcessUser>,
    /// Its end, once it ended.
    pub end: Option<End>,
}

/// The end of a process.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// How.
    pub status: ExitStatus,
    /// When the keeper saw it.
    pub at: SystemTime,
}

/// What a new process tells the keeper through its pipe.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Told {
    /// Why it is not executed.
    Failed(Failure),
    /// As whom it is about to be.
    User(ProcessUser),
}

/// What failed, on what, and why: what a new process tells the keeper, and the keeper the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What was tried, as a verb: `exec`, `mount`.
    pub step: String,
    /// On what.
    pub subject: String,
    /// The kernel's error, or a sentence.
    pub cause: Cause,
}

/// Why something failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// An errno.
    Errno(i32),
    /// A sentence.
    Text(String),
}

impl Failure {
    /// With an errno.
    pub fn errno(step: &str, subject: impl Into<String>, errno: i32) -> Failure {
        Failure { step: step.into(), subject: subject.into(), cause: Cause::Errno(errno) }
    }

    /// With a sentence.
    pub fn text(step: &str, subject: impl Into<String>, text: impl fmt::Display) -> Failure {
        Failure { step: step.into(), subject: subject.into(), cause: Cause::Text(text.to_string()) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}: ", self.step, self.subject)?;
        match &self.cause {
            Cause::Errno(number) => {
                // As strerror(3) says it, in lower case as the rest of the sentence.
                let text = nix::errno::Errno::from_raw(*number).desc();
                let mut letters = text.chars();
                let first = letters.next().map(|c| c.to_ascii_lowercase());
                write!(f, "{}{}", first.map(String::from).unwrap_or_default(), letters.as_str())
            }
            Cause::Text(text) => f.write_str(text),
        }
    }
}

/// Turns a failed call into a [`Failure`].
pub trait Context<T> {
    /// Says what was tried, and on what.
    fn at(self, step: &str, subject: impl Into<String>) -> Result<T, Failure>;
}

impl<T> Context<T> for nix::Result<T> {
    fn at(self, step: &str, subject: impl Into<String>) -> Result<T, Failure> {
        self.map_err(|errno| Failure::errno(step, subject, errno as i32))
    }
}

impl<T> Context<T> for std::io::Result<T> {
    fn at(self, step: &str, subject: impl Into<String>) -> Result<T, Failure> {
        self.map_err(|error| match error.raw_os_error() {
            Some(errno) => Failure::errno(step, subject, errno),
            None => Failure::text(step, subject, error),
        })
    }
}

impl<T> Context<T> for Result<T, std::ffi::NulError> {
    fn at(self, step: &str, subject: impl Into<String>) -> Result<T, Failure> {
        self.map_err(|_| Failure::text(step, subject, "it holds a NUL byte"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_read_as_sentences() {
        let missing = Failure::errno("exec", "/nope", libc::ENOENT);
        assert_eq!(missing.to_string(), "exec \"/nope\": no such file or directory");
        assert_eq!(Failure::text("find", "web", "no such user").to_string(), "find \"web\": no such user");
    }
}

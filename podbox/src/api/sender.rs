//! Who sent the signal that ended a process, as the kernel saw it sent.

use super::event::signal_name;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The process itself, as by abort.
    Itself,
    /// Another process of its container.
    Container,
    /// A process of another container.
    OtherContainer,
    /// A process of the host's, in no container.
    Host,
    /// podbox.
    Podbox,
    /// The kernel: a fault, a broken pipe, a timer, a resource limit.
    Kernel,
    /// The kernel's OOM killer.
    Oom,
    /// The end of the first process of its PID namespace.
    Namespace,
    /// Nobody saw it sent.
    Unknown,
}

impl Origin {
    /// As metrics and JSON have it.
    pub fn word(self) -> &'static str {
        match self {
            Origin::Itself => "itself",
            Origin::Container => "container",
            Origin::OtherContainer => "other-container",
            Origin::Host => "host",
            Origin::Podbox => "podbox",
            Origin::Kernel => "kernel",
            Origin::Oom => "oom",
            Origin::Namespace => "namespace",
            Origin::Unknown => "unknown",
        }
    }
}

/// A signal's sender.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    /// Where the signal came from.
    pub origin: Origin,
    /// The signal's number.
    pub signal: u8,
    /// When it was sent.
    pub time: jiff::Timestamp,
    /// The sending process, in the host's namespace; absent for the kernel.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pid: Option<u32>,
    /// Its command name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub command: Option<String>,
    /// Its container; absent if it is in none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub container: Option<String>,
    /// The kernel's `si_code`: what kind of fault it was, say.
    pub code: i32,
    /// The address of a fault, or the number of a system call that was refused.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<u64>,
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let command = self.command.as_deref().unwrap_or("a process");
        let pid = self.pid.unwrap_or_default();
        match self.origin {
            Origin::Itself => f.write_str("by the process itself"),
            Origin::Container => write!(f, "by {command} ({pid}) in the container itself"),
            Origin::OtherContainer => {
                let container = self.container.as_deref().unwrap_or("another pod");
                write!(f, "by {command} ({pid}) of {container}")
            }
            Origin::Host => write!(f, "by {command} ({pid}), a process of the host"),
            Origin::Podbox => f.write_str("by podbox"),
            Origin::Kernel => {
                f.write_str("by the kernel")?;
                self.fault().map_or(Ok(()), |fault| write!(f, ": {fault}"))
            }
            Origin::Oom => f.write_str("by the kernel's OOM killer"),
            Origin::Namespace => {
                f.write_str("by the kernel: the first process of its PID namespace had ended")
            }
            Origin::Unknown => f.write_str("by somebody whom nobody saw"),
        }
    }
}

impl Sender {
    /// What made the kernel send it, where the signal says.
    fn fault(&self) -> Option<String> {
        let at = || format!("{:#x}", self.detail.unwrap_or_default());
        let text = match (&*signal_name(self.signal), self.code) {
            ("SIGSEGV", 1) => format!("no memory is mapped at {}", at()),
            ("SIGSEGV", 2) => format!("memory at {} does not allow this access", at()),
            ("SIGSEGV", _) => "a memory access that the processor refuses".to_owned(),
            ("SIGBUS", 1) => format!("a misaligned access at {}", at()),
            ("SIGBUS", 2) => {
                format!("nothing is behind the mapping at {}, as when its file was cut off", at())
            }
            ("SIGBUS", 4 | 5) => format!("the hardware reports broken memory at {}", at()),
            ("SIGILL", _) => format!("an instruction that the processor does not know, at {}", at()),
            ("SIGFPE", 1) => format!("a division by zero at {}", at()),
            ("SIGFPE", _) => format!("an arithmetic fault at {}", at()),
            ("SIGSYS", _) => {
                format!("the seccomp profile forbids system call {}", self.detail.unwrap_or_default())
            }
            ("SIGPIPE", _) => "it wrote to what nobody reads any more".to_owned(),
            ("SIGXCPU", _) => "it reached its limit of processor time".to_owned(),
            ("SIGXFSZ", _) => "a file would have grown beyond its limit".to_owned(),
            ("SIGALRM" | "SIGVTALRM" | "SIGPROF", _) => "a timer of its own ran out".to_owned(),
            ("SIGHUP", _) => "its terminal is gone".to_owned(),
            ("SIGTRAP", _) => "a breakpoint that nobody debugs".to_owned(),
            _ => return None,
        };
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(origin: Origin, signal: u8, code: i32, detail: Option<u64>) -> Sender {
        let container = (origin == Origin::OtherContainer).then(|| "shop/cart/app#0".to_owned());
        let (time, pid, command) = (jiff::Timestamp::UNIX_EPOCH, Some(42), Some("kill".to_owned()));
        Sender { origin, signal, time, pid, command, container, code, detail }
    }

    #[test]
    fn who_sent_it_is_told_in_words() {
        let check = |origin, signal, code, detail, expected: &str| {
            assert_eq!(sender(origin, signal, code, detail).to_string(), expected);
        };
        check(Origin::Host, 9, 0, None, "by kill (42), a process of the host");
        check(Origin::OtherContainer, 15, 0, None, "by kill (42) of shop/cart/app#0");
        check(Origin::Container, 9, 0, None, "by kill (42) in the container itself");
        check(Origin::Kernel, 11, 1, Some(16), "by the kernel: no memory is mapped at 0x10");
        check(Origin::Kernel, 31, 1, Some(101), "by the kernel: the seccomp profile forbids system call 101");
        check(Origin::Kernel, 9, 0, None, "by the kernel");
        check(Origin::Itself, 6, -6, None, "by the process itself");
    }
}

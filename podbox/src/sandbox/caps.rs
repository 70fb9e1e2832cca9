//! Linux capabilities by name, and the default set the container ecosystem agreed on. Pure: what `init`
//! sets with `capset` is computed here.

use serde::{Deserialize, Serialize};

/// A set of capabilities, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CapSet(pub u64);

/// In the order of their numbers in `linux/capability.h`.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What a container has unless it says otherwise: containerd's and Docker's list.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// A name that is no capability.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown capability {0:?}: write it as in capabilities(7), without CAP_")]
pub struct UnknownCapability(pub String);

impl CapSet {
    /// Every capability this program knows.
    pub const ALL: CapSet = CapSet((1 << NAMES.len()) - 1);
    /// None.
    pub const NONE: CapSet = CapSet(0);

    /// The default set.
    pub fn standard() -> CapSet {
        DEFAULT.iter().filter_map(|name| number(name)).fold(CapSet::NONE, CapSet::with)
    }

    /// The set a container gets that adds and drops these. As containerd has it: `ALL` in either list chooses what to
    /// begin with, none before all, and a name that is in both lists is dropped.
    pub fn resolve(add: &[String], drop: &[String]) -> Result<CapSet, UnknownCapability> {
        let (added, add_all) = parse(add)?;
        let (dropped, drop_all) = parse(drop)?;
        let base = match (drop_all, add_all) {
            (true, _) => CapSet::NONE,
            (false, true) => CapSet::ALL,
            (false, false) => CapSet::standard(),
        };
        Ok(CapSet((base.0 | added.0) & !dropped.0))
    }

    /// Whether it has the capability of this name.
    pub fn has(self, name: &str) -> bool {
        number(name).is_some_and(|n| self.0 & (1 << n) != 0)
    }

    /// Numbers of the capabilities that are not in it, up to and with the kernel's last one.
    pub fn missing(self, last: u32) -> impl Iterator<Item = u32> {
        (0..=last.min(63)).filter(move |n| self.0 & (1 << n) == 0)
    }

    fn with(self, number: usize) -> CapSet {
        CapSet(self.0 | 1 << number)
    }
}

fn number(name: &str) -> Option<usize> {
    let name = name.strip_prefix("CAP_").unwrap_or(name);
    NAMES.iter().position(|known| *known == name)
}

/// Those that are named, and whether `ALL` is.
fn parse(names: &[String]) -> Result<(CapSet, bool), UnknownCapability> {
    names.iter().try_fold((CapSet::NONE, false), |(set, all), name| {
        match name.to_ascii_uppercase().as_str() {
            "ALL" => Ok((set, true)),
            upper => {
                let number = number(upper).ok_or_else(|| UnknownCapability(name.clone()))?;
                Ok((set.with(number), all))
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(add: &[&str], drop: &[&str], expected: u64) {
        let own = |names: &[&str]| names.iter().map(|n| n.to_string()).collect::<Vec<_>>();
        assert_eq!(CapSet::resolve(&own(add), &own(drop)), Ok(CapSet(expected)), "+{add:?} -{drop:?}");
    }

    #[test]
    fn containers_get_the_mask_that_others_give_them() {
        // As `CapEff` in /proc/self/status under containerd, Docker and CRI-O's older default.
        check(&[], &[], 0xa804_25fb);
        check(&[], &["ALL"], 0);
        check(&["NET_BIND_SERVICE"], &["ALL"], 1 << 10);
        check(&["SYS_ADMIN"], &["NET_RAW"], 0xa824_05fb);
        check(&["all"], &[], CapSet::ALL.0);
        check(&["CAP_BPF"], &["ALL"], 1 << 39);
        check(&["ALL"], &["CHOWN"], CapSet::ALL.0 & !1);
        check(&["ALL", "CHOWN"], &["ALL"], 1);
        check(&["CHOWN"], &["CHOWN"], 0xa804_25fa);
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        let wrong = vec!["NET_ADMN".to_string()];
        assert_eq!(CapSet::resolve(&wrong, &[]), Err(UnknownCapability("NET_ADMN".into())));
        assert_eq!(CapSet::resolve(&[], &wrong), Err(UnknownCapability("NET_ADMN".into())));
    }
}

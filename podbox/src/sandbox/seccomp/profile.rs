//! Profiles that people write, in the form that Docker and the OCI's runtimes share: JSON to rules, and those compiled.
//!
//! Calls that this architecture does not have are left out, as other runtimes do, and so are entries that are for
//! other architectures, capabilities or kernels. What cannot be done as it is written is an error: a profile is never
//! weaker than it reads. Programs of the architectures that a profile lists beside the native one are killed, and calls of
//! x32, which the kernel counts as native, fail with ENOSYS.

use super::filter::{self, Action, Comparison, Condition, Rule, Rules};
use super::names::number;
use super::{LAST, packed, refuse};
use crate::sandbox::caps::CapSet;
use crate::sandbox::spec::Program;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A profile's size at most: the default one of Docker has 13 KiB.
const BYTES: u64 = 1 << 20;
/// BPF_MAXINSNS.
const INSTRUCTIONS: usize = 4096;

/// Why a profile cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// It could not be read.
    #[error("cannot load seccomp profile {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// It is no such JSON.
    #[error("cannot decode seccomp profile {}", .0.display())]
    Decode(PathBuf, #[source] serde_json::Error),
    /// It says what this kernel or podbox cannot do.
    #[error("seccomp profile {}: {}", .0.display(), .1)]
    Unusable(PathBuf, String),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Profile {
    default_action: String,
    #[serde(default)]
    default_errno_ret: Option<u32>,
    #[serde(default)]
    flags: Vec<String>,
    #[serde(default)]
    syscalls: Vec<Entry>,
    /// Only the native architecture's programs run in any case.
    #[serde(default, rename = "architectures")]
    _architectures: serde_json::Value,
    #[serde(default, rename = "archMap")]
    _arch_map: serde_json::Value,
    #[serde(default)]
    listener_path: Option<String>,
    #[serde(default, rename = "listenerMetadata")]
    _listener_metadata: Option<String>,
    #[serde(default, rename = "defaultErrno")]
    _default_errno: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    names: Vec<String>,
    action: String,
    #[serde(default)]
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<Argument>>,
    #[serde(default)]
    includes: Option<Filter>,
    #[serde(default)]
    excludes: Option<Filter>,
    #[serde(default, rename = "comment")]
    _comment: Option<String>,
    #[serde(default, rename = "errno")]
    _errno: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Filter {
    #[serde(default)]
    caps: Vec<String>,
    #[serde(default)]
    arches: Vec<String>,
    #[serde(default)]
    min_kernel: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Argument {
    index: u8,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

/// Where it is used: what entries may depend on.
struct Place {
    caps: CapSet,
    /// The kernel's version.
    kernel: (u32, u32),
}

/// Reads and compiles the profile `name` of a directory, for a container with these capabilities. Blocking. No link in
/// the name may lead out of the directory.
pub fn load(directory: &Path, name: &str, caps: CapSet) -> Result<Program, ProfileError> {
    let path = directory.join(name);
    let text = read(directory, name).map_err(|error| ProfileError::Read(path.clone(), error))?;
    let profile = serde_json::from_str(&text);
    let profile: Profile = profile.map_err(|error| ProfileError::Decode(path.clone(), error))?;
    let kernel =
        nix::sys::utsname::uname().map_err(|error| ProfileError::Read(path.clone(), error.into()))?;
    let kernel = version(&kernel.release().to_string_lossy()).unwrap_or((0, 0));
    compile(&profile, &Place { caps, kernel }).map_err(|why| ProfileError::Unusable(path, why))
}

fn read(directory: &Path, name: &str) -> io::Result<String> {
    let directory = File::open(directory)?;
    let beneath = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let file = File::from(openat2(&directory, name, beneath)?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut text = String::new();
    file.take(BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > BYTES {
        return Err(io::Error::other(format!("it has more than {BYTES} bytes")));
    }
    Ok(text)
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn compile(profile: &Profile, place: &Place) -> Result<Program, String> {
    if profile.listener_path.is_some() {
        return Err("listenerPath is not supported: nobody would be told of calls".to_owned());
    }
    let default = action(&profile.default_action, profile.default_errno_ret)?;
    let mut calls: BTreeMap<u32, Vec<Rule>> = BTreeMap::new();
    for entry in &profile.syscalls {
        let action = action(&entry.action, entry.errno_ret)?;
        let alternatives = alternatives(entry)?;
        if !applies(entry, place)? {
            continue;
        }
        for number in entry.name.iter().chain(&entry.names).filter_map(|name| number(name)) {
            let rules = calls.entry(number).or_default();
            rules.extend(
                alternatives.iter().map(|conditions| Rule { conditions: conditions.clone(), action }),
            );
        }
    }
    // What has conditions goes before what has none: that one would hide it.
    calls.values_mut().for_each(|rules| rules.sort_by_key(|rule| rule.conditions.is_empty()));
    // A call that is newer than the profile's author looks as on an older kernel, unless all is allowed that is not listed.
    let newer = if default & libc::SECCOMP_RET_ACTION_FULL == libc::SECCOMP_RET_ERRNO {
        refuse(libc::ENOSYS)
    } else {
        default
    };
    let program = filter::compile(&Rules { default, newer: (LAST, newer), calls });
    if program.len() > INSTRUCTIONS {
        return Err(format!(
            "it takes {} instructions, and the kernel takes at most {INSTRUCTIONS}",
            program.len()
        ));
    }
    Ok(Program { code: packed(&program), flags: flags(&profile.flags)? })
}

fn action(name: &str, errno: Option<u32>) -> Result<Action, String> {
    let errno = errno.unwrap_or(libc::EPERM.cast_unsigned());
    if errno > libc::SECCOMP_RET_DATA {
        return Err(format!("errnoRet {errno} is too large"));
    }
    Ok(match name {
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => libc::SECCOMP_RET_KILL_THREAD,
        "SCMP_ACT_KILL_PROCESS" => libc::SECCOMP_RET_KILL_PROCESS,
        "SCMP_ACT_TRAP" => libc::SECCOMP_RET_TRAP,
        "SCMP_ACT_ERRNO" => libc::SECCOMP_RET_ERRNO | errno,
        "SCMP_ACT_TRACE" => libc::SECCOMP_RET_TRACE | errno,
        "SCMP_ACT_ALLOW" => libc::SECCOMP_RET_ALLOW,
        "SCMP_ACT_LOG" => libc::SECCOMP_RET_LOG,
        "SCMP_ACT_NOTIFY" => {
            return Err("SCMP_ACT_NOTIFY is not supported: nobody would be told of calls".to_owned());
        }
        other => return Err(format!("unknown action {other:?}")),
    })
}

fn flags(names: &[String]) -> Result<u32, String> {
    names.iter().try_fold(0, |flags, name| {
        let flag = match name.as_str() {
            "SECCOMP_FILTER_FLAG_LOG" => libc::SECCOMP_FILTER_FLAG_LOG as u32,
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW as u32,
            // There is one thread when it is installed.
            "SECCOMP_FILTER_FLAG_TSYNC" => 0,
            other => return Err(format!("unknown flag {other:?}")),
        };
        Ok(flags | flag)
    })
}

/// Conditions of which one list must hold in full: two for the same argument are alternatives, as other runtimes have it.
fn alternatives(entry: &Entry) -> Result<Vec<Vec<Condition>>, String> {
    let given = entry.args.iter().flatten().map(condition);
    let all: Vec<Condition> = given.collect::<Result<_, _>>()?;
    let distinct: BTreeSet<u8> = all.iter().map(|condition| condition.argument).collect();
    Ok(if distinct.len() == all.len() { vec![all] } else { all.into_iter().map(|one| vec![one]).collect() })
}

fn condition(given: &Argument) -> Result<Condition, String> {
    if given.index > 5 {
        return Err(format!("there is no argument {}: they are counted from 0 to 5", given.index));
    }
    let (argument, value) = (given.index, given.value);
    let plain = |comparison| Ok(Condition { argument, comparison, value });
    match given.op.as_str() {
        "SCMP_CMP_EQ" => plain(Comparison::Equal),
        "SCMP_CMP_NE" => plain(Comparison::NotEqual),
        "SCMP_CMP_LT" => plain(Comparison::Less),
        "SCMP_CMP_LE" => plain(Comparison::LessOrEqual),
        "SCMP_CMP_GT" => plain(Comparison::Greater),
        "SCMP_CMP_GE" => plain(Comparison::GreaterOrEqual),
        "SCMP_CMP_MASKED_EQ" => {
            let comparison = Comparison::Masked(value);
            Ok(Condition { argument, comparison, value: given.value_two & value })
        }
        other => Err(format!("unknown comparison {other:?}")),
    }
}

/// Whether an entry is for this architecture, kernel and container.
fn applies(entry: &Entry, place: &Place) -> Result<bool, String> {
    let none = Filter::default();
    let (includes, excludes) =
        (entry.includes.as_ref().unwrap_or(&none), entry.excludes.as_ref().unwrap_or(&none));
    let native = |arch: &String| arch == if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    let has = |cap: &String| place.caps.has(cap);
    let old = match &includes.min_kernel {
        Some(least) => {
            place.kernel < version(least).ok_or_else(|| format!("minKernel {least:?} is no version"))?
        }
        None => false,
    };
    if excludes.min_kernel.is_some() {
        return Err("excludes.minKernel is not supported".to_owned());
    }
    Ok(!old
        && (includes.arches.is_empty() || includes.arches.iter().any(native))
        && includes.caps.iter().all(has)
        && !excludes.arches.iter().any(native)
        && !excludes.caps.iter().any(has))
}

#[cfg(test)]
mod tests {
    use super::super::filter::tests::run;
    use super::super::unpacked;
    use super::*;

    fn program(text: &str) -> Result<Program, String> {
        let profile: Profile = serde_json::from_str(text).map_err(|error| error.to_string())?;
        compile(&profile, &Place { caps: CapSet::standard(), kernel: (6, 1) })
    }

    #[track_caller]
    fn check(syscalls: &str, call: &str, arguments: [u64; 2], expected: Action) {
        let text = format!(
            r#"{{"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [{syscalls}]}}"#
        );
        let code = unpacked(&program(&text).unwrap().code);
        let [a, b] = arguments;
        assert_eq!(run(&code, number(call).unwrap(), [a, b, 0, 0, 0, 0]), expected, "{syscalls} {call}");
    }

    #[test]
    fn profiles_do_what_they_say() {
        const ALLOW: Action = libc::SECCOMP_RET_ALLOW;
        const EPERM: Action = refuse(libc::EPERM);
        let some = r#"{"names": ["read", "no_such_call"], "action": "SCMP_ACT_ALLOW"},
            {"name": "mkdir", "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
            {"names": ["chmod"], "action": "SCMP_ACT_KILL_PROCESS"}"#;
        check(some, "read", [0, 0], ALLOW);
        check(some, "write", [0, 0], EPERM);
        check(some, "mkdir", [0, 0], refuse(libc::ENOSYS));
        check(some, "chmod", [0, 0], libc::SECCOMP_RET_KILL_PROCESS);
        let both = r#"{"names": ["dup2"], "action": "SCMP_ACT_ALLOW", "args": [
            {"index": 0, "value": 5, "op": "SCMP_CMP_GT"}, {"index": 1, "value": 6, "valueTwo": 2, "op": "SCMP_CMP_MASKED_EQ"}]}"#;
        check(both, "dup2", [6, 11], ALLOW);
        check(both, "dup2", [5, 11], EPERM);
        check(both, "dup2", [6, 12], EPERM);
        let either = r#"{"names": ["dup2"], "action": "SCMP_ACT_ALLOW", "args": [
            {"index": 0, "value": 5, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 7, "op": "SCMP_CMP_EQ"}]}"#;
        check(either, "dup2", [7, 0], ALLOW);
        check(either, "dup2", [6, 0], EPERM);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn a_call_that_is_forbidden_has_no_other_number() {
        let text = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}"#;
        let code = unpacked(&program(text).unwrap().code);
        let mkdir = number("mkdir").unwrap();
        assert_eq!(run(&code, mkdir, [0; 6]), refuse(libc::EPERM));
        assert_eq!(run(&code, 0x4000_0000 | mkdir, [0; 6]), refuse(libc::ENOSYS), "that of x32");
    }

    #[test]
    fn entries_may_depend_on_where_they_are_used() {
        let depends = |when: &str| format!(r#"{{"names": ["bpf"], "action": "SCMP_ACT_ALLOW", {when}}}"#);
        for (when, allowed) in [
            (r#""includes": {"caps": ["CAP_CHOWN"]}"#, true),
            (r#""includes": {"caps": ["CAP_SYS_ADMIN"]}"#, false),
            (r#""excludes": {"caps": ["CAP_CHOWN"]}"#, false),
            (r#""includes": {"minKernel": "4.8"}"#, true),
            (r#""includes": {"minKernel": "6.10"}"#, false),
            (r#""includes": {"arches": ["s390"]}"#, false),
        ] {
            let action = if allowed { libc::SECCOMP_RET_ALLOW } else { refuse(libc::EPERM) };
            check(&depends(when), "bpf", [0, 0], action);
        }
    }

    #[test]
    fn what_cannot_be_done_is_an_error() {
        let wrong = |text: &str| program(text).unwrap_err();
        assert_eq!(wrong(r#"{"defaultAction": "SCMP_ACT_NO"}"#), "unknown action \"SCMP_ACT_NO\"");
        assert!(
            wrong(r#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#).starts_with("SCMP_ACT_NOTIFY is not supported")
        );
        assert!(wrong(r#"{"defaultAction": "SCMP_ACT_ALLOW", "sycalls": []}"#).contains("unknown field"));
        let far = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_KILL",
            "args": [{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]}]}"#;
        assert_eq!(wrong(far), "there is no argument 6: they are counted from 0 to 5");
    }
}

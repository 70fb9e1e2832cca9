//! Jobs that tell what the process finds itself to be.

use std::fmt::Write;
use std::fs::read_to_string;

use crate::Done;

/// The host name, by the kernel.
pub fn hostname() -> String {
    read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim_end().to_owned()
}

/// Prints the environment, sorted.
pub fn environment() -> Done {
    let mut variables: Vec<(String, String)> = std::env::vars().collect();
    variables.sort();
    for (name, value) in variables {
        println!("{name}={value}");
    }
    Ok(0)
}

/// Prints one line of JSON: ids, capabilities, seccomp mode, names, mount points.
pub fn identity() -> Done {
    let read = |path: &str| read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"));
    let status = read("/proc/self/status")?;
    let cwd = std::env::current_dir().map_err(|error| format!("cannot tell the directory: {error}"))?;
    let mounts = read("/proc/self/mounts")?;
    let mut fields = vec![
        ("hostname", string(&hostname())),
        ("cwd", string(&cwd.display().to_string())),
        ("pid", std::process::id().to_string()),
    ];
    for (name, key) in
        [("uid", "Uid"), ("gid", "Gid"), ("seccomp", "Seccomp"), ("no_new_privs", "NoNewPrivs")]
    {
        let value = field(&status, key).split_whitespace().next().unwrap_or("null").to_owned();
        fields.push((name, value));
    }
    for (name, key) in [("cap_eff", "CapEff"), ("cap_bnd", "CapBnd"), ("cap_inh", "CapInh")] {
        fields.push((name, string(field(&status, key))));
    }
    fields.push(("groups", list(field(&status, "Groups").split_whitespace().map(str::to_owned))));
    fields.push(("mounts", list(mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(string))));
    let body: Vec<String> = fields.iter().map(|(name, value)| format!("{}: {value}", string(name))).collect();
    println!("{{{}}}", body.join(", "));
    Ok(0)
}

/// The value of `key` in a `/proc/PID/status`.
fn field<'a>(status: &'a str, key: &str) -> &'a str {
    let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.unwrap_or_default().trim()
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

/// `text` as JSON.
fn string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            char if char.is_control() => drop(write!(quoted, "\\u{:04x}", u32::from(char))),
            char => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::{field, string};

    #[test]
    fn strings_are_json() {
        assert_eq!(string("a\"b\\c\n"), r#""a\"b\\c\u000a""#);
    }

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        assert_eq!(field("CapEff:\t00ff\nCap: 1\nUid:\t0\t0\n", "Cap"), "1");
    }
}

//! What names, keys and addresses may look like: each function gives what is wrong with a text, in upstream's
//! words. Pure; whether a text may be missing is the caller's to judge.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What is wrong with a text; nothing, mostly.
pub type Wrong = Vec<String>;

const SUBDOMAIN: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const QUALIFIED: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
    alphanumeric character";

/// A rule with its regular expression and examples, as upstream words one.
fn pattern(rule: &str, expression: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{rule} (regex used for validation is '{expression}')");
    }
    let examples: Vec<_> = examples.iter().map(|example| format!("'{example}', ")).collect();
    format!("{rule} (e.g. {}regex used for validation is '{expression}')", examples.join(" or "))
}

fn too_long(text: &str, most: usize, unit: &str) -> Option<String> {
    (text.len() > most).then(|| format!("must be no more than {most} {unit}"))
}

/// `[first]([inner]*[last])?` over bytes, where the inner ones may be `first` or `last` too.
fn between(text: &str, first: fn(u8) -> bool, inner: fn(u8) -> bool, last: fn(u8) -> bool) -> bool {
    match text.as_bytes() {
        [] => false,
        [one] => first(*one),
        [head, middle @ .., tail] => first(*head) && middle.iter().all(|byte| inner(*byte)) && last(*tail),
    }
}

fn lower_or_digit(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn in_label(byte: u8) -> bool {
    lower_or_digit(byte) || byte == b'-'
}

fn alphanumeric(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

fn in_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

fn is_label(text: &str) -> bool {
    between(text, lower_or_digit, in_label, lower_or_digit)
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

/// A lowercase RFC 1123 label: `my-name`.
pub fn label(text: &str) -> Wrong {
    let mut wrong: Wrong = too_long(text, 63, "characters").into_iter().collect();
    if is_label(text) {
        return wrong;
    }
    if is_subdomain(text) {
        wrong.push("must not contain dots".to_owned());
    } else {
        wrong.push(pattern(
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
             start and end with an alphanumeric character",
            "[a-z0-9]([-a-z0-9]*[a-z0-9])?",
            &["my-name", "123-abc"],
        ));
    }
    wrong
}

/// A lowercase RFC 1123 subdomain: `example.com`.
pub fn subdomain(text: &str) -> Wrong {
    let mut wrong: Wrong = too_long(text, 253, "characters").into_iter().collect();
    if !is_subdomain(text) {
        wrong.push(pattern(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and \
             must start and end with an alphanumeric character",
            SUBDOMAIN,
            &["example.com"],
        ));
    }
    wrong
}

/// A subdomain whose first label may be `*`.
pub fn wildcard(text: &str) -> Wrong {
    let mut wrong: Wrong = too_long(text, 253, "characters").into_iter().collect();
    if !text.strip_prefix("*.").is_some_and(is_subdomain) {
        wrong.push(pattern(
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must \
             consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
            &format!("\\*\\.{SUBDOMAIN}"),
            &["*.example.com"],
        ));
    }
    wrong
}

/// What may stand in a request's path.
pub fn path_segment(text: &str) -> Wrong {
    if matches!(text, "." | "..") {
        return vec![format!("may not be '{text}'")];
    }
    ['/', '%']
        .iter()
        .filter(|bad| text.contains(**bad))
        .map(|bad| format!("may not contain '{bad}'"))
        .collect()
}

/// A name with an optional domain before it: `example.com/name`.
pub fn qualified(text: &str) -> Wrong {
    let mut wrong = Wrong::new();
    let expression = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
    let examples = ["MyName", "my.name", "123-abc"];
    let name = match text.split('/').collect::<Vec<_>>().as_slice() {
        [name] => *name,
        [prefix, name] => {
            if prefix.is_empty() {
                wrong.push("prefix part must be non-empty".to_owned());
            } else {
                wrong.extend(subdomain(prefix).into_iter().map(|why| format!("prefix part {why}")));
            }
            *name
        }
        _ => {
            let rule = pattern(QUALIFIED, expression, &examples);
            let with = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
            return vec![format!("a qualified name {rule} {with}")];
        }
    };
    if name.is_empty() {
        wrong.push("name part must be non-empty".to_owned());
    }
    wrong.extend(too_long(name, 63, "bytes").map(|why| format!("name part {why}")));
    if !between(name, alphanumeric, in_name, alphanumeric) {
        wrong.push(format!("name part {}", pattern(QUALIFIED, expression, &examples)));
    }
    wrong
}

/// A path below a domain: `example.com/controller`.
pub fn domain_path(text: &str) -> Wrong {
    match text.split_once('/') {
        None | Some((_, "")) | Some(("", _)) => {
            vec!["must be a domain-prefixed path (such as \"acme.io/foo\")".to_owned()]
        }
        Some((domain, _)) => subdomain(domain),
    }
}

/// A label's value.
pub fn label_value(text: &str) -> Wrong {
    let mut wrong: Wrong = too_long(text, 63, "bytes").into_iter().collect();
    if !text.is_empty() && !between(text, alphanumeric, in_name, alphanumeric) {
        wrong.push(pattern(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and \
             must start and end with an alphanumeric character",
            "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?",
            &["MyValue", "my_value", "12345"],
        ));
    }
    wrong
}

/// A port's name.
pub fn port_name(text: &str) -> Wrong {
    let mut wrong: Wrong = too_long(text, 15, "characters").into_iter().collect();
    let mut add = |bad: bool, why: &str| wrong.extend(bad.then(|| why.to_owned()));
    add(
        text.is_empty() || !text.bytes().all(in_label),
        "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
    );
    add(!text.bytes().any(|byte| byte.is_ascii_lowercase()), "must contain at least one letter (a-z)");
    add(text.contains("--"), "must not contain consecutive hyphens");
    add(text.starts_with('-') || text.ends_with('-'), "must not begin or end with a hyphen");
    wrong
}

/// A key of a ConfigMap or Secret.
pub fn config_key(text: &str) -> Wrong {
    let mut wrong: Wrong = too_long(text, 253, "characters").into_iter().collect();
    if text.is_empty() || !text.bytes().all(in_name) {
        wrong.push(pattern(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            "[-._a-zA-Z0-9]+",
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    match text {
        "." | ".." => wrong.push(format!("must not be '{text}'")),
        text if text.starts_with("..") => wrong.push("must not start with '..'".to_owned()),
        _ => {}
    }
    wrong
}

/// The name of an environment variable.
pub fn variable(text: &str) -> Wrong {
    let printable = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'=';
    if !text.is_empty() && text.bytes().all(printable) {
        return Wrong::new();
    }
    let rule =
        "a valid environment variable name must consist only of printable ASCII characters other than '='";
    vec![rule.to_owned()]
}

/// The name of an HTTP header.
pub fn header(text: &str) -> Wrong {
    if !text.is_empty() && text.bytes().all(|byte| alphanumeric(byte) || byte == b'-') {
        return Wrong::new();
    }
    let rule = "a valid HTTP header must consist of alphanumeric characters or '-'";
    vec![pattern(rule, "[-A-Za-z0-9]+", &["X-Header-Name"])]
}

/// An IP address.
pub fn ip(text: &str) -> Wrong {
    match address(text) {
        Some(_) => Wrong::new(),
        None => vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()],
    }
}

/// An IP address, as it is written in one way only.
pub fn canonical_ip(text: &str) -> Wrong {
    match address(text) {
        Some(address) if address.to_string() != text => {
            vec![format!("must be in canonical form (\"{address}\")")]
        }
        _ => ip(text),
    }
}

/// Reads an IP address.
pub fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok()
}

/// An address that traffic can be sent to from elsewhere.
pub fn endpoint(text: &str) -> Wrong {
    let Some(address) = address(text) else { return vec!["must be a valid IP address".to_owned()] };
    // An IPv4 address in IPv6's clothes is still that one.
    let address = address.to_canonical();
    let (local, multicast) = match address {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == Ipv4Addr::new(224, 0, 0, 0).octets()[..3]),
        IpAddr::V6(v6) => (v6.segments()[0] & 0xffc0 == 0xfe80, is_link_local_multicast(v6)),
    };
    [
        (address.is_unspecified(), "may not be unspecified (0.0.0.0 or ::)"),
        (address.is_loopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        (local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        (multicast, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
    ]
    .into_iter()
    .filter(|(bad, _)| *bad)
    .map(|(_, why)| why.to_owned())
    .collect()
}

fn is_link_local_multicast(address: Ipv6Addr) -> bool {
    address.segments()[0] & 0xff0f == 0xff02
}

/// A range of addresses.
pub fn cidr(text: &str) -> Wrong {
    match text.parse::<ipnet::IpNet>() {
        Ok(_) => Wrong::new(),
        Err(_) => vec!["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)".to_owned()],
    }
}

/// A whole number of percent.
pub fn percent(text: &str) -> Wrong {
    let digits = text.strip_suffix('%').unwrap_or_default();
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Wrong::new();
    }
    let rule = "a valid percent string must be a numeric string followed by an ending '%'";
    vec![pattern(rule, "[0-9]+%", &["1%", "93%"])]
}

/// A name whose prefix stands first and something else will follow: a hyphen at its end is no harm.
pub fn as_prefix(text: &str) -> String {
    match text.strip_suffix('-') {
        Some(rest) if !rest.is_empty() => format!("{rest}a"),
        _ => text.to_owned(),
    }
}

/// The longest prefix that a generated name keeps: with five characters after it, it is a label still.
const PREFIX_BYTES: usize = 58;

/// The name that `generateName` and random characters make.
pub fn generated(prefix: &str, suffix: &str) -> String {
    let mut end = prefix.len().min(PREFIX_BYTES);
    while !prefix.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{suffix}", &prefix[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_judged_by_their_alphabet_and_their_edges() {
        for good in ["a", "a-b", "1a", "9"] {
            assert_eq!(label(good), Wrong::new(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a_b", "ä"] {
            assert_eq!(label(bad).len(), 1, "{bad}");
        }
        assert_eq!(label("a.b"), ["must not contain dots"]);
        assert_eq!(subdomain("a.b-c.d"), Wrong::new());
        assert_eq!(subdomain("a..b").len(), 1);
        assert_eq!(qualified("example.com/My_Name"), Wrong::new());
        assert_eq!(qualified("/a"), ["prefix part must be non-empty"]);
        assert_eq!(qualified("a/b/c").len(), 1);
        assert_eq!(path_segment("a/b%"), ["may not contain '/'", "may not contain '%'"]);
        assert_eq!(port_name("-1--2-").len(), 3);
        assert_eq!(config_key("..a"), ["must not start with '..'"]);
        assert_eq!(as_prefix("web-"), "weba");
    }
}

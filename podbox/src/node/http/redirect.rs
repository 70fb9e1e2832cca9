//! Where an answer leads, and whether a node goes there. Pure.

use super::Request;
use hyper::{StatusCode, Uri};

/// The request that follows one by its answer; `None` if that is the last.
pub(super) fn follow(
    from: &Request,
    status: StatusCode,
    location: Option<&str>,
) -> Result<Option<Request>, String> {
    let leads = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
    let Some(location) = location.filter(|location| leads && !location.is_empty()) else { return Ok(None) };
    let wrong = |why: String| format!("failed to parse Location header {location:?}: {why}");
    let location = location.split('#').next().unwrap_or_default();
    let absolute = has_scheme(location).map_err(wrong)?;
    if !absolute && !location.starts_with("//") {
        return Ok(Some(Request { path: resolved(&from.path, location), ..from.clone() }));
    }
    let opaque = location.split_once(':').is_some_and(|(_, rest)| !rest.starts_with("//"));
    if absolute && opaque {
        // It names no host at all.
        return Ok(None);
    }
    let scheme = if from.secure { "https:" } else { "http:" };
    let full = if location.starts_with("//") { format!("{scheme}{location}") } else { location.to_owned() };
    let uri: Uri = full.parse().map_err(|error: hyper::http::uri::InvalidUri| wrong(error.to_string()))?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    if !host.eq_ignore_ascii_case(&from.host) {
        return Ok(None);
    }
    let secure = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        other => return Err(format!("unsupported protocol scheme {:?}", other.unwrap_or_default())),
    };
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    // What the manifest called the server was for the address that it gave.
    let own = |(name, _): &&(String, String)| !(absolute && name.eq_ignore_ascii_case("host"));
    let headers = from.headers.iter().filter(own).cloned().collect();
    Ok(Some(Request { secure, host: from.host.clone(), port, path, headers }))
}

/// Whether a reference begins with a scheme: what comes before the first colon, if that is no part of a path.
fn has_scheme(reference: &str) -> Result<bool, String> {
    let Some(end) = reference.find([':', '/', '?']).filter(|end| reference[*end..].starts_with(':')) else {
        return Ok(false);
    };
    let mut word = reference[..end].chars();
    let letter = word.next().is_some_and(|first| first.is_ascii_alphabetic());
    match letter && word.all(|char| char.is_ascii_alphanumeric() || "+-.".contains(char)) {
        true => Ok(true),
        false => Err("first path segment in URL cannot contain colon".to_owned()),
    }
}

/// A reference to another resource of the same server, seen from one of its paths.
fn resolved(base: &str, reference: &str) -> String {
    let base = base.split('?').next().unwrap_or_default();
    if reference.starts_with('/') {
        return reference.to_owned();
    }
    if reference.starts_with('?') {
        return format!("{base}{reference}");
    }
    let (path, query) = match reference.split_once('?') {
        Some((path, query)) => (path, format!("?{query}")),
        None => (reference, String::new()),
    };
    let mut parts: Vec<&str> = base.trim_start_matches('/').split('/').collect();
    parts.pop();
    let mut segments = path.split('/').peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "." | ".." => {
                if segment == ".." {
                    parts.pop();
                }
                if segments.peek().is_none() {
                    parts.push("");
                }
            }
            name => parts.push(name),
        }
    }
    format!("/{}{query}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn led(location: &str) -> Result<Option<String>, String> {
        let host = "10.0.0.2".to_owned();
        let headers = vec![("Host".to_owned(), "web".to_owned())];
        let from = Request { secure: false, host, port: 8080, path: "/a/b?c".to_owned(), headers };
        let next = follow(&from, StatusCode::FOUND, Some(location))?;
        let told = |next: Request| {
            let scheme = if next.secure { "https" } else { "http" };
            format!("{scheme} {} {} {}", next.port, next.path, next.headers.len())
        };
        Ok(next.map(told))
    }

    #[test]
    fn only_the_same_host_is_followed() {
        for (location, expected) in [
            ("", None),
            ("/x?y#z", Some("http 8080 /x?y 1")),
            ("x/../d", Some("http 8080 /a/d 1")),
            ("..", Some("http 8080 / 1")),
            ("?q", Some("http 8080 /a/b?q 1")),
            ("//10.0.0.2/x", Some("http 80 /x 1")),
            ("/login?next=http://other/", Some("http 8080 /login?next=http://other/ 1")),
            ("login?u=https://10.0.0.2/", Some("http 8080 /a/login?u=https://10.0.0.2/ 1")),
            ("mailto:x", None),
            ("localhost:8080/x", None),
            ("https://10.0.0.2:8443/x", Some("https 8443 /x 0")),
            ("http://10.0.0.2", Some("http 80 / 0")),
            ("http://example.com/x", None),
        ] {
            assert_eq!(led(location), Ok(expected.map(str::to_owned)), "{location:?}");
        }
        assert_eq!(led("ftp://10.0.0.2/"), Err("unsupported protocol scheme \"ftp\"".to_owned()));
        assert!(led("1x:y").unwrap_err().ends_with("first path segment in URL cannot contain colon"));
        assert!(led("http://a b/").unwrap_err().starts_with("failed to parse Location header"));
    }

    #[test]
    fn only_redirections_lead_anywhere() {
        let from = Request { secure: false, host: "h".into(), port: 80, path: "/".into(), headers: vec![] };
        for (status, leads) in
            [(200, false), (201, false), (300, false), (304, false), (302, true), (308, true)]
        {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(follow(&from, status, Some("/x")).unwrap().is_some(), leads, "{status}");
            assert!(follow(&from, status, None).unwrap().is_none());
        }
    }
}

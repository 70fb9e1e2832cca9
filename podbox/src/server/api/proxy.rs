//! The subresource `proxy` of pods and services: whose server is meant, and then the request is passed on to it.

use super::write::read;
use super::{Api, Call};
use crate::api::status::ApiError;
use crate::chance;
use crate::server::http::{self, Body};
use crate::server::proxy::{self, Asked, Target};
use crate::store::Key;
use hyper::body::Incoming;
use hyper::header::{HeaderValue, LOCATION};
use hyper::{Method, Response, StatusCode};
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};

/// A name as proxies take it: `NAME`, `NAME:PORT` or `SCHEME:NAME:PORT`.
pub(super) fn split(text: &str) -> Option<(&str, &str, &str)> {
    let (scheme, name, port) = match text.split(':').collect::<Vec<_>>().as_slice() {
        [name] => ("", *name, ""),
        [name, port] => ("", *name, *port),
        [scheme @ ("" | "http" | "https"), name, port] => (*scheme, *name, *port),
        _ => return None,
    };
    (!name.is_empty()).then_some((scheme, name, port))
}

/// What a path has up to the word `proxy`, and after it, as the client wrote both.
fn cut(path: &str) -> Option<(&str, &str)> {
    // /api/v1/namespaces/NAMESPACE/RESOURCE/NAME/proxy
    let after = path.match_indices('/').map(|(at, _)| at).nth(7).unwrap_or(path.len());
    path[..after].ends_with("/proxy").then(|| path.split_at(after))
}

impl Api {
    /// Answers a request for `proxy`.
    pub(super) async fn proxy(&self, call: &Call, body: Incoming) -> Result<Response<Body>, ApiError> {
        let (Some(raw), Some((prefix, rest))) = (call.head.raw.as_deref(), cut(&call.head.path)) else {
            return Err(ApiError::bad_request("this is not a path that can be proxied"));
        };
        let asked =
            Asked { method: raw.method.clone(), headers: raw.headers.clone(), upgrade: raw.upgrade.clone() };
        let query = match &*call.head.query {
            "" => String::new(),
            query => format!("?{query}"),
        };
        if rest.is_empty() && matches!(asked.method, Method::GET | Method::HEAD) {
            // Relative links of a page would lead elsewhere without the slash.
            let mut response = http::text(StatusCode::MOVED_PERMANENTLY, "");
            let to = HeaderValue::from_str(&format!("{prefix}/{query}"));
            response.headers_mut().extend(to.ok().map(|to| (LOCATION, to)));
            return Ok(response);
        }
        let what = if *call.kind.plural == *"pods" { "pod" } else { "service" };
        let invalid = || ApiError::bad_request(format!("invalid {what} request {:?}", call.info.name));
        let (scheme, name, port) = split(&call.info.name).ok_or_else(invalid)?;
        let address = match what {
            "pod" => self.pod_address(call, name, port)?,
            _ => self.service_address(call, name, port)?,
        };
        let path = format!("/{}{query}", rest.trim_start_matches('/'));
        let passed = proxy::pass(
            Target { address, sealed: scheme == "https", path, prefix: prefix.to_owned() },
            asked,
            body,
        )
        .await;
        passed.map_err(|why| {
            ApiError::new(503, "ServiceUnavailable", format!("error trying to reach service: {why}"))
        })
    }

    fn pod_address(&self, call: &Call, name: &str, port: &str) -> Result<SocketAddr, ApiError> {
        let pod = read(&*self.find(&call.at(&Key::new(&call.info.namespace, name)))?)?;
        let first = || {
            let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
            containers.filter_map(|container| container["ports"][0]["containerPort"].as_u64()).next()
        };
        let port = match port {
            "" => first().and_then(|port| u16::try_from(port).ok()).unwrap_or(80),
            port => port
                .parse()
                .map_err(|_| ApiError::bad_request(format!("invalid pod request {:?}", call.info.name)))?,
        };
        reachable(&pod["status"]["podIP"], port)
    }

    fn service_address(&self, call: &Call, name: &str, port: &str) -> Result<SocketAddr, ApiError> {
        let unavailable = |why: String| ApiError::new(503, "ServiceUnavailable", why);
        let key = Key::new(&call.info.namespace, name);
        let service = read(&*self.find(&call.at(&key))?)?;
        let ports: Vec<&Value> = service["spec"]["ports"].as_array().into_iter().flatten().collect();
        let meant = match (port, ports.as_slice()) {
            ("", [only]) => Some(*only),
            _ => ports.iter().copied().find(|one| {
                one["name"].as_str().unwrap_or_default() == port
                    || port.parse::<u64>().is_ok_and(|number| one["port"] == number)
            }),
        };
        let meant = meant
            .ok_or_else(|| unavailable(format!("no service port {port:?} found for service {name:?}")))?;
        let none = || unavailable(format!("no endpoints available for service {name:?}"));
        let endpoints = self.store.get("/endpoints", &key).ok_or_else(none)?;
        let endpoints = read(&endpoints)?;
        let named = |port: &&Value| port["name"].as_str() == meant["name"].as_str();
        let subsets = endpoints["subsets"].as_array().into_iter().flatten();
        let all: Vec<(&Value, u16)> = subsets
            .filter_map(|subset| {
                let port = subset["ports"].as_array()?.iter().find(named)?["port"].as_u64()?;
                let port = u16::try_from(port).ok()?;
                Some(subset["addresses"].as_array()?.iter().map(move |address| (&address["ip"], port)))
            })
            .flatten()
            .collect();
        let (address, port) =
            all.get(usize::from(u16::from_le_bytes(chance::bytes())) % all.len().max(1)).ok_or_else(none)?;
        reachable(address, *port)
    }
}

/// An address that may be proxied to: none of the host's own.
fn reachable(address: &Value, port: u16) -> Result<SocketAddr, ApiError> {
    let address = address.as_str().unwrap_or_default();
    let parsed: IpAddr = address
        .parse()
        .map_err(|_| ApiError::bad_request("address not allowed: it has no IP address yet"))?;
    let own = match parsed.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_unspecified() || ip.is_link_local() || ip.is_multicast(),
        IpAddr::V6(ip) => {
            ip.is_loopback() || ip.is_unspecified() || ip.is_unicast_link_local() || ip.is_multicast()
        }
    };
    match own {
        true => Err(ApiError::bad_request("address not allowed")),
        false => Ok(SocketAddr::new(parsed, port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_may_have_a_scheme_and_a_port() {
        assert_eq!(split("web"), Some(("", "web", "")));
        assert_eq!(split("web:80"), Some(("", "web", "80")));
        assert_eq!(split("https:web:tls"), Some(("https", "web", "tls")));
        for wrong in ["", ":80", "ftp:web:1", "a:b:c:d"] {
            assert_eq!(split(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_rest_of_a_path_stays_as_it_was_written() {
        let path = "/api/v1/namespaces/a/pods/b:1/proxy";
        assert_eq!(cut(path), Some((path, "")));
        assert_eq!(cut(&format!("{path}/")), Some((path, "/")));
        assert_eq!(cut(&format!("{path}/x%20y//proxy/")), Some((path, "/x%20y//proxy/")));
        assert_eq!(cut("/api/v1/namespaces/a/pods"), None);
    }

    #[test]
    fn the_hosts_own_addresses_are_not_proxied_to() {
        assert!(reachable(&json!("10.0.0.1"), 80).is_ok());
        for own in ["127.0.0.1", "169.254.169.254", "0.0.0.0", "::1", "fe80::1", ""] {
            assert!(reachable(&json!(own), 80).is_err(), "{own}");
        }
    }
}

//! Image references as people and manifests write them, brought to one full form.
//!
//! Pure. `busybox`, `docker.io/busybox` and `index.docker.io/library/busybox:latest` are one image, as Docker and
//! the kubelet have it; a digest goes before a tag. Whether a registry may be spoken to without TLS is decided here.

use super::error::ImageError;
use oci_client::Reference;
use std::net::IpAddr;

/// Parses a reference and fills in what was left out: registry, `library/`, `:latest`.
pub fn parse(text: &str) -> Result<Reference, ImageError> {
    text.parse().map_err(|source: oci_client::ParseError| ImageError::Reference {
        reference: text.to_owned(),
        reason: source.to_string(),
    })
}

/// The key an image is kept by: with a digest the tag says nothing more.
pub fn key(reference: &Reference) -> String {
    match reference.digest() {
        Some(digest) => format!("{}/{}@{digest}", reference.registry(), reference.repository()),
        None => reference.whole(),
    }
}

/// `registry/repository`, without tag and digest.
pub fn repository(reference: &Reference) -> String {
    format!("{}/{}", reference.registry(), reference.repository())
}

/// Whether the registry is this machine by its address: only such a one is spoken to without TLS. The name
/// `localhost` counts, other names do not, whatever they resolve to.
pub fn is_loopback(registry: &str) -> bool {
    let host = match registry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => registry.rsplit_once(':').map_or(registry, |(host, _)| host),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(key(&parse(text).unwrap()), expected);
    }

    #[test]
    fn references_are_completed_as_docker_does() {
        check("busybox", "docker.io/library/busybox:latest");
        check("busybox:1.36", "docker.io/library/busybox:1.36");
        check("index.docker.io/busybox", "docker.io/library/busybox:latest");
        check("me/app", "docker.io/me/app:latest");
        check("localhost/app", "localhost/app:latest");
        check("127.0.0.1:5000/a/b:c", "127.0.0.1:5000/a/b:c");
        check("registry.k8s.io/pause:3.9", "registry.k8s.io/pause:3.9");
    }

    #[test]
    fn a_digest_goes_before_a_tag() {
        let digest = format!("sha256:{}", "a".repeat(64));
        check(&format!("busybox@{digest}"), &format!("docker.io/library/busybox@{digest}"));
        check(&format!("busybox:1@{digest}"), &format!("docker.io/library/busybox@{digest}"));
    }

    #[test]
    fn a_malformed_reference_is_named() {
        for bad in ["", "UPPER", "a b", "busybox:", "x@sha256:12", "../../etc", "a//b"] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(error.contains(&format!("{bad:?}")), "{error}");
        }
    }

    #[test]
    fn only_this_machine_goes_without_tls() {
        for local in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.8.9.1", "[::1]:5000"] {
            assert!(is_loopback(local), "{local}");
        }
        for remote in ["docker.io", "10.0.0.1:5000", "localhost.example.com", "127.0.0.1.example.com:80"] {
            assert!(!is_loopback(remote), "{remote}");
        }
    }
}

//! What a request is about: its path and method as API words. Pure; knows no kinds, so that a request for an
//! unknown resource can be refused to whoever must not even ask.

use hyper::Method;

/// The words of a path. Empty where it has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// Whether it names a resource, rather than something like `/version`.
    pub is_resource: bool,
    /// The verb, as RBAC has it.
    pub verb: &'static str,
    /// The API group.
    pub group: String,
    /// Its version.
    pub version: String,
    /// The namespace.
    pub namespace: String,
    /// The plural.
    pub resource: String,
    /// The object's name.
    pub name: String,
    /// The subresource, `log`.
    pub subresource: String,
    /// What follows the subresource, for proxies.
    pub rest: String,
    /// Whether it is a watch by its path: `/api/v1/watch/…`.
    pub watch_path: bool,
}

/// Takes a path and a method apart. `watch` is whether the query asks for a watch; `selected` the name that its field
/// selector asks for, which counts as the object's.
pub fn info(method: &Method, path: &str, watch: bool, selected: Option<&str>) -> Info {
    let lower = method_word(method);
    let mut info = Info { verb: lower, ..Info::default() };
    let parts: Vec<String> = path.split('/').filter(|part| !part.is_empty()).map(decoded).collect();
    let rest = match parts.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["api", version, ..] => {
            info.version = (*version).to_owned();
            &parts[2..]
        }
        ["apis", group, version, ..] => {
            info.group = (*group).to_owned();
            info.version = (*version).to_owned();
            &parts[3..]
        }
        _ => return info,
    };
    if rest.is_empty() {
        return info;
    }
    info.is_resource = true;
    let rest = match rest.first().map(String::as_str) {
        Some("watch") if rest.len() > 1 => {
            info.watch_path = true;
            &rest[1..]
        }
        _ => rest,
    };
    read_resource(&mut info, rest);
    info.verb = verb(method, &info, watch);
    if let (true, Some(name)) = (info.name.is_empty() && matches!(info.verb, "list" | "watch"), selected) {
        info.name = name.to_owned();
    }
    info
}

fn read_resource(info: &mut Info, parts: &[String]) {
    let words: Vec<&str> = parts.iter().map(String::as_str).collect();
    let rest = match words.as_slice() {
        // The namespace's own subresources, not resources in it.
        ["namespaces", name, "status" | "finalize", ..] | ["namespaces", name] => {
            info.namespace = (*name).to_owned();
            &words[..]
        }
        ["namespaces", namespace, rest @ ..] => {
            info.namespace = (*namespace).to_owned();
            rest
        }
        _ => &words[..],
    };
    let mut words = rest.iter().map(|word| (*word).to_owned());
    info.resource = words.next().unwrap_or_default();
    info.name = words.next().unwrap_or_default();
    info.subresource = words.next().unwrap_or_default();
    info.rest = words.collect::<Vec<_>>().join("/");
}

fn verb(method: &Method, info: &Info, watch: bool) -> &'static str {
    let one = !info.name.is_empty();
    match *method {
        Method::GET | Method::HEAD if info.watch_path => "watch",
        Method::GET | Method::HEAD if one => "get",
        Method::GET | Method::HEAD if watch => "watch",
        Method::GET | Method::HEAD => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if one => "delete",
        Method::DELETE => "deletecollection",
        _ => "",
    }
}

fn method_word(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::HEAD => "head",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::OPTIONS => "options",
        _ => "",
    }
}

/// Undoes percent escapes; what is no escape stays.
pub fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: Method, path: &str, expected: [&str; 7]) {
        let info = info(&method, path, false, None);
        let told = [
            info.verb,
            &info.group,
            &info.version,
            &info.namespace,
            &info.resource,
            &info.name,
            &info.subresource,
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn paths_are_read_as_upstream_reads_them() {
        check(Method::GET, "/api/v1/pods", ["list", "", "v1", "", "pods", "", ""]);
        check(Method::GET, "/api/v1/namespaces/a/pods/b/log", ["get", "", "v1", "a", "pods", "b", "log"]);
        check(
            Method::PUT,
            "/api/v1/namespaces/a/finalize",
            ["update", "", "v1", "a", "namespaces", "a", "finalize"],
        );
        check(
            Method::DELETE,
            "/apis/apps/v1/namespaces/a/deployments",
            ["deletecollection", "apps", "v1", "a", "deployments", "", ""],
        );
        check(Method::GET, "/api/v1/watch/namespaces/a/pods", ["watch", "", "v1", "a", "pods", "", ""]);
        check(
            Method::GET,
            "/api/v1/namespaces/a/configmaps/A%20b",
            ["get", "", "v1", "a", "configmaps", "A b", ""],
        );
        check(Method::GET, "/version", ["get", "", "", "", "", "", ""]);
        assert!(!info(&Method::GET, "/apis/apps/v1", false, None).is_resource);
    }

    #[test]
    fn a_list_of_one_name_is_about_that_object() {
        let info = info(&Method::GET, "/api/v1/namespaces/a/pods", true, Some("b"));
        assert_eq!((info.verb, &*info.name), ("watch", "b"));
    }
}

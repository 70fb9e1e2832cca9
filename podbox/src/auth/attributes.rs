//! What authorization is asked: who wants to do what to what. And the refusal, in upstream's words. Pure.

use crate::api::status::{ApiError, qualified};
use crate::api::user::User;
use serde_json::json;

/// One question of authorization. Empty where a part does not apply.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    /// Who asks.
    pub user: &'a User,
    /// What is to be done: `get`, `list`, `create`, …, or a method in small letters for a path.
    pub verb: &'a str,
    /// The resource's group.
    pub group: &'a str,
    /// The resource's version.
    pub version: &'a str,
    /// The resource, `pods`. Without one, the question is about [`path`](Self::path).
    pub resource: &'a str,
    /// The resource's part, `log`.
    pub subresource: &'a str,
    /// The namespace.
    pub namespace: &'a str,
    /// The object.
    pub name: &'a str,
    /// The path that is asked for, if it is no resource's: `/metrics`.
    pub path: &'a str,
}

impl<'a> Attributes<'a> {
    /// Nothing yet, by this user.
    pub fn of(user: &'a User) -> Attributes<'a> {
        let none = "";
        Attributes {
            user,
            verb: none,
            group: none,
            version: none,
            resource: none,
            subresource: none,
            namespace: none,
            name: none,
            path: none,
        }
    }

    /// Whether it is about a resource, rather than a path.
    pub fn is_resource(&self) -> bool {
        !self.resource.is_empty()
    }
}

/// 403: who may not do what. `reason` is what the authorizer has to say, or nothing.
pub fn forbidden(asked: &Attributes<'_>, reason: &str) -> ApiError {
    let said = |mut message: String| {
        if !reason.is_empty() {
            message.push_str(": ");
            message.push_str(reason);
        }
        message
    };
    let (who, verb) = (&asked.user.name, asked.verb);
    if !asked.is_resource() {
        let message = said(format!("forbidden: User {who:?} cannot {verb} path {:?}", asked.path));
        return ApiError { details: json!({}), ..ApiError::new(403, "Forbidden", message) };
    }
    let resource = match asked.subresource {
        "" => asked.resource.to_owned(),
        part => format!("{}/{part}", asked.resource),
    };
    let place = match asked.namespace {
        "" => "at the cluster scope".to_owned(),
        namespace => format!("in the namespace {namespace:?}"),
    };
    let what = said(format!(
        "User {who:?} cannot {verb} resource {resource:?} in API group {:?} {place}",
        asked.group
    ));
    refused(asked.group, asked.resource, asked.name, &what)
}

/// 403 about an object, or about all of a resource where it has no name.
pub fn refused(group: &str, resource: &str, name: &str, why: &str) -> ApiError {
    let error = ApiError::forbidden(group, resource, name, why);
    match name {
        "" => ApiError { message: format!("{} is forbidden: {why}", qualified(resource, group)), ..error },
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(asked: Attributes<'_>, reason: &str, message: &str, details: serde_json::Value) {
        let error = forbidden(&asked, reason);
        assert_eq!((error.code, error.reason, error.message.as_str()), (403, "Forbidden", message));
        assert_eq!(error.details, details);
    }

    #[test]
    fn refusals_are_in_upstreams_words() {
        let user = User::anonymous();
        let asked = Attributes { verb: "list", resource: "configmaps", ..Attributes::of(&user) };
        check(
            Attributes { namespace: "a", ..asked },
            "",
            "configmaps is forbidden: User \"system:anonymous\" cannot list resource \"configmaps\" in API group \"\" in the \
             namespace \"a\"",
            json!({"kind": "configmaps"}),
        );
        check(
            Attributes {
                verb: "get",
                group: "apps",
                resource: "deployments",
                subresource: "scale",
                name: "u",
                ..asked
            },
            "RBAC: role.rbac.authorization.k8s.io \"r\" not found",
            "deployments.apps \"u\" is forbidden: User \"system:anonymous\" cannot get resource \"deployments/scale\" in API \
             group \"apps\" at the cluster scope: RBAC: role.rbac.authorization.k8s.io \"r\" not found",
            json!({"kind": "deployments", "group": "apps", "name": "u"}),
        );
        check(
            Attributes { verb: "get", path: "/metrics", ..Attributes::of(&user) },
            "",
            "forbidden: User \"system:anonymous\" cannot get path \"/metrics\"",
            json!({}),
        );
    }
}

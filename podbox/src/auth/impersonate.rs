//! Acting as someone else: the `Impersonate-*` headers, `kubectl --as`. Pure.
//!
//! Each thing that is claimed (name, uid, every group, every extra value) is a permission of its own.

use super::attributes::{Attributes, forbidden};
use super::rbac::Rbac;
use crate::api::status::ApiError;
use crate::api::user::{ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, User, account_groups, account_of};
use percent_encoding::percent_decode_str;

/// The group of the resources `uids` and `userextras`.
const GROUP: &str = "authentication.k8s.io";
const EXTRA: &str = "impersonate-extra-";

/// Whom a user asks to act as, if they do and may. `headers` are a request's, their names in small letters.
pub fn impersonate<'a>(
    user: &User,
    headers: impl Iterator<Item = (&'a str, &'a str)>,
    rbac: &Rbac,
) -> Result<Option<User>, ApiError> {
    let mut wanted = User::default();
    let mut asked = false;
    for (name, value) in headers {
        match name {
            "impersonate-user" => value.clone_into(&mut wanted.name),
            "impersonate-uid" => value.clone_into(&mut wanted.uid),
            "impersonate-group" => wanted.groups.push(value.to_owned()),
            _ => match name.strip_prefix(EXTRA) {
                Some(key) => {
                    let key = percent_decode_str(key).decode_utf8_lossy().to_lowercase();
                    wanted.extra.entry(key).or_default().push(value.to_owned());
                }
                None => continue,
            },
        }
        asked = true;
    }
    if !asked {
        return Ok(None);
    }
    if wanted.name.is_empty() {
        let message = "impersonating a uid, groups or extra values needs Impersonate-User too";
        return Err(ApiError::bad_request(message));
    }
    check(user, &wanted, rbac)?;
    complete(&mut wanted);
    Ok(Some(wanted))
}

/// Whether the user may be all this.
fn check(user: &User, wanted: &User, rbac: &Rbac) -> Result<(), ApiError> {
    let base = Attributes { verb: "impersonate", version: "v1", ..Attributes::of(user) };
    let may = |asked: Attributes<'_>| {
        let decision = rbac.decide(&asked);
        if decision.allowed() { Ok(()) } else { Err(forbidden(&asked, &decision.reason())) }
    };
    may(match account_of(&wanted.name) {
        Some((namespace, name)) => Attributes { resource: "serviceaccounts", namespace, name, ..base },
        None => Attributes { resource: "users", name: &wanted.name, ..base },
    })?;
    for name in &wanted.groups {
        may(Attributes { resource: "groups", name, ..base })?;
    }
    for (subresource, values) in &wanted.extra {
        for name in values {
            may(Attributes { group: GROUP, resource: "userextras", subresource, name, ..base })?;
        }
    }
    match wanted.uid.as_str() {
        "" => Ok(()),
        name => may(Attributes { group: GROUP, resource: "uids", name, ..base }),
    }
}

/// The groups that everyone of such a name is in.
fn complete(wanted: &mut User) {
    let account = account_of(&wanted.name);
    if let (true, Some((namespace, _))) = (wanted.groups.is_empty(), account) {
        wanted.groups.extend(account_groups(namespace));
    }
    let is_in = |group: &str| wanted.groups.iter().any(|each| each == group);
    match wanted.name.as_str() {
        ANONYMOUS if !is_in(UNAUTHENTICATED) => wanted.groups.push(UNAUTHENTICATED.to_owned()),
        ANONYMOUS => {}
        _ if !is_in(AUTHENTICATED) && !is_in(UNAUTHENTICATED) => wanted.groups.push(AUTHENTICATED.to_owned()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::user::MASTERS;
    use serde_json::{Value, json};

    fn master() -> User {
        User::authenticated("root", [MASTERS.to_owned()])
    }

    fn of_cluster(rules: Value) -> Rbac {
        let group = super::super::rbac::GROUP;
        let mut rbac = Rbac::default();
        rbac.put("clusterroles", &json!({"metadata": {"name": "r"}, "rules": rules})).unwrap();
        let binding = json!({
            "metadata": {"name": "b"},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "r"},
            "subjects": [{"kind": "User", "name": "jane"}],
        });
        rbac.put("clusterrolebindings", &binding).unwrap();
        rbac
    }

    #[track_caller]
    fn check(headers: &[(&str, &str)], name: &str, groups: &str) {
        let user = impersonate(&master(), headers.iter().copied(), &Rbac::default()).unwrap().unwrap();
        assert_eq!((&*user.name, &*user.groups.join(" ")), (name, groups));
    }

    #[test]
    fn who_is_impersonated_has_their_groups() {
        let (user, group) = ("impersonate-user", "impersonate-group");
        check(&[(user, "jane")], "jane", "system:authenticated");
        check(&[(user, "jane"), (group, "a"), (group, "b")], "jane", "a b system:authenticated");
        check(&[(user, "jane"), (group, "system:unauthenticated")], "jane", "system:unauthenticated");
        check(&[(user, "system:anonymous")], "system:anonymous", "system:unauthenticated");
        let app = "system:serviceaccount:a:app";
        check(&[(user, app)], app, "system:serviceaccounts system:serviceaccounts:a system:authenticated");
        check(&[(user, app), (group, "a")], app, "a system:authenticated");
    }

    #[test]
    fn other_headers_impersonate_nobody() {
        let headers = [("accept", "x"), ("user-agent", "y")];
        assert_eq!(impersonate(&master(), headers.into_iter(), &Rbac::default()), Ok(None));
    }

    #[test]
    fn extra_values_are_decoded() {
        let headers = [
            ("impersonate-user", "jane"),
            ("impersonate-extra-acme.com%2fproject", "p"),
            ("impersonate-uid", "u"),
        ];
        let user = impersonate(&master(), headers.into_iter(), &Rbac::default()).unwrap().unwrap();
        assert_eq!((&*user.uid, &user.extra["acme.com/project"][..]), ("u", &["p".to_owned()][..]));
    }

    #[test]
    fn a_name_is_needed() {
        let headers = [("impersonate-group", MASTERS)];
        assert_eq!(impersonate(&master(), headers.into_iter(), &Rbac::default()).unwrap_err().code, 400);
    }

    #[test]
    fn each_claim_is_a_permission() {
        let jane = User::authenticated("jane", []);
        let rbac = of_cluster(json!([
            {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"], "resourceNames": ["joe"]},
            {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["groups"], "resourceNames": ["dev"]},
            {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["serviceaccounts"]},
            {"verbs": ["impersonate"], "apiGroups": [GROUP], "resources": ["userextras/scopes"]},
        ]));
        let refused = |headers: &[(&str, &str)]| {
            impersonate(&jane, headers.iter().copied(), &rbac).err().map(|error| error.message)
        };
        let joe = ("impersonate-user", "joe");
        assert_eq!(refused(&[joe, ("impersonate-group", "dev"), ("impersonate-extra-scopes", "x")]), None);
        assert_eq!(refused(&[("impersonate-user", "system:serviceaccount:a:b")]), None);
        for (headers, message) in [
            (
                vec![("impersonate-user", "root")],
                "users \"root\" is forbidden: User \"jane\" cannot impersonate resource \"users\" in API group \"\" at the \
                 cluster scope",
            ),
            (
                vec![joe, ("impersonate-group", MASTERS)],
                "groups \"system:masters\" is forbidden: User \"jane\" cannot impersonate resource \"groups\" in API group \
                 \"\" at the cluster scope",
            ),
            (
                vec![joe, ("impersonate-extra-other", "x")],
                "userextras.authentication.k8s.io \"x\" is forbidden: User \"jane\" cannot impersonate resource \
                 \"userextras/other\" in API group \"authentication.k8s.io\" at the cluster scope",
            ),
            (
                vec![joe, ("impersonate-uid", "u")],
                "uids.authentication.k8s.io \"u\" is forbidden: User \"jane\" cannot impersonate resource \"uids\" in API \
                 group \"authentication.k8s.io\" at the cluster scope",
            ),
        ] {
            assert_eq!(refused(&headers).as_deref(), Some(message));
        }
    }
}

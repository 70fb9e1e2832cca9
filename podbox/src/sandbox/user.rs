//! Turns `user[:group]` of an image and the pod's security context into numbers, by the container's own
//! `/etc/passwd` and `/etc/group`. Pure: the text of both files is a parameter.
//!
//! Unreadable lines are skipped, as every other reader of these files does.

use super::spec::User;

/// What `init` becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its user.
    pub uid: u32,
    /// Its primary group.
    pub gid: u32,
    /// Its supplementary groups, sorted.
    pub groups: Vec<u32>,
    /// What `HOME` is when the environment does not say.
    pub home: String,
}

/// Why a user cannot be had.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// The name is in no line of `/etc/passwd`.
    #[error("user {0:?} is not in the image's /etc/passwd")]
    NoUser(String),
    /// The name is in no line of `/etc/group`.
    #[error("group {0:?} is not in the image's /etc/group")]
    NoGroup(String),
    /// `runAsNonRoot` with uid 0.
    #[error("runAsNonRoot is set, and the container would run as root: set runAsUser")]
    Root,
    /// The kernel takes the highest number for "as before".
    #[error("the image's user has the id {0}; the highest that is taken is {max}", max = i32::MAX)]
    Range(u32),
}

/// Who a process of this user is.
pub fn resolve(user: &User, passwd: &str, group: &str) -> Result<Identity, UserError> {
    let (name, group_name) = match user.image_user.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (user.image_user.as_str(), None),
    };
    let entry = match user.uid {
        Some(uid) => find_uid(passwd, uid).unwrap_or_else(|| Entry::bare(uid)),
        None => find_user(passwd, name)?,
    };
    if user.non_root && entry.uid == 0 {
        return Err(UserError::Root);
    }
    // A group that the image names goes with the image's user, not with one that the pod sets.
    let gid = match (user.gid, group_name.filter(|g| user.uid.is_none() && !g.is_empty())) {
        (Some(gid), _) => gid,
        (None, Some(group_name)) => find_group(group, group_name)?,
        (None, None) => entry.gid,
    };
    let mut groups = user.groups.clone();
    if !user.strict_groups {
        groups.extend(memberships(group, &entry.name));
    }
    groups.push(gid);
    groups.sort_unstable();
    groups.dedup();
    let beyond = |id: &u32| i32::try_from(*id).is_err();
    if let Some(id) = groups.iter().copied().chain([entry.uid]).find(beyond) {
        return Err(UserError::Range(id));
    }
    Ok(Identity { uid: entry.uid, gid, groups, home: entry.home })
}

struct Entry {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

impl Entry {
    /// A user that no file knows: group root, as Docker and containerd have it.
    fn bare(uid: u32) -> Entry {
        Entry { name: String::new(), uid, gid: 0, home: "/".into() }
    }
}

fn entries(passwd: &str) -> impl Iterator<Item = Entry> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        let (uid, gid) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let home = fields.nth(1).filter(|home| !home.is_empty()).unwrap_or("/");
        Some(Entry { name: name.into(), uid, gid, home: home.into() })
    })
}

fn find_uid(passwd: &str, uid: u32) -> Option<Entry> {
    entries(passwd).find(|entry| entry.uid == uid)
}

fn find_user(passwd: &str, name: &str) -> Result<Entry, UserError> {
    let name = if name.is_empty() { "0" } else { name };
    if let Some(entry) = entries(passwd).find(|entry| entry.name == name) {
        return Ok(entry);
    }
    let uid = name.parse().map_err(|_| UserError::NoUser(name.into()))?;
    Ok(find_uid(passwd, uid).unwrap_or_else(|| {
        let mut entry = Entry::bare(uid);
        if uid == 0 {
            entry.home = "/root".into();
        }
        entry
    }))
}

/// Lines of `/etc/group`: name, number, members.
fn group_lines(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        Some((name, fields.next()?.parse().ok()?, fields.next().unwrap_or("")))
    })
}

fn find_group(group: &str, wanted: &str) -> Result<u32, UserError> {
    match group_lines(group).find(|(name, _, _)| *name == wanted) {
        Some((_, gid, _)) => Ok(gid),
        None => wanted.parse().map_err(|_| UserError::NoGroup(wanted.into())),
    }
}

fn memberships<'a>(group: &'a str, user: &'a str) -> impl Iterator<Item = u32> + 'a {
    group_lines(group)
        .filter(move |(_, _, members)| !user.is_empty() && members.split(',').any(|m| m == user))
        .map(|(_, gid, _)| gid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# junk\nweb:x:33:34:web:/srv:/bin/false\nshort:x\n";
    const GROUP: &str = "root:x:0:\nstaff:x:50:web,other\nlogs:x:51:other\n";

    fn check(user: User, expected: Result<(u32, u32, &[u32], &str), UserError>) {
        let got = resolve(&user, PASSWD, GROUP);
        let expected = expected.map(|(uid, gid, groups, home)| Identity {
            uid,
            gid,
            groups: groups.to_vec(),
            home: home.into(),
        });
        assert_eq!(got, expected, "{user:?}");
    }

    fn image(image_user: &str) -> User {
        User { image_user: image_user.into(), ..User::default() }
    }

    #[test]
    fn users_are_resolved_in_the_containers_own_files() {
        check(image(""), Ok((0, 0, &[0], "/root")));
        check(image("web"), Ok((33, 34, &[34, 50], "/srv")));
        check(image("33"), Ok((33, 34, &[34, 50], "/srv")));
        check(image("web:staff"), Ok((33, 50, &[50], "/srv")));
        check(image("web:7"), Ok((33, 7, &[7, 50], "/srv")));
        check(image("1000"), Ok((1000, 0, &[0], "/")));
        check(image("4294967295"), Err(UserError::Range(u32::MAX)));
        check(image("web:2147483648"), Err(UserError::Range(1 << 31)));
        check(image("nobody"), Err(UserError::NoUser("nobody".into())));
        check(image("web:none"), Err(UserError::NoGroup("none".into())));
    }

    #[test]
    fn the_pods_security_context_goes_first() {
        let user = User { uid: Some(33), gid: Some(9), groups: vec![2000], ..image("root:root") };
        check(user, Ok((33, 9, &[9, 50, 2000], "/srv")));
        check(User { uid: Some(33), ..image("root:logs") }, Ok((33, 34, &[34, 50], "/srv")));
        let strict = User { strict_groups: true, groups: vec![2000], ..image("web") };
        check(strict, Ok((33, 34, &[34, 2000], "/srv")));
        check(User { non_root: true, ..image("") }, Err(UserError::Root));
        check(User { non_root: true, uid: Some(33), ..image("") }, Ok((33, 34, &[34, 50], "/srv")));
    }
}

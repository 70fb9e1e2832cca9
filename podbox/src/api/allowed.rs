//! Which labels and annotations of objects are told as metrics: `pods=[app,tier],nodes=[*]`, as kube-state-metrics is told it.
//! Without a word none are: each value of each label would be a series. Pure.

use std::collections::{BTreeMap, BTreeSet};

/// What may be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Of labels.
    pub labels: AllowList,
    /// Of annotations.
    pub annotations: AllowList,
}

/// Keys, by resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowList(BTreeMap<String, Keys>);

/// Keys of one resource's objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys(BTreeSet<String>);

/// All resources, or all keys.
const ALL: &str = "*";

impl AllowList {
    /// Reads an option's value; why it cannot be read, for people.
    pub fn parse(text: &str) -> Result<AllowList, String> {
        let wrong = || format!("{text:?} should look like pods=[app,tier],nodes=[*]");
        let mut all: BTreeMap<String, Keys> = BTreeMap::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let (resource, behind) = rest.split_once("=[").ok_or_else(wrong)?;
            let (keys, behind) = behind.split_once(']').ok_or_else(wrong)?;
            let keys = keys.split(',').map(str::trim).filter(|key| !key.is_empty()).map(str::to_owned);
            let resource = resource.trim();
            if resource.is_empty() || resource.contains([',', '[']) {
                return Err(wrong());
            }
            all.entry(resource.to_owned()).or_default().0.extend(keys);
            rest = behind.trim();
            if !rest.is_empty() {
                rest = rest.strip_prefix(',').ok_or_else(wrong)?;
            }
        }
        Ok(AllowList(all))
    }

    /// The keys of a resource's objects, if any is allowed.
    pub fn of(&self, resource: &str) -> Option<&Keys> {
        self.0.get(resource).or_else(|| self.0.get(ALL)).filter(|keys| !keys.0.is_empty())
    }
}

impl Keys {
    /// Whether a key is one of them.
    pub fn has(&self, key: &str) -> bool {
        self.0.contains(ALL) || self.0.contains(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, resource: &str, key: &str, expected: bool) {
        let list = AllowList::parse(text).unwrap();
        assert_eq!(list.of(resource).is_some_and(|keys| keys.has(key)), expected, "{text} {resource} {key}");
    }

    #[test]
    fn what_is_named_is_allowed_and_nothing_else() {
        check("", "pods", "app", false);
        check("pods=[app, tier],nodes=[*]", "pods", "tier", true);
        check("pods=[app,tier],nodes=[*]", "pods", "other", false);
        check("pods=[app,tier],nodes=[*]", "nodes", "kubernetes.io/hostname", true);
        check("pods=[app],*=[team]", "jobs", "team", true);
        check("pods=[app],*=[team]", "pods", "team", false);
        check("pods=[]", "pods", "app", false);
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for text in ["pods", "pods=app", "pods=[app", "pods=[a]nodes=[b]", "=[a]", "a,b=[c]"] {
            assert!(AllowList::parse(text).is_err(), "{text}");
        }
    }
}

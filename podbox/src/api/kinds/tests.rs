//! The table against itself.

use super::*;
use std::collections::BTreeSet;

#[test]
fn no_two_kinds_share_a_name() {
    let rows = builtin();
    let kinds: BTreeSet<_> = rows.iter().map(|kind| (kind.api_version(), kind.kind.clone())).collect();
    assert_eq!(kinds.len(), rows.len());
    assert_eq!(Kinds::new().iter().count(), rows.len());
    assert!(Kinds::new().resource("apps", "v1", "deployments").is_some_and(|kind| kind.namespaced()));
}

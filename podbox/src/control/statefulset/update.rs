//! Which pods of older revisions go, so that their successors are of the newest. Pure.
//!
//! Without `maxUnavailable` it is one at a time, from the highest ordinal down to the partition, and none while one above is
//! not available. With it, as many may be missing in the whole set. Pods that come and go at once (`Parallel`) and are not
//! available anyway go first then and count for nothing more, so that a template that never became ready can be replaced.

use super::identity;
use super::look::Look;
use crate::control::action::Action;
use crate::control::part;
use crate::control::pods::Member;
use serde_json::json;

impl Look<'_> {
    /// The end of the pods that may be replaced now.
    pub fn replace(&self) -> Vec<Action> {
        let going = match self.may_be_missing() {
            None => self.next_one().into_iter().collect(),
            Some(most) => self.as_many_as(most),
        };
        going.into_iter().map(|pod| identity::delete(self.set, pod)).collect()
    }

    /// How many may be missing, if that is said.
    fn may_be_missing(&self) -> Option<i32> {
        let most = self.set.rolling()?.max_unavailable.as_ref()?;
        Some(part(&json!(most), self.set.workload.replicas(), false).max(1))
    }

    /// From the top: the first that is old, unless one before it is not available.
    fn next_one(&self) -> Option<&Member> {
        let partition = self.set.partition();
        if self.is_missing_from(partition) {
            return None;
        }
        let updated = self.replicas().rev().take_while(|(ordinal, _)| *ordinal >= partition);
        let mut waiting =
            updated.map(|(_, pod)| pod).filter(|pod| self.is_old(pod) || !self.is_available(pod));
        waiting.next().filter(|pod| self.is_old(pod))
    }

    /// From the top: those that are old, as far as so many are missing then.
    fn as_many_as(&self, most: i32) -> Vec<&Member> {
        let available = self.replicas().filter(|(_, pod)| self.is_available(pod)).count();
        let wanted = usize::try_from(self.set.workload.replicas()).unwrap_or(0);
        let room = usize::try_from(most).unwrap_or(0).saturating_sub(wanted.saturating_sub(available));
        let partition = self.set.partition();
        let old = self.replicas().rev().filter(|(ordinal, _)| *ordinal >= partition);
        let old = old.map(|(_, pod)| pod).filter(|pod| self.is_old(pod));
        let (useful, useless): (Vec<&Member>, Vec<&Member>) = old.partition(|pod| self.is_available(pod));
        // In order, nothing is replaced unless all are available.
        useless.into_iter().chain(useful.into_iter().take(room)).collect()
    }
}

//! Numbers of pods: how many more and fewer than asked for there may be, and parts of them, rounded as upstream rounds.

use super::{Rolling, Set, Workload};
use crate::control::part;

/// How many pods more, and how many available ones fewer than asked for there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slack {
    /// More.
    pub surge: i32,
    /// Fewer.
    pub unavailable: i32,
}

impl Workload {
    /// What a rolling update may do; nothing where there is none.
    pub(super) fn slack(&self) -> Slack {
        if self.recreates() {
            return Slack { surge: 0, unavailable: 0 };
        }
        let (rolling, replicas) = (&self.spec()["strategy"]["rollingUpdate"], self.replicas());
        let surge = part(&rolling["maxSurge"], replicas, true);
        let unavailable = part(&rolling["maxUnavailable"], replicas, false);
        // Rounding must not make both nothing: it would never go on.
        let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
        Slack { surge, unavailable: unavailable.min(replicas) }
    }

    /// How many pods there may be.
    pub(super) fn most(&self) -> i32 {
        self.replicas().saturating_add(self.slack().surge)
    }
}

/// How many pods these are to have together.
pub fn asked<'a>(sets: impl IntoIterator<Item = &'a Set>) -> i32 {
    sets.into_iter().fold(0, |sum, set| sum.saturating_add(set.replicas()))
}

/// The sum of a number of their statuses.
pub fn sum<'a>(sets: impl IntoIterator<Item = &'a Set>, field: &str) -> i32 {
    sets.into_iter().fold(0, |sum, set| sum.saturating_add(set.status(field)))
}

impl Rolling<'_> {
    /// How many pods the new ReplicaSet is to have now, when it has `now` and all together `asked`.
    pub(super) fn new_replicas(&self, now: i32, asked: i32) -> i32 {
        let wanted = self.desired.replicas();
        if self.desired.recreates() {
            return wanted;
        }
        let room = self.desired.most() - asked;
        if room <= 0 { now } else { now + room.min(wanted - now) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::objects::Target;
    use serde_json::{Value, json};

    #[track_caller]
    fn check(replicas: i32, surge: Value, unavailable: Value, expected: (i32, i32)) {
        let rolling = json!({"maxSurge": surge, "maxUnavailable": unavailable});
        let spec =
            json!({"replicas": replicas, "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling}});
        let at = Target {
            api_version: "apps/v1".into(),
            kind: "Deployment".into(),
            namespace: "n".into(),
            name: "d".into(),
        };
        let slack = Workload::new(at, json!({"spec": spec}), 1).slack();
        assert_eq!((slack.surge, slack.unavailable), expected);
    }

    #[test]
    fn more_is_rounded_up_and_fewer_down() {
        check(10, json!("25%"), json!("25%"), (3, 2));
        check(4, json!("25%"), json!("25%"), (1, 1));
        check(3, json!("25%"), json!("25%"), (1, 0));
        check(1, json!("0%"), json!("25%"), (0, 1));
        check(10, json!(0), json!("1%"), (0, 1));
        check(3, json!(5), json!(7), (5, 3));
        check(0, json!("25%"), json!("25%"), (0, 0));
        check(10, json!("100%"), json!("0%"), (10, 0));
    }
}

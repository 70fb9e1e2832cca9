//! What has been seen in simulated runs: each thing that may go wrong, and each state that a check is about. A check of what never
//! happens proves nothing, so runs count; `podbox sim` prints the sums, and a test holds that none of them is nothing.

use std::collections::BTreeMap;

macro_rules! sights {
    ($($name:ident $words:literal,)*) => {
        /// Something worth counting.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Sight {
            $(#[doc = $words] $name,)*
        }

        impl Sight {
            /// All of them.
            pub const ALL: &[Sight] = &[$(Sight::$name,)*];

            /// In words.
            pub fn words(self) -> &'static str {
                match self {
                    $(Sight::$name => $words,)*
                }
            }
        }
    };
}

sights! {
    Crash "a container crashed",
    Deletion "somebody deleted a pod",
    Silence "a node fell silent",
    Return "a silent node was heard again",
    Leaving "a node went, with all that ran there",
    Joining "a node came",
    Closing "a node was closed, or opened again",
    Slowness "a pod came no further for a while",
    Conflict "a write met somebody else's",
    Refusal "a creation was refused",
    Restart "the control plane was killed and started again",
    RestartBetweenWrites "… between two writes of one decision",
    RestartAmid "… in the middle of an update, or with ends that were not counted yet",
    Late "changes came late, and many at once",
    Lost "changes were lost, and all was looked at again",
    Jump "the wall clock jumped",
    Unready "a pod was given up with its node",
    Evicted "a pod had to leave its node",
    Collected "a pod went that no node would end",
    Adopted "an object got a controller",
    Released "an object was let go by its controller",
    DeploymentBounds "a rolling update was held to its bounds in its middle",
    DeploymentRecreates "a Deployment had one template at a time while it was recreated",
    SetBounds "a ReplicaSet was held to its number when it made or took pods",
    OrdinalMade "a pod of a StatefulSet was made in order",
    OrdinalTaken "a pod of a StatefulSet was taken in order",
    ParallelUpdate "a StatefulSet without an order was held to maxUnavailable in the middle of an update",
    ClaimKept "a pod of a StatefulSet came back to its claim",
    ClaimGone "a claim went with its pod's ordinal",
    DaemonsMissing "a DaemonSet was held to maxUnavailable in the middle of an update",
    DaemonsSurging "a DaemonSet was held to maxSurge in the middle of an update",
    JobComplete "a Job was complete",
    JobFailed "a Job failed, with a cause",
    JobFailure "a Job counted a failure",
    JobSuspended "a Job was suspended with pods at work",
    JobForgotten "a Job was forgotten after its time",
    CronBegun "a CronJob began a Job",
    CronReplaced "a CronJob replaced a Job",
    CronForbidden "a CronJob held back, for a Job was at work",
    Apart "a pod waited that must not be with others",
}

/// How often what was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<Sight, u64>);

impl Tally {
    /// It was seen once more.
    pub fn saw(&mut self, sight: Sight) {
        *self.0.entry(sight).or_default() += 1;
    }

    /// It was seen once more, if so.
    pub fn saw_if(&mut self, so: bool, sight: Sight) {
        if so {
            self.saw(sight);
        }
    }

    /// How often.
    pub fn of(&self, sight: Sight) -> u64 {
        self.0.get(&sight).copied().unwrap_or(0)
    }

    /// Adds what another run saw.
    pub fn add(&mut self, other: &Tally) {
        for (sight, count) in &other.0 {
            *self.0.entry(*sight).or_default() += count;
        }
    }
}

//! How many processes of a container have ended and lie there, since their parent takes nobody's end: from how many on that is worth a word, and in
//! which words. Pure.
//!
//! What is told is a round number that was reached, so that what the pod says of a pile that grows changes now and then and not with each
//! process. It is over when nobody is left.

use crate::api::init::ANNOTATION;
use crate::api::zombie::{Fault, Unreaped};
use std::fmt::Write;

/// What is reached, in steps.
const STEPS: [usize; 10] = [5, 10, 20, 50, 100, 200, 500, 1000, 5000, 10_000];

/// What is told of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pile {
    /// As how many they are told; 0 for none to speak of.
    pub told: usize,
    /// Whose fault they are. It stays as it was first told while their number is: a pile may have many culprits.
    pub fault: Option<Fault>,
}

impl Pile {
    /// What is told when this is what lies there now.
    pub fn seen(&self, now: Unreaped) -> Pile {
        let told = told(self.told, now.count);
        let fault = match told == self.told {
            true => self.fault.clone().or(now.fault),
            false => now.fault,
        };
        Pile { told, fault: fault.filter(|_| told > 0) }
    }

    /// What the container's Event and its pod's condition say.
    pub fn words(&self, container: &str) -> String {
        let told = self.told;
        let mut text = format!(
            "Container {container} has {told} or more processes that have ended and that nobody reaps"
        );
        let Some((fault, culprit)) = self.fault.as_ref().and_then(|fault| Some((fault, fault.culprit()?)))
        else {
            return text;
        };
        // Writing to a String cannot fail.
        let _ = write!(text, ": {culprit}");
        if fault.init_helps() {
            let _ = write!(text, "; an init would, by the pod's annotation {ANNOTATION}: {container}");
        }
        text
    }
}

/// As how many they are told, of whom there are so many now.
fn told(before: usize, now: usize) -> usize {
    let reached = STEPS.iter().rev().copied().find(|step| *step <= now).unwrap_or(0);
    match (reached, before, now) {
        (0, 1.., 1..) => STEPS[0].min(before),
        _ => reached,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::zombie::ZombieCause;

    #[test]
    fn whose_fault_it_is_is_told_with_what_helps() {
        let fault = |cause, pid| Fault { cause, parent_pid: Some(pid), parent_command: Some("sh".into()) };
        let seen = |pile: &Pile, count, fault| pile.seen(Unreaped { count, fault: Some(fault) });
        let pile = seen(&Pile::default(), 6, fault(ZombieCause::Parent, 7));
        assert_eq!(
            pile.words("c"),
            "Container c has 5 or more processes that have ended and that nobody reaps: sh (7) does not wait for its children"
        );
        assert_eq!(seen(&pile, 7, fault(ZombieCause::Init, 1)), pile, "as long as they are no more");
        let more = seen(&pile, 10, fault(ZombieCause::Init, 8));
        assert_eq!(
            more.words("c"),
            "Container c has 10 or more processes that have ended and that nobody reaps: the first process, sh (8), does not reap what is left to it; an init would, by the pod's annotation podbox.io/init: c"
        );
        assert_eq!(more.seen(Unreaped::default()), Pile::default());
    }

    #[test]
    fn a_pile_is_told_in_round_numbers_until_it_is_gone() {
        let mut before = 0;
        let all = [0, 4, 5, 7, 12, 9, 3, 1, 0, 4, 60, 49_000].map(|now| {
            before = told(before, now);
            before
        });
        assert_eq!(all, [0, 0, 5, 5, 10, 5, 5, 5, 0, 0, 50, 10_000]);
    }
}

//! When a running pod's volumes of files are looked at again: after news of what they are made of, when a token is to be
//! replaced, and after a failure. One look at a time; news that come meanwhile lead to another one.

use super::sources::Origin;
use crate::limits;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::watch;

/// One pod's looks.
#[derive(Debug)]
pub struct Refresh {
    changes: watch::Receiver<()>,
    /// Something may differ from what the volumes have.
    stale: bool,
    /// A look is in flight.
    looking: bool,
    /// The next look, whether there are news or not.
    due: Option<Instant>,
    /// What was last said to be wrong.
    told: Option<String>,
    /// The wait after the next failure to set volumes up.
    wait: Duration,
}

impl Refresh {
    /// For a pod; `stale` if its volumes were filled by an earlier daemon.
    pub fn new(origin: &dyn Origin, stale: bool) -> Refresh {
        let changes = origin.changes();
        Refresh { changes, stale, looking: false, due: None, told: None, wait: limits::MOUNT_RETRY_FIRST }
    }

    /// Waits for news. May be dropped and called again.
    pub async fn news(&mut self) {
        if self.changes.changed().await.is_err() {
            // Nobody is left who could tell any.
            std::future::pending::<()>().await;
        }
        self.stir();
    }

    /// There are news.
    pub fn stir(&mut self) {
        self.stale = true;
        self.wait = limits::MOUNT_RETRY_FIRST;
    }

    /// The volumes were filled with what was read just before.
    pub fn filled(&mut self, origin: &dyn Origin, wall: SystemTime, now: Instant) {
        self.due = origin.renewal().map(|at| now + at.duration_since(wall).unwrap_or_default());
    }

    /// Whether to look now; if so, a look counts as in flight.
    pub fn begin(&mut self, now: Instant) -> bool {
        let look = !self.looking && (self.stale || self.due.is_some_and(|due| due <= now));
        if look {
            (self.stale, self.looking, self.due) = (false, true, None);
        }
        look
    }

    /// What came of a look; gives back what is to be told, once.
    pub fn looked(&mut self, problem: Option<String>, now: Instant) -> Option<String> {
        self.looking = false;
        if problem.is_some() {
            let again = now + limits::REFRESH_RETRY;
            self.due = Some(self.due.map_or(again, |due| due.min(again)));
        }
        let news = if self.told == problem { None } else { problem.clone() };
        self.told = problem;
        news
    }

    /// When the loop has to come by.
    pub fn due(&self) -> Option<Instant> {
        self.due.filter(|_| !self.looking)
    }

    /// How long to wait after volumes could not be set up: twice as long each time.
    pub fn failed(&mut self) -> Duration {
        let wait = self.wait;
        self.wait = (2 * wait).min(limits::MOUNT_RETRY_LONGEST);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::pod::sources::Sources;
    use std::sync::Arc;

    #[test]
    fn one_look_at_a_time_again_after_a_failure_and_told_once() {
        let now = clock::instant();
        let mut refresh = Refresh::new(&Arc::new(Sources::default()), true);
        assert!(refresh.begin(now) && !refresh.begin(now));
        refresh.stale = true;
        assert!(!refresh.begin(now), "one is in flight");
        let wrong = || Some("configmap \"x\" not found".to_owned());
        assert_eq!(refresh.looked(wrong(), now), wrong());
        assert!(refresh.begin(now), "news came meanwhile");
        assert_eq!(refresh.looked(wrong(), now), None);
        assert!(!refresh.begin(now));
        assert_eq!(refresh.due(), Some(now + limits::REFRESH_RETRY));
        assert!(refresh.begin(now + limits::REFRESH_RETRY));
        assert_eq!(refresh.looked(None, now), None);
        assert_eq!(refresh.due(), None);
    }

    #[test]
    fn a_volume_that_stays_missing_is_tried_ever_less_often() {
        let mut refresh = Refresh::new(&Arc::new(Sources::default()), false);
        let waits: Vec<_> = (0..12).map(|_| refresh.failed().as_millis()).collect();
        assert_eq!(waits[..3], [500, 1000, 2000]);
        assert_eq!(waits[11], 122_000);
    }
}

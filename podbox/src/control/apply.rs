//! Carries out what a controller wants: its writes, as many at once as may be, and what is to be said of them.
//!
//! Creations begin slowly (1, 2, 4, …) and end with the first that fails, as upstream's do: what a quota refuses once, it
//! would refuse a thousand times.

use super::action::{Action, Actions, Failure, Saying, Subject, Write};
use super::controllers::Outcome;
use super::events::Events;
use crate::api::objects::Writes;
use crate::api::status::ApiError;
use crate::metrics as table;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::task::JoinSet;

/// Whoever writes and tells in the name of one controller.
pub struct Hand<W> {
    /// Writes.
    pub writes: W,
    /// Tells.
    pub events: Events,
    /// The controller.
    pub component: &'static str,
}

/// How one write went.
enum Done {
    Changed,
    Unchanged,
    Conflict,
    Failed(Failure),
    /// Its namespace goes: neither this nor anything like it can be made there.
    Pointless,
}

/// Counts reconciliations that wanted something done; which controllers have any.
#[derive(Debug, Default)]
pub struct Outcomes(BTreeSet<&'static str>);

impl Outcomes {
    /// One more.
    pub fn count(&mut self, component: &'static str, outcome: &Outcome) {
        let of = |word| ::metrics::counter!(table::RECONCILES, "controller" => component, "outcome" => word);
        // All from zero on: of a counter that begins with its first event, no rate tells that one.
        if self.0.insert(component) {
            ["done", "conflict", "failed"].into_iter().for_each(|word| of(word).increment(0));
        }
        of(match (&outcome.failure, outcome.conflict) {
            (Some(_), _) => "failed",
            (None, true) => "conflict",
            (None, false) => "done",
        })
        .increment(1);
    }
}

impl<W: Writes> Hand<W> {
    /// Does it all.
    pub async fn apply(self, actions: Actions) -> Outcome {
        let hand = Arc::new(self);
        let about = actions.about.map(Arc::new);
        for said in &actions.said {
            hand.tell(about.as_deref(), said, "");
        }
        let (creations, others): (Vec<_>, Vec<_>) =
            actions.actions.into_iter().partition(|action| matches!(action.write, Write::Create(_)));
        let mut outcome = Outcome::default();
        hand.all(others, &about, &mut outcome).await;
        let (mut rest, mut batch, mut goes_on) = (creations.into_iter(), 1, true);
        loop {
            let next: Vec<_> = rest.by_ref().take(batch).collect();
            if next.is_empty() || outcome.failure.is_some() || !goes_on {
                return outcome;
            }
            goes_on = hand.all(next, &about, &mut outcome).await;
            batch *= 2;
        }
    }

    /// Does these at the same time; tells whether more like them are worth trying.
    async fn all(
        self: &Arc<Self>,
        actions: Vec<Action>,
        about: &Option<Arc<Subject>>,
        outcome: &mut Outcome,
    ) -> bool {
        let (mut tasks, mut goes_on) = (JoinSet::new(), true);
        for action in actions {
            let (hand, about) = (Arc::clone(self), about.clone());
            tasks.spawn(async move { hand.one(action, about.as_deref()).await });
        }
        while let Some(done) = tasks.join_next().await {
            match done {
                Ok(Done::Changed) => outcome.changed = true,
                Ok(Done::Unchanged) => {}
                Ok(Done::Conflict) => outcome.conflict = true,
                Ok(Done::Failed(failure)) => outcome.failure = Some(failure),
                Ok(Done::Pointless) => goes_on = false,
                // A panic, which was told where it happened.
                Err(_) => outcome.conflict = true,
            }
        }
        goes_on
    }

    async fn one(&self, action: Action, about: Option<&Subject>) -> Done {
        let Action { write, done, failed } = action;
        let creating = matches!(write, Write::Create(_));
        let written = match write {
            Write::Create(new) => self.writes.create(new).await.map(|name| (name, true)),
            Write::Edit { at, part, seen, edit } => {
                let edited = self.writes.edit(&at, part, &seen, |object| edit.apply(object)).await;
                edited.map(|changed| (at.name, changed))
            }
            Write::Delete { at, seen, propagation } => {
                self.writes.delete(&at, &seen, propagation).await.map(|changed| (at.name, changed))
            }
            Write::Remove { at, seen } => {
                self.writes.remove(&at, &seen).await.map(|changed| (at.name, changed))
            }
        };
        match written {
            Ok((name, changed)) => {
                if let Some(done) = done.filter(|_| changed) {
                    self.tell(about, &done, &name);
                }
                if changed { Done::Changed } else { Done::Unchanged }
            }
            Err(error) => self.failed(&error, creating, failed, about),
        }
    }

    fn failed(
        &self,
        error: &ApiError,
        creating: bool,
        said: Option<Saying>,
        about: Option<&Subject>,
    ) -> Done {
        match error.code {
            // It is gone, or another of its name is there: the world will tell.
            404 if !creating => return Done::Unchanged,
            409 if !creating || error.reason == "Conflict" => return Done::Conflict,
            // Nothing is to be done in a namespace that goes.
            403 if is_terminating(error) => return Done::Pointless,
            _ => {}
        }
        if let Some(said) = said {
            self.tell(about, &said, &error.to_string());
        }
        tracing::debug!("{}: {error}", self.component);
        Done::Failed(Failure { creating, message: error.to_string() })
    }

    fn tell(&self, about: Option<&Subject>, saying: &Saying, of: &str) {
        let Some(about) = saying.of.as_deref().or(about) else { return };
        let mut said = saying.clone();
        if said.message.ends_with(": ") {
            said.message += of;
        }
        self.events.tell(self.component, about, said);
    }
}

fn is_terminating(error: &ApiError) -> bool {
    let causes = error.details["causes"].as_array();
    causes.is_some_and(|causes| causes.iter().any(|cause| cause["reason"] == "NamespaceTerminating"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::lifecycle::Propagation;
    use crate::api::objects::{Seen, Target};
    use crate::control::action::Write;
    use crate::control::events;
    use serde_json::{Value, json};
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// An API in whose only namespace nothing can be made any more, and where what goes goes already.
    #[derive(Clone, Default)]
    struct Going(Arc<AtomicUsize>);

    impl Writes for Going {
        async fn create(&self, _: Value) -> Result<String, ApiError> {
            self.0.fetch_add(1, Ordering::Relaxed);
            let details = json!({"causes": [{"reason": "NamespaceTerminating"}]});
            Err(ApiError { details, ..ApiError::new(403, "Forbidden", "it goes") })
        }
        async fn edit(
            &self,
            _: &Target,
            _: &'static str,
            _: &Seen,
            _: impl Fn(&mut Value) + Send + Sync,
        ) -> Result<bool, ApiError> {
            Ok(false)
        }
        async fn delete(&self, _: &Target, _: &Seen, _: Option<Propagation>) -> Result<bool, ApiError> {
            Ok(false)
        }
        async fn remove(&self, _: &Target, _: &Seen) -> Result<bool, ApiError> {
            Ok(false)
        }
    }

    #[tokio::test]
    async fn in_a_namespace_that_goes_little_is_tried_and_nothing_said() {
        let (api, (events, mut said)) = (Going::default(), events::channel());
        let at =
            Target { api_version: "v1".into(), kind: "Pod".into(), namespace: "n".into(), name: "p".into() };
        let told = || Some(Saying::normal("Said", "it"));
        let create = || Action { write: Write::Create(json!({})), done: told(), failed: told() };
        let delete = Write::Delete { at: at.clone(), seen: Seen::default(), propagation: None };
        let mut actions = Actions::of((0..500).map(|_| create()));
        actions.actions.push(Action { write: delete, done: told(), failed: told() });
        actions.about = Some(Subject { at, uid: "u".into() });
        let hand = Hand { writes: api.clone(), events, component: "c" };
        assert_eq!(hand.apply(actions).await, Outcome::default(), "nothing is different, nothing failed");
        assert_eq!(api.0.load(Ordering::Relaxed), 1);
        assert!(said.try_recv().is_err());
    }
}

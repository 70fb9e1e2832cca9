//! Carries out what a controller wants: its writes, as many at once as may be, and what is to be said of them.
//!
//! Creations begin slowly (1, 2, 4, …) and end with the first that fails, as upstream's do: what a quota refuses once, it
//! would refuse a thousand times.

use super::action::{Action, Actions, Failure, Saying, Subject, Write};
use super::controllers::Outcome;
use super::events::Events;
use crate::api::objects::Writes;
use crate::api::status::ApiError;
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
        let (mut rest, mut batch) = (creations.into_iter(), 1);
        loop {
            let next: Vec<_> = rest.by_ref().take(batch).collect();
            if next.is_empty() || outcome.failure.is_some() {
                return outcome;
            }
            hand.all(next, &about, &mut outcome).await;
            batch *= 2;
        }
    }

    /// Does these at the same time.
    async fn all(
        self: &Arc<Self>,
        actions: Vec<Action>,
        about: &Option<Arc<Subject>>,
        outcome: &mut Outcome,
    ) {
        let mut tasks = JoinSet::new();
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
                // A panic, which was told where it happened.
                Err(_) => outcome.conflict = true,
            }
        }
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
                self.writes.delete(&at, &seen, propagation).await.map(|()| (at.name, true))
            }
            Write::Remove { at, seen } => self.writes.remove(&at, &seen).await.map(|()| (at.name, true)),
        };
        match written {
            Ok((name, changed)) => {
                if let Some(done) = done {
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
            403 if is_terminating(error) => return Done::Unchanged,
            _ => {}
        }
        if let Some(said) = said {
            self.tell(about, &said, &error.to_string());
        }
        tracing::debug!("{}: {error}", self.component);
        Done::Failed(Failure { creating, message: error.to_string() })
    }

    fn tell(&self, about: Option<&Subject>, saying: &Saying, of: &str) {
        let Some(about) = about else { return };
        let Saying { warning, reason, message } = saying.clone();
        let message = if message.ends_with(": ") { message + of } else { message };
        self.events.tell(self.component, about, Saying { warning, reason, message });
    }
}

fn is_terminating(error: &ApiError) -> bool {
    let causes = error.details["causes"].as_array();
    causes.is_some_and(|causes| causes.iter().any(|cause| cause["reason"] == "NamespaceTerminating"))
}

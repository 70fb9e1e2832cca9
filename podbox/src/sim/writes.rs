//! The writes of the controllers of a simulated cluster: what is in their way, what comes of them, and what is told of them.

use super::api::Refusal;
use super::sights::Sight;
use super::story;
use super::words;
use super::world::World;
use crate::api::lifecycle::Deletion;
use crate::api::objects::Target;
use crate::control::action::{Action, Edit, Failure, Saying, Subject, Write};
use crate::control::controllers::Outcome;
use serde_json::Value;

/// What is said of a creation that is refused.
const REFUSED: &str = "refused";

impl World {
    /// A controller's write.
    pub(super) fn act(
        &mut self,
        component: &str,
        about: Option<&Subject>,
        action: Action,
    ) -> Result<Outcome, String> {
        let what = words::write(&action.write);
        let silent = self.story.as_ref().and_then(|_| story::silent(&action.write));
        let creating = matches!(action.write, Write::Create(_));
        let sight = sight(component, &action.write);
        let refused = match (std::mem::take(&mut self.weather.conflict), place(&action.write)) {
            (true, Some(at)) if self.random.one_in(2) => {
                self.touch(at);
                None
            }
            (true, _) => Some(Refusal::Conflict),
            (false, _) if creating && self.weather.refuse > 0 => {
                self.weather.refuse -= 1;
                self.tally.saw(Sight::Refusal);
                Some(Refusal::Exists)
            }
            _ => None,
        };
        let written = refused.map_or_else(|| self.do_write(action.write), Err);
        self.tell(&format!("{component} {what}{}", words::refusal(written.as_ref().err())));
        self.relate_write(component, about, (&action.done, &action.failed, silent), &written);
        let mut outcome = Outcome::default();
        match written {
            Ok((_, changed)) => outcome.changed = changed,
            Err(Refusal::Gone) => {}
            Err(Refusal::Conflict) => {
                self.tally.saw(Sight::Conflict);
                outcome.conflict = true;
            }
            Err(Refusal::Exists) => outcome.failure = Some(Failure { creating, message: REFUSED.to_owned() }),
            Err(Refusal::Invalid(why)) => {
                return Err(format!("{component} {what}, which the API refuses: {why}"));
            }
        }
        self.changes += usize::from(outcome.changed);
        if let Some(sight) = sight.filter(|_| outcome.changed) {
            self.tally.saw(sight);
            let loses = matches!(sight, Sight::Unready | Sight::Evicted | Sight::Collected);
            self.disturbances += usize::from(loses);
        }
        Ok(outcome)
    }

    /// Somebody changes what is about to be written to, in a way that means nothing.
    fn touch(&mut self, at: &Target) {
        let now = self.steps.to_string();
        let touch = |object: &mut Value| object["metadata"]["annotations"]["touched"] = now.into();
        self.edit(("somebody", &format!("touches {}", words::target(at))), at, "", touch);
    }

    /// Tells people of a controller's write: in its own words, if it has some.
    fn relate_write(
        &mut self,
        component: &str,
        about: Option<&Subject>,
        (done, failed, silent): (&Option<Saying>, &Option<Saying>, Option<String>),
        written: &Result<(String, bool), Refusal>,
    ) {
        match (written, done, failed, silent) {
            (Ok((name, _)), Some(done), ..) => self.say(about, done, name),
            (Ok((name, true)), None, _, Some(silent)) => self.relate(component, &silent.replace("{}", name)),
            (Err(Refusal::Exists), _, Some(failed), _) => self.say(about, failed, REFUSED),
            _ => {}
        }
    }

    /// Gives back the name of what was written to, and whether anything is different.
    pub(super) fn do_write(&mut self, write: Write) -> Result<(String, bool), Refusal> {
        match write {
            Write::Create(object) => {
                self.api.create(object, self.wall, &mut self.random).map(|name| (name, true))
            }
            Write::Edit { at, part, seen, edit } => {
                let edited = self.api.edit(&at, part, &seen, |object| edit.apply(object));
                edited.map(|changed| (at.name, changed))
            }
            Write::Delete { at, seen, propagation } => {
                let asked = Deletion { grace_seconds: None, propagation };
                self.api.delete(&at, &seen, asked, self.wall).map(|changed| (at.name, changed))
            }
            Write::Remove { at, seen } => {
                let asked = Deletion { grace_seconds: Some(0), propagation: None };
                self.api.delete(&at, &seen, asked, self.wall).map(|changed| (at.name, changed))
            }
        }
    }
}

/// What a write is to, if that is there before.
fn place(write: &Write) -> Option<&Target> {
    match write {
        Write::Create(_) => None,
        Write::Edit { at, .. } | Write::Delete { at, .. } | Write::Remove { at, .. } => Some(at),
    }
}

/// What is to be seen in a controller's write, once it is done.
fn sight(component: &str, write: &Write) -> Option<Sight> {
    let of_pod = place(write).is_some_and(|at| at.kind == "Pod");
    match (component, write) {
        ("node-controller", _) if of_pod => Some(Sight::Unready),
        ("taint-eviction-controller", Write::Delete { .. }) => Some(Sight::Evicted),
        ("pod-garbage-collector", _) => Some(Sight::Collected),
        ("garbage-collector-controller", _) => None,
        (_, Write::Edit { edit: Edit::Adopt(_) | Edit::AdoptHeld(..), .. }) => Some(Sight::Adopted),
        (_, Write::Edit { edit: Edit::Disown(_), .. }) => Some(Sight::Released),
        _ => None,
    }
}

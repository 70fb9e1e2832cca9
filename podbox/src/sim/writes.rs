//! The writes of the controllers of a simulated cluster: what is in their way, what comes of them, and what is told of them.

use super::api::Refusal;
use super::checks;
use super::plane::Due;
use super::sights::Sight;
use super::story;
use super::words;
use super::world::World;
use crate::api::lifecycle::Deletion;
use crate::api::object;
use crate::api::objects::Target;
use crate::control::action::{Edit, Failure, Saying, Subject, Write};
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
        Due { action, meant }: Due,
    ) -> Result<Outcome, String> {
        let at = place(&action.write).cloned();
        let computed = matches!(action.write, Write::Edit { edit: Edit::Merge(_), .. });
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
        let before = at.as_ref().and_then(|at| self.api.find(at)).map(Held::new);
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
        if let (Some(at), Some(before)) = (at.filter(|_| outcome.changed), before) {
            let after = self.api.find(&at).map(Held::new);
            before.may_become(after, meant, computed).map_err(|why| format!("{component} {what}: {why}"))?;
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

/// An object that is written to.
#[derive(Debug)]
pub struct Held {
    uid: String,
    revision: String,
    /// The uid of its controller.
    controller: Option<String>,
}

impl Held {
    /// As it is now.
    pub fn new(object: &Value) -> Held {
        let controller = checks::controller(object).map(str::to_owned);
        let word = |field: &str| object::text(object, field).to_owned();
        Held { uid: word("uid"), revision: word("resourceVersion"), controller }
    }

    /// What no write of a controller may do: reach another object of the same name than it was decided for, put what it has computed over
    /// what others wrote since, or take an object away from its controller for another one.
    fn may_become(self, after: Option<Held>, meant: Option<Held>, computed: bool) -> Result<(), String> {
        if let Some(meant) = meant {
            if meant.uid != self.uid {
                return Err(format!("it is meant for {}, and reaches {}", meant.uid, self.uid));
            }
            if computed && meant.revision != self.revision {
                return Err("it is computed from what it is to, which somebody has changed since".to_owned());
            }
        }
        match (self.controller, after.and_then(|after| after.controller)) {
            (Some(one), Some(other)) if one != other => {
                Err(format!("it goes from one controller to another at once: from {one} to {other}"))
            }
            _ => Ok(()),
        }
    }
}

/// What a write is to, if that is there before.
pub(super) fn place(write: &Write) -> Option<&Target> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_reaches_what_it_is_meant_for_and_takes_it_from_nobody() {
        let held = |uid: &str, revision: &str, controller: Option<&str>| Held {
            uid: uid.to_owned(),
            revision: revision.to_owned(),
            controller: controller.map(str::to_owned),
        };
        let check = |meant: Held, before: Held, after: Held, computed, expected: &str| {
            let told = before.may_become(Some(after), Some(meant), computed).err().unwrap_or_default();
            assert!(told.contains(expected) && told.is_empty() == expected.is_empty(), "{told}");
        };
        check(held("a", "1", None), held("a", "2", None), held("a", "3", Some("x")), false, "");
        check(held("a", "1", None), held("a", "1", None), held("a", "2", None), true, "");
        check(
            held("a", "1", None),
            held("b", "2", None),
            held("b", "3", None),
            false,
            "meant for a, and reaches b",
        );
        check(held("a", "1", None), held("a", "2", None), held("a", "3", None), true, "changed since");
        check(
            held("a", "1", None),
            held("a", "2", Some("x")),
            held("a", "3", Some("y")),
            false,
            "from x to y",
        );
        check(held("a", "1", None), held("a", "2", Some("x")), held("a", "3", None), false, "");
    }
}

//! Where a script plays: a simulated cluster in which nothing is left to chance. What can be done is done at once, in the order in which it
//! was decided; what a node does for a pod takes it a second each time.

use super::parse;
use crate::api::kinds::Kinds;
use crate::api::object;
use crate::control::key::Key;
use crate::pod::pretend::{self, Stage as Reached};
use crate::sim::checks;
use crate::sim::machines::Deed;
use crate::sim::story::{self, Line};
use crate::sim::world::{World, pod};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What a node does for a pod takes so long.
const TICK: Duration = Duration::from_secs(1);
/// A pod's containers begin.
const RUNS: Deed = Deed::For(pretend::Deed::Advance(Reached::Running));
/// They are ready.
const IS_READY: Deed = Deed::For(pretend::Deed::Advance(Reached::Ready));
/// Writes after which a command has not come to an end.
const PATIENCE: usize = 10_000;

/// How containers of an image behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Image {
    /// They do what they should.
    Fine,
    /// There is none.
    Missing,
    /// They run, and are never ready.
    Unready,
    /// They end with this code instead of doing their work.
    Fails(i32),
}

/// A cluster on a stage.
pub struct Stage {
    /// The cluster.
    pub world: World,
    /// Its kinds.
    pub kinds: Arc<Kinds>,
    /// Images that are not as others are.
    pub images: BTreeMap<String, Image>,
}

impl Stage {
    /// One without nodes.
    pub fn new(kinds: &Arc<Kinds>) -> Stage {
        let mut world = World::empty(kinds, 1, false);
        world.story = Some(Vec::new());
        Stage { world, kinds: Arc::clone(kinds), images: BTreeMap::new() }
    }

    /// Does a command, and what follows from it; gives back the tables that it asks for.
    pub fn play(&mut self, command: &str, input: &str) -> Result<Vec<String>, String> {
        let words: Vec<&str> = command.split_whitespace().collect();
        let shown = match words.as_slice() {
            ["advance", span] => {
                let span = parse::span(span).ok_or("it should be as 30s, 5m or 1h")?;
                self.advance(span)?;
                Vec::new()
            }
            words => self.command(words, input)?,
        };
        self.quiet()?;
        Ok(shown)
    }

    /// What has happened since this was asked last.
    pub fn told(&mut self) -> Vec<String> {
        let lines = self.world.story.replace(Vec::new()).unwrap_or_default();
        let shown = |Line { at, who, what }: &Line| format!("{:>6}s  {who:<28} {what}", at.as_secs());
        lines.iter().map(shown).collect()
    }

    /// Time passes.
    fn advance(&mut self, span: Duration) -> Result<(), String> {
        let end = self.world.now().since + span;
        loop {
            self.quiet()?;
            let now = self.world.now().since;
            if now >= end {
                return Ok(());
            }
            self.world.pass(TICK.min(end - now));
            self.quiet()?;
            for (node, uid, key, deed) in self.world.machines.due(&self.world.api, self.world.now().since) {
                match self.image(&key) {
                    Some(Image::Missing) if deed == RUNS => self.cannot_pull(&key),
                    Some(Image::Unready) if deed == IS_READY => {}
                    Some(Image::Fails(code)) if deed == IS_READY => {
                        self.world.perform(
                            &node,
                            &uid,
                            &key,
                            Deed::For(pretend::Deed::Advance(Reached::Ended(code))),
                        );
                    }
                    _ => self.world.perform(&node, &uid, &key, deed),
                }
                self.quiet()?;
            }
        }
    }

    /// What is particular to a pod's image.
    fn image(&self, key: &Key) -> Option<Image> {
        let pod = self.world.api.find(&pod(key))?;
        self.images.get(pod["spec"]["containers"][0]["image"].as_str()?).copied()
    }

    /// A node says that it cannot pull a pod's image.
    fn cannot_pull(&mut self, key: &Key) {
        let waiting = |pod: &Value| pod.pointer("/status/containerStatuses/0/state/waiting/reason").cloned();
        let known = self.world.api.find(&pod(key)).and_then(waiting);
        if known.is_some_and(|reason| reason == "ImagePullBackOff") {
            return;
        }
        let who = ("the node", "cannot pull an image");
        self.world.edit(who, &pod(key), "status", |pod| {
            pod["status"]["containerStatuses"][0]["state"] =
                json!({"waiting": {"reason": "ImagePullBackOff"}});
        });
        self.world.relate(&story::name("Pod", key.name()), "its image cannot be pulled");
    }

    /// Until the control plane has nothing to do.
    pub fn quiet(&mut self) -> Result<(), String> {
        for _ in 0..PATIENCE {
            self.world.look(usize::MAX);
            let mut busy = self.world.plane.has_ends();
            while self.world.write_oldest()? {
                busy = true;
            }
            checks::always(&self.world)?;
            if !busy {
                return Ok(());
            }
        }
        Err(format!("it does not come to rest: the control plane has looked {PATIENCE} times"))
    }

    /// The first pod whose name is this, or begins with it if it ends in `*`, and that is to stay.
    pub fn pod_named(&self, name: &str) -> Result<Value, String> {
        let fits = |pod: &&Value| match name.strip_suffix('*') {
            Some(prefix) => object::name(pod).starts_with(prefix),
            None => object::name(pod) == name,
        };
        let found = self.world.api.list("/pods").filter(|pod| !object::deleting(pod)).find(fits);
        found.cloned().ok_or_else(|| format!("there is no pod {name}"))
    }
}

//! A node is drained: nobody comes any more, and its pods are asked to go as far as their budgets allow. As `kubectl drain
//! --ignore-daemonsets` asks them, once; who is refused is asked again by draining the node again.

use super::stage::Stage;
use crate::api::eviction;
use crate::api::lifecycle::Deletion;
use crate::api::object;
use crate::api::objects::Target;
use crate::api::rules::labels;
use crate::sim::faults::key_of;
use crate::sim::story;
use crate::sim::world::pod as place;
use serde::Deserialize;
use serde_json::Value;

const BUDGETS: &str = "policy/poddisruptionbudgets";

impl Stage {
    /// Asks all pods of a node to go, but for those of DaemonSets.
    pub fn drain(&mut self, node: &str) -> Result<(), String> {
        let at = Target {
            api_version: "v1".into(),
            kind: "Node".into(),
            namespace: String::new(),
            name: node.to_owned(),
        };
        let cordon = |node: &mut Value| node["spec"]["unschedulable"] = true.into();
        self.world.api.edit(&at, "", &Default::default(), cordon).map_err(|why| format!("{why:?}"))?;
        let goes = |pod: &&Value| {
            let owner = &pod["metadata"]["ownerReferences"][0]["kind"];
            pod["spec"]["nodeName"] == node && !object::deleting(pod) && owner != "DaemonSet"
        };
        let pods: Vec<Value> = self.world.api.list("/pods").filter(goes).cloned().collect();
        for pod in pods {
            let who = story::name("Pod", object::name(&pod));
            match self.evict(&pod)? {
                None => self.world.relate(&who, "is evicted"),
                Some(why) => self.world.relate(&who, &format!("is not evicted: {why}")),
            }
            // The next one is judged by what the controllers make of this.
            self.quiet()?;
        }
        Ok(())
    }

    /// Asks a pod to go; why it may not, if so.
    fn evict(&mut self, pod: &Value) -> Result<Option<String>, String> {
        let (at, now) = (place(&key_of(pod)), object::time(self.world.now().wall.into()));
        if eviction::counts(pod) {
            let mut budgets = self.budgets_of(pod);
            if budgets.len() > 1 {
                return Err("it has several budgets".to_owned());
            }
            if let Some(budget) = budgets.first_mut()
                && (object::holds(pod, "Ready") || !eviction::may_go_anyway(budget))
            {
                if let Err(why) = eviction::take(budget, object::name(pod), &now) {
                    let cause = why.details["causes"][0]["message"].as_str().map(str::to_owned);
                    return Ok(Some(cause.unwrap_or(why.message)));
                }
                let (status, name) = (budget["status"].clone(), object::name(budget).to_owned());
                let at = Target {
                    api_version: "policy/v1".into(),
                    kind: "PodDisruptionBudget".into(),
                    name,
                    ..at.clone()
                };
                let taken = self
                    .world
                    .api
                    .edit(&at, "status", &Default::default(), |budget| budget["status"] = status);
                taken.map_err(|why| format!("{why:?}"))?;
            }
        }
        let told = self.world.api.tell(&at, |pod| eviction::made_to_go(pod, &now));
        told.map_err(|why| format!("{why:?}"))?;
        self.world.delete("user", &at, Deletion { grace_seconds: None, propagation: None });
        Ok(None)
    }

    fn budgets_of(&self, pod: &Value) -> Vec<Value> {
        let of = serde_json::from_value(pod["metadata"]["labels"].clone()).unwrap_or_default();
        let about = |budget: &&Value| {
            let selector = Option::deserialize(&budget["spec"]["selector"]).unwrap_or_default();
            selector.is_some_and(|selector| labels::matches(&selector, Option::as_ref(&of)))
                && object::namespace(budget) == object::namespace(pod)
        };
        self.world.api.list(BUDGETS).filter(about).cloned().collect()
    }
}

//! Whose going the budgets for disruptions allow, as far as their status says: who chooses victims rather takes those. Pure.

use super::demand::Load;
use crate::api::selector::Labels;
use crate::control::key::Key;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A budget.
#[derive(Debug)]
struct Budget {
    selector: Labels,
    /// How many more may go.
    allowed: i64,
    /// Names of those that are counted as gone already.
    counted: BTreeSet<String>,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Budgets(BTreeMap<Key, Budget>);

impl Budgets {
    /// A budget is like this now. One that selects by nothing protects nobody, as upstream has it.
    pub fn note(&mut self, key: &Key, budget: &PodDisruptionBudget) {
        let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        let selector = selector.map(Labels::of).filter(|selector| !selector.is_empty());
        let Some(selector) = selector else { return self.forget(key) };
        let status = budget.status.as_ref();
        let allowed = status.and_then(|status| status.disruptions_allowed).unwrap_or(0).into();
        let counted = status.iter().flat_map(|status| status.disrupted_pods.iter().flatten());
        let counted = counted.map(|(name, _)| name.clone()).collect();
        self.0.insert(key.clone(), Budget { selector, allowed, counted });
    }

    /// A budget is gone.
    pub fn forget(&mut self, key: &Key) {
        self.0.remove(key);
    }

    /// The keys of all of them.
    pub fn keys(&self) -> Vec<Key> {
        self.0.keys().cloned().collect()
    }

    /// Of pods that would go in this order, which ones some budget does not allow to.
    pub fn violated(&self, pods: &[(Key, Arc<Load>)]) -> Vec<bool> {
        let mut spent: BTreeMap<&Key, i64> = BTreeMap::new();
        let mut violates = |(key, load): &(Key, Arc<Load>)| {
            let mut violated = false;
            // A pod without labels is nobody's.
            for (name, budget) in self.0.iter().filter(|_| !load.labels.is_empty()) {
                let about = name.namespace() == key.namespace()
                    && budget.selector.matches(|label| load.labels.get(label).map(String::as_str));
                if about && !budget.counted.contains(key.name()) {
                    let spent = spent.entry(name).or_default();
                    *spent += 1;
                    violated |= *spent > budget.allowed;
                }
            }
            violated
        };
        pods.iter().map(&mut violates).collect()
    }
}

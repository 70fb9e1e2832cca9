//! Processes that were killed for memory, by container: one map is read for that, and neither the dead nor what programs cost.

use super::snapshot::{ContainerKey, Totals};
use super::tracer::{Tracer, lock};
use crate::api::attribution::OomRole;
use std::collections::BTreeMap;

impl Tracer {
    /// Of every container that is there or was. One that was on its way out already was not killed for that.
    pub fn kills(&self) -> BTreeMap<ContainerKey, u64> {
        let state = lock(&self.state);
        let runs =
            state.runs().map(|(_, container, stats)| (container, Totals { stats, ..Totals::default() }));
        let present = state.ledger.totals(runs);
        let past = state.ledger.past(&present);
        drop(state);
        let killed = |totals: &Totals| {
            let victims = totals.oom_victims(self.oom_watched()).into_iter();
            victims.filter(|(role, _)| *role != OomRole::Exiting).map(|(_, victims)| victims).sum()
        };
        present.into_iter().chain(past).map(|(key, totals)| (key, killed(&totals))).collect()
    }
}

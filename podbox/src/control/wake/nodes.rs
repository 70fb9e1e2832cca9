//! Whom nodes wake, and pods for the sake of their nodes.

use crate::control::key::{Key, Work};
use crate::control::nodes::{Change, Ready};
use crate::control::pods::{Member, Phase};
use crate::control::world::World;
use crate::limits;

impl World {
    /// A node is another now.
    pub(in crate::control) fn wake_for_node(&self, key: &Key, change: Change, wake: &mut impl FnMut(Work)) {
        wake(Work::Node(key.clone()));
        if change.suits {
            // Any set may want a pod there, or none any more.
            self.daemon_sets.keys().for_each(|key| wake(Work::DaemonSet(key.clone())));
        }
        if change.rate {
            self.nodes.keys().for_each(|node| wake(Work::Node(node.clone())));
        }
        for pod in self.pods.on(key.name()) {
            if change.moved && pod.address.is_some() {
                let selecting = self.services.selecting(pod.key.namespace(), &pod.labels);
                selecting.for_each(|service| wake(Work::Endpoints(service.clone())));
            }
            if change.repels {
                wake(Work::TaintEviction(pod.key.clone()));
            }
            if change.silent && pod.ready.is_some() {
                wake(Work::Unready(pod.key.clone()));
            }
            if change.out_of_service && pod.deleting {
                wake(Work::PodGarbage(pod.key.clone()));
            }
        }
    }

    /// A pod is so now: it may say that it goes, and not go; its node may make it leave, not answer, be out of service or gone. A `new` one was not known before.
    pub(in crate::control) fn wake_for_place(&self, pod: &Member, new: bool, wake: &mut impl FnMut(Work)) {
        if pod.phase == Phase::Ended && self.pods.ended().len() > limits::ENDED_PODS {
            wake(Work::EndedPods);
        }
        if pod.disrupted && !pod.deleting {
            wake(Work::Disrupted(pod.key.clone()));
        }
        let Some(node) = pod.node.as_deref() else {
            if pod.deleting {
                wake(Work::PodGarbage(pod.key.clone()));
            }
            return;
        };
        let Some(node) = self.nodes.get(&Key::new("", node)) else {
            return wake(Work::PodGarbage(pod.key.clone()));
        };
        if node.repels() {
            wake(Work::TaintEviction(pod.key.clone()));
        }
        if new && node.ready == Ready::Unknown && pod.ready.is_some() {
            wake(Work::Unready(pod.key.clone()));
        }
        if pod.deleting && node.is_out_of_service() {
            wake(Work::PodGarbage(pod.key.clone()));
        }
    }
}

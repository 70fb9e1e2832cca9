//! How a pod came up, stage by stage: what its worker notes of it, what the kernel saw, and the two as one waterfall. Pure.
//!
//! Every time is the time since boot, which is the kernel's clock and podbox's alike. Of each container this is about its first
//! run. Invariant: what nobody saw has no time; nothing is made up from other times.

use super::identity::PodRef;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime};

/// A part of a pod's way, in the order of the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The node had the pod.
    Accepted,
    /// Until a container's image was there and unpacked.
    Image,
    /// Making and registering cgroups.
    Cgroup,
    /// Making namespaces, and linking them to the network.
    Network,
    /// Making directories, mounting and filling volumes.
    Mounts,
    /// From a container's first process to its program: it builds its root and confines itself.
    Exec,
    /// Until that listened for TCP connections.
    Listen,
    /// Until the kernel had made a connection to it.
    Connect,
    /// Until it took a connection.
    Accept,
    /// From the beginning until the pod was ready.
    Ready,
}

impl Stage {
    /// Its name, as the label of a metric.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Accepted => "accepted",
            Stage::Image => "image",
            Stage::Cgroup => "cgroup",
            Stage::Network => "network",
            Stage::Mounts => "mounts",
            Stage::Exec => "exec",
            Stage::Listen => "listen",
            Stage::Connect => "connect",
            Stage::Accept => "accept",
            Stage::Ready => "ready",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Something of podbox's own doing: when it began, and how long it took in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lap {
    /// Which part of the way.
    pub stage: Stage,
    /// By the time since boot.
    pub began: Duration,
    /// Without what came in between.
    pub took: Duration,
}

/// What the kernel saw a container do for the first time, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firsts {
    /// Its first process was cloned.
    pub cloned: Option<Duration>,
    /// That became the container's program.
    pub executed: Option<Duration>,
    /// It listened.
    pub listened: Option<Duration>,
    /// On which port; 0 where the kernel was yet to choose one.
    pub port: u16,
    /// There was a connection to it.
    pub connected: Option<Duration>,
    /// It took a connection.
    pub accepted: Option<Duration>,
    /// It had begun before anybody looked.
    #[serde(default)]
    pub missed: bool,
}

/// A container's first run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstRun {
    /// Its cgroup's id, by which the kernel's side knows it.
    pub cgroup: u64,
    /// When it was started, as the keeper says.
    pub started: Duration,
    /// What the kernel saw of it, once it has ended.
    pub ended: Option<Firsts>,
}

/// What a pod's worker notes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Startup {
    /// When the node had the pod; not known of one that an earlier podbox had and kept no times of.
    pub accepted: Option<Duration>,
    /// Images that were asked for, by container, and when.
    pub asked: BTreeMap<String, Duration>,
    /// What podbox did for it; with the container, where it was for one.
    pub laps: Vec<(Option<String>, Lap)>,
    /// Its containers' first runs.
    pub runs: BTreeMap<String, FirstRun>,
    /// When it was ready.
    pub ready: Option<Duration>,
    /// It became ready while nobody looked.
    #[serde(default)]
    pub ready_unseen: bool,
}

impl Startup {
    /// Of a pod that the node has from now on.
    pub fn accepted(at: Duration) -> Startup {
        Startup { accepted: Some(at), ..Startup::default() }
    }

    /// An image is asked for. Asking again does not count: what is waited for is the image.
    pub fn asks(&mut self, container: &str, now: Duration) {
        self.asked.entry(container.to_owned()).or_insert(now);
    }

    /// It is there: how long that took, the first time.
    pub fn has_image(&mut self, container: &str, now: Duration) -> Option<Duration> {
        let began = *self.asked.get(container)?;
        let of_it = |(own, lap): &&(Option<String>, Lap)| {
            lap.stage == Stage::Image && own.as_deref() == Some(container)
        };
        if self.laps.iter().any(|lap| of_it(&lap)) {
            return None;
        }
        let took = now.saturating_sub(began);
        self.laps.push((Some(container.to_owned()), Lap { stage: Stage::Image, began, took }));
        Some(took)
    }

    /// Its sandbox was made. A later one, in the place of one that was lost, is not how it came up.
    pub fn has_sandbox(&mut self, laps: &[Lap]) {
        if !self.laps.iter().any(|(container, lap)| container.is_none() && lap.stage != Stage::Accepted) {
            self.laps.extend(laps.iter().map(|lap| (None, *lap)));
        }
    }

    /// A container runs.
    pub fn runs(&mut self, container: &str, cgroup: u64, started: Duration, laps: &[Lap]) {
        if self.runs.contains_key(container) {
            return;
        }
        self.runs.insert(container.to_owned(), FirstRun { cgroup, started, ended: None });
        self.laps.extend(laps.iter().map(|lap| (Some(container.to_owned()), *lap)));
    }

    /// The run in this cgroup has ended; `firsts` asks what the kernel saw of it, which it will forget.
    pub fn ends(&mut self, cgroup: u64, firsts: impl Fn(u64) -> Option<Firsts>) {
        let ended = self.runs.values_mut().filter(|run| run.cgroup == cgroup && run.ended.is_none());
        ended.for_each(|run| run.ended = Some(firsts(cgroup).unwrap_or_default()));
    }

    /// The pod is ready: how long that took, if this is the first time and all of it was seen.
    pub fn is_ready(&mut self, now: Duration) -> Option<Duration> {
        if self.ready.is_some() || self.ready_unseen {
            return None;
        }
        self.ready = Some(now);
        Some(now.saturating_sub(self.accepted?))
    }
}

/// Who says when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SeenBy {
    /// The kernel, as it happened.
    Kernel,
    /// podbox, by the same clock.
    Podbox,
}

/// A line of the waterfall.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Which part of the way.
    pub stage: Stage,
    /// Whose; absent where it is the pod's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub container: Option<String>,
    /// When it began, in nanoseconds since boot; absent where that is not known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub began_ns: Option<u64>,
    /// The same, in microseconds since the waterfall's beginning.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub offset_us: Option<u64>,
    /// How long it took, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub took_us: Option<u64>,
    /// Who says so.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub seen_by: Option<SeenBy>,
    /// What is to be said of it: the port, or why a time is not known.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub remark: String,
}

/// How a pod came up: `podbox trace -o json` prints a list of these.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Waterfall {
    /// The pod's namespace.
    pub namespace: String,
    /// Its name.
    pub pod: String,
    /// Its uid.
    pub uid: String,
    /// When the node had it; absent where that is not known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub accepted: Option<jiff::Timestamp>,
    /// From its beginning until it was ready, in microseconds; absent where it was not, or one of both is not known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ready_us: Option<u64>,
    /// In the order in which they began; those without a time last.
    pub stages: Vec<Row>,
}

/// What this host lets be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// Sockets that listen, and are connected to.
    pub sockets: bool,
    /// When connections are taken.
    pub accepts: bool,
    /// The wall's clock at boot.
    pub boot: SystemTime,
}

impl Startup {
    /// The waterfall; `firsts` asks what the kernel saw of a run that goes on.
    pub fn waterfall(&self, pod: &PodRef, sight: Sight, firsts: impl Fn(u64) -> Option<Firsts>) -> Waterfall {
        let mut rows = Rows(Vec::new());
        match self.accepted {
            Some(at) => rows.add(Stage::Accepted, None, (at, at), SeenBy::Podbox),
            None => rows.unknown(Stage::Accepted, None, "before this podbox began"),
        }
        for (container, Lap { stage, began, took }) in &self.laps {
            rows.add(*stage, container.as_deref(), (*began, *began + *took), SeenBy::Podbox);
        }
        for (name, run) in &self.runs {
            let missed = Firsts { missed: true, ..Firsts::default() };
            let seen = run.ended.or_else(|| firsts(run.cgroup)).unwrap_or(missed);
            rows.run(name, run, &seen, sight);
        }
        match (self.ready, self.accepted) {
            (Some(at), began) => rows.add(Stage::Ready, None, (began.unwrap_or(at), at), SeenBy::Podbox),
            (None, _) if self.ready_unseen => {
                rows.unknown(Stage::Ready, None, "while no podbox looked");
            }
            (None, _) if self.runs.values().all(|run| run.ended.is_some()) => {}
            (None, _) => rows.unknown(Stage::Ready, None, "not yet"),
        }
        let PodRef { namespace, name, uid } = pod.clone();
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Waterfall {
            namespace,
            pod: name,
            uid,
            accepted: self
                .accepted
                .and_then(|at| jiff::Timestamp::try_from(sight.boot.checked_add(at)?).ok()),
            ready_us: self.ready.zip(self.accepted).map(|(at, began)| micros(at.saturating_sub(began))),
            stages: rows.in_order(),
        }
    }
}

struct Rows(Vec<Row>);

const UNTOLD: &str = "this kernel does not tell";

impl Rows {
    fn add(
        &mut self,
        stage: Stage,
        container: Option<&str>,
        (began, ended): (Duration, Duration),
        by: SeenBy,
    ) {
        self.0.push(Row {
            stage,
            container: container.map(str::to_owned),
            began_ns: u64::try_from(began.as_nanos()).ok(),
            offset_us: None,
            took_us: u64::try_from(ended.saturating_sub(began).as_micros()).ok(),
            seen_by: Some(by),
            remark: String::new(),
        });
    }

    fn unknown(&mut self, stage: Stage, container: Option<&str>, why: &str) {
        self.0.push(Row {
            stage,
            container: container.map(str::to_owned),
            began_ns: None,
            offset_us: None,
            took_us: None,
            seen_by: None,
            remark: why.to_owned(),
        });
    }

    fn remark(&mut self, remark: String) {
        self.0.last_mut().into_iter().for_each(|row| row.remark.clone_from(&remark));
    }

    fn run(&mut self, name: &str, run: &FirstRun, seen: &Firsts, sight: Sight) {
        let own = Some(name);
        let executed = match seen.executed {
            Some(at) => {
                self.add(Stage::Exec, own, (seen.cloned.unwrap_or(at), at), SeenBy::Kernel);
                at
            }
            None => {
                self.add(Stage::Exec, own, (run.started, run.started), SeenBy::Podbox);
                self.remark("the keeper's word".to_owned());
                run.started
            }
        };
        let over = run.ended.is_some();
        let Some(listened) = seen.listened else {
            match (sight.sockets, seen.missed, over) {
                (false, ..) => self.unknown(Stage::Listen, own, UNTOLD),
                (true, true, _) => self.unknown(Stage::Listen, own, "nobody watched"),
                (true, false, false) => self.unknown(Stage::Listen, own, "not yet"),
                (true, false, true) => {}
            }
            return;
        };
        self.add(Stage::Listen, own, (executed.min(listened), listened), SeenBy::Kernel);
        self.remark(format!("port {}", seen.port));
        match seen.connected {
            Some(at) => self.add(Stage::Connect, own, (listened.min(at), at), SeenBy::Kernel),
            None if over => {}
            None => self.unknown(Stage::Connect, own, "not yet"),
        }
        let before = seen.connected.unwrap_or(listened);
        match (seen.accepted, sight.accepts) {
            (Some(at), _) => self.add(Stage::Accept, own, (before.min(at), at), SeenBy::Kernel),
            (None, false) => self.unknown(Stage::Accept, own, UNTOLD),
            (None, true) if over || seen.connected.is_none() => {}
            (None, true) => self.unknown(Stage::Accept, own, "not yet"),
        }
    }

    /// By when they began; offsets are from the first of all.
    fn in_order(mut self) -> Vec<Row> {
        let first = self.0.iter().filter_map(|row| row.began_ns).min().unwrap_or(0);
        for row in &mut self.0 {
            row.offset_us = row.began_ns.map(|at| (at - first) / 1000);
        }
        // What is the whole way comes last.
        self.0.sort_by_key(|row| {
            (
                row.stage == Stage::Ready,
                row.began_ns.is_none(),
                row.began_ns,
                row.stage,
                row.container.clone(),
            )
        });
        self.0
    }
}

#[cfg(test)]
#[path = "startup_tests.rs"]
mod tests;

//! What a manifest says of probes: when, how often, how many. What is to be asked of the container is read where it is
//! asked. Expects a manifest that is defaulted and valid.

use crate::api::probe::{PERIOD, PERIOD_UNTIL_READY, Periods, ProbeType};
use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::collections::BTreeMap;
use std::time::Duration;

/// One probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeSpec {
    /// From the container's start to the first one.
    pub initial_delay: Duration,
    /// From one to the next.
    pub period: Duration,
    /// The same as long as it has not succeeded, for further ones whose failure does not count.
    pub until_ready: Option<Duration>,
    /// How long the container has to answer.
    pub timeout: Duration,
    /// Successes in a row that count as one.
    pub successes: u32,
    /// Failures in a row that count as one.
    pub failures: u32,
    /// How long the run has to end if the probe fails; the pod's grace period if it does not say.
    pub grace: Option<Duration>,
    /// The port that it asks, if it asks one of the container.
    pub port: Option<u16>,
}

/// A container's probes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbeSpecs {
    /// `startupProbe`.
    pub startup: Option<ProbeSpec>,
    /// `livenessProbe`.
    pub liveness: Option<ProbeSpec>,
    /// `readinessProbe`.
    pub readiness: Option<ProbeSpec>,
}

impl ProbeSpecs {
    /// A container's, in a pod with these annotations.
    pub fn of(container: &Container, annotations: Option<&BTreeMap<String, String>>) -> ProbeSpecs {
        // One that cannot be read was refused with its pod, or came later and changes nothing.
        let periods = |key| Periods::parse(annotations?.get(key)?).ok();
        let (usual, until_ready) = (periods(PERIOD), periods(PERIOD_UNTIL_READY));
        let spec = |probe| {
            let said = of(container, probe)?;
            let own = |periods: &Option<Periods>| periods.as_ref()?.of(&container.name, probe);
            let mut spec = ProbeSpec::read(said, container);
            spec.period = own(&usual).unwrap_or(spec.period);
            spec.until_ready = own(&until_ready).filter(|_| probe != ProbeType::Liveness);
            Some(spec)
        };
        ProbeSpecs {
            startup: spec(ProbeType::Startup),
            liveness: spec(ProbeType::Liveness),
            readiness: spec(ProbeType::Readiness),
        }
    }

    /// One of them.
    pub fn get(&self, probe: ProbeType) -> Option<&ProbeSpec> {
        match probe {
            ProbeType::Startup => self.startup.as_ref(),
            ProbeType::Liveness => self.liveness.as_ref(),
            ProbeType::Readiness => self.readiness.as_ref(),
        }
    }
}

impl ProbeSpec {
    fn read(probe: &Probe, container: &Container) -> ProbeSpec {
        let seconds =
            |seconds: Option<i32>, least| u64::try_from(seconds.unwrap_or(least)).unwrap_or_default();
        let at_least_one = |number: Option<i32>, usual| Duration::from_secs(seconds(number, usual).max(1));
        let times = |times: Option<i32>, usual| u32::try_from(times.unwrap_or(usual)).unwrap_or(1).max(1);
        ProbeSpec {
            initial_delay: Duration::from_secs(seconds(probe.initial_delay_seconds, 0)),
            period: at_least_one(probe.period_seconds, 10),
            until_ready: None,
            timeout: at_least_one(probe.timeout_seconds, 1),
            successes: times(probe.success_threshold, 1),
            failures: times(probe.failure_threshold, 3),
            grace: probe
                .termination_grace_period_seconds
                .and_then(|seconds| u64::try_from(seconds).ok())
                .map(Duration::from_secs),
            port: own_port(probe, container),
        }
    }
}

/// A container's probe of a type, as the manifest has it.
pub fn of(container: &Container, probe: ProbeType) -> Option<&Probe> {
    match probe {
        ProbeType::Startup => container.startup_probe.as_ref(),
        ProbeType::Liveness => container.liveness_probe.as_ref(),
        ProbeType::Readiness => container.readiness_probe.as_ref(),
    }
}

/// The port that it asks at the container itself.
fn own_port(probe: &Probe, container: &Container) -> Option<u16> {
    let none = |host: &Option<String>| host.as_deref().is_none_or(str::is_empty);
    if let Some(get) = probe.http_get.as_ref().filter(|get| none(&get.host)) {
        return port(&get.port, container).ok();
    }
    if let Some(socket) = probe.tcp_socket.as_ref().filter(|socket| none(&socket.host)) {
        return port(&socket.port, container).ok();
    }
    u16::try_from(probe.grpc.as_ref()?.port).ok()
}

/// A port by its number, or by its name among the container's; else what is wrong, in the kubelet's words.
pub fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let mut ports = container.ports.iter().flatten();
            match ports.find(|port| port.name.as_ref() == Some(name)) {
                Some(port) => port.container_port,
                None => {
                    name.parse().map_err(|_| format!("strconv.Atoi: parsing {name:?}: invalid syntax"))?
                }
            }
        }
    };
    let valid = u16::try_from(number).ok().filter(|number| *number != 0);
    valid.ok_or_else(|| format!("invalid port number: {number}"))
}

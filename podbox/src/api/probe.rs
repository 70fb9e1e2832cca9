//! Probes as podbox's parts name them, and what a pod's annotations add to them: periods shorter than a second, and
//! shorter ones until the container is ready. Pure.
//!
//! ```text
//! podbox.io/probe-period: 500ms                        every probe of the pod, whatever its periodSeconds
//! podbox.io/probe-period: 500ms, web=2s, web/liveness=30s    the last word that fits a probe counts
//! podbox.io/probe-period-until-ready: 50ms             startup and readiness, until they succeed
//! podbox.io/probe-tcp: socket-state                    tcpSocket by the kernel's word, without a connection
//! ```
//!
//! What is probed beyond the probe's own period until it succeeds can only bring success forward: failures count when
//! the period says so. So thresholds keep their meaning.

use super::object;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// The period of probes.
pub const PERIOD: &str = "podbox.io/probe-period";
/// The period of startup and readiness probes until they succeed.
pub const PERIOD_UNTIL_READY: &str = "podbox.io/probe-period-until-ready";

/// How `tcpSocket` probes of a pod are answered.
pub const TCP: &str = "podbox.io/probe-tcp";

/// How a `tcpSocket` probe is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TcpProbe {
    /// By a connection, as upstream.
    #[default]
    Connect,
    /// As a success without one, where the kernel says that a socket of the pod listens there and has room in its accept
    /// queue. That is all it says: no packet is sent, so filters on its way are not seen. Where it doesn't say so, by a
    /// connection.
    SocketState,
}

impl TcpProbe {
    /// Reads the word of an annotation or an option.
    pub fn parse(word: &str) -> Option<TcpProbe> {
        match word {
            "connect" => Some(TcpProbe::Connect),
            "socket-state" => Some(TcpProbe::SocketState),
            _ => None,
        }
    }
}

/// The shortest period: what is shorter would keep a processor busy with little else.
const SHORTEST: Duration = Duration::from_millis(10);
/// The longest period.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Which probe of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProbeType {
    /// `startupProbe`.
    Startup,
    /// `livenessProbe`.
    Liveness,
    /// `readinessProbe`.
    Readiness,
}

impl ProbeType {
    /// Each of them, in the order in which they matter.
    pub const ALL: [ProbeType; 3] = [ProbeType::Startup, ProbeType::Liveness, ProbeType::Readiness];

    /// As Events and metrics have it.
    pub fn word(self) -> &'static str {
        match self {
            ProbeType::Startup => "Startup",
            ProbeType::Liveness => "Liveness",
            ProbeType::Readiness => "Readiness",
        }
    }

    /// As annotations and messages have it.
    pub fn name(self) -> &'static str {
        match self {
            ProbeType::Startup => "startup",
            ProbeType::Liveness => "liveness",
            ProbeType::Readiness => "readiness",
        }
    }
}

impl fmt::Display for ProbeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What an annotation says of periods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Periods(Vec<Word>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Word {
    container: Option<String>,
    probe: Option<ProbeType>,
    period: Duration,
}

impl Periods {
    /// Reads one; an error says what is wrong with which part.
    pub fn parse(text: &str) -> Result<Periods, String> {
        text.split(',').map(|part| word(part.trim())).collect::<Result<_, _>>().map(Periods)
    }

    /// The period of a probe, if it is said.
    pub fn of(&self, container: &str, probe: ProbeType) -> Option<Duration> {
        let fits = |word: &&Word| {
            word.container.as_deref().is_none_or(|name| name == container)
                && word.probe.is_none_or(|own| own == probe)
        };
        self.0.iter().rev().find(fits).map(|word| word.period)
    }
}

fn word(text: &str) -> Result<Word, String> {
    let (subject, period) =
        text.split_once('=').map_or((None, text), |(subject, period)| (Some(subject), period));
    let (container, probe) = match subject.map(str::trim) {
        None => (None, None),
        Some(subject) => match subject.split_once('/') {
            None => (Some(subject.to_owned()), None),
            Some((container, probe)) => {
                let known = ProbeType::ALL.into_iter().find(|known| known.name() == probe);
                let known =
                    known.ok_or_else(|| format!("{probe:?} is none of startup, liveness, readiness"))?;
                (Some(container.to_owned()), Some(known))
            }
        },
    };
    Ok(Word { container, probe, period: period_of(period.trim())? })
}

/// A duration like `200ms`, `1.5s` or `2m`.
fn period_of(text: &str) -> Result<Duration, String> {
    match object::read_duration(text) {
        None => Err(format!("{text:?} is no duration like 200ms, 1.5s or 2m")),
        Some(period) if (SHORTEST..=LONGEST).contains(&period) => Ok(period),
        Some(_) => Err(format!("{text:?} is not between 10ms and a day")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_that_fits_a_probe_counts() {
        let periods = Periods::parse("500ms, web=2s,web/liveness=1.5m").unwrap();
        let millis = |container, probe| periods.of(container, probe).map(|period| period.as_millis());
        assert_eq!(millis("db", ProbeType::Liveness), Some(500));
        assert_eq!(millis("web", ProbeType::Readiness), Some(2000));
        assert_eq!(millis("web", ProbeType::Liveness), Some(90_000));
        assert_eq!(Periods::parse("web=1s").unwrap().of("db", ProbeType::Startup), None);
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        for (text, why) in [
            ("", "\"\" is no duration"),
            ("1", "\"1\" is no duration"),
            ("-1s", "\"-1s\" is no duration"),
            ("nans", "\"nans\" is no duration"),
            ("25h", "\"25h\" is not between"),
            ("1ms", "\"1ms\" is not between"),
            ("25s, 9999m", "\"9999m\" is not between"),
            ("web/ready=1s", "\"ready\" is none of"),
        ] {
            let said = Periods::parse(text).unwrap_err();
            assert!(said.starts_with(why), "{text}: {said}");
        }
    }
}

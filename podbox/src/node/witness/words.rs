//! Why an attempt was slow, in the words of an Event: "0.94s of it CPU-throttled at limit 100m". Pure.

use crate::sandbox::backlog::Backlog;
use std::time::Duration;

/// What is shorter explains nothing.
const WORTH_TELLING: Duration = Duration::from_millis(10);

/// What took an attempt's time besides the server's own work.
#[derive(Clone, Copy, Debug, Default)]
pub struct Causes {
    /// The container was kept from the processor by its limit.
    pub throttled: Duration,
    /// That limit, in thousandths of a processor.
    pub limit: Option<u64>,
    /// The container waited for memory.
    pub stalled: Duration,
    /// The connection is in the server's queue since then.
    pub queued: Option<Duration>,
    /// The queue that had no place for the connection.
    pub full: Option<Backlog>,
}

impl Causes {
    /// All of them; none where there is nothing to say.
    pub fn words(&self) -> Option<String> {
        let told = |time: Duration| time >= WORTH_TELLING;
        let mut words = Vec::new();
        if told(self.throttled) {
            let limit = self.limit.map(|limit| format!(" at limit {}", quantity(limit))).unwrap_or_default();
            words.push(format!("{} of it CPU-throttled{limit}", seconds(self.throttled)));
        }
        if told(self.stalled) {
            words.push(format!("{} of it waiting for memory", seconds(self.stalled)));
        }
        if let Some(queued) = self.queued.filter(|queued| told(*queued)) {
            words.push(format!("{} of it in the accept queue", seconds(queued)));
        }
        if let Some(Backlog::Server { waiting, room }) = self.full {
            words.push(format!("accept queue full ({waiting} connections, backlog {room})"));
        }
        (!words.is_empty()).then(|| words.join(", "))
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.2}s", time.as_secs_f64())
}

/// Thousandths as Kubernetes writes them.
fn quantity(thousandths: u64) -> String {
    match thousandths % 1000 {
        0 => (thousandths / 1000).to_string(),
        _ => format!("{thousandths}m"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn causes_are_told_with_their_share() {
        let check = |causes: Causes, expected: Option<&str>| assert_eq!(causes.words().as_deref(), expected);
        check(Causes::default(), None);
        check(
            Causes { throttled: ms(940), limit: Some(100), ..Causes::default() },
            Some("0.94s of it CPU-throttled at limit 100m"),
        );
        check(
            Causes { throttled: ms(500), limit: Some(2000), stalled: ms(250), ..Causes::default() },
            Some("0.50s of it CPU-throttled at limit 2, 0.25s of it waiting for memory"),
        );
        check(Causes { throttled: ms(9), stalled: ms(9), queued: Some(ms(9)), ..Causes::default() }, None);
        check(
            Causes { queued: Some(ms(1000)), ..Causes::default() },
            Some("1.00s of it in the accept queue"),
        );
        check(
            Causes { full: Some(Backlog::Server { waiting: 6, room: 5 }), ..Causes::default() },
            Some("accept queue full (6 connections, backlog 5)"),
        );
    }
}

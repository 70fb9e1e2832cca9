//! Containers that a limit keeps from answering: the Event says so, and the failure counts as upstream counts it.

use std::fs;

use podbox_tests::pods::container as status;
use serde_json::Value;

use super::{Probed, text, until};

/// What is told of a server whose answer never comes; what the kernel adds follows.
const LATE: &str = "Liveness probe failed: Get \"http://IP:8080/delay/600000\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)";

/// The seconds before `words` in what the kernel adds to a message.
fn share(message: &str, words: &str) -> Option<f64> {
    let (before, _) = message.strip_prefix(LATE)?.strip_prefix("; ")?.split_once(words)?;
    before.rsplit(", ").next()?.strip_suffix("s of it ")?.parse().ok()
}

impl Probed {
    /// More than half of a second, of which most was lost.
    fn mostly(&self, pod: &str, container: &str, words: &str) -> Value {
        self.told(pod, container, |message| share(message, words).is_some_and(|share| share > 0.5))
    }

    pub fn throttling_is_told_of_and_counted(&self) {
        self.mostly("throttled", "busy", "CPU-throttled at limit 100m");
        // However long it was each time, it is the same thing that happens.
        until("it is counted", || {
            let all = self.events("throttled").into_iter();
            let mut own = all.filter(|(_, event)| text(event).starts_with(LATE));
            let (_, first) = own.next().unwrap_or_default();
            assert!(own.next().is_none(), "one Event");
            first["count"].as_u64().is_some_and(|count| count >= 3)
        });
        let failed = self.result("busy", "liveness", "fails", |result| result["verdict"] == "failure");
        let took = |field: &str| failed[field].as_u64();
        assert!(took("throttled_us").is_some_and(|lost| Some(lost) <= took("took_us")), "{failed}");
        // Three in a row: no limit is an excuse.
        self.told("throttled", "busy", |message| {
            message == "Container busy failed liveness probe, will be restarted"
        });
        self.node.wait_pod("throttled", "has run again", |pod| {
            status(pod, "busy")["restartCount"].as_u64().is_some_and(|count| count >= 1)
        });
    }

    pub fn waiting_for_memory_is_told_of(&self) {
        self.node.wait_pod("stalled", "is up", |pod| status(pod, "eats")["started"] == true);
        // What it takes beyond this, it waits for.
        let high = self.cgroup("stalled", "eats").join("memory.high");
        fs::write(&high, (8 << 20).to_string()).expect("a cgroup's memory can be held down");
        self.allow("eat");
        self.mostly("stalled", "eats", "waiting for memory");
        let failed = self.result("eats", "liveness", "waits for memory", |result| {
            result["verdict"] == "failure" && result["stalled_us"].as_u64().is_some_and(|lost| lost > 500_000)
        });
        assert!(failed["stalled_us"].as_u64() <= failed["took_us"].as_u64(), "{failed}");
        // It gets what it asked for, so that it can be ended.
        fs::write(&high, "max").expect("a cgroup's memory can be set free");
    }
}

//! Probes that pass, of every kind: what brings them forward, how often they come, where their time went, and what ends a
//! run.

use std::fs;

use podbox_tests::metrics::{metrics, page, value};
use podbox_tests::needs;
use podbox_tests::pods::{container as status, is_ready};
use serde_json::{Value, json};

use super::{Probed, until};

impl Probed {
    pub fn every_kind_succeeds_and_listening_brings_it_forward(&self) {
        let servers = [("http", "startup"), ("tcp", "readiness")];
        for (server, probe) in servers {
            let first = self.result(server, probe, "fails at first", |result| result["verdict"] == "failure");
            assert!(first["triggered"].is_null(), "{first}");
        }
        assert!(self.results("http", "readiness").is_empty(), "it waits for the startup probe");
        self.allow("go");
        self.node.wait_pod("kinds", "is ready", is_ready);
        for (server, probe) in servers {
            let passed = self.passes(server, probe);
            assert_eq!(passed["triggered"], true, "{server}: {passed}");
        }
        // As upstream, it waits for its server within its own time.
        self.passes("grpc", "readiness");
        let passed = self.passes("http", "readiness");
        let part = |phase: &str| passed["phases_us"][phase].as_u64();
        assert!(part("application").is_some_and(|took| took > 45_000), "{passed}");
        assert!(part("connect").is_some() && part("transfer").is_some(), "{passed}");
        // Where no program may be put at a function's end, the wait is the application's.
        let sees_accepts = needs::in_machine();
        assert_eq!(part("accept_queue").is_some(), sees_accepts, "{passed}");
        let parts = ["connect", "accept_queue", "application", "transfer"];
        let all: u64 = parts.into_iter().filter_map(part).sum();
        assert!(all <= passed["took_us"].as_u64().unwrap_or(0), "the parts are of the whole: {passed}");

        self.allow("end");
        let gone = |result: &Value| result["verdict"] == "failure" && result["triggered"] == true;
        self.result("goes", "readiness", "is asked again once its server has gone", |result| {
            gone(result) && result["at"].as_str() > passed["at"].as_str()
        });
        assert!(is_ready(&self.node.pod("kinds")), "what was triggered fails nobody");
    }

    pub fn ipv6_is_timed_too(&self) {
        self.node.wait_pod("six", "is ready", is_ready);
        let passed = self.passes("six", "readiness");
        let phases = &passed["phases_us"];
        assert!(phases["connect"].is_u64() && phases["application"].is_u64(), "{passed}");
        assert_eq!(phases["accept_queue"].is_u64(), needs::in_machine(), "{passed}");
    }

    /// Once the pod of every kind is ready.
    pub fn metrics_have_upstreams_names(&self) {
        let pod = self.node.pod("kinds");
        let uid = pod["metadata"]["uid"].as_str().expect("it has one");
        let (probes, own) = (page("/metrics/probes"), metrics());
        let of = |result| {
            let whose = [("pod", "kinds"), ("namespace", "default"), ("pod_uid", uid), ("container", "tcp")];
            [&[("probe_type", "Readiness"), ("result", result)], &whose[..]].concat()
        };
        assert!(value(&probes, "prober_probe_total", &of("successful")).is_some(), "{probes}");
        assert_eq!(value(&probes, "prober_probe_total", &of("failed")), Some(1.0), "{probes}");
        let startup = [("probe_type", "Startup"), ("container", "http"), ("pod", "kinds")];
        assert!(value(&probes, "prober_probe_duration_seconds_count", &startup).is_some(), "{probes}");
        let shortest = [&startup[..], &[("le", "0.00005")]].concat();
        assert_eq!(value(&probes, "prober_probe_duration_seconds_bucket", &shortest), Some(0.0), "{probes}");
        for phase in ["connect", "application", "transfer"] {
            let shortest = [("probe_type", "Readiness"), ("phase", phase), ("le", "0.00005")];
            assert!(value(&own, "podbox_probe_phase_seconds_bucket", &shortest).is_some(), "{phase}: {own}");
        }
    }

    pub fn liveness_and_startup_end_runs(&self) {
        let restarts = |pod: &Value, name: &str| status(pod, name)["restartCount"].as_u64().unwrap_or(0);
        let pod = self.node.wait_pod("ends", "has run again", |pod| {
            restarts(pod, "live") >= 1 && restarts(pod, "start") >= 1
        });
        // They had their probes' own grace to end, of a second, and not the pod's.
        for name in ["live", "start"] {
            let ended = &status(&pod, name)["lastState"]["terminated"];
            assert_eq!((&ended["exitCode"], &ended["reason"]), (&json!(137), &json!("Error")), "{pod:#}");
        }
        let log = || fs::read_to_string(self.shared().join("live")).unwrap_or_default();
        until("it is asked before it is killed", || log().contains("term\n"));
        assert!(!self.shared().join("asked-start").exists(), "the others wait for the startup probe");
        for (name, probe) in [("live", "liveness"), ("start", "startup")] {
            let restarts = format!("Container {name} failed {probe} probe, will be restarted");
            self.told("ends", name, |message| message == restarts);
        }
        let refused = "Liveness probe failed: dial tcp IP:81: connect: connection refused";
        self.told("ends", "live", |message| message == refused);
    }

    pub fn annotations_say_how_often_and_how(&self) {
        let by_period = |container: &str, probe: &str| {
            let all = self.results(container, probe);
            // One that says nothing is run again.
            let counts = |result: &Value| result["triggered"].is_null() && result["verdict"] != "unknown";
            all.into_iter().filter(counts).collect::<Vec<_>>()
        };
        until("half a second is a period", || by_period("often", "liveness").len() >= 3);
        assert_eq!(self.row("often", "liveness")["period_ms"], 500);

        // Until it is ready it is asked often, and only the first failure counts.
        until("it is asked until it is ready", || {
            self.results("soon", "readiness").len() >= 3 && !by_period("soon", "readiness").is_empty()
        });
        assert_eq!(by_period("soon", "readiness").len(), 1);
        self.result("ended", "readiness", "fails at first", |result| result["verdict"] == "failure");
        self.allow("soon");
        self.allow("ended");
        self.node.wait_pod("periods", "is ready", is_ready);
        self.result("state", "readiness", "passes though nobody connected", |result| {
            result["verdict"] == "success" && result["phases_us"].is_null()
        });
        let asked = self.results("soon", "readiness");
        assert_eq!(asked.last().map(|last| &last["verdict"]), Some(&json!("success")), "{asked:#?}");
        let beside = || self.results("often", "liveness").last().cloned().unwrap_or_default()["at"].clone();
        // Three further periods of the other one.
        for _ in 0..3 {
            let before = beside();
            until("the other one is asked again", || beside() != before);
        }
        assert_eq!(self.results("soon", "readiness"), asked, "then no more than its period says");
    }

    /// By its period it would have been asked once.
    pub fn the_end_of_a_process_brings_success_forward(&self) {
        let passed = self.passes("ended", "readiness");
        assert_eq!(passed["triggered"], true, "{passed}");
    }
}

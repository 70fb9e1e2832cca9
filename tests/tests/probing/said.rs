//! The fields of probes that no kernel has a part in.

use podbox_tests::needs;
use podbox_tests::pods::{PODS, container as status, is_ready};
use serde_json::Value;

use super::manifests::{leaving, particular};
use super::{Probed, text, until};

/// A moment of RFC 3339, in milliseconds.
fn moment(of: &Value) -> i64 {
    let text = of.as_str().unwrap_or_else(|| panic!("{of} is no time"));
    text.parse::<jiff::Timestamp>().unwrap_or_else(|why| panic!("{text}: {why}")).as_millisecond()
}

#[test]
fn delays_and_thresholds_hold_whatever_triggers_say_and_only_readiness_is_asked_of_a_pod_that_ends() {
    let test =
        "delays_and_thresholds_hold_whatever_triggers_say_and_only_readiness_is_asked_of_a_pod_that_ends";
    let Some(()) = needs::host(test) else { return };
    let Some(probed) = Probed::start(test) else { return };
    probed.with([particular()], || {
        probed.delays_and_thresholds_hold();
        probed.a_server_may_be_another_containers();
    });
    probed.with([leaving()], || probed.only_readiness_is_asked_of_a_pod_that_ends());
}

impl Probed {
    fn delays_and_thresholds_hold(&self) {
        let passed = self.passes("delayed", "readiness");
        let first = self.results("delayed", "readiness").swap_remove(0);
        let pod = self.node.pod("particular");
        let started = moment(&status(&pod, "delayed")["state"]["running"]["startedAt"]);
        // That is told in whole seconds.
        assert!(moment(&first["at"]) >= started + 4000, "not before its delay is over: {first}");
        assert_eq!(first, passed, "it listens for long by then");

        let pod = self
            .node
            .wait_pod("particular", "has one that is ready", |pod| status(pod, "thrice")["ready"] == true);
        let passed = self.results("thrice", "readiness");
        let passed = passed.iter().filter(|result| result["verdict"] == "success").count();
        assert!(passed >= 3, "three in a row, and {passed} there were");
        assert_eq!(status(&pod, "often")["restartCount"], 0);
        self.passes("often", "liveness");
        self.allow("fail");
        self.node.wait_pod("particular", "has one that was ended", |pod| {
            status(pod, "often")["restartCount"].as_u64().is_some_and(|count| count >= 1)
        });
        let failed = self.results("often", "liveness");
        let first_run = |result: &&Value| result["verdict"] == "failure" && result["attempt"] == 0;
        let failed = failed.iter().filter(first_run);
        assert_eq!(failed.count(), 4, "its threshold");
    }

    fn a_server_may_be_another_containers(&self) {
        self.passes("beside", "liveness");
        self.result("beside", "readiness", "fails at first", |result| result["verdict"] == "failure");
        self.allow("go");
        let passed = self.passes("beside", "readiness");
        assert_eq!(passed["triggered"], true, "{passed}");
    }

    fn only_readiness_is_asked_of_a_pod_that_ends(&self) {
        self.node.wait_pod("leaving", "is ready", is_ready);
        self.passes("c", "liveness");
        until("it knows what to do", || self.shared().join("up").exists());
        self.node.kubectl(&["delete", "pod", "leaving", "--wait=false"]);
        let pod = self.node.wait_pod("leaving", "is not ready any more", |pod| !is_ready(pod));
        assert!(pod["metadata"]["deletionTimestamp"].is_string());
        let failures = |probe| {
            let all = self.results("c", probe);
            all.iter().filter(|result| result["verdict"] == "failure").count()
        };
        until("readiness is asked on", || failures("readiness") >= 3);
        assert_eq!(failures("liveness"), 0);
        let told = self.events("leaving");
        assert!(!told.iter().any(|(_, event)| text(event).contains("Liveness probe failed")), "{told:#?}");
        assert_eq!(self.node.get(&format!("{PODS}/leaving"))["status"]["phase"], "Running");
        self.allow("leave");
        until("it is over", || self.node.get(PODS)["items"].as_array().is_some_and(Vec::is_empty));
    }
}

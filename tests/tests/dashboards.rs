//! Rules against Debian's promtool: they are valid, and every alert is told its story.

use std::process::Command;

use podbox_tests::{needs, workspace};

#[test]
fn rules_are_valid_and_every_alert_comes_when_it_should() {
    let test = "rules_are_valid_and_every_alert_comes_when_it_should";
    let (Some(()), Some(())) = (needs::host(test), needs::program(test, "promtool")) else { return };
    for args in [["test", "rules", "rules-test.yml"], ["check", "config", "prometheus.yml"]] {
        let mut promtool = Command::new("promtool");
        let output =
            promtool.args(args).current_dir(workspace().join("dashboards")).output().expect("it starts");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "promtool {args:?}:\n{out}{err}");
    }
}

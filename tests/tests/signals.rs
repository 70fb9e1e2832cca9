//! How `podbox run` ends when it is asked to.

use nix::sys::signal::Signal;
use podbox_tests::host::Host;
use podbox_tests::manifest::{container, pod};

/// Tells signals and ends by TERM.
fn polite() -> String {
    container("polite", "args: [signals, --code, '7']")
}

/// Tells signals and goes on.
fn stubborn() -> String {
    container("stubborn", "args: [signals, --ignore]")
}

#[test]
fn ctrl_c_asks_containers_to_end_kills_who_does_not_and_leaves_nothing() {
    let test = "ctrl_c_asks_containers_to_end_kills_who_does_not_and_leaves_nothing";
    let Some(host) = Host::new(test) else { return };
    let mut run = host.run(&pod("a", &format!("containers: [{}, {}]", polite(), stubborn())));
    run.wait_for("both wait for signals", || {
        let waits = |name| host.lines("a", name, 0).iter().any(|line| line == "waiting for signals");
        (waits("polite") && waits("stubborn")).then_some(())
    });
    run.signal(Signal::SIGINT);
    let ended = run.end().expect(130);
    host.assert_clean();
    let told = ["waiting for signals", "got SIGTERM"];
    assert_eq!(host.lines("a", "polite", 0), told);
    assert_eq!(host.lines("a", "stubborn", 0), told);
    let row = |name: &str| {
        let (_, summary) = ended.out.split_once("What the kernel saw").expect("it was said");
        summary.lines().find(|line| line.contains(name)).unwrap_or_default().to_owned()
    };
    assert!(row("stubborn").contains("1 SIGKILL"), "{}", ended.out);
    assert!(!row("polite").contains("SIGKILL"), "{}", ended.out);
}

#[test]
fn sigterm_is_like_ctrl_c_and_the_second_request_kills_at_once() {
    let Some(host) = Host::new("sigterm_is_like_ctrl_c_and_the_second_request_kills_at_once") else { return };
    let patient = pod("a", &format!("containers: [{}]", stubborn())).replace("Seconds: 2", "Seconds: 3600");
    let mut run = host.run(&patient);
    run.wait_for("it waits for signals", || (!host.lines("a", "stubborn", 0).is_empty()).then_some(()));
    run.signal(Signal::SIGTERM);
    run.wait_for("it was asked to end", || {
        host.lines("a", "stubborn", 0).contains(&"got SIGTERM".to_owned()).then_some(())
    });
    // Nobody would wait for an hour.
    run.signal(Signal::SIGTERM);
    run.end().expect(130).says("1 SIGKILL");
    host.assert_clean();
}

#[test]
fn a_request_to_end_while_pods_are_made_leaves_nothing() {
    let Some(host) = Host::new("a_request_to_end_while_pods_are_made_leaves_nothing") else { return };
    let pods: String =
        (0..4).map(|n| pod(&format!("p{n}"), &format!("containers: [{}]", polite()))).collect();
    // At its first words, and once the first of the pods runs.
    for word in ["p0 polite: ", "Running"] {
        let mut run = host.run(&pods);
        run.wait_said(word);
        run.signal(Signal::SIGINT);
        run.end().expect(130);
        host.assert_clean();
    }
}

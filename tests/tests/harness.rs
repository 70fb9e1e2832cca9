//! The harness itself: its conditions must be able to fail, and its list must see what it is for.

use std::time::Duration;

use podbox_tests::remains::{Remains, assert_none};
use podbox_tests::wait::{wait_for, wait_until};

#[test]
fn a_process_is_listed_as_long_as_it_is_there() {
    // Others may run podbox on this host at the same time.
    let mark = format!("podbox-harness-{}", std::process::id());
    let before = Remains::of(&mark);
    let mut sleeper = std::process::Command::new(podbox_tests::program("testjobs"))
        .args(["sleep", "600000"])
        .env("MARK", &mark)
        .spawn()
        .unwrap();
    let line = format!("process testjobs {}", sleeper.id());
    wait_until("the process is listed", Duration::from_secs(5), || {
        Remains::of(&mark).since(&before).contains(&line)
    });
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    assert_none(&before);
}

#[test]
fn waiting_returns_what_it_waited_for() {
    let mut tries = 0;
    let found = wait_for("the third try", Duration::from_secs(5), || {
        tries += 1;
        (tries == 3).then_some("found")
    });
    assert_eq!(found, "found");
}

#[test]
#[should_panic(expected = "in vain for: pigs to fly")]
fn waiting_in_vain_says_for_what() {
    wait_until("pigs to fly", Duration::from_millis(20), || false);
}

//! The examples, as a newcomer runs them.

use nix::sys::signal::Signal;
use podbox_tests::host::Host;
use podbox_tests::{needs, workspace};

#[test]
fn the_hello_example_ends_by_itself_says_what_the_kernel_saw_and_leaves_nothing() {
    let test = "the_hello_example_ends_by_itself_says_what_the_kernel_saw_and_leaves_nothing";
    let Some(host) = Host::new(test) else { return };
    let run = host.run_file(&workspace().join("examples/hello.yaml"));
    let ended = run.end().expect(0).says("What the kernel saw").says("No record was lost.");
    host.assert_clean();

    assert_eq!(host.lines("web", "reader", 0), vec!["hello from web"; 10]);
    assert_eq!(host.lines("web", "fetch", 0), ["hello from a ConfigMap"]);
    assert_eq!(host.lines("careless", "parent", 0), ["left 5 zombies"]);
    let (_, summary) = ended.out.split_once("What the kernel saw").expect("it was said");
    let row = |name: &str| {
        let line = summary.lines().find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("no {name:?} in\n{}", ended.out)).to_owned()
    };
    assert!(row("default/careless parent").contains("5 over 1 s"), "{}", ended.out);

    if !needs::has_controller("memory") {
        // Without a limit nobody is killed for memory.
        return assert_eq!(host.lines("hungry", "eater", 0).last().unwrap(), "child ended: exit status: 0");
    }
    assert!(row("default/hungry eater").contains("1 chosen, 1 in the group"), "{}", ended.out);
    assert!(ended.out.contains("default/hungry eater: Completed, restarts: 1"), "{}", ended.out);
    let first = host.lines("hungry", "eater", 0);
    assert!(first.iter().any(|line| line == "ate 32 MiB"), "{first:?}");
    assert!(!first.iter().any(|line| line.starts_with("child ended")), "{first:?}");
    assert_eq!(host.lines("hungry", "eater", 1), ["eaten before, done"]);
}

#[test]
fn the_forever_example_goes_on_until_ctrl_c_and_leaves_nothing() {
    let Some(host) = Host::new("the_forever_example_goes_on_until_ctrl_c_and_leaves_nothing") else { return };
    let mut run = host.run_file(&workspace().join("examples/forever.yaml"));
    run.wait_for("three answers", || (host.lines("forever", "client", 0).len() >= 3).then_some(()));
    run.signal(Signal::SIGINT);
    run.end().expect(130);
    host.assert_clean();
    assert_eq!(host.lines("forever", "web", 0)[0], "listening on 8080");
    assert!(host.log("forever", "web", 0).iter().all(|entry| entry.stream == "stdout" && entry.tag == "F"));
}

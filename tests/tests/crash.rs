//! podbox or its keeper killed without warning: the next `podbox run` finds and takes away what was left.

use std::collections::BTreeSet;
use std::fs;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podbox_tests::host::Host;
use podbox_tests::manifest::{container, job, pod, script};
use podbox_tests::rounds::{self, Random};

/// Pods that would go on for ever.
fn lasting(pods: u32) -> String {
    let containers = [
        container("ignores", "args: [signals, --ignore]"),
        script("forks", "while :; do /bin/true; done", ""),
        container("eats", "args: [eat, '8', --child, --hold, '3600000']"),
    ];
    let spec = format!(
        "initContainers: [{}], containers: [{}], volumes: [{{name: v, emptyDir: {{medium: Memory}}}}]",
        job("first", "exit 0"),
        containers.join(", ")
    );
    (0..pods).map(|n| pod(&format!("p{n}"), &spec)).collect()
}

fn short(pods: u32) -> String {
    let spec = format!("restartPolicy: Never, containers: [{}]", job("c", "exit 0"));
    (0..pods).map(|n| pod(&format!("p{n}"), &spec)).collect()
}

#[test]
fn a_killed_podbox_at_seeded_moments_leaves_nothing_after_the_next_run() {
    let test = "a_killed_podbox_at_seeded_moments_leaves_nothing_after_the_next_run";
    let Some(host) = Host::new(test) else { return };
    for seed in rounds::seeds(6) {
        println!("seed {seed}");
        let mut random = Random::new(seed);
        let mut run = host.run(&lasting(2));
        // Half of the moments lie in the start of podbox, half in that of its pods.
        if random.below(2) == 1 {
            run.wait_said("default/p");
        }
        sleep(Duration::from_micros(random.below(400_000)));
        run.signal(Signal::SIGKILL);
        let killed = run.end();
        assert!(!killed.status.success(), "it ended before");
        host.run(&short(2)).end().expect(0);
        host.assert_clean();
    }
}

#[test]
fn containers_go_on_without_podbox_until_the_next_run_and_their_addresses_come_back() {
    let test = "containers_go_on_without_podbox_until_the_next_run_and_their_addresses_come_back";
    let Some(host) = Host::new(test) else { return };
    // Five addresses for pods: two rounds of four only fit if the first one's are given back.
    let start = |manifest: &str| {
        let file = host.file("manifest.yaml", manifest);
        let mut command = host.podbox();
        command.args(["run", "--pod-cidr", "10.85.0.0/29"]).arg(file);
        podbox_tests::run::Run::start(command, &host.dir)
    };
    let mut run = start(&lasting(4));
    let lines = |name: &str| host.lines(name, "ignores", 0).len();
    run.wait_for("all four run", || (0..4).all(|n| lines(&format!("p{n}")) > 0).then_some(()));
    run.signal(Signal::SIGKILL);
    run.end();
    let slice = host.cgroup.join("podbox.slice/besteffort/cgroup.events");
    assert!(fs::read_to_string(slice).unwrap().contains("populated 1"), "containers ended with podbox");

    let mut run = start(&lasting(4));
    let said = run.reader();
    let addresses = run.wait_for("four have an address", || {
        let said = said();
        let words = said.lines().filter(|line| line.contains("Running, ")).map(|line| line.split([' ', ',']));
        let found: BTreeSet<String> = words
            .filter_map(|mut words| words.find(|word| word.starts_with("10.85.0.")))
            .map(str::to_owned)
            .collect();
        (found.len() == 4).then_some(found)
    });
    assert!(!addresses.contains("10.85.0.1"), "the gateway's own: {addresses:?}");
    run.signal(Signal::SIGINT);
    run.end().expect(130);
    host.assert_clean();
}

#[test]
fn a_killed_keeper_is_reported_and_its_containers_are_ended() {
    let Some(host) = Host::new("a_killed_keeper_is_reported_and_its_containers_are_ended") else { return };
    let mut run = host.run(&lasting(1));
    run.wait_for("it runs", || (!host.lines("p0", "ignores", 0).is_empty()).then_some(()));
    let procs = fs::read_to_string(host.cgroup.join("podbox.slice/keeper/cgroup.procs")).unwrap();
    let keeper: i32 = procs.trim().parse().expect("one keeper");
    kill(Pid::from_raw(keeper), Signal::SIGKILL).unwrap();
    let ended = run.end().expect(1).complains("the keeper is gone");
    println!("{}", ended.err);
    assert!(ended.err.lines().count() < 10, "{}", ended.err);
    host.assert_clean();
}

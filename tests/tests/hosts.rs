//! Hosts that are not as podbox would like them.

use std::fs;
use std::process::Command;

use nix::mount::{MsFlags, mount};
use podbox_tests::host::Host;
use podbox_tests::manifest::{container, job, pod};
use podbox_tests::needs;
use podbox_tests::run::Run;

fn short() -> String {
    pod("a", &format!("restartPolicy: Never, containers: [{}]", job("c", "exit 0")))
}

fn ip(args: &str) {
    assert!(
        Command::new("ip").args(args.split(' ')).status().expect("iproute2 is installed").success(),
        "ip {args}"
    );
}

#[test]
fn a_second_podbox_is_refused_by_name_and_the_first_goes_on() {
    let Some(host) = Host::new("a_second_podbox_is_refused_by_name_and_the_first_goes_on") else { return };
    let mut first = host.run(&pod("a", &format!("containers: [{}]", container("c", "args: [signals]"))));
    first.wait_for("it waits for signals", || (!host.lines("a", "c", 0).is_empty()).then_some(()));
    let second =
        host.run(&short()).end().expect(1).complains("podbox run").complains(&first.pid().to_string());
    assert_eq!(second.err.trim_end().lines().count(), 1, "{}", second.err);
    first.signal(nix::sys::signal::Signal::SIGINT);
    first.end().expect(130);
    assert_eq!(host.lines("a", "c", 0), ["waiting for signals", "got SIGTERM"]);
    host.assert_clean();
}

#[test]
fn a_range_without_an_address_left_is_told_and_nothing_stays() {
    let Some(host) = Host::new("a_range_without_an_address_left_is_told_and_nothing_stays") else { return };
    // One address beside the gateway's, and two pods that hold one.
    let pods: String =
        ["a", "b"].map(|name| pod(name, &format!("containers: [{}]", job("c", "sleep 3600000")))).concat();
    let file = host.file("manifest.yaml", pods);
    let mut command = host.podbox();
    command.args(["run", "--pod-cidr", "10.85.0.0/30"]).arg(file);
    let mut run = Run::start(command, &host.dir);
    run.wait_said("Running, 10.85.0.2");
    run.wait_complained("10.85.0.0/30");
    run.signal(nix::sys::signal::Signal::SIGINT);
    run.end().expect(130).complains("10.85.0.0/30");
    host.assert_clean();
}

#[test]
fn without_nft_there_is_one_error_that_names_it_and_nothing_stays() {
    let Some(host) = Host::new("without_nft_there_is_one_error_that_names_it_and_nothing_stays") else {
        return;
    };
    let file = host.file("manifest.yaml", short());
    let mut command = host.podbox();
    command.env("PATH", "/nowhere").arg("run").arg(file);
    let ended = Run::start(command, &host.dir).end().expect(1).complains("apt-get install nftables");
    assert_eq!(ended.err.trim_end().lines().count(), 1, "{}", ended.err);
    host.assert_clean();
}

#[test]
fn a_link_or_a_route_in_the_way_is_named_and_left_alone() {
    let Some(host) = Host::new("a_link_or_a_route_in_the_way_is_named_and_left_alone") else { return };
    ip("link add podbox0 type veth peer name its-peer");
    let ended = host.run(&short()).end().expect(1).complains("podbox0");
    assert_eq!(ended.err.trim_end().lines().count(), 1, "{}", ended.err);
    ip("link show podbox0");
    ip("link del podbox0");
    host.assert_clean();

    ip("link add theirs type veth peer name its-peer");
    ip("addr add 10.85.3.1/24 dev theirs");
    ip("link set theirs up");
    host.run(&short()).end().expect(1).complains("theirs").complains("10.85.3.1/24");
    ip("link del theirs");
    host.assert_clean();
}

#[test]
fn without_type_information_of_the_kernel_pods_run_unwatched() {
    let test = "without_type_information_of_the_kernel_pods_run_unwatched";
    let btf = "/sys/kernel/btf/vmlinux";
    let Some(()) = needs::file(test, btf) else { return };
    let Some(host) = Host::new(test) else { return };
    let empty = host.file("empty", "");
    mount(Some(&empty), btf, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    let ended = host.run(&short()).end().expect(0).says("The kernel was not watched");
    assert!(
        ended.err.contains("kernel events stay unseen") && ended.err.contains("type information"),
        "{}",
        ended.err
    );
    nix::mount::umount(btf).unwrap();
    host.assert_clean();
}

#[test]
fn a_disk_that_is_full_while_an_image_is_unpacked_is_told_and_leaves_nothing() {
    let test = "a_disk_that_is_full_while_an_image_is_unpacked_is_told_and_leaves_nothing";
    let Some(host) = Host::without_image(test) else { return };
    let state = host.dir.join("state");
    fs::create_dir(&state).unwrap();
    mount(Some("tmpfs"), &state, Some("tmpfs"), MsFlags::empty(), Some("size=512k")).unwrap();
    let mut command = host.podbox();
    command.args(["image", "load"]).arg(podbox_tests::image());
    let ended = Run::start(command, &host.dir).end().expect(1).complains("no space left on the disk");
    assert_eq!(ended.err.trim_end().lines().count(), 1, "{}", ended.err);
    let used = Command::new("du").args(["-sk"]).arg(&state).output().expect("du is installed").stdout;
    let used = String::from_utf8_lossy(&used);
    let used_kib: u64 =
        used.split_whitespace().next().and_then(|word| word.parse().ok()).expect("du prints a number");
    assert!(used_kib < 64, "{used_kib} KiB of a half unpacked image stay");
    nix::mount::umount(&state).unwrap();
    host.assert_clean();
}

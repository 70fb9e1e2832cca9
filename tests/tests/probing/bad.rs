//! Servers and commands that do not behave: each fails in time, in upstream's words, and nothing of it stays.

use std::collections::BTreeSet;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use podbox_tests::host::entries;
use podbox_tests::needs;
use podbox_tests::pods::{container as status, is_ready};
use podbox_tests::run::limit;
use podbox_tests::wait::wait_until;

use super::manifests::{Bad, table};
use super::{Probed, text, until};

impl Probed {
    pub fn bad_servers_are_told_of_in_upstreams_words(&self) {
        let ip = self.address("unruly");
        for Bad { container, probe, words, .. } in table() {
            if words.is_empty() {
                self.passes(container, probe);
                continue;
            }
            let words = words.replace("IP", &ip);
            // The kernel may have something to add.
            let more = format!("{words}; ");
            self.result(container, probe, &format!("fails with {words:?}"), |result| {
                result["verdict"] != "success" && (text(result) == words || text(result).starts_with(&more))
            });
        }
        for probe in ["readiness", "liveness"] {
            let last = self.results("slow", probe).pop().unwrap_or_default();
            // A second is all that they have; the prober may be late to see that it is over.
            let took = last["took_us"].as_u64();
            assert!(took.is_some_and(|took| (1_000_000..30_000_000).contains(&took)), "{last}");
        }
    }

    pub fn commands_leave_nothing(&self) {
        let times = |container: &str, verdict: &str| {
            let all = self.results(container, "readiness");
            all.iter().filter(|result| result["verdict"] == verdict).count()
        };
        until("some commands were run", || times("forks", "success") >= 3 && times("stuck", "failure") >= 2);
        let late = "Readiness probe failed: command timed out: \"/bin/busybox sh -c trap '' TERM INT HUP; ";
        self.told("commands", "stuck", |message| {
            message.starts_with(late) && message.contains(" timed out after 1s")
        });
        for name in ["forks", "stuck"] {
            let group = self.cgroup("commands", name);
            let leaves = || {
                let all = entries(&group).into_iter().filter(|path| path.is_dir()).collect::<Vec<_>>();
                // One that does not end at once is waited for beside the next.
                assert!(all.len() <= 2, "never is there more than of two probes: {all:?}");
                all.len()
            };
            wait_until(&format!("nothing of {name}'s probe is left"), limit(), || leaves() == 0);
            // Whatever a probe has left would be a child of the first process, alive or not.
            let first = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
            let first: u32 =
                first.trim().parse().unwrap_or_else(|_| panic!("one process in {name}: {first:?}"));
            assert_eq!(children(first), BTreeSet::new(), "{name}");
        }
    }

    pub fn a_container_that_does_not_run_fails_in_time_and_the_queue_is_told_of(&self) {
        self.node.wait_pod("frozen", "is ready", is_ready);
        let freeze = self.cgroup("frozen", "web").join("cgroup.freeze");
        fs::write(&freeze, "1").expect("a cgroup can be frozen");
        let pod = self.node.wait_pod("frozen", "is not ready any more", |pod| !is_ready(pod));
        assert_eq!(status(&pod, "web")["restartCount"], 0);
        let ip = pod["status"]["podIP"].as_str().expect("it has one");
        // A server that does not run accepts nobody; who sees that, says it.
        let late = format!(
            "Get \"http://{ip}:8080/\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        );
        self.result("web", "readiness", "fails in time", |result| {
            let queued = text(result).ends_with("s of it in the accept queue") || !needs::in_machine();
            text(result).starts_with(&late) && queued
        });
        let stuck = "command timed out: \"/bin/busybox sh -c true\" timed out after 2s";
        self.result("web", "liveness", "fails in time", |result| text(result).starts_with(stuck));

        let address: SocketAddr = format!("{ip}:8080").parse().expect("an address");
        let mut waiting = Vec::new();
        // One more than there is room for finds none; of the dropped one, the client hears nothing. Once may be by chance.
        let mut dropped = 0;
        while dropped < 2 {
            match TcpStream::connect_timeout(&address, Duration::from_secs(2)) {
                Ok(stream) => waiting.push(stream),
                Err(_) => dropped += 1,
            }
            assert!(waiting.len() < 100_000, "a queue is never full");
        }
        let full = format!(
            "Get \"http://{ip}:8080/\": dial tcp {ip}:8080: i/o timeout (Client.Timeout exceeded while awaiting headers); accept queue full ("
        );
        self.result("web", "readiness", "says that the queue is full", |result| {
            text(result).starts_with(&full)
        });
        drop(waiting);
        fs::write(&freeze, "0").expect("a cgroup can be thawed");
        self.node.wait_pod("frozen", "is ready again", is_ready);
    }
}

/// The processes whose parent this is, dead ones too.
fn children(of: u32) -> BTreeSet<String> {
    let parent = |path: &Path| {
        let line = fs::read_to_string(path.join("stat")).ok()?;
        let (_, rest) = line.rsplit_once(')')?;
        rest.split_whitespace().nth(1)?.parse::<u32>().ok()
    };
    let all = entries(Path::new("/proc")).into_iter();
    let own = all.filter(|path| parent(path) == Some(of));
    own.map(|path| fs::read_to_string(path.join("stat")).unwrap_or_default()).collect()
}

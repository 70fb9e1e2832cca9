//! Who sent the signal that ended a process: each case has exit code 137 or the like for whoever guesses.

use super::cgroup::{Container, Tree};
use super::watch::{Watch, host_only, run};
use podbox::api::attribution::{Attribution, Witnessed};
use podbox::api::event::Exit;
use podbox::api::sender::{Origin, Sender};
use std::process::{Child, Command};

/// The process that ends, and the record of its end, which must be there as soon as it can be waited for.
fn end(watch: &Watch, container: &Container, mut child: Child) -> Witnessed {
    child.wait().unwrap();
    watch.tracer.end(container.id, child.id()).expect("an end that was waited for is on record")
}

fn sender(watch: &Watch, container: &Container, child: Child) -> Sender {
    end(watch, container, child).sender.expect("a signal ended it")
}

/// A process of the host's that sends a signal.
fn kill(signal: &str, child: &Child) {
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

#[test]
fn a_killer_is_named_with_its_place() {
    run("a_killer_is_named_with_its_place", async {
        let tree = Tree::new()?;
        let (app, other) = (tree.container("app"), tree.container("other"));
        let watch = Watch::start(&[&app, &other])?;
        let sleeper = || app.command("sleep", &["1000"]).spawn().unwrap();

        let victim = sleeper();
        kill("-KILL", &victim);
        let host = sender(&watch, &app, victim);
        assert_eq!((host.origin, host.command.as_deref(), host.signal), (Origin::Host, Some("kill"), 9));

        let victim = sleeper();
        let mut killer = other.shell(&format!("kill -TERM {}", victim.id()));
        let beside = sender(&watch, &app, victim);
        assert_eq!((beside.origin, beside.pid), (Origin::OtherContainer, Some(killer.id())));
        assert_eq!((beside.signal, beside.container.as_deref()), (15, Some("test/pod/other#0")));
        killer.wait().unwrap();

        let victim = sleeper();
        let mut killer = app.shell(&format!("kill -KILL {}", victim.id()));
        assert_eq!(sender(&watch, &app, victim).origin, Origin::Container);
        killer.wait().unwrap();

        let own = sender(&watch, &app, app.shell("kill -ABRT $$"));
        assert_eq!((own.origin, own.signal), (Origin::Itself, 6));

        // This process is podbox, as far as the kernel's side was told.
        let victim = sleeper();
        app.set("cgroup.kill", "1");
        let podbox = sender(&watch, &app, victim);
        assert_eq!((podbox.origin, podbox.pid), (Origin::Podbox, Some(std::process::id())));

        let stats = watch.totals(&app);
        let counted: Vec<_> = stats.senders().collect();
        let each = [Origin::Itself, Origin::Container, Origin::OtherContainer, Origin::Host, Origin::Podbox];
        assert_eq!(counted, each.map(|origin| (origin, 1)));
        Ok(())
    });
}

#[test]
fn a_fault_is_the_kernels_and_an_exit_is_nobodys() {
    run("a_fault_is_the_kernels_and_an_exit_is_nobodys", async {
        let tree = Tree::new()?;
        let app = tree.container("app");
        let mut watch = Watch::start(&[&app])?;
        // Reads a string that is said to be at this address.
        let reads = app.command("perl", &["-e", "unpack 'p', pack 'Q', 16"]).spawn().unwrap();
        let pid = reads.id();
        let fault = sender(&watch, &app, reads);
        assert_eq!((fault.origin, fault.signal, fault.code, fault.detail), (Origin::Kernel, 11, 1, Some(16)));
        assert_eq!(fault.to_string(), "by the kernel: no memory is mapped at 0x10");
        let (_, told) = watch.end(pid).await;
        let Exit { sender: Some(told), .. } = told else { panic!("{told:?}") };
        assert_eq!((told.origin, told.detail), (fault.origin, fault.detail));

        // What a signal does not end, it did not end.
        let shell = app.shell("trap 'exit 5' TERM; kill -TERM $$; exit 6");
        let ended = end(&watch, &app, shell);
        assert_eq!((ended.status, ended.sender), (5 << 8, None));
        // And what looks like one was none.
        let shell = app.shell("exit 137");
        let ended = end(&watch, &app, shell);
        assert_eq!((ended.status, ended.sender), (137 << 8, None));
        Ok(())
    });
}

#[test]
fn a_flood_inside_crowds_out_no_containers_own_end() {
    run("a_flood_inside_crowds_out_no_containers_own_end", async {
        host_only("a_flood_inside_crowds_out_no_containers_own_end")?;
        let tree = Tree::new()?;
        let (app, flood) = (tree.container("app"), tree.container("flood"));
        let watch = Watch::start(&[&app, &flood])?;
        let mut victim = app.command("sleep", &["1000"]).spawn().unwrap();
        kill("-KILL", &victim);
        victim.wait().unwrap();
        // More than there are places for first processes' ends.
        flood.shell("i=0; while [ $i -lt 5000 ]; do (exit 1); i=$((i+1)); done").wait().unwrap();
        let kept = watch.tracer.end(app.id, victim.id()).and_then(|end| end.sender);
        assert_eq!(kept.map(|sender| sender.origin), Some(Origin::Host));
        Ok(())
    });
}

//! Exits: codes, signals, counts, and what a full ring does to them.

use super::cgroup::{LEVEL, Tree, command_in};
use super::watch::{Watch, load, load_unfollowed, lost, run, sent, totals};
use podbox::api::attribution::Attribution;
use podbox::api::event::{Detail, Exit};
use podbox::api::sender::Origin;
use podbox::api::trigger::Ends;
use podbox::trace::{Kind, Loss, TraceConfig};

fn code(code: u8) -> Exit {
    Exit { code: Some(code), signal: None, core_dumped: false, sender: None }
}

fn signal(signal: u8) -> Exit {
    Exit { code: None, signal: Some(signal), core_dumped: false, sender: None }
}

#[test]
fn an_exit_is_told_with_code_or_signal_and_its_container() {
    run("an_exit_is_told_with_code_or_signal_and_its_container", async {
        let tree = Tree::new()?;
        let container = tree.container("app");
        let mut watch = Watch::start(&[&container])?;
        for (script, expected) in [
            ("exit 0", code(0)),
            ("exit 7", code(7)),
            ("exit 255", code(255)),
            ("kill -KILL $$", signal(9)),
            ("kill -TERM $$", signal(15)),
        ] {
            let mut child = container.shell(script);
            child.wait().unwrap();
            let (event, told) = watch.end(child.id()).await;
            let sender = told.sender.as_ref().map(|sender| sender.origin);
            assert_eq!(sender, told.signal.map(|_| Origin::Itself), "{script}");
            assert_eq!(Exit { sender: None, ..told }, expected, "{script}");
            assert_eq!(event.subject.unwrap().container, "app");
            assert_eq!(event.command, "sh");
            assert_eq!(event.cgroup, container.id);
            let age = jiff::Timestamp::now().duration_since(event.time);
            assert!((0..60).contains(&age.as_secs()), "told as {age:?} ago");
        }
        let stats = watch.totals(&container).stats;
        assert_eq!((stats.exits_success, stats.exits_error), (1, 2));
        assert_eq!((stats.exits_signal[9], stats.exits_signal[15]), (1, 1));
        Ok(())
    });
}

#[test]
fn ordinary_ends_are_counted_and_told_one_by_one_only_to_who_follows_them() {
    run("ordinary_ends_are_counted_and_told_one_by_one_only_to_who_follows_them", async {
        let tree = Tree::new()?;
        let [container, other] = ["app", "other"].map(|name| tree.container(name));
        let tracer = load_unfollowed(TraceConfig::new(LEVEL))?;
        [&container, &other].iter().for_each(|container| tracer.register(container.id, &container.name));
        // A child that ends well, one that does not, and what the container began with.
        let ends = || assert!(container.shell("(exit 0); (exit 5); exit 0").wait().unwrap().success());
        ends();
        assert_eq!(sent(&tracer, Kind::Exit), 2);
        let followed = tracer.follow(container.id);
        ends();
        assert_eq!(sent(&tracer, Kind::Exit), 2 + 3);
        drop(followed);
        let followed = tracer.follow(other.id);
        ends();
        assert_eq!(sent(&tracer, Kind::Exit), 5 + 2);
        let all = tracer.follow_ends();
        drop(followed);
        ends();
        assert_eq!(sent(&tracer, Kind::Exit), 7 + 3);
        drop(all);
        ends();
        assert_eq!(sent(&tracer, Kind::Exit), 10 + 2);
        let stats = totals(&tracer, &container).stats;
        assert_eq!((stats.exits_success, stats.exits_error), (10, 5));
        Ok(())
    });
}

#[test]
fn a_process_below_the_containers_cgroup_is_the_containers() {
    run("a_process_below_the_containers_cgroup_is_the_containers", async {
        let tree = Tree::new()?;
        let container = tree.container("app");
        let mut watch = Watch::start(&[&container])?;
        let leaf = container.dir.join("exec-1");
        std::fs::create_dir(&leaf).unwrap();
        let mut child = command_in(&leaf, "/bin/sh", &["-c", "exit 3"]).spawn().unwrap();
        child.wait().unwrap();
        let (event, exit) = watch.end(child.id()).await;
        assert_eq!(exit, code(3));
        assert_eq!(event.subject.unwrap().container, "app");
        assert_ne!(event.cgroup, container.id);
        Ok(())
    });
}

#[test]
fn threads_that_end_are_not_processes_that_end() {
    run("threads_that_end_are_not_processes_that_end", async {
        let tree = Tree::new()?;
        let container = tree.container("app");
        let mut watch = Watch::start(&[&container])?;
        // Threads of a process that moves itself in, ends its threads, and then execs a `true`.
        let procs = container.dir.join("cgroup.procs");
        let script = format!(
            "import os,threading\nopen({procs:?},'w').write('0')\nts=[threading.Thread(target=lambda:None) for _ in range(20)]\n\
             [t.start() for t in ts];[t.join() for t in ts]\nos._exit(6)"
        );
        let Ok(mut child) = std::process::Command::new("python3").args(["-c", &script]).spawn() else {
            return Err("needs python3".into());
        };
        child.wait().unwrap();
        let (_, exit) = watch.end(child.id()).await;
        assert_eq!(exit, code(6));
        let stats = watch.totals(&container).stats;
        assert_eq!((stats.exits_success, stats.exits_error), (0, 1));
        Ok(())
    });
}

#[test]
fn processes_outside_are_neither_told_nor_counted() {
    run("processes_outside_are_neither_told_nor_counted", async {
        let tree = Tree::new()?;
        let (container, stranger) = (tree.container("app"), tree.container("stranger"));
        let mut watch = Watch::start(&[&container])?;
        let mut outside = stranger.shell("exit 1");
        outside.wait().unwrap();
        let mut inside = container.shell("exit 2");
        inside.wait().unwrap();
        let first = watch.next(|event| matches!(event.detail, Detail::Exit(_)).then_some(event.pid)).await;
        assert_eq!(first, inside.id());
        assert_eq!(sent(&watch.tracer, Kind::Exit), 1);
        Ok(())
    });
}

#[test]
fn a_burst_of_forks_is_counted_exactly_and_told_without_gaps() {
    run("a_burst_of_forks_is_counted_exactly_and_told_without_gaps", async {
        let tree = Tree::new()?;
        let container = tree.container("app");
        let mut watch = Watch::start(&[&container])?;
        let mut child = container.shell("i=0; while [ $i -lt 1000 ]; do (exit 3); i=$((i+1)); done; exit 0");
        let shell = child.id();
        let status = tokio::task::spawn_blocking(move || child.wait().unwrap());
        let mut told = 0;
        watch
            .next(|event| {
                let is_exit = matches!(event.detail, Detail::Exit(_));
                told += u32::from(is_exit);
                (is_exit && event.pid == shell).then_some(())
            })
            .await;
        assert!(status.await.unwrap().success());
        assert_eq!(told, 1001);
        let stats = watch.totals(&container).stats;
        assert_eq!((stats.exits_success, stats.exits_error), (1, 1000));
        let missed = watch.tracer.snapshot().missed;
        assert!(missed.iter().all(|(_, missed)| *missed == 0), "{missed:?}");
        Ok(())
    });
}

#[test]
fn a_full_ring_loses_events_but_no_counts_and_says_how_many() {
    run("a_full_ring_loses_events_but_no_counts_and_says_how_many", async {
        let tree = Tree::new()?;
        let container = tree.container("app");
        let tracer = load(TraceConfig { event_ring_bytes: 4096, ..TraceConfig::new(LEVEL) })?;
        tracer.register(container.id, &container.name);
        // Nobody reads yet.
        let mut child = container.shell("i=0; while [ $i -lt 500 ]; do (exit 3); i=$((i+1)); done; exit 0");
        child.wait().unwrap();
        let stats = totals(&tracer, &container).stats;
        assert_eq!((stats.exits_success, stats.exits_error), (1, 500));
        let lost = lost(&tracer, Loss::ExitEvent);
        assert!(lost > 0);
        assert_eq!(sent(&tracer, Kind::Exit), 501);

        let events = tracer.subscribe();
        tracer.spawn_reader().unwrap();
        let mut watch = Watch { tracer, events };
        for _ in 0..501 - lost {
            watch.next(|event| matches!(event.detail, Detail::Exit(_)).then_some(())).await;
        }
        // One more goes through now, and shows the gap.
        let mut last = container.shell("exit 9");
        last.wait().unwrap();
        watch.end(last.id()).await;
        // It counts once it has lasted: an event may be on its way.
        let told = watch.until(|tracer| tracer.snapshot().missed.contains(&(Kind::Exit, lost))).await;
        assert!(told, "{:?} but {lost} lost", watch.tracer.snapshot().missed);
        Ok(())
    });
}

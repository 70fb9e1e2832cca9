//! What is killed for memory. Takes the memory controller of cgroup v2.

use super::{Random, Stage, Truth, finish};
use crate::trace::cgroup::command_in;
use crate::trace::oom::SHARE_AND_EAT;
use podbox::api::attribution::{Attribution, OomRole};
use podbox::api::event::OomLimit;
use podbox::api::sender::Origin;
use podbox::trace::Tracer;
use std::os::unix::process::ExitStatusExt;

/// Takes memory until it is killed.
const EAT: &str = "tail /dev/zero";

/// One process is killed, and it is the container's first.
pub async fn single(stage: &Stage<'_>, random: &mut Random) {
    let container = stage.container("c");
    container.set("memory.max", &((8 + random.below(8)) << 20).to_string());
    let eater = container.command("tail", &["/dev/zero"]).spawn().unwrap();
    let pid = eater.id();
    assert_eq!(finish(eater).await.signal(), Some(9));
    let end = stage.watch.tracer.end(container.id, pid).and_then(|end| end.sender);
    assert_eq!(end.map(|sender| sender.origin), Some(Origin::Oom));
    let truth = Truth::default().victim(OomRole::Chosen, OomLimit::Container, stage.watched());
    stage.agree(&container, truth).await;
}

/// Children are killed one after the other, and their parent ends by itself.
pub async fn children(stage: &Stage<'_>, random: &mut Random) {
    let container = stage.container("c");
    container.set("memory.max", "12582912");
    let times = 1 + random.below(2);
    let script = format!("{} exit 5", format!("{EAT};").repeat(times as usize));
    assert_eq!(finish(container.shell(&script)).await.code(), Some(5));
    let mut truth = Truth::default().exits(5, 1);
    for _ in 0..times {
        truth = truth.victim(OomRole::Chosen, OomLimit::Container, stage.watched());
    }
    stage.agree(&container, truth).await;
}

/// All of a container are killed with the chosen one.
pub async fn group(stage: &Stage<'_>, random: &mut Random) {
    let container = stage.container("c");
    container.set("memory.max", "16777216");
    container.set("memory.oom.group", "1");
    let siblings = random.below(4);
    let shell = container.shell(&format!("{}{EAT}; exit 5", "sleep 1000 & ".repeat(siblings as usize)));
    assert_eq!(finish(shell).await.signal(), Some(9));
    let mut truth = Truth::default().victim(OomRole::Chosen, OomLimit::Container, stage.watched());
    for _ in 0..=siblings {
        truth = truth.victim(OomRole::Group, OomLimit::Container, stage.watched());
    }
    stage.agree(&container, truth).await;
}

/// The kernel chooses a process and kills with it, uncounted, the one that shares its memory.
pub async fn sharing(stage: &Stage<'_>, _: &mut Random) {
    let container = stage.container("c");
    container.set("memory.max", "25165824");
    let parent = container.command("perl", &["-e", SHARE_AND_EAT]).spawn().unwrap();
    assert_eq!(finish(parent).await.signal(), Some(9));
    let truth = Truth::default().victim(OomRole::Chosen, OomLimit::Container, stage.watched()).victim(
        OomRole::Sharing,
        OomLimit::Container,
        stage.watched(),
    );
    stage.agree(&container, truth).await;
}

/// A cgroup inside the container has a limit of its own.
pub async fn inner(stage: &Stage<'_>, _: &mut Random) {
    let container = stage.container("c");
    container.set("cgroup.subtree_control", "+memory");
    let leaf = container.dir.join("leaf");
    std::fs::create_dir(&leaf).unwrap();
    std::fs::write(leaf.join("memory.max"), "12582912").unwrap();
    let eater = command_in(&leaf, "tail", &["/dev/zero"]).spawn().unwrap();
    assert_eq!(finish(eater).await.signal(), Some(9));
    let truth = Truth::default().victim(OomRole::Chosen, OomLimit::Inner, stage.watched());
    stage.agree(&container, truth).await;
}

/// The pod's limit is hit before the container's.
pub async fn parent(stage: &Stage<'_>, _: &mut Random) {
    let container = stage.container("c");
    stage.tree.set("memory.max", "16777216");
    let eater = container.command("tail", &["/dev/zero"]).spawn().unwrap();
    assert_eq!(finish(eater).await.signal(), Some(9));
    stage.tree.set("memory.max", "max");
    let truth = Truth::default().victim(OomRole::Chosen, OomLimit::Pod, stage.watched());
    stage.agree(&container, truth).await;
}

/// The limit of a class of pods is hit by what one pod allocates, and a process of another pod is killed for it.
pub async fn class(stage: &Stage<'_>, _: &mut Random) {
    const MIB: u64 = 1 << 20;
    let beside = stage.class.pod("beside");
    let (holder, eater) = (stage.container("holder"), stage.container_in(&beside, "eater"));
    stage.class.set("memory.max", &(32 * MIB).to_string());
    let hold = format!("my $held = ''; vec($held, {}, 8) = 1; sleep 1000", 20 * MIB);
    let held = holder.command("perl", &["-e", &hold]).spawn().unwrap();
    let charged = |_: &Tracer| holder.number("memory.current") >= 20 * MIB;
    assert!(stage.watch.until(charged).await, "{} held", holder.number("memory.current"));
    // Not to be chosen itself, and with room for all that it wants once the other one is gone. By page faults, which wait for
    // that: a write into a pipe fails.
    let (take, spared) = (20 * MIB, "echo -1000 >/proc/self/oom_score_adj");
    let eats = eater.shell(&format!("{spared}; exec perl -e 'my $held; vec($held, {take}, 8) = 1'"));
    assert_eq!(finish(held).await.signal(), Some(9));
    assert!(finish(eats).await.success());
    stage.class.set("memory.max", "max");
    let victims = stage.watch.tracer.oom_victims(holder.id);
    let triggers: Vec<_> = victims.iter().map(|victim| victim.oom.trigger_container.clone()).collect();
    assert_eq!(triggers, [Some(eater.name.to_string())]);
    let truth = Truth::default().victim(OomRole::Chosen, OomLimit::Qos, stage.watched());
    stage.agree(&holder, truth).await;
    stage.agree(&eater, Truth::default().exits(0, 1)).await;
}

/// The node itself is out of memory, as far as the kernel can be told; and nobody is to be taken before this one.
pub async fn node(stage: &Stage<'_>, _: &mut Random) {
    let container = stage.container("c");
    let victim = container.command("sleep", &["1000"]).spawn().unwrap();
    std::fs::write(format!("/proc/{}/oom_score_adj", victim.id()), "1000").unwrap();
    std::fs::write("/proc/sysrq-trigger", "f").unwrap();
    assert_eq!(finish(victim).await.signal(), Some(9));
    let truth = Truth::default().victim(OomRole::Chosen, OomLimit::Node, stage.watched());
    stage.agree(&container, truth).await;
}

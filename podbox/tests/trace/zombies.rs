//! The dead and who takes them away.

use super::cgroup::Tree;
use super::watch::{Watch, run};
use podbox::api::event::Detail;
use podbox::api::zombie::ZombieCause;
use podbox::trace::{LIFETIME_BOUNDS_NS, Signal, probe};

#[test]
fn a_zombie_is_told_gauged_and_its_reaping_told() {
    run("a_zombie_is_told_gauged_and_its_reaping_told", async {
        let tree = Tree::new()?;
        let container = tree.container("app");
        let mut watch = Watch::start(&[&container])?;
        let knows_reaper = probe().get(Signal::Reaping).unwrap().backend == Some("fentry release_task");
        // This process is its parent, and waits for it only later.
        let mut child = container.shell("exit 0");
        let pid = child.id();
        let zombie = |event: &podbox::api::event::KernelEvent| match &event.detail {
            Detail::Zombie(zombie) if event.pid == pid => Some(zombie.clone()),
            _ => None,
        };
        let told = watch.next(zombie).await;
        assert!(told.lifetime_ms >= 1000);
        assert_eq!(
            (told.fault.cause, told.fault.parent_pid),
            (ZombieCause::Parent, Some(std::process::id()))
        );
        let totals = watch.totals(&container);
        assert_eq!((totals.zombies, totals.causes[&ZombieCause::Parent]), (1, 1));

        child.wait().unwrap();
        let reaped = |event: &podbox::api::event::KernelEvent| match &event.detail {
            Detail::Reap(reap) if event.pid == pid => Some(reap.clone()),
            _ => None,
        };
        let reap = watch.next(reaped).await;
        assert!(reap.lifetime_ms >= 1000);
        assert_eq!(reap.reaper_pid, knows_reaper.then(std::process::id));
        let totals = watch.totals(&container);
        assert_eq!((totals.zombies, totals.stats.reaped), (0, 1));
        let long = LIFETIME_BOUNDS_NS.iter().filter(|bound| **bound <= 1_000_000_000).count();
        assert_eq!(totals.stats.lifetime_buckets[long..].iter().sum::<u64>(), 1);
        Ok(())
    });
}

//! How pods and containers end: who is asked when, who waits for whom, and who is killed.

use super::*;

#[test]
fn termination_stops_waits_for_the_grace_and_kills() {
    let mut node = Node::new(shape(&[], &["a", "b"], RestartPolicy::Always));
    node.settle();
    assert_eq!(node.terminate(30), "stop:a stop:b");
    assert_eq!(node.exit("a", 0), "", "no restart during termination");
    assert_eq!(node.pass(29), "");
    assert_eq!(node.wakes_in(), Some(1));
    assert_eq!(node.pass(1), "kill:b");
    assert_eq!(node.exit("b", 137), "remove finished");
}

#[test]
fn the_grace_period_counts_from_the_beginning_and_leaves_two_seconds_at_least() {
    let mut node = Node::new(shape(&["side-"], &["a-", "b"], RestartPolicy::Always));
    node.settle();
    assert_eq!(node.terminate(30), "prestop:a stop:b prestop:side");
    assert_eq!(node.called("side", Hook::PreStop, None), "", "it has to outlive the others");
    assert_eq!(node.pass(20), "");
    assert_eq!(node.exit("b", 0), "");
    assert_eq!(node.wakes_in(), Some(10));
    assert_eq!(node.pass(10), "(running) stop:a (done) stop:side");
    assert_eq!(node.wakes_in(), Some(SHORTEST_GRACE.as_secs()));
    assert_eq!(node.pass(2), "kill:a kill:side");
}

#[test]
fn a_grace_that_no_clock_can_count_is_a_very_long_one() {
    let mut node = Node::new(shape(&["side"], &["a", "b-"], RestartPolicy::Always));
    node.pod.grace = Duration::MAX;
    node.settle();
    assert_eq!(node.terminate(u64::MAX), "stop:a prestop:b");
    let sooner = Termination::new(node.now, Duration::MAX).sooner(Termination::new(node.now, Duration::MAX));
    assert!(sooner.deadline() > node.now + Duration::from_secs(1 << 30));
    assert_eq!(node.called("b", Hook::PreStop, None), "(done) stop:b");
    node.exit("a", 0);
    assert_eq!(node.exit("b", 0), "stop:side");
    assert_eq!(node.exit("side", 0), "remove finished");
}

#[test]
fn a_hook_that_fails_or_comes_back_is_followed_by_the_signal_and_what_is_left_of_the_grace() {
    let mut node = Node::new(shape(&[], &["a-"], RestartPolicy::Always));
    node.settle();
    assert_eq!(node.terminate(30), "prestop:a");
    node.pass(10);
    assert_eq!(node.called("a", Hook::PreStop, Some("exit 1")), "(failed) stop:a");
    assert_eq!(node.wakes_in(), Some(20));
}

#[test]
fn a_second_order_can_only_hasten_the_end() {
    let mut node = Node::new(shape(&[], &["a"], RestartPolicy::Always));
    node.settle();
    node.terminate(600);
    assert_eq!(node.pass(100), "");
    node.terminate(600);
    assert_eq!(node.wakes_in(), Some(500));
    node.terminate(5);
    assert_eq!(node.wakes_in(), Some(5));
    node.seen.terminate(Termination::at_once(node.now));
    assert_eq!(node.settle(), "kill:a");
}

#[test]
fn nobody_is_asked_where_everything_is_to_end_at_once() {
    let mut node = Node::new(shape(&["side-"], &["a-"], RestartPolicy::Always));
    node.settle();
    node.seen.terminate(Termination::at_once(node.now));
    assert_eq!(node.settle(), "kill:a kill:side");
}

#[test]
fn an_order_for_one_container_leaves_the_others_alone_and_yields_to_the_pods_end() {
    let mut node = Node::new(shape(&[], &["a-", "b+"], RestartPolicy::Always));
    node.settle();
    let end = Termination::new(node.now, Duration::from_secs(3));
    node.seen.container_mut("a").order(end, "definition changed");
    assert_eq!(node.settle(), "prestop:a");
    node.terminate(30);
    assert_eq!(node.pass(3), "(running) stop:a", "the sooner end counts");
    assert_eq!(node.exit("a", 0), "");
    assert_eq!(node.seen.container("a").order, None::<Order>);
}

#[test]
fn termination_before_the_sandbox_is_there_ends_at_once() {
    let mut node = Node::new(shape(&[], &["a"], RestartPolicy::Always));
    assert_eq!(node.terminate(30), "finished");
}

#[test]
fn what_could_not_be_taken_away_is_tried_again_until_nothing_is_left() {
    let mut node = Node::new(shape(&[], &["a"], RestartPolicy::Always));
    node.settle();
    node.terminate(30);
    let until = node.now + Duration::from_secs(10);
    let exited = Exited { status: ExitStatus::Code(0), at: clock::wall() };
    node.seen.container_mut("a").exited(exited, None, String::new(), node.now);
    node.seen.sandbox = SandboxState::Stuck { message: "busy".into(), until };
    assert_eq!(node.settle(), "", "its pod is not through with it");
    assert_eq!(node.wakes_in(), Some(10));
    assert_eq!(node.pass(10), "remove finished");
}

#[test]
fn what_is_left_of_a_sandbox_that_could_not_be_made_is_taken_away() {
    let mut node = Node::new(shape(&[], &["a"], RestartPolicy::Always));
    node.seen.sandbox = SandboxState::Failed { message: "no veth".into(), until: node.now };
    assert_eq!(node.terminate(30), "remove finished");
}

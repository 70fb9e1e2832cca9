//! Which words an end comes to.

use super::*;
use crate::api::attribution::OomRole;
use crate::pod::kill::tests::victim;

fn witnessed(origin: Origin, signal: u8) -> Witnessed {
    let (time, command) = (jiff::Timestamp::UNIX_EPOCH, Some("bash".to_owned()));
    let sender =
        Sender { origin, signal, time, pid: Some(42), command, container: None, code: 0, detail: None };
    Witnessed { status: signal.into(), at_ns: 1, sender: Some(sender) }
}

fn check(evidence: Evidence<'_>, by: By, message: &str) {
    let cause = evidence.cause();
    assert_eq!((cause.by, cause.message.as_str()), (by, message));
}

const NOTHING: Evidence<'_> = Evidence {
    status: ExitStatus::Signal(9),
    witnessed: None,
    victims: &[],
    pid: 1,
    group_oom: false,
    asked: None,
};

#[test]
fn sigkill_has_a_sender() {
    let host = witnessed(Origin::Host, 9);
    check(
        Evidence { witnessed: Some(&host), ..NOTHING },
        By::Process,
        "SIGKILL, sent by bash (42), a process of the host",
    );
    let asked = Asked { why: "the pod was deleted".into(), grace: Duration::from_secs(30), at_once: false };
    let own = witnessed(Origin::Podbox, 9);
    let evidence = Evidence { witnessed: Some(&own), asked: Some(&asked), ..NOTHING };
    let late = "SIGKILL, sent by podbox, for it had not ended within 30 s: the pod was deleted";
    check(evidence, By::Podbox, late);
    let at_once = Asked { at_once: true, ..asked.clone() };
    check(
        Evidence { asked: Some(&at_once), ..evidence },
        By::Podbox,
        "SIGKILL, sent by podbox: the pod was deleted",
    );
    check(NOTHING, By::Unknown, "SIGKILL; the kernel was not watched, so who sent it is unknown");
}

#[test]
fn out_of_memory_is_the_kernels_word_and_not_of_one_that_was_exiting() {
    let (oom, host) = (witnessed(Origin::Oom, 9), witnessed(Origin::Host, 9));
    let victims = [victim(1, OomRole::Chosen, 5)];
    let words = "the OOM killer took job1 (1, 512Ki resident; chosen): the container's limit of 48Mi was hit with 48Mi in use; \
                 the allocation was eater (9)'s of shop/web/app#0";
    check(Evidence { witnessed: Some(&oom), victims: &victims, ..NOTHING }, By::Oom, words);
    let victims = [victim(1, OomRole::Exiting, 5)];
    let evidence = Evidence { witnessed: Some(&host), victims: &victims, ..NOTHING };
    check(evidence, By::Process, "SIGKILL, sent by bash (42), a process of the host");
}

#[test]
fn a_code_that_looks_like_a_signal_is_told_to_be_none() {
    let exit = Evidence { status: ExitStatus::Code(137), ..NOTHING };
    check(exit, By::Exit, "exited with 137 by itself: no signal ended this process");
    assert!(exit.cause().says_more());
    let victims = [victim(7, OomRole::Chosen, 5)];
    let cause = Evidence { victims: &victims, ..exit }.cause();
    assert!(
        cause.says_more()
            && cause.message.contains("before that the OOM killer took job7 (7, 2Mi resident; chosen): "),
        "{cause:?}"
    );
    let asked = Asked { why: "the pod was deleted".into(), grace: Duration::ZERO, at_once: false };
    let exit = Evidence { status: ExitStatus::Code(0), asked: Some(&asked), ..NOTHING };
    check(exit, By::Exit, "exited with 0 when podbox had asked it to end: the pod was deleted");
    assert!(!exit.cause().says_more());
}

//! Pods that came up, and what was not seen of that.

use super::*;

const SIGHT: Sight = Sight { sockets: true, accepts: true, boot: SystemTime::UNIX_EPOCH };

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn pod() -> PodRef {
    PodRef { namespace: "shop".into(), name: "web".into(), uid: "u".into() }
}

fn lap(stage: Stage, began: u64, took: u64) -> Lap {
    Lap { stage, began: ms(began), took: ms(took) }
}

/// `STAGE CONTAINER OFFSET+TOOK` in milliseconds, or why that is not known.
fn lines(startup: &Startup, sight: Sight, firsts: Firsts) -> Vec<String> {
    let waterfall = startup.waterfall(&pod(), sight, |cgroup| (cgroup == 7).then_some(firsts));
    let line = |row: &Row| {
        let container = row.container.as_deref().unwrap_or("-");
        let time = match (row.offset_us, row.took_us) {
            (Some(offset), Some(took)) => format!("{}+{}", offset / 1000, took / 1000),
            _ => row.remark.clone(),
        };
        format!("{} {container} {time}", row.stage)
    };
    waterfall.stages.iter().map(line).collect()
}

fn up() -> Startup {
    let mut startup = Startup::accepted(ms(1000));
    startup.asks("app", ms(1001));
    startup.asks("app", ms(1500));
    assert_eq!(startup.has_image("app", ms(1011)), Some(ms(10)));
    assert_eq!(startup.has_image("app", ms(2000)), None, "it was had before");
    startup.has_sandbox(&[lap(Stage::Network, 1002, 5), lap(Stage::Cgroup, 1003, 1)]);
    startup.has_sandbox(&[lap(Stage::Network, 9000, 5)]);
    startup.runs("app", 7, ms(1030), &[lap(Stage::Cgroup, 1012, 1)]);
    startup.runs("app", 8, ms(9030), &[lap(Stage::Cgroup, 9012, 1)]);
    startup
}

const SEEN: Firsts = Firsts {
    cloned: Some(Duration::from_millis(1013)),
    executed: Some(Duration::from_millis(1020)),
    listened: Some(Duration::from_millis(1040)),
    port: 80,
    connected: Some(Duration::from_millis(1042)),
    accepted: Some(Duration::from_millis(1043)),
    missed: false,
};

#[test]
fn a_pods_way_is_told_from_its_beginning_in_the_order_of_its_stages() {
    let mut startup = up();
    assert_eq!(startup.is_ready(ms(1050)), Some(ms(50)));
    assert_eq!(startup.is_ready(ms(1060)), None);
    let expected = [
        "accepted - 0+0",
        "image app 1+10",
        "network - 2+5",
        "cgroup - 3+1",
        "cgroup app 12+1",
        "exec app 13+7",
        "listen app 20+20",
        "connect app 40+2",
        "accept app 42+1",
        "ready - 0+50",
    ];
    assert_eq!(lines(&startup, SIGHT, SEEN), expected);
    let waterfall = startup.waterfall(&pod(), SIGHT, |_| Some(SEEN));
    assert_eq!(waterfall.ready_us, Some(50_000));
    assert_eq!(waterfall.accepted.unwrap().to_string(), "1970-01-01T00:00:01Z");
}

#[test]
fn what_nobody_saw_has_no_time() {
    let startup = up();
    let tail = |sight, firsts| lines(&startup, sight, firsts).split_off(5);
    let only = |executed| Firsts { executed, ..Firsts::default() };
    let none = Sight { sockets: false, accepts: false, ..SIGHT };
    assert_eq!(
        tail(none, only(None)),
        ["exec app 30+0", "listen app this kernel does not tell", "ready - not yet"]
    );
    let executed = only(Some(ms(1020)));
    assert_eq!(tail(SIGHT, executed), ["exec app 20+0", "listen app not yet", "ready - not yet"]);
    let missed = Firsts { missed: true, ..Firsts::default() };
    assert_eq!(tail(SIGHT, missed), ["exec app 30+0", "listen app nobody watched", "ready - not yet"]);
    let unaccepted = Firsts { accepted: None, ..SEEN };
    assert_eq!(
        tail(Sight { accepts: false, ..SIGHT }, unaccepted)[2..],
        ["connect app 40+2", "accept app this kernel does not tell", "ready - not yet"]
    );

    let mut restarted = Startup { accepted: None, ready_unseen: true, ..up() };
    assert_eq!(restarted.is_ready(ms(5000)), None);
    let lines = lines(&restarted, SIGHT, SEEN);
    assert_eq!(lines[0], "image app 0+10", "from what is known first");
    assert_eq!(
        lines[lines.len() - 2..],
        ["accepted - before this podbox began", "ready - while no podbox looked"]
    );
}

#[test]
fn what_the_kernel_saw_of_a_run_is_kept_when_that_ends() {
    let mut startup = up();
    startup.ends(9, |_| panic!("it is another run's"));
    startup.ends(7, |_| Some(SEEN));
    startup.ends(7, |_| panic!("it is kept already"));
    assert_eq!(lines(&startup, SIGHT, Firsts::default())[8], "accept app 42+1");
    assert_eq!(lines(&startup, SIGHT, Firsts::default()).len(), 9, "it ended, and was never ready");
}

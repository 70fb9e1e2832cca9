//! Stock kubectl against a node, by transcripts: what people type, and what they see.

use podbox_tests::node::Node;
use podbox_tests::transcript::play;
use podbox_tests::{needs, workspace};

/// What is shown in a machine too: the walks through workloads, whose pods live in real cgroups there.
const WALKS: &[&str] = &["daemons", "jobs", "nodes", "rollout", "sets"];

fn transcript(name: &str) {
    let needed = if WALKS.contains(&name) { needs::newest(name) } else { needs::host(name) };
    let Some(()) = needed else { return };
    let Some(node) = Node::start(name) else { return };
    play(&node, &workspace().join("tests/transcripts").join(format!("{name}.txt")));
}

/// A test for each transcript.
macro_rules! transcripts {
    ($($name:ident)*) => {
        const ALL: &[&str] = &[$(stringify!($name)),*];
        $(
            #[test]
            fn $name() {
                transcript(stringify!($name));
            }
        )*
    };
}

transcripts!(apply change create_and_get daemons describe discover events helm jobs nodes patterns pods rollout sets storage top who workloads);

#[test]
fn every_transcript_is_played() {
    let Some(()) = needs::host("every_transcript_is_played") else { return };
    let dir = workspace().join("tests/transcripts");
    let files = std::fs::read_dir(dir).expect("there are transcripts").flatten();
    let names = files.filter_map(|file| Some(file.file_name().to_str()?.strip_suffix(".txt")?.to_owned()));
    let forgotten: Vec<String> = names.filter(|name| !ALL.contains(&name.as_str())).collect();
    assert!(forgotten.is_empty(), "no test plays {forgotten:?}");
}

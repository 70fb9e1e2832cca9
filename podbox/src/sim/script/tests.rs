//! Each script that comes with podbox tells what it told when it was written down; `PODBOX_BLESS=1` writes it down again.

use super::{SCRIPTS, run};
use crate::api::kinds::Kinds;
use std::path::Path;
use std::sync::Arc;

#[test]
fn scripts_tell_what_they_told() {
    let kinds = Arc::new(Kinds::new());
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/sim/scripts");
    let mut different = Vec::new();
    for (name, text) in SCRIPTS {
        let (told, failed) = run(&kinds, text);
        assert_eq!(failed, None, "{name}:\n{told}");
        assert_eq!(run(&kinds, &told).0, told, "{name}: a transcript is a script");
        if std::env::var_os("PODBOX_BLESS").is_some() {
            std::fs::write(here.join(format!("{name}.txt")), &told).unwrap();
        } else if told != *text {
            let lines = told.lines().zip(text.lines()).position(|(told, text)| told != text);
            let line = lines.unwrap_or(told.lines().count().min(text.lines().count()));
            different.push(format!(
                "{name}, line {}: {:?}, and not {:?}",
                line + 1,
                told.lines().nth(line),
                text.lines().nth(line)
            ));
        }
    }
    assert!(different.is_empty(), "{different:#?}; if it is meant: PODBOX_BLESS=1");
    let files = std::fs::read_dir(here).unwrap().count();
    assert_eq!(files, SCRIPTS.len(), "each file is played");
}

#[test]
fn what_is_wrong_with_a_script_is_told_with_its_line() {
    let run = |text: &str| run(&Arc::new(Kinds::new()), text).1.unwrap_or_default();
    assert_eq!(run("# a\n> dance"), "line 2: dance: there is no such command");
    assert_eq!(
        run("> nodes 1\n> scale deployment/web 3"),
        "line 2: scale deployment/web 3: there is no deployment/web"
    );
    assert_eq!(run("> advance soon"), "line 1: advance soon: it should be as 30s, 5m or 1h");
    let pod = "> apply\n| apiVersion: v1\n| kind: Pod\n| metadata: {name: a}\n| spec: {}";
    assert!(run(pod).contains("spec.containers"), "{}", run(pod));
}

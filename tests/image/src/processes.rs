//! Jobs that make processes: unreaped ones and many.

use std::process::{Child, Command};
use std::thread::sleep;

use crate::Done;
use crate::options::Options;

/// Starts this program again with other words.
pub fn start(words: &[&str]) -> Result<Child, String> {
    let failed = |error: std::io::Error| format!("cannot start a child: {error}");
    let this = std::env::current_exe().map_err(failed)?;
    Command::new(this).args(words).spawn().map_err(failed)
}

/// Leaves ended children unreaped for `--hold`, then ends, which leaves them to the reaper above.
pub fn zombies(options: &Options) -> Done {
    let count: u32 = options.number(0)?;
    for _ in 0..count {
        start(&["exit", "0"])?;
    }
    println!("left {count} zombies");
    sleep(options.duration("hold", 5000)?);
    Ok(0)
}

/// Starts and reaps children, `--at-once` of them at a time.
pub fn forks(options: &Options) -> Done {
    let count: usize = options.number(0)?;
    let at_once: usize = options.named("at-once")?.unwrap_or(16).max(1);
    let mut left = count;
    while left > 0 {
        let batch = at_once.min(left);
        let children: Result<Vec<Child>, String> = (0..batch).map(|_| start(&["exit", "0"])).collect();
        for mut child in children? {
            child.wait().map_err(|error| format!("cannot wait for a child: {error}"))?;
        }
        left -= batch;
    }
    println!("reaped {count} children");
    Ok(0)
}

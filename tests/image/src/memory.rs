//! The memory eater, alone or as the child of a process that outlives it.

use std::thread::sleep;

use crate::Done;
use crate::options::Options;
use crate::processes;

const MIB: usize = 1 << 20;
const PAGE: usize = 4096;

/// Takes memory step by step and touches each page of it; says so after each step.
pub fn eat(options: &Options) -> Done {
    let total: usize = options.number(0)?;
    let step: usize = options.named("step")?.unwrap_or(8).max(1);
    let every = options.duration("every", 0)?;
    let hold = options.duration("hold", 0)?;
    if options.has("child") {
        return outlive(total, step, options);
    }
    let mut eaten: Vec<Vec<u8>> = Vec::new();
    let mut done = 0;
    while done < total {
        let bite = step.min(total - done);
        let mut block = vec![0_u8; bite * MIB];
        block.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
        // Optimised away, the pages would never be touched.
        eaten.push(std::hint::black_box(block));
        done += bite;
        println!("ate {done} MiB");
        sleep(every);
    }
    sleep(hold);
    Ok(0)
}

/// Lets a child eat, tells how that ended, and goes on for `--hold`.
fn outlive(total: usize, step: usize, options: &Options) -> Done {
    let every = options.duration("every", 0)?.as_millis();
    let words = ["eat", &total.to_string(), "--step", &step.to_string(), "--every", &every.to_string()];
    let mut child = processes::start(&words)?;
    println!("child {} eats", child.id());
    let status = child.wait().map_err(|error| format!("cannot wait for the child: {error}"))?;
    println!("child ended: {status}");
    sleep(options.duration("hold", 0)?);
    Ok(0)
}

//! Jobs about files and output.

use std::fs::File;
use std::io::Write;
use std::thread::sleep;
use std::time::Duration;

use crate::Done;
use crate::options::Options;

/// How often something is tried again.
const AGAIN: Duration = Duration::from_millis(20);

/// Tries until it succeeds or `patience` is used up; the last failure is the result.
pub fn retry<T>(patience: Duration, attempt: impl Fn() -> Result<T, String>) -> Result<T, String> {
    let mut waited = Duration::ZERO;
    loop {
        match attempt() {
            Err(_) if waited < patience => sleep(AGAIN),
            result => return result,
        }
        waited += AGAIN;
    }
}

/// Writes a line to a file.
pub fn write(options: &Options, append: bool) -> Done {
    let (path, text) = (options.word(0)?, options.word(1)?);
    let file = File::options().create(true).write(true).append(append).truncate(!append).open(path);
    let written = file.and_then(|mut file| writeln!(file, "{text}"));
    written.map(|()| 0).map_err(|error| format!("cannot write {path}: {error}"))
}

/// Prints a file; with `--retry-until`, waits for it to appear.
pub fn read(options: &Options) -> Done {
    let path = options.word(0)?;
    let attempt = || std::fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"));
    print!("{}", retry(options.duration("retry-until", 0)?, attempt)?);
    Ok(0)
}

/// Prints numbered lines.
pub fn lines(options: &Options) -> Done {
    let count: u64 = options.number(0)?;
    let every = options.duration("every", 0)?;
    let mut out: Box<dyn Write> =
        if options.has("stderr") { Box::new(std::io::stderr()) } else { Box::new(std::io::stdout().lock()) };
    for number in 1..=count {
        writeln!(out, "line {number}").map_err(|error| format!("cannot print: {error}"))?;
        sleep(every);
    }
    Ok(0)
}

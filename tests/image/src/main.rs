//! The test image's program: one small job per subcommand, each doing one thing that a test can see from outside.
//!
//! It is linked statically, so that it runs in any root, and prints a line per thing that happens, at once.

mod files;
mod memory;
mod net;
mod options;
mod processes;
mod report;
mod servers;
mod signals;

use std::process::ExitCode;
use std::thread::sleep;

use options::Options;

const USAGE: &str = "\
usage: testjobs JOB [OPTION…]
  http PORT [--after MS] [--delay MS] [--quiet] serve; / greets, /delay/MS waits, /status/CODE answers CODE, /since when
                                                it was about to listen, in nanoseconds since boot
  tcp PORT [--after MS]                         accept connections and echo what they send
  grpc PORT STATUS [--after MS]                 serve gRPC's health protocol: 1 is well, 2 is not
  bad PORT HOW [--after MS]                     serve as no server should: silent, drip, garbage, headers, endless, loop,
                                                elsewhere
  fetch URL [--retry-until MS] [--every MS] [--count N]
                                                get URL over HTTP and print the body
  eat MIB [--step MIB] [--every MS] [--hold MS] [--child]
                                                take memory and touch it; --child: in a child, and outlive it
  zombies N [--hold MS]                         leave N ended children unreaped, then go on for a while
  forks N [--at-once N]                         start and reap N children
  signals [--ignore] [--code N]                 tell each signal by name; exit by TERM unless ignored
  write FILE TEXT | append FILE TEXT | read FILE [--retry-until MS]
  lines N [--every MS] [--stderr]               print numbered lines
  sleep MS | exit CODE [--after MS] | abort
  env                                           print the environment, sorted
  report                                        print identity, capabilities, names and mounts as JSON";

/// What a job's end is: an exit code, or what went wrong.
type Done = Result<u8, String>;

fn main() -> ExitCode {
    let done = Options::parse(std::env::args().skip(1)).and_then(|options| run(&options));
    match done {
        Ok(code) => ExitCode::from(code),
        Err(why) => {
            eprintln!("testjobs: {why}");
            ExitCode::from(2)
        }
    }
}

fn run(options: &Options) -> Done {
    match options.job() {
        "signals" => {}
        // Not worth a thread.
        "exit" if !options.has("after") => {}
        // A server has done all it had to.
        "http" | "tcp" | "grpc" | "bad" => signals::end_when_asked(Some(0))?,
        _ => signals::end_when_asked(None)?,
    }
    match options.job() {
        "http" => net::http(options),
        "tcp" => net::tcp(options),
        "grpc" => servers::grpc(options),
        "bad" => servers::bad(options),
        "fetch" => net::fetch(options),
        "eat" => memory::eat(options),
        "zombies" => processes::zombies(options),
        "forks" => processes::forks(options),
        "signals" => signals::tell(options),
        "write" => files::write(options, false),
        "append" => files::write(options, true),
        "read" => files::read(options),
        "lines" => files::lines(options),
        "env" => report::environment(),
        "report" => report::identity(),
        "sleep" => {
            sleep(options.millis(0)?);
            Ok(0)
        }
        "exit" => {
            sleep(options.duration("after", 0)?);
            options.number(0)
        }
        "abort" => std::process::abort(),
        "help" | "" => {
            println!("{USAGE}");
            Ok(0)
        }
        job => Err(format!("no job {job:?}; `testjobs help` lists them")),
    }
}

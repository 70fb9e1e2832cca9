//! podbox's developer tools, one verb per module. `cargo xtask help` lists them.

mod bench;
mod clock;
mod dashboards;
mod image;
mod run;
mod schema;
mod setup;
mod soak;
mod test;
mod tidy;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::Parser;

/// What the tools return when they, not the command they run, have failed.
const TOOL_FAILED: u8 = 125;

/// podbox's developer tools.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Verb {
    /// Measure podbox beside others: pod-start, exec, kernel, memory, store, api, pods, probes, control.
    Bench(bench::Args),
    /// Write dashboards, rules and the runbook from their description.
    Dashboards(dashboards::Args),
    /// Install what the other verbs need; they call it themselves.
    Setup,
    /// Build podbox and run manifests, on this host or in a virtual machine.
    Run(run::Args),
    /// Build the test image, an OCI layout.
    Image,
    /// Write the shape of the kinds that the API serves from the source of k8s-openapi.
    Schema(schema::Args),
    /// Check the import ranks and the house rules.
    Tidy,
    /// Run the randomised tests at length.
    Soak(soak::Args),
    /// Run every check and test, on this kernel and on two others.
    Test(test::Args),
    /// Run a command in a virtual machine that sees this host's files.
    Vm(vm::Args),
}

fn main() -> ExitCode {
    let result = match Verb::parse() {
        Verb::Bench(args) => bench::main(&args),
        Verb::Dashboards(args) => dashboards::main(&args).map(|()| 0),
        Verb::Setup => setup::main().map(|()| 0),
        Verb::Run(args) => run::main(&args),
        Verb::Image => image::main().map(|()| 0),
        Verb::Schema(args) => schema::main(&args).map(|()| 0),
        Verb::Soak(args) => soak::main(&args),
        Verb::Tidy => tidy::main().map(|()| 0),
        Verb::Test(args) => test::main(&args),
        Verb::Vm(args) => vm::main(args),
    };
    match result {
        Ok(status) => ExitCode::from(u8::try_from(status).unwrap_or(u8::MAX)),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(TOOL_FAILED)
        }
    }
}

//! The box: `run` between two ports, `replay` over captures.

mod completions;
mod man;

use anyhow::bail;
use clap::{CommandFactory, Parser, Subcommand};
use middlebox::assemble::Options;
use middlebox::config::Config;
use middlebox::ports::dpdk;
use middlebox::ports::pci::Kernel;
use middlebox::{assemble, replay};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A bump in the wire that gives every IPv6 flow encrypted performance metrics (PDMv2)
#[derive(Parser)]
#[command(name = "pdmv2-middlebox", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Forward between the two ports of the configuration until SIGTERM or SIGINT; SIGHUP has it read again
    Run(RunArgs),
    /// Put captures through the box, without root, hugepages or hardware
    Replay(replay::ReplayArgs),
    /// What a shell needs to complete these commands; docs/admin.md says where it goes
    Completions(completions::CompletionsArgs),
    /// Man pages of these commands
    #[command(hide = true)]
    Man(man::ManArgs),
}

/// Where the pages lead on to.
const SEE: &str = ".SH FILES\n/etc/pdmv2/box.toml, /usr/share/doc/pdmv2 (all of the documentation, in the package pdmv2).\n\
    .SH \"SEE ALSO\"\n\\fBpdmv2\\-middlebox.toml\\fR(5), \\fBpdmv2\\fR(1)\n";

#[derive(clap::Args)]
struct RunArgs {
    /// The configuration
    #[arg(long)]
    config: PathBuf,
    /// Check the configuration, the key file and the PCI devices, and start nothing
    #[arg(long)]
    check: bool,
    /// Print the counters as JSON when the box stops
    #[arg(long)]
    json: bool,
    /// Take the ports over from the running box that answers at the same admin socket, if there is one, and forward in its place
    #[arg(long, conflicts_with = "check")]
    take_over: bool,
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run(args) => with(&args.config, |config| run(&args, config)),
        Command::Replay(args) => with(&args.config, |config| replay::run(&args, config)),
        Command::Completions(args) => ended(args.write(Arguments::command(), &mut std::io::stdout().lock())),
        Command::Man(args) => ended(args.write(Arguments::command(), SEE)),
    }
}

/// Does what was asked with the configuration at `path`, if that is one.
fn with(path: &Path, what: impl FnOnce(Config) -> anyhow::Result<()>) -> ExitCode {
    match Config::load(path) {
        Ok(config) => ended(what(config)),
        Err(errors) => {
            eprintln!("{errors}"); // each names its file and line
            ExitCode::FAILURE
        }
    }
}

fn ended(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pdmv2-middlebox: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &RunArgs, config: Config) -> anyhow::Result<()> {
    if !args.check {
        return assemble::run(config, &args.config, Options { json: args.json, take_over: args.take_over });
    }
    for warning in &config.warnings {
        eprintln!("warning: {warning}");
    }
    let problems = dpdk::examine(&config, &Kernel::default());
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    println!("{}: {} policies, no errors", args.config.display(), config.policies.len());
    Ok(())
}

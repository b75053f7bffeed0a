//! The box: `run` between two ports, `replay` over captures.

use anyhow::bail;
use clap::{Parser, Subcommand};
use middlebox::config::Config;
use middlebox::ports::dpdk;
use middlebox::ports::pci::Kernel;
use middlebox::{assemble, replay};
use std::path::PathBuf;
use std::process::ExitCode;

/// A bump in the wire that gives every IPv6 flow encrypted performance metrics (PDMv2)
#[derive(Parser)]
#[command(version)]
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
}

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
}

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    let (Command::Run(RunArgs { config: path, .. }) | Command::Replay(replay::ReplayArgs { config: path, .. })) =
        &command;
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(errors) => {
            eprintln!("{errors}"); // each names its file and line
            return ExitCode::FAILURE;
        }
    };
    match start(&command, config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pdmv2-middlebox: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(command: &Command, config: Config) -> anyhow::Result<()> {
    match command {
        Command::Run(args) => {
            if args.check {
                for warning in &config.warnings {
                    eprintln!("warning: {warning}");
                }
                let problems = dpdk::examine(&config, &Kernel::default());
                if !problems.is_empty() {
                    bail!("{}", problems.join("\n"));
                }
                println!("{}: {} policies, no errors", args.config.display(), config.policies.len());
                return Ok(());
            }
            assemble::run(config, &args.config, args.json)
        }
        Command::Replay(args) => replay::run(args, config),
    }
}
